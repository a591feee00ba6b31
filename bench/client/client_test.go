package client

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/bench"
)

const allowedReply = `{"apiVersion":"imagepolicy.k8s.io/v1alpha1","kind":"ImageReview","status":{"allowed":true}}`

var review = &bench.Review{
	Body: []byte(`{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{},"spec":{"containers":[{"image":"nginx:1"}],"namespace":"default"},"status":{"allowed":false}}` + "\n"),
	Key:  `{"containers":[{"image":"nginx:1"}],"namespace":"default"}`,
}

// allow answers every review with an allow.
func allow(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, allowedReply)
}

// serve starts a server that speaks h2 and h1, and returns it with options that reach it.
func serve(t testing.TB, h http.Handler, change ...func(*httptest.Server)) (*httptest.Server, Options) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // clients leave handshakes on purpose
	for _, c := range change {
		c(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, Options{URL: s.URL, CAFile: caFile(t, s.Certificate())}
}

func caFile(t testing.TB, c *x509.Certificate) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t testing.TB, o Options) bench.Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func ask(t testing.TB, c bench.Client) (bench.Answer, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return c.Do(ctx, review)
}

// kinds are the clients that there are.
var kinds = map[string]Options{
	"apiserver h2": {},
	"apiserver h1": {Protocol: "h1"},
	"lean h2":      {Lean: true},
	"lean h1":      {Lean: true, Protocol: "h1"},
}

func each(t *testing.T, f func(t *testing.T, o Options)) {
	for name, o := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, o)
		})
	}
}

// to merges options that reach a server into those of a kind of client.
func (o Options) to(reach Options) Options {
	o.URL, o.CAFile, o.CertFile, o.KeyFile = reach.URL, reach.CAFile, reach.CertFile, reach.KeyFile
	return o
}

// TestRequest holds what arrives against what the plugin sends.
func TestRequest(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o Options) {
		var got *http.Request
		var body []byte
		_, reach := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r
			body, _ = io.ReadAll(r.Body)
			allow(w, r)
		}))
		o = o.to(reach)
		o.URL += "//image-policy/./v1/"
		o.Token = "sesame"
		c := open(t, o)
		for range 3 { // the first request on a connection may differ from those behind it
			a, err := ask(t, c)
			if err != nil || !a.Allowed || !a.Verdict || a.Cached || a.Status != 200 {
				t.Fatalf("%+v %v", a, err)
			}
			proto, agent := "HTTP/2.0", "Go-http-client/2.0"
			if o.Protocol == "h1" {
				proto, agent = "HTTP/1.1", "Go-http-client/1.1"
			}
			if got.Method != "POST" || got.RequestURI != "/image-policy/v1?timeout=30s" || got.Proto != proto || "https://"+got.Host != reach.URL {
				t.Errorf("%s %s %s %s", got.Method, got.RequestURI, got.Proto, got.Host)
			}
			want := http.Header{
				"Accept": {"application/json, */*"}, "Accept-Encoding": {"gzip"}, "Content-Type": {"application/json"}, "User-Agent": {agent},
				"Authorization": {"Bearer sesame"}, "Content-Length": {"173"},
			}
			if len(got.Header) != len(want) {
				t.Errorf("%v", got.Header)
			}
			for k, v := range want {
				if got.Header.Get(k) != v[0] {
					t.Errorf("%s: %q", k, got.Header[k])
				}
			}
			if string(body) != string(review.Body) || got.ContentLength != int64(len(review.Body)) {
				t.Errorf("%d %s", got.ContentLength, body)
			}
		}
	})
}
