package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxCommonName is the length limit of a common name (ub-common-name, RFC 5280), in characters.
const maxCommonName = 64

// Server issues a certificate for a server that is reached under hosts: IP addresses and DNS names, which may begin
// with "*.". They stand as SANs; clients have not looked at a common name for years. It is an error if there are none
// or if [CheckHost] refuses one.
func (ca *CA) Server(hosts []string, o Options) (Pair, error) {
	if len(hosts) == 0 {
		return Pair{}, errors.New("a server certificate needs at least one DNS name or IP address")
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "sluice"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if err := CheckHost(host); err != nil {
			return Pair{}, err
		}
		if ip := net.ParseIP(host); ip != nil {
			if !slices.ContainsFunc(template.IPAddresses, ip.Equal) {
				template.IPAddresses = append(template.IPAddresses, ip)
			}
			continue
		}
		name := strings.ToLower(strings.TrimSuffix(host, ".")) // a rooted name is not allowed as a SAN
		if !slices.Contains(template.DNSNames, name) {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return ca.issue(template, o)
}

// Client issues a certificate for a client that is known as name, its common name: 1 to 64 printable characters.
func (ca *CA) Client(name string, o Options) (Pair, error) {
	if err := CheckClientName(name); err != nil {
		return Pair{}, err
	}
	return ca.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, o)
}

func (ca *CA) issue(template *x509.Certificate, o Options) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key: %w", err)
	}
	if template.SerialNumber, err = newSerial(); err != nil {
		return Pair{}, err
	}
	if template.SubjectKeyId, err = keyID(&key.PublicKey); err != nil {
		return Pair{}, err
	}
	now := time.Now()
	if template.NotAfter, err = o.end(now, DefaultLeafValidity); err != nil {
		return Pair{}, err
	}
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	template.NotBefore = now.Add(-backDate)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	template.AuthorityKeyId = ca.cert.SubjectKeyId
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign a certificate: %w", err)
	}
	return encode(der, key)
}

// CheckClientName tells why name cannot be a client certificate's common name.
func CheckClientName(name string) error {
	switch {
	case name == "":
		return errors.New("a client needs a name")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("the client name %q has characters that cannot be printed", name)
	case utf8.RuneCountInString(name) > maxCommonName:
		return fmt.Errorf("the client name %q is longer than %d characters", name, maxCommonName)
	}
	return nil
}

// CheckHost tells why host cannot be a SAN: it must be an IP address without zone or brackets, or a DNS name.
func CheckHost(host string) error {
	if net.ParseIP(host) != nil {
		return nil
	}
	name := strings.TrimSuffix(host, ".")
	labels := strings.Split(strings.TrimPrefix(name, "*."), ".")
	switch {
	case host == "":
		return errors.New("a host is empty; give a DNS name or an IP address")
	case strings.Contains(host, "%"):
		return fmt.Errorf("%q: a certificate cannot hold an address with a zone", host)
	case strings.Contains(host, "/"):
		return fmt.Errorf("%q is neither a DNS name nor an IP address: leave out scheme and path", host)
	case strings.Contains(host, ":"):
		return fmt.Errorf("%q is neither a DNS name nor an IP address: leave out port and brackets", host)
	case len(name) > 253:
		return fmt.Errorf("the DNS name %q is longer than 253 characters", host)
	case !slices.ContainsFunc([]byte(labels[len(labels)-1]), func(c byte) bool { return c < '0' || '9' < c }):
		return fmt.Errorf("%q is neither a DNS name nor an IP address", host)
	}
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return fmt.Errorf("%q is neither a DNS name nor an IP address: %w", host, err)
		}
	}
	return nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("it has an empty part")
	case len(label) > 63:
		return errors.New("a part is longer than 63 characters")
	case label[0] == '-' || label[len(label)-1] == '-':
		return errors.New("a part begins or ends with a dash")
	}
	for _, r := range label {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
		case r >= utf8.RuneSelf:
			return fmt.Errorf("%q is not ASCII; write the name in its xn-- form", r)
		default:
			return fmt.Errorf("%q is not allowed", r)
		}
	}
	return nil
}
