package engine

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// TestJoined shows that identical cold reviews cost one resolution and one verification.
func TestJoined(t *testing.T) {
	t.Parallel()
	begin := make(chan struct{})
	ports := &facts{wait: func(context.Context) error { <-begin; return nil }}
	ports.sign(ports.push("reg.test/app:1"), "release", nil)
	e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "reg.test/**", signedBy("release")))
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			if got, _, message := decide(t, e, "default", "reg.test/app:1"); got != Allow {
				t.Errorf("%s: %s", got, message)
			}
		})
	}
	close(begin)
	wg.Wait()
	if resolves, verifies := ports.counts(); resolves != 1 || verifies != 1 {
		t.Errorf("%d resolutions and %d verifications, want 1 and 1", resolves, verifies)
	}
}

// TestDeadline shows what a registry that never answers makes of a review, by policy, and that nothing is remembered.
func TestDeadline(t *testing.T) {
	f := func(o OnError, want Outcome) {
		synctest.Test(t, func(t *testing.T) {
			ports := &facts{wait: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
			ports.sign(ports.push("reg.test/app:1"), "release", nil)
			e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "reg.test/**", signedBy("release"), onError(o)))
			began := time.Now()
			if got, reason, message := decide(t, e, "default", "reg.test/app:1"); got != want || reason != ReasonTimeout {
				t.Errorf("%s (%s), want %s (timeout): %s", got, reason, want, message)
			}
			if took := time.Since(began); took != 8*time.Second {
				t.Errorf("answered after %s, want the budget of 8s", took)
			}
			synctest.Wait()
			ports.wait = nil
			if got, _, message := decide(t, e, "default", "reg.test/app:1"); got != Allow {
				t.Errorf("after the registry came back: %s: %s", got, message)
			}
		})
	}
	f(OnErrorDeny, Deny)
	f(OnErrorRetry, Retry)
	f(OnErrorDefer, Defer)
	f(OnErrorAllow, Allow)
}

// TestReload shows that a review under way is answered by the new rules, and that old verdicts are gone at once, while
// those of rules that did not change stay.
func TestReload(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	entered := make(chan struct{}, 10)
	ports := &facts{wait: func(context.Context) error { entered <- struct{}{}; <-release; return nil }}
	ports.sign(ports.push("reg.test/app:1"), "old", nil)
	before := policyFor(t, "p", "reg.test/**", signedBy("old"))
	after := policyFor(t, "p", "reg.test/**", signedBy("new"))
	e := newEngine(t, ports, NoMatchDeny, before)
	answered := make(chan Outcome)
	go func() {
		outcome, _, _ := decide(t, e, "default", "reg.test/app:1")
		answered <- outcome
	}()
	<-entered
	e.Load(NewSnapshot([]*Policy{after}, NoMatchDeny))
	close(release)
	if got := <-answered; got != Deny {
		t.Errorf("a review that was under way during the reload is answered %s by the old rules", got)
	}
	e.Load(NewSnapshot([]*Policy{before}, NoMatchDeny))
	if got, _, _ := decide(t, e, "default", "other.test/app:1"); got != Deny {
		t.Errorf("an image that no policy matches is %s", got)
	}
	e.Load(NewSnapshot([]*Policy{before}, NoMatchAllow))
	if got, _, _ := decide(t, e, "default", "other.test/app:1"); got != Allow {
		t.Errorf("an image that no policy matches is %s after noMatch has changed", got)
	}
	e.Load(NewSnapshot([]*Policy{before}, NoMatchDeny))
	_, verifies := ports.counts()
	if got, _, _ := decide(t, e, "default", "reg.test/app:1"); got != Allow {
		t.Errorf("%s by the rules that came back", got)
	}
	if _, again := ports.counts(); again != verifies {
		t.Errorf("rules that came back unchanged cost %d verifications, want none", again-verifies)
	}
}

// TestOverload shows that checks are bounded, that what cannot even wait is shed in the policy's way, and that hits go
// on being answered.
func TestOverload(t *testing.T) {
	f := func(o OnError, want Outcome) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			var mu sync.Mutex
			running, most := 0, 0
			ports := &facts{wait: func(context.Context) error {
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				<-release
				mu.Lock()
				running--
				mu.Unlock()
				return nil
			}}
			e, err := New(Config{Resolver: ports, Verifier: ports, MaxChecks: 4, MaxWaiting: 8})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			e.Load(NewSnapshot([]*Policy{
				policyFor(t, "p", "reg.test/**", signedBy("release"), onError(o)),
				policyFor(t, "q", "free.test/**", denyTags("latest")),
			}, NoMatchDeny))
			var wg sync.WaitGroup
			for i := range 12 {
				image := fmt.Sprintf("reg.test/app-%d:1", i)
				ports.sign(ports.push(image), "release", nil)
				wg.Go(func() {
					if got, _, message := decide(t, e, "default", image); got != Allow {
						t.Errorf("%s: %s", got, message)
					}
				})
			}
			synctest.Wait()
			if got, reason, message := decide(t, e, "default", "reg.test/app-13:1"); got != want || reason != ReasonOverloaded {
				t.Errorf("%s (%s), want %s (overloaded): %s", got, reason, want, message)
			}
			if got, _, _ := decide(t, e, "default", "free.test/x:1"); got != Allow {
				t.Errorf("an image that needs no facts is %s under overload", got)
			}
			close(release)
			wg.Wait()
			if _, reason, _ := decide(t, e, "default", "reg.test/app-13:1"); reason != ReasonImageNotFound {
				t.Errorf("%s is remembered when there is room again", reason)
			}
			if most > 4 {
				t.Errorf("%d checks at once, want at most 4", most)
			}
			if s := e.Stats(); s.Shed != 1 || s.Waiting != 0 || s.Checking != 0 {
				t.Errorf("%+v, want one shed and nothing left", s)
			}
		})
	}
	f(OnErrorDeny, Deny)
	f(OnErrorRetry, Shed)
	f(OnErrorDefer, Defer)
	f(OnErrorAllow, Allow)
}

// TestPortPanics shows that a panic below becomes a verdict, and that the process lives.
func TestPortPanics(t *testing.T) {
	t.Parallel()
	ports := &facts{wait: func(context.Context) error { panic("a parser met its match") }}
	ports.push("reg.test/app:1")
	e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "reg.test/**", signedBy("release")))
	if got, reason, message := decide(t, e, "default", "reg.test/app:1"); got != Deny || reason != ReasonInternal || strings.Contains(message, "parser") {
		t.Errorf("%s (%s): %s", got, reason, message)
	}
	if s := e.Stats(); s.Checking != 0 {
		t.Errorf("%d checks are still counted after a panic", s.Checking)
	}
}

// TestOwnPanics shows the same of a panic in the engine itself, on a goroutine that nobody else watches over.
func TestOwnPanics(t *testing.T) {
	t.Parallel()
	e := newEngine(t, &facts{}, NoMatchDeny, policyFor(t, "p", "reg.test/**", func(p *Policy) { p.Authorities = []*Authority{nil} }))
	if got, reason, message := decide(t, e, "default", "reg.test/a:1", "reg.test/b:1", "reg.test/c:1"); got != Deny || reason != ReasonInternal {
		t.Errorf("%s (%s): %s", got, reason, message)
	}
}

// TestHostileImagesAreBounded fills the cache with the longest images there are, each with a denial that repeats it and
// adds the longest message, and looks at what the heap holds.
func TestHostileImagesAreBounded(t *testing.T) {
	e, err := New(Config{Resolver: &facts{}, Verifier: &facts{}, MaxVerdicts: 2000})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	e.Load(NewSnapshot([]*Policy{policyFor(t, "p", "**", denyTags("*"), func(p *Policy) { p.Message = strings.Repeat("x", 1000) })}, NoMatchDeny))
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for i := range 6000 {
		decide(t, e, "default", fmt.Sprintf("reg.test/%s%05d:%s", strings.Repeat("a", 240), i, strings.Repeat("b", 128)))
	}
	// 2,000 of cost, a KiB and an entry each, and what the cache's first level may hold beside them.
	grown, limit := heap()-before, int64(5<<20)
	if grown > limit {
		t.Errorf("the heap has grown by %d KiB, want at most %d", grown>>10, limit>>10)
	}
}

// TestBorrowedStrings shows that nothing remembered points into the request's buffer, which the next request is read to.
func TestBorrowedStrings(t *testing.T) {
	t.Parallel()
	ports := &facts{}
	ports.sign(ports.push("reg.test/good:1"), "release", nil)
	ports.push("reg.test/evil:1")
	prod, _, err := ParseNamespaces([]string{"prod"})
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, ports, NoMatchDeny,
		policyFor(t, "signed", "reg.test/**", signedBy("release"), func(p *Policy) { p.Namespaces = prod }),
		policyFor(t, "anything", "**", func(p *Policy) { p.Authorities = []*Authority{{Static: StaticPass}} }))
	image, namespace := []byte("reg.test/good:1"), []byte("prod")
	borrow := func(b []byte) string { return unsafe.String(&b[0], len(b)) }
	var res Result
	e.Decide(t.Context(), &Request{Namespace: borrow(namespace), Images: []string{borrow(image)}}, &res)
	if res.Outcome != Allow || string(res.Images()[0].Image) != "reg.test/good:1" {
		t.Fatalf("%s: %s", res.Outcome, res.Message())
	}
	copy(image, "reg.test/evil:1")
	copy(namespace, "test")
	if got := res.Images()[0].Image; got != "reg.test/good:1" {
		t.Errorf("a verdict on reg.test/good:1 is now one on %s", got)
	}
	f := func(namespace, image string, want Outcome) {
		t.Helper()
		if got, _, message := decide(t, e, namespace, image); got != want {
			t.Errorf("%s in %s: %s, want %s: %s", image, namespace, got, want, message)
		}
	}
	f("prod", "reg.test/evil:1", Deny)
	f("prod", "reg.test/good:1", Allow)
	f("test", "reg.test/evil:1", Allow)
	resolves, _ := ports.counts()
	if !e.Hit(&Request{Namespace: "prod", Images: []string{"reg.test/good:1"}}, &res) || resolves != 2 {
		t.Errorf("the verdict on reg.test/good:1 is lost, or was found again: %d resolutions", resolves)
	}
}

// TestNoTime shows that what takes no facts is decided however little time there is.
func TestNoTime(t *testing.T) {
	t.Parallel()
	e := newEngine(t, &facts{}, NoMatchDeny, policyFor(t, "tags", "**", denyTags("latest")),
		policyFor(t, "static", "**", func(p *Policy) { p.Authorities = []*Authority{{Static: StaticPass}} }))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := func(e *Engine, image string, want Outcome) {
		t.Helper()
		var res Result
		if e.Decide(ctx, &Request{Namespace: "default", Images: []string{image}}, &res); res.Outcome != want || res.Reason.Transient() {
			t.Errorf("%s: %s (%s), want %s", image, res.Outcome, res.Reason, want)
		}
	}
	f(e, "a:1", Allow)
	f(e, "a", Deny)
	// Two authorities are required, and one is left beside those that fail.
	f(newEngine(t, &facts{}, NoMatchDeny, policyFor(t, "p", "**", authorities(2, named("a"), static(StaticFail)))), "a:1", Deny)
}
