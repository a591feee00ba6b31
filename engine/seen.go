package engine

import (
	"hash/maphash"
	"math/bits"
)

// seen finds verdicts again in a list of many. The zero value is ready. It is a table of places in that list rather
// than a map of pointers, which takes three times as long to fill and to clear.
type seen struct {
	seed   maphash.Seed
	places []uint32 // 1 + the place in the list, by the pointer's hash; 0 is free. len is 0 or a power of two
	used   bool
}

func (s *seen) clear() {
	if s.used {
		clear(s.places)
		s.used = false
	}
}

// add tells whether v is in the list. If it is not, the caller is about to append it.
func (s *seen) add(list []*Verdict, v *Verdict) bool {
	if n := len(list) + 1; !s.used || 2*n > len(s.places) {
		s.rebuild(list, n)
	}
	i := s.find(list, v)
	if s.places[i] != 0 {
		return true
	}
	s.places[i] = uint32(len(list) + 1)
	return false
}

// find returns the index in places at which v is, or belongs. At least half of them are free.
func (s *seen) find(list []*Verdict, v *Verdict) uint64 {
	last := uint64(len(s.places) - 1)
	i := maphash.Comparable(s.seed, v) & last
	for s.places[i] != 0 && list[s.places[i]-1] != v {
		i = (i + 1) & last
	}
	return i
}

// rebuild makes room for n, and fills in the list.
func (s *seen) rebuild(list []*Verdict, n int) {
	if 2*n > len(s.places) {
		s.seed = maphash.MakeSeed()
		s.places = make([]uint32, 1<<bits.Len(uint(4*n-1)))
	}
	for i, v := range list {
		s.places[s.find(list, v)] = uint32(i + 1)
	}
	s.used = true
}
