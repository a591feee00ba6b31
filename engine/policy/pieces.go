package policy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// The JSON of a trusted root is ProtoJSON of sigstore's protobuf-specs, message dev.sigstore.trustroot.v1.TrustedRoot. It
// is written here by hand, because the packages for it reach a network.

const rootMediaType = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"

type rootJSON struct {
	MediaType              string            `json:"mediaType"`
	TLogs                  []json.RawMessage `json:"tlogs,omitempty"`
	CertificateAuthorities []json.RawMessage `json:"certificateAuthorities,omitempty"`
	CTLogs                 []json.RawMessage `json:"ctlogs,omitempty"`
	TimestampAuthorities   []json.RawMessage `json:"timestampAuthorities,omitempty"`
}

type authorityJSON struct {
	URI       string     `json:"uri,omitempty"`
	CertChain chainJSON  `json:"certChain"`
	ValidFor  periodJSON `json:"validFor"`
}

type chainJSON struct {
	Certificates []certificateJSON `json:"certificates"` // the last is the root
}

type certificateJSON struct {
	RawBytes []byte `json:"rawBytes"`
}

type logJSON struct {
	BaseURL       string     `json:"baseUrl,omitempty"`
	HashAlgorithm string     `json:"hashAlgorithm"`
	PublicKey     keyJSON    `json:"publicKey"`
	LogID         logIDsJSON `json:"logId"`
}

type keyJSON struct {
	RawBytes   []byte     `json:"rawBytes"`
	KeyDetails string     `json:"keyDetails"`
	ValidFor   periodJSON `json:"validFor"`
}

type logIDsJSON struct {
	KeyID []byte `json:"keyId"`
}

type periodJSON struct {
	Start string `json:"start"`
	End   string `json:"end,omitempty"`
}

func period(start, end time.Time) periodJSON {
	return periodJSON{Start: start.UTC().Format(time.RFC3339), End: end.UTC().Format(time.RFC3339)}
}

// pieces makes a trusted root of certificates and keys.
func (c *compiler) pieces(path string, w *TrustedRoot) ([]byte, bool) {
	before := len(c.errs)
	root := rootJSON{
		MediaType:              rootMediaType,
		CertificateAuthorities: c.chains(path+".certificateAuthorities", w.CertificateAuthorities, false),
		TimestampAuthorities:   c.chains(path+".timestampAuthorities", w.TimestampAuthorities, true),
		CTLogs:                 c.logs(path+".ctLogs", w.CTLogs, false),
		TLogs:                  c.logs(path+".tLogs", w.TLogs, true),
	}
	if len(c.errs) > before {
		return nil, false
	}
	return c.marshal(path, root)
}

func (c *compiler) marshal(path string, v any) ([]byte, bool) {
	text, err := json.Marshal(v)
	if err != nil {
		c.fail(path, "%v", err)
		return nil, false
	}
	return text, true
}

// maxPieces bounds each list of pieces.
const maxPieces = 32

func (c *compiler) listed(path string, n int) bool {
	switch {
	case !c.doc.Has(path):
		return false
	case n == 0:
		c.fail(path, "the list is empty; leave it out if there is none")
		return false
	case n > maxPieces:
		c.fail(path, "there are at most %d in a list", maxPieces)
		return false
	}
	return true
}

func (c *compiler) chains(path string, list []CertificateAuthority, timestamps bool) []json.RawMessage {
	if !c.listed(path, len(list)) {
		return nil
	}
	var all []json.RawMessage
	for i, w := range list {
		here := fmt.Sprintf("%s[%d]", path, i)
		if c.missing(here+".chain", "it is the PEM of the authority's certificates") {
			continue
		}
		text, at, ok := c.source(here+".chain", w.Chain, certificateMaterial())
		if !ok {
			continue
		}
		certificates, err := parseCertificates(text)
		if err == nil {
			certificates, err = chain(certificates)
		}
		if err == nil {
			err = checkChain(certificates, timestamps)
		}
		if err != nil {
			c.fail(at, "%v", err)
			continue
		}
		start, end := certificates[0].NotBefore, certificates[0].NotAfter
		for _, cert := range certificates[1:] {
			if cert.NotBefore.After(start) {
				start = cert.NotBefore
			}
			if cert.NotAfter.Before(end) {
				end = cert.NotAfter
			}
		}
		if text, ok := c.marshal(here, authorityJSON{w.URI, chainOf(certificates), period(start, end)}); ok {
			all = append(all, text)
		}
	}
	return all
}

func chainOf(certificates []*x509.Certificate) chainJSON {
	var all chainJSON
	for _, cert := range certificates {
		all.Certificates = append(all.Certificates, certificateJSON{cert.Raw})
	}
	return all
}

// parseCertificates accepts PEM blocks of type CERTIFICATE with nothing around them.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	if bytes.Contains(text, []byte("PRIVATE KEY-----")) {
		return nil, errors.New("this has a private key in it; give the certificates alone, and keep the key where nobody else can read it")
	}
	blocks, err := pemBlocks(text, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	if len(blocks) > maxPieces {
		return nil, fmt.Errorf("there are at most %d certificates in one PEM", maxPieces)
	}
	var all []*x509.Certificate
	for i, block := range blocks {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %d must be of type CERTIFICATE; this is %q", i+1, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the certificate of PEM block %d does not parse", i+1)
		}
		if slices.ContainsFunc(all, cert.Equal) {
			return nil, fmt.Errorf("the certificate of PEM block %d is there twice", i+1)
		}
		all = append(all, cert)
	}
	return all, nil
}

// issued tells whether a certificate was issued by another one's holder.
func issued(cert, by *x509.Certificate) bool {
	return cert != by && bytes.Equal(cert.RawIssuer, by.RawSubject) && cert.CheckSignatureFrom(by) == nil
}

// chain puts certificates in order, so that each is issued by the next.
func chain(certificates []*x509.Certificate) ([]*x509.Certificate, error) {
	errNoChain := errors.New("these certificates are no chain: each but the last must be issued by another one of them")
	var first *x509.Certificate
	for _, cert := range certificates {
		issuesAny := slices.ContainsFunc(certificates, func(other *x509.Certificate) bool { return issued(other, cert) })
		if issuesAny {
			continue
		}
		if first != nil {
			return nil, errNoChain
		}
		first = cert
	}
	if first == nil {
		return nil, errNoChain
	}
	ordered := []*x509.Certificate{first}
	for last := first; len(ordered) <= len(certificates); {
		i := slices.IndexFunc(certificates, func(by *x509.Certificate) bool { return issued(last, by) && !slices.Contains(ordered, by) })
		if i < 0 {
			break
		}
		last = certificates[i]
		ordered = append(ordered, last)
	}
	if len(ordered) != len(certificates) {
		return nil, errNoChain
	}
	return ordered, nil
}

func checkChain(ordered []*x509.Certificate, timestamps bool) error {
	for i, cert := range ordered {
		switch {
		case cert.IsCA:
		case i > 0:
			return fmt.Errorf("the certificate of %q is no certificate authority's, so it can issue none", cert.Subject)
		case !timestamps:
			return fmt.Errorf("the certificate of %q is no certificate authority's", cert.Subject)
		}
	}
	return nil
}

// ownRoots makes a trusted root of a PKI of one's own: every certificate that none of the others has issued is a root, and
// the rest are intermediates below each of them. A certificate that is no authority's stands alone, and for itself.
func (c *compiler) ownRoots(path string, w Source) []rootSource {
	text, at, ok := c.source(path, w, certificateMaterial())
	if !ok {
		return nil
	}
	certificates, err := parseCertificates(text)
	if err != nil {
		c.fail(at, "%v", err)
		return nil
	}
	var roots, intermediates []*x509.Certificate
	for _, cert := range certificates {
		switch {
		case !cert.IsCA && len(certificates) > 1:
			c.fail(at, "the certificate of %q is no certificate authority's; give the authorities' certificates, or this one alone to accept no other", cert.Subject)
			return nil
		case slices.ContainsFunc(certificates, func(by *x509.Certificate) bool { return issued(cert, by) }):
			intermediates = append(intermediates, cert)
		default:
			roots = append(roots, cert)
		}
	}
	if len(roots) == 0 {
		c.fail(at, "these certificates have issued each other, so that none of them is a root")
		return nil
	}
	document := rootJSON{MediaType: rootMediaType}
	for _, root := range roots {
		text, ok := c.marshal(at, authorityJSON{
			CertChain: chainOf(append(slices.Clone(intermediates), root)),
			ValidFor:  period(root.NotBefore, root.NotAfter),
		})
		if !ok {
			return nil
		}
		document.CertificateAuthorities = append(document.CertificateAuthorities, text)
	}
	made, ok := c.marshal(at, document)
	if !ok {
		return nil
	}
	name, file := c.title+": "+path[len("$.spec."):], ""
	if w.File != "" {
		name, file = w.File, c.fileName(w.File)
	}
	root, ok := c.addRoot(at, Root{Name: name, File: file, JSON: made}, needs{})
	if !ok {
		return nil
	}
	return []rootSource{root}
}

// logs makes the entries of logs. What they sign is told apart by the log's ID: the SHA-256 of its key (RFC 6962, 3.2),
// and in Rekor v2 that of its name and key (c2sp.org/signed-note), which differs for some kinds of key.
func (c *compiler) logs(path string, list []Log, rekor bool) []json.RawMessage {
	if !c.listed(path, len(list)) {
		return nil
	}
	var all []json.RawMessage
	for i, w := range list {
		here := fmt.Sprintf("%s[%d]", path, i)
		if c.missing(here+".key", "it is the log's public key in PEM") {
			continue
		}
		host := ""
		if c.doc.Has(here + ".baseURL") {
			u, err := url.Parse(w.BaseURL)
			if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
				c.fail(here+".baseURL", "this is the log's address, such as https://rekor.example.com")
				continue
			}
			host = u.Hostname()
		}
		text, at, ok := c.source(here+".key", w.Key, keyMaterial())
		if !ok {
			continue
		}
		keys, err := parseLogKey(text)
		if err != nil {
			c.fail(at, "%v", err)
			continue
		}
		der, key := keys.der, keys.key
		sum := sha256.Sum256(der)
		ids := [][]byte{sum[:]}
		if rekor && host != "" {
			if id := noteID(host, key, der); id != nil {
				ids = append(ids, id)
			}
		}
		for _, id := range ids {
			entry := logJSON{
				BaseURL:       w.BaseURL,
				HashAlgorithm: "SHA2_256",
				PublicKey:     keyJSON{der, keyDetails(key), periodJSON{Start: time.Unix(0, 0).UTC().Format(time.RFC3339)}},
				LogID:         logIDsJSON{id},
			}
			if text, ok := c.marshal(here, entry); ok {
				all = append(all, text)
			}
		}
	}
	return all
}

type logKey struct {
	der []byte
	key crypto.PublicKey
}

func parseLogKey(text []byte) (logKey, error) {
	keys, err := parseKeys(text)
	if err != nil {
		return logKey{}, err
	}
	if len(keys) > 1 {
		return logKey{}, errors.New("a log has one key; make an entry of each")
	}
	for der, key := range keys {
		return logKey{[]byte(der), key}, nil
	}
	return logKey{}, errors.New("there is no key")
}

// noteID is the ID of a log in Rekor v2, untruncated; nil where it is that of RFC 6962.
func noteID(name string, key crypto.PublicKey, der []byte) []byte {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	switch key := key.(type) {
	case ed25519.PublicKey:
		h.Write([]byte{1})
		h.Write(key)
	case *rsa.PublicKey:
		h.Write([]byte("\xffPKIX-RSA-PKCS#1v1.5"))
		h.Write(der)
	default:
		return nil
	}
	return h.Sum(nil)
}

// keyDetails names a key's kind, of those that parseKey accepts (message PublicKeyDetails).
func keyDetails(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize == 384 {
			return "PKIX_ECDSA_P384_SHA_384"
		}
		return "PKIX_ECDSA_P256_SHA_256"
	case *rsa.PublicKey:
		return fmt.Sprintf("PKIX_RSA_PKCS1V15_%d_SHA256", key.N.BitLen())
	}
	return "PKIX_ED25519"
}
