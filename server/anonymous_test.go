package server

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

// TestAnonymous says who is answered where, when the doors for AdmissionReview are open to anyone.
func TestAnonymous(t *testing.T) {
	t.Parallel()
	own := func(name string, more ...func(*x509.Certificate)) func(*testing.T, *fixture) *tls.Certificate {
		return func(t *testing.T, f *fixture) *tls.Certificate { return f.ca.client(t, name, more...) }
	}
	nobody := func(*testing.T, *fixture) *tls.Certificate { return nil }
	stranger := func(t *testing.T, _ *fixture) *tls.Certificate { return newAuthority(t).client(t, "kube-apiserver") }
	alone := func(_ *fixture, c *Config) { c.TLS.ClientCAFile = "" }
	named := func(_ *fixture, c *Config) { c.TLS.ClientNames = []string{"kube-apiserver"} }
	tokens := func(f *fixture, c *Config) { c.TLS.TokenFile = write(t, f.path("tokens"), []byte("token")) }
	tests := []struct {
		name          string
		configure     func(*fixture, *Config)
		cert          func(*testing.T, *fixture) *tls.Certificate
		authorization string
		review        int // the answer to an ImageReview
		complains     bool
	}{
		{name: "nothing shown", cert: nobody, review: 401},
		{name: "certificate", cert: own("anyone"), review: 200},
		{name: "another authority's certificate", cert: stranger, review: 401, complains: true},
		{name: "expired certificate", cert: own("anyone", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), review: 401, complains: true},
		{name: "certificate of a name that is listed", configure: named, cert: own("kube-apiserver"), review: 200},
		{name: "certificate of a name that is not listed", configure: named, cert: own("kubelet"), review: 401, complains: true},
		{name: "neither authority nor tokens configured", configure: alone, cert: nobody, review: 401},
		{name: "neither configured, certificate shown", configure: alone, cert: own("anyone"), review: 401},
		{name: "token", configure: tokens, cert: nobody, authorization: "Bearer token", review: 200},
		{name: "wrong token", configure: tokens, cert: nobody, authorization: "Bearer other", review: 401},
		{name: "token and another authority's certificate", configure: tokens, cert: stranger, authorization: "Bearer token", review: 200, complains: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, allowAll(), func(f *fixture, c *Config) {
				c.Admission.Anonymous = true
				if test.configure != nil {
					test.configure(f, c)
				}
			})
			config := f.clientTLS(t)
			config.Certificates = nil
			if cert := test.cert(t, f); cert != nil {
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
			}
			for _, proto := range []string{"h1", "h2"} {
				c := client(t, proto, config)
				ask := func(method, path, body string) answer {
					r := request(t, method, f.url(path), body)
					if test.authorization != "" {
						r.Header.Set("Authorization", test.authorization)
					}
					return do(t, c, r)
				}
				for range 3 { // parsed, parsed, and known by its head
					for _, path := range []string{validatePath, mutatePath} {
						if a := ask("POST", path+"?timeout=10s", asked{object: pod("a")}.String()); a.status != 200 || !read(t, a.body).Response.Allowed {
							t.Errorf("%s: %s: %d %s", proto, path, a.status, a.body)
						}
					}
					if a := ask("POST", "/v1/imagereview", reviewOf("a")); a.status != test.review || (a.status == 200) != strings.Contains(a.body, `"allowed":true`) {
						t.Errorf("%s: an ImageReview: %d %s", proto, a.status, a.body)
					}
				}
				want := map[int]int{200: 404, 401: 401}[test.review] // strangers are not told which doors there are
				if a := ask("POST", "/v1/admission/other", "{}"); a.status != want {
					t.Errorf("%s: elsewhere: %d", proto, a.status)
				}
				if a := ask("GET", validatePath, ""); a.status != 405 {
					t.Errorf("%s: GET: %d", proto, a.status)
				}
			}
			if got := len(f.records.lines("a client certificate is not accepted")) > 0; got != test.complains {
				t.Errorf("%q", f.records.lines(""))
			}
		})
	}
}

// TestNotAnonymous asks the same of callers at every door.
func TestNotAnonymous(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(f *fixture, c *Config) {
		c.TLS.TokenFile = write(t, f.path("tokens"), []byte("token"))
	})
	config := f.clientTLS(t)
	config.Certificates = nil
	eachProtocol(t, func(t *testing.T, proto string) {
		strange, known := client(t, proto, config), client(t, proto, f.clientTLS(t))
		for _, path := range []string{validatePath, mutatePath} {
			for range 3 {
				r := request(t, "POST", f.url(path), asked{object: pod("a")}.String())
				if a := do(t, strange, r); a.status != 401 {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
				r = request(t, "POST", f.url(path), asked{object: pod("a")}.String())
				r.Header.Set("Authorization", "Bearer token")
				if a := do(t, strange, r); a.status != 200 {
					t.Errorf("%s: with a token: %d %s", path, a.status, a.body)
				}
				r = request(t, "POST", f.url(path), asked{object: pod("a")}.String())
				if a := do(t, known, r); a.status != 200 {
					t.Errorf("%s: with a certificate: %d %s", path, a.status, a.body)
				}
			}
		}
	})
}

// TestReloadWhileAnonymous verifies by the authority of the snapshot that a handshake went by.
func TestReloadWhileAnonymous(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(_ *fixture, c *Config) { c.Admission.Anonymous = true })
	ask := func(config *tls.Config) int {
		return do(t, client(t, "h2", config), request(t, "POST", f.url("/"), reviewOf("a"))).status
	}
	other := newAuthority(t)
	pair := other.client(t, "kube-apiserver")
	theirs := f.clientTLS(t)
	theirs.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	if ours, others := ask(f.clientTLS(t)), ask(theirs); ours != 200 || others != 401 {
		t.Errorf("before: %d and %d", ours, others)
	}
	write(t, f.path("ca.crt"), other.pem)
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if ours, others := ask(f.clientTLS(t)), ask(theirs); ours != 401 || others != 200 {
		t.Errorf("after: %d and %d", ours, others)
	}
}
