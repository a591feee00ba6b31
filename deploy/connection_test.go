package deploy_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice/deploy"
	"sluice/deploy/pki"
)

// TestConnection has the two sides of a bundle speak to each other, as a server and a client that know nothing else.
func TestConnection(t *testing.T) {
	t.Parallel()
	b := render(t, deploy.Options{Server: "https://127.0.0.1:8443", Hosts: []string{"sluice.example.com"}})
	other := render(t, deploy.Options{Server: "https://127.0.0.1:8443"})
	pair := func(b *deploy.Bundle, name string) tls.Certificate {
		t.Helper()
		c, err := tls.X509KeyPair(file(t, b, "pki/"+name+".crt"), file(t, b, "pki/"+name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	pool := func(b *deploy.Bundle) *x509.CertPool {
		t.Helper()
		p := x509.NewCertPool()
		if !p.AppendCertsFromPEM(file(t, b, "pki/ca.crt")) {
			t.Fatal("no CA")
		}
		return p
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	s.TLS = &tls.Config{
		Certificates: []tls.Certificate{pair(b, "server")},
		ClientCAs:    pool(b), ClientAuth: tls.RequireAndVerifyClientCert,
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)

	f := func(client tls.Certificate, roots *x509.CertPool, name string, ok bool) {
		t.Helper()
		transport := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: roots, ServerName: name}}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Get("https://" + s.Listener.Addr().String() + "/")
		if (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
		if err != nil {
			return
		}
		defer res.Body.Close()
		if who, err := io.ReadAll(res.Body); err != nil || string(who) != "kube-apiserver" {
			t.Errorf("the server saw %q, %v", who, err)
		}
	}
	f(pair(b, "client"), pool(b), "", true) // by the address
	f(pair(b, "client"), pool(b), "sluice.example.com", true)
	f(pair(b, "client"), pool(b), "sluice", false)
	f(pair(b, "client"), pool(other), "", false)
	f(pair(other, "client"), pool(b), "", false)
}

func TestExistingCA(t *testing.T) {
	t.Parallel()
	first := render(t, deploy.Options{Server: "https://a"})
	ca, err := pki.LoadCA(file(t, first, "pki/ca.crt"), file(t, first, "pki/ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	second := render(t, deploy.Options{Server: "https://b", CA: ca})
	if !bytes.Equal(file(t, first, "pki/ca.crt"), file(t, second, "pki/ca.crt")) {
		t.Error("another CA")
	}
	for _, f := range second.Files {
		if f.Path == "pki/ca.key" {
			t.Error("the key of a CA that was given is in the bundle")
		}
	}
	if strings.Contains(text(t, second, "d"), "ca.key") {
		t.Error("the instructions speak of a key that is not in the bundle")
	}
	if bytes.Equal(file(t, first, "pki/client.key"), file(t, second, "pki/client.key")) {
		t.Error("two bundles share a key")
	}
}
