package cache

import (
	"sync"
	"testing"
)

func TestMemoKeepsAndIsBounded(t *testing.T) {
	t.Parallel()
	m := NewMemo[int, int](100)
	if got := len(m.slots); got != 128 {
		t.Errorf("%d places for a size of 100, want 128", got)
	}
	if _, ok := m.Get(1); ok {
		t.Error("an empty memo has something")
	}
	m.Put(1, 10)
	m.Put(1, 11)
	if v, ok := m.Get(1); !ok || v != 11 {
		t.Errorf("Get after two Puts = %d, %t, want the later, 11", v, ok)
	}
	kept := 0
	for i := range 10_000 {
		m.Put(i, -i)
	}
	for i := range 10_000 {
		v, ok := m.Get(i)
		if ok {
			kept++
		}
		if ok && v != -i {
			t.Errorf("Get(%d) = %d, another key's value", i, v)
		}
	}
	if kept == 0 || kept > len(m.slots) {
		t.Errorf("%d entries kept in %d places", kept, len(m.slots))
	}
}

func TestMemoSizes(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]int{-1: 2, 0: 2, 1: 2, 2: 2, 3: 4, 4: 4, 5: 8, 4096: 4096} {
		if got := len(NewMemo[int, int](size).slots); got != want {
			t.Errorf("NewMemo(%d) has %d places, want %d", size, got, want)
		}
	}
}

// Two keys of one hash are two keys, and a third finds no place without taking one of theirs.
func TestMemoComparesKeys(t *testing.T) {
	t.Parallel()
	m := NewMemo[string, int](8)
	a := &entry[string, int]{hash: 7, key: "a", value: 1}
	b := &entry[string, int]{hash: 7, key: "b", value: 2}
	m.keep(a, newcomer)
	m.keep(b, newcomer)
	if m.find(7, "a") != a || m.find(7, "b") != b || m.find(7, "c") != nil {
		t.Error("keys of one hash are mixed up")
	}
	other := &entry[string, int]{hash: 7, key: "a", value: 3}
	m.drop(other)
	if m.find(7, "a") != a {
		t.Error("dropping one entry dropped another of its key")
	}
	m.keep(other, newcomer)
	if m.find(7, "a") != other || m.find(7, "b") != b {
		t.Error("an entry did not take the place of the older one of its key")
	}
	m.drop(other)
	if m.find(7, "a") != nil {
		t.Error("a dropped entry is still there")
	}
}

func TestMemoSettledStay(t *testing.T) {
	t.Parallel()
	m := NewMemo[int, int](2)
	entries := make([]*entry[int, int], 10)
	for i := range entries {
		entries[i] = &entry[int, int]{hash: uint64(i), key: i}
		m.keep(entries[i], newcomer)
	}
	useful := entries[9]
	m.settle(useful)
	if m.find(0, 0) != entries[0] || m.find(9, 9) != useful {
		t.Fatal("settling did not exchange the two")
	}
	m.settle(useful)
	for _, e := range entries[:9] {
		m.keep(e, newcomer)
	}
	if m.find(9, 9) != useful {
		t.Error("newcomers pushed out an entry that had been hit")
	}
	m.settle(entries[0]) // long gone
	if m.find(0, 0) != nil {
		t.Error("settling brought back an entry that was not there")
	}
	m.clear()
	if m.find(9, 9) != nil {
		t.Error("something is left after clear")
	}
}

func TestMemoRace(t *testing.T) {
	t.Parallel()
	m := NewMemo[int, int](16)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 5_000 {
				key := i % 64
				m.Put(key, -key)
				if v, ok := m.Get((i * 7) % 64); ok && v != -((i*7)%64) {
					t.Errorf("Get = %d, another key's value", v)
				}
			}
		})
	}
	wg.Wait()
}
