package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// holder is a certificate with its key.
type holder struct {
	certificate *x509.Certificate
	key         crypto.Signer
	chain       []*x509.Certificate // from the certificate itself to the root
}

// issue makes a certificate, by itself if by is nil. What the template leaves out: a serial number, and a life from a
// month ago to a day from now.
func issue(template x509.Certificate, by *holder) (*holder, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100)); err != nil {
		return nil, err
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().AddDate(0, -1, 0)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	template.BasicConstraintsValid = true
	parent, signer := &template, crypto.Signer(key)
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	h := &holder{certificate: certificate, key: key, chain: []*x509.Certificate{certificate}}
	if by != nil {
		h.chain = append(h.chain, by.chain...)
	}
	return h, nil
}

// issueCA makes a root and an authority below it, which is allowed what usage says.
func issueCA(name string, usage ...x509.ExtKeyUsage) (*holder, error) {
	root, err := issue(x509.Certificate{
		Subject: pkix.Name{Organization: []string{"e2e"}, CommonName: name + " root"}, IsCA: true, MaxPathLen: 1,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil)
	if err != nil {
		return nil, err
	}
	return issue(x509.Certificate{
		Subject: pkix.Name{Organization: []string{"e2e"}, CommonName: name}, IsCA: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, ExtKeyUsage: usage,
	}, root)
}

// issueTSA makes a timestamp authority's certificate. RFC 3161 wants its one use to be timestamping, and the extension
// that says so to be critical, which x509 does not make it.
func issueTSA(by *holder) (*holder, error) {
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return nil, err
	}
	return issue(x509.Certificate{
		Subject:         pkix.Name{Organization: []string{"e2e"}, CommonName: "timestamps"},
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}, by)
}

// write puts NAME.pem, the chain, and NAME.key into a directory.
func (h *holder) write(dir, name string) error {
	if err := writeChain(filepath.Join(dir, name+".pem"), h.chain...); err != nil {
		return err
	}
	return writePrivate(filepath.Join(dir, name+".key"), h.key)
}

func writeChain(file string, chain ...*x509.Certificate) error {
	var content []byte
	for _, c := range chain {
		content = append(content, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return os.WriteFile(file, content, 0o644)
}

func writePrivate(file string, key crypto.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func writePublic(file string, key crypto.PublicKey) error {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
}
