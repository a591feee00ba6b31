package engine

import (
	"context"
	"slices"
	"time"
)

// judgement is the work of one miss: one image against the policies that match it. The tag is resolved at most once,
// and everything after works on that digest.
type judgement struct {
	engine *Engine
	view   view
	image  string
	ref    Reference

	known    Known     // which facts will do
	match    []*Policy // the policies for the image
	release  func()    // gives back the turn to be checked; nil before there was one
	resolved bool
	failure  *Failure      // why the tag could not be resolved
	open     bool          // the verdict may be another once facts can be had that could not be
	factTTL  time.Duration // what remains of the shortest-lived fact used; 0 if none was

	signers map[*Authority][]Signer // who satisfied those that are Distinct
	fresh   bool                    // what is known was too little, because of who signed

	asked       bool     // for what the index is made of
	manifests   []Child  // what it is made of
	noManifests *Failure // why that could not be had
}

// newJudgement finds the policies for the image.
func newJudgement(e *Engine, v view, image string, ref Reference, known Known) *judgement {
	ref.Access = v.access
	j := &judgement{engine: e, view: v, image: image, ref: ref, known: known}
	name := ref.Name()
	for _, p := range v.policies {
		if slices.ContainsFunc(p.Images, func(g Glob) bool { return g.Match(name) }) {
			j.match = append(j.match, p)
		}
	}
	return j
}

// done gives back the turn to be checked, if there was one.
func (j *judgement) done() {
	if j.release != nil {
		j.release()
	}
}

// needsFacts tells whether judging by p may take a registry. It does not where the static authorities alone satisfy p, or
// leave too few others to; but a policy that pins needs a digest to pass.
func (j *judgement) needsFacts(p *Policy) bool {
	c := newCount(p)
	if len(p.Authorities) == 0 || c.reached() {
		return p.Pin && j.ref.Digest == ""
	}
	return !c.lost()
}

// decide judges the image, and says for how long the verdict holds. What costs nothing comes first, and it returns
// early only with a denial, which no other policy can change.
func (j *judgement) decide(ctx context.Context) (*Verdict, time.Duration) {
	switch {
	case j.view.question == pinning:
		return j.pin(ctx)
	case len(j.match) == 0:
		return unmatched(j.image, j.ref.Digest, j.view.noMatch), noMatchTTL
	case j.stays():
		return j.allowed(ReasonUnchanged), j.allowTTL()
	}
	ttl := j.allowTTL()
	var problems []*problem
	for _, check := range []func(context.Context, *Policy) *problem{j.tags, j.withoutFacts, j.withFacts} {
		for _, p := range j.match {
			if j.spares(p) {
				continue
			}
			wrong := check(ctx, p)
			switch {
			case wrong == nil:
				continue
			case wrong.reason == ReasonOverloaded: // to be answered, not remembered
				j.open, ttl = true, 0
			case wrong.reason.Transient():
				j.open, ttl = true, min(ttl, failureTTL)
			default:
				ttl = min(ttl, p.DenyTTL)
			}
			problems = append(problems, wrong)
			if wrong.outcome() == Deny && !wrong.reason.Transient() {
				j.open = false
				return verdictOf(j.image, j.ref.Digest, problems), j.capped(p.DenyTTL)
			}
		}
	}
	if len(problems) > 0 {
		return verdictOf(j.image, j.ref.Digest, problems), j.capped(ttl)
	}
	return j.allowed(ReasonPassed), j.capped(ttl)
}

// stays tells whether the image was there before, and every policy for it lets such images stay.
func (j *judgement) stays() bool {
	return len(j.match) > 0 && !slices.ContainsFunc(j.match, func(p *Policy) bool { return !j.spares(p) })
}

// spares tells whether the policy lets the image stay where it was before. It speaks for itself alone.
func (j *judgement) spares(p *Policy) bool { return j.view.question == keeping && p.AllowUnchanged }

// allowed makes a verdict without a problem.
func (j *judgement) allowed(reason Reason) *Verdict {
	v := &Verdict{Image: j.image, Digest: j.ref.Digest, Outcome: Allow, Reason: reason}
	if len(j.match) == 1 {
		v.Policy = j.match[0].Name
	}
	v.AlwaysPull = j.view.question == pinning && j.alwaysPull()
	return v
}

// allowTTL is the shortest of the policies'. There must be one.
func (j *judgement) allowTTL() time.Duration {
	ttl := j.match[0].AllowTTL
	for _, p := range j.match[1:] {
		ttl = min(ttl, p.AllowTTL)
	}
	return ttl
}

// capped shortens a verdict's life to that of the facts it rests on.
func (j *judgement) capped(ttl time.Duration) time.Duration {
	if j.factTTL > 0 {
		return min(ttl, j.factTTL)
	}
	return ttl
}

// rests records that the verdict rests on a fact that holds for ttl.
func (j *judgement) rests(ttl time.Duration) {
	if ttl = max(ttl, 1); j.factTTL == 0 || ttl < j.factTTL {
		j.factTTL = ttl
	}
}

// tags checks what the policy says of tags. A digest satisfies it, since the tag beside it decides nothing.
func (j *judgement) tags(_ context.Context, p *Policy) *problem {
	if j.ref.Digest != "" {
		return nil
	}
	if p.Tags.RequireDigest {
		wrong := &problem{
			policy: p, reason: ReasonDigestRequired,
			what:   "names no digest, and policy " + quote(p.Name) + " requires one",
			remedy: "write it as name@sha256:…",
		}
		if p.Pin { // which it was not, if a webhook could have done so
			wrong.remedy += ", or check that there is such an image to be pinned"
		}
		return wrong
	}
	return j.deniedTag(p)
}

// deniedTag is what the policy says of the tag, whether there is a digest or not.
func (j *judgement) deniedTag(p *Policy) *problem {
	if !p.Tags.denies(j.ref.Tag) {
		return nil
	}
	wrong := &problem{
		policy: p, reason: ReasonTagDenied,
		what:   "has the tag " + quote(j.ref.Tag) + ", which policy " + quote(p.Name) + " denies",
		remedy: "give it another tag or a digest",
	}
	if j.ref.Untagged {
		wrong.what = "has no tag, which means latest, and policy " + quote(p.Name) + " denies that tag"
		wrong.remedy = "give it a version tag or a digest"
	}
	return wrong
}

// withoutFacts judges by a policy whose authorities are all static.
func (j *judgement) withoutFacts(ctx context.Context, p *Policy) *problem {
	if j.needsFacts(p) {
		return nil
	}
	return j.authorities(ctx, p)
}

// withFacts judges by a policy that needs facts, when it is this image's turn to be checked.
func (j *judgement) withFacts(ctx context.Context, p *Policy) *problem {
	if !j.needsFacts(p) {
		return nil
	}
	if f := j.turn(ctx); f != nil {
		return failed(p, nil, f).problem(p)
	}
	if wrong := j.authorities(ctx, p); wrong != nil || !p.Pin {
		return wrong
	}
	if f := j.resolve(ctx); f != nil { // known already, unless nothing but the digest is asked for
		return failed(p, nil, f).problem(p)
	}
	return nil
}

// turn waits until it is this image's turn to be checked.
func (j *judgement) turn(ctx context.Context) *Failure {
	if j.release != nil {
		return nil
	}
	release, f := j.engine.admit(ctx)
	if f == nil {
		j.release = release
	}
	return f
}

// resolve finds the digest of the tag, once.
func (j *judgement) resolve(ctx context.Context) *Failure {
	if j.resolved || j.ref.Digest != "" {
		return j.failure
	}
	j.resolved = true
	r, err := j.engine.resolver.Resolve(ctx, j.ref, j.known)
	if err == nil {
		_, err = ParseDigest(string(r.Digest)) // what everything rests on from here, so not taken on trust
	}
	if err != nil {
		j.failure = asFailure(err)
		return j.failure
	}
	j.ref.Digest = r.Digest
	j.rests(r.TTL)
	return nil
}

// undecided is the verdict on an image whose facts one review did not wait for: what each policy that needs facts says
// of that.
func (j *judgement) undecided(f *Failure) *Verdict {
	if j.view.question == pinning && j.toPin() {
		v, _ := j.unpinned(f)
		return v
	}
	var problems []*problem
	for _, p := range j.match {
		if j.view.question != pinning && !j.spares(p) && j.needsFacts(p) {
			problems = append(problems, failed(p, nil, f).problem(p))
		}
	}
	if len(problems) == 0 { // nothing but a look at the rules is needed, and that takes no time
		v, _ := j.decide(context.Background())
		return v
	}
	return verdictOf(j.image, j.ref.Digest, problems)
}
