package server

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/engine"
)

// authority is a CA of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a certificate and its key, for a server and a client alike.
func (a *authority) issue(t testing.TB, template x509.Certificate) (certPEM, keyPEM []byte) {
	t.Helper()
	key := newKey(t)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-2 * time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(12 * time.Hour)
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func serverTemplate() x509.Certificate {
	return x509.Certificate{Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
}

func (a *authority) client(t testing.TB, name string, more ...func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	template := x509.Certificate{Subject: pkix.Name{CommonName: name}}
	for _, f := range more {
		f(&template)
	}
	pair, err := tls.X509KeyPair(a.issue(t, template))
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

func write(t testing.TB, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fixture is a server that runs, and the authority that everyone trusts.
type fixture struct {
	*Server
	ca      *authority
	dir     string
	records *records
	served  chan error
}

// records keeps what was logged.
type records struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (r *records) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.Write(b)
}

func (r *records) lines(containing string) (found []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.all.String()) {
		if strings.Contains(line, containing) {
			found = append(found, line)
		}
	}
	return found
}

// start runs a server on a free port. It asks for client certificates of f.ca, unless configure says otherwise.
func start(t testing.TB, decider Decider, configure ...func(*fixture, *Config)) *fixture {
	t.Helper()
	f := prepare(t, decider, configure...)
	f.run(t)
	return f
}

func prepare(t testing.TB, decider Decider, configure ...func(*fixture, *Config)) *fixture {
	t.Helper()
	f := &fixture{ca: newAuthority(t), dir: t.TempDir(), records: &records{}, served: make(chan error, 1)}
	cert, key := f.ca.issue(t, serverTemplate())
	config := Config{
		Addr: "127.0.0.1:0",
		TLS: TLS{
			CertFile: write(t, f.path("tls.crt"), cert), KeyFile: write(t, f.path("tls.key"), key),
			ClientCAFile: write(t, f.path("ca.crt"), f.ca.pem),
		},
		Decider: decider,
		Logger:  slog.New(slog.NewJSONHandler(f.records, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	for _, c := range configure {
		c(f, &config)
	}
	var err error
	if f.Server, err = New(config); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) run(t testing.TB) {
	t.Helper()
	if err := f.Listen(); err != nil {
		t.Fatal(err)
	}
	go func() { f.served <- f.Serve(context.Background()) }()
	t.Cleanup(func() {
		f.Close()
		if err := <-f.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

func (f *fixture) url(path string) string { return "https://" + f.Addr().String() + path }

// clientTLS trusts f's authority and shows a certificate of it.
func (f *fixture) clientTLS(t testing.TB) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(f.ca.cert)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{*f.ca.client(t, "kube-apiserver")}}
}

// client speaks one protocol only, over connections of its own.
func client(t testing.TB, proto string, config *tls.Config) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config.Clone(), Protocols: new(http.Protocols), MaxIdleConnsPerHost: 64}
	transport.Protocols.SetHTTP1(proto == "h1")
	transport.Protocols.SetHTTP2(proto == "h2")
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// eachProtocol runs a test over both.
func eachProtocol(t *testing.T, test func(t *testing.T, proto string)) {
	for _, proto := range []string{"h1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			test(t, proto)
		})
	}
}

// answer is what came back.
type answer struct {
	status int
	body   string
	header http.Header
	proto  int
	closes bool // the connection is at its end
}

func do(t testing.TB, c *http.Client, r *http.Request) answer {
	t.Helper()
	a, err := try(c, r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func try(c *http.Client, r *http.Request) (answer, error) {
	resp, err := c.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(b), resp.Header, resp.ProtoMajor, resp.Close}, err
}

func request(t testing.TB, method, url string, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// chunked hides the length of a body.
func chunked(r *http.Request) *http.Request {
	r.ContentLength, r.GetBody = -1, nil
	r.Body = io.NopCloser(struct{ io.Reader }{r.Body})
	return r
}

// reviewOf is a review as the plugin writes it, trailing line feed included.
func reviewOf(images ...string) string {
	var b strings.Builder
	b.WriteString(`{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{},"spec":{"containers":[`)
	for i, image := range images {
		if i > 0 {
			b.WriteByte(',')
		}
		quoted, _ := json.Marshal(image)
		fmt.Fprintf(&b, `{"image":%s}`, quoted)
	}
	b.WriteString(`],"namespace":"default"},"status":{"allowed":false}}` + "\n")
	return b.String()
}

// padded is a review of about n bytes, most of them an annotation.
func padded(n int, images ...string) string {
	r := reviewOf(images...)
	return strings.Replace(r, `"namespace"`, `"annotations":{"x.image-policy.k8s.io/y":"`+strings.Repeat("z", max(0, n-len(r)-43))+`"},"namespace"`, 1)
}

// namedReview is a review's bytes, and what is special about it.
type namedReview struct {
	name string
	body []byte
}

// hitReviews are reviews that newEngine allows, of images with digests, which the replies repeat.
func hitReviews() (all []namedReview) {
	images := make([]string, 3000)
	for i := range images {
		images[i] = fmt.Sprintf("good.example/team/app-%d:v1@sha256:%064x", i, i)
	}
	for _, n := range []int{1, 2, 20, len(images)} {
		all = append(all, namedReview{fmt.Sprintf("containers=%d", n), []byte(reviewOf(images[:n]...))})
	}
	escapes := strings.ReplaceAll(padded(600, images[:2]...), ":v1@", `\u003av1\u0040`)
	return append(all, namedReview{"escapes", []byte(strings.ReplaceAll(escapes, "zzzz", `\u003c\n\"z`))})
}

// decideHit has a copy of a review decided, as the protocols do.
func decideHit(t testing.TB, f *fixture, body []byte) {
	x := f.door.acquire(imageReview)
	x.body = x.space(len(body))
	copy(x.body, body)
	if status := f.door.decide(x); status != 200 || !x.result.Hit || !x.answer.Allowed {
		t.Fatalf("%d %.300s", status, x.reply)
	}
	f.door.release(x)
}

// warm has a review decided, and checks that the answer is remembered.
func warm(t testing.TB, f *fixture, body []byte) {
	t.Helper()
	for range 2 {
		x := f.door.acquire(imageReview)
		x.body = bytes.Clone(body)
		f.door.decide(x)
		hit := x.result.Hit
		f.door.release(x)
		if hit {
			return
		}
	}
	t.Fatal("the answer is not remembered")
}

// stub is a Decider made of functions; one that is nil allows nothing and knows nothing.
type stub struct {
	hit    func(*engine.Request, *engine.Result) bool
	decide func(context.Context, *engine.Request, *engine.Result)
}

func (s *stub) Hit(req *engine.Request, res *engine.Result) bool {
	return s.hit != nil && s.hit(req, res)
}

func (s *stub) Decide(ctx context.Context, req *engine.Request, res *engine.Result) {
	*res = engine.Result{}
	if s.decide != nil {
		s.decide(ctx, req, res)
	}
}

// allowAll is a stub that answers each review from its cache.
func allowAll() *stub {
	return &stub{hit: func(_ *engine.Request, res *engine.Result) bool {
		res.Outcome, res.Reason, res.Hit = engine.Allow, engine.ReasonPassed, true
		return true
	}}
}

// world is the ports of a real engine. The registry in an image's name says what becomes of it.
type world struct{}

func (world) Children(context.Context, engine.Reference) ([]engine.Child, error) { return nil, nil }

func (world) Resolve(ctx context.Context, ref engine.Reference, _ engine.Known) (engine.Resolution, error) {
	return engine.Resolution{}, &engine.Failure{Reason: engine.ReasonRegistryUnavailable, Public: "the registry did not answer", Err: io.ErrUnexpectedEOF}
}

func (world) Verify(context.Context, engine.Reference, *engine.Authority, engine.Known) (engine.Evidence, error) {
	return engine.Evidence{}, &engine.Failure{Reason: engine.ReasonSignatureMissing, Public: "no signature was found"}
}

// newEngine makes the real engine with one policy for each registry that the tests speak of.
func newEngine(t testing.TB) *engine.Engine {
	t.Helper()
	e, err := engine.New(engine.Config{Resolver: world{}, Verifier: world{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	key := newKey(t)
	policy := func(name string, a *engine.Authority, onError engine.OnError) *engine.Policy {
		glob, err := engine.ParseImageGlob(name + ".example/**")
		if err != nil {
			t.Fatal(err)
		}
		return &engine.Policy{
			Name: name, Images: []engine.Glob{glob}, Authorities: []*engine.Authority{a}, OnError: onError,
			AllowTTL: time.Hour, DenyTTL: time.Hour, Fingerprint: [32]byte{byte(len(name)), name[0]},
		}
	}
	signed := &engine.Authority{Name: "key", Trust: &engine.Trust{ID: "key", Keys: []crypto.PublicKey{&key.PublicKey}}}
	e.Load(engine.NewSnapshot([]*engine.Policy{
		policy("good", &engine.Authority{Name: "anyone", Static: engine.StaticPass}, engine.OnErrorDeny),
		policy("bad", &engine.Authority{Name: "nobody", Static: engine.StaticFail}, engine.OnErrorDeny),
		policy("retry", signed, engine.OnErrorRetry),
		policy("defer", signed, engine.OnErrorDefer),
	}, engine.NoMatchDeny))
	return e
}

// rawDial connects and shakes hands, and leaves the rest to the test.
func (f *fixture) rawDial(t testing.TB, protocols ...string) *tls.Conn {
	t.Helper()
	config := f.clientTLS(t)
	config.NextProtos = protocols
	c, err := tls.Dial("tcp", f.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// eventually waits for a condition that something else is about to bring about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}
