package e2e

import (
	"crypto/x509"
	"path/filepath"
	"testing"
	"time"
)

// ownPKI is a PKI of one's own: an authority, and one that has the same name and is not trusted.
type ownPKI struct {
	dir          string
	ca, stranger *holder
}

func newOwnPKI(t testing.TB) ownPKI {
	t.Helper()
	p := ownPKI{dir: t.TempDir()}
	var err error
	p.ca, err = issueCA("own", x509.ExtKeyUsageCodeSigning)
	must(t, err)
	p.stranger, err = issueCA("own", x509.ExtKeyUsageCodeSigning)
	must(t, err)
	must(t, writeChain(p.roots(), p.ca.chain...))
	return p
}

// roots is the file of what is trusted.
func (p ownPKI) roots() string { return filepath.Join(p.dir, "roots.pem") }

// byCertificate signs with a certificate that ends at a time, for which nobody vouches.
func byCertificate(by func(p ownPKI) *holder, address string, ends func() time.Time) with {
	return func(s *signing, f form) []string {
		return append(s.certificate(by(s.pki), address, ends()), s.services(f, "key", "--tlog-upload=false")...)
	}
}

// byCertificateTimestamped has the timestamp authority's word.
func byCertificateTimestamped(by func(p ownPKI) *holder, address string, ends func() time.Time) with {
	return func(s *signing, f form) []string {
		return append(s.certificate(by(s.pki), address, ends()),
			s.services(f, "tsa", "--tlog-upload=false", "--timestamp-server-url", s.urls.tsa)...)
	}
}

func trusted(p ownPKI) *holder   { return p.ca }
func untrusted(p ownPKI) *holder { return p.stranger }

func inADay() time.Time    { return time.Now().Add(24 * time.Hour) }
func anHourAgo() time.Time { return time.Now().Add(-time.Hour) }

// certificate makes one, and returns cosign's flags for it.
func (s *signing) certificate(by *holder, address string, ends time.Time) []string {
	s.Helper()
	h, err := issue(x509.Certificate{
		EmailAddresses: []string{address}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, NotAfter: ends, NotBefore: ends.AddDate(0, 0, -7),
	}, by)
	must(s, err)
	dir := s.TempDir()
	must(s, writeChain(filepath.Join(dir, "certificate.pem"), h.certificate))
	must(s, writeChain(filepath.Join(dir, "chain.pem"), h.chain[1:]...))
	return []string{
		"--key", importPrivate(s, h.key).private, "--certificate", filepath.Join(dir, "certificate.pem"),
		"--certificate-chain", filepath.Join(dir, "chain.pem"),
	}
}
