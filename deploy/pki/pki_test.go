package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/deploy/pki"
)

func newCA(t *testing.T, o pki.Options) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA(o)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func must(t *testing.T) func(pki.Pair, error) pki.Pair {
	t.Helper()
	return func(p pki.Pair, err error) pki.Pair {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

func parse(t *testing.T, certPEM []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(certPEM)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		t.Fatalf("not one CERTIFICATE block: %q", certPEM)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func pool(t *testing.T, ca *pki.CA) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(ca.Pair().Cert) {
		t.Fatal("the CA's certificate is not PEM")
	}
	return p
}

func keyPair(t *testing.T, p pki.Pair) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestForm(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.Options{})
	server := must(t)(ca.Server([]string{"Sluice.example.com.", "10.0.0.1", "2001:db8::1", "sluice.example.com"}, pki.Options{}))
	client := must(t)(ca.Client("kube-apiserver", pki.Options{}))
	caCert, serverCert, clientCert := parse(t, ca.Pair().Cert), parse(t, server.Cert), parse(t, client.Cert)

	serials := map[string]bool{}
	for name, c := range map[string]*x509.Certificate{"ca": caCert, "server": serverCert, "client": clientCert} {
		key, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P256() {
			t.Errorf("%s: the key is %T, not P-256", name, c.PublicKey)
		}
		if c.SignatureAlgorithm != x509.ECDSAWithSHA256 {
			t.Errorf("%s: signed with %s", name, c.SignatureAlgorithm)
		}
		if n := c.SerialNumber.BitLen(); n < 64 || n > 128 {
			t.Errorf("%s: a serial of %d bits", name, n)
		}
		serials[c.SerialNumber.String()] = true
		if len(c.SubjectKeyId) != 20 || !bytes.Equal(c.AuthorityKeyId, caCert.SubjectKeyId) {
			t.Errorf("%s: SKI %x, AKI %x, want %x", name, c.SubjectKeyId, c.AuthorityKeyId, caCert.SubjectKeyId)
		}
		if !c.BasicConstraintsValid || c.IsCA != (name == "ca") {
			t.Errorf("%s: basic constraints %t, CA %t", name, c.BasicConstraintsValid, c.IsCA)
		}
	}
	if len(serials) != 3 {
		t.Errorf("serials repeat: %v", serials)
	}
	namesake := parse(t, must(t)(ca.Client(caCert.Subject.CommonName, pki.Options{})).Cert)
	if !bytes.Equal(namesake.AuthorityKeyId, caCert.SubjectKeyId) {
		t.Error("a client that is named like the CA does not say who issued its certificate")
	}
	if !caCert.MaxPathLenZero || caCert.MaxPathLen != 0 || caCert.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
		t.Errorf("CA: path length %d (%t), key usage %b", caCert.MaxPathLen, caCert.MaxPathLenZero, caCert.KeyUsage)
	}
	if !slices.Equal(serverCert.DNSNames, []string{"sluice.example.com"}) {
		t.Errorf("DNS names %q", serverCert.DNSNames)
	}
	if want := []net.IP{net.IPv4(10, 0, 0, 1), net.ParseIP("2001:db8::1")}; !slices.EqualFunc(serverCert.IPAddresses, want, net.IP.Equal) {
		t.Errorf("addresses %v", serverCert.IPAddresses)
	}
	if clientCert.Subject.CommonName != "kube-apiserver" || len(clientCert.DNSNames)+len(clientCert.IPAddresses) != 0 {
		t.Errorf("client: %q, %q", clientCert.Subject, clientCert.DNSNames)
	}
	for _, key := range [][]byte{ca.Pair().Key, server.Key, client.Key} {
		block, rest := pem.Decode(key)
		if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
			t.Error("a key is not one PRIVATE KEY block")
		}
	}
}

func TestUsages(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, pki.Options{}), newCA(t, pki.Options{})
	server := parse(t, must(t)(ca.Server([]string{"sluice.example.com", "127.0.0.1"}, pki.Options{})).Cert)
	client := parse(t, must(t)(ca.Client("kube-apiserver", pki.Options{})).Cert)

	f := func(c *x509.Certificate, roots *pki.CA, usage x509.ExtKeyUsage, host string, ok bool) {
		t.Helper()
		_, err := c.Verify(x509.VerifyOptions{Roots: pool(t, roots), KeyUsages: []x509.ExtKeyUsage{usage}, DNSName: host})
		if (err == nil) != ok {
			t.Errorf("%s as %v of %q: %v", c.Subject, usage, host, err)
		}
	}
	f(server, ca, x509.ExtKeyUsageServerAuth, "sluice.example.com", true)
	f(server, ca, x509.ExtKeyUsageServerAuth, "127.0.0.1", true)
	f(server, ca, x509.ExtKeyUsageServerAuth, "sluice", false) // the common name is no name
	f(server, ca, x509.ExtKeyUsageServerAuth, "127.0.0.2", false)
	f(server, ca, x509.ExtKeyUsageClientAuth, "", false)
	f(server, other, x509.ExtKeyUsageServerAuth, "sluice.example.com", false)
	f(client, ca, x509.ExtKeyUsageClientAuth, "", true)
	f(client, ca, x509.ExtKeyUsageServerAuth, "", false)
	f(client, other, x509.ExtKeyUsageClientAuth, "", false)
}

// handshake speaks TLS over a pipe and returns the name of the client that the server saw.
func handshake(t *testing.T, server, client *tls.Config) (string, error) {
	t.Helper()
	a, b := net.Pipe()
	s, c := tls.Server(a, server), tls.Client(b, client)
	served := make(chan error, 1)
	go func() {
		defer a.Close()
		_, err := s.Write([]byte("x")) // handshakes first
		served <- err
	}()
	_, clientErr := io.ReadFull(c, make([]byte, 1)) // in TLS 1.3 the client learns here that it is refused
	b.Close()
	serverErr := <-served
	for _, err := range []error{clientErr, serverErr} {
		if err != nil {
			return "", err
		}
	}
	return s.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestHandshake(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, pki.Options{}), newCA(t, pki.Options{})
	server := must(t)(ca.Server([]string{"127.0.0.1"}, pki.Options{}))
	client := must(t)(ca.Client("kube-apiserver", pki.Options{}))
	stranger := must(t)(other.Client("kube-apiserver", pki.Options{}))

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		serverConfig := &tls.Config{
			Certificates: []tls.Certificate{keyPair(t, server)},
			ClientCAs:    pool(t, ca), ClientAuth: tls.RequireAndVerifyClientCert,
			MinVersion: version, MaxVersion: version,
		}
		f := func(p pki.Pair, roots *pki.CA, name string, ok bool) {
			t.Helper()
			got, err := handshake(t, serverConfig, &tls.Config{
				RootCAs: pool(t, roots), ServerName: name,
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // whatever the server asks for
					c := keyPair(t, p)
					return &c, nil
				},
			})
			if (err == nil) != ok {
				t.Errorf("%s to %s: %v", tls.VersionName(version), name, err)
			}
			if ok && got != "kube-apiserver" {
				t.Errorf("the server saw %q", got)
			}
		}
		f(client, ca, "127.0.0.1", true)
		f(client, ca, "127.0.0.2", false)
		f(client, other, "127.0.0.1", false)
		f(stranger, ca, "127.0.0.1", false)
		f(server, ca, "127.0.0.1", false) // a server's certificate is no client's
	}
}

func TestValidity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		f := func(what string, cert []byte, end time.Duration) {
			t.Helper()
			c := parse(t, cert)
			if got := c.NotBefore.Sub(now); got != -5*time.Minute {
				t.Errorf("%s: begins %s from now", what, got)
			}
			if got := c.NotAfter.Sub(now); got != end {
				t.Errorf("%s: ends %s from now, want %s", what, got, end)
			}
		}
		const day = 24 * time.Hour
		ca := newCA(t, pki.Options{})
		f("ca", ca.Pair().Cert, 3650*day)
		f("server", must(t)(ca.Server([]string{"a"}, pki.Options{})).Cert, 365*day)
		f("client", must(t)(ca.Client("a", pki.Options{})).Cert, 365*day)
		f("client of a day", must(t)(ca.Client("a", pki.Options{Validity: day})).Cert, day)
		short := newCA(t, pki.Options{Validity: 30 * day})
		f("short ca", short.Pair().Cert, 30*day)
		f("client of a short ca", must(t)(short.Client("a", pki.Options{})).Cert, 30*day)

		if _, err := ca.Client("a", pki.Options{Validity: -time.Hour}); err == nil {
			t.Error("a negative validity was taken")
		}
		if _, err := pki.NewCA(pki.Options{Validity: -time.Hour}); err == nil {
			t.Error("a negative validity was taken")
		}

		pair := short.Pair()
		time.Sleep(31 * day)
		if _, err := pki.LoadCA(pair.Cert, pair.Key); err == nil || !strings.Contains(err.Error(), "ended on 2000-01-31") {
			t.Errorf("a CA that has ended: %v", err)
		}
	})
}

func TestLoadCA(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.Options{})
	again, err := pki.LoadCA(ca.Pair().Cert, ca.Pair().Key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Pair().Cert, ca.Pair().Cert) || !bytes.Equal(again.Pair().Key, ca.Pair().Key) {
		t.Error("loading changed the CA")
	}
	leaf := parse(t, must(t)(again.Client("second", pki.Options{})).Cert)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool(t, ca), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("what a loaded CA issues: %v", err)
	}

	// An authority made elsewhere: RSA, PKCS #1, and parameters before an EC key, as openssl writes them.
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	foreign := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "elsewhere"}, BasicConstraintsValid: true, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), SubjectKeyId: []byte{1},
	}
	der, err := x509.CreateCertificate(rand.Reader, foreign, foreign, rsaKey.Public(), rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	foreignCA, err := pki.LoadCA(block("CERTIFICATE", der), block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)))
	if err != nil {
		t.Fatal(err)
	}
	leaf = parse(t, must(t)(foreignCA.Client("a", pki.Options{})).Cert)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool(t, foreignCA), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("what an RSA CA issues: %v", err)
	}
	ecDER, err := x509.MarshalECPrivateKey(keyPair(t, ca.Pair()).PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	sec1 := append(block("EC PARAMETERS", []byte{6, 0}), block("EC PRIVATE KEY", ecDER)...)
	if _, err := pki.LoadCA(ca.Pair().Cert, sec1); err != nil {
		t.Errorf("a SEC 1 key: %v", err)
	}

	leafPair := must(t)(ca.Client("a", pki.Options{}))
	other := newCA(t, pki.Options{})
	foreign.KeyUsage = x509.KeyUsageDigitalSignature
	noSigner, err := x509.CreateCertificate(rand.Reader, foreign, foreign, rsaKey.Public(), rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	foreign.KeyUsage, foreign.NotBefore = 0, time.Now().Add(30*time.Minute)
	early, err := x509.CreateCertificate(rand.Reader, foreign, foreign, rsaKey.Public(), rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	f := func(cert, key []byte, want string) {
		t.Helper()
		if _, err := pki.LoadCA(cert, key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one of %q", err, want)
		}
	}
	good := ca.Pair()
	f(nil, good.Key, "certificate is not PEM")
	f(good.Key, good.Key, "not CERTIFICATE")
	f(slices.Concat(good.Cert, good.Cert), good.Key, "followed by something else")
	f(block("CERTIFICATE", []byte("x")), good.Key, "parse the CA's certificate")
	f(leafPair.Cert, leafPair.Key, "not a certificate authority's")
	f(block("CERTIFICATE", noSigner), good.Key, "must not sign")
	f(block("CERTIFICATE", early), good.Key, "begins on")
	f(good.Cert, other.Pair().Key, "not that of the certificate")
	f(good.Cert, nil, "the CA's key: it is not PEM")
	f(good.Cert, good.Cert, "not PRIVATE KEY")
	f(good.Cert, block("PRIVATE KEY", []byte("x")), "the CA's key: it cannot be parsed")
	f(good.Cert, block("ENCRYPTED PRIVATE KEY", []byte("x")), "encrypted")
}

func TestNames(t *testing.T) {
	t.Parallel()
	f := func(host, want string) {
		t.Helper()
		err := pki.CheckHost(host)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", host, err, want)
		}
	}
	f("sluice", "")
	f("sluice.example.com", "")
	f("*.example.com", "")
	f("sluice_1.example.com.", "")
	f("::1", "")
	f("", "empty")
	f(".", "neither")
	f("a..b", "empty part")
	f("-a", "dash")
	f("a b", `' ' is not allowed`)
	f("a.*.b", `'*' is not allowed`)
	f("a\n", "not allowed")
	f("bücher.example", "xn--")
	f("999.1.1.1", "neither")
	f("fe80::1%eth0", "zone")
	f("[::1]", "brackets")
	f("example.com:8443", "port")
	f("https://example.com", "scheme")
	f(strings.Repeat("a", 64), "63")
	f(strings.Repeat("a.", 130)+"a", "253")

	ca := newCA(t, pki.Options{})
	if _, err := ca.Server(nil, pki.Options{}); err == nil {
		t.Error("a server without a name")
	}
	if _, err := ca.Server([]string{"a b"}, pki.Options{}); err == nil {
		t.Error("a server with a name that cannot be")
	}
	for _, name := range []string{"", "a\nb", "a\xff", strings.Repeat("é", 65)} {
		if _, err := ca.Client(name, pki.Options{}); err == nil {
			t.Errorf("a client named %q", name)
		}
	}
	if c := parse(t, must(t)(ca.Client(strings.Repeat("é", 64), pki.Options{})).Cert); c.Subject.CommonName != strings.Repeat("é", 64) {
		t.Errorf("a client named %q", c.Subject.CommonName)
	}
}
