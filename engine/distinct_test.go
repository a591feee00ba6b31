package engine

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDistinct: where several authorities are required, one signer satisfies one of them only, whatever their identities
// have in common.
func TestDistinct(t *testing.T) {
	t.Parallel()
	f := func(want int, lists ...string) {
		t.Helper()
		var all [][]Signer
		for _, list := range lists {
			var signers []Signer
			for _, s := range strings.Fields(list) {
				signers = append(signers, Signer{Subject: s})
			}
			all = append(all, signers)
		}
		if got := distinct(all); got != want {
			t.Errorf("%v: %d, want %d", lists, got, want)
		}
	}
	f(0)
	f(0, "")
	f(1, "a", "a")
	f(2, "a b", "a")
	f(2, "a", "a b")
	f(2, "a b", "a b")
	f(2, "a b", "b a", "a")
	f(3, "a b", "b c", "a")
	f(3, "a b", "a", "b c")
	f(2, "a", "b", "b a")
	f(2, "a b", "", "a b")
}

// TestThresholdOfDistinctSigners goes the whole way: two authorities with identities that overlap.
func TestThresholdOfDistinctSigners(t *testing.T) {
	t.Parallel()
	anyone := Identity{Subject: Pattern{Regexp: regexp.MustCompile(`^.+@example\.com$`)}}
	boss := Identity{Subject: Pattern{Exact: "boss@example.com"}}
	authority := func(name string, id Identity) *Authority {
		return &Authority{Name: name, Trust: &Trust{ID: name}, Identities: []Identity{id}, Distinct: true}
	}
	by := func(subjects ...string) (all []Signature) {
		for _, s := range subjects {
			all = append(all, Signature{Signer: Signer{Issuer: "i", Subject: s}})
		}
		return all
	}
	f := func(name string, have []Signature, want Outcome, text string) {
		t.Helper()
		world := &facts{signatures: map[string][]Signature{}}
		d := world.push("reg.test/app:1")
		p := policyFor(t, "two", "reg.test/**", func(p *Policy) {
			p.Threshold, p.Authorities = 2, []*Authority{authority("team", anyone), authority("boss", boss)}
		})
		for _, a := range p.Authorities {
			world.signatures[string(d)+a.Trust.ID] = have
		}
		e := newEngine(t, world, NoMatchDeny, p)
		var res Result
		e.Decide(t.Context(), &Request{Images: []string{"reg.test/app:1"}}, &res)
		if res.Outcome != want || !strings.Contains(string(res.Message()), text) {
			t.Errorf("%s: %v %q, want %v %q", name, res.Outcome, res.Message(), want, text)
		}
	}
	f("both by one", by("boss@example.com"), Deny, `needs 2 of policy "two"'s authorities and has 1: it is signed for "boss" by nobody else than for the others`)
	f("one each", by("boss@example.com", "dev@example.com"), Allow, "")
	f("whatever their order", by("dev@example.com", "boss@example.com"), Allow, "")
	f("two of the team", by("dev@example.com", "ops@example.com"), Deny, `"boss"`)
}

// late knows of the boss's signature only, unless it is asked for what there is now.
type late struct {
	*facts
	asked []Known
}

func (l *late) Verify(_ context.Context, _ Reference, _ *Authority, known Known) (Evidence, error) {
	l.asked = append(l.asked, known)
	found := []Signature{{Signer: Signer{Subject: "boss@example.com"}}}
	if known == KnownNow {
		found = append(found, Signature{Signer: Signer{Subject: "dev@example.com"}})
	}
	return Evidence{found, time.Hour}, nil
}

// TestFreshSigners: where one signer is missing, what there is now is asked for, once.
func TestFreshSigners(t *testing.T) {
	t.Parallel()
	ports := &late{facts: &facts{}}
	ports.push("reg.test/app:1")
	p := policyFor(t, "two", "reg.test/**", func(p *Policy) {
		p.Threshold = 2
		for _, id := range []Pattern{{Regexp: regexp.MustCompile(`^.+@example\.com$`)}, {Exact: "boss@example.com"}} {
			p.Authorities = append(p.Authorities, &Authority{
				Name: id.String(), Trust: &Trust{ID: "one"}, Identities: []Identity{{Subject: id}}, Distinct: true,
			})
		}
	})
	e, err := New(Config{Resolver: ports, Verifier: ports})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	e.Load(NewSnapshot([]*Policy{p}, NoMatchDeny))
	var res Result
	e.Decide(t.Context(), &Request{Images: []string{"reg.test/app:1"}}, &res)
	if res.Outcome != Allow || !slices.Equal(ports.asked, []Known{KnownFacts, KnownFacts, KnownNow, KnownNow}) {
		t.Errorf("%v %s, asked %v", res.Outcome, res.Message(), ports.asked)
	}
}

// TestDistinctSignersOfAnIndex: two parties that vouch for a platform each have not both vouched for either.
func TestDistinctSignersOfAnIndex(t *testing.T) {
	t.Parallel()
	j := &judgement{}
	a, b := Signer{Subject: "a"}, Signer{Subject: "b"}
	team := &Authority{Name: "team"}
	j.by(team, []Signer{a, b})
	j.by(team, []Signer{b})
	if got := j.signers[team]; len(got) != 1 || got[0] != b {
		t.Errorf("%v, want b alone", got)
	}
	j.by(team, []Signer{a})
	if got := j.signers[team]; len(got) != 0 {
		t.Errorf("%v, want nobody", got)
	}
}
