package cache

import (
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// Memo is a bounded, lock-free table of what was found out before: Get and Put never wait, and a new entry may push
// out an older one that hashes to the same place. It never grows, and knows no time.
//
// It is for values that are a function of their key. Of two Puts of one key at the same time, either may stay.
// Full keys are compared, so a Get never returns another key's value. A Memo is safe for concurrent use and is made
// by [NewMemo].
type Memo[K comparable, V any] struct {
	seed  maphash.Seed
	slots []atomic.Pointer[entry[K, V]] // sets of two neighbours; len is a power of two and at least two
}

// entry is immutable but for what a V may hide inside, so a reader needs no more than the pointer.
type entry[K comparable, V any] struct {
	hash  uint64
	key   K
	value V

	// Of a Cache's entry alone, and but for used guarded by its shard's lock. (They would be part of a type of the cache's
	// own, if the compiler could import one that goes around in such a circle.)
	newer, older *entry[K, V] // in the shard's queue
	cost         uint32
	used         atomic.Bool // since the hand came by: see [Cache.evict]
}

// use notes that the entry is in use. It writes nothing if that is known.
func (e *entry[K, V]) use() {
	if !e.used.Load() {
		e.used.Store(true)
	}
}

// A key has two places, which are neighbours and so share a cache line. An entry takes an empty one. Where there is
// none, a cache's entry goes to the newcomers' place, and moves once it has been hit: so that any number of entries that
// are asked for once does not push out those in use.
const (
	settled  = 0
	newcomer = 1
	ways     = 2
)

// NewMemo makes a table of at least size places, rounded up to a power of two.
func NewMemo[K comparable, V any](size int) *Memo[K, V] {
	size = min(max(size, ways), 1<<30)
	return &Memo[K, V]{
		seed:  maphash.MakeSeed(),
		slots: make([]atomic.Pointer[entry[K, V]], 1<<bits.Len(uint(size-1))),
	}
}

// Get returns what was Put for key, if it is still there. It allocates nothing and keeps nothing of key.
func (m *Memo[K, V]) Get(key K) (V, bool) {
	if e := m.find(maphash.Comparable(m.seed, key), key); e != nil {
		return e.value, true
	}
	var none V
	return none, false
}

// Put remembers value for key. Both are kept: the caller must not change what they point to.
func (m *Memo[K, V]) Put(key K, value V) {
	m.keep(&entry[K, V]{hash: maphash.Comparable(m.seed, key), key: key, value: value}, rand.IntN(ways))
}

// place returns the first of the places that a hash may be in.
func (m *Memo[K, V]) place(hash uint64) uint64 { return hash & uint64(len(m.slots)-1) &^ (ways - 1) }

// set returns the places that a hash may be in.
func (m *Memo[K, V]) set(hash uint64) []atomic.Pointer[entry[K, V]] {
	first := m.place(hash)
	return m.slots[first : first+ways : first+ways]
}

// find returns the entry of key, or nil. Comparing the hash first spares the memory of the other key.
func (m *Memo[K, V]) find(hash uint64, key K) *entry[K, V] {
	set := m.set(hash)
	for i := range set {
		if e := set[i].Load(); e != nil && e.hash == hash && e.key == key {
			return e
		}
	}
	return nil
}

// keep puts an entry in the place that its key has already, else in an empty one, else in the given one.
func (m *Memo[K, V]) keep(e *entry[K, V], place int) {
	set := m.set(e.hash)
	empty := false
	for i := range set {
		old := set[i].Load()
		switch {
		case old == e:
			return
		case old == nil:
			if !empty {
				place, empty = i, true
			}
		case old.hash == e.hash && old.key == e.key:
			set[i].Store(e)
			return
		}
	}
	set[place].Store(e)
}

// isSettled tells whether an entry has the better place.
func (m *Memo[K, V]) isSettled(e *entry[K, V]) bool { return m.set(e.hash)[settled].Load() == e }

// settle moves a newcomer to where the next newcomer does not push it out, in exchange for what is there. Neither may be
// dropped meanwhile: it would come back.
func (m *Memo[K, V]) settle(e *entry[K, V]) {
	set := m.set(e.hash)
	if old := set[settled].Load(); old != e && set[newcomer].CompareAndSwap(e, old) {
		set[settled].Store(e)
	}
}

// drop lets go of this very entry, wherever it is. Another entry of its key stays.
func (m *Memo[K, V]) drop(e *entry[K, V]) {
	set := m.set(e.hash)
	for i := range set {
		set[i].CompareAndSwap(e, nil)
	}
}

// clear lets go of everything.
func (m *Memo[K, V]) clear() {
	for i := range m.slots {
		m.slots[i].Store(nil)
	}
}
