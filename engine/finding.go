package engine

import (
	"slices"
	"strings"
)

// finding is why one authority of a policy is not satisfied.
type finding struct {
	authority *Authority // nil if it is not about one of them
	reason    Reason
	is        string // completes "image x …" and "it …"
	policy    string // continues it with what the policy has to do with that
	alone     string // stands in place of policy where several authorities are required, and says which this is about
	because   string // ends it; may be empty
	remedy    string
	detail    string
	unvouched bool // see [Failure]
	crowded   bool // likewise
}

// problem makes a whole sentence of f.
func (f *finding) problem(p *Policy) *problem {
	return &problem{
		policy: p, reason: f.reason, what: f.is + f.policy + f.because, remedy: f.remedy, detail: f.detail, crowded: f.crowded,
	}
}

// closeness orders the definite reasons why an authority is not satisfied: from what is furthest from passing to what
// no authority can help.
var closeness = [numReasons]uint8{
	ReasonStaticFail: 1, ReasonSignatureMissing: 2, ReasonAttestationMissing: 3, ReasonSignatureInvalid: 4,
	ReasonIdentityMismatch: 5, ReasonClaimMismatch: 6, ReasonAnnotationsMismatch: 7, ReasonSignatureExpired: 8,
	ReasonPredicateRefused: 9, ReasonPlatformMissing: 10, ReasonRegistryNotListed: 11, ReasonImageNotFound: 12,
}

// closerThan tells whether f is to speak in place of g. Of transient ones it is the one with the strictest outcome: what
// somebody has pushed must not hide behind an outage.
func (f *finding) closerThan(g *finding, p *Policy) bool {
	if f.reason.Transient() && g.reason.Transient() {
		return rank[f.problem(p).outcome()] > rank[g.problem(p).outcome()]
	}
	return closeness[f.reason] > closeness[g.reason] || f.reason == g.reason && f.unvouched && !g.unvouched
}

// refused says what it means for the image that an authority's signatures don't suffice.
func refused(p *Policy, a *Authority, r *Refusal) *finding {
	f := &finding{
		authority: a, reason: r.Reason, is: r.What, policy: ", as policy " + quote(p.Name) + " requires", remedy: r.Remedy,
		detail: "authority " + quote(a.Name) + ": " + r.Reason.String(),
	}
	if r.Reason == ReasonPredicateRefused {
		f.is, f.policy, f.because = strings.TrimSuffix(r.What, r.cause), " of policy "+quote(p.Name), r.cause
	}
	if r.Err != nil {
		f.detail += ": " + r.Err.Error()
	}
	return f
}

// failed says what a port's failure means for the image. a is the authority that it is a failure of, or nil if it is
// one of all. A port's definite failures are those below; it may not invent denials.
func failed(p *Policy, a *Authority, f *Failure) *finding {
	attestations := a != nil && len(a.Attestations) > 0
	named := quote(p.Name)
	wrong := &finding{
		authority: a, reason: f.Reason, policy: ", and policy " + named + " requires " + requirement(p), detail: f.Error(),
		crowded: f.Crowded,
	}
	if a != nil {
		wrong.detail = "authority " + quote(a.Name) + ": " + wrong.detail
		wrong.alone = ", and " + quote(a.Name) + " requires one"
	}
	thing, have := "a signature", "have it signed"
	if attestations {
		thing, have = "an attestation", "have it attested"
	}
	switch f.Reason {
	case ReasonSignatureMissing, ReasonAttestationMissing:
		wrong.is, wrong.remedy = "is not signed", have
		if attestations {
			wrong.is, wrong.policy = "carries no attestation "+labels(a), ", which policy "+named+" requires "+attesters(p, a)
		}
		if a != nil {
			wrong.alone = " by " + quote(a.Name)
		}
		if f.Public != "" { // what was looked for and where
			wrong.because = " (" + f.Public + ")"
		}
	case ReasonSignatureInvalid:
		if f.Unvouched && a != nil && a.Trust != nil {
			wrong.is, wrong.policy, wrong.alone, wrong.unvouched = "is signed, but without ", "", "", true
			if attestations {
				wrong.is = "carries attestations, but none with "
			}
			wrong.is += "the " + vouchers(a.Trust) + " that policy " + named + " requires of " + quote(a.Name)
			wrong.remedy = have + " again with one"
			break
		}
		by := askers(p, a)
		wrong.is, wrong.policy, wrong.alone = "is signed, but not by ", ", as policy "+named+" requires", ""
		if attestations {
			wrong.is = "carries attestations, but none by "
		}
		wrong.is += names(by)
		switch {
		case len(by) != 1:
			wrong.remedy = have + " by one of them"
		case len(by[0].Identities) > 0:
			wrong.remedy = have + " by an identity that the policy names"
		case by[0].Trust != nil && len(by[0].Trust.Keys) > 1:
			wrong.remedy = have + " with one of its keys"
		default:
			wrong.remedy = have + " with that key"
		}
	case ReasonClaimMismatch:
		wrong.is, wrong.remedy = "carries "+thing+" that is valid, but not for this image", "have this image signed"
		if attestations {
			wrong.remedy = "have this image attested"
		}
	case ReasonSignatureExpired:
		wrong.is = "carries " + thing + ", but nothing vouches that its certificate was valid when it was made"
		wrong.remedy = have + " again, with a timestamp or an entry in a transparency log"
	case ReasonImageNotFound:
		wrong.is, wrong.policy, wrong.alone = "does not exist in its registry", ", so policy "+named+" cannot accept it", ""
		wrong.remedy = "check its name and tag"
	case ReasonRegistryNotListed:
		wrong.is = "is from a registry that sluice is not configured to contact"
		wrong.policy, wrong.alone = ", so policy "+named+" cannot accept it", ""
		wrong.remedy = "use an image from another registry, or ask the cluster's operators to list this one"
	default:
		if !f.Reason.Transient() {
			wrong.reason = ReasonInternal
		}
		wrong.is, wrong.policy, wrong.because = "could not be checked", " for policy "+named, ": "+f.Public
		if a != nil {
			wrong.alone = " for " + quote(a.Name)
		}
		wrong.remedy = "try again; if it lasts, tell the cluster's operators"
		if f.Crowded {
			wrong.remedy = "use fewer images at once, or try again"
		}
	}
	return wrong
}

// labels names the attestations that an authority asks for.
func labels(a *Authority) string {
	names := make([]string, 0, len(a.Attestations))
	for _, want := range a.Attestations {
		names = append(names, want.label())
	}
	return strings.Join(names, " and ")
}

// unlisted says that the registry in which a's signatures are looked for, rather than the image's, may not be asked.
func unlisted(p *Policy, a *Authority, f *Failure) *finding {
	wrong := failed(p, a, f)
	things := "signatures"
	if len(a.Attestations) > 0 {
		things = "attestations"
	}
	wrong.is, wrong.policy, wrong.alone = "could not be checked", " for policy "+quote(p.Name), " for "+quote(a.Name)
	wrong.because = ": its " + things + " are looked for in " + a.Repository.Registry + ", which sluice is not configured to contact"
	wrong.remedy = "ask the cluster's operators to list that registry"
	return wrong
}

// vouchers names what t asks for beside a key or a certificate.
func vouchers(t *Trust) string {
	var all []string
	if t.Logs > 0 {
		all = append(all, "log entry")
	}
	if t.Timestamps > 0 {
		all = append(all, "timestamp")
	}
	if t.SCTs > 0 {
		all = append(all, "certificate log's SCT")
	}
	return strings.Join(all, " or ")
}

// requirement says what a policy requires: "a signature by "release", or attestation "built" (https://…) by "ci"".
func requirement(p *Policy) string { return anyOf(p.Authorities) }

// attesters says who of p may make the attestations that a asks for, and what else will do.
func attesters(p *Policy, a *Authority) string {
	var by, others []*Authority
	for _, other := range p.Authorities {
		if len(other.Attestations) > 0 && labels(other) == labels(a) {
			by = append(by, other)
		} else {
			others = append(others, other)
		}
	}
	s := "by " + names(by)
	if rest := anyOf(others); rest != "" {
		s += ", or else " + rest
	}
	return s
}

// anyOf says what satisfies any of some authorities.
func anyOf(authorities []*Authority) string {
	var signed []*Authority
	var all []string
	for _, a := range authorities {
		switch {
		case a.Static != StaticNone:
		case len(a.Attestations) > 0:
			all = append(all, "attestation "+labels(a)+" by "+quote(a.Name))
		default:
			signed = append(signed, a)
		}
	}
	if len(signed) > 0 {
		all = slices.Insert(all, 0, "a signature by "+names(signed))
	}
	return strings.Join(all, ", or ")
}

// names names authorities, any of which will do.
func names(authorities []*Authority) string {
	all := make([]string, 0, len(authorities))
	for _, a := range authorities {
		all = append(all, quote(a.Name))
	}
	return strings.Join(all, " or ")
}

// askers are the authorities of p that ask for the kind of thing that a asks for; or a alone, where it matters which of
// them is satisfied.
func askers(p *Policy, a *Authority) []*Authority {
	if a != nil && p.Threshold > 1 {
		return []*Authority{a}
	}
	var all []*Authority
	for _, other := range p.Authorities {
		if other.Static == StaticNone && (a == nil || len(other.Attestations) > 0 == (len(a.Attestations) > 0)) {
			all = append(all, other)
		}
	}
	return all
}
