package engine

import "sync/atomic"

// Ruling is what the answers to many reviews have in common: all that follows from the rules, the outcome, its reason
// and the policy that decided. The verdicts of a scope share the few there are, so that what is made of one once, see
// Form, serves all the reviews to come. It is immutable and may be used concurrently.
type Ruling struct {
	rulingKey
	audit []Annotation
	form  atomic.Pointer[[]byte]
}

type rulingKey struct {
	policy  string
	outcome Outcome
	reason  Reason
	warning bool
}

// newRuling makes a ruling by the rules of that fingerprint.
func newRuling(k rulingKey, fingerprint string) *Ruling {
	r := &Ruling{rulingKey: k}
	add := func(key, value string) {
		r.audit = append(r.audit, Annotation{key, []byte(value), isPlain(value)})
	}
	if k.warning {
		add("verdict", "warn")
	} else {
		add("verdict", k.outcome.String())
	}
	add("reason", k.reason.String())
	if k.policy != "" {
		add("policy", k.policy)
	}
	add("fingerprint", fingerprint)
	return r
}

// Allowed tells whether the outcome is [Allow].
func (r *Ruling) Allowed() bool { return r.outcome == Allow }

// Audit returns the audit annotations that follow from the ruling. They must not be changed.
func (r *Ruling) Audit() []Annotation { return r.audit }

// Form returns what write makes of r. It is made once, or a few times at once in the beginning, and kept with r, so
// that one caller only, with one write, can use it. It must not be changed.
func (r *Ruling) Form(write func(*Ruling) []byte) []byte {
	if form := r.form.Load(); form != nil {
		return *form
	}
	form := write(r)
	r.form.Store(&form)
	return form
}
