package signaturetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// classic is a classic item in the shape that sigstore-go verifies.
type classic struct {
	verify.BaseSignedEntity
	item *Item
}

func (c *classic) HasInclusionPromise() bool { return c.item.Annotations[LogEntryAnnotation] != "" }

func (c *classic) Version() (string, error) { return "v0.1", nil }

func (c *classic) SignatureContent() (verify.SignatureContent, error) {
	if c.item.MediaType == EnvelopeMediaType {
		envelope := &dsse.Envelope{}
		return &bundle.Envelope{Envelope: envelope}, json.Unmarshal(c.item.Content, envelope)
	}
	sig, err := base64.StdEncoding.DecodeString(c.item.Annotations[SignatureAnnotation])
	if err != nil {
		return nil, err
	}
	leaf, err := c.leaf()
	if err != nil {
		return nil, err
	}
	// The hash of the key's size, which Rekor's entry has as well.
	hash, name := crypto.SHA256, "sha256"
	if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); ok {
		switch key.Curve.Params().BitSize {
		case 384:
			hash, name = crypto.SHA384, "sha384"
		case 521:
			hash, name = crypto.SHA512, "sha512"
		}
	}
	h := hash.New()
	h.Write(c.item.Content)
	return bundle.NewMessageSignature(h.Sum(nil), name, sig), nil
}

func (c *classic) VerificationContent() (verify.VerificationContent, error) {
	leaf, err := c.leaf()
	return bundle.NewCertificate(leaf), err
}

func (c *classic) leaf() (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(c.item.Annotations[CertificateAnnotation]))
	return x509.ParseCertificate(block.Bytes)
}

func (c *classic) TlogEntries() ([]*tlog.Entry, error) {
	text := c.item.Annotations[LogEntryAnnotation]
	if text == "" {
		return nil, nil
	}
	var e struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte
			IntegratedTime int64
			LogIndex       int64
			LogID          string
		}
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(e.Payload.LogID)
	if err != nil {
		return nil, err
	}
	version, err := kind(e.Payload.Body)
	if err != nil {
		return nil, err
	}
	entry, err := tlog.ParseTransparencyLogEntry(&protorekor.TransparencyLogEntry{
		LogIndex: e.Payload.LogIndex, LogId: &protocommon.LogId{KeyId: id}, KindVersion: version,
		IntegratedTime: e.Payload.IntegratedTime, CanonicalizedBody: e.Payload.Body,
		InclusionPromise: &protorekor.InclusionPromise{SignedEntryTimestamp: e.SignedEntryTimestamp},
	})
	return []*tlog.Entry{entry}, err
}

func (c *classic) Timestamps() ([][]byte, error) {
	text := c.item.Annotations[TimestampAnnotation]
	if text == "" {
		return nil, nil
	}
	var ts struct{ SignedRFC3161Timestamp []byte }
	err := json.Unmarshal([]byte(text), &ts)
	return [][]byte{ts.SignedRFC3161Timestamp}, err
}
