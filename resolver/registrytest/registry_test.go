package registrytest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

func start(t *testing.T, o Options) *Registry {
	t.Helper()
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func client(t *testing.T, r *Registry) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(r.CA())
	transport := &http.Transport{
		TLSClientConfig:    &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DisableCompression: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func get(t *testing.T, c *http.Client, url string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req := must(http.NewRequestWithContext(ctx, http.MethodGet, url, nil))(t)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func TestPushRetagDeleteAndCount(t *testing.T) {
	t.Parallel()
	for _, withTLS := range []bool{false, true} {
		r := start(t, Options{TLS: withTLS})
		c := client(t, r)
		one := must(r.PushImage("team/app:1"))(t)
		two := must(r.PushImage("team/app:2"))(t)
		index := must(r.PushIndex("team/app:all", 2))(t)
		if one == two || one == index {
			t.Fatal("images do not differ")
		}
		base := r.URL() + "/v2/team/app/"
		digestOf := func(ref string) string {
			resp, body, err := get(t, c, base+"manifests/"+ref)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusOK {
				return resp.Status
			}
			sum := sha256.Sum256(body)
			return "sha256:" + hex.EncodeToString(sum[:])
		}
		f := func(ref, want string) {
			t.Helper()
			if got := digestOf(ref); got != want {
				t.Errorf("%s: got %s, want %s", ref, got, want)
			}
		}
		f("1", one)
		f(one, one)
		f("all", index)
		if err := r.Retag("team/app", "1", two); err != nil {
			t.Fatal(err)
		}
		f("1", two)
		if err := r.Delete("team/app", "1"); err != nil {
			t.Fatal(err)
		}
		f("1", "404 Not Found")
		f(one, one)
		if err := r.Retag("team/app", "x", "none"); err == nil {
			t.Error("a tag could be pointed at nothing")
		}
		blob := must(r.PutBlob("team/app", []byte("hello")))(t)
		if _, body, err := get(t, c, base+"blobs/"+blob); err != nil || string(body) != "hello" {
			t.Errorf("blob: %q, %v", body, err)
		}
		if _, _, err := get(t, c, r.URL()+"/v2/"); err != nil {
			t.Error(err)
		}
		got := r.Counts()
		got.Connections = 0
		if diff := cmp.Diff(Counts{Ping: 1, ManifestByTag: 4, ManifestByDigest: 2, Blob: 1}, got); diff != "" {
			t.Error(diff)
		}
		r.Reset()
		if r.Counts().Requests() != 0 {
			t.Error("Reset left something")
		}
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	basic := start(t, Options{TLS: true, Auth: BasicAuth, Username: "u", Password: "p"})
	must(basic.PushImage("a:1"))(t)
	resp, _, err := get(t, client(t, basic), basic.URL()+"/v2/a/manifests/1")
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("without credentials: %v, %v", resp, err)
	}
	resp, _, err = get(t, client(t, basic), basic.URL()+"/v2/a/manifests/1",
		"Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("u:p")))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("with credentials: %v, %v", resp, err)
	}

	bearer := start(t, Options{Auth: BearerAuth})
	must(bearer.PushImage("a:1"))(t)
	c := client(t, bearer)
	status := func(token string) int {
		t.Helper()
		resp, _, err := get(t, c, bearer.URL()+"/v2/a/manifests/1", "Authorization", "Bearer "+token)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	token := func(repository string) string {
		t.Helper()
		_, body, err := get(t, c, bearer.URL()+"/token?scope=repository:"+repository+":pull")
		var reply struct{ Token string }
		if err != nil || json.Unmarshal(body, &reply) != nil {
			t.Fatal(err, string(body))
		}
		return reply.Token
	}
	good := token("a")
	if got := status(good); got != 200 {
		t.Errorf("right token: %d", got)
	}
	if got := status(token("b")); got != 401 {
		t.Errorf("token of another repository: %d", got)
	}
	bearer.RevokeTokens()
	if got := status(good); got != 401 {
		t.Errorf("revoked token: %d", got)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	must(r.PushImage("a:1"))(t)
	c := client(t, r)
	url := r.URL() + "/v2/a/manifests/1"
	_, whole, err := get(t, c, url)
	if err != nil {
		t.Fatal(err)
	}
	f := func(name string, fault Fault, ok func(*http.Response, []byte, error) bool) {
		t.Helper()
		r.SetFault(ManifestByTag, fault)
		if resp, body, err := get(t, c, url); !ok(resp, body, err) {
			t.Errorf("%s: %v, %d bytes, %v", name, resp, len(body), err)
		}
		r.SetFault(ManifestByTag, nil)
	}
	f("status", Status(503), func(resp *http.Response, _ []byte, _ error) bool { return resp.StatusCode == 503 })
	f("throttle", Throttle(7), func(resp *http.Response, _ []byte, _ error) bool {
		return resp.StatusCode == 429 && resp.Header.Get("Retry-After") == "7"
	})
	f("drop", Drop(), func(_ *http.Response, _ []byte, err error) bool { return err != nil })
	f("redirect", Redirect("http://other.test"), func(resp *http.Response, _ []byte, _ error) bool {
		return resp.Header.Get("Location") == "http://other.test/v2/a/manifests/1"
	})
	f("drip", Drip(time.Microsecond), func(_ *http.Response, b []byte, _ error) bool { return bytes.Equal(b, whole) })
	f("truncate", Truncate(), func(_ *http.Response, b []byte, err error) bool {
		return err != nil && len(b) == len(whole)/2
	})
	f("wrong header", WrongDigestHeader(), func(resp *http.Response, b []byte, _ error) bool {
		return bytes.Equal(b, whole) && strings.HasPrefix(resp.Header.Get("Docker-Content-Digest"), "sha256:0123")
	})
	f("wrong body", WrongBody(), func(_ *http.Response, b []byte, _ error) bool {
		return !bytes.Equal(b, whole) && json.Valid(b)
	})
	f("substitute", Substitute(), func(resp *http.Response, b []byte, _ error) bool {
		return !bytes.Equal(b, whole) && json.Valid(b) && resp.Header.Get("Docker-Content-Digest") == ""
	})
	f("oversize", Oversize(1<<20, false, nil), func(resp *http.Response, b []byte, _ error) bool {
		return len(b) == 1<<20 && resp.ContentLength == -1
	})
	f("gzip bomb", GzipBomb(1<<20), func(resp *http.Response, b []byte, _ error) bool {
		return len(b) < 1<<14 && resp.Header.Get("Content-Encoding") == "gzip"
	})
	f("times 0", Times(0, Status(500)), func(resp *http.Response, _ []byte, _ error) bool { return resp.StatusCode == 200 })
	f("times 1", Times(1, Status(500)), func(resp *http.Response, _ []byte, _ error) bool { return resp.StatusCode == 500 })
}

func TestSignIsWhatCosignWrites(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	digest := must(r.PushImage("team/app:1"))(t)
	var keys []Key
	for _, kind := range []Kind{P256, P384, RSA, Ed25519} {
		k := must(GenerateKey(kind))(t)
		keys = append(keys, k)
		if err := r.Sign("team/app", digest, k, SignOptions{Annotations: map[string]any{"env": "prod"}}); err != nil {
			t.Fatal(err)
		}
	}
	raw, mediaType, err := r.manifest("team/app", SignatureTag(digest))
	if err != nil || mediaType != "application/vnd.oci.image.manifest.v1+json" {
		t.Fatal(mediaType, err)
	}
	m := must(v1.ParseManifest(bytes.NewReader(raw)))(t)
	if len(m.Layers) != len(keys) || m.Config.MediaType != "application/vnd.oci.image.config.v1+json" {
		t.Fatalf("manifest: %s", raw)
	}
	want := `{"critical":{"identity":{"docker-reference":"` + r.Host() + `/team/app"},"image":{"docker-manifest-digest":"` +
		digest + `"},"type":"cosign container image signature"},"optional":{"env":"prod"}}`
	for i, l := range m.Layers {
		if l.MediaType != SimpleSigningMediaType {
			t.Errorf("layer %d is a %s", i, l.MediaType)
		}
		_, payload, err := get(t, client(t, r), r.URL()+"/v2/team/app/blobs/"+l.Digest.String())
		if err != nil || string(payload) != want {
			t.Errorf("payload %d: %s, %v", i, payload, err)
		}
		public := must(cryptoutils.UnmarshalPEMToPublicKey(keys[i].PublicPEM))(t)
		verifier := must(signature.LoadDefaultVerifier(public, options.WithED25519ph()))(t)
		sig := must(base64.StdEncoding.DecodeString(l.Annotations[SignatureAnnotation]))(t)
		if err := verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(payload)); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
	}
}

func TestInFlight(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	const n = 3
	gate, arrived := make(chan struct{}), make(chan struct{}, n)
	r.SetFault(Ping, func(next http.Handler) http.Handler {
		held := Until(gate)(next)
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			arrived <- struct{}{}
			held.ServeHTTP(w, req)
		})
	})
	c := client(t, r)
	done := make(chan error, n)
	for range n {
		go func() {
			resp, err := c.Get(r.URL() + "/v2/")
			if err == nil {
				err = resp.Body.Close()
			}
			done <- err
		}()
	}
	for range n {
		<-arrived
	}
	if now, most := r.InFlight(); now != n || most != n {
		t.Errorf("while %d requests are held back: %d in flight, %d at most", n, now, most)
	}
	close(gate)
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	r.SetFault(Ping, nil)
	r.Reset()
	if _, _, err := get(t, c, r.URL()+"/v2/"); err != nil {
		t.Error(err)
	}
	if _, most := r.InFlight(); most < 1 || most > n { // an answer can be read before its handler has returned
		t.Errorf("%d in flight at most after one request", most)
	}
}
