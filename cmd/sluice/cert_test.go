package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/deploy/pki"
)

// TestRenewalWhileServing renews the certificate again and again under a service that reloads all the time: the service is
// never without a certificate that a caller believes, and has the last one in the end.
func TestRenewalWhileServing(t *testing.T) {
	t.Parallel()
	r := newFiles(t, "", allowing).start()
	address := r.front.Addr().String()
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(r.path("pki/ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots.AppendCertsFromPEM(ca)
	shake := func() *x509.Certificate {
		t.Helper()
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13})
		if err != nil {
			t.Error(err)
			return nil
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0]
	}
	first := shake()

	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		for range 8 {
			var stdout, stderr bytes.Buffer
			args := []string{
				"cert", "renew", r.path("pki/server.crt"), "--ca-cert", r.path("pki/ca.crt"), "--ca-key", r.path("pki/ca.key"),
			}
			if code := run(t.Context(), args, &stdout, &stderr); code != exitOK {
				t.Errorf("exit %d: %s", code, &stderr)
			}
		}
	}()
	var others sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-renewed:
				return
			default:
			}
			if err := r.front.Reload(); err != nil && !strings.Contains(err.Error(), "private key does not match public key") {
				t.Error(err)
			}
		}
	})
	for renewing := true; renewing; {
		select {
		case <-renewed:
			renewing = false
		default:
			shake()
		}
	}
	others.Wait()

	if err := r.front.Reload(); err != nil {
		t.Error(err)
	}
	file, err := os.ReadFile(r.path("pki/server.crt"))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCertificates(file)
	if err != nil {
		t.Fatal(err)
	}
	if last := shake(); last == nil || !last.Equal(certs[0]) || last.Equal(first) {
		t.Error("what is served is not the last certificate")
	}
}

// TestInspectHostile connects to somebody who asks for certificates, refuses whoever has none, and whose own would write to
// a terminal.
func TestInspectHostile(t *testing.T) {
	t.Parallel()
	pair, err := selfSigned("\x1b[2Jgood\n  PROBLEM  none")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_ = conn.(*tls.Conn).Handshake()
		_ = conn.Close()
	}()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"cert", "inspect", "--connect", listener.Addr().String()}, &stdout, &stderr)
	if code != exitDenied || stderr.Len() > 0 {
		t.Errorf("exit %d, %q", code, &stderr)
	}
	const hidden = "\uFFFD"
	got := stdout.String()
	if !strings.Contains(got, "  subject  CN="+hidden+"[2Jgood"+hidden+"  PROBLEM  none\n") || strings.Count(got, "\n  PROBLEM  ") != 1 ||
		!strings.Contains(got, "  PROBLEM  it begins on ") || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}

// selfSigned is a certificate that nobody vouches for, and that begins tomorrow.
func selfSigned(name string) (tls.Certificate, error) {
	ca, err := pki.NewCA(pki.Options{})
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := tls.X509KeyPair(ca.Pair().Cert, ca.Pair().Key)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(24 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
	signer := key.PrivateKey
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Leaf.PublicKey, signer)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: signer}, err
}
