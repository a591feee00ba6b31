package resolver

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/engine"
	"sluice/resolver/mirror"
	"sluice/resolver/registrytest"
)

const mirrorHost = "mirror.example.test"

// house is a registry, a mirror of it, and what the mirror was sent.
type house struct {
	net            network
	origin, mirror *registrytest.Registry

	mu   sync.Mutex
	sent []*http.Request
}

// newHouse starts both without TLS, unless an option says so.
func newHouse(t *testing.T, origin, mirror registrytest.Options) *house {
	t.Helper()
	h := &house{}
	origin.Names, mirror.Names = []string{registryHost}, []string{mirrorHost}
	h.origin, h.mirror = startRegistry(t, origin), startRegistry(t, mirror)
	for _, port := range []string{":80", ":443"} {
		h.net.add(registryHost+port, h.origin)
		h.net.add(mirrorHost+port, h.mirror)
	}
	return h
}

// note writes down what the mirror is sent before f answers.
func (h *house) note(f registrytest.Fault) {
	h.mirror.SetFaultEverywhere(func(next http.Handler) http.Handler {
		if f != nil {
			next = f(next)
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.mu.Lock()
			h.sent = append(h.sent, r.Clone(r.Context()))
			h.mu.Unlock()
			next.ServeHTTP(w, r)
		})
	})
}

func (h *house) requests() []*http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent
}

// hostsDir writes a hosts.toml for each host.
func hostsDir(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for host, content := range files {
		dir := filepath.Join(root, host)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// resolver asks by a hosts.toml.
func (h *house) resolver(t *testing.T, toml string, change func(*Registry)) *Resolver {
	t.Helper()
	entry := Registry{Host: registryHost, PlainHTTP: true, Retries: -1}
	if change != nil {
		change(&entry)
	}
	return newTest(t, &h.net, Config{
		Registries: []Registry{entry}, HostsDirs: []string{hostsDir(t, map[string]string{registryHost: toml})}, TagTTL: 1,
	})
}

const plainMirror = "[host.\"http://" + mirrorHost + "\"]\n"

// same puts one image under a tag into both.
func (h *house) same(t *testing.T, repoTag string) engine.Digest {
	t.Helper()
	d := push(t, h.origin, repoTag)
	repository, tag, _ := strings.Cut(repoTag, ":")
	raw, err := h.origin.Raw(repository, tag)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{tag, string(d)} {
		if _, err := h.mirror.PutRaw(repository, name, "application/vnd.docker.distribution.manifest.v2+json", raw); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// TestMirrorFaults sends each fault down the mirror's way while the origin has what is asked for, has it not, or is ill
// itself.
func TestMirrorFaults(t *testing.T) {
	t.Parallel()
	const found = engine.ReasonUnknown
	unavailable, missing, malformed := engine.ReasonRegistryUnavailable, engine.ReasonImageNotFound, engine.ReasonRegistryMalformed
	denied, throttled := engine.ReasonRegistryDenied, engine.ReasonRegistryThrottled
	for _, c := range []struct {
		name   string
		mirror registrytest.Fault
		origin registrytest.Fault
		want   engine.Reason
	}{
		{"404", registrytest.Status(404), nil, found},
		{"401", registrytest.Status(401), nil, found},
		{"403", registrytest.Status(403), nil, found},
		{"400", registrytest.Status(400), nil, found},
		{"429", registrytest.Throttle(60), nil, found},
		{"500", registrytest.Status(500), nil, found},
		{"drop", registrytest.Drop(), nil, found},
		{"hang", registrytest.Hang(), nil, found},
		{"truncated", registrytest.Truncate(), nil, found},
		{"a lie", registrytest.WrongDigestHeader(), nil, found},
		{"oversize", registrytest.Oversize(8<<20, false, nil), nil, found},
		{"another type", registrytest.ContentType("text/html"), nil, found},
		{"redirect", registrytest.Redirect("http://elsewhere.test"), nil, found},
		{"redirect to the origin", registrytest.Redirect("http://" + registryHost), nil, found},

		{"404, 404", registrytest.Status(404), registrytest.Status(404), missing},
		{"401, 404", registrytest.Status(401), registrytest.Status(404), missing},
		{"a lie, 404", registrytest.WrongDigestHeader(), registrytest.Status(404), missing},
		{"500, 404", registrytest.Status(500), registrytest.Status(404), unavailable},
		{"429, 404", registrytest.Throttle(60), registrytest.Status(404), throttled},
		{"hang, 404", registrytest.Hang(), registrytest.Status(404), engine.ReasonTimeout},
		{"404, 500", registrytest.Status(404), registrytest.Status(500), unavailable},
		{"404, 403", registrytest.Status(404), registrytest.Status(403), denied},
		{"500, 429", registrytest.Status(500), registrytest.Throttle(60), throttled},
		{"500, 403", registrytest.Status(500), registrytest.Status(403), unavailable},
		{"500, a lie", registrytest.Status(500), registrytest.WrongDigestHeader(), malformed},
		{"a lie, 500", registrytest.WrongDigestHeader(), registrytest.Status(500), unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, registrytest.Options{}, registrytest.Options{})
			want := h.same(t, "team/app:1")
			h.mirror.SetFaultEverywhere(c.mirror)
			h.origin.SetFaultEverywhere(c.origin)
			r := h.resolver(t, plainMirror, func(e *Registry) {
				if strings.HasPrefix(c.name, "hang") {
					e.Timeout = time.Second
				}
			})
			tagged, byDigest := ref(t, "%s/team/app:1", registryHost), ref(t, "%s/team/app@%s", registryHost, want)
			got, err := r.Resolve(wait(t), tagged, engine.KnownFacts)
			if reasonOf(err) != c.want || c.want == found && got.Digest != want {
				t.Errorf("tag: %+v, %v; want %s", got, err, c.want)
			}
			m, err := r.Manifest(wait(t), byDigest)
			if reasonOf(err) != c.want || c.want == found && m.Digest != want {
				t.Errorf("manifest: %+v, %v; want %s", m, err, c.want)
			}
			if c.want != found {
				wantFailure(t, err, c.want, "registry "+registryHost)
				for _, part := range []string{"http://" + mirrorHost + "/v2: ", "the registry itself: "} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q is missing: %v", part, err)
					}
				}
			}
		})
	}
}

func TestMirrorIsAskedFirst(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Options{}, registrytest.Options{})
	want := push(t, h.mirror, "team/app:1") // what it says of a tag is believed
	blob := pushBlob(t, h.mirror, "team/app", "hello")
	h.note(nil)
	r := h.resolver(t, plainMirror, nil)
	ctx, image := wait(t), ref(t, "%s/team/app:1", registryHost)
	if got, err := r.Resolve(ctx, image, engine.KnownFacts); err != nil || got.Digest != want {
		t.Errorf("%+v, %v", got, err)
	}
	if b, err := r.Blob(ctx, image, blob, 5); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	if n := h.origin.Counts().Connections; n != 0 {
		t.Errorf("%d connections to the origin", n)
	}
	for _, req := range h.requests() {
		if req.Host != mirrorHost || req.URL.Query().Get("ns") != registryHost || req.Header.Get("Authorization") != "" {
			t.Errorf("sent %s %s", req.Host, req.URL)
		}
	}
}

// TestCapabilities: a server is asked for what it can do alone.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	f := func(capabilities string, tag, manifest, blob, referrers bool) {
		t.Helper()
		h := newHouse(t, registrytest.Options{}, registrytest.Options{Referrers: true})
		d := h.same(t, "team/app:1")
		content := pushBlob(t, h.origin, "team/app", "x")
		pushBlob(t, h.mirror, "team/app", "x")
		r := h.resolver(t, plainMirror+"capabilities = "+capabilities, nil)
		ctx, image, byDigest := wait(t), ref(t, "%s/team/app:1", registryHost), ref(t, "%s/team/app@%s", registryHost, d)
		for _, ask := range []func() error{
			func() error { _, err := r.Resolve(ctx, image, engine.KnownFacts); return err },
			func() error { _, err := r.Manifest(ctx, byDigest); return err },
			func() error { _, err := r.Blob(ctx, image, content, 1); return err },
			func() error { _, err := r.Referrers(ctx, byDigest); return err },
		} {
			if err := ask(); err != nil {
				t.Errorf("%s: %v", capabilities, err)
			}
		}
		c := h.mirror.Counts()
		if c.ManifestByTag > 0 != (tag || referrers) && !referrers || c.ManifestByDigest > 0 != manifest || c.Blob > 0 != blob || c.Referrers > 0 != referrers {
			t.Errorf("%s: %+v", capabilities, c)
		}
	}
	f(`[]`, true, true, true, true)
	f(`["pull", "resolve"]`, true, true, true, false)
	f(`["pull"]`, false, true, true, false)
	f(`["resolve"]`, false, false, false, false) // a tag is resolved by fetching
	f(`["push"]`, false, false, false, false)
	f(`["referrers"]`, false, false, false, true)
	f(`["pull", "referrers"]`, false, true, true, true)

	h := newHouse(t, registrytest.Options{}, registrytest.Options{})
	d := h.same(t, "team/app:1")
	r := h.resolver(t, "server = \"http://"+mirrorHost+"\"\ncapabilities = [\"pull\"]", nil)
	_, err := r.Resolve(wait(t), ref(t, "%s/team/app:1", registryHost), engine.KnownFacts)
	wantFailure(t, err, engine.ReasonRegistryUnavailable, "no server that may be asked")
	if _, err := r.Manifest(wait(t), ref(t, "%s/team/app@%s", registryHost, d)); err != nil {
		t.Error(err)
	}
	if n := h.origin.Counts().Connections; n != 0 {
		t.Errorf("%d connections to a registry in whose place the file names another server", n)
	}
}

func TestMirrorPaths(t *testing.T) {
	t.Parallel()
	f := func(table, want string) {
		t.Helper()
		h := newHouse(t, registrytest.Options{}, registrytest.Options{})
		h.note(nil)
		r := h.resolver(t, "[host.\"http://"+mirrorHost+table, nil)
		_, err := r.Resolve(wait(t), ref(t, "%s/team/app:1", registryHost), engine.KnownFacts)
		wantFailure(t, err, engine.ReasonImageNotFound, "has no such image")
		if got := h.requests(); len(got) != 1 || got[0].URL.Path != want {
			t.Errorf("%s: %v", table, got[0].URL)
		}
	}
	f("\"]", "/v2/team/app/manifests/1")
	f("/v2/\"]", "/v2/team/app/manifests/1")
	f("/proxy\"]", "/proxy/v2/team/app/manifests/1")
	f("/v2/proxy\"]\noverride_path = true", "/v2/proxy/team/app/manifests/1")
	f("\"]\noverride_path = true", "/team/app/manifests/1")
}

// TestDockerHubIsDockerIO: that is where its directory is, and what mirrors are told.
func TestDockerHubIsDockerIO(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Options{}, registrytest.Options{})
	want := push(t, h.mirror, "library/app:1")
	h.note(nil)
	dir := hostsDir(t, map[string]string{"docker.io": "server = \"https://registry-1.docker.io\"\n" + plainMirror, "index.docker.io": "x"})
	for _, name := range []string{"docker.io", "index.docker.io", "registry-1.docker.io"} {
		r := newTest(t, &h.net, Config{Registries: []Registry{{Host: name, Retries: -1}}, HostsDirs: []string{dir}})
		if got, err := r.Resolve(wait(t), ref(t, "app:1"), engine.KnownFacts); err != nil || got.Digest != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if _, err := r.Resolve(wait(t), ref(t, "app:2"), engine.KnownFacts); reasonOf(err) != engine.ReasonRegistryUnavailable {
			t.Error(err)
		}
		if !h.net.wasDialled("registry-1.docker.io:443") {
			t.Error("its own server was not asked")
		}
	}
	for _, req := range h.requests() {
		if req.URL.Query().Get("ns") != "docker.io" {
			t.Errorf("sent %s", req.URL)
		}
	}
}

// TestMirrorOutOfReach: for a while, it is asked last.
func TestMirrorOutOfReach(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Options{}, registrytest.Options{})
	h.same(t, "team/app:1")
	h.mirror.SetFaultEverywhere(registrytest.Status(503))
	r := h.resolver(t, plainMirror, nil)
	ask := func(tag string, want engine.Reason, mirror, origin int64) {
		t.Helper()
		h.mirror.Reset()
		h.origin.Reset()
		_, err := r.Manifest(wait(t), ref(t, "%s/team/app:%s", registryHost, tag))
		if m, o := h.mirror.Counts().Requests(), h.origin.Counts().Requests(); reasonOf(err) != want || m != mirror || o != origin {
			t.Errorf("%s: %d and %d requests, %v", tag, m, o, err)
		}
	}
	ask("1", engine.ReasonUnknown, 1, 1)
	ask("1", engine.ReasonUnknown, 0, 1)
	ask("2", engine.ReasonRegistryUnavailable, 1, 1) // nobody knows what it would have said
	h.mirror.SetFaultEverywhere(nil)
	ask("2", engine.ReasonImageNotFound, 1, 1) // it is back
	ask("1", engine.ReasonUnknown, 1, 0)
	h.mirror.SetFaultEverywhere(registrytest.Status(503))
	ask("1", engine.ReasonUnknown, 1, 1)
	for _, s := range r.registries[0].servers {
		s.down.Add(-int64(downFor))
	}
	ask("1", engine.ReasonUnknown, 1, 1) // its time is over, so it is tried first
}

// TestSignaturesBehindAMirror: what it has not is looked for at the origin.
func TestSignaturesBehindAMirror(t *testing.T) {
	t.Parallel()
	for _, api := range []bool{true, false} {
		h := newHouse(t, registrytest.Options{Referrers: api}, registrytest.Options{Referrers: true})
		d := h.same(t, "team/app:1")
		layer := registrytest.SignatureLayer{Payload: []byte("x"), MediaType: "text/plain"}
		signature, err := h.origin.PutReferrer("team/app", string(d), "application/x", "", layer)
		if err != nil {
			t.Fatal(err)
		}
		r := h.resolver(t, plainMirror, nil)
		image := ref(t, "%s/team/app@%s", registryHost, d)
		list, err := r.Referrers(wait(t), image)
		if err != nil || list.Total != 1 || list.Descriptors[0].Digest != engine.Digest(signature) || list.FallbackTag == api {
			t.Errorf("%v: %+v, %v", api, list, err)
		}
		if n := h.mirror.Counts().Referrers; n != 1 {
			t.Errorf("the mirror was asked %d times", n)
		}
		h.mirror.SetFaultEverywhere(registrytest.Status(403))
		if list, err = r.Referrers(wait(t), image); err != nil || list.Total != 1 {
			t.Errorf("%v: %+v, %v", api, list, err)
		}
		h.mirror.SetFaultEverywhere(registrytest.Status(503))
		if list, err = r.Referrers(wait(t), image); err != nil || list.Total != 1 {
			t.Errorf("%v: %+v, %v", api, list, err)
		}
		none := ref(t, "%s/team/app@%s", registryHost, digestOf([]byte("none")))
		_, err = r.Referrers(wait(t), none)
		wantFailure(t, err, engine.ReasonRegistryUnavailable, "failed (503)") // it might have had some
	}
}

// TestPatternHosts each have a directory of their own, or the one for all, and are told by ns.
func TestPatternHosts(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Options{}, registrytest.Options{})
	want := push(t, h.mirror, "team/app:1")
	h.note(nil)
	dir := hostsDir(t, map[string]string{"_default": plainMirror, "own.example.test": "", "broken.example.test": "x"})
	r := newTest(t, &h.net, Config{
		Registries: []Registry{{Host: "*.example.test", PlainHTTP: true, Retries: -1}}, HostsDirs: []string{dir},
	})
	for i := range 3 {
		if got, err := r.Resolve(wait(t), ref(t, "r%d.example.test/team/app:1", i), engine.KnownFacts); err != nil || got.Digest != want {
			t.Errorf("%+v, %v", got, err)
		}
		if req := h.requests(); len(req) != i+1 || req[i].URL.Query().Get("ns") != fmt.Sprintf("r%d.example.test", i) {
			t.Errorf("%d: %v", i, req[len(req)-1].URL)
		}
	}
	if n := len(r.registries[0].dirs.all); n != 1 {
		t.Errorf("%d directories for one", n)
	}
	_, err := r.Resolve(wait(t), ref(t, "own.example.test/team/app:1"), engine.KnownFacts)
	wantFailure(t, err, engine.ReasonRegistryUnavailable, "could not be reached")
	_, err = r.Resolve(wait(t), ref(t, "broken.example.test/team/app:1"), engine.KnownFacts)
	wantFailure(t, err, engine.ReasonRegistryUnavailable, "hosts.toml")
	if !strings.Contains(err.Error(), "hosts.toml:1:") {
		t.Error(err)
	}
}

func TestBrokenHostsFile(t *testing.T) {
	t.Parallel()
	f := func(want, toml string) {
		t.Helper()
		dir := hostsDir(t, map[string]string{registryHost: toml})
		r, err := New(Config{Registries: []Registry{{Host: registryHost}}, HostsDirs: []string{dir}})
		if err == nil {
			r.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "registries[0] ("+registryHost+"): hostsDirs: "+dir) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", toml, err)
		}
	}
	f("hosts.toml:1:", "server")
	f("capabilities", "capabilities = [\"x\"]")
	f("no such file", "ca = \"none\"")
	f("no certificate in PEM", "ca = \"hosts.toml\"")
	f("client ", "client = \"hosts.toml\"")
	f("more than 63 hosts", strings.Repeat("[host.\"a\"]\n[host.\"b\"]\n", 1)+manyHosts(10_000))
}

func manyHosts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[host.\"%d.t\"]\n", i)
	}
	return b.String()
}

// TestNobodyWaits: a search that ends between two servers has found nothing out.
func TestNobodyWaits(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Options{}, registrytest.Options{})
	d := h.same(t, "team/app:1")
	r := h.resolver(t, plainMirror, nil)
	e, image, err := r.endpoint(ref(t, "%s/team/app@%s", registryHost, d))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(wait(t))
	asked := 0
	err = r.inTurn(ctx, e, mirror.Pull, func(e endpoint) (bool, error) {
		asked++
		cancel()
		return true, e.failf(engine.ReasonImageNotFound, nil, "has no such image")
	})
	wantFailure(t, err, engine.ReasonTimeout, "did not answer in time")
	if asked != 1 || image.Digest != d {
		t.Errorf("%d were asked", asked)
	}
}

// TestOnlyTheLastIsAskedAgain: while there are others, a failure is not worth the wait.
func TestOnlyTheLastIsAskedAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Options{}, registrytest.Options{})
	d := h.same(t, "team/app:1")
	r := h.resolver(t, plainMirror, func(e *Registry) { e.Retries = 2 })
	h.mirror.SetFaultEverywhere(registrytest.Status(503))
	h.origin.SetFaultEverywhere(registrytest.Times(2, registrytest.Status(503)))
	if _, err := r.Manifest(wait(t), ref(t, "%s/team/app@%s", registryHost, d)); err != nil {
		t.Error(err)
	}
	if m, o := h.mirror.Counts().Requests(), h.origin.Counts().Requests(); m != 1 || o != 3 {
		t.Errorf("%d and %d requests", m, o)
	}
}

// TestCloseLetsMirrorsGo, those with connections of their own included.
func TestCloseLetsMirrorsGo(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Options{}, registrytest.Options{TLS: true})
	push(t, h.mirror, "team/app:1")
	r := h.resolver(t, "[host.\"https://"+mirrorHost+"\"]\nskip_verify = true", nil)
	if _, err := r.Resolve(wait(t), ref(t, "%s/team/app:1", registryHost), engine.KnownFacts); err != nil {
		t.Fatal(err)
	}
	if h.net.open.Load() == 0 {
		t.Error("no connection was kept")
	}
	r.Close()
	until(t, "no connection", func() bool { return h.net.open.Load() == 0 })
}
