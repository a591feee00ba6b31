package cache

import (
	"math/rand/v2"
	"time"
)

// When a value is due to be renewed: with this much of its life left, picked anew for each value, so that values stored
// at one moment are not all renewed at one moment. What lives shortLife or less is never due.
const (
	dueEarliest = 4  // with 1/4 of its life left
	dueLatest   = 10 // with 1/10
	shortLife   = 2 * time.Second
	dueAgain    = 250 * time.Millisecond // at the earliest, where it was due and has not been renewed
)

// newValue makes a value whose life of ttl begins at now.
func newValue[V any](v V, now Instant, ttl time.Duration, epoch uint64) *value[V] {
	made := &value[V]{value: v, expires: now + Instant(ttl), epoch: epoch}
	if ttl > shortLife {
		latest, earliest := ttl/dueLatest, ttl/dueEarliest
		made.due.Store(int64(made.expires) - int64(latest+rand.N(earliest-latest)))
	}
	return made
}

// claim tells one caller that the value is due at now, and makes it due again when an eighth to a half of what remains
// is over: so that, should it not be renewed, a bounded number of others try. It writes nothing before the value is due.
func (v *value[V]) claim(now Instant) bool {
	due := v.due.Load()
	if int64(now) < due || due == 0 {
		return false
	}
	remains := max(v.expires-now, 1)
	again := now + max(remains/8+rand.N(remains*3/8+1), Instant(dueAgain))
	return v.due.CompareAndSwap(due, int64(again))
}
