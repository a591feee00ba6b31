package engine

import (
	"context"
	"fmt"
	"strings"
)

// count is how many of a policy's authorities are satisfied, and why the others are not.
type count struct {
	policy    *Policy
	need      int
	satisfied int          // no two of them by one signer alone
	parties   [][]Signer   // who satisfied those that are Distinct
	parted    bool         // one was satisfied by nobody of its own
	left      []*Authority // not asked yet
	findings  []*finding   // one for each that is not satisfied
	transient int          // of them, those that could be satisfied at another time
}

// newCount counts the static authorities, for which nothing has to be asked.
func newCount(p *Policy) *count {
	c := &count{policy: p, need: max(p.Threshold, 1)}
	for _, a := range p.Authorities {
		switch a.Static {
		case StaticNone:
			c.left = append(c.left, a)
		case StaticPass:
			c.satisfied++
		default:
			c.findings = append(c.findings, &finding{
				authority: a, reason: ReasonStaticFail,
				is: "is refused", policy: " by policy " + quote(p.Name), remedy: "use another image",
			})
		}
	}
	return c
}

// reached tells whether enough authorities are satisfied.
func (c *count) reached() bool { return c.satisfied >= c.need }

// lost tells whether enough authorities can't be satisfied any more, now or at another time.
func (c *count) lost() bool { return c.satisfied+c.transient+len(c.left) < c.need }

// authorities asks the policy's authorities, one after the other, until as many as it requires are satisfied or can't be
// any more. If too few are, but those that could not be asked would make it enough, nothing definite can be said.
func (j *judgement) authorities(ctx context.Context, p *Policy) *problem {
	if len(p.Authorities) == 0 {
		return nil
	}
	c := j.count(ctx, p)
	if c.parted && !c.reached() { // the signer who is missing may have signed since
		j.fresh, j.signers = true, nil
		c = j.count(ctx, p)
		j.fresh = false
	}
	if c.reached() {
		return nil
	}
	return c.problem()
}

// count asks.
func (j *judgement) count(ctx context.Context, p *Policy) *count {
	c := newCount(p)
	for !c.reached() && !c.lost() && len(c.left) > 0 {
		a := c.left[0]
		c.left = c.left[1:]
		f := j.authority(ctx, p, a)
		switch {
		case f == nil && a.Distinct:
			before := distinct(c.parties)
			c.parties = append(c.parties, j.signers[a])
			if c.satisfied += distinct(c.parties) - before; c.satisfied < len(c.parties) {
				c.parted = true
				c.findings = append(c.findings, sameSigner(p, a))
			}
			continue
		case f == nil:
			c.satisfied++
			continue
		case f.reason.Transient():
			c.transient++
		}
		c.findings = append(c.findings, f)
	}
	return c
}

// problem says why too few authorities are satisfied. Of several reasons, that which is nearest to passing helps its
// reader most.
func (c *count) problem() *problem {
	if len(c.findings) == 0 { // a threshold beyond the number of authorities
		return &problem{
			policy: c.policy, reason: ReasonStaticFail,
			what:   fmt.Sprintf("can't satisfy policy %s, which requires %d authorities and has fewer", quote(c.policy.Name), c.need),
			remedy: "tell the cluster's operators",
		}
	}
	undecided := c.satisfied+c.transient >= c.need
	var speaks *finding
	var details []string
	for _, f := range c.findings {
		if f.detail != "" {
			details = append(details, f.detail)
		}
		if f.reason.Transient() == undecided && (speaks == nil || f.closerThan(speaks, c.policy)) {
			speaks = f
		}
	}
	wrong := speaks.problem(c.policy)
	for _, a := range c.left {
		details = append(details, "authority "+quote(a.Name)+": not asked")
	}
	wrong.detail = strings.Join(details, "; ")
	if c.need > 1 {
		wrong.what = fmt.Sprintf("needs %d of policy %s's authorities and has %d: it %s",
			c.need, quote(c.policy.Name), c.satisfied, speaks.is+speaks.alone+speaks.because)
	}
	return wrong
}

// sameSigner is that an authority is satisfied, but by nobody who does not satisfy another already.
func sameSigner(p *Policy, a *Authority) *finding {
	return &finding{
		authority: a, reason: ReasonIdentityMismatch,
		is:     "is signed for " + quote(a.Name) + " by nobody else than for the others",
		policy: ", and policy " + quote(p.Name) + " requires different signers",
		remedy: "have it signed by another signer", detail: "authority " + quote(a.Name) + ": no signer of its own",
	}
}

// distinct is to how many of the lists a signer can be assigned, each another one: the size of a maximum matching (by
// augmenting paths; there are few lists, and short ones).
func distinct(lists [][]Signer) int {
	assigned := map[Signer]int{}
	var assign func(i int, tried map[Signer]bool) bool
	assign = func(i int, tried map[Signer]bool) bool {
		for _, s := range lists[i] {
			if tried[s] {
				continue
			}
			tried[s] = true
			if other, taken := assigned[s]; !taken || assign(other, tried) {
				assigned[s] = i
				return true
			}
		}
		return false
	}
	n := 0
	for i := range lists {
		if assign(i, map[Signer]bool{}) {
			n++
		}
	}
	return n
}
