package cache

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// imageKey is as large as the engine's: a fingerprint and an image string of 45 bytes.
type imageKey struct {
	rules [32]byte
	image string
}

func imageKeyOf(i int) imageKey {
	k := imageKey{image: fmt.Sprintf("registry.example.com/team-%04d/service:%07d", i%1000, i)}
	k.rules[0] = byte(i)
	return k
}

// warm returns a cache that holds n keys in both levels.
func warm(b *testing.B, n int) (*Cache[imageKey, *int], []imageKey) {
	c, err := New(Options[imageKey, *int]{MaxCost: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	keys := make([]imageKey, n)
	for i := range keys {
		keys[i] = imageKeyOf(i)
		if _, err := c.Do(context.Background(), keys[i], func(context.Context) (*int, time.Duration, error) {
			return &i, 24 * time.Hour, nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	return c, keys
}

func BenchmarkGetHit(b *testing.B) {
	for _, n := range []int{1, 1_000, 1_000_000} {
		b.Run(fmt.Sprint("keys=", n), func(b *testing.B) {
			c, keys := warm(b, n)
			b.Run("serial", func(b *testing.B) {
				b.ReportAllocs()
				now := c.Now()
				i := 0
				for b.Loop() {
					if _, ok := c.Get(keys[i], now); !ok {
						b.Fatal("miss")
					}
					if i++; i == n {
						i = 0
					}
				}
			})
			b.Run("parallel", func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					now := c.Now()
					i := 0
					for pb.Next() {
						if _, ok := c.Get(keys[i], now); !ok {
							b.Error("miss")
							return
						}
						if i++; i == n {
							i = 0
						}
					}
				})
			})
		})
	}
}

func BenchmarkGetMiss(b *testing.B) {
	c, _ := warm(b, 1000)
	missing := imageKeyOf(-1)
	now := c.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Get(missing, now); ok {
			b.Fatal("hit")
		}
	}
}

func BenchmarkDoHit(b *testing.B) {
	c, keys := warm(b, 1000)
	load := func(context.Context) (*int, time.Duration, error) { return nil, 0, nil }
	ctx := context.Background()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if l, err := c.Do(ctx, keys[i], load); err != nil || l.How != Hit {
			b.Fatal(l, err)
		}
		if i++; i == len(keys) {
			i = 0
		}
	}
}

func BenchmarkDoLoad(b *testing.B) {
	c, _ := warm(b, 1)
	load := func(context.Context) (*int, time.Duration, error) { return nil, 0, nil }
	key := imageKeyOf(-1)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if l, err := c.Do(ctx, key, load); err != nil || l.How != Missed {
			b.Fatal(l, err)
		}
	}
}

func BenchmarkMemoGet(b *testing.B) {
	m := NewMemo[string, *int](4096)
	m.Put("production", new(int))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := m.Get("production"); !ok {
			b.Fatal("miss")
		}
	}
}

func BenchmarkNow(b *testing.B) {
	c, _ := warm(b, 1)
	for b.Loop() {
		c.Now()
	}
}
