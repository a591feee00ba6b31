package cache

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"
)

// retained counts the values that the garbage collector can't free.
func retained[T any](values []weak.Pointer[T]) int {
	runtime.GC()
	n := 0
	for _, w := range values {
		if w.Value() != nil {
			n++
		}
	}
	return n
}

type big [64 << 10]byte

// Large values are let go when ristretto lets go of them, although the first level has places for them all.
func TestLargeValuesKeepToMaxCost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const room = 20
		c, err := New(Options[int, *big]{
			MaxCost: room * int64(len(big{})),
			Cost:    func(_ int, b *big) int64 { return int64(len(b)) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var values []weak.Pointer[big]
		for key := range 20 * room {
			b := new(big)
			values = append(values, weak.Make(b))
			c.fill(key, b, time.Minute)
			if key%3 == 0 {
				synctest.Wait()
			}
			c.Get(key/2, c.Now())
		}
		synctest.Wait()
		if n := retained(values); n == 0 || n > room {
			t.Errorf("%d large values are held, and MaxCost is %d of them", n, room)
		}
		if s := c.Stats(); s.Cost <= 0 || s.Cost > s.MaxCost || s.Evicted+s.Rejected == 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute + 15*time.Second) // ristretto sweeps by buckets of 5 s
		synctest.Wait()
		if n := retained(values); n != 0 {
			t.Errorf("%d large values are held after their end", n)
		}
		if s := c.Stats(); s.Cost != 0 || s.Expired == 0 {
			t.Errorf("%+v, want nothing held", s)
		}
		c.fill(-1, new(big), time.Minute) // so that the cache, and the first level with it, lives until here
	})
}

func TestTooLargeIsHandedOutOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{MaxCost: 100, Cost: func(_, v string) int64 { return int64(len(v)) }})
		defer c.Close()
		large := string(make([]byte, 101))
		if got := <-begin(t.Context(), c, "k", returns(large, time.Hour)); got.Value != large || got.err != nil {
			t.Errorf("Do = %+v", got)
		}
		synctest.Wait()
		if _, ok := c.Get("k", c.Now()); ok {
			t.Error("a value larger than the cache is held")
		}
	})
}

// Small entries that found no room in ristretto may stay in the first level, and no more than it has places.
func TestSmallEntriesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const room = 100
		c, err := New(Options[int, *[16]byte]{MaxCost: room})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var values []weak.Pointer[[16]byte]
		for key := range 50 * room {
			v := new([16]byte)
			values = append(values, weak.Make(v))
			c.fill(key, v, time.Hour)
			if _, ok := c.Get(key, c.Now()); !ok {
				t.Fatal("what was just stored is not there")
			}
		}
		synctest.Wait()
		if n, most := retained(values), room+len(c.first.slots); n < room || n > most {
			t.Errorf("%d entries are held, want %d to %d", n, room, most)
		}
		c.fill(-1, nil, time.Hour)
	})
}

// What has expired is let go, however small.
func TestExpiredEntriesAreLetGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Options[int, *[16]byte]{MaxCost: 1000})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var values []weak.Pointer[[16]byte]
		for key := range 100 {
			v := new([16]byte)
			values = append(values, weak.Make(v))
			c.fill(key, v, time.Minute)
		}
		synctest.Wait()
		if n := retained(values); n != len(values) {
			t.Errorf("%d of %d entries are held, and there is room for all", n, len(values))
		}
		time.Sleep(time.Minute + 15*time.Second)
		synctest.Wait()
		if n := retained(values); n != 0 {
			t.Errorf("%d entries are held after their end", n)
		}
		c.fill(-1, nil, time.Minute)
	})
}

// With its queue full, ristretto drops a Set. A large value then goes with it, a small one stays in the first level.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	c, err := New(Options[int, string]{
		MaxCost: 1000,
		Cost:    func(_ int, v string) int64 { return int64(len(v)) },
		Hash:    func(k int) uint64 { return uint64(k) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const held = 5 // this shard's lock keeps ristretto waiting in its report that it refuses an entry
	s := c.shardOf(held)
	s.Lock()
	c.store(held, held, &value[string]{value: string(make([]byte, 2000)), expires: Instant(time.Hour)}, time.Hour)
	for key := held + 1; key < 40_000; key++ {
		if c.shardOf(uint64(key)) != s {
			c.fill(key, "large", time.Hour)
		}
	}
	c.fill(40_000, "s", time.Hour)
	_, large := c.Get(39_999, c.Now())
	_, small := c.Get(40_000, c.Now())
	s.Unlock()
	if large || !small {
		t.Errorf("large value held: %t, small: %t, want the small one only", large, small)
	}
}

// What is asked for again and again stays, however much else is asked for once.
func TestFloodDoesNotPushOutWhatIsInUse(t *testing.T) {
	t.Parallel()
	c, err := New(Options[int, int]{MaxCost: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const hot, rounds = 100, 300
	missed := 0
	for round := range rounds {
		for key := range hot {
			if _, ok := c.Get(key, c.Now()); !ok {
				c.fill(key, key, time.Hour)
				if round >= rounds/3 {
					missed++
				}
			}
			junk := -(round*hot + key + 1)
			c.Get(junk, c.Now())
			c.fill(junk, junk, time.Hour)
		}
		c.second.Wait()
	}
	if most := hot * rounds / 10; missed > most {
		t.Errorf("%d misses of keys in use, want %d at most", missed, most)
	}
}
