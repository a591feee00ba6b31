//go:build !race

package engine

import "testing"

// TestHitAllocations holds the hit path to no allocation: one that is allowed, one that is denied with a text and audit
// annotations, and one of 3,000 containers.
func TestHitAllocations(t *testing.T) {
	e, allowed, denied, many := hitReviews(t)
	f := func(what string, req *Request, want Outcome) {
		t.Helper()
		var res Result
		n := testing.AllocsPerRun(100, func() {
			if !e.Hit(req, &res) || res.Outcome != want || len(res.Audit()) == 0 || want == Deny && len(res.Message()) == 0 {
				t.Fatalf("%s: not the hit that was expected: %+v", what, res.Outcome)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations, want none", what, n)
		}
	}
	f("allowed", allowed, Allow)
	f("denied", denied, Deny)
	f("3,000 containers", many, Deny)
}
