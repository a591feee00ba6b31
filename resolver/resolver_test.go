package resolver

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"sluice/engine"
	"sluice/resolver/registrytest"
)

func TestFacts(t *testing.T) {
	t.Parallel()
	for _, o := range []registrytest.Options{{}, {TLS: true}, {Auth: registrytest.BearerAuth, TLS: true}} {
		reg := startRegistry(t, o)
		entry := Registry{Host: reg.Host(), PlainHTTP: !o.TLS}
		if o.TLS {
			entry.CAFile = caFile(t, reg)
		}
		r := newTest(t, nil, Config{Registries: []Registry{entry}})
		image := push(t, reg, "team/app:1")
		indexed, err := reg.PushIndex("team/app:all", 2)
		if err != nil {
			t.Fatal(err)
		}
		ctx := wait(t)
		for _, want := range []engine.Digest{image, image} { // cold and from the cache
			got, err := r.Resolve(ctx, ref(t, "%s/team/app:1", reg.Host()), engine.KnownFacts)
			if err != nil || got.Digest != want || got.TTL <= 0 || got.TTL > time.Minute {
				t.Fatalf("Resolve: %+v, %v; want %s", got, err, want)
			}
		}
		if n := reg.Counts().ManifestByTag; n != 1 && o.Auth == registrytest.NoAuth {
			t.Errorf("%d requests for one tag", n)
		}
		m, err := r.Manifest(ctx, ref(t, "%s/team/app:all", reg.Host()))
		if err != nil || m.Digest != engine.Digest(indexed) || m.MediaType != "application/vnd.oci.image.index.v1+json" {
			t.Errorf("index: %+v, %v", m, err)
		}
		m, err = r.Manifest(ctx, ref(t, "%s/team/app:all@%s", reg.Host(), image)) // the digest counts
		if err != nil || m.Digest != image || digestOf(m.Raw) != image {
			t.Errorf("by digest: %+v, %v", m, err)
		}
		blob := pushBlob(t, reg, "team/app", "hello")
		if b, err := r.Blob(ctx, ref(t, "%s/team/app", reg.Host()), blob, 5); err != nil || string(b) != "hello" {
			t.Errorf("blob: %q, %v", b, err)
		}
		_, err = r.Blob(ctx, ref(t, "%s/team/app", reg.Host()), blob, 4)
		wantFailure(t, err, engine.ReasonRegistryMalformed, "more than")
		if n := reg.Counts().Ping; n != 0 {
			t.Errorf("%d pings", n)
		}
	}
}

func TestResolveIsJoined(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{Auth: registrytest.BearerAuth})
	want := push(t, reg, "app:1")
	gate := make(chan struct{})
	reg.SetFault(registrytest.ManifestByTag, registrytest.Until(gate))
	r := plain(t, reg)
	image := ref(t, "%s/app:1", reg.Host())
	var wg sync.WaitGroup
	var failed atomic.Int64
	for range 50 {
		wg.Go(func() {
			if got, err := r.Resolve(wait(t), image, engine.KnownFacts); err != nil || got.Digest != want {
				failed.Add(1)
				t.Error(got, err)
			}
		})
	}
	until(t, "49 who joined", func() bool { return r.TagStats().Joined == 49 })
	close(gate)
	wg.Wait()
	// The first request is answered by the question for a token.
	if c := reg.Counts(); c.ManifestByTag != 2 || c.Token != 1 {
		t.Errorf("50 askers made %+v", c)
	}
}

func TestTagIsBelievedForItsTTLOnly(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{})
	first, second := push(t, reg, "app:1"), push(t, reg, "app:2")
	entry := []Registry{{Host: reg.Host(), PlainHTTP: true}}
	long := newTest(t, nil, Config{Registries: entry, TagTTL: time.Hour})
	short := newTest(t, nil, Config{Registries: entry, TagTTL: 1})
	f := func(r *Resolver, want engine.Digest) {
		t.Helper()
		got, err := r.Resolve(wait(t), ref(t, "%s/app:1", reg.Host()), engine.KnownFacts)
		if err != nil || got.Digest != want || got.TTL <= 0 {
			t.Errorf("got %+v, %v, want %s", got, err, want)
		}
	}
	f(long, first)
	f(short, first)
	if err := reg.Retag("app", "1", string(second)); err != nil {
		t.Fatal(err)
	}
	f(long, first)
	f(short, second)
}

func TestFailuresAreNotRemembered(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{})
	r := plain(t, reg)
	image := ref(t, "%s/app:1", reg.Host())
	_, err := r.Resolve(wait(t), image, engine.KnownFacts)
	wantFailure(t, err, engine.ReasonImageNotFound, "registry "+reg.Host()+" has no such image")
	want := push(t, reg, "app:1")
	if got, err := r.Resolve(wait(t), image, engine.KnownFacts); err != nil || got.Digest != want {
		t.Errorf("after the push: %+v, %v", got, err)
	}
}

func TestOneCallersEndIsNotAnothers(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{Auth: registrytest.BearerAuth})
	one, two := push(t, reg, "app:1"), push(t, reg, "app:2")
	gate := make(chan struct{})
	reg.SetFault(registrytest.Token, registrytest.Until(gate))
	r := plain(t, reg)
	ctx, cancel := context.WithCancel(wait(t))
	gone := make(chan error, 1)
	go func() {
		_, err := r.Manifest(ctx, ref(t, "%s/app@%s", reg.Host(), one))
		gone <- err
	}()
	until(t, "the first at the token service", func() bool { return reg.Counts().Token == 1 })
	done := make(chan error, 1)
	go func() {
		_, err := r.Manifest(wait(t), ref(t, "%s/app@%s", reg.Host(), two))
		done <- err
	}()
	until(t, "the second waiting for the same token", func() bool { return r.grants.Stats().Joined == 1 })
	cancel()
	wantFailure(t, <-gone, engine.ReasonTimeout, "did not answer in time")
	close(gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := reg.Counts().Token; n != 1 {
		t.Errorf("%d token requests", n)
	}
}

func TestTokensAreKeptAndReplaced(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{Auth: registrytest.BearerAuth, Username: "robot", Password: "s3cret-word"})
	entry := Registry{
		Host: reg.Host(), PlainHTTP: true, Retries: -1,
		UsernameFile: writeFile(t, "robot\n"), PasswordFile: writeFile(t, "s3cret-word\r\n"),
	}
	r := newTest(t, nil, Config{Registries: []Registry{entry}})
	a, b := push(t, reg, "a:1"), push(t, reg, "b:1")
	f := func(repository string, d engine.Digest, want registrytest.Counts) {
		t.Helper()
		reg.Reset()
		if _, err := r.Manifest(wait(t), ref(t, "%s/%s@%s", reg.Host(), repository, d)); err != nil {
			t.Error(err)
		}
		got := reg.Counts()
		got.Connections = 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", repository, diff)
		}
	}
	f("a", a, registrytest.Counts{ManifestByDigest: 2, Token: 1}) // asked for a token first
	f("a", a, registrytest.Counts{ManifestByDigest: 1})
	f("b", b, registrytest.Counts{ManifestByDigest: 1, Token: 1}) // another repository, another token
	reg.RevokeTokens()
	f("a", a, registrytest.Counts{ManifestByDigest: 2, Token: 1})
	f("a", a, registrytest.Counts{ManifestByDigest: 1})

	// A registry that rejects every token is not given new ones without end.
	reg.SetFault(registrytest.ManifestByDigest, registrytest.Hook(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+reg.URL()+`/token",service="registrytest"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}))
	reg.Reset()
	_, err := r.Manifest(wait(t), ref(t, "%s/new@%s", reg.Host(), a))
	wantFailure(t, err, engine.ReasonRegistryDenied, "refused access (401)")
	if c := reg.Counts(); c.Token != 1 || c.ManifestByDigest != 1 {
		t.Errorf("a fresh token was rejected, and then: %+v", c)
	}
	reg.Reset()
	for range 24 {
		_, err := r.Manifest(wait(t), ref(t, "%s/a@%s", reg.Host(), a))
		wantFailure(t, err, engine.ReasonRegistryDenied, "refused access (401)", "s3cret-word")
	}
	if n := reg.Counts().Token; n > 8 {
		t.Errorf("%d tokens for a registry that rejects them", n)
	}
}

func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	for _, auth := range []registrytest.Auth{registrytest.BasicAuth, registrytest.BearerAuth} {
		reg := startRegistry(t, registrytest.Options{Auth: auth, Username: "robot", Password: "right"})
		d := push(t, reg, "a:1")
		for _, password := range []string{"", "s3cret-word"} {
			entry := Registry{Host: reg.Host(), PlainHTTP: true}
			if password != "" {
				entry.UsernameFile, entry.PasswordFile = writeFile(t, "robot"), writeFile(t, password)
			}
			reg.Reset()
			r := newTest(t, nil, Config{Registries: []Registry{entry}})
			_, err := r.Manifest(wait(t), ref(t, "%s/a@%s", reg.Host(), d))
			wantFailure(t, err, engine.ReasonRegistryDenied, "refused access (401)", "s3cret-word")
			if n := reg.Counts().Requests(); n > 2 {
				t.Errorf("auth %d, password %q: %d requests", auth, password, n)
			}
			reg.Reset()
			_, err = r.Manifest(wait(t), ref(t, "%s/a@%s", reg.Host(), d))
			wantFailure(t, err, engine.ReasonRegistryDenied, "refused access (401)", "s3cret-word")
			if n := reg.Counts().Requests(); n != 1 {
				t.Errorf("auth %d, password %q: %d requests although the challenge is known", auth, password, n)
			}
		}
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{Auth: registrytest.BearerAuth})
	r := plain(t, reg)
	push(t, reg, "app:1")
	for _, tag := range []string{"1", "1", "none"} {
		_, _ = r.Resolve(wait(t), ref(t, "%s/app:%s", reg.Host(), tag), engine.KnownFacts)
	}
	reg.SetFault(registrytest.ManifestByTag, registrytest.Status(503))
	_, _ = r.Resolve(wait(t), ref(t, "%s/app:2", reg.Host()), engine.KnownFacts)
	reg.SetFault(registrytest.ManifestByTag, registrytest.Hang())
	ctx, cancel := context.WithCancel(wait(t))
	defer cancel()
	asked := reg.Counts().ManifestByTag
	go func() {
		until(t, "a request that nobody answers", func() bool { return reg.Counts().ManifestByTag > asked })
		cancel()
	}()
	_, _ = r.Resolve(ctx, ref(t, "%s/app:3", reg.Host()), engine.KnownFacts)
	outcomes := func() map[string]uint64 {
		got := map[string]uint64{}
		for _, o := range r.Stats()[0].Outcomes {
			got[o.Outcome] = o.Count
		}
		return got
	}
	until(t, "the request that was taken back to be counted", func() bool { return outcomes()["canceled"]+outcomes()["timeout"] > 0 })
	s, got := r.Stats(), outcomes()
	want := map[string]uint64{
		"ok": 2, "challenge": 1, "image_not_found": 1, "registry_unavailable": 1, "canceled": 1,
		"registry_denied": 0, "registry_throttled": 0, "timeout": 0, "registry_malformed": 0, "internal": 0,
	}
	if diff := cmp.Diff(want, got); diff != "" || s[0].Host != reg.Host() {
		t.Errorf("%s: %s", s[0].Host, diff)
	}
	var sum uint64
	for _, n := range s[0].Buckets {
		sum += n
	}
	if sum != 6 || s[0].Sum <= 0 || len(s[0].Buckets) != len(DurationBounds())+1 {
		t.Errorf("durations: %+v", s[0])
	}
	if tags := r.TagStats(); tags.Loads != 4 || tags.Stored != 1 {
		t.Errorf("tags: %+v", tags)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	for _, withTLS := range []bool{false, true} {
		reg := startRegistry(t, registrytest.Options{TLS: withTLS})
		want := push(t, reg, "app:1")
		var n network
		n.add(reg.Host(), reg)
		entry := Registry{Host: reg.Host(), PlainHTTP: !withTLS}
		if withTLS {
			entry.CAFile = caFile(t, reg)
		}
		r := newTest(t, &n, Config{Registries: []Registry{entry}})
		for i := range 3 { // open, closed, and still closed
			if got, err := r.Resolve(wait(t), ref(t, "%s/app:1", reg.Host()), engine.KnownFacts); err != nil || got.Digest != want {
				t.Errorf("TLS %v: %+v, %v", withTLS, got, err)
			}
			if i == 0 {
				r.Close()
			}
			until(t, "the end of all connections", func() bool { return n.open.Load() == 0 })
		}
	}
}

func TestSpans(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{Auth: registrytest.BearerAuth})
	push(t, reg, "app:1")
	r := plain(t, reg)
	recorder := tracetest.NewSpanRecorder()
	ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test").Start(wait(t), "review")
	if _, err := r.Resolve(ctx, ref(t, "%s/app:1", reg.Host()), engine.KnownFacts); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resolve(ctx, ref(t, "%s/app:1", reg.Host()), engine.KnownFacts); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range recorder.Ended() {
		names = append(names, s.Name())
		if s.SpanContext().TraceID() != span.SpanContext().TraceID() {
			t.Errorf("%s is in a trace of its own", s.Name())
		}
	}
	want := []string{"registry manifest by tag", "registry token", "registry manifest by tag", "resolve"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}
