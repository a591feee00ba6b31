// Package pki issues the certificates that the apiserver and the service know each other by: a certificate authority
// of their own, a server certificate and a client certificate.
//
// It decides how they look: P-256, SHA-256, names as SANs, serials of 128 random bits. It trusts crypto/x509, the
// clock and the caller's choice of names. It never keeps a key in a file that others can read, and never logs one.
package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// The lives of certificates where [Options] say nothing.
const (
	DefaultCAValidity   = 10 * year
	DefaultLeafValidity = year

	year = 365 * 24 * time.Hour

	// backDate is how far a certificate's life begins in the past, for machines whose clocks are behind.
	backDate = 5 * time.Minute
)

// Options are the choices at issuing a certificate. The zero value is useful.
type Options struct {
	// Validity is how long the certificate is good for from now; 0 is the default of its kind. A certificate never
	// outlives its CA, whatever is asked.
	Validity time.Duration
}

func (o Options) end(now time.Time, byDefault time.Duration) (time.Time, error) {
	switch {
	case o.Validity < 0:
		return time.Time{}, fmt.Errorf("a certificate cannot be valid for %s", o.Validity)
	case o.Validity == 0:
		return now.Add(byDefault), nil
	}
	return now.Add(o.Validity), nil
}

// Pair is a certificate and its private key, both PEM: CERTIFICATE, and PRIVATE KEY (PKCS #8).
type Pair struct {
	Cert, Key []byte
}

// CA is a certificate authority. It is safe for concurrent use.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
	pair Pair
}

// NewCA makes a certificate authority with a fresh key. It may sign leaves only, no further authority.
func NewCA(o Options) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the CA's key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	id, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	end, err := o.end(now, DefaultCAValidity)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// Two authorities of one name and different keys confuse verifiers and people, so the name carries the key's.
		Subject:               pkix.Name{CommonName: fmt.Sprintf("sluice CA %x", id[:4])},
		NotBefore:             now.Add(-backDate),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		SubjectKeyId:          id,
		AuthorityKeyId:        id,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the CA's certificate: %w", err)
	}
	return newCA(der, key)
}

// LoadCA takes up an authority that exists already, such as one that [NewCA] made. The key may be PKCS #8 (PRIVATE
// KEY), SEC 1 (EC PRIVATE KEY) or PKCS #1 (RSA PRIVATE KEY). It is an error if the certificate is no authority's, is
// not valid now, or is not this key's.
func LoadCA(certPEM, keyPEM []byte) (*CA, error) {
	cert, err := parseCert(certPEM)
	if err != nil {
		return nil, err
	}
	if !cert.BasicConstraintsValid || !cert.IsCA {
		return nil, fmt.Errorf("the certificate of %q is not a certificate authority's", cert.Subject)
	}
	if cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("the certificate of %q must not sign certificates (key usage)", cert.Subject)
	}
	switch now := time.Now(); {
	case now.After(cert.NotAfter):
		return nil, fmt.Errorf("the certificate of %q ended on %s", cert.Subject, cert.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(cert.NotBefore):
		return nil, fmt.Errorf("the certificate of %q begins on %s", cert.Subject, cert.NotBefore.UTC().Format(time.DateOnly))
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("the CA's key: %w", err)
	}
	if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("the key is not that of the certificate of %q", cert.Subject)
	}
	return newCA(cert.Raw, key)
}

func newCA(der []byte, key crypto.Signer) (*CA, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the CA's certificate: %w", err)
	}
	pair, err := encode(der, key)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key, pair: pair}, nil
}

// Pair returns the authority's own certificate and key. The caller must not change the bytes.
func (ca *CA) Pair() Pair { return ca.pair }

// NotAfter returns the end of the authority's life, which no certificate of its outlives.
func (ca *CA) NotAfter() time.Time { return ca.cert.NotAfter }

func parseCert(data []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("the CA's certificate is not PEM")
	case block.Type != "CERTIFICATE":
		return nil, fmt.Errorf("the CA's certificate is a PEM block of type %q, not CERTIFICATE", block.Type)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("the CA's certificate is followed by something else; give the one certificate that signs")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the CA's certificate: %w", err)
	}
	return cert, nil
}

func parseKey(data []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(data)
	for block != nil && block.Type == "EC PARAMETERS" { // openssl writes them before the key
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	var key any
	var err error
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["Proc-Type"] != "":
		return nil, errors.New("it is encrypted; decrypt it first (openssl pkey)")
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("it is a PEM block of type %q, not PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("it cannot be parsed: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("it cannot sign (%T)", key)
	}
	return signer, nil
}

func encode(der []byte, key crypto.Signer) (Pair, error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode a private key: %w", err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}, nil
}

// newSerial draws 128 random bits, so that serials neither repeat nor can be foretold (RFC 5280 allows 20 octets).
func newSerial() (*big.Int, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return new(big.Int).SetBytes(b[:]), nil
}

// keyID is RFC 7093's first method: the leftmost 160 bits of the SHA-256 of the public key's bits.
func keyID(pub *ecdsa.PublicKey) ([]byte, error) {
	bits, err := pub.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode a public key: %w", err)
	}
	sum := sha256.Sum256(bits)
	return sum[:20], nil
}
