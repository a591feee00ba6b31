// Package cache remembers values for a bounded time in bounded memory, and does the work of finding a missing one
// once for all who ask.
//
// It decides how long a value may be served (its own lifetime, on a monotonic clock, and never past an Invalidate), and
// which values go when room is short: those that have ended, and then by SIEVE (Zhang et al., NSDI 2024) those that
// were not asked for since the last look at them. It trusts the load functions it is given to say what is true and for
// how long. It never trusts a hash to stand for a key, never serves a value that is past its time, and never lets one
// caller's cancelled context fail another's wait.
//
// There are two levels. The first is a [Memo]: a hit there takes no lock and writes nothing shared. The second holds
// every entry, in maps behind locks, and decides what stays; the first has nothing that the second has not.
package cache

import (
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what a cache holds. Only MaxCost is required.
type Options[K comparable, V any] struct {
	// MaxCost is the capacity, in whatever Cost counts; entries by default. An entry that costs more is not held, nor is
	// one that costs 4 Gi or more.
	MaxCost int64
	// Cost weighs an entry, in bytes as a rule; nil means 1 an entry. What it says below 1 counts as 1. It is called
	// concurrently. To count what the cache itself takes too, add [Overhead].
	Cost func(K, V) int64
	// Entries is how many entries there will be about, where Cost counts something else: what finds them is sized for
	// so many. 0 means MaxCost, up to 65,536. More than that are held as well, and found more slowly.
	Entries int64
	// Hash is for tests that want collisions. Nil means a hash with a random seed of its own for each cache, so that
	// nobody outside can look for two keys that collide.
	Hash func(K) uint64
}

// Instant is a moment on a cache's own clock: nanoseconds since the cache was made, unmoved by changes of the wall
// clock.
type Instant int64

// Cache is a map from K to V whose entries end by themselves. It is safe for concurrent use, made by [New], and holds
// a goroutine until Close.
type Cache[K comparable, V any] struct {
	seed    maphash.Seed
	hash    func(K) uint64 // nil: seeded
	cost    func(K, V) int64
	maxCost int64
	maxEach int64     // what an entry may cost
	base    time.Time // of the clock

	epoch  atomic.Uint32 // closedEpoch once closed; a value of another epoch is never served
	first  *Memo[K, slot[V]]
	shards []shard[K, V] // the second level; len is a power of two

	closing sync.Once
	stop    chan struct{}  // ends the sweeps
	sweeps  sync.WaitGroup // until they have ended

	_      [64]byte     // what follows is written all the time, and what precedes it read
	held   atomic.Int64 // what the entries cost together
	counts counters
}

// cell is what both levels hold for a key.
type cell[K comparable, V any] = entry[K, slot[V]]

// slot is the changing part of a cell. It is written under the lock of the hash's shard, and read without.
type slot[V any] struct{ atomic.Pointer[value[V]] }

// value is immutable, but for when it is due.
type value[V any] struct {
	value   V
	expires Instant
	epoch   uint32
	due     atomic.Uint32 // this many milliseconds before its end: see [value.claim]
}

const (
	sampleEvery = 32
	guess       = 1 << 16 // of how many entries there will be, where nobody says
	closedEpoch = math.MaxUint32

	// The first level has two places an entry, of 8 bytes each: one in ten of a full cache's entries then finds both of its
	// own taken by others. With one place it is one in four.
	placesEach = 2
	maxPlaces  = 1 << 22 // 32 MiB

	// Each shard is a queue of its own, which a small cache can't be divided into.
	maxShards = 64
	perShard  = 128 // entries at least

	forEver = 100 * 365 * 24 * time.Hour // the longest lifetime: what time.Time's arithmetic can still carry
)

// New makes a cache. It fails only if MaxCost is not positive.
func New[K comparable, V any](o Options[K, V]) (*Cache[K, V], error) {
	if o.MaxCost <= 0 {
		return nil, fmt.Errorf("cache: MaxCost is %d, and must be positive", o.MaxCost)
	}
	entries := o.MaxCost
	switch {
	case o.Cost == nil:
	case o.Entries > 0:
		entries = min(entries, o.Entries)
	default:
		entries = min(entries, guess)
	}
	c := &Cache[K, V]{
		seed:    maphash.MakeSeed(),
		hash:    o.Hash,
		cost:    o.Cost,
		maxCost: o.MaxCost,
		maxEach: min(o.MaxCost, math.MaxUint32),
		base:    time.Now(),
		first:   NewMemo[K, slot[V]](int(placesEach * min(entries, maxPlaces/placesEach))),
		shards:  make([]shard[K, V], 1<<(bits.Len64(uint64(min(max(entries/perShard, 1), maxShards)))-1)),
		stop:    make(chan struct{}),
	}
	for i := range c.shards {
		c.shards[i].cells, c.shards[i].flights = map[uint64]*cell[K, V]{}, map[K]*flight[V]{}
	}
	c.sweeps.Go(c.sweep)
	return c, nil
}

// Now reads the clock: 40 to 65 ns, so read it once for many Gets.
func (c *Cache[K, V]) Now() Instant { return Instant(time.Since(c.base)) }

// Get returns the value of key if there is one that has not expired at now. It allocates nothing on a hit, and
// waits for nobody if the key is in the first level. key may be borrowed: it is not kept.
func (c *Cache[K, V]) Get(key K, now Instant) (V, bool) {
	v, ok := c.get(key, now)
	if !ok {
		var none V
		return none, false
	}
	return v.value, true
}

// Use is [Cache.Get] for those who renew what they use. Once most of the value's life is over, due is true for one of
// them, who is to [Cache.Renew] it while all others go on using it; and again for another one later, as long as nobody
// has.
func (c *Cache[K, V]) Use(key K, now Instant) (_ V, due, ok bool) {
	v, ok := c.get(key, now)
	if !ok {
		var none V
		return none, false, false
	}
	return v.value, v.claim(now), true
}

// get looks up a value, and counts how that ends.
func (c *Cache[K, V]) get(key K, now Instant) (*value[V], bool) {
	if v := c.lookUp(c.hashOf(key), key, now); v != nil {
		return v, true
	}
	c.counts.misses.Add(1)
	return nil, false
}

// Drop ends the value of key, where something has shown that it holds no longer.
func (c *Cache[K, V]) Drop(key K) {
	hash := c.hashOf(key)
	s := c.shardOf(hash)
	s.Lock()
	defer s.Unlock()
	if e := s.find(hash, key); e != nil {
		c.remove(s, e)
	}
}

// Invalidate begins a new epoch: nothing that was stored, or whose load began, before is served after. A caller of Do
// that was waiting already still gets what it waits for.
func (c *Cache[K, V]) Invalidate() {
	for {
		epoch := c.epoch.Load()
		if epoch == closedEpoch || c.epoch.CompareAndSwap(epoch, epoch+1) {
			return
		}
	}
}

// Close lets go of the entries and of the goroutine. After it Get misses, and Do loads and stores nothing; loads
// under way go on for those who wait for them. Closing twice is harmless.
func (c *Cache[K, V]) Close() {
	c.closing.Do(func() {
		c.epoch.Store(closedEpoch)
		close(c.stop)
		c.sweeps.Wait()
		for i := range c.shards {
			c.shards[i].close()
		}
		c.held.Store(0)
		c.first.clear()
	})
}

func (c *Cache[K, V]) hashOf(key K) uint64 {
	if c.hash != nil {
		return c.hash(key)
	}
	return maphash.Comparable(c.seed, key)
}

// shardOf returns the shard of a hash, which is that of all hashes with the same places in the first level: under its
// lock, neither entry of such a set is let go of while they exchange places.
func (c *Cache[K, V]) shardOf(hash uint64) *shard[K, V] {
	return &c.shards[hash/ways&uint64(len(c.shards)-1)]
}

// fresh tells whether v may be served at now.
func (c *Cache[K, V]) fresh(v *value[V], now Instant) bool {
	return v != nil && now < v.expires && v.epoch == c.epoch.Load() && v.epoch != closedEpoch
}

// lookUp returns the fresh value of key, or nil, and counts a hit.
func (c *Cache[K, V]) lookUp(hash uint64, key K, now Instant) *value[V] {
	if e := c.first.find(hash, key); e != nil {
		if v := e.value.Load(); c.fresh(v, now) {
			sample := rand.Uint32()%sampleEvery == 0
			if sample {
				c.counts.hits.Add(sampleEvery)
			}
			if !e.used.Load() || sample && !c.first.isSettled(e) {
				c.use(e)
			}
			return v
		}
	}
	s := c.shardOf(hash)
	s.RLock()
	defer s.RUnlock()
	e := s.find(hash, key)
	if e == nil {
		return nil
	}
	v := e.value.Load()
	if !c.fresh(v, now) {
		return nil
	}
	// Under the lock, so that an eviction, which takes it too, is either seen above or finds the cell in first.
	c.first.keep(e, newcomer)
	e.use()
	c.counts.hits.Add(1)
	return v
}

// use notes that an entry is asked for: in the first level, too, where it is a newcomer no more. It gives way to anyone
// who wants the shard.
func (c *Cache[K, V]) use(e *cell[K, V]) {
	s := c.shardOf(e.hash)
	if !s.TryRLock() {
		return
	}
	defer s.RUnlock()
	if s.cells[e.hash] == e {
		e.use()
		c.first.settle(e)
	}
}

// advance puts v in the slot, unless what is there is of a later epoch. Callers hold the shard's lock.
func (s *slot[V]) advance(v *value[V]) bool {
	if old := s.Load(); old != nil && old.epoch > v.epoch {
		return false
	}
	s.Store(v)
	return true
}

func (c *Cache[K, V]) costOf(key K, v V) int64 {
	if c.cost == nil {
		return 1
	}
	return max(c.cost(key, v), 1)
}
