package signature

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/proof"
)

// tally adds up what is known of what lies beside one digest.
type tally struct {
	valid   [numPlaces][]engine.Signature // of the kind that is asked for
	others  int                           // those that are of the other kind
	judged  int
	unseen  int             // those beyond the bounds
	failure *engine.Failure // the first thing that could not be had

	invalid, unvouched, elsewhere, expired int     // those that are refused, by reason
	causes                                 []error // of them, for the log

	looked [numPlaces]string // for what, where it could be looked for
}

// look notes what a place has.
func (t *tally) look(place attached.Place, f *attached.Found) {
	t.looked[place] = f.Where
	t.unseen += max(0, f.Total-len(f.Items))
}

// undecided notes something of which nothing is known.
func (t *tally) undecided(f *engine.Failure) {
	if t.failure == nil {
		t.failure = f
	}
}

// refused notes why an item is not valid; or that it might be.
func (t *tally) refused(item *attached.Item, err error) {
	var r *proof.Refusal
	if !errors.As(err, &r) {
		r = &proof.Refusal{Reason: engine.ReasonSignatureInvalid}
	}
	switch {
	case r.Reason == engine.ReasonTrustRootMissing:
		t.undecided(noRoot(err))
		return
	case r.Reason == engine.ReasonClaimMismatch:
		t.elsewhere++
	case r.Reason == engine.ReasonSignatureExpired:
		t.expired++
	case r.Unvouched:
		t.unvouched++
	default:
		t.invalid++
	}
	if len(t.causes) < maxCauses {
		t.causes = append(t.causes, fmt.Errorf("%s: %w", item.Found, err))
	}
}

// refusals is how many are refused.
func (t *tally) refusals() int { return t.invalid + t.unvouched + t.elsewhere + t.expired }

// found returns what is valid, in the order of the places.
func (t *tally) found() []engine.Signature {
	var all []engine.Signature
	for _, valid := range t.valid {
		switch {
		case len(valid) == 0:
		case all == nil:
			all = valid[:len(valid):len(valid)]
		default:
			all = append(all, valid...)
		}
	}
	return all
}

// outcome says why what is valid is not all that there is, or why there is nothing; or it returns nil. As long as one
// thing has not been seen, it might have been a valid one, so nothing definite can be said.
func (t *tally) outcome(s *search) *engine.Failure {
	switch {
	case t.failure != nil:
		return t.failure
	case t.unseen > 0:
		return s.fail(engine.ReasonRegistryMalformed, fmt.Sprintf("too many %ss: %s, and %d more are not looked at",
			s.kind(), t.none(s), t.unseen))
	case len(t.found()) > 0:
		return nil
	}
	places := slices.DeleteFunc(t.looked[:], func(where string) bool { return where == "" })
	looked := fmt.Sprintf("looked for %s in %s", strings.Join(places, " and "), s.at.Name())
	reason := s.missing()
	switch {
	case t.elsewhere > 0:
		reason = engine.ReasonClaimMismatch
	case t.expired > 0:
		reason = engine.ReasonSignatureExpired
	case t.invalid+t.unvouched > 0:
		reason = engine.ReasonSignatureInvalid
	case t.others > 0:
		return s.fail(reason, looked+", where "+t.none(s))
	default:
		return s.fail(reason, looked)
	}
	f := s.fail(reason, t.none(s)+" ("+looked+")")
	f.Unvouched = reason == engine.ReasonSignatureInvalid && t.unvouched > 0
	return f
}

// fail makes the failure of a search that has seen all it could.
func (s *search) fail(reason engine.Reason, public string) *engine.Failure {
	cause := errors.Join(s.tally.causes...)
	if more := s.tally.refusals() - len(s.tally.causes); more > 0 {
		cause = fmt.Errorf("%w\nand %d more", cause, more)
	}
	return &engine.Failure{Reason: reason, Public: public, Err: cause}
}

// none says in a clause what there is, and why it does not count.
func (t *tally) none(s *search) string {
	kind, whose := s.kind(), s.whose()
	if len(t.found()) > 0 {
		return "none suffices"
	}
	switch n := t.refusals(); {
	case n == 0 && t.others == 0:
		return "none was found"
	case n == 0 && s.attestations:
		return "there are signatures only"
	case n == 0:
		return "there are attestations only"
	case n == 1 && t.invalid == 1:
		return "there is one " + kind + ", and it is not " + whose
	case n == 1 && t.unvouched == 1:
		return "there is one " + kind + ", and it lacks " + s.lacking()
	case n == 1 && t.elsewhere == 1:
		return "there is one " + kind + ", and it is for another image"
	case n == 1:
		return "there is one " + kind + ", and nothing vouches that its certificate was valid when it was made"
	case n == t.invalid:
		return fmt.Sprintf("there are %d %ss, none of them %s", n, kind, whose)
	case n == t.unvouched:
		return fmt.Sprintf("there are %d %ss, all of them without %s", n, kind, s.lacking())
	case n == t.elsewhere:
		return fmt.Sprintf("there are %d %ss, all of them for other images", n, kind)
	default:
		var parts []string
		add := func(n int, what string) {
			if n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, what))
			}
		}
		add(t.elsewhere, "for other images")
		add(t.expired, "by certificates that nothing vouches for the time of")
		add(t.unvouched, "without "+s.lacking())
		add(t.invalid, "not "+whose)
		return fmt.Sprintf("there are %d %ss: %s", n, kind, strings.Join(parts, ", "))
	}
}

// kind is what is asked for, in words.
func (q *question) kind() string {
	if q.attestations {
		return "attestation"
	}
	return "signature"
}

// missing is the reason if there is none.
func (q *question) missing() engine.Reason {
	if q.attestations {
		return engine.ReasonAttestationMissing
	}
	return engine.ReasonSignatureMissing
}

// lacking says what a signature must come with beside a trusted key or certificate, in words.
func (q *question) lacking() string {
	var things []string
	if q.authority.Trust.Logs > 0 {
		things = append(things, "an entry in a trusted log")
	}
	if q.authority.Trust.Timestamps > 0 {
		things = append(things, "a trusted timestamp")
	}
	if q.authority.Trust.SCTs > 0 {
		things = append(things, "a trusted SCT")
	}
	return strings.Join(things, " or ")
}

// whose says by what something is valid, in words.
func (q *question) whose() string {
	switch n := len(q.authority.Trust.Keys); {
	case n == 1:
		return "by this key"
	case n > 1:
		return "by any of these keys"
	}
	return "vouched for by the policy's trusted roots"
}
