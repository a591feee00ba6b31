//go:build !race

package pullsecret

import "testing"

// TestAllocKnown: what is known is had for nothing, by every review at the doors for AdmissionReview.
func TestAllocKnown(t *testing.T) {
	a := newAPI()
	names := []string{"one", "two", "three", "four"}
	for _, name := range names {
		a.secret("shop", name, name)
	}
	a.account("shop", "default", "one")
	l := start(t, a, nil)
	for n := range len(names) + 1 {
		l.load(t, "shop", "", names[:n]...)
		if allocs := testing.AllocsPerRun(100, func() {
			if access, known := l.Known("shop", "", names[:n]); access == nil || !known {
				t.Fatal("not known")
			}
		}); allocs != 0 {
			t.Errorf("%d names: %v allocations", n, allocs)
		}
	}
}
