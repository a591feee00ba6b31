package cache

import (
	"math"
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
func newValue[V any](v V, now Instant, ttl time.Duration, epoch uint32) *value[V] {
	made := &value[V]{value: v, expires: now + Instant(ttl), epoch: epoch}
	if ttl > shortLife {
		latest, earliest := ttl/dueLatest, ttl/dueEarliest
		made.due.Store(uint32(min((latest+rand.N(earliest-latest))/time.Millisecond, math.MaxUint32)))
	}
	return made
}

// claim tells one caller that the value is due at now, and makes it due again when an eighth to a half of what remains
// is over: so that, should it not be renewed, a bounded number of others try. It writes nothing before the value is due.
func (v *value[V]) claim(now Instant) bool {
	due := v.due.Load()
	left := time.Duration(v.expires - now)
	if left > time.Duration(due)*time.Millisecond || left <= 0 {
		return false
	}
	again := left - max(left/8+rand.N(left*3/8+1), dueAgain)
	return v.due.CompareAndSwap(due, uint32(max(again/time.Millisecond, 0)))
}
