// Package cache remembers values for a bounded time in bounded memory, and does the work of finding a missing one
// once for all who ask.
//
// It decides how long a value may be served (its own lifetime, on a monotonic clock, and never past an Invalidate), and
// through ristretto's TinyLFU which values go when room is short. It trusts the load functions it is given to say what
// is true and for how long. It never trusts a hash to stand for a key, never serves a value that is past its time, and
// never lets one caller's cancelled context fail another's wait.
//
// There are two levels. The first is a [Memo]: a hit there takes no lock and writes nothing shared. The second is
// ristretto, which holds what the first has no place for, frees what has expired, and learns from one in
// [sampleEvery] of the first level's hits what is worth holding.
package cache

import (
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
)

// Options say what a cache holds. Only MaxCost is required.
type Options[K comparable, V any] struct {
	// MaxCost is the capacity, in whatever Cost counts; entries by default. Some small entries may be held beyond it:
	// see [Cache].
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
// goroutines until Close.
//
// Entries that ristretto has refused or pushed out stay in the first level while they are fresh and small, until
// others take their places: else a full cache of once busy entries keeps newcomers out for long (under Zipf's law with
// room for one key in a hundred, 0.56 of the look-ups hit without this, and 0.61 with it). Small is what costs at most
// MaxCost divided by the number of places, or 1; and no more than 65,536 places hold such entries. So all the entries
// together may cost MaxCost and, beyond it, as much again where that is 65,536 entries or less. A larger entry never
// outlives its place in ristretto.
type Cache[K comparable, V any] struct {
	seed maphash.Seed
	hash func(K) uint64 // nil: seeded
	cost func(K, V) int64
	base time.Time // of the clock

	epoch atomic.Uint32 // closedEpoch once closed; a value of another epoch is never served
	first *Memo[K, slot[V]]
	share int64 // the most that an entry may cost and stay in first without ristretto

	// second is ristretto, by hash. It panics when used after or during its Close, so every call of it is made
	// under the hash's shard, which says whether it is still open.
	second *ristretto.Cache[uint64, *cell[K, V]]
	shards [shards]shard[K, V]

	closing sync.Once
	counts  counters
}

// cell is what both levels hold for a key. ristretto silently loses the second of two Sets of a key while the first is
// queued, so a key is set once, with its cell, and later values take their place within.
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

// shard guards what belongs to some of the hashes. Whatever changes either level, and every call of ristretto, happens
// under its lock: exclusive to store or let go, shared to look up. Only a hit in the first level takes none. It is safe
// to call ristretto under it: ristretto calls back without locks of its own, but for its Close.
type shard[K comparable, V any] struct {
	sync.RWMutex
	closed  bool
	flights map[K]*flight[V]
	_       [24]byte // a cache line of its own
}

const (
	shards      = 64
	sampleEvery = 32
	guess       = 1 << 16 // of how many entries there will be, where nobody says
	closedEpoch = math.MaxUint32

	// The first level has two places an entry, of 8 bytes each: one in ten of a full cache's entries then finds both of its
	// own taken by others. With one place it is one in four.
	placesEach = 2
	maxPlaces  = 1 << 22 // 32 MiB
	maxLoose   = 1 << 16 // of them, those that may hold what ristretto does not

	// Ten counters an entry are ristretto's advice. They take some 4 bytes each, entries or none, so they end at 16 MiB.
	countersEach = 10
	maxCounters  = 1 << 22
	linger       = time.Second                // that ristretto keeps an entry beyond its end: longer than a Set is queued
	forEver      = 100 * 365 * 24 * time.Hour // the longest lifetime: what time.Time's arithmetic can still carry
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
		seed:  maphash.MakeSeed(),
		hash:  o.Hash,
		cost:  o.Cost,
		base:  time.Now(),
		first: NewMemo[K, slot[V]](int(placesEach * min(entries, maxPlaces/placesEach))),
	}
	c.share = max(o.MaxCost/int64(len(c.first.slots)), 1)
	for i := range c.shards {
		c.shards[i].flights = make(map[K]*flight[V])
	}
	var err error
	c.second, err = ristretto.NewCache(&ristretto.Config[uint64, *cell[K, V]]{
		MaxCost:            o.MaxCost,
		NumCounters:        min(countersEach*min(max(entries, 100), maxCounters), maxCounters),
		BufferItems:        64,
		IgnoreInternalCost: true,
		KeyToHash:          func(hash uint64) (uint64, uint64) { return hash, 0 },
		OnReject:           c.rejected,
		OnEvict:            c.evicted,
	})
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
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
	if s.closed {
		return
	}
	ended := &value[V]{epoch: c.epoch.Load()}
	if e := c.first.find(hash, key); e != nil {
		e.value.advance(ended)
		c.first.drop(e)
	}
	if e, ok := c.second.Get(hash); ok && e.key == key {
		e.value.advance(ended)
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

// Close lets go of the entries and of ristretto's goroutines. After it Get misses, and Do loads and stores nothing; loads
// under way go on for those who wait for them. Closing twice is harmless.
func (c *Cache[K, V]) Close() {
	c.closing.Do(func() {
		c.epoch.Store(closedEpoch)
		for i := range c.shards {
			c.shards[i].Lock()
			c.shards[i].closed = true
			c.shards[i].Unlock()
		}
		// From here on nobody else calls ristretto. It calls rejected and evicted, which take locks: hold none.
		c.second.Close()
		c.first.clear()
	})
}

func (c *Cache[K, V]) hashOf(key K) uint64 {
	if c.hash != nil {
		return c.hash(key)
	}
	return maphash.Comparable(c.seed, key)
}

func (c *Cache[K, V]) shardOf(hash uint64) *shard[K, V] { return &c.shards[hash%shards] }

// fresh tells whether v may be served at now.
func (c *Cache[K, V]) fresh(v *value[V], now Instant) bool {
	return v != nil && now < v.expires && v.epoch == c.epoch.Load() && v.epoch != closedEpoch
}

// lookUp returns the fresh value of key, or nil, and counts a hit.
func (c *Cache[K, V]) lookUp(hash uint64, key K, now Instant) *value[V] {
	if e := c.first.find(hash, key); e != nil {
		if v := e.value.Load(); c.fresh(v, now) {
			if rand.Uint32()%sampleEvery == 0 {
				c.tell(e)
			}
			return v
		}
	}
	s := c.shardOf(hash)
	s.RLock()
	defer s.RUnlock()
	if s.closed {
		return nil
	}
	e, ok := c.second.Get(hash)
	if !ok || e.key != key {
		return nil
	}
	v := e.value.Load()
	if !c.fresh(v, now) {
		return nil
	}
	// Under the lock, so that an eviction, which takes it too, is either seen above or finds the cell in first.
	c.first.keep(e, newcomer)
	c.counts.hits.Add(1)
	return v
}

// tell passes on one hit in the first level, that stands for [sampleEvery]: to ristretto, and to the first level, where
// the entry is a newcomer no more. It gives way to anyone who wants the shard.
func (c *Cache[K, V]) tell(e *cell[K, V]) {
	c.counts.hits.Add(sampleEvery)
	s := c.shardOf(e.hash)
	if !s.TryRLock() {
		return
	}
	defer s.RUnlock()
	if !s.closed {
		c.first.settle(e)
		c.second.Get(e.hash)
	}
}

// store gives key a value, in both levels. The hash's shard is locked and open.
func (c *Cache[K, V]) store(hash uint64, key K, v *value[V], ttl time.Duration) {
	e := c.first.find(hash, key)
	if e == nil {
		e = &cell[K, V]{hash: hash, key: key}
	}
	if !e.value.advance(v) {
		return
	}
	c.counts.stored.Add(1)
	c.first.keep(e, newcomer)
	// Where ristretto has the hash already this replaces the cell, and its end, at once. Else it is queued, and may
	// be dropped here, or refused later: see rejected.
	cost := c.costOf(key, v.value)
	if !c.second.SetWithTTL(hash, e, cost, ttl+linger) {
		c.leave(e, cost)
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

// rejected is called by ristretto, on its goroutine and without its locks, for a queued Set that it did not carry
// out, for one of two reasons. Either it already had the hash by then (from a Set that was still queued when this one
// was), or it has no room for the cell.
func (c *Cache[K, V]) rejected(item *ristretto.Item[*cell[K, V]]) {
	e := item.Value
	s := c.shardOf(e.hash)
	s.Lock()
	defer s.Unlock()
	if s.closed {
		return
	}
	v := e.value.Load()
	held, ok := c.second.Get(e.hash)
	if !ok || held.key != e.key {
		c.counts.rejected.Add(1)
		c.leave(e, item.Cost)
		return
	}
	// The value must not be lost with the Set, nor the time it may stay. This Set finds the hash, so it isn't queued
	// as new and can't come back here.
	if held != e {
		if !held.value.advance(v) {
			return
		}
		c.first.drop(e)
		c.first.keep(held, newcomer)
	}
	c.second.SetWithTTL(e.hash, held, item.Cost, max(time.Duration(v.expires-c.Now()), 0)+linger)
}

// evicted is called by ristretto, on its goroutine, for a cell that it has let go: for room, or because it expired.
func (c *Cache[K, V]) evicted(item *ristretto.Item[*cell[K, V]]) {
	e := item.Value
	if e == nil { // a key that its policy knew and its map did not
		return
	}
	s := c.shardOf(e.hash)
	s.Lock()
	defer s.Unlock()
	if s.closed {
		return
	}
	if item.Expiration.IsZero() {
		c.counts.evicted.Add(1)
	} else {
		c.counts.expired.Add(1)
	}
	c.leave(e, item.Cost)
}

// leave settles what becomes of a cell that ristretto doesn't hold: the first level keeps it only if it is small, can
// still be served, and belongs to the places that may hold such.
func (c *Cache[K, V]) leave(e *cell[K, V], cost int64) {
	if cost > c.share || c.first.place(e.hash) >= maxLoose || !c.fresh(e.value.Load(), c.Now()) {
		c.first.drop(e)
	}
}
