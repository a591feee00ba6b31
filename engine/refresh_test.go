package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// aging is ports whose facts have lives of their own, which begin when they are asked for anew.
type aging struct {
	*facts
	tagLife, signedLife   time.Duration
	tagBorn, signedBorn   time.Time
	tagAsked, signedAsked int // anew
	digest                Digest
}

// left is what remains of a fact's life, or nothing if it won't do.
func left(born time.Time, life time.Duration, known Known) time.Duration {
	remains := life - time.Since(born)
	if known == KnownLately && remains <= life/2 {
		return 0
	}
	return remains
}

func (a *aging) Resolve(ctx context.Context, ref Reference, known Known) (Resolution, error) {
	if remains := left(a.tagBorn, a.tagLife, known); remains > 0 {
		return Resolution{a.digest, remains}, nil
	}
	a.tagAsked++
	r, err := a.facts.Resolve(ctx, ref, known)
	if err == nil {
		a.digest, a.tagBorn = r.Digest, time.Now()
	} else if remains := left(a.tagBorn, a.tagLife, KnownFacts); remains > 0 && asFailure(err).Reason.Transient() {
		return Resolution{a.digest, remains}, nil
	}
	return Resolution{r.Digest, a.tagLife}, err
}

func (a *aging) Verify(ctx context.Context, ref Reference, by *Authority, known Known) (Evidence, error) {
	e, err := a.facts.Verify(ctx, ref, by, known)
	if e.TTL = left(a.signedBorn, a.signedLife, known); e.TTL <= 0 && err == nil {
		a.signedAsked++
		a.signedBorn, e.TTL = time.Now(), a.signedLife
	}
	return e, err
}

const hotImage = "reg.test/app:1"

// hot is an engine that has decided about one signed image, for 100 s. It asks about it as often as a rollout does.
type hot struct {
	*facts
	e    *Engine
	req  *Request
	res  Result
	hits int
}

const life = 100 * time.Second

func newHot(t *testing.T, c Config, options ...func(*Policy)) *hot {
	t.Helper()
	h := &hot{facts: &facts{}, req: &Request{Namespace: "default", Images: []string{hotImage}}}
	h.sign(h.push(hotImage), "release", nil)
	if c.Resolver == nil {
		c.Resolver, c.Verifier = h.facts, h.facts
	}
	var err error
	if h.e, err = New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.e.Close)
	h.e.Load(NewSnapshot([]*Policy{h.policy(t, options...)}, NoMatchDeny))
	h.e.Decide(t.Context(), h.req, &h.res)
	if h.res.Outcome != Allow {
		t.Fatalf("%s: %s", h.res.Outcome, h.res.Message())
	}
	return h
}

func (h *hot) policy(t *testing.T, options ...func(*Policy)) *Policy {
	return policyFor(t, "signed", "reg.test/**", append(options, signedBy("release"), func(p *Policy) { p.AllowTTL = life })...)
}

// during asks twice a second for as long as that, and fails at what is no hit of that outcome.
func (h *hot) during(t *testing.T, d time.Duration, want Outcome) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second / 2) {
		if !h.e.Hit(h.req, &h.res) {
			t.Fatalf("a miss after %d hits", h.hits)
		}
		if h.hits++; h.res.Outcome != want {
			t.Fatalf("%s after %d hits, want %s: %s", h.res.Outcome, h.hits, want, h.res.Message())
		}
	}
}

// refreshes returns the counts once nothing happens any more at this moment.
func (h *hot) refreshes() RefreshStats {
	synctest.Wait()
	return h.e.Stats().Refreshes
}

// TestHotNeverMisses: over a hundred lives, what is in use is never missing, and decided about once a life.
func TestHotNeverMisses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHot(t, Config{MaxVerdicts: 100})
		h.wait = func(context.Context) error { time.Sleep(time.Second); return nil } // twice a refresh
		h.during(t, 100*life, Allow)
		time.Sleep(3 * time.Second) // one that is under way then ends, and has no successor, since nobody asks
		s := h.refreshes()
		// A life begins when the one before has 10 to 25 % left.
		if s.Begun < 105 || s.Begun > 135 || s.Renewed != s.Begun || s.Failed+s.Skipped != 0 {
			t.Errorf("%+v over 100 lives", s)
		}
	})
}

// TestColdEnds: nobody asks, so nothing is asked.
func TestColdEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHot(t, Config{MaxVerdicts: 100})
		h.during(t, life*74/100, Allow)
		time.Sleep(life)
		if s := h.refreshes(); s != (RefreshStats{}) || h.verifies != 1 {
			t.Errorf("%+v, %d verifications", s, h.verifies)
		}
		if h.e.Hit(h.req, &h.res) {
			t.Error("a hit after its end")
		}
	})
}

// TestRefreshIsJoined: many who ask at one moment make one refresh; and reviews that are no hits, because of another
// image, refresh what they find.
func TestRefreshIsJoined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHot(t, Config{MaxVerdicts: 100})
		time.Sleep(life * 91 / 100)
		var hits atomic.Int64
		for range 100 {
			go func() {
				var res Result
				if h.e.Hit(h.req, &res) {
					hits.Add(1)
				}
			}()
		}
		if s := h.refreshes(); s.Begun != 1 || s.Renewed != 1 || hits.Load() != 100 {
			t.Errorf("%+v, %d hits", s, hits.Load())
		}
		time.Sleep(life * 91 / 100)
		var res Result
		h.e.Decide(t.Context(), &Request{Namespace: "default", Images: []string{"reg.test/other:1", hotImage}}, &res)
		if s := h.refreshes(); s.Renewed != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// TestFailingRefresh leaves the verdict to its own end, and no longer; then onError applies, and it recovers.
func TestFailingRefresh(t *testing.T) {
	t.Parallel()
	f := func(o OnError, mode Mode, want Outcome, wait func(context.Context) error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			h := newHot(t, Config{MaxVerdicts: 100}, onError(o), func(p *Policy) { p.Mode = mode })
			h.wait = wait
			h.resolveErr = &Failure{Reason: ReasonRegistryUnavailable, Public: "registry reg.test did not answer"}
			h.during(t, life, Allow)
			if string(h.res.Message()) != "" {
				t.Errorf("a warning before its end: %s", h.res.Message())
			}
			if h.e.Hit(h.req, &h.res) {
				t.Fatal("a failure has prolonged it")
			}
			time.Sleep(refreshTimeout)
			if s := h.refreshes(); s.Renewed != 0 || s.Failed != s.Begun || s.Begun < 3 || s.Begun > 40 {
				t.Errorf("%+v", s)
			}
			h.wait = nil
			if h.e.Decide(t.Context(), h.req, &h.res); h.res.Outcome != want || h.res.Reason != ReasonRegistryUnavailable {
				t.Errorf("%s (%s), want %s", h.res.Outcome, h.res.Reason, want)
			}
			time.Sleep(2 * failureTTL)
			h.resolveErr = nil
			if h.e.Decide(t.Context(), h.req, &h.res); h.res.Outcome != Allow || h.res.Reason != ReasonPassed {
				t.Errorf("%s (%s) once the registry is back", h.res.Outcome, h.res.Reason)
			}
		})
	}
	never := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	f(OnErrorDeny, Enforce, Deny, nil)
	f(OnErrorRetry, Enforce, Retry, nil)
	f(OnErrorAllow, Enforce, Allow, nil)
	f(OnErrorDeny, Warn, Allow, nil)
	f(OnErrorDeny, Enforce, Deny, never)
	f(OnErrorDeny, Enforce, Deny, func(context.Context) error { panic("a parser met its match") })
}

// TestRefreshTurnsToDeny: what a refresh finds counts at once.
func TestRefreshTurnsToDeny(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHot(t, Config{MaxVerdicts: 100})
		h.signatures = nil
		time.Sleep(life * 91 / 100)
		h.during(t, time.Millisecond, Allow) // by the verdict that it is due to replace
		synctest.Wait()
		h.during(t, 9*time.Second, Deny)
		if s := h.refreshes(); s.Renewed == 0 {
			t.Errorf("%+v", s)
		}
		// What is denied and in use is looked at again before its end, too.
		h.sign(h.digests[hotImage], "release", nil)
		time.Sleep(5 * time.Second)
		if h.e.Hit(h.req, &h.res); h.refreshes().Renewed < 2 {
			t.Errorf("%+v", h.refreshes())
		}
		h.during(t, time.Second, Allow)
	})
}

// TestRefreshRenewsFacts: verdicts don't shrink with the facts under them, and what a tag points at is seen within the
// life of that fact.
func TestRefreshRenewsFacts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ports := &aging{facts: &facts{}, tagLife: 20 * time.Second, signedLife: time.Hour}
		ports.sign(ports.push(hotImage), "release", nil)
		h := newHot(t, Config{Resolver: ports, Verifier: ports, MaxVerdicts: 100})
		const lives = 400
		h.during(t, lives*ports.tagLife, Allow)
		if s := h.refreshes(); s.Begun > lives*14/10 || s.Failed+s.Skipped != 0 || ports.tagAsked > lives*14/10 {
			t.Errorf("%+v and %d tags over %d lives of tags", s, ports.tagAsked, lives)
		}
		if n, hours := ports.signedAsked, int(lives*ports.tagLife/time.Hour); n < hours || n > 2*(hours+1) {
			t.Errorf("%d signatures over %d lives of those", n, hours)
		}
		moved := Digest("sha256:" + fmt.Sprintf("%064d", 1))
		ports.sign(moved, "release", nil)
		ports.digests[hotImage] = moved
		h.during(t, ports.tagLife, Allow)
		if got := h.res.Images()[0].Digest; got != moved {
			t.Errorf("still %s a life after the tag was moved", got)
		}
		// While the registry is down, facts hold to their ends.
		ports.resolveErr = &Failure{Reason: ReasonRegistryUnavailable, Public: "registry reg.test did not answer"}
		h.during(t, time.Until(ports.tagBorn.Add(ports.tagLife-3*time.Second)), Allow)
		time.Sleep(4 * time.Second)
		if h.e.Hit(h.req, &h.res) && h.res.Outcome == Allow {
			t.Error("allowed beyond the end of a fact")
		}
	})
}

// TestReloadDuringRefresh: a refresh by earlier rules changes nothing that later ones say.
func TestReloadDuringRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHot(t, Config{MaxVerdicts: 100})
		release := make(chan struct{})
		h.wait = func(context.Context) error { <-release; return nil }
		time.Sleep(life * 91 / 100)
		h.during(t, time.Millisecond, Allow)
		h.e.Load(NewSnapshot([]*Policy{policyFor(t, "no", "**", denyTags("1"))}, NoMatchDeny))
		if got, _, _ := decide(t, h.e, "default", hotImage); got != Deny {
			t.Errorf("%s by the new rules", got)
		}
		close(release)
		if s := h.refreshes(); s.Renewed != 1 {
			t.Errorf("%+v", s)
		}
		h.during(t, time.Second, Deny)
	})
}

// TestSlowRegistryLeavesPlaces: a hundred hot images of a registry that no longer answers don't keep that of another from
// being renewed.
func TestSlowRegistryLeavesPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ports := &hanging{facts: &facts{}}
		ports.sign(ports.push(hotImage), "release", nil)
		h := newHot(t, Config{Resolver: ports, Verifier: ports, MaxVerdicts: 10_000, MaxChecks: 32})
		slow := &Request{Namespace: "default"}
		for i := range 100 {
			image := fmt.Sprintf("slow.test/app-%d:1", i)
			ports.sign(ports.push(image), "release", nil)
			slow.Images = append(slow.Images, image)
		}
		h.e.Load(NewSnapshot([]*Policy{policyFor(t, "signed", "**", signedBy("release"),
			func(p *Policy) { p.AllowTTL = life })}, NoMatchDeny))
		var res Result
		h.e.Decide(t.Context(), slow, &res)
		h.e.Decide(t.Context(), h.req, &h.res)
		if res.Outcome != Allow || h.res.Outcome != Allow {
			t.Fatalf("%s, %s", res.Message(), h.res.Message())
		}
		ports.hangs.Store(true)
		for range 5 * life / time.Second {
			if h.e.Hit(slow, &res); !h.e.Hit(h.req, &h.res) {
				t.Fatalf("a miss after %d hits", h.hits)
			}
			h.hits++
			time.Sleep(time.Second)
		}
	})
}

// hanging is a registry slow.test that stops to answer, among others that don't.
type hanging struct {
	*facts
	hangs atomic.Bool
}

func (h *hanging) Resolve(ctx context.Context, ref Reference, known Known) (Resolution, error) {
	if ref.Registry == "slow.test" && h.hangs.Load() {
		<-ctx.Done()
		return Resolution{}, ctx.Err()
	}
	return h.facts.Resolve(ctx, ref, known)
}

// TestRefreshesAreBounded, half of the places being one registry's, and what found none comes to it later.
func TestRefreshesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHot(t, Config{MaxVerdicts: 10_000, MaxChecks: 32})
		const images = 60
		for i := range images {
			image := fmt.Sprintf("reg.test/app-%d:1", i)
			h.sign(h.push(image), "release", nil)
			h.req.Images = append(h.req.Images, image)
		}
		h.e.Decide(t.Context(), h.req, &h.res)
		var now, most atomic.Int64
		h.wait = func(context.Context) error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(400 * time.Millisecond)
			now.Add(-1)
			return nil
		}
		time.Sleep(life * 74 / 100)
		h.during(t, life*40/100, Allow)
		s := h.refreshes()
		// One that is asked for in the very moment in which its refresh ends may have another: what is due was read before.
		if most.Load() != 4 || s.Skipped == 0 || s.Renewed < images+1 || s.Renewed > 2*images {
			t.Errorf("%d at once, %+v", most.Load(), s)
		}
	})
}

// TestCloseDuringRefresh ends it. The bubble fails if anything is left running.
func TestCloseDuringRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHot(t, Config{MaxVerdicts: 100})
		h.wait = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		time.Sleep(life * 91 / 100)
		h.during(t, time.Millisecond, Allow)
		began := time.Now()
		h.e.Close()
		if s := h.refreshes(); time.Since(began) != 0 || s.Begun != 1 || s.Failed != 1 {
			t.Errorf("closed after %v: %+v", time.Since(began), s)
		}
		h.e.refresh(h.e.Snapshot().scope("default").plain(), hotImage)
		if s := h.refreshes(); s.Begun != 1 {
			t.Errorf("%+v: one has begun after Close", s)
		}
	})
}
