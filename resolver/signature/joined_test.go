package signature

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/engine"
)

func signedRegistry(t testing.TB, keys ...key) *registry {
	t.Helper()
	p := claimFor(t, image.Digest, nil)
	var layers []descriptor
	for _, k := range keys {
		layers = append(layers, layerOf(p, sign(t, k.usual, p)))
	}
	r := newRegistry()
	r.put(manifestOf(t, layers...), p)
	return r
}

func TestFiftyAtOnceAreOneVerification(t *testing.T) {
	t.Parallel()
	k := newKey(t, "P-256")
	synctest.Test(t, func(t *testing.T) {
		r := signedRegistry(t, k)
		r.hold = make(chan struct{})
		v, err := New(r, small)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				_, failure := verify(t, v, k)
				if failure != nil {
					t.Error(failure)
				}
			})
		}
		synctest.Wait()
		close(r.hold)
		wg.Wait()
		if m, b, j := r.manifestTrips.Load(), r.blobTrips.Load(), v.Stats().Judged; m != 1 || b != 1 || j != 1 {
			t.Errorf("%d manifests, %d payloads, %d signatures judged; want one of each", m, b, j)
		}
	})
}

func TestAuthoritiesShareOneDownload(t *testing.T) {
	t.Parallel()
	keys := []key{newKey(t, "P-256"), newKey(t, "Ed25519"), newKey(t, "P-384")}
	stranger := newKey(t, "P-256")
	synctest.Test(t, func(t *testing.T) {
		r := signedRegistry(t, keys...)
		r.hold = make(chan struct{})
		v, err := New(r, small)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		var wg sync.WaitGroup
		for _, k := range keys {
			wg.Go(func() {
				_, failure := verify(t, v, k)
				if failure != nil {
					t.Error(failure)
				}
			})
		}
		synctest.Wait()
		close(r.hold)
		wg.Wait()
		_, failure := verify(t, v, stranger) // after them, within downloadTTL
		wantReason(t, failure, engine.ReasonSignatureInvalid)
		if m, b := r.manifestTrips.Load(), r.blobTrips.Load(); m != 1 || b != 1 {
			t.Errorf("%d manifests and %d payloads fetched for four authorities, want one of each", m, b)
		}
		time.Sleep(downloadTTL)
		_, failure = verify(t, v, stranger)
		wantReason(t, failure, engine.ReasonSignatureInvalid)
		if m := r.manifestTrips.Load(); m != 2 {
			t.Errorf("%d manifests fetched, want a second one after %v", m, downloadTTL)
		}
	})
}

func TestFactsLiveForTheirTTL(t *testing.T) {
	t.Parallel()
	k := newKey(t, "P-256")
	synctest.Test(t, func(t *testing.T) {
		r := signedRegistry(t, k)
		v, err := New(r, Options{FactTTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		e, failure := verify(t, v, k)
		wantReason(t, failure, engine.ReasonPassed)
		if e.TTL != time.Minute {
			t.Errorf("a new fact lives for %v, want a minute", e.TTL)
		}
		r.fail(&engine.Failure{Reason: engine.ReasonRegistryUnavailable, Public: "the registry answered 503"})
		time.Sleep(45 * time.Second)
		e, failure = verify(t, v, k)
		wantReason(t, failure, engine.ReasonPassed)
		if e.TTL != 15*time.Second {
			t.Errorf("after 45 s of a minute the fact lives for %v more", e.TTL)
		}
		time.Sleep(16 * time.Second)
		_, failure = verify(t, v, k)
		wantReason(t, failure, engine.ReasonRegistryUnavailable)
	})
}

func TestNoFailureIsRemembered(t *testing.T) {
	t.Parallel()
	k := newKey(t, "P-256")
	synctest.Test(t, func(t *testing.T) {
		r := signedRegistry(t, k)
		p := claimFor(t, image.Digest, nil)
		broken := &engine.Failure{Reason: engine.ReasonTimeout, Public: "too late"}
		v, err := New(r, small)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		r.fail(broken)
		_, failure := verify(t, v, k)
		wantReason(t, failure, engine.ReasonTimeout)
		r.fail(nil)
		r.blobErr[digestOf(p)] = broken
		_, failure = verify(t, v, k)
		wantReason(t, failure, engine.ReasonTimeout)
		delete(r.blobErr, digestOf(p))
		r.manifests, r.err = map[string][]byte{}, nil
		_, failure = verify(t, v, k)
		wantReason(t, failure, engine.ReasonSignatureMissing)

		r.put(manifestOf(t, layerOf(p, sign(t, k.usual, p))), p) // signed at last
		time.Sleep(downloadTTL)
		_, failure = verify(t, v, k)
		wantReason(t, failure, engine.ReasonPassed)
	})
}

func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	k := newKey(t, "P-256")
	synctest.Test(t, func(t *testing.T) {
		r := signedRegistry(t, k)
		r.hold = make(chan struct{})
		v, err := New(r, small)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()

		// The first of two leaves, and the second is served nevertheless.
		first, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := v.Verify(first, image, k.authority, engine.KnownFacts)
			var f *engine.Failure
			if !errors.As(err, &f) || f.Reason != engine.ReasonTimeout || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the one who left got %v, want %s", err, engine.ReasonTimeout)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			_, failure := verify(t, v, k)
			if failure != nil {
				t.Error(failure)
			}
		})
		time.Sleep(2 * time.Second)
		close(r.hold)
		wg.Wait()

		// All leave, and the work ends with them: the registry's wait would outlive the test otherwise.
		r.hold = make(chan struct{})
		elsewhere := image
		elsewhere.Digest = digestOf([]byte("another image"))
		second, leave := context.WithCancel(t.Context())
		wg.Go(func() {
			_, err := v.Verify(second, elsewhere, k.authority, engine.KnownFacts)
			if failure := asFailure(err); failure.Reason != engine.ReasonTimeout {
				t.Errorf("got %v, want %s", failure, engine.ReasonTimeout)
			}
		})
		synctest.Wait()
		leave()
		wg.Wait()
		synctest.Wait()
		if got := v.Stats().Verifications[engine.ReasonTimeout]; got != 1 {
			t.Errorf("%d verifications ended by their callers, want 1", got)
		}
	})
}

func TestNothingIsJudgedForNobody(t *testing.T) {
	t.Parallel()
	k := newKey(t, "Ed25519")
	v := newVerifier(t, signedRegistry(t, k))
	q := v.question(image, k.authority)
	wantReason(t, q.answer(t.Context(), false).failure, engine.ReasonPassed)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	wantReason(t, q.answer(ctx, false).failure, engine.ReasonTimeout) // of what is downloaded already
	if got := v.Stats().Judged; got != 1 {
		t.Errorf("%d signatures judged, want the first one only", got)
	}
}
