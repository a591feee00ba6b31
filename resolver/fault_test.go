package resolver

import (
	"context"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/engine"
	"sluice/resolver/registrytest"
)

// timeoutFor is short where it is what the test waits for.
func timeoutFor(reason engine.Reason) time.Duration {
	if reason == engine.ReasonTimeout {
		return time.Second
	}
	return 20 * time.Second
}

// TestFaults sends each fault down each way, and looks for its type.
func TestFaults(t *testing.T) {
	t.Parallel()
	type fault struct {
		name   string
		fault  registrytest.Fault
		reason engine.Reason
		public string
	}
	announced := registrytest.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", "8388608") // and nothing comes
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	everywhere := []fault{
		{"400", registrytest.Status(400), engine.ReasonRegistryMalformed, "unexpected status (400)"},
		{"401", registrytest.Status(401), engine.ReasonRegistryDenied, "refused access (401)"},
		{"403", registrytest.Status(403), engine.ReasonRegistryDenied, "refused access (403)"},
		{"404", registrytest.Status(404), engine.ReasonImageNotFound, "has no such"},
		{"429", registrytest.Throttle(1), engine.ReasonRegistryThrottled, "limiting requests (429)"},
		{"500", registrytest.Status(500), engine.ReasonRegistryUnavailable, "failed (500)"},
		{"503", registrytest.Status(503), engine.ReasonRegistryUnavailable, "failed (503)"},
		{"204", registrytest.Status(204), engine.ReasonRegistryMalformed, "unexpected status (204)"},
		{"dropped connection", registrytest.Drop(), engine.ReasonRegistryUnavailable, "could not be reached"},
		{"truncated", registrytest.Truncate(), engine.ReasonRegistryUnavailable, "could not be reached"},
		{"never answers", registrytest.Hang(), engine.ReasonTimeout, "did not answer in time"},
		{"drips", registrytest.Drip(20 * time.Millisecond), engine.ReasonTimeout, "did not answer in time"},
		{"lies in the header", registrytest.WrongDigestHeader(), engine.ReasonRegistryMalformed, "wrong digest"},
		{"lies in the body", registrytest.WrongBody(), engine.ReasonRegistryMalformed, "digest"},
		{"oversize", registrytest.Oversize(8<<20, false, nil), engine.ReasonRegistryMalformed, "KiB allowed"},
		{"oversize, announced", announced, engine.ReasonRegistryMalformed, "KiB allowed"},
		{"gzip bomb", registrytest.GzipBomb(1 << 20), engine.ReasonRegistryMalformed, "compressed"},
		{"redirect", registrytest.Redirect("http://elsewhere.test"), engine.ReasonRegistryMalformed, "redirects"},
	}
	manifests := append(everywhere[:len(everywhere):len(everywhere)],
		fault{"wrong type", registrytest.ContentType("text/html"), engine.ReasonRegistryMalformed, "no manifest of a known type"},
		fault{"no type", registrytest.ContentType(""), engine.ReasonRegistryMalformed, "no manifest of a known type"},
		fault{
			"schema 1", registrytest.ContentType("application/vnd.docker.distribution.manifest.v1+prettyjws"),
			engine.ReasonRegistryMalformed, "no manifest of a known type",
		})

	run := func(class registrytest.Class, f fault, get func(context.Context, *Resolver, engine.Reference, engine.Digest, engine.Digest) error) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			reg := startRegistry(t, registrytest.Options{})
			image, blob := push(t, reg, "app:1"), pushBlob(t, reg, "app", strings.Repeat("x", 500))
			reg.SetFault(class, f.fault)
			r := newTest(t, nil, Config{Registries: []Registry{
				{Host: reg.Host(), PlainHTTP: true, Retries: -1, Timeout: timeoutFor(f.reason)},
			}})
			err := get(wait(t), r, ref(t, "%s/app:1", reg.Host()), image, blob)
			wantFailure(t, err, f.reason, f.public, "by order", "elsewhere.test/")
		})
	}
	substitute := fault{
		"another body", registrytest.Substitute(), engine.ReasonRegistryMalformed, "content that does not match its digest",
	}
	for _, f := range manifests {
		run(registrytest.ManifestByTag, f, func(ctx context.Context, r *Resolver, ref engine.Reference, _, _ engine.Digest) error {
			_, err := r.Resolve(ctx, ref, engine.KnownFacts)
			return err
		})
	}
	for _, f := range append(manifests, substitute) {
		run(registrytest.ManifestByDigest, f, func(ctx context.Context, r *Resolver, ref engine.Reference, d, _ engine.Digest) error {
			ref.Digest = d
			_, err := r.Manifest(ctx, ref)
			return err
		})
	}
	for _, f := range append(everywhere, substitute) {
		run(registrytest.Blob, f, func(ctx context.Context, r *Resolver, ref engine.Reference, _, d engine.Digest) error {
			_, err := r.Blob(ctx, ref, d, 1<<20)
			return err
		})
	}
}

func TestTokenServiceFaults(t *testing.T) {
	t.Parallel()
	say := func(body string) registrytest.Fault {
		return registrytest.Hook(func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte(body))
			return true
		})
	}
	for name, c := range map[string]struct {
		fault  registrytest.Fault
		reason engine.Reason
	}{
		"denied":        {registrytest.Status(403), engine.ReasonRegistryDenied},
		"throttled":     {registrytest.Throttle(9), engine.ReasonRegistryThrottled},
		"down":          {registrytest.Status(502), engine.ReasonRegistryUnavailable},
		"missing":       {registrytest.Status(404), engine.ReasonRegistryMalformed},
		"silent":        {registrytest.Hang(), engine.ReasonTimeout},
		"redirected":    {registrytest.Redirect(""), engine.ReasonRegistryMalformed},
		"too large":     {registrytest.Oversize(1<<20, false, nil), engine.ReasonRegistryMalformed},
		"not JSON":      {say(`"t0ken-word`), engine.ReasonRegistryMalformed},
		"number":        {say(`{"token":"t0ken-word","expires_in":"t0ken-word"}`), engine.ReasonRegistryMalformed},
		"no token":      {say(`{"refresh_token":"t0ken-word"}`), engine.ReasonRegistryMalformed},
		"header in it":  {say(`{"token":"t0ken-word\r\nX: y"}`), engine.ReasonRegistryMalformed},
		"endless token": {say(`{"token":"t0ken-word` + strings.Repeat("x", maxToken) + `"}`), engine.ReasonRegistryMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := startRegistry(t, registrytest.Options{Auth: registrytest.BearerAuth})
			push(t, reg, "app:1")
			reg.SetFault(registrytest.Token, c.fault)
			r := newTest(t, nil, Config{Registries: []Registry{
				{Host: reg.Host(), PlainHTTP: true, Retries: -1, Timeout: timeoutFor(c.reason)},
			}})
			_, err := r.Resolve(wait(t), ref(t, "%s/app:1", reg.Host()), engine.KnownFacts)
			wantFailure(t, err, c.reason, "registry "+reg.Host(), "t0ken-word")
			if n := reg.Counts().Token; n != 1 {
				t.Errorf("%d token requests", n)
			}
		})
	}
}

func TestRetriesAreBounded(t *testing.T) {
	t.Parallel()
	f := func(name string, fault registrytest.Fault, requests int64, reason engine.Reason) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := startRegistry(t, registrytest.Options{})
			want := push(t, reg, "app:1")
			reg.SetFault(registrytest.ManifestByTag, fault)
			r := newTest(t, nil, Config{Registries: []Registry{
				{Host: reg.Host(), PlainHTTP: true, Retries: 2, Timeout: timeoutFor(reason)},
			}})
			got, err := r.Resolve(wait(t), ref(t, "%s/app:1", reg.Host()), engine.KnownFacts)
			if reason == engine.ReasonUnknown && (err != nil || got.Digest != want) || reasonOf(err) != reason {
				t.Errorf("got %+v, %v", got, err)
			}
			if n := reg.Counts().ManifestByTag; n != requests {
				t.Errorf("%d requests, want %d", n, requests)
			}
		})
	}
	f("passing 503", registrytest.Times(2, registrytest.Status(503)), 3, engine.ReasonUnknown)
	f("passing 429", registrytest.Times(1, registrytest.Status(429)), 2, engine.ReasonUnknown)
	f("passing truncation", registrytest.Times(1, registrytest.Truncate()), 2, engine.ReasonUnknown)
	f("lasting 503", registrytest.Status(503), 3, engine.ReasonRegistryUnavailable)
	f("lasting drop", registrytest.Drop(), 3, engine.ReasonRegistryUnavailable)
	f("429 for a minute", registrytest.Throttle(60), 1, engine.ReasonRegistryThrottled)
	f("silence", registrytest.Hang(), 1, engine.ReasonTimeout)
	f("404", registrytest.Status(404), 1, engine.ReasonImageNotFound)
	f("403", registrytest.Status(403), 1, engine.ReasonRegistryDenied)
	f("a lie", registrytest.WrongDigestHeader(), 1, engine.ReasonRegistryMalformed)
}

func TestEverythingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]registrytest.Fault{
		"never answers": registrytest.Hang(),
		"drips":         registrytest.Drip(20 * time.Millisecond),
		"keeps failing": registrytest.Status(503),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := startRegistry(t, registrytest.Options{})
			push(t, reg, "app:1")
			reg.SetFaultEverywhere(fault)
			r := newTest(t, nil, Config{Registries: []Registry{
				{Host: reg.Host(), PlainHTTP: true, Retries: 10, Timeout: time.Hour},
			}})
			image := ref(t, "%s/app:1", reg.Host())
			for _, ask := range []func(context.Context) error{
				func(ctx context.Context) error { _, err := r.Resolve(ctx, image, engine.KnownFacts); return err },
				func(ctx context.Context) error { _, err := r.Manifest(ctx, image); return err },
			} {
				reg.Reset()
				ctx, cancel := context.WithTimeout(wait(t), 100*time.Millisecond)
				err := ask(ctx)
				cancel()
				if got := reasonOf(err); got != engine.ReasonTimeout && got != engine.ReasonRegistryUnavailable {
					t.Errorf("got %v", err)
				}
				if n := reg.Counts().Requests(); n > 4 { // the backoff doubles: 25 ms at least, then 50, 100
					t.Errorf("%d requests", n)
				}
			}
		})
	}
}

func TestConcurrencyIsLimited(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{})
	digest := push(t, reg, "app:1")
	gate := make(chan struct{})
	reg.SetFault(registrytest.ManifestByDigest, registrytest.Until(gate))
	r := newTest(t, nil, Config{Registries: []Registry{{Host: reg.Host(), PlainHTTP: true, Concurrency: 3}}})
	image := ref(t, "%s/app@%s", reg.Host(), digest)
	errs := make(chan error, 10)
	for range cap(errs) {
		go func() {
			_, err := r.Manifest(wait(t), image)
			errs <- err
		}()
	}
	until(t, "three requests", func() bool { return reg.Counts().ManifestByDigest == 3 })
	ctx, cancel := context.WithTimeout(wait(t), 50*time.Millisecond)
	defer cancel()
	_, err := r.Manifest(ctx, image)
	wantFailure(t, err, engine.ReasonTimeout, "did not answer in time")
	if n := reg.Counts().ManifestByDigest; n != 3 {
		t.Errorf("%d requests at a time", n)
	}
	close(gate)
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestEndlessBodyIsNotRead(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{})
	push(t, reg, "app:1")
	var sent atomic.Int64
	done := make(chan struct{})
	endless := registrytest.Oversize(1<<32, false, &sent)
	reg.SetFault(registrytest.ManifestByTag, func(next http.Handler) http.Handler {
		h := endless(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			h.ServeHTTP(w, r)
		})
	})
	_, err := plain(t, reg).Resolve(wait(t), ref(t, "%s/app:1", reg.Host()), engine.KnownFacts)
	wantFailure(t, err, engine.ReasonRegistryMalformed, "more than the 4096 KiB allowed")
	<-done
	if n := sent.Load(); n > 4*MaxManifest { // what is above the limit is in the sockets' buffers
		t.Errorf("%d bytes were taken", n)
	}
}

func TestReadAtMost(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 4095, 4096, 4097, 1 << 20} {
		s := strings.Repeat("x", size)
		for _, announced := range []int64{-1, 0, 1, int64(size), 4000, math.MaxInt64} { // whatever it is
			b, err := readAtMost(strings.NewReader(s), announced, int64(size))
			if err != nil || string(b) != s || cap(b) > 2*size+4096 {
				t.Errorf("%d: %d bytes in %d, %v", size, len(b), cap(b), err)
			}
		}
		if _, err := readAtMost(strings.NewReader(s+"y"), int64(size), int64(size)); err == nil {
			t.Errorf("%d: one byte too many was read", size)
		}
	}
}
