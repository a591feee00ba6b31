package attached

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sluice/engine"
)

// The layers that are items, and what their annotations are called (cosign's pkg/oci/static and pkg/types; sigstore's
// bundle specification). cosign writes none of them compressed, so that of another media type is none.
const (
	payloadType  = "application/vnd.dev.cosign.simplesigning.v1+json"
	envelopeType = "application/vnd.dsse.envelope.v1+json"
	bundleType   = "application/vnd.dev.sigstore.bundle"

	signatureKey   = "dev.cosignproject.cosign/signature"
	certificateKey = "dev.sigstore.cosign/certificate"
	chainKey       = "dev.sigstore.cosign/chain"
	logEntryKey    = "dev.sigstore.cosign/bundle"
	timestampKey   = "dev.sigstore.cosign/rfc3161timestamp"
)

// formOf returns what a layer of this media type is, 0 if it is no item. Bundles are …bundle+json;version=0.1 (and 0.2,
// 0.3) or …bundle.v0.3+json (and later).
func formOf(mediaType string) Form {
	switch mediaType {
	case payloadType:
		return SimpleSigning
	case envelopeType:
		return Envelope
	}
	rest, ok := strings.CutPrefix(mediaType, bundleType)
	if !ok || len(rest) > 32 {
		return 0
	}
	kind, _, _ := strings.Cut(rest, ";")
	if version, ok := strings.CutSuffix(kind, "+json"); ok && (version == "" || version[0] == '.') {
		return Bundle
	}
	return 0
}

// manifest is what is wanted of an image manifest.
type manifest struct {
	Subject subject `json:"subject"`
	Layers  layers  `json:"layers"`
}

// candidate is an item in the making.
type candidate struct {
	Item
	size int64 // of the content, by the descriptor
}

// parseManifest reads a manifest, or returns a failure if it can't be one. A manifest without items, an index among
// them, is one that the registry was right to serve.
func parseManifest(raw []byte) (manifest, *engine.Failure) {
	var m manifest
	switch err := json.Unmarshal(raw, &m); {
	case errors.Is(err, errTooManyLayers):
		return m, malformed(err, "too many signatures: a manifest of signatures has more than %d layers", maxLayers)
	case err != nil:
		return m, malformed(err, "the registry's answer is no manifest of signatures")
	}
	return m, nil
}

// candidates returns the items that a manifest holds. where says which manifest it is.
func (m *manifest) candidates(where string) []*candidate {
	var all []*candidate
	for i := range m.Layers {
		if form := formOf(m.Layers[i].MediaType); form != 0 {
			c := &candidate{size: m.Layers[i].Size}
			c.Form, c.Found = form, fmt.Sprintf("%s, layer %d", where, i)
			c.Fault = c.describe(&m.Layers[i])
			all = append(all, c)
		}
	}
	return all
}

// subject is what a manifest is about.
type subject struct {
	digest engine.Digest // empty if it names none, or none of ours
	seen   bool
}

// UnmarshalJSON takes whatever is there, once: it is the doing of who pushed it.
func (s *subject) UnmarshalJSON(raw []byte) error {
	if s.seen {
		return errTwice
	}
	s.seen = true
	var d struct {
		Digest string `json:"digest"`
	}
	_ = json.Unmarshal(raw, &d)
	s.digest, _ = engine.ParseDigest(d.Digest)
	return nil
}

// layers are the layers of a manifest, of which there are at most maxLayers.
type layers []layer

// layer is what an item needs of a layer's descriptor.
type layer struct {
	MediaType   string `json:"mediaType"`
	Digest      string `json:"digest"`
	Size        int64  `json:"size"`
	Annotations struct {
		Signature   string `json:"dev.cosignproject.cosign/signature"`
		Certificate string `json:"dev.sigstore.cosign/certificate"`
		Chain       string `json:"dev.sigstore.cosign/chain"`
		LogEntry    string `json:"dev.sigstore.cosign/bundle"`
		Timestamp   string `json:"dev.sigstore.cosign/rfc3161timestamp"`
	} `json:"annotations"`
}

var (
	errTooManyLayers = errors.New("too many layers")
	errTwice         = errors.New("layers or subject is there twice")
)

// UnmarshalJSON reads one layer after the other, so that four megabytes of "{}," do not become ninety.
func (ls *layers) UnmarshalJSON(raw []byte) error {
	if *ls != nil { // or else the work of maxLayers could be had any number of times
		return errTwice
	}
	*ls = layers{}
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return err
	}
	for d.More() {
		if len(*ls) == maxLayers {
			return errTooManyLayers
		}
		var l layer
		// What is of the wrong type is skipped: the doing of who pushed it, which leaves the layer no signature.
		var wrongType *json.UnmarshalTypeError
		if err := d.Decode(&l); err != nil && !errors.As(err, &wrongType) {
			return err
		}
		*ls = append(*ls, l)
	}
	return nil
}

// describe takes over what the descriptor says, and returns why the item can be no signature, if that is known already.
func (c *candidate) describe(l *layer) error {
	var err error
	if c.Blob, err = engine.ParseDigest(l.Digest); err != nil {
		return fmt.Errorf("its content has no digest: %w", err)
	}
	if l.Size <= 0 {
		return fmt.Errorf("its content has %d bytes", l.Size)
	}
	if c.Form == Bundle { // which has all of it inside
		return nil
	}
	for _, a := range []struct {
		name, value string
		max         int
		into        *[]byte
	}{
		{certificateKey, l.Annotations.Certificate, maxCertificate, &c.Certificate},
		{chainKey, l.Annotations.Chain, maxCertificate, &c.Chain},
		{logEntryKey, l.Annotations.LogEntry, maxLogEntry, &c.LogEntry},
		{timestampKey, l.Annotations.Timestamp, maxTimestamp, &c.Timestamp},
	} {
		if len(a.value) > a.max {
			return fmt.Errorf("its annotation %s is longer than %d bytes", a.name, a.max)
		}
		if a.value != "" {
			*a.into = []byte(a.value)
		}
	}
	if c.Form != SimpleSigning {
		return nil
	}
	switch s := l.Annotations.Signature; {
	case s == "":
		return errors.New("it has no annotation " + signatureKey)
	case len(s) > maxSignature:
		return fmt.Errorf("its signature is longer than %d bytes", maxSignature)
	default:
		if c.Signature, err = base64.StdEncoding.DecodeString(s); err != nil {
			return fmt.Errorf("its signature is not base64: %w", err)
		}
	}
	return nil
}
