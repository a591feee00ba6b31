package proof

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// oldEntry is an entry of the type intoto v0.0.1, in which cosign before v2.2 logged attestations. sigstore-go does not
// verify those: unlike the types after it, it has the hash of the whole envelope, signatures and all, and not the
// signature. What the entry is bound to is therefore compared here; the log's promise, timestamps, certificates and
// their SCTs are sigstore-go's to verify still.
type oldEntry struct {
	entry    *tlog.Entry
	material []byte // DER: the certificate, or else the key
}

// readOldEntry reads such an entry's body, and tells whether it is for this envelope.
//
//	{"apiVersion": "0.0.1", "kind": "intoto", "spec": {"content": {"hash": {"algorithm": "sha256", "value": "…"}, …}, "publicKey": "…"}}
func readOldEntry(entry *tlog.Entry, body, envelope []byte) (*oldEntry, error) {
	var algorithm, value string
	var key []byte
	w := walker{body}
	in := func(member string, read func() error) func(string) error { // of an object, what is of use
		return func(name string) error {
			if name == member {
				return read()
			}
			w.value()
			return nil
		}
	}
	hash := func(name string) (err error) {
		switch name {
		case "algorithm":
			algorithm, err = w.text()
		case "value":
			value, err = w.text()
		default:
			w.value()
		}
		return err
	}
	content := func() error { return w.object(in("hash", func() error { return w.object(hash) })) }
	err := w.object(in("spec", func() error {
		return w.object(func(name string) (err error) {
			if name == "publicKey" {
				key, err = w.base64()
				return err
			}
			return in("content", content)(name)
		})
	}))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(envelope)
	if algorithm != "sha256" || value != hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("it is of another envelope: %.16q %.80q", algorithm, value)
	}
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("it has neither key nor certificate")
	}
	return &oldEntry{entry: entry, material: block.Bytes}, nil
}

// verifyOld verifies what s says with an entry of the old type: everything that sigstore-go's Verifier sees to, by the
// same parts of it. That the signature is by the key or the certificate has been verified already.
func (j *Judge) verifyOld(s *signed, e *entity, material root.TrustedMaterial, k *key) (*verify.VerificationResult, *Refusal) {
	var chains [][]*x509.Certificate
	if k == nil {
		var other error
		if chains, other = chainsTo(material, s, s.certificate.NotBefore); other != nil {
			return nil, invalid("%w", other)
		}
	}
	logs := material.RekorLogs()
	if _, ok := logs[hex.EncodeToString([]byte(s.old.entry.LogKeyID()))]; !ok {
		return nil, unvouched(noEntry)
	}
	if !s.old.by(s, k) {
		return nil, unvouched("its log entry is of another signer")
	}
	if err := tlog.VerifySET(s.old.entry, logs); err != nil {
		return nil, unvouched("%s: %w", badEntry, err)
	}
	if j.trust.Logs > 1 {
		return nil, unvouched("it is in one log, and %d are asked for", j.trust.Logs)
	}
	result := verify.NewVerificationResult()
	add := func(kind string, at time.Time) {
		result.VerifiedTimestamps = append(result.VerifiedTimestamps, verify.TimestampVerificationResult{Type: kind, Timestamp: at})
	}
	add("Tlog", s.old.entry.IntegratedTime())
	stamps, _, err := verify.VerifySignedTimestamp(e, material)
	if err != nil || len(stamps) < j.trust.Timestamps {
		return nil, unvouched("it has timestamps of %d trusted authorities, not %d", len(stamps), j.trust.Timestamps)
	}
	for _, stamp := range stamps {
		add("TimestampAuthority", stamp.Time)
	}
	if k != nil {
		return result, nil
	}
	for _, t := range result.VerifiedTimestamps {
		if chains, err = chainsTo(material, s, t.Timestamp); err != nil {
			return nil, expired("it was made when its certificate was not valid (%s)", span(s.certificate))
		}
	}
	if j.trust.SCTs > 0 {
		if err := verify.VerifySignedCertificateTimestamp(chains, j.trust.SCTs, material); err != nil {
			return nil, unvouched(noSCT)
		}
	}
	summary, err := certificate.SummarizeCertificate(s.certificate)
	if err != nil {
		return nil, invalid("its certificate: %w", err)
	}
	result.Signature = &verify.SignatureVerificationResult{Certificate: &summary}
	return result, nil
}

// by tells whether the entry names the signer of s: the key k, or the certificate if that is nil.
func (o *oldEntry) by(s *signed, k *key) bool {
	if k == nil {
		return bytes.Equal(o.material, s.certificate.Raw)
	}
	public, err := x509.ParsePKIXPublicKey(o.material)
	if err != nil {
		return false
	}
	p, ok := public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && p.Equal(k.public)
}
