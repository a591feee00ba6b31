//go:build !race

package cache

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// liveHeap is what the garbage collector can't free, in bytes.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what has waited for a first, such as pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestOverheadIsHonest compares what an entry is said to take with how the heap grows. Not parallel: the heap is
// everybody's.
func TestOverheadIsHonest(t *testing.T) {
	const entries, text = 50_000, 64
	before := liveHeap()
	c, err := New(Options[imageKey, *int64]{MaxCost: entries})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range entries {
		key := imageKey{image: fmt.Sprint(i) + strings.Repeat("x", text-8)}
		c.fill(key, new(int64), time.Hour+time.Duration(i%1000)*time.Second)
	}
	taken := (liveHeap() - before) / entries
	said := Overhead[imageKey, *int64]() + text + 8
	t.Logf("%d bytes an entry, and %d are said", taken, said)
	if held := c.Stats().Cost; held != entries {
		t.Fatalf("%d of %d entries are held", held, entries)
	}
	if taken < said*3/4 || taken > said*5/4 {
		t.Errorf("an entry takes %d bytes, and is said to take %d", taken, said)
	}
}
