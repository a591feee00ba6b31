//go:build !race

package engine

import (
	"fmt"
	"testing"
)

// TestHitAllocations holds the hit path to no allocation: one that is allowed, one that is denied with a text and audit
// annotations, and one of 3,000 containers.
func TestHitAllocations(t *testing.T) {
	e, allowed, denied, many := hitReviews(t)
	f := func(what string, e *Engine, req *Request, want Outcome) {
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
	f("allowed", e, allowed, Allow)
	f("denied", e, denied, Deny)
	f("3,000 containers", e, many, Deny)

	ports := &facts{}
	ports.push("reg.test/app:1")
	e = newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "**", keeps, pins))
	image := []string{"reg.test/app:1"}
	access := &Access{ID: fmt.Sprintf("%064d", 1)}
	for what, req := range map[string]*Request{
		"with access":   {Images: image, Access: access},
		"pin":           {Images: image, Access: access, Pin: true},
		"kept":          {Kept: image, Access: access},
		"kept and more": {Images: many.Images, Kept: append(image, many.Images...)},
	} {
		ask(t, e, req)
		f(what, e, req, map[bool]Outcome{false: Allow, true: Deny}[len(req.Images) > 1])
	}
}

// TestFindAllocations holds Find to the same, once its Result has grown.
func TestFindAllocations(t *testing.T) {
	e, _, _, many := hitReviews(t)
	var res Result
	n := testing.AllocsPerRun(20, func() {
		if !e.Hit(many, &res) {
			t.Fatal("no hit")
		}
		for _, image := range many.Images {
			if res.Find(image) == nil {
				t.Fatal("not found")
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
