package cache

import "sync/atomic"

// Stats are counts since the cache was made.
type Stats struct {
	Hits      uint64 // Gets and Dos answered from the cache: estimated, because an exact count would slow every hit
	Misses    uint64 // Gets that found nothing
	Joined    uint64 // Dos that waited for a load begun by another
	Loads     uint64 // loads begun
	Errors    uint64 // loads that ended in an error or a panic
	Abandoned uint64 // loads cancelled because nobody waited any more
	Stored    uint64 // values stored
	Rejected  uint64 // values that alone cost more than the capacity
	Evicted   uint64 // entries removed to make room
	Expired   uint64 // entries removed because their time was over
	Cost      int64  // what the entries held cost together: their number unless Options.Cost says otherwise
	MaxCost   int64  // the capacity
}

type counters struct {
	hits, misses, joined, loads, errors, abandoned, stored, rejected, evicted, expired atomic.Uint64
}

// Stats reads the counts. They are read one after the other, so they need not add up to the last digit.
func (c *Cache[K, V]) Stats() Stats {
	return Stats{
		Hits:      c.counts.hits.Load(),
		Misses:    c.counts.misses.Load(),
		Joined:    c.counts.joined.Load(),
		Loads:     c.counts.loads.Load(),
		Errors:    c.counts.errors.Load(),
		Abandoned: c.counts.abandoned.Load(),
		Stored:    c.counts.stored.Load(),
		Rejected:  c.counts.rejected.Load(),
		Evicted:   c.counts.evicted.Load(),
		Expired:   c.counts.expired.Load(),
		Cost:      c.held.Load(),
		MaxCost:   c.maxCost,
	}
}
