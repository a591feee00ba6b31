package signaturetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

const decade = 10 * 365 * 24 * time.Hour

// PKI is a certificate authority of one's own: a root, and perhaps an intermediate that issues in its place. It is
// immutable.
type PKI struct {
	root, intermediate *issuer // intermediate is nil if the root issues itself
}

type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// NewPKI makes one with keys of its own, valid for ten years before and after, with an intermediate or without.
func NewPKI(name string, intermediate bool) (*PKI, error) { return newPKI(name, intermediate) }

func newPKI(name string, intermediate bool, usages ...x509.ExtKeyUsage) (*PKI, error) {
	if len(usages) == 0 {
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	}
	now := time.Now()
	ca := func(common string, parent *issuer) (*issuer, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		template := &x509.Certificate{
			Subject:   pkix.Name{CommonName: common, Organization: []string{name}},
			NotBefore: now.Add(-decade), NotAfter: now.Add(decade),
			KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			BasicConstraintsValid: true, IsCA: true,
		}
		if parent == nil {
			parent = &issuer{cert: template, key: key}
		} else {
			template.ExtKeyUsage = usages
		}
		cert, err := issue(template, parent, key.Public())
		return &issuer{cert: cert, key: key}, err
	}
	p := &PKI{}
	var err error
	if p.root, err = ca("root", nil); err != nil || !intermediate {
		return p, err
	}
	p.intermediate, err = ca("intermediate", p.root)
	return p, err
}

// WithIntermediateUntil returns the same authority with another certificate of its intermediate, which ends then.
func (p *PKI) WithIntermediateUntil(then time.Time) (*PKI, error) {
	template := *p.intermediate.cert
	template.NotAfter = then
	cert, err := issue(&template, p.root, p.intermediate.key.Public())
	return &PKI{root: p.root, intermediate: &issuer{cert: cert, key: p.intermediate.key}}, err
}

// RootPEM returns the root's certificate.
func (p *PKI) RootPEM() ([]byte, error) { return cryptoutils.MarshalCertificateToPEM(p.root.cert) }

// IntermediatePEM returns the intermediate's certificate; nothing if there is none.
func (p *PKI) IntermediatePEM() ([]byte, error) {
	return cryptoutils.MarshalCertificatesToPEM(p.intermediates())
}

func (p *PKI) intermediates() []*x509.Certificate {
	if p.intermediate == nil {
		return nil
	}
	return []*x509.Certificate{p.intermediate.cert}
}

// issuing is who signs leaf certificates.
func (p *PKI) issuing() *issuer {
	if p.intermediate != nil {
		return p.intermediate
	}
	return p.root
}

// Identity is what a certificate says, and for how long.
type Identity struct {
	Issuer    string    // of the token, for Fulcio's extensions; a PKI of one's own has none if it is empty
	Subject   string    // a URI if it has a scheme, or else an e-mail address
	NotBefore time.Time // zero means a minute ago
	NotAfter  time.Time // zero means ten minutes after NotBefore
	Kind      Kind      // of the key
	NoSCT     bool      // Fulcio: no log has seen the certificate
	SCTBy     *Sigstore // Fulcio: whose log has seen it; nil means that of the instance
}

// Signer returns a signer whose certificate p has issued, without Fulcio's extensions if id has no issuer.
func (p *PKI) Signer(id Identity) (*Signer, error) {
	return p.signer(id, func(template *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
		return issue(template, p.issuing(), public)
	})
}

// Keyless returns a signer with a certificate as Fulcio issues it, seen by a certificate transparency log.
func (s *Sigstore) Keyless(id Identity) (*Signer, error) {
	log := s.ctLog
	if id.SCTBy != nil {
		log = id.SCTBy.ctLog
	}
	signer, err := s.fulcio.signer(id, func(template *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
		pre, err := issue(template, s.fulcio.issuing(), public)
		if err != nil || id.NoSCT {
			return pre, err
		}
		list, err := log.sctList(pre, s.fulcio.issuing().cert)
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, list)
		return issue(template, s.fulcio.issuing(), public)
	})
	if signer != nil {
		signer.fulcio = true
	}
	return signer, err
}

func (p *PKI) signer(id Identity, issue func(*x509.Certificate, crypto.PublicKey) (*x509.Certificate, error)) (*Signer, error) {
	signer, err := NewKeySigner(id.Kind)
	if err != nil {
		return nil, err
	}
	template, err := id.template()
	if err != nil {
		return nil, err
	}
	if signer.leaf, err = issue(template, signer.key.Public()); err != nil {
		return nil, err
	}
	signer.chain = append(p.intermediates(), p.root.cert)
	return signer, nil
}

func (id Identity) template() (*x509.Certificate, error) {
	if id.NotBefore.IsZero() {
		id.NotBefore = time.Now().Add(-time.Minute)
	}
	if id.NotAfter.IsZero() {
		id.NotAfter = id.NotBefore.Add(10 * time.Minute)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: id.NotBefore, NotAfter: id.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if strings.Contains(id.Subject, "://") {
		u, err := url.Parse(id.Subject)
		if err != nil {
			return nil, err
		}
		template.URIs = []*url.URL{u}
	} else if id.Subject != "" {
		template.EmailAddresses = []string{id.Subject}
	}
	if id.Issuer == "" {
		return template, nil
	}
	der, err := asn1.MarshalWithParams(id.Issuer, "utf8")
	if err != nil {
		return nil, err
	}
	// Fulcio's docs/oid-info.md: the issuer as bare text, and as an ASN.1 string.
	template.ExtraExtensions = []pkix.Extension{
		{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(id.Issuer)},
		{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: der},
	}
	return template, nil
}

func issue(template *x509.Certificate, by *issuer, public crypto.PublicKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, public, by.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
