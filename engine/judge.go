package engine

import (
	"context"
	"slices"
	"strings"
	"time"
)

// judgement is the work of one miss: one image against the policies that match it. The tag is resolved at most once,
// and everything after works on that digest.
type judgement struct {
	engine *Engine
	scope  *scope
	image  string
	ref    Reference

	match    []*Policy // the policies for the image
	release  func()    // gives back the turn to be checked; nil before there was one
	resolved bool
	failure  *Failure      // why the tag could not be resolved
	factTTL  time.Duration // what remains of the shortest-lived fact used; 0 if none was
}

// newJudgement finds the policies for the image.
func newJudgement(e *Engine, sc *scope, image string, ref Reference) *judgement {
	j := &judgement{engine: e, scope: sc, image: image, ref: ref}
	name := ref.Name()
	for _, p := range sc.policies {
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

// needsFacts tells whether judging by p may take a registry.
func needsFacts(p *Policy) bool {
	keys := false
	for _, a := range p.Authorities {
		if a.Static == StaticPass {
			return false
		}
		keys = keys || a.Static == StaticNone
	}
	return keys
}

// decide judges the image, and says for how long the verdict holds. What costs nothing comes first, and it returns
// early only with a denial, which no other policy can change.
func (j *judgement) decide(ctx context.Context) (*Verdict, time.Duration) {
	if len(j.match) == 0 {
		return unmatched(j.image, j.ref.Digest, j.scope.noMatch), noMatchTTL
	}
	ttl := j.match[0].AllowTTL
	for _, p := range j.match {
		ttl = min(ttl, p.AllowTTL)
	}
	var problems []*problem
	for _, check := range []func(context.Context, *Policy) *problem{j.tags, j.withoutFacts, j.withFacts} {
		for _, p := range j.match {
			wrong := check(ctx, p)
			switch {
			case wrong == nil:
				continue
			case wrong.reason == ReasonOverloaded: // to be answered, not remembered
				ttl = 0
			case wrong.reason.Transient():
				ttl = min(ttl, failureTTL)
			default:
				ttl = min(ttl, p.DenyTTL)
			}
			problems = append(problems, wrong)
			if wrong.outcome() == Deny && !wrong.reason.Transient() {
				return verdictOf(j.image, j.ref.Digest, problems), j.capped(p.DenyTTL)
			}
		}
	}
	if len(problems) > 0 {
		return verdictOf(j.image, j.ref.Digest, problems), j.capped(ttl)
	}
	v := &Verdict{Image: j.image, Digest: j.ref.Digest, Outcome: Allow, Reason: ReasonPassed}
	if len(j.match) == 1 {
		v.Policy = j.match[0].Name
	}
	return v, j.capped(ttl)
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
		return &problem{
			policy: p, reason: ReasonDigestRequired,
			what:   "names no digest, and policy " + quote(p.Name) + " requires one",
			remedy: "write it as name@sha256:…",
		}
	}
	if !slices.ContainsFunc(p.Tags.Deny, func(g Glob) bool { return g.Match(j.ref.Tag) }) {
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

// closeness orders the definite reasons of several authorities: the one nearest to passing helps its reader most.
var closeness = [numReasons]uint8{
	ReasonStaticFail: 1, ReasonSignatureMissing: 2, ReasonSignatureInvalid: 3, ReasonClaimMismatch: 4,
	ReasonAnnotationsMismatch: 5, ReasonRegistryNotListed: 6, ReasonImageNotFound: 7,
}

// withoutFacts judges by a policy whose authorities are all static.
func (j *judgement) withoutFacts(ctx context.Context, p *Policy) *problem {
	if needsFacts(p) {
		return nil
	}
	return j.authorities(ctx, p)
}

// withFacts judges by a policy that needs facts, when it is this image's turn to be checked.
func (j *judgement) withFacts(ctx context.Context, p *Policy) *problem {
	if !needsFacts(p) {
		return nil
	}
	if j.release == nil {
		release, f := j.engine.admit(ctx)
		if f != nil {
			return j.failed(p, f)
		}
		j.release = release
	}
	return j.authorities(ctx, p)
}

// authorities asks the policy's authorities until one is satisfied. If none is, but one could not be asked, nothing
// definite can be said.
func (j *judgement) authorities(ctx context.Context, p *Policy) *problem {
	if slices.ContainsFunc(p.Authorities, func(a *Authority) bool { return a.Static == StaticPass }) {
		return nil
	}
	var worst *problem
	for _, a := range p.Authorities {
		wrong := j.authority(ctx, p, a)
		if wrong == nil {
			return nil
		}
		switch {
		case worst == nil, wrong.reason.Transient() && !worst.reason.Transient():
			worst = wrong
		case wrong.reason.Transient() == worst.reason.Transient() && closeness[wrong.reason] > closeness[worst.reason]:
			worst = wrong
		}
	}
	return worst
}

// authority asks one authority of a policy.
func (j *judgement) authority(ctx context.Context, p *Policy, a *Authority) *problem {
	if a.Static == StaticFail {
		return &problem{
			policy: p, reason: ReasonStaticFail,
			what: "is refused by policy " + quote(p.Name), remedy: "use another image",
		}
	}
	if f := j.resolve(ctx); f != nil {
		return j.failed(p, f)
	}
	evidence, err := j.engine.verifier.Verify(ctx, j.ref, a)
	if err != nil {
		return j.failed(p, asFailure(err))
	}
	j.rests(evidence.TTL)
	refusal := a.Weigh(j.ref, evidence.Signatures, time.Now())
	if refusal == nil {
		return nil
	}
	return &problem{policy: p, reason: refusal.Reason, what: refusal.What, remedy: refusal.Remedy}
}

// resolve finds the digest of the tag, once.
func (j *judgement) resolve(ctx context.Context) *Failure {
	if j.resolved || j.ref.Digest != "" {
		return j.failure
	}
	j.resolved = true
	r, err := j.engine.resolver.Resolve(ctx, j.ref)
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

// failed says what a port's failure means for the image.
func (j *judgement) failed(p *Policy, f *Failure) *problem {
	wrong := &problem{policy: p, reason: f.Reason, detail: f.Error()}
	policy := "policy " + quote(p.Name)
	signers := signerNames(p)
	switch f.Reason {
	case ReasonSignatureMissing:
		wrong.what = "is not signed, and " + policy + " requires a signature by " + signers
		wrong.remedy = "have it signed"
	case ReasonSignatureInvalid:
		wrong.what = "is signed, but not by " + signers + ", as " + policy + " requires"
		wrong.remedy = "have it signed with that key"
	case ReasonClaimMismatch:
		wrong.what = "carries a signature by the right key that is not for this image, and " + policy + " requires one by " + signers + " that is"
		wrong.remedy = "have this image signed"
	case ReasonImageNotFound:
		wrong.what = "does not exist in its registry, so " + policy + " cannot accept it"
		wrong.remedy = "check its name and tag"
	case ReasonRegistryNotListed:
		wrong.what = "is from a registry that sluice is not configured to contact, so " + policy + " cannot accept it"
		wrong.remedy = "use an image from another registry, or ask the cluster's operators to list this one"
	default:
		if !f.Reason.Transient() { // a port may not invent denials
			wrong.reason = ReasonInternal
		}
		wrong.what = "could not be checked for " + policy + ": " + f.Public
		wrong.remedy = "try again; if it lasts, tell the cluster's operators"
	}
	return wrong
}

func signerNames(p *Policy) string {
	var names []string
	for _, a := range p.Authorities {
		if a.Static == StaticNone {
			names = append(names, quote(a.Name))
		}
	}
	return strings.Join(names, " or ")
}

// undecided is the verdict on an image whose facts one review did not wait for: what each policy that needs facts says
// of that.
func (j *judgement) undecided(f *Failure) *Verdict {
	var problems []*problem
	for _, p := range j.match {
		if needsFacts(p) {
			problems = append(problems, j.failed(p, f))
		}
	}
	if len(problems) == 0 { // nothing but a look at the rules is needed, and that takes no time
		v, _ := j.decide(context.Background())
		return v
	}
	return verdictOf(j.image, j.ref.Digest, problems)
}
