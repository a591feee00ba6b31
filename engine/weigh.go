package engine

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Refusal is why valid signatures, or attestations, are not what an authority asks for.
type Refusal struct {
	// Reason is one of [ReasonSignatureMissing], [ReasonAttestationMissing], [ReasonIdentityMismatch],
	// [ReasonClaimMismatch], [ReasonAnnotationsMismatch], [ReasonSignatureExpired] and [ReasonPredicateRefused].
	Reason Reason
	What   string // completes "image x …", and says what the authority asks for in place of it
	Remedy string
	cause  string // ends What; a sentence may name the policy before it
	Err    error  // which expression does not hold, or could not be evaluated and why, for the log; nil otherwise
}

// MaxEvaluations is how many predicates an expression is evaluated for, one call of [Authority.Weigh]: an evaluation may
// take tens of milliseconds, and whoever signs may sign as often as they like.
const MaxEvaluations = 8

// MaxCost is what these evaluations may cost together. A condition that looks at two fields of each of 10,000 packages
// takes a seventh of it, one on a provenance next to nothing.
const MaxCost = 1_000_000

// Weigh tells whether have, which are valid by a.Trust, are what a asks for beside it: nil if they are. ref is the
// image's, and now the time by which ages are told.
//
// One signature must be all that a asks for, and so must one attestation for each of a.Attestations. If none is, the
// Refusal is that of the one which comes closest. More signatures never turn a nil into a Refusal, and their order
// doesn't matter to it, with one exception: of attestations that lack nothing but that their predicates fulfil an
// expression, no more than [MaxEvaluations] different ones are looked at for each expression, and only as far as
// [MaxCost] goes. These are the newest, as far as there is a time that can be trusted, and then those that come first
// in have. Only whoever can sign for a can so hide an attestation behind others, which are newer or have no time either.
func (a *Authority) Weigh(ref Reference, have []Signature, now time.Time) *Refusal {
	_, refusal := a.weigh(ref, have, now)
	return refusal
}

// Refuses tells why s alone is not what a asks for: nil if it is. Where a asks for several attestations, being one of
// them suffices.
func (a *Authority) Refuses(ref Reference, s Signature, now time.Time) *Refusal {
	if len(a.Attestations) == 0 {
		_, refusal := a.best(ref, nil, []Signature{s}, now)
		return refusal
	}
	var closest *Refusal
	for i := range a.Attestations {
		_, refusal := a.best(ref, &a.Attestations[i], []Signature{s}, now)
		if refusal == nil {
			return nil
		}
		if closest == nil || closeness[refusal.Reason] > closeness[closest.Reason] {
			closest = refusal
		}
	}
	return closest
}

// weigh is Weigh, and says for how long the answer holds if it is nil: forever, unless signatures age or expire.
func (a *Authority) weigh(ref Reference, have []Signature, now time.Time) (time.Duration, *Refusal) {
	if len(a.Attestations) == 0 {
		return a.best(ref, nil, have, now)
	}
	var holds time.Duration = forever
	for i := range a.Attestations {
		left, refusal := a.best(ref, &a.Attestations[i], have, now)
		if refusal != nil {
			return 0, refusal
		}
		holds = min(holds, left)
	}
	return holds, nil
}

// parties are who satisfies a, each once: the signers of what is good enough.
func (a *Authority) parties(ref Reference, have []Signature, now time.Time) []Signer {
	wanted := []*Attestation{nil}
	if len(a.Attestations) > 0 {
		wanted = nil
		for i := range a.Attestations {
			wanted = append(wanted, &a.Attestations[i])
		}
	}
	var all []Signer
	for _, want := range wanted {
		e := evaluations{want: want}
		for _, s := range e.order(have) {
			if slices.Contains(all, s.Signer) {
				continue
			}
			if _, ok := a.shortOf(ref, &e, s, now); ok {
				all = append(all, s.Signer)
			}
		}
	}
	return all
}

// evaluations are those of one expression, over several predicates.
type evaluations struct {
	want    *Attestation // nil for a signature
	done    []evaluation // at most MaxEvaluations
	spent   uint64       // of MaxCost
	skipped int          // predicates that were not looked at
}

type evaluation struct {
	predicate []byte
	holds     bool
	err       error
}

// order returns have in the order in which it is to be looked at, as Weigh says.
func (e *evaluations) order(have []Signature) []*Signature {
	all := make([]*Signature, len(have))
	for i := range have {
		all[i] = &have[i]
	}
	if e.want != nil && e.want.Expression != nil {
		slices.SortStableFunc(all, func(s, t *Signature) int { return t.Time.Compare(s.Time) })
	}
	return all
}

// holds evaluates the expression. The same predicate costs nothing again: copies are anybody's to make.
func (e *evaluations) holds(s *Statement) (bool, error) {
	for _, d := range e.done {
		if bytes.Equal(d.predicate, s.Predicate) {
			return d.holds, d.err
		}
	}
	if len(e.done) == MaxEvaluations || e.spent >= MaxCost {
		e.skipped++
		return false, nil
	}
	holds, cost, err := e.want.Expression.Holds(s, MaxCost-e.spent)
	e.spent += min(cost, MaxCost-e.spent)
	if err != nil && e.spent == MaxCost && len(e.done) > 0 { // alone, it might not have cost too much
		e.skipped++
		return false, nil
	}
	e.done = append(e.done, evaluation{s.Predicate, holds, err})
	return holds, err
}

// best finds, among have, what a asks for: the attestation want, or a signature if that is nil. It is the one that stays
// good for longest, and left is how long that is.
func (a *Authority) best(
	ref Reference, want *Attestation, have []Signature, now time.Time,
) (left time.Duration, _ *Refusal) {
	var closest shortfall
	var strangers []Signer
	found := false
	e := evaluations{want: want}
	for _, s := range e.order(have) {
		if found && a.left(s, now) <= left { // before its expression costs anything
			continue
		}
		short, ok := a.shortOf(ref, &e, s, now)
		switch {
		case ok:
			if found, left = true, a.left(s, now); left == forever {
				return forever, nil
			}
		case short.closerThan(closest):
			closest = short
		}
		if !ok && short.reason == ReasonIdentityMismatch && !slices.Contains(strangers, s.Signer) {
			strangers = append(strangers, s.Signer)
		}
	}
	if found {
		return left, nil
	}
	return 0, a.refusal(&e, closest, strangers)
}

// forever is for how long a signature is good that neither ages nor expires.
const forever = math.MaxInt64

// left is for how much longer s is good; more than 0 for one that is.
func (a *Authority) left(s *Signature, now time.Time) time.Duration {
	var left time.Duration = forever
	if a.MaxAge > 0 {
		left = a.MaxAge - now.Sub(s.Time)
	}
	if !s.Until.IsZero() {
		left = min(left, s.Until.Sub(now))
	}
	return max(left, 1)
}

// shortfall is what one signature lacks. The zero value is that of no signature at all.
type shortfall struct {
	reason    Reason
	signature *Signature
	err       error
}

// closerThan tells whether s lacks less than t. Of two that are too old, the younger lacks less.
func (s shortfall) closerThan(t shortfall) bool {
	if s.reason == t.reason && s.reason == ReasonSignatureExpired {
		return s.signature.Time.After(t.signature.Time)
	}
	return closeness[s.reason] > closeness[t.reason]
}

// shortOf tells what s lacks to be what a asks for, which is e.want or, if that is nil, a signature. The order of what is
// looked at is that of closeness.
func (a *Authority) shortOf(ref Reference, e *evaluations, s *Signature, now time.Time) (_ shortfall, ok bool) {
	want, short := e.want, shortfall{signature: s}
	switch {
	case want == nil && s.Statement != nil:
		short.reason = ReasonSignatureMissing
	case want != nil && (s.Statement == nil || s.Statement.PredicateType != want.PredicateType):
		short.reason = ReasonAttestationMissing
	case !a.names(s.Signer):
		short.reason = ReasonIdentityMismatch
	case a.RequireReferenceMatch && !claims(s.Reference, ref):
		short.reason = ReasonClaimMismatch
	case !carries(s.Annotations, a.Annotations):
		short.reason = ReasonAnnotationsMismatch
	case s.over(now), a.MaxAge > 0 && (s.Time.IsZero() || now.Sub(s.Time) > a.MaxAge):
		short.reason = ReasonSignatureExpired
	case want != nil && want.Expression != nil:
		holds, err := e.holds(s.Statement)
		if err == nil && holds {
			return shortfall{}, true
		}
		short.reason, short.err = ReasonPredicateRefused, err
	default:
		return shortfall{}, true
	}
	return short, false
}

// over tells whether s is no longer valid.
func (s *Signature) over(now time.Time) bool { return !s.Until.IsZero() && now.After(s.Until) }

// names tells whether signer is one of those who may have signed. An authority without identities is one of keys:
// anyone may ask a public certificate authority for a certificate, so its holder is nobody in particular.
func (a *Authority) names(signer Signer) bool {
	certificate := signer.Issuer != "" || signer.Subject != ""
	if len(a.Identities) == 0 {
		return !certificate
	}
	return signer.Key == "" && slices.ContainsFunc(a.Identities, func(i Identity) bool {
		return i.Issuer.Match(signer.Issuer) && i.Subject.Match(signer.Subject)
	})
}

// claims tells whether reference, which a signer claims to have signed, names the image's own repository.
func claims(reference string, image Reference) bool {
	claimed, err := ParseReference(reference)
	return err == nil && claimed.Registry == image.Registry && claimed.Repository == image.Repository
}

// carries tells whether have has all of want.
func carries(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// refusal puts a shortfall into words. strangers are the signers whom a does not name.
func (a *Authority) refusal(e *evaluations, short shortfall, strangers []Signer) *Refusal {
	want, s, by := e.want, short.signature, " by "+quote(a.Name)
	thing, has, again := "signature", "is signed", "have it signed again"
	if want != nil {
		thing, has, again = "attestation", "carries attestation "+want.label(), "have it attested again"
	}
	r := &Refusal{Reason: short.reason, Remedy: again}
	switch short.reason {
	case ReasonIdentityMismatch:
		r.What = has + " by " + signers(strangers) + ", not" + by
		r.Remedy = "have it signed by an identity that the policy names"
		if want != nil {
			r.Remedy = "have it attested by an identity that the policy names"
		}
	case ReasonClaimMismatch:
		r.What = has + by + ", but for " + quoteUpTo(s.Reference, maxQuotedClaim) + ", not for its own repository"
		r.Remedy += " where it is"
		if _, err := ParseReference(s.Reference); err != nil {
			r.What = has + by + ", but the " + thing + " does not say for which repository"
			r.Remedy = "have it signed in cosign's classic format, which names the repository"
		}
	case ReasonAnnotationsMismatch:
		wanted := make([]string, 0, len(a.Annotations))
		for _, k := range slices.Sorted(maps.Keys(a.Annotations)) {
			wanted = append(wanted, k+"="+a.Annotations[k])
		}
		r.What = has + by + ", but not with the annotations " + strings.Join(wanted, ", ")
		r.Remedy += " with them"
	case ReasonSignatureExpired:
		r.What = has + by + ", but at " + s.Time.UTC().Format(time.RFC3339) + ", not within the last " + age(a.MaxAge)
		switch {
		case !s.Until.IsZero() && (a.MaxAge == 0 || s.Time.IsZero()):
			r.What = has + by + ", but with a certificate that ended at " + s.Until.UTC().Format(time.RFC3339)
		case s.Time.IsZero():
			r.What = has + by + ", but no log and no timestamp authority vouches for when, so that its age can't be told"
			r.Remedy += ", with a timestamp"
		}
	case ReasonPredicateRefused:
		expression := oneLine(want.Expression.String())
		r.What, r.Err = has+by+", but its predicate does not fulfil the condition", fmt.Errorf("%s does not hold", expression)
		if short.err != nil {
			r.cause = ": " + bare(short.err)
			r.What = has + by + ", but its predicate can't be judged by the condition" + r.cause
			r.Err = fmt.Errorf("%w, in %s", short.err, expression)
		}
		if e.skipped > 0 {
			more := fmt.Sprintf(", and %d more are not looked at", e.skipped)
			r.cause, r.What = r.cause+more, r.What+more
		}
		r.Remedy = "use a build whose attestation fulfils it"
	default:
		r.Reason, r.What, r.Remedy = ReasonSignatureMissing, "carries no signature"+by, "have it signed"
		if want != nil {
			r.Reason, r.What, r.Remedy = ReasonAttestationMissing, "carries no attestation "+want.label()+by, "have it attested"
		}
	}
	return r
}

// label names an attestation that is asked for.
func (a Attestation) label() string {
	if a.Name == "" || a.Name == a.PredicateType {
		return quote(a.PredicateType)
	}
	return quote(a.Name) + " (" + a.PredicateType + ")"
}

// Bounds on what a text repeats of what signers chose.
const (
	maxSigners      = 3
	maxQuotedSigner = 200
	maxQuotedClaim  = 300
	maxQuotedLine   = 300
)

// signers names who signed, those that come first.
func signers(all []Signer) string {
	var b strings.Builder
	for i, s := range all[:min(len(all), maxSigners)] {
		switch {
		case i == 0:
		case i == len(all)-1:
			b.WriteString(" and ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(s.String())
	}
	if more := len(all) - maxSigners; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}

// String returns the signer for people: quoted, since certificates hold what their holders chose, and bounded.
func (s Signer) String() string {
	switch {
	case s.Key != "":
		return "key " + s.Key[:min(len(s.Key), 12)]
	case s.Issuer == "" && s.Subject == "":
		return "a certificate without a name"
	case s.Issuer == "":
		return quoteUpTo(s.Subject, maxQuotedSigner)
	}
	return quoteUpTo(s.Subject, maxQuotedSigner) + " (issuer " + quoteUpTo(s.Issuer, maxQuotedSigner) + ")"
}

// oneLine quotes what may have several lines.
func oneLine(s string) string {
	return quoteUpTo(strings.Join(strings.Fields(s[:min(len(s), 4*maxQuotedLine)]), " "), maxQuotedLine)
}

// bare is the cause of an error, without what its finder says of it, in one line of characters that can be seen: it may
// repeat what is in a predicate.
func bare(err error) string {
	if cause := errors.Unwrap(err); cause != nil {
		err = cause
	}
	s := oneLine(err.Error())
	s, more := strings.CutSuffix(s, "…")
	s = strings.ReplaceAll(s[1:len(s)-1], `\"`, `"`)
	if more {
		s += "…"
	}
	return s
}

// age writes a duration as a policy does: 720h rather than 720h0m0s.
func age(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}
