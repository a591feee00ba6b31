//go:build !race

package cache

import (
	"context"
	"testing"
	"time"
)

func TestHitAllocatesNothing(t *testing.T) {
	c, err := New(Options[imageKey, *int]{MaxCost: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	key := imageKeyOf(1)
	load := func(context.Context) (*int, time.Duration, error) { return new(int), time.Hour, nil }
	if _, err := c.Do(context.Background(), key, load); err != nil {
		t.Fatal(err)
	}
	now := c.Now()
	f := func(name string, hit func() bool) {
		t.Helper()
		if allocs := testing.AllocsPerRun(1000, func() {
			if !hit() {
				t.Fatal(name, "missed")
			}
		}); allocs != 0 {
			t.Errorf("%s: %v allocations a hit, want none", name, allocs)
		}
	}
	get := func() bool { _, ok := c.Get(key, now); return ok }
	f("first level", get)
	f("second level", func() bool { c.first.clear(); return get() })
	f("Do", func() bool { l, err := c.Do(context.Background(), key, load); return err == nil && l.How == Hit })

	m := NewMemo[string, *int](16)
	m.Put("production", new(int))
	f("Memo", func() bool { _, ok := m.Get("production"); return ok })
}
