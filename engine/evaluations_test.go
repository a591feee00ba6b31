package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEvaluations weighs many attestations by one signer: which of them an expression is evaluated for, and how a refusal
// tells of the others.
func TestEvaluations(t *testing.T) {
	t.Parallel()
	image, err := ParseReference("reg.test/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	var looked []string
	good := condition(func(s *Statement) (bool, error) {
		looked = append(looked, string(s.Predicate))
		return string(s.Predicate) == "good", nil
	})
	a := &Authority{Name: "ci", Attestations: []Attestation{{"prov", provenance, good}}}
	attested := func(predicate string, at time.Time) Signature {
		return Signature{Signer: someKey, Statement: stating(provenance, predicate), Time: at}
	}
	many := func(n int, at time.Time) (have []Signature) {
		for i := range n {
			have = append(have, attested(fmt.Sprint(i), at))
		}
		return have
	}
	f := func(what string, have []Signature, wantLooked []string, wantText string) {
		t.Helper()
		looked = nil
		refusal := a.Weigh(image, have, weighNow)
		if !slices.Equal(looked, wantLooked) {
			t.Errorf("%s: looked at %q, want %q", what, looked, wantLooked)
		}
		switch {
		case (refusal == nil) != (wantText == ""):
			t.Errorf("%s: %+v", what, refusal)
		case refusal != nil && (refusal.Reason != ReasonPredicateRefused || !strings.HasSuffix(refusal.What, wantText)):
			t.Errorf("%s: %s %q", what, refusal.Reason, refusal.What)
		case refusal != nil:
			if got := refused(&Policy{Name: "p"}, a, refusal).problem(&Policy{Name: "p"}).what; !strings.HasSuffix(got,
				strings.Replace(wantText, "condition", `condition of policy "p"`, 1)) {
				t.Errorf("%s: %s", what, got)
			}
		}
	}
	none := time.Time{}
	first := []string{"0", "1", "2", "3", "4", "5", "6", "7"}

	f("as many as are looked at", many(8, none), first, `"ci", but its predicate does not fulfil the condition`)
	f("more", many(64, none), first, `"ci", but its predicate does not fulfil the condition, and 56 more are not looked at`)
	f("a good one among the first", append(many(7, none), attested("good", none)), append(first[:7:7], "good"), "")
	f("a good one after them", append(many(8, none), attested("good", none)), first, ", and 1 more are not looked at")
	f("a good one that is newer", append(many(64, weighNow), attested("good", weighNow.Add(1))), []string{"good"}, "")
	f("a good one with a time", append(many(64, none), attested("good", weighNow)), []string{"good"}, "")
	f("copies", append(slices.Repeat(many(4, none), 16), attested("good", none)), append(first[:4:4], "good"), "")

	others := many(64, weighNow)
	for i := range others {
		others[i].Signer = eve
	}
	f("others'", append(others, attested("good", none)), []string{"good"}, "")

	spend := func(costs ...uint64) {
		a.Attestations[0].Expression = costly(func(s *Statement, limit uint64) (bool, uint64, error) {
			i := len(looked)
			if looked = append(looked, string(s.Predicate)); costs[i] > limit {
				return false, limit + 1, errors.New("too costly")
			}
			return string(s.Predicate) == "good", costs[i], nil
		})
	}
	spend(MaxCost/2, MaxCost/4, MaxCost/4)
	f("what costs much together", many(4, none), first[:3], "the condition, and 1 more are not looked at")
	spend(MaxCost/2, MaxCost/2+1)
	f("what costs too much after another", many(4, none), first[:2], "the condition, and 3 more are not looked at")
	spend(MaxCost + 1)
	f("what costs too much alone", many(4, none), first[:1], "judged by the condition: too costly, and 3 more are not looked at")
	spend(MaxCost/2, MaxCost/2)
	f("a good one that costs all that is left", append(many(1, none), attested("good", none)), []string{"0", "good"}, "")
	looked = nil

	bad := errors.New("broken")
	a.Attestations[0].Expression = condition(func(*Statement) (bool, error) { return false, bad })
	f("what can't be evaluated", many(9, none), nil, ", but its predicate can't be judged by the condition: broken, and 1 more are not looked at")

	a.Attestations = []Attestation{{"prov", provenance, good}, {"prov too", provenance, good}}
	f("an expression for each of two", append(many(7, none), attested("good", none)),
		slices.Concat(first[:7], []string{"good"}, first[:7], []string{"good"}), "")
	looked = nil
	if got := a.parties(image, append(many(64, none), attested("good", weighNow)), weighNow); !slices.Equal(got, []Signer{someKey}) || len(looked) != 1 {
		t.Errorf("parties %v, %d evaluations", got, len(looked))
	}
	if got := a.parties(image, many(64, none), weighNow); len(got) > 0 || len(looked) != 17 {
		t.Errorf("parties %v, %d evaluations", got, len(looked))
	}
}

// costly is an expression that tells its costs.
type costly func(s *Statement, limit uint64) (bool, uint64, error)

func (c costly) Holds(s *Statement, limit uint64) (bool, uint64, error) { return c(s, limit) }
func (costly) String() string                                           { return "costly" }
