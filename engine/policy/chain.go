package policy

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// chains makes the entries of authorities, each by its certificates.
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
