// Package caches puts caches that verdicts could be kept in behind one interface, for benchmarks.
//
// Each is used as its documentation advises, with a verdict's key: the fingerprint of the rules and the image as it was
// sent, which all of them compare in full. Each entry ends by itself.
package caches

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/maypok86/otter/v2"
	"github.com/puzpuzpuz/xsync/v4"

	"sluice/cache"
)

// Key is what a verdict is kept under.
type Key struct {
	Rules [32]byte
	Image string
}

// Verdict stands for what is kept.
type Verdict struct{ Allowed bool }

// Store is a cache. Its methods may be called concurrently.
type Store interface {
	// Get returns what was set, unless it has ended or was pushed out. It reads the clock itself.
	Get(k Key) (*Verdict, bool)
	Set(k Key, v *Verdict)
	Close()
}

// TTL is the life of all entries.
const TTL = 5 * time.Minute

// Maker makes a store with room for so many entries.
type Maker struct {
	Name    string
	New     func(entries int) Store
	Bounded bool
}

// Makers lists the caches.
func Makers() []Maker {
	return []Maker{
		{"sluice", newSluice, true},
		{"ristretto", newRistretto, true},
		{"otter", newOtter, true},
		{"xsync", func(n int) Store {
			return &xsyncStore{m: xsync.NewMap[Key, entry](xsync.WithPresize(n)), base: time.Now()}
		}, false},
		{"sync.Map", func(int) Store { return &syncStore{base: time.Now()} }, false},
		{"map behind a pointer", newCopied, false},
	}
}

// sluiceStore is sluice/cache: ristretto with a first level that takes no lock.
type sluiceStore struct {
	*cache.Cache[Key, *Verdict]
}

func newSluice(entries int) Store {
	c, err := cache.New(cache.Options[Key, *Verdict]{MaxCost: int64(entries)})
	if err != nil {
		panic(err) // only for sizes that are not positive
	}
	return sluiceStore{c}
}

func (s sluiceStore) Get(k Key) (*Verdict, bool) { return s.Cache.Get(k, s.Now()) }

func (s sluiceStore) Set(k Key, v *Verdict) {
	_, _ = s.Do(context.Background(), k, func(context.Context) (*Verdict, time.Duration, error) { return v, TTL, nil })
}

// ristrettoStore is ristretto by itself. Its keys are hashes, so that the whole one is kept and compared beside.
type ristrettoStore struct {
	c *ristretto.Cache[string, ristrettoEntry]
}

type ristrettoEntry struct {
	key     string
	verdict *Verdict
}

func newRistretto(entries int) Store {
	c, err := ristretto.NewCache(&ristretto.Config[string, ristrettoEntry]{
		NumCounters: int64(10 * entries), MaxCost: int64(entries), BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		panic(err)
	}
	return ristrettoStore{c}
}

func (k *Key) text() string { return string(k.Rules[:]) + k.Image }

func (s ristrettoStore) Get(k Key) (*Verdict, bool) {
	text := k.text()
	e, ok := s.c.Get(text)
	return e.verdict, ok && e.key == text
}

func (s ristrettoStore) Set(k Key, v *Verdict) {
	text := k.text()
	s.c.SetWithTTL(text, ristrettoEntry{text, v}, 1, TTL)
}

func (s ristrettoStore) Close() { s.c.Close() }

type otterStore struct{ c *otter.Cache[Key, *Verdict] }

func newOtter(entries int) Store {
	return otterStore{otter.Must(&otter.Options[Key, *Verdict]{
		MaximumSize: entries, ExpiryCalculator: otter.ExpiryWriting[Key, *Verdict](TTL),
	})}
}

func (s otterStore) Get(k Key) (*Verdict, bool) { return s.c.GetIfPresent(k) }
func (s otterStore) Set(k Key, v *Verdict)      { s.c.Set(k, v) }
func (s otterStore) Close()                     { s.c.StopAllGoroutines() }

// entry is for maps that know no lifetimes.
type entry struct {
	verdict *Verdict
	ends    time.Duration
}

type xsyncStore struct {
	m    *xsync.Map[Key, entry]
	base time.Time
}

func (s *xsyncStore) Get(k Key) (*Verdict, bool) {
	e, ok := s.m.Load(k)
	return e.verdict, ok && time.Since(s.base) < e.ends
}

func (s *xsyncStore) Set(k Key, v *Verdict) { s.m.Store(k, entry{v, time.Since(s.base) + TTL}) }
func (s *xsyncStore) Close()                {}

type syncStore struct {
	m    sync.Map
	base time.Time
}

func (s *syncStore) Get(k Key) (*Verdict, bool) {
	found, ok := s.m.Load(k)
	if !ok {
		return nil, false
	}
	e := found.(*entry)
	return e.verdict, time.Since(s.base) < e.ends
}

func (s *syncStore) Set(k Key, v *Verdict) { s.m.Store(k, &entry{v, time.Since(s.base) + TTL}) }
func (s *syncStore) Close()                {}

// copiedStore is a map that nobody changes. Whoever sets the last of a batch puts a new one in its place; here there is
// one batch.
type copiedStore struct {
	current atomic.Pointer[map[Key]entry]
	next    map[Key]entry
	size    int
	base    time.Time
}

func newCopied(entries int) Store {
	s := &copiedStore{next: make(map[Key]entry, entries), size: entries, base: time.Now()}
	s.current.Store(&map[Key]entry{})
	return s
}

func (s *copiedStore) Get(k Key) (*Verdict, bool) {
	e, ok := (*s.current.Load())[k]
	return e.verdict, ok && time.Since(s.base) < e.ends
}

func (s *copiedStore) Set(k Key, v *Verdict) {
	s.next[k] = entry{v, time.Since(s.base) + TTL}
	if len(s.next) == s.size {
		s.current.Store(&s.next)
	}
}

func (s *copiedStore) Close() {}
