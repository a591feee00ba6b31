package cache

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// A cache with room for everything is a map with a clock: random calls, compared with such a map. In between, the first
// level forgets now and then, so that the second answers too.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	type fact struct {
		value int
		ends  time.Time
	}
	f := func(name string, hash func(int) uint64, exact bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			c, err := New(Options[int, int]{MaxCost: 1000, Hash: hash})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			model := map[int]fact{}
			r := rand.New(rand.NewPCG(2, 2))
			hits, misses := 0, 0
			for step := range 8000 {
				key := r.IntN(40)
				want, there := model[key]
				there = there && time.Now().Before(want.ends)
				check := func(v int, ok bool) {
					t.Helper()
					switch {
					case ok && (!there || v != want.value):
						t.Fatalf("%s, step %d: key %d = %d, and the model has %+v, fresh: %t", name, step, key, v, want, there)
					case !ok && there && exact:
						t.Fatalf("%s, step %d: key %d is lost", name, step, key)
					case ok:
						hits++
					default:
						misses++
					}
				}
				switch op := r.IntN(100); {
				case op < 40:
					v, ok := c.Get(key, c.Now())
					check(v, ok)
				case op < 80:
					ttl := time.Duration(r.IntN(20)-2) * time.Second
					l, err := c.Do(t.Context(), key, func(context.Context) (int, time.Duration, error) { return step, ttl, nil })
					if err != nil {
						t.Fatal(err)
					}
					if l.How != Hit && l.Value != step {
						t.Fatalf("%s, step %d: loaded %d, got %+v", name, step, step, l)
					}
					check(l.Value, l.How == Hit)
					if l.How == Hit && l.TTL != time.Until(want.ends) {
						t.Fatalf("%s, step %d: %v left, want %v", name, step, l.TTL, time.Until(want.ends))
					}
					if l.How == Missed {
						delete(model, key)
						if ttl > 0 {
							model[key] = fact{step, time.Now().Add(ttl)}
						}
					}
				case op < 95:
					time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
				case op < 99:
					c.first.clear()
				default:
					c.Invalidate()
					clear(model)
				}
			}
			if hits < 500 || misses < 500 {
				t.Errorf("%s: %d hits and %d misses say little", name, hits, misses)
			}
		})
	}
	f("seeded hash", nil, true)
	f("few hashes", func(k int) uint64 { return uint64(k % 5) }, false)
}
