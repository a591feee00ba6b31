package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"sluice/resolver/registrytest"
)

// supply is a registry that a service of a test uses.
type supply struct {
	*registrytest.Registry
	t       testing.TB
	release registrytest.Key
}

func newSupply(t testing.TB) *supply {
	t.Helper()
	registry, err := registrytest.New(registrytest.Options{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	release, err := registrytest.GenerateKey(registrytest.P256)
	if err != nil {
		t.Fatal(err)
	}
	return &supply{registry, t, release}
}

// push puts an image in, signed or not, and returns its reference.
func (s *supply) push(name string, signed bool) string {
	s.t.Helper()
	digest, err := s.PushImage(name)
	if err == nil && signed {
		repository, _, _ := strings.Cut(name, ":")
		err = s.Sign(repository, digest, s.release, registrytest.SignOptions{})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return s.Host() + "/" + name
}

// configure writes a configuration that lists the registry, and the policy that its images are signed.
func (s *supply) configure(more string) files {
	s.t.Helper()
	f := newFiles(s.t, fmt.Sprintf("registries:\n- {host: %q, caFile: registry-ca.crt%s}\n", s.Host(), more), fmt.Sprintf(`apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: signed}
spec:
  images: [{glob: %q}]
  authorities: [{name: release-key, key: {file: ../release.pub}}]
`, s.Host()+"/**"))
	f.write("registry-ca.crt", string(s.CA()))
	f.write("release.pub", string(s.release.PublicPEM))
	return f
}

// TestReloadByPost goes through the ports as an operator does.
func TestReloadByPost(t *testing.T) {
	t.Parallel()
	r := newFiles(t, "", allowing).start()
	f := func(status int, answer, verdict string) {
		t.Helper()
		got, body := r.reload()
		if got != status || !strings.Contains(body, answer) {
			t.Errorf("reload: %d %s\nwant %d %s", got, body, status, answer)
		}
		if got := r.review("default", "a:1").verdict(); got != verdict {
			t.Errorf("%s, want %s", got, verdict)
		}
	}
	metric := func(name, want string) {
		t.Helper()
		if got := series(r.get("/metrics"))[name]; got != want {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
	f(http.StatusOK, "1 policies, 0 registries; fingerprint ", "allow passed")
	metric(`sluice_last_reload_successful{part="rules"}`, "1")

	r.write("rules/a.yaml", denying)
	f(http.StatusOK, "1 policies, 0 registries; fingerprint ", "deny static_fail")

	const excerpt = "    4 | spec: {images: [{glob: \"**\"}], authorities: [{statics: {action: fail}}]}\n" +
		"      |                                               ^\n"
	r.write("rules/a.yaml", strings.Replace(denying, "static:", "statics:", 1))
	f(http.StatusInternalServerError, excerpt, "deny static_fail")
	metric(`sluice_last_reload_successful{part="rules"}`, "0")
	metric(`sluice_last_reload_successful{part="certificates"}`, "1")
	ready := r.get("/readyz?verbose") // with status 200: it is still ready
	for _, want := range []string{
		"[!]rules the last reload failed, and the last good state is in force: " + r.dir,
		strings.ReplaceAll("\n"+excerpt, "\n ", "\n     "), "\n[+]certificates ok\n",
	} {
		if !strings.Contains(ready, want) {
			t.Errorf("/readyz?verbose says\n%s\nand not\n%s", ready, want)
		}
	}

	r.write("rules/a.yaml", allowing)
	f(http.StatusOK, "1 policies, 0 registries; fingerprint ", "allow passed")
	metric(`sluice_last_reload_successful{part="rules"}`, "1")
	if got := r.get("/readyz"); got != "ok\n" {
		t.Errorf("/readyz says %s", got)
	}
	// At least, because the poll may have been there too.
	all := series(r.get("/metrics"))
	if ok, failed := all[`sluice_reloads_total{part="rules",result="ok"}`], all[`sluice_reloads_total{part="rules",result="failed"}`]; ok < "3" || failed < "1" {
		t.Errorf("%s reloads and %s failures are counted", ok, failed)
	}
}

// TestPullSecretsOutOfReach: /readyz tells, and it is ready all the same.
func TestPullSecretsOutOfReach(t *testing.T) {
	t.Parallel()
	reg := newSupply(t)
	image := reg.push("team/app:1", true)
	f := reg.configure("")
	f.write("token", "a-token")
	f.write("sluice.yaml", f.read("sluice.yaml")+
		"pullSecrets: {enabled: true, server: \"https://127.0.0.1:1\", tokenFile: token, caFile: pki/ca.crt}\n")
	r := f.start()
	if got := r.get("/readyz?verbose"); !strings.Contains(got, "\n[+]pull-secrets ok\n") {
		t.Errorf("before anything was asked: %s", got)
	}
	r.post("/v1/admission/validate", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1",
"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},"namespace":"default",
"operation":"CREATE","object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},
"spec":{"imagePullSecrets":[{"name":"mine"}],"containers":[{"name":"a","image":"`+image+`"}]}}}}`)
	got := r.get("/readyz?verbose")
	if !strings.Contains(got, "\n[!]pull-secrets the last request to the API server failed") || !strings.Contains(got, "connection refused") {
		t.Errorf("after a failure: %s", got)
	}
}

// TestOldVerdictsAreNeverServed: under load, every review that begins after a reload has been answered is decided by
// the new rules.
func TestOldVerdictsAreNeverServed(t *testing.T) {
	t.Parallel()
	r := newFiles(t, "", allowing).start()
	var inForce atomic.Int64 // how many reloads were answered
	var g errgroup.Group
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for worker := range 4 {
		g.Go(func() error {
			for i := 0; ctx.Err() == nil; i++ {
				before := inForce.Load()
				a, err := ask(r.client, r.front.Addr().String(), "default", fmt.Sprintf("a:%d", (i+worker)%8))
				if err != nil {
					return err
				}
				// Reload number n puts allowing in force if n is even. While one is under way, both are right.
				if before >= 0 && inForce.Load() == before && a.Allowed != (before%2 == 0) {
					return fmt.Errorf("after %d reloads: %s", before, a)
				}
			}
			return nil
		})
	}
	policies := []string{allowing, denying}
	for n := int64(1); n <= 10; n++ {
		inForce.Store(-n) // under way
		r.write("rules/a.yaml", policies[n%2])
		if status, body := r.reload(); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		inForce.Store(n)
		for range 3 {
			if a := r.review("default", "a:1"); a.Allowed != (n%2 == 0) {
				t.Errorf("after %d reloads: %s", n, a)
			}
		}
	}
	stop()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// TestCredentialsRotate under load, and no review fails: the registry takes old and new for a while, as registries do.
func TestCredentialsRotate(t *testing.T) {
	t.Parallel()
	s := newSupply(t)
	var accepted atomic.Pointer[[]string]
	accept := func(passwords ...string) { accepted.Store(&passwords) }
	var refused atomic.Int64
	s.SetFaultEverywhere(registrytest.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		name, password, given := r.BasicAuth()
		if given && name == "reader" && slices.Contains(*accepted.Load(), password) {
			return false
		}
		if given {
			refused.Add(1)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}))
	const images = 24
	var refs []string
	for i := range images {
		refs = append(refs, s.push(fmt.Sprintf("team/app:%d", i), true))
	}
	f := s.configure(", usernameFile: username, passwordFile: password")
	f.write("username", "reader\n")
	f.write("password", "first\n")
	accept("first")
	r := f.start()

	var asked atomic.Int64
	g, failed := errgroup.WithContext(t.Context())
	halfway := make(chan struct{})
	for worker := range 4 {
		g.Go(func() error {
			for i := worker; i < images; i += 4 { // each is a cold review
				if asked.Add(1) == images/2 {
					close(halfway)
				}
				a, err := ask(r.client, r.front.Addr().String(), "default", refs[i])
				if err != nil || !a.Allowed {
					return fmt.Errorf("%s: %s, %w", refs[i], a, err)
				}
			}
			return nil
		})
	}
	select {
	case <-halfway:
	case <-failed.Done():
	}
	accept("first", "second")
	f.write("password", "second\n")
	if status, body := r.reload(); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	accept("second")
	if a := r.review("default", s.push("team/app:last", true)); !a.Allowed {
		t.Errorf("with the new password: %s", a)
	}
	if n := refused.Load(); n != 0 {
		t.Errorf("%d requests came with a password that was not accepted", n)
	}
}

// TestCertificatesRotate: the service gets another certificate of another authority, and so do its clients.
func TestCertificatesRotate(t *testing.T) {
	t.Parallel()
	r := newFiles(t, "", allowing).start()
	address := r.front.Addr().String()
	next := newFiles(t, "", allowing)
	read := func(f files, name string) string {
		b, err := os.ReadFile(f.path(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	works := func(dir string) error {
		client, err := newClient(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer client.CloseIdleConnections()
		_, err = ask(client, address, "default", "a:1")
		return err
	}
	reload := func() {
		t.Helper()
		if status, body := r.reload(); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	if a := r.review("default", "a:1"); !a.Allowed {
		t.Error(a)
	}
	before := newFiles(t, "", allowing) // what a client holds that nobody has told of the change
	for _, name := range []string{"pki/ca.crt", "pki/client.crt", "pki/client.key"} {
		before.write(name, read(r.files, name))
	}
	if err := works(before.dir); err != nil {
		t.Fatal(err)
	}
	if err := works(next.dir); err == nil {
		t.Fatal("a client of an unknown authority is answered")
	}

	// Both authorities for a while, then the new certificate, then the new authority alone.
	both := read(r.files, "pki/ca.crt") + read(next, "pki/ca.crt")
	r.write("pki/ca.crt", both)
	before.write("pki/ca.crt", both)
	reload()
	client := read(next, "pki/ca.crt")
	next.write("pki/ca.crt", both)
	for _, dir := range []string{before.dir, next.dir} {
		if err := works(dir); err != nil {
			t.Error(err)
		}
	}
	next.write("pki/ca.crt", client)
	r.write("pki/server.crt", read(next, "pki/server.crt"))
	r.write("pki/server.key", read(next, "pki/server.key"))
	reload()
	for _, dir := range []string{before.dir, next.dir} {
		if err := works(dir); err != nil {
			t.Error(err)
		}
	}
	r.write("pki/ca.crt", read(next, "pki/ca.crt"))
	reload()
	if err := works(before.dir); err == nil {
		t.Error("a client of the old authority is answered")
	}
	if err := works(next.dir); err != nil {
		t.Error(err)
	}
	// Who was connected has not noticed.
	if a := r.review("default", "a:1"); !a.Allowed {
		t.Error(a)
	}
}

// TestDenialIsOneRecord: what operators look for is in it, and nothing else is logged of reviews.
func TestDenialIsOneRecord(t *testing.T) {
	t.Parallel()
	s := newSupply(t)
	unsigned, signed := s.push("team/app:unsigned", false), s.push("team/app:signed", true)
	r := s.configure("").start()
	r.records.await(t, "serving")
	before := r.records.count()
	r.review("prod", signed)
	r.review("prod", signed)
	if n := r.records.count() - before; n != 0 {
		t.Errorf("%d records of allowed reviews", n)
	}
	r.review("prod", signed, unsigned)
	denials := r.records.of("review denied")
	if n := r.records.count() - before; n != 1 || len(denials) != 1 {
		t.Fatalf("%d records, %d of them of a denial: %v", n, len(denials), denials)
	}
	got := denials[0]
	image := got["images"].([]any)[0].(record)
	if digest, _ := image["digest"].(string); !strings.HasPrefix(digest, "sha256:") {
		t.Errorf("digest %v", image["digest"])
	}
	if detail, _ := image["detail"].(string); detail == "" {
		t.Error("nothing is said of what lies behind it")
	}
	for _, varies := range []string{"time", "took"} {
		if got[varies] == nil {
			t.Errorf("no %s", varies)
		}
		delete(got, varies)
	}
	delete(image, "digest")
	delete(image, "detail")
	want := record{
		"level": "INFO", "msg": "review denied", "outcome": "deny", "reason": "signature_missing", "namespace": "prod",
		"hit": false, "protocol": "h2", "client": "kube-apiserver",
		"images": []any{record{"image": unsigned, "reason": "signature_missing", "policy": "signed"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestMetrics holds names and labels against a golden file, and that nobody who asks can make more of them.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSupply(t)
	r := s.configure("").start()
	visit := func(image string) {
		r.review("default", image)
		r.review("default", image)
	}
	visit(s.push("team/app:unsigned", false))
	visit(s.push("team/app:signed", true))
	visit(s.Host() + "/team/app:none")
	r.post("/v1/imagereview", "{")
	before := series(r.get("/metrics"))
	golden(t, "metrics.txt", strings.Join(names(before), "\n")+"\n")

	const mark = "hostile"
	for i := range 20 {
		name := fmt.Sprintf("%s-%d", mark, i)
		r.review(name, s.Host()+"/"+name+":"+name, name+".example.com/"+name, strings.ToUpper(name)+"::")
		r.post("/"+name, "{}")
		r.post("/v1/imagereview", fmt.Sprintf(`{"kind":%q,"apiVersion":%q}`, name, name))
	}
	after := series(r.get("/metrics"))
	for name := range after {
		if _, ok := before[name]; !ok && strings.HasPrefix(name, "sluice_") {
			t.Errorf("there is a new series %s", name)
		}
		if strings.Contains(strings.ToLower(name), mark) {
			t.Errorf("a request is quoted in %s", name)
		}
	}
	for name, want := range map[string]string{
		`sluice_reviews_total{cache="hit",verdict="allow"}`:       "1",
		`sluice_unusable_reviews_total{problem="wrong_kind"}`:     "20",
		`sluice_refused_requests_total{problem="not_found"}`:      "20",
		`sluice_verifications_total{outcome="signature_missing"}`: "1",
	} {
		if got := after[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestServeEndsWithAPort: a service that can answer on one of its ports only is no service, and ends with an error.
func TestServeEndsWithAPort(t *testing.T) {
	t.Parallel()
	s, _ := newFiles(t, "", allowing).put()
	if err := s.listen(); err != nil {
		t.Fatal(err)
	}
	if err := s.front.Drain(t.Context()); err != nil { // which leaves nothing for the service to serve on
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.serve(t.Context(), 0) }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the service ended without saying why")
		}
	case <-time.After(30 * time.Second):
		t.Error("the service goes on without its port")
	}
}
