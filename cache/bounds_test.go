package cache

import (
	"runtime"
	"slices"
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

// Large values are let go with the second level, although the first has places for them all.
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
		if s := c.Stats(); s.Cost <= 0 || s.Cost > s.MaxCost || s.Evicted == 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute + swept)
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

func mustNew[K comparable, V any](t *testing.T, o Options[K, V]) *Cache[K, V] {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// swept is how long it takes until all that has ended is gone.
const swept = (sweepParts + 2) * sweepEvery

// Entries are held up to the capacity, to one.
func TestEntriesKeepToMaxCost(t *testing.T) {
	t.Parallel()
	for _, room := range []int{1, 2, 100, 5_000} {
		c, err := New(Options[int, *[16]byte]{MaxCost: int64(room)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var values []weak.Pointer[[16]byte]
		for key := range 5 * room {
			v := new([16]byte)
			values = append(values, weak.Make(v))
			c.fill(key, v, time.Hour)
			if _, ok := c.Get(key, c.Now()); !ok {
				t.Fatal("what was just stored is not there")
			}
		}
		if n := retained(values); n != room {
			t.Errorf("%d entries are held, want %d", n, room)
		}
		if s := c.Stats(); s.Cost != int64(room) || s.Evicted != uint64(4*room) {
			t.Errorf("%+v, want %d held", s, room)
		}
		c.fill(-1, nil, time.Hour)
	}
}

// A value that grows makes room for itself, and one that has become too large is not held any more.
func TestValuesThatGrow(t *testing.T) {
	t.Parallel()
	c := mustNew(t, Options[int, string]{MaxCost: 100, Cost: func(_ int, v string) int64 { return int64(len(v)) }})
	defer c.Close()
	for key := range 10 {
		c.fill(key, "0123456789", time.Hour)
	}
	check := func(want int64, there ...int) {
		t.Helper()
		var keys []int
		for key := range 10 {
			if _, ok := c.Get(key, 0); ok {
				keys = append(keys, key)
			}
		}
		if s := c.Stats(); s.Cost != want || !slices.Equal(keys, there) {
			t.Errorf("%v are held, of cost %d; want %v, of %d", keys, s.Cost, there, want)
		}
	}
	check(100, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	c.fill(3, string(make([]byte, 80)), time.Hour)
	check(100, 3, 8, 9)
	c.fill(3, string(make([]byte, 101)), time.Hour)
	check(20, 8, 9)
	c.fill(3, "0", time.Hour)
	c.Drop(8)
	check(11, 3, 9)
}

// What has ended goes first, and then what has not been asked for.
func TestOrderOfEviction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := mustNew(t, Options[int, int]{MaxCost: 4})
		defer c.Close()
		c.fill(1, 1, time.Hour)
		c.fill(2, 2, time.Hour)
		c.fill(3, 3, time.Minute)
		c.fill(4, 4, time.Hour)
		c.Get(1, c.Now())
		c.Get(3, c.Now())
		held := func(want ...int) {
			t.Helper()
			s := &c.shards[0]
			var keys []int
			s.RLock()
			for e := s.oldest; e != nil; e = e.newer {
				keys = append(keys, e.key)
			}
			s.RUnlock()
			if !slices.Equal(keys, want) {
				t.Errorf("%v are held, want %v", keys, want)
			}
		}
		c.fill(5, 5, time.Hour) // the hand passes over 1, which is used
		held(1, 3, 4, 5)
		time.Sleep(sweepEvery / 2)
		c.fill(6, 6, time.Hour) // 3 is used, too
		held(1, 3, 5, 6)
		c.fill(7, 7, time.Hour) // 5 and 6 come before 1
		held(1, 3, 6, 7)
		time.Sleep(time.Minute + swept)
		held(1, 6, 7)
	})
}

// With a cost and few entries, shards have one or none: others make room.
func TestRoomInOtherShards(t *testing.T) {
	t.Parallel()
	c := mustNew(t, Options[int, int]{MaxCost: 10 << 20, Cost: func(int, int) int64 { return 1 << 20 }})
	defer c.Close()
	if len(c.shards) != maxShards {
		t.Fatalf("%d shards", len(c.shards))
	}
	for key := range 1000 {
		c.fill(key, key, time.Hour)
		if s := c.Stats(); s.Cost > s.MaxCost {
			t.Fatalf("%d is held", s.Cost)
		}
	}
	if s := c.Stats(); s.Cost != s.MaxCost {
		t.Errorf("%d is held of %d", s.Cost, s.MaxCost)
	}
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
		time.Sleep(time.Minute + swept)
		synctest.Wait()
		if n := retained(values); n != 0 {
			t.Errorf("%d entries are held after their end", n)
		}
		c.fill(-1, nil, time.Minute)
	})
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
	}
	if most := hot * rounds / 100; missed > most {
		t.Errorf("%d misses of keys in use, want %d at most", missed, most)
	}
}
