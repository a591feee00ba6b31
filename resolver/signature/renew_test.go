package signature

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/engine"
)

// TestRenewFact: a fact with half of its life before it will do. One with less is found anew, and stays if that fails for
// now; but where nothing valid is left it is over for everybody.
func TestRenewFact(t *testing.T) {
	t.Parallel()
	release := keySigner(t)
	signed := release.item(t, image, classic, "")
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.putItems(t, signed)
		v, err := New(r, small)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		f := func(known engine.Known, want engine.Reason, ttl time.Duration) {
			t.Helper()
			e, err := v.Verify(t.Context(), image, release.authority, known)
			got := engine.ReasonPassed
			if err != nil {
				got = asFailure(err).Reason
			}
			if got != want || e.TTL != ttl {
				t.Errorf("known %d: %s for %v, want %s for %v", known, got, e.TTL, want, ttl)
			}
		}
		const half = DefaultFactTTL / 2
		f(engine.KnownFacts, engine.ReasonPassed, 2*half)
		time.Sleep(half - time.Second)
		f(engine.KnownLately, engine.ReasonPassed, half+time.Second)
		time.Sleep(2 * time.Second)
		f(engine.KnownFacts, engine.ReasonPassed, half-time.Second)
		r.fail(&engine.Failure{Reason: engine.ReasonRegistryUnavailable, Public: "the registry answered 503"})
		f(engine.KnownLately, engine.ReasonPassed, half-time.Second)
		r.fail(nil)
		f(engine.KnownLately, engine.ReasonPassed, 2*half)
		f(engine.KnownFacts, engine.ReasonPassed, 2*half)
		time.Sleep(half)
		clear(r.manifests)
		f(engine.KnownFacts, engine.ReasonPassed, half)
		f(engine.KnownLately, engine.ReasonSignatureMissing, 0)
		f(engine.KnownFacts, engine.ReasonSignatureMissing, 0)
	})
}

// TestRenewInPart: the fact before will do, too, where only some of what it says can be had for now.
func TestRenewInPart(t *testing.T) {
	t.Parallel()
	dev, boss := keylessSigner(t, "dev@example.com"), keylessSigner(t, "boss@example.com")
	first, second := dev.item(t, image, classic, ""), boss.item(t, image, bundled, "")
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.putItems(t, first)
		r.referItem(t, second)
		v, err := New(r, small)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		for _, known := range []engine.Known{engine.KnownFacts, engine.KnownLately} {
			if e, err := v.Verify(t.Context(), image, boss.authority, known); err != nil {
				t.Errorf("known %d: %+v, %v", known, e, err)
			}
			time.Sleep(DefaultFactTTL * 3 / 4)
			r.listErr = &engine.Failure{Reason: engine.ReasonRegistryUnavailable, Public: "the registry answered 503"}
		}
	})
}

// TestRenewOutlivesItsFirst: the fact that is over is the one that was asked for, though whoever was first to ask has
// gone on to another since.
func TestRenewOutlivesItsFirst(t *testing.T) {
	t.Parallel()
	k := newKey(t, "P-256")
	distinct := *k.authority
	distinct.Distinct = true
	synctest.Test(t, func(t *testing.T) {
		r := signedRegistry(t, k)
		v, err := New(r, small)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if _, failure := verify(t, v, k); failure != nil {
			t.Fatal(failure)
		}
		time.Sleep(DefaultFactTTL * 3 / 4)
		r.hold = make(chan struct{})
		var wg sync.WaitGroup
		ctx, leave := context.WithCancel(t.Context())
		for _, ctx := range []context.Context{ctx, t.Context()} {
			wg.Go(func() {
				if _, err := v.Verify(ctx, image, &distinct, engine.KnownLately); err == nil {
					t.Error("verified, and nothing was found")
				}
			})
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		clear(r.manifests)
		close(r.hold)
		wg.Wait()
		if _, failure := verify(t, v, k); failure == nil {
			t.Error("a fact is relied on that was found to be over")
		}
	})
}

// TestFactsByBytes: facts are held to what they may take.
func TestFactsByBytes(t *testing.T) {
	t.Parallel()
	o := factOptions(Options{MaxBytes: 1 << 20})
	f := &fact{signatures: []engine.Signature{{Statement: &engine.Statement{Predicate: make([]byte, 4096)}}}}
	if got := o.Cost(factKey{}, f); got < 4096+200 || got > 4096+1000 || o.MaxCost != 1<<20 || o.Entries != 1<<10 {
		t.Errorf("%d for a fact of 4 KiB, %+v", got, o)
	}
}
