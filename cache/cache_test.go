package cache

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, cost := range []int64{0, -1} {
		if _, err := New(Options[int, int]{MaxCost: cost}); err == nil {
			t.Errorf("MaxCost %d is accepted", cost)
		}
	}
	for _, cost := range []int64{1, 2, math.MaxInt64} {
		c, err := New(Options[int, int]{MaxCost: cost, Cost: func(int, int) int64 { return 0 }})
		if err != nil {
			t.Errorf("MaxCost %d: %v", cost, err)
			continue
		}
		c.Close()
	}
}

// fill stores values without waiting for anything.
func (c *Cache[K, V]) fill(key K, v V, ttl time.Duration) {
	hash := c.hashOf(key)
	s := c.shardOf(hash)
	s.Lock()
	defer s.Unlock()
	c.store(s, hash, key, &value[V]{value: v, expires: c.Now() + Instant(ttl), epoch: c.epoch.Load()})
}

// forget takes key out of the first level, as another that takes its place does.
func (c *Cache[K, V]) forget(key K) {
	hash := c.hashOf(key)
	if e := c.first.find(hash, key); e != nil {
		c.first.drop(e)
	}
}

// Every key has the same hash: nothing may mix, hang or be served late.
func TestCollisionsNeverMix(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{Hash: func(string) uint64 { return 42 }})
		defer c.Close()
		const keys = 10
		release := make(chan struct{})
		var calls [keys][2]<-chan answer
		for i := range calls {
			key := fmt.Sprint(i)
			calls[i] = [2]<-chan answer{
				begin(t.Context(), c, key, blocked(release, "v"+key)),
				begin(t.Context(), c, key, blocked(release, "not joined")),
			}
		}
		close(release)
		for i := range calls {
			for j, call := range calls[i] {
				if got := <-call; got.Value != fmt.Sprint("v", i) || got.How != How(j) {
					t.Errorf("call %d of key %d: %+v", j, i, got)
				}
			}
		}
		if s := c.Stats(); s.Loads != keys {
			t.Errorf("%d loads for %d keys", s.Loads, keys)
		}
		hits := 0
		for round := range 50 {
			for i := range keys {
				key := fmt.Sprint(i)
				if v, ok := c.Get(key, c.Now()); ok && v != "v"+key {
					t.Fatalf("Get(%s) = %q", key, v)
				}
				if got := <-begin(t.Context(), c, key, returns("v"+key, time.Duration(i+1)*time.Second)); got.Value != "v"+key {
					t.Fatalf("Do(%s) = %+v", key, got)
				}
				if v, ok := c.Get(key, c.Now()); ok && v != "v"+key {
					t.Fatalf("Get(%s) = %q", key, v)
				} else if ok {
					hits++
				}
			}
			if round%10 == 9 {
				time.Sleep(keys * time.Second)
			}
		}
		if hits == 0 {
			t.Error("colliding keys are never cached at all")
		}
		time.Sleep(2 * time.Hour)
		for i := range keys {
			if v, ok := c.Get(fmt.Sprint(i), c.Now()); ok {
				t.Errorf("Get(%d) = %q after its end", i, v)
			}
		}
	})
}

func TestExpiryIsExact(t *testing.T) {
	t.Parallel()
	f := func(name string, before func(*Cache[string, string])) {
		synctest.Test(t, func(t *testing.T) {
			c := open(t, Options[string, string]{})
			defer c.Close()
			<-begin(t.Context(), c, "k", returns("v", 10*time.Second))
			get := func(want bool) {
				t.Helper()
				before(c)
				if _, ok := c.Get("k", c.Now()); ok != want {
					t.Errorf("%s: at %v a hit is %t", name, time.Duration(c.Now()), ok)
				}
			}
			time.Sleep(10*time.Second - 1)
			get(true)
			time.Sleep(time.Nanosecond)
			get(false)
			time.Sleep(time.Minute)
			get(false)
		})
	}
	f("first level", func(*Cache[string, string]) {})
	f("second level", func(c *Cache[string, string]) { c.first.clear() })
}

func TestLongestLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		defer c.Close()
		<-begin(t.Context(), c, "k", returns("v", math.MaxInt64))
		if _, ok := c.Get("k", c.Now()+Instant(99*365*24*time.Hour)); !ok {
			t.Error("the longest life there is ended within 99 years")
		}
		time.Sleep(time.Hour)
		c.forget("k")
		if _, ok := c.Get("k", c.Now()); !ok {
			t.Error("the longest life there is ended within the hour in the second level")
		}
	})
}

// The last value stored stays, in both levels, although the first forgets in between.
func TestSecondSetIsNotLost(t *testing.T) {
	t.Parallel()
	c, err := New(Options[int, string]{MaxCost: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const rounds = 2000
	for key := range rounds {
		c.fill(key, "allow", time.Hour)
		c.forget(key)
		c.fill(key, "deny", time.Hour)
	}
	for key := range rounds {
		hash := c.hashOf(key)
		held := c.shardOf(hash).find(hash, key)
		if e := c.first.find(hash, key); held == nil || e != nil && e != held {
			t.Fatalf("key %d: the levels hold two cells, and an eviction frees but one", key)
		}
	}
	c.first.clear()
	for key := range rounds {
		if v, _ := c.Get(key, c.Now()); v != "deny" {
			t.Fatalf("key %d: %q stays where %q was stored", key, v, "deny")
		}
	}
}

// The same by the front door: a value that has expired by the time it is asked for again.
func TestExpireAndLoadAgainAtOnce(t *testing.T) {
	t.Parallel()
	c := open(t, Options[string, string]{MaxCost: 100_000})
	defer c.Close()
	for i := range 1000 {
		key := fmt.Sprint(i)
		if l, err := c.Do(context.Background(), key, returns("allow", 1)); err != nil || l.How != Missed {
			t.Fatal(l, err)
		}
		for began := c.Now(); c.Now() == began; { // one tick of the clock is more than the value's life
		}
		if l, err := c.Do(context.Background(), key, returns("deny", time.Hour)); err != nil || l.Value != "deny" {
			t.Fatal(l, err)
		}
		if v, ok := c.Get(key, c.Now()); !ok || v != "deny" {
			t.Fatalf("Get = %q, %t just after the load", v, ok)
		}
	}
	c.first.clear()
	for i := range 1000 {
		if v, ok := c.Get(fmt.Sprint(i), c.Now()); !ok || v != "deny" {
			t.Fatalf("key %d: %q, %t, want what was stored last", i, v, ok)
		}
	}
}

// The second value has its own life, not that of the first.
func TestSecondSetProlongs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{MaxCost: 100_000})
		defer c.Close()
		for i := range 500 {
			c.fill(fmt.Sprint(i), "short", time.Second)
			c.fill(fmt.Sprint(i), "long", time.Hour)
		}
		time.Sleep(time.Minute)
		c.first.clear()
		for i := range 500 {
			if v, _ := c.Get(fmt.Sprint(i), c.Now()); v != "long" {
				t.Fatalf("key %d: %q, want the value with an hour to live", i, v)
			}
		}
	})
}

func TestInvalidate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		defer c.Close()
		<-begin(t.Context(), c, "k", returns("old", time.Hour))
		now := c.Now()
		c.Invalidate()
		for range 2 {
			if v, ok := c.Get("k", now); ok {
				t.Errorf("Get = %q after Invalidate", v)
			}
			c.first.clear() // what the second level holds is as old
		}
		if got := <-begin(t.Context(), c, "k", returns("new", time.Hour)); got.Value != "new" || got.How != Missed {
			t.Errorf("Do after Invalidate = %+v", got)
		}
		synctest.Wait()
		for range 2 {
			if v, ok := c.Get("k", c.Now()); !ok || v != "new" {
				t.Errorf("Get = %q, %t, want the new value", v, ok)
			}
			c.first.clear()
		}
	})
}

// What is hit comes into the first level, and stays when newcomers want its place.
func TestHitsSettle(t *testing.T) {
	t.Parallel()
	c, err := New(Options[int, int]{MaxCost: 2, Hash: func(key int) uint64 { return uint64(key) << 32 }}) // the same places
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for key := 1; key <= 2; key++ {
		c.fill(key, key, time.Hour)
	}
	c.forget(2)
	for range 1000 {
		c.Get(2, c.Now())
	}
	if e := c.first.slots[settled].Load(); e == nil || e.key != 2 {
		t.Errorf("after a thousand hits another key has the better place: %+v", e)
	}
}

func TestSlotNeverGoesBack(t *testing.T) {
	t.Parallel()
	var s slot[int]
	f := func(epoch uint32, v, want int) {
		t.Helper()
		s.advance(&value[int]{value: v, epoch: epoch})
		if got := s.Load().value; got != want {
			t.Errorf("after %d of epoch %d: %d, want %d", v, epoch, got, want)
		}
	}
	f(1, 10, 10)
	f(1, 11, 11)
	f(2, 20, 20)
	f(1, 12, 20)
	f(2, 21, 21)
}

func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		<-begin(t.Context(), c, "k", returns("v", time.Hour))
		release := make(chan struct{})
		flying := begin(t.Context(), c, "flying", blocked(release, "v"))
		c.Close()
		c.Close()
		c.Invalidate()
		if _, ok := c.Get("k", c.Now()); ok {
			t.Error("Get hits after Close")
		}
		if c.epoch.Load() != closedEpoch {
			t.Error("an epoch has begun after Close")
		}
		close(release)
		if got := <-flying; got.Value != "v" || got.err != nil {
			t.Errorf("a load under way at Close returned %+v", got)
		}
		for range 2 {
			got := <-begin(t.Context(), c, "k", returns("v", time.Hour))
			if got.Value != "v" || got.How != Missed || got.err != nil {
				t.Errorf("Do after Close = %+v, want a load", got)
			}
		}
		c.Stats()
		for i := range c.first.slots {
			if c.first.slots[i].Load() != nil {
				t.Fatal("something is stored after Close")
			}
		}
	})
}

func TestStats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		defer c.Close()
		c.Get("k", c.Now())
		<-begin(t.Context(), c, "k", returns("v", time.Hour))
		<-begin(t.Context(), c, "e", func(context.Context) (string, time.Duration, error) { panic("p") })
		const gets = 100_000
		for range gets {
			c.Get("k", c.Now())
		}
		synctest.Wait()
		s := c.Stats()
		if s.Hits < gets*9/10 || s.Hits > gets*11/10 { // more than 5 standard deviations either way
			t.Errorf("%d hits, want about %d", s.Hits, gets)
		}
		s.Hits = 0
		if want := (Stats{Misses: 1, Loads: 2, Errors: 1, Stored: 1, Cost: 1, MaxCost: 1000}); s != want {
			t.Errorf("got  %+v\nwant %+v", s, want)
		}
	})
}

// Everything at once, for the race detector, until the cache closes under it.
func TestRace(t *testing.T) {
	t.Parallel()
	c, err := New(Options[int, int]{MaxCost: 50, Hash: func(k int) uint64 { return uint64(k % 100) }})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			for i := range 4000 {
				key := r.IntN(200)
				switch r.IntN(8) {
				case 0, 1, 2:
					if v, ok := c.Get(key, c.Now()); ok && v != key {
						t.Errorf("Get(%d) = %d", key, v)
					}
				case 3:
					c.Do(ctx, key, func(context.Context) (int, time.Duration, error) { return key, time.Hour, nil })
				default:
					l, err := c.Do(context.Background(), key, func(context.Context) (int, time.Duration, error) {
						return key, time.Duration(r.IntN(1000)) * time.Microsecond, nil
					})
					if err != nil || l.Value != key {
						t.Errorf("Do(%d) = %+v, %v", key, l, err)
					}
				}
				switch {
				case i%100 == 0:
					c.Invalidate()
					c.Stats()
				case i == 3000 && g == 0:
					wg.Go(c.Close)
				case i == 3000 && g == 1:
					wg.Go(c.Close)
				}
			}
		})
	}
	wg.Wait()
	c.Close()
}

// Whatever is called while the cache closes, and after.
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	for range 60 {
		c, err := New(Options[int, int]{MaxCost: 10})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for g := range 3 {
			wg.Go(func() {
				closed := 0
				for i := 0; closed < 200; i++ {
					if c.epoch.Load() == closedEpoch {
						closed++
					}
					switch g {
					case 0:
						c.Get(-i, c.Now())
					case 1:
						c.Do(context.Background(), i%5, func(context.Context) (int, time.Duration, error) { return i, time.Hour, nil })
					default:
						c.Get(i%5, 0)
					}
				}
			})
		}
		c.Do(context.Background(), 1, func(context.Context) (int, time.Duration, error) { return 1, time.Hour, nil })
		c.Close()
		wg.Wait()
	}
}
