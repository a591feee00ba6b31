package engine

import (
	"context"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// refreshTimeout bounds a refresh. Those who ask are answered meanwhile, so it may take as long as a review may.
const refreshTimeout = 8 * time.Second

// refreshes are the verdicts that are decided anew in the background, because they are in use and near their end. The
// zero value refreshes nothing.
type refreshes struct {
	// done ends with the engine, for which close waits until none is running.
	mu      sync.Mutex
	free    int            // places for more
	taken   map[string]int // places, by registry
	done    context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	begun, renewed, failed, skipped atomic.Uint64
}

// RefreshStats counts the verdicts that were due to be decided anew in the background.
type RefreshStats struct {
	Begun   uint64
	Renewed uint64 // of those begun: there is a new verdict, be it the same
	Failed  uint64 // of those begun: nothing definite could be said, so the verdict before stayed until its own end
	Skipped uint64 // not begun, because too many were under way, or too many at that registry
}

func (r *refreshes) open(most int) {
	r.free, r.taken = most, make(map[string]int)
	r.done, r.cancel = context.WithCancel(context.Background())
}

func (r *refreshes) close() {
	r.mu.Lock()
	r.free = 0
	r.cancel() // from here on no place is given back
	r.mu.Unlock()
	r.running.Wait()
}

func (r *refreshes) stats() RefreshStats {
	ended := RefreshStats{Renewed: r.renewed.Load(), Failed: r.failed.Load(), Skipped: r.skipped.Load()}
	ended.Begun = r.begun.Load() // last, so that never more have ended than begun
	return ended
}

// begin runs f, which asks registry, in the background, if there is a place; f says whether it could renew what it was
// for. A registry gets no more places than it leaves free, so that one which does not answer keeps no other's images
// from being renewed.
func (r *refreshes) begin(registry string, f func(context.Context) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken[registry] >= r.free {
		r.skipped.Add(1)
		return
	}
	r.free--
	r.taken[registry]++
	r.begun.Add(1)
	r.running.Go(func() {
		defer r.end(registry)
		ctx, cancel := context.WithTimeout(r.done, refreshTimeout)
		defer cancel()
		if f(ctx) {
			r.renewed.Add(1)
		} else {
			r.failed.Add(1)
		}
	})
}

// end gives back a place.
func (r *refreshes) end(registry string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken[registry]--; r.taken[registry] == 0 {
		delete(r.taken, registry)
	}
	if r.done.Err() == nil {
		r.free++
	}
}

// refresh decides about an image anew in the background, and lets a definite verdict take the place of the one before.
// Without one, that stays, and no longer than it would have: what then becomes of the image is decided when it is asked
// for after that.
func (e *Engine) refresh(v view, image string) {
	image = strings.Clone(image)
	ref, err := ParseReference(image)
	if err != nil { // of which there are no verdicts in the cache
		return
	}
	e.refreshes.begin(ref.Registry, func(ctx context.Context) bool {
		loaded, err := e.verdicts.Renew(ctx, verdictKey{v.key, image}, math.MaxInt64,
			func(ctx context.Context) (*Verdict, time.Duration, error) {
				j := newJudgement(e, v, image, ref, KnownLately)
				defer j.done()
				verdict, ttl := j.decide(ctx)
				if j.open {
					return verdict, 0, nil // for those who have joined: by now they may have no other
				}
				return verdict, ttl, nil
			})
		return err == nil && loaded.TTL > 0
	})
}
