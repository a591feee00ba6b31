package proof

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// entity is what sigstore-go verifies: every format comes down to one. Its parts have been parsed once, whereas
// sigstore-go's own bundle parses them whenever it is asked.
type entity struct {
	version    string
	content    verify.VerificationContent
	signature  verify.SignatureContent
	entries    []*tlog.Entry
	timestamps [][]byte
}

var _ verify.SignedEntity = (*entity)(nil)

func (e *entity) Version() (string, error) { return e.version, nil }

func (e *entity) VerificationContent() (verify.VerificationContent, error) { return e.content, nil }

func (e *entity) SignatureContent() (verify.SignatureContent, error) { return e.signature, nil }

func (e *entity) TlogEntries() ([]*tlog.Entry, error) { return e.entries, nil }

func (e *entity) Timestamps() ([][]byte, error) { return e.timestamps, nil }

func (e *entity) HasInclusionPromise() bool {
	for _, entry := range e.entries {
		if entry.HasInclusionPromise() {
			return true
		}
	}
	return false
}

func (e *entity) HasInclusionProof() bool {
	for _, entry := range e.entries {
		if entry.HasInclusionProof() {
			return true
		}
	}
	return false
}

// chained is a certificate with what else the signature brought for the way to the root.
type chained struct {
	verify.VerificationContent
	intermediates []*x509.Certificate
}

func (c chained) Intermediates() []*x509.Certificate { return c.intermediates }

// keyed is a root under which a signature is by one key, whatever its hint says: anyone can write a hint.
type keyed struct {
	root.TrustedMaterial
	key *key
}

func (k keyed) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) { return k.key, nil }

// stamped is a root under which timestamps are over something else than the signature.
type stamped struct {
	root.TrustedMaterial
	over []byte
}

func (s stamped) TimestampingAuthorities() []root.TimestampingAuthority {
	var all []root.TimestampingAuthority
	for _, a := range s.TrustedMaterial.TimestampingAuthorities() {
		all = append(all, stampedAuthority{a, s.over})
	}
	return all
}

type stampedAuthority struct {
	root.TimestampingAuthority
	over []byte
}

func (a stampedAuthority) Verify(timestamp, _ []byte) (*root.Timestamp, error) {
	return a.TimestampingAuthority.Verify(timestamp, a.over)
}

// readCertificate reads the one certificate of a classic signature.
func readCertificate(raw []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(raw)
	switch {
	case block == nil:
		return nil, errors.New("it is not PEM")
	case block.Type != "CERTIFICATE":
		return nil, fmt.Errorf("it is a %.32q", block.Type)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("there is more than one")
	}
	return parseCertificate(block.Bytes)
}

// readChain reads the certificates that a classic signature brings beside its own: cosign writes those of the way to
// the root, root and all. Only what may stand between is of use.
func readChain(raw []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for len(bytes.TrimSpace(raw)) > 0 {
		block, rest := pem.Decode(raw)
		switch {
		case block == nil:
			return nil, errors.New("it is not PEM")
		case len(all) == maxIntermediates:
			return nil, fmt.Errorf("it has more than %d certificates", maxIntermediates)
		}
		c, err := parseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
		raw = rest
	}
	return between(all), nil
}

// between returns those of certificates that may stand between a certificate and a root: one of each name, so that there
// is one way to try and not as many as there are ways to order them.
func between(certificates []*x509.Certificate) []*x509.Certificate {
	var all []*x509.Certificate
	for _, c := range certificates {
		again := slices.ContainsFunc(all, func(o *x509.Certificate) bool { return bytes.Equal(o.RawSubject, c.RawSubject) })
		if c.IsCA && !bytes.Equal(c.RawSubject, c.RawIssuer) && !again {
			all = append(all, c)
		}
	}
	return all
}
