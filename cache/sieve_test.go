package cache

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// atRest tells what is wrong with the levels of a cache that nobody uses at the moment.
func (c *Cache[K, V]) atRest(t *testing.T) {
	t.Helper()
	for i := range c.shards { // the sweeps may be at work
		c.shards[i].RLock()
		defer c.shards[i].RUnlock()
	}
	var sum int64
	for i := range c.shards {
		s := &c.shards[i]
		n, hand, broom := 0, s.hand == nil, s.broom == nil
		var older *cell[K, V]
		for e := s.oldest; e != nil; older, e = e, e.newer {
			n++
			sum += int64(e.cost)
			hand, broom = hand || e == s.hand, broom || e == s.broom
			if e.older != older || s.cells[e.hash] != e || c.shardOf(e.hash) != s {
				t.Errorf("shard %d: entry %v is linked wrongly, or not found", i, e.key)
			}
			if n > len(s.cells) {
				break
			}
		}
		if older != s.newest || n != len(s.cells) {
			t.Errorf("shard %d: %d entries are queued, and %d found", i, n, len(s.cells))
		}
		if !hand || !broom {
			t.Errorf("shard %d: the hand or the broom is at an entry that is gone", i)
		}
	}
	if held := c.held.Load(); held != sum {
		t.Errorf("%d is said to be held, and it is %d", held, sum)
	}
	for i := range c.first.slots {
		if e := c.first.slots[i].Load(); e != nil && c.shardOf(e.hash).find(e.hash, e.key) != e {
			t.Errorf("the first level has an entry of %v that the second has not", e.key)
		}
	}
}

// sieve is what a shard does, written down once more: the oldest first, and the hand by its place.
type sieve struct {
	queue []*sieved
	hand  *sieved
	held  int
	most  int
}

type sieved struct {
	key, value, cost int
	ends             time.Time
	used             bool
}

func (s *sieve) find(key int) int {
	return slices.IndexFunc(s.queue, func(e *sieved) bool { return e.key == key })
}

func (s *sieve) at(i int) *sieved {
	if i < len(s.queue) {
		return s.queue[i]
	}
	return nil
}

func (s *sieve) remove(i int) {
	if s.hand == s.queue[i] {
		s.hand = s.at(i + 1)
	}
	s.held -= s.queue[i].cost
	s.queue = slices.Delete(s.queue, i, i+1)
}

func (s *sieve) makeRoom(stay *sieved) {
	for s.held > s.most {
		i := max(slices.Index(s.queue, s.hand), 0)
		e := s.queue[i]
		s.hand = s.at(i + 1)
		switch ended := !time.Now().Before(e.ends); {
		case e == stay:
		case e.used && !ended:
			e.used = false
		default:
			s.remove(i)
		}
	}
}

func (s *sieve) fill(key, value, cost int, ends time.Time) {
	i := s.find(key)
	switch {
	case cost > s.most && i >= 0:
		s.remove(i)
	case cost > s.most:
	case i >= 0:
		e := s.queue[i]
		s.held += cost - e.cost
		e.value, e.cost, e.ends = value, cost, ends
		s.makeRoom(e)
	default:
		s.held += cost
		s.makeRoom(nil)
		s.queue = append(s.queue, &sieved{key, value, cost, ends, false})
	}
}

// One shard against a queue that is written down plainly: the same entries in the same order after each step, with
// costs, lifetimes, growth and drops.
func TestAgainstSieve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most, keys = 60, 40
		c := mustNew(t, Options[int, [2]int]{MaxCost: most, Cost: func(_ int, v [2]int) int64 { return int64(v[1]) }})
		defer c.Close()
		if len(c.shards) != 1 {
			t.Fatalf("%d shards", len(c.shards))
		}
		close(c.stop) // sweeps have an order of their own
		c.sweeps.Wait()
		c.stop = make(chan struct{})
		model := &sieve{most: most}
		r := rand.New(rand.NewPCG(4, 4))
		for step := range 20_000 {
			key := int(r.ExpFloat64()*keys/4) % keys
			switch op := r.IntN(100); {
			case op < 35:
				cost, ttl := 1+r.IntN(8), time.Duration(1+r.IntN(300))*time.Second
				if r.IntN(200) == 0 {
					cost = most + r.IntN(2)
				}
				c.fill(key, [2]int{step, cost}, ttl)
				model.fill(key, step, cost, time.Now().Add(ttl))
			case op < 85:
				v, ok := c.Get(key, c.Now())
				i := model.find(key)
				if want := i >= 0 && time.Now().Before(model.queue[i].ends); ok != want || ok && v[0] != model.queue[i].value {
					t.Fatalf("step %d: Get(%d) = %v, %t, want a hit: %t", step, key, v, ok, want)
				}
				if ok {
					model.queue[i].used = true
				}
			case op < 88:
				c.Drop(key)
				if i := model.find(key); i >= 0 {
					model.remove(i)
				}
			case op < 92:
				c.forget(key)
			default:
				time.Sleep(time.Duration(r.IntN(20)) * time.Second)
			}
			var got, want []sieved
			for e := c.shards[0].oldest; e != nil; e = e.newer {
				v := e.value.Load()
				got = append(got, sieved{key: e.key, value: v.value[0], cost: int(e.cost), used: e.used.Load()})
			}
			for _, e := range model.queue {
				want = append(want, sieved{key: e.key, value: e.value, cost: e.cost, used: e.used})
			}
			if !slices.Equal(got, want) {
				t.Fatalf("step %d:\ngot  %v\nwant %v", step, got, want)
			}
			if step%100 == 0 {
				c.atRest(t)
			}
		}
	})
}

// A set of the first level is one shard's, whose lock then guards what an exchange of its two places takes for granted:
// that neither entry is let go meanwhile.
func TestShardsHaveTheirOwnPlaces(t *testing.T) {
	t.Parallel()
	for _, entries := range []int64{1, 100, 1000, 100_000} {
		c := mustNew(t, Options[int, int]{MaxCost: entries})
		defer c.Close()
		owners := map[uint64]*shard[int, int]{}
		for range 100_000 {
			hash := rand.Uint64()
			place := c.first.place(hash)
			if s, ok := owners[place]; ok && s != c.shardOf(hash) {
				t.Fatalf("%d entries: places %d belong to two shards", entries, place)
			}
			owners[place] = c.shardOf(hash)
		}
	}
}

// Shards share no cache line.
func TestShardSize(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(shard[int, int]{}); n%64 != 0 {
		t.Errorf("a shard is %d bytes", n)
	}
}

// Everything at once, with few places: then nothing is where it is not to be.
func TestLevelsAgreeAtRest(t *testing.T) {
	t.Parallel()
	f := func(name string, o Options[int, int]) {
		c := mustNew(t, o)
		defer c.Close()
		for round := range 20 {
			var wg sync.WaitGroup
			for g := range 4 {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(round), uint64(g)))
					for range 3000 {
						key := r.IntN(40)
						if r.IntN(4) == 0 {
							key = r.IntN(2000)
						}
						switch r.IntN(16) {
						case 0:
							c.Drop(key)
						case 1, 2, 3:
							c.fill(key, r.IntN(6), time.Duration(1+r.IntN(1000))*time.Microsecond)
						case 4, 5:
							c.Renew(context.Background(), key, time.Duration(r.IntN(2))*time.Hour,
								func(context.Context) (int, time.Duration, error) { return key % 7, time.Hour, nil })
						case 6:
							c.sweepShard(&c.shards[r.IntN(len(c.shards))])
						case 7:
							if r.IntN(300) == 0 {
								c.Invalidate()
							}
						default:
							c.Get(key, c.Now())
						}
					}
				})
			}
			wg.Wait()
			if c.atRest(t); t.Failed() {
				t.Fatalf("%s, round %d", name, round)
			}
		}
	}
	cost := func(_, v int) int64 { return int64(v) }
	f("one shard", Options[int, int]{MaxCost: 60, Cost: cost})
	f("two shards", Options[int, int]{MaxCost: 1000, Cost: cost, Entries: 256})
	f("many shards, little room", Options[int, int]{MaxCost: 1 << 20, Cost: func(_, v int) int64 { return int64(v) << 15 }})
	f("few places", Options[int, int]{
		MaxCost: 1000, Cost: cost, Hash: func(k int) uint64 { return uint64(k)<<32 | uint64(k&7)<<60 },
	})
}

// What has been dropped is not brought back by another entry's exchange of places with it.
func TestExchangeWithWhatIsDropped(t *testing.T) {
	t.Parallel()
	c := mustNew(t, Options[int, int]{MaxCost: 1000, Hash: func(k int) uint64 { return uint64(k) << 32 }}) // the same places
	defer c.Close()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			c.fill(2, 2, time.Hour)
			if e := c.first.find(2<<32, 2); e != nil {
				c.use(e)
			}
			c.Drop(2)
		}
	})
	for i := range 200_000 {
		c.fill(1, 1, time.Hour)
		c.Drop(1)
		if _, ok := c.Get(1, c.Now()); ok {
			t.Errorf("round %d: what was dropped is there", i)
			break
		}
	}
	close(done)
	wg.Wait()
}

// Where each shard has an entry or none, none of them stays because of where it is.
func TestNoShardPaysForAll(t *testing.T) {
	t.Parallel()
	c := mustNew(t, Options[int, int]{
		MaxCost: 10 << 20, Cost: func(int, int) int64 { return 1 << 20 }, Hash: func(k int) uint64 { return uint64(k) * ways },
	})
	defer c.Close()
	for key := range len(c.shards) {
		c.fill(key, key, time.Hour)
	}
	for i := range 1000 {
		c.fill(i%(len(c.shards)/2), 0, time.Hour)
	}
	for key := len(c.shards) / 2; key < len(c.shards); key++ {
		if _, ok := c.Get(key, 0); ok {
			t.Errorf("%d is still there, a thousand others later", key)
		}
	}
	c.atRest(t)
}

// Room that could not be made because others were at work on their shards is made before long.
func TestRoomIsMadeLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := mustNew(t, Options[int, int]{
			MaxCost: 1 << 20, Cost: func(int, int) int64 { return 1 << 20 }, Hash: func(k int) uint64 { return uint64(k) * ways },
		})
		defer c.Close()
		c.fill(0, 0, time.Hour)
		c.shards[0].Lock()
		c.fill(1, 1, time.Hour)
		c.shards[0].Unlock()
		if s := c.Stats(); s.Cost != 2<<20 {
			t.Fatalf("%d is held", s.Cost)
		}
		time.Sleep(sweepEvery)
		synctest.Wait()
		if s := c.Stats(); s.Cost != s.MaxCost {
			t.Errorf("%d is held of %d", s.Cost, s.MaxCost)
		}
		c.atRest(t)
	})
}

// A value that is not held because of its cost takes away the one before it.
func TestTooCostlyTakesAwayWhatWas(t *testing.T) {
	t.Parallel()
	for _, o := range []struct{ most, cost int64 }{{100, 101}, {1 << 40, 1 << 32}} {
		c := mustNew(t, Options[int, int64]{MaxCost: o.most, Cost: func(_ int, v int64) int64 { return v }})
		defer c.Close()
		c.fill(1, 1, time.Hour)
		c.fill(1, o.cost, time.Hour)
		if v, ok := c.Get(1, 0); ok {
			t.Errorf("%d is still there, and %d was stored after it", v, o.cost)
		}
		c.atRest(t)
	}
}

// Where all are used, the lock is not held until none is.
func TestHandPassesOverABoundedNumber(t *testing.T) {
	t.Parallel()
	const n = 4 * maxPassed
	c := mustNew(t, Options[int, int]{MaxCost: n, Hash: func(k int) uint64 { return uint64(k) * maxShards * ways }}) // one shard's
	defer c.Close()
	for key := range n {
		c.fill(key, key, time.Hour)
		c.Get(key, 0)
	}
	c.fill(n, n, time.Hour)
	used := 0
	for e := c.shards[0].oldest; e != nil; e = e.newer {
		if e.used.Load() {
			used++
		}
	}
	if want := n - 1 - maxPassed; used != want {
		t.Errorf("%d of %d are known to be used after an eviction, want %d", used, n, want)
	}
	c.atRest(t)
}
