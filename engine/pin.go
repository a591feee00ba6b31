package engine

import (
	"context"
	"slices"
	"time"
)

// pin finds what the image is to be replaced with, and says for how long that holds. Nothing is judged by it: what a
// judgement will deny is left as it is.
func (j *judgement) pin(ctx context.Context) (*Verdict, time.Duration) {
	switch {
	case len(j.match) == 0:
		return j.allowed(ReasonNoMatch), noMatchTTL
	case !j.toPin():
		return j.allowed(ReasonNotPinned), j.allowTTL()
	}
	f := j.turn(ctx)
	if f == nil {
		f = j.resolve(ctx)
	}
	if f != nil {
		return j.unpinned(f)
	}
	v := j.allowed(ReasonPinned)
	v.Rewrite = j.image + "@" + string(j.ref.Digest)
	j.warnOfTag(v)
	return v, j.capped(j.allowTTL())
}

// warnOfTag says what policies that only warn have against the tag of an image that is pinned: the digest will hide it from
// them. Those that enforce keep it from being pinned, see toPin.
func (j *judgement) warnOfTag(v *Verdict) {
	for _, p := range j.match {
		wrong := j.deniedTag(p)
		if wrong == nil {
			continue
		}
		if v.words == nil {
			v.Warning, v.words = true, &words{message: wrong.message(j.image)}
		} else {
			v.words.message += "; " + wrong.message(j.image)
		}
	}
}

// toPin tells whether the image is to get a digest. A tag that a policy denies is to stay, and be denied: with a digest
// beside it, nobody would judge it any more.
func (j *judgement) toPin() bool {
	return j.ref.Digest == "" && slices.ContainsFunc(j.match, func(p *Policy) bool { return p.Pin }) &&
		!slices.ContainsFunc(j.match, func(p *Policy) bool { return p.Mode == Enforce && p.Tags.denies(j.ref.Tag) })
}

// unpinned says what becomes of an image whose digest could not be had. What is definite is the judgement's to say.
func (j *judgement) unpinned(f *Failure) (*Verdict, time.Duration) {
	var problems []*problem
	ttl := j.allowTTL()
	for _, p := range j.match {
		if !p.Pin {
			continue
		}
		wrong := failed(p, nil, f)
		if !wrong.reason.Transient() {
			ttl = min(ttl, p.DenyTTL)
			continue
		}
		wrong.is = "could not be pinned"
		problems = append(problems, wrong.problem(p))
	}
	if len(problems) == 0 {
		return j.allowed(f.Reason), j.capped(ttl)
	}
	j.open = true
	v := verdictOf(j.image, "", problems)
	v.AlwaysPull = j.alwaysPull()
	if v.Reason == ReasonOverloaded { // to be answered, not remembered
		return v, 0
	}
	return v, min(ttl, failureTTL)
}

// alwaysPull tells whether a policy wants imagePullPolicy: Always.
func (j *judgement) alwaysPull() bool {
	return slices.ContainsFunc(j.match, func(p *Policy) bool { return p.AlwaysPullImages })
}
