package caches

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// keys makes image names of a usual length.
func keys(n int) []Key {
	all := make([]Key, n)
	for i := range all {
		all[i] = Key{Rules: [32]byte{1, 2, 3}, Image: fmt.Sprintf("registry.example.com/team-%04d/service:v%06d", i%1000, i)}
	}
	return all
}

// fill sets all keys, and waits until those that work in the background have taken them in: or for a second, since a
// cache may refuse some.
func fill(s Store, all []Key) {
	verdict := &Verdict{Allowed: true}
	for range 100 {
		missing := 0
		for _, k := range all {
			if _, ok := s.Get(k); !ok {
				s.Set(k, verdict)
				missing++
			}
		}
		if missing == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Every cache gives back what was set, for the whole key only.
func TestStores(t *testing.T) {
	t.Parallel()
	for _, m := range Makers() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			all := keys(100)
			s := m.New(len(all))
			defer s.Close()
			if _, ok := s.Get(all[0]); ok {
				t.Error("an empty cache has something")
			}
			fill(s, all)
			held := 0
			for _, k := range all {
				v, ok := s.Get(k)
				if ok && (v == nil || !v.Allowed) {
					t.Fatalf("%v is kept under %s", v, k.Image)
				}
				if ok {
					held++
				}
				k.Rules[31] = 1
				if _, ok := s.Get(k); ok {
					t.Errorf("there is something under other rules and %s", k.Image)
				}
			}
			if held < 90 {
				t.Errorf("%d of 100 entries are held", held)
			}
		})
	}
}

// BenchmarkGet is a look-up that finds something, with the clock read and the end checked.
func BenchmarkGet(b *testing.B) {
	for _, n := range []int{100, 20_000} {
		all := keys(n)
		for _, m := range Makers() {
			room := n
			if m.Bounded {
				room = 2 * n // so that none is pushed out
			}
			s := m.New(room)
			fill(s, all)
			b.Run(fmt.Sprintf("%s/%d keys", m.Name, n), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					missed := 0
					for i := rand.IntN(n); pb.Next(); {
						if _, ok := s.Get(all[i]); !ok {
							missed++
						}
						if i++; i == n {
							i = 0
						}
					}
					if missed > b.N/20 {
						b.Errorf("%d of %d look-ups found nothing", missed, b.N)
					}
				})
			})
			s.Close()
		}
	}
}

// BenchmarkHitRatio looks up images as popular as Zipf's law makes them, and sets what is missing, in a cache with room
// for a hundredth or a tenth of them. The goroutines that work in the background get their turns.
func BenchmarkHitRatio(b *testing.B) {
	const images, lookups = 100_000, 500_000
	all := keys(images)
	for _, percent := range []int{1, 10} {
		for _, m := range Makers() {
			if !m.Bounded {
				continue
			}
			b.Run(fmt.Sprintf("%s/room for %d %%", m.Name, percent), func(b *testing.B) {
				found, asked := 0, 0
				for b.Loop() {
					s := m.New(images * percent / 100)
					zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.01, 1, images-1)
					verdict := &Verdict{Allowed: true}
					for i := range lookups {
						k := all[zipf.Uint64()]
						if _, ok := s.Get(k); ok {
							found++
						} else {
							s.Set(k, verdict)
						}
						if i%64 == 0 {
							runtime.Gosched()
						}
					}
					asked += lookups
					s.Close()
				}
				b.ReportMetric(float64(found)/float64(asked), "hits/look-up")
				b.ReportMetric(0, "ns/op") // says nothing
			})
		}
	}
}

// BenchmarkMemory is what an entry takes beside its key's text and its verdict.
func BenchmarkMemory(b *testing.B) {
	const entries = 100_000
	all := keys(entries)
	for _, m := range Makers() {
		b.Run(m.Name, func(b *testing.B) {
			var grown float64
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				s := m.New(entries)
				fill(s, all[:entries*9/10]) // so that few are refused
				if !m.Bounded {
					fill(s, all)
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				held := 0
				for _, k := range all {
					if _, ok := s.Get(k); ok {
						held++
					}
				}
				grown = float64(after.HeapAlloc-before.HeapAlloc) / float64(held)
				s.Close()
			}
			b.ReportMetric(grown, "B/entry")
			b.ReportMetric(0, "ns/op")
		})
	}
}
