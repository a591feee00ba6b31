package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Renew issues a certificate anew: with a fresh key, for the same subject, names and usages, and for as long as the one
// before was good for unless the options say otherwise. The certificate is the first of chain; what follows, such as the
// authority's own, follows the new one too. One that has ended can be renewed. It is an error if it is an authority's, or
// was issued by another authority: whoever trusts that would not believe the new one.
func (ca *CA) Renew(chain []byte, o Options) (Pair, error) {
	certs, err := ParseCertificates(chain)
	if err != nil {
		return Pair{}, err
	}
	old := certs[0]
	if old.IsCA {
		return Pair{}, fmt.Errorf("%q is a certificate authority, and all that trusts it would have to be told of another", old.Subject)
	}
	if err := old.CheckSignatureFrom(ca.cert); err != nil {
		return Pair{}, fmt.Errorf("the certificate of %q was issued by %q, and not by this %q", old.Subject, old.Issuer, ca.cert.Subject)
	}
	if o.Validity == 0 {
		o.Validity = old.NotAfter.Sub(old.NotBefore) - backDate
	}
	p, err := ca.issue(&x509.Certificate{
		RawSubject: old.RawSubject, Subject: old.Subject,
		DNSNames: old.DNSNames, IPAddresses: old.IPAddresses, URIs: old.URIs, EmailAddresses: old.EmailAddresses,
		ExtKeyUsage: old.ExtKeyUsage, UnknownExtKeyUsage: old.UnknownExtKeyUsage,
	}, o)
	for _, c := range certs[1:] {
		p.Cert = append(p.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return p, err
}

// ParseCertificates parses all certificates of a file: a leaf and what it was issued by, or a bundle of authorities. It is
// an error if there is none, or if there is anything else.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for len(bytes.TrimSpace(data)) > 0 {
		block, rest := pem.Decode(data)
		switch {
		case block == nil:
			return nil, errors.New("this is not PEM")
		case block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("a PEM block is of type %q, not CERTIFICATE", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse a certificate: %w", err)
		}
		all, data = append(all, cert), rest
	}
	if len(all) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return all, nil
}

// IsKeyOf tells whether a private key (PEM, in the forms that [LoadCA] takes) is a certificate's.
func IsKeyOf(cert *x509.Certificate, keyPEM []byte) (bool, error) {
	key, err := parseKey(keyPEM)
	if err != nil {
		return false, err
	}
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(cert.PublicKey), nil
}
