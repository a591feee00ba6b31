package cache

import (
	"math/rand/v2"
	"sync"
	"time"
)

// shard holds the entries of some of the hashes, and the loads that are under way for them. Whatever changes either
// level happens under its lock: exclusive to store or let go, shared to look up. Only a hit in the first level takes
// none.
type shard[K comparable, V any] struct {
	sync.RWMutex
	cells   map[uint64]*cell[K, V] // by hash, of which there is one key at a time; nil once closed
	flights map[K]*flight[V]

	// A queue of the entries by when they came, and the two who walk along it from the oldest to the newest, again and
	// again; nil before they begin anew.
	newest, oldest *cell[K, V]
	hand           *cell[K, V] // of eviction
	broom          *cell[K, V] // of sweeps
	_              [56]byte    // cache lines of its own
}

// find returns the entry of key, or nil.
func (s *shard[K, V]) find(hash uint64, key K) *cell[K, V] {
	if e := s.cells[hash]; e != nil && e.key == key {
		return e
	}
	return nil
}

func (s *shard[K, V]) close() {
	s.Lock()
	defer s.Unlock()
	s.cells, s.newest, s.oldest, s.hand, s.broom = nil, nil, nil, nil, nil
}

// store gives key a value, in both levels. The hash's shard is locked, and s.
func (c *Cache[K, V]) store(s *shard[K, V], hash uint64, key K, v *value[V]) {
	if s.cells == nil {
		return
	}
	cost := c.costOf(key, v.value)
	e := s.cells[hash]
	if e != nil && (e.key != key || cost > c.maxEach) {
		if e.key == key && e.value.Load().epoch > v.epoch {
			return
		}
		c.remove(s, e)
		e = nil
	}
	switch {
	case cost > c.maxEach:
		c.counts.rejected.Add(1)
		return
	case e != nil:
		if !e.value.advance(v) {
			return
		}
		c.held.Add(cost - int64(e.cost))
		e.cost = uint32(cost)
		c.makeRoom(s, e)
	default:
		e = &cell[K, V]{hash: hash, key: key}
		e.value.Store(v)
		e.cost = uint32(cost)
		c.held.Add(cost)
		c.makeRoom(s, nil)
		s.cells[hash] = e
		s.push(e)
	}
	c.counts.stored.Add(1)
	c.first.keep(e, newcomer)
}

// push puts an entry at the newest end of the queue.
func (s *shard[K, V]) push(e *cell[K, V]) {
	if e.older = s.newest; s.newest != nil {
		s.newest.newer = e
	} else {
		s.oldest = e
	}
	s.newest = e
}

// remove lets go of an entry, in both levels. Its shard is locked, and s.
func (c *Cache[K, V]) remove(s *shard[K, V], e *cell[K, V]) {
	newer, older := e.newer, e.older
	if s.hand == e {
		s.hand = newer
	}
	if s.broom == e {
		s.broom = newer
	}
	if older != nil {
		older.newer = newer
	} else {
		s.oldest = newer
	}
	if newer != nil {
		newer.older = older
	} else {
		s.newest = older
	}
	e.newer, e.older = nil, nil
	delete(s.cells, e.hash)
	c.held.Add(-int64(e.cost))
	c.first.drop(e)
}

// makeRoom evicts until what is held costs no more than it may: from s, which is locked, and from others if that has no
// more than one entry, stay, which stays. The others' turn begins with any of them, so that none pays for all.
func (c *Cache[K, V]) makeRoom(s *shard[K, V], stay *cell[K, V]) {
	for c.held.Load() > c.maxCost {
		if !c.evict(s, stay) {
			c.makeRoomElsewhere(s)
			return
		}
	}
}

// makeRoomElsewhere makes room in other shards than s. Whoever stores or sweeps next makes up for what others, who are
// at work on their shards, keep from being evicted now.
func (c *Cache[K, V]) makeRoomElsewhere(s *shard[K, V]) {
	first := rand.IntN(len(c.shards))
	for i := range c.shards {
		other := &c.shards[(first+i)%len(c.shards)]
		if other == s || !other.TryLock() {
			continue
		}
		for c.held.Load() > c.maxCost && c.evict(other, nil) {
		}
		other.Unlock()
		if c.held.Load() <= c.maxCost {
			return
		}
	}
}

// maxPassed is how many entries the hand passes over at a time: where nearly all are used, one of them is as good as
// another, and the lock is held for long enough.
const maxPassed = 1000

// evict lets go of one entry, if there is any but stay. The hand goes on from where it was, and passes over an entry that
// has been used since it last came by, unless that has ended.
func (c *Cache[K, V]) evict(s *shard[K, V], stay *cell[K, V]) bool {
	if s.oldest == nil || s.oldest == stay && s.newest == stay {
		return false
	}
	now := c.Now()
	for passed := 0; ; passed++ {
		e := s.hand
		if e == nil {
			e = s.oldest
		}
		s.hand = e.newer
		fresh := c.fresh(e.value.Load(), now)
		switch {
		case e == stay:
		case fresh && passed < maxPassed && e.used.Load():
			e.used.Store(false)
		default:
			c.remove(s, e)
			if fresh {
				c.counts.evicted.Add(1)
			} else {
				c.counts.expired.Add(1)
			}
			return true
		}
	}
}

// A sweep looks at one in sweepParts of the entries, so that all that has ended is let go within half a minute.
const (
	sweepEvery = time.Second
	sweepParts = 30
	sweepLeast = 64 // entries of a shard
)

// sweep lets go of what has ended, until the cache is closed.
func (c *Cache[K, V]) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		for i := range c.shards {
			c.sweepShard(&c.shards[i])
		}
	}
}

func (c *Cache[K, V]) sweepShard(s *shard[K, V]) {
	s.Lock()
	defer s.Unlock()
	now := c.Now()
	for range min(max(len(s.cells)/sweepParts+1, sweepLeast), len(s.cells)) {
		e := s.broom
		if e == nil {
			e = s.oldest
		}
		s.broom = e.newer
		if !c.fresh(e.value.Load(), now) {
			c.remove(s, e)
			c.counts.expired.Add(1)
		}
	}
	c.makeRoom(s, nil)
}
