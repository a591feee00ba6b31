package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestCallers says who is answered and who is not.
func TestCallers(t *testing.T) {
	t.Parallel()
	const none = -1 // no answer: the handshake fails
	named := func(f *fixture, c *Config) {
		c.TLS.ClientNames = []string{"", "kube-apiserver", "apiserver.example", "spiffe://cluster/apiserver"}
	}
	tokens := func(f *fixture, c *Config) {
		c.TLS.TokenFile = write(t, f.path("tokens"), []byte("# ours\n\n first-token \nsecond-token\n"))
	}
	tokensOnly := func(f *fixture, c *Config) {
		tokens(f, c)
		c.TLS.ClientCAFile = ""
	}
	own := func(name string, more ...func(*x509.Certificate)) func(*testing.T, *fixture) *tls.Certificate {
		return func(t *testing.T, f *fixture) *tls.Certificate { return f.ca.client(t, name, more...) }
	}
	nobody := func(*testing.T, *fixture) *tls.Certificate { return nil }
	stranger := func(t *testing.T, _ *fixture) *tls.Certificate { return newAuthority(t).client(t, "kube-apiserver") }
	tests := []struct {
		name          string
		configure     func(*fixture, *Config)
		cert          func(*testing.T, *fixture) *tls.Certificate
		authorization string
		want          int
	}{
		{name: "certificate", cert: own("anyone"), want: 200},
		{name: "no certificate", cert: nobody, want: none},
		{name: "no certificate but a token", cert: nobody, authorization: "Bearer first-token", want: none},
		{name: "another authority's", cert: stranger, want: none},
		{name: "expired", cert: own("anyone", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), want: none},

		{name: "name on the list", configure: named, cert: own("kube-apiserver"), want: 200},
		{name: "name not on the list", configure: named, cert: own("kubelet"), want: none},
		{name: "name that begins like one on the list", configure: named, cert: own("kube-apiserver2"), want: none},
		{name: "no name", configure: named, cert: own(""), want: none},
		{name: "DNS name on the list", configure: named, cert: own("x", func(c *x509.Certificate) { c.DNSNames = []string{"apiserver.example"} }), want: 200},
		{name: "URI on the list", configure: named, cert: own("x", func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: "cluster", Path: "/apiserver"}}
		}), want: 200},

		{name: "token", configure: tokensOnly, cert: nobody, authorization: "Bearer first-token", want: 200},
		{name: "other token", configure: tokensOnly, cert: nobody, authorization: "bearer second-token", want: 200},
		{name: "wrong token", configure: tokensOnly, cert: nobody, authorization: "Bearer third-token", want: 401},
		{name: "half a token", configure: tokensOnly, cert: nobody, authorization: "Bearer first", want: 401},
		{name: "comment for a token", configure: tokensOnly, cert: nobody, authorization: "Bearer # ours", want: 401},
		{name: "empty token", configure: tokensOnly, cert: nobody, authorization: "Bearer ", want: 401},
		{name: "no token", configure: tokensOnly, cert: nobody, want: 401},
		{name: "another scheme", configure: tokensOnly, cert: nobody, authorization: "Basic Zmlyc3QtdG9rZW4=", want: 401},
		{name: "certificate where only tokens are known", configure: tokensOnly, cert: own("anyone"), want: 401},

		{name: "either: certificate", configure: tokens, cert: own("anyone"), want: 200},
		{name: "either: token", configure: tokens, cert: nobody, authorization: "Bearer first-token", want: 200},
		{name: "either: neither", configure: tokens, cert: nobody, want: 401},
		{name: "either: another authority's certificate and a token", configure: tokens, cert: stranger, authorization: "Bearer first-token", want: none},
		{name: "either: certificate and a wrong token", configure: tokens, cert: own("anyone"), authorization: "Bearer third-token", want: 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, allowAll(), func(f *fixture, c *Config) {
				if test.configure != nil {
					test.configure(f, c)
				}
			})
			config := f.clientTLS(t)
			config.Certificates = nil
			if cert := test.cert(t, f); cert != nil {
				// Shown whether or not its authority is among those the server names.
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
			}
			for _, proto := range []string{"h1", "h2"} {
				r := request(t, "POST", f.url("/"), reviewOf("a"))
				if test.authorization != "" {
					r.Header.Set("Authorization", test.authorization)
				}
				a, err := try(client(t, proto, config), r)
				switch {
				case test.want == none && err == nil:
					t.Errorf("%s: answered %d %s", proto, a.status, a.body)
				case test.want != none && err != nil:
					t.Errorf("%s: %v", proto, err)
				case test.want != none && a.status != test.want:
					t.Errorf("%s: %d %s", proto, a.status, a.body)
				case test.want == 200 && !strings.Contains(a.body, `"allowed":true`):
					t.Errorf("%s: %s", proto, a.body)
				}
			}
		})
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll())
	for version, works := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		for _, proto := range []string{"h1", "h2"} {
			config := f.clientTLS(t)
			config.MinVersion, config.MaxVersion = version, version
			_, err := try(client(t, proto, config), request(t, "POST", f.url("/"), reviewOf("a")))
			if (err == nil) != works {
				t.Errorf("%s over %s: %v", proto, tls.VersionName(version), err)
			}
		}
	}
	// Without ALPN, HTTP/1.1 is meant.
	c := f.rawDial(t)
	if got := c.ConnectionState().NegotiatedProtocol; got != "" {
		t.Errorf("negotiated %q", got)
	}
}

// TestBadCredentials starts nothing with files that cannot work.
func TestBadCredentials(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		change  func(*testing.T, *fixture, *TLS)
		message string
	}{
		{"no certificate", func(_ *testing.T, _ *fixture, c *TLS) { c.CertFile = "" }, "a server certificate and its key are needed"},
		{"nobody to answer", func(_ *testing.T, _ *fixture, c *TLS) { c.ClientCAFile = "" }, "nothing says whom to answer"},
		{"names and no authority", func(t *testing.T, f *fixture, c *TLS) {
			c.ClientCAFile, c.ClientNames, c.TokenFile = "", []string{"a"}, write(t, f.path("tokens"), []byte("t"))
		}, "there is no client CA"},
		{"no such file", func(_ *testing.T, f *fixture, c *TLS) { c.KeyFile = f.path("nothing") }, "no such file"},
		{"another's key", func(t *testing.T, f *fixture, c *TLS) {
			_, key := f.ca.issue(t, serverTemplate())
			c.KeyFile = write(t, f.path("other.key"), key)
		}, "private key does not match"},
		{"no names", func(t *testing.T, f *fixture, c *TLS) {
			cert, key := f.ca.issue(t, x509.Certificate{Subject: pkix.Name{CommonName: "127.0.0.1"}})
			write(t, c.CertFile, cert)
			write(t, c.KeyFile, key)
		}, "no DNS name or IP address"},
		{"expired", func(t *testing.T, f *fixture, c *TLS) {
			template := serverTemplate()
			template.NotAfter = time.Now().Add(-time.Minute)
			cert, key := f.ca.issue(t, template)
			write(t, c.CertFile, cert)
			write(t, c.KeyFile, key)
		}, "the certificate expired on"},
		{"authority that is none", func(t *testing.T, _ *fixture, c *TLS) { write(t, c.ClientCAFile, []byte("hello")) }, "no certificate in PEM"},
		{"empty token file", func(t *testing.T, f *fixture, c *TLS) {
			c.TokenFile = write(t, f.path("tokens"), []byte("# none yet\n"))
		}, "no token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := prepare(t, allowAll())
			config := f.config
			test.change(t, f, &config.TLS)
			_, err := New(config)
			if err == nil || !strings.Contains(err.Error(), test.message) {
				t.Errorf("%v, want … %s …", err, test.message)
			}
		})
	}
}

// TestBadConfig likewise.
func TestBadConfig(t *testing.T) {
	t.Parallel()
	for message, change := range map[string]func(*Config){
		"a decider is needed":                func(c *Config) { c.Decider = nil },
		"a time limit is below zero":         func(c *Config) { c.Budget = -1 },
		"the limit on a body is":             func(c *Config) { c.MaxBody = -1 },
		"the limit on all bodies":            func(c *Config) { c.MaxBody, c.MaxBodies = 100, 99 },
		"the limit on connections":           func(c *Config) { c.MaxConns = 1000 },
		`path "x" does not begin with a sla`: func(c *Config) { c.Paths = []string{"x"} },
	} {
		config := prepare(t, allowAll()).config
		change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%v, want … %s …", err, message)
		}
	}
}

// TestReload replaces the files one by one and all at once.
func TestReload(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(f *fixture, c *Config) {
		c.TLS.TokenFile = write(t, f.path("tokens"), []byte("old"))
	})
	ask := func(config *tls.Config, token string) (answer, error) {
		r := request(t, "POST", f.url("/"), reviewOf("a"))
		r.Header.Set("Authorization", "Bearer "+token)
		return try(client(t, "h2", config), r)
	}
	noCert := f.clientTLS(t)
	noCert.Certificates = nil
	serial := func() string {
		c := f.rawDial(t)
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before, hash, snapshot := serial(), f.Hash(), f.credentials.current.Load()
	if err := f.Reload(); err != nil || f.Hash() != hash || len(hash) != 64 || f.credentials.current.Load() != snapshot {
		t.Errorf("unchanged files: %v, hash %s then %s", err, hash, f.Hash())
	}
	if want := 4; len(f.Files()) != want {
		t.Errorf("files %q", f.Files())
	}

	// Half of a new pair is no pair: what was stays.
	template := serverTemplate()
	template.NotAfter = time.Now().Add(6 * time.Hour).Truncate(time.Second)
	cert, key := f.ca.issue(t, template)
	write(t, f.path("tls.crt"), cert)
	if err := f.Reload(); err == nil || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("half a pair: %v", err)
	}
	if serial() != before || f.Hash() != hash {
		t.Error("half a pair was taken")
	}
	write(t, f.path("tls.key"), key)
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if serial() == before || f.Hash() == hash {
		t.Error("the new pair was not taken")
	}
	if got := f.Stats().CertificateExpiry; !got.Equal(template.NotAfter) {
		t.Errorf("expires %v, want %v", got, template.NotAfter)
	}
	if got := f.Stats().ClientCAExpiry; !got.Equal(f.ca.cert.NotAfter) {
		t.Errorf("authority expires %v, want %v", got, f.ca.cert.NotAfter)
	}

	// Tokens count from the next request on.
	write(t, f.path("tokens"), []byte("new"))
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int{"old": 401, "new": 200} {
		if a, err := ask(noCert, token); err != nil || a.status != want {
			t.Errorf("token %s: %d %v", token, a.status, err)
		}
	}
	if err := os.Remove(f.path("tokens")); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err == nil {
		t.Error("a file is gone, and nobody says so")
	}
	if a, err := ask(noCert, "new"); err != nil || a.status != 200 {
		t.Errorf("after the token file went: %d %v", a.status, err)
	}
	write(t, f.path("tokens"), []byte("new"))

	// The authority of clients.
	other := newAuthority(t)
	theirs := f.clientTLS(t)
	theirs.Certificates = []tls.Certificate{*other.client(t, "theirs")}
	oldClient := client(t, "h2", f.clientTLS(t))
	do(t, oldClient, request(t, "POST", f.url("/"), reviewOf("a")))
	write(t, f.path("ca.crt"), other.pem)
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if a, err := ask(theirs, ""); err != nil || a.status != 200 {
		t.Errorf("new authority: %d %v", a.status, err)
	}
	if a, err := ask(f.clientTLS(t), ""); err == nil && a.status != 401 {
		t.Errorf("old authority: %d", a.status)
	}
	if a := do(t, oldClient, request(t, "POST", f.url("/"), reviewOf("a"))); a.status != 200 {
		t.Errorf("a connection of before: %d", a.status)
	}
}

// TestRotationUnderLoad changes certificate and authority together, over and over, with fresh and kept connections
// of callers who trust and show both generations. A server that mixed two snapshots would fail a handshake.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll())
	generations := []*authority{f.ca, newAuthority(t)}
	configs := make([]*tls.Config, 2)
	pool := x509.NewCertPool()
	for i, ca := range generations {
		pool.AddCert(ca.cert)
		configs[i] = &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{*ca.client(t, "kube-apiserver")}}
	}
	// A caller of each generation, which the server's own certificate tells whether it must be let in.
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	var asked atomic.Int64
	kept := map[string]*http.Client{"h1": client(t, "h1", configs[0]), "h2": client(t, "h2", configs[0])}
	for _, c := range kept {
		do(t, c, request(t, "POST", f.url("/"), reviewOf("a")))
		group.Go(func() {
			for ctx.Err() == nil {
				a, err := try(c, request(t, "POST", f.url("/"), reviewOf("a")))
				if err != nil || a.status != 200 {
					t.Errorf("a kept connection: %d %v", a.status, err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for i := range configs {
		group.Go(func() {
			for ctx.Err() == nil {
				c, err := tls.Dial("tcp", f.Addr().String(), configs[i])
				if err != nil {
					t.Errorf("generation %d: %v", i, err) // under TLS 1.3 a refusal comes later
					return
				}
				// The snapshot that showed this certificate is the one that must ask for the certificate's own authority.
				mine := c.ConnectionState().PeerCertificates[0].CheckSignatureFrom(generations[i].cert) == nil
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				_, _ = c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
				n, err := c.Read(make([]byte, 1))
				if answered := n == 1 && err == nil; answered != mine {
					t.Errorf("generation %d answered: %v; the certificate is its authority's: %v (%v)", i, answered, mine, err)
				}
				_ = c.Close()
				asked.Add(1)
			}
		})
	}
	for turn := range 8 {
		ca := generations[turn%2]
		cert, key := ca.issue(t, serverTemplate())
		write(t, f.path("ca.crt"), ca.pem)
		write(t, f.path("tls.key"), key)
		write(t, f.path("tls.crt"), cert)
		if err := f.Reload(); err != nil {
			t.Error(err)
		}
		seen := asked.Load()
		eventually(t, "some reviews in each generation", func() bool { return asked.Load() > seen+10 || t.Failed() })
	}
	stop()
	group.Wait()
}
