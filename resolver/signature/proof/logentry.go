package proof

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	intoto "github.com/sigstore/rekor/pkg/types/intoto/v0.0.1"
	"github.com/sigstore/sigstore-go/pkg/tlog"

	"sluice/resolver/signature/attached"
)

// readLogEntry reads what cosign notes of a classic signature's entry in Rekor v1 (RekorBundle in its
// pkg/cosign/bundle):
//
//	{"SignedEntryTimestamp": "…", "Payload": {"body": "…", "integratedTime": 1, "logIndex": 1, "logID": "…"}}
func readLogEntry(raw []byte) (*protorekor.TransparencyLogEntry, error) {
	if err := checkJSON(raw, maxDepth, maxElements); err != nil {
		return nil, err
	}
	var (
		w         = walker{raw}
		body, set []byte
		at, index int64
		log       []byte
	)
	err := w.object(func(name string) (err error) {
		switch name {
		case "SignedEntryTimestamp":
			set, err = w.base64()
			return err
		case "Payload":
			return w.object(func(name string) (err error) {
				switch name {
				case "body":
					body, err = w.base64()
				case "integratedTime":
					at, err = w.number()
				case "logIndex":
					index, err = w.number()
				case "logID":
					var id string
					if id, err = w.text(); err == nil {
						log, err = hex.DecodeString(id)
					}
				default:
					err = unknownMember(name)
				}
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				return nil
			})
		}
		return unknownMember(name)
	})
	switch {
	case err != nil:
		return nil, err
	case len(body) == 0 || len(set) == 0 || len(log) == 0 || at <= 0 || index < 0:
		return nil, errors.New("it is not whole")
	}
	kind, version, err := readKind(body)
	if err != nil {
		return nil, fmt.Errorf("its body: %w", err)
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:          index,
		LogId:             &protocommon.LogId{KeyId: log},
		KindVersion:       &protorekor.KindVersion{Kind: kind, Version: version},
		IntegratedTime:    at,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: set},
		CanonicalizedBody: body,
	}, nil
}

// readLogEntry reads the entry that stands beside a classic signature.
func (s *signed) readLogEntry(item *attached.Item, most int) error {
	tle, err := readLogEntry(item.LogEntry)
	if err != nil {
		return err
	}
	if err := checkEntries([]*protorekor.TransparencyLogEntry{tle}, most); err != nil {
		return err
	}
	entry, err := tlog.ParseTransparencyLogEntry(tle)
	if err != nil {
		return err
	}
	if k := tle.GetKindVersion(); s.envelope && k.GetKind() == "intoto" && k.GetVersion() == intoto.APIVERSION {
		s.old, err = readOldEntry(entry, tle.GetCanonicalizedBody(), item.Content)
		return err
	}
	s.entries = []*tlog.Entry{entry}
	return nil
}

// readKind reads of what kind an entry's body is, so that what depends on it gets nothing else: Rekor's types take both
// for granted.
func readKind(body []byte) (kind, version string, err error) {
	if err := checkJSON(body, maxDepth, maxElements); err != nil {
		return "", "", err
	}
	w := walker{body}
	err = w.object(func(name string) (err error) {
		switch name {
		case "kind":
			kind, err = w.text()
		case "apiVersion":
			version, err = w.text()
		default:
			w.value()
		}
		return err
	})
	if err == nil && (kind == "" || version == "") {
		err = errors.New("it has no kind and apiVersion")
	}
	return kind, version, err
}

// readTimestamp reads what cosign notes of a classic signature's timestamp: {"SignedRFC3161Timestamp": "…"}.
func readTimestamp(raw []byte) (timestamp []byte, err error) {
	if err := checkJSON(raw, maxDepth, maxElements); err != nil {
		return nil, err
	}
	w := walker{raw}
	err = w.object(func(name string) (err error) {
		if name != "SignedRFC3161Timestamp" {
			return unknownMember(name)
		}
		timestamp, err = w.base64()
		return err
	})
	if err == nil && len(timestamp) == 0 {
		err = errors.New("it has no SignedRFC3161Timestamp")
	}
	return timestamp, err
}

// base64 reads a string of bytes.
func (w *walker) base64() ([]byte, error) {
	s, err := w.text()
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

// number reads an integer.
func (w *walker) number() (int64, error) {
	n, err := strconv.ParseInt(string(w.value()), 10, 64)
	if err != nil {
		return 0, errors.New("an integer was expected")
	}
	return n, nil
}
