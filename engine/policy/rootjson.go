package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"sluice/engine"
)

// The JSON of a trusted root is ProtoJSON of sigstore's protobuf-specs, message dev.sigstore.trustroot.v1.TrustedRoot. It
// is written here by hand, because the packages for it reach a network.

const rootMediaType = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"

type rootJSON struct {
	MediaType              string            `json:"mediaType"`
	TLogs                  []json.RawMessage `json:"tlogs,omitempty"`
	CertificateAuthorities []json.RawMessage `json:"certificateAuthorities,omitempty"`
	CTLogs                 []json.RawMessage `json:"ctlogs,omitempty"`
	TimestampAuthorities   []json.RawMessage `json:"timestampAuthorities,omitempty"`
}

type authorityJSON struct {
	URI       string     `json:"uri,omitempty"`
	CertChain chainJSON  `json:"certChain"`
	ValidFor  periodJSON `json:"validFor"`
}

type chainJSON struct {
	Certificates []certificateJSON `json:"certificates"` // the last is the root
}

type certificateJSON struct {
	RawBytes []byte `json:"rawBytes"`
}

type logJSON struct {
	BaseURL       string     `json:"baseUrl,omitempty"`
	HashAlgorithm string     `json:"hashAlgorithm"`
	PublicKey     keyJSON    `json:"publicKey"`
	LogID         logIDsJSON `json:"logId"`
}

type keyJSON struct {
	RawBytes   []byte     `json:"rawBytes"`
	KeyDetails string     `json:"keyDetails"`
	ValidFor   periodJSON `json:"validFor"`
}

type logIDsJSON struct {
	KeyID []byte `json:"keyId"`
}

type periodJSON struct {
	Start string `json:"start"`
	End   string `json:"end,omitempty"`
}

func period(start, end time.Time) periodJSON {
	return periodJSON{Start: start.UTC().Format(time.RFC3339), End: end.UTC().Format(time.RFC3339)}
}

// mergeRoots takes the logs of one root and the timestamp authorities of another into a third; any of them may be nil.
// As long as one of them is still to be fetched, so is the whole.
func mergeRoots(base, logs, timestamps *rootSource) (*engine.TrustRoot, error) {
	merged := rootJSON{MediaType: rootMediaType}
	var names []string
	for _, part := range []*rootSource{base, logs, timestamps} {
		if part == nil {
			continue
		}
		if len(names) == 0 || names[len(names)-1] != part.name {
			names = append(names, part.name)
		}
		if len(part.json) == 0 {
			return trustRoot(rootSource{name: part.name}), nil
		}
		root, err := parseRoot(part.json)
		if err != nil {
			return nil, err
		}
		if part == base {
			merged = *root
			if merged.MediaType == "" {
				merged.MediaType = rootMediaType
			}
		}
		if part == logs {
			merged.TLogs = root.TLogs
		}
		if part == timestamps {
			merged.TimestampAuthorities = root.TimestampAuthorities
		}
	}
	text, err := json.Marshal(merged)
	if err != nil {
		return nil, err
	}
	return trustRoot(rootSource{strings.Join(names, " and "), text}), nil
}

// parseRoot reads the outermost level of a trusted_root.json. Its names can be written in two ways (ProtoJSON).
func parseRoot(text []byte) (*rootJSON, error) {
	var root struct {
		rootJSON
		MediaType2             string            `json:"media_type"`
		CertificateAuthorities []json.RawMessage `json:"certificate_authorities"`
		TimestampAuthorities   []json.RawMessage `json:"timestamp_authorities"`
	}
	if len(bytes.TrimSpace(text)) == 0 || bytes.TrimSpace(text)[0] != '{' {
		return nil, errors.New("this is no trusted_root.json, which is JSON and begins with {")
	}
	if err := json.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("this is no trusted_root.json: %w", err)
	}
	if root.rootJSON.MediaType == "" {
		root.rootJSON.MediaType = root.MediaType2
	}
	root.rootJSON.CertificateAuthorities = append(root.rootJSON.CertificateAuthorities, root.CertificateAuthorities...)
	root.rootJSON.TimestampAuthorities = append(root.rootJSON.TimestampAuthorities, root.TimestampAuthorities...)
	return &root.rootJSON, nil
}
