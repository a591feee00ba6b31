package cache

import "unsafe"

// found is about what the map takes for an entry, in bytes: Go's maps double, and are half to seven eighths full, at 17
// bytes a place.
const found = 28

// Overhead is about how many bytes an entry of a cache takes beside what its key and its value point to.
func Overhead[K comparable, V any]() int64 {
	return allocated(unsafe.Sizeof(cell[K, V]{})) + allocated(unsafe.Sizeof(value[V]{})) + placesEach*8 + found
}

// allocated is what the allocator takes for an object of n bytes, to 16: what it has for small ones.
func allocated(n uintptr) int64 { return int64(n+15) &^ 15 }
