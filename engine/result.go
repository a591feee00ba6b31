package engine

import "strconv"

// Request is one review: the images of a pod, and the namespace it is to run in. The strings may alias a buffer that
// is used again once Decide has returned: what is kept is copied.
type Request struct {
	Namespace string
	Images    []string
}

// Annotation is one audit annotation. Its value may alias the Result it came from.
type Annotation struct {
	Key   string
	Value []byte
}

// Result is the answer to a Request. It holds the scratch memory of an answer and is meant to be used again; the zero
// value is ready. It is not safe for concurrent use, and what its methods return is valid until its next use.
type Result struct {
	Outcome Outcome
	Reason  Reason
	Hit     bool // every image was answered from the cache

	scope    *scope
	verdicts []*Verdict            // one a distinct image, in the order of the request
	seen     map[*Verdict]struct{} // used beyond fewVerdicts
	text     []byte
	audit    []byte
	notes    [6]Annotation
}

// fewVerdicts is up to where comparing with each beats a map.
const fewVerdicts = 16

func (r *Result) begin(sc *scope) {
	r.Outcome, r.Reason, r.Hit = Deny, ReasonUnknown, false
	r.scope = sc
	clear(r.verdicts) // lets go of what evicted entries would keep alive
	r.verdicts = r.verdicts[:0]
	clear(r.seen)
	r.text, r.audit = r.text[:0], r.audit[:0]
}

// add takes a verdict unless it is there already. A joined or cached verdict of one image is one pointer.
func (r *Result) add(v *Verdict) {
	if len(r.verdicts) < fewVerdicts {
		for _, have := range r.verdicts {
			if have == v {
				return
			}
		}
	} else {
		if len(r.seen) == 0 {
			if r.seen == nil {
				r.seen = make(map[*Verdict]struct{})
			}
			for _, have := range r.verdicts {
				r.seen[have] = struct{}{}
			}
		}
		if _, ok := r.seen[v]; ok {
			return
		}
		r.seen[v] = struct{}{}
	}
	r.verdicts = append(r.verdicts, v)
}

// finish combines the images' verdicts: the highest ranking outcome, and the first reason for it.
func (r *Result) finish() {
	r.Outcome, r.Reason = Allow, ReasonPassed
	for i, v := range r.verdicts {
		if i == 0 || rank[v.Outcome] > rank[r.Outcome] ||
			v.Outcome == Allow && r.Outcome == Allow && v.Warning && !r.warned(i) {
			r.Outcome, r.Reason = v.Outcome, v.Reason
		}
	}
	if len(r.verdicts) == 0 {
		r.Outcome, r.Reason = Deny, ReasonInvalidRequest
	}
}

func (r *Result) warned(before int) bool {
	for _, v := range r.verdicts[:before] {
		if v.Warning {
			return true
		}
	}
	return false
}

// Images returns the verdict on each distinct image, in the order of the request.
func (r *Result) Images() []*Verdict { return r.verdicts }

// maxMessage bounds the text of one review. A pod of 3 MiB can name more failing images than anyone reads.
const maxMessage = 256 << 10

// Message returns why the review is not allowed, every failing image named; or, if it is allowed, the warnings.
func (r *Result) Message() []byte {
	if len(r.text) > 0 {
		return r.text
	}
	if len(r.verdicts) == 0 && r.Outcome != Allow {
		r.text = append(r.text, "the review names no image; a pod has at least one container"...)
		return r.text
	}
	left := 0
	for _, v := range r.verdicts {
		switch {
		case v.Message == "" || r.Outcome != Allow && v.Outcome == Allow:
		case len(r.text)+len(v.Message) > maxMessage:
			left++
		default:
			if len(r.text) > 0 {
				r.text = append(r.text, "; "...)
			}
			r.text = append(r.text, v.Message...)
		}
	}
	if left > 0 {
		r.text = append(r.text, "; and "...)
		r.text = strconv.AppendInt(r.text, int64(left), 10)
		r.text = append(r.text, " more images"...)
	}
	return r.text
}

// maxAudit bounds the resolved digests in the audit annotation of one review.
const maxAudit = 64 << 10

// Audit returns the audit annotations, the same for the same verdicts: the plugin replays them from its own cache, so
// they hold no time and no id. Keys are of the form that the plugin accepts: letters and dashes.
func (r *Result) Audit() []Annotation {
	notes := r.notes[:0]
	verdict := r.Outcome.String()
	warned := r.Outcome == Allow && r.warned(len(r.verdicts))
	if warned {
		verdict = "warn"
	}
	r.audit = r.audit[:0]
	add := func(key string, from int) {
		notes = append(notes, Annotation{key, r.audit[from:len(r.audit):len(r.audit)]})
	}
	r.audit = append(r.audit, verdict...)
	add("verdict", 0)
	from := len(r.audit)
	r.audit = append(r.audit, r.Reason.String()...)
	add("reason", from)
	from = len(r.audit)
	for _, v := range r.verdicts {
		if v.Policy != "" && v.Outcome == r.Outcome && v.Warning == warned {
			r.audit = append(r.audit, v.Policy...)
			add("policy", from)
			break
		}
	}
	if r.scope != nil {
		from = len(r.audit)
		r.audit = append(r.audit, r.scope.short...)
		add("fingerprint", from)
	}
	from = len(r.audit)
	for _, v := range r.verdicts {
		if v.Digest == "" || len(r.audit)-from > maxAudit {
			continue
		}
		if len(r.audit) > from {
			r.audit = append(r.audit, ' ')
		}
		r.audit = append(r.audit, v.Image...)
		if n := len(v.Image) - len(v.Digest); n < 0 || v.Image[n:] != string(v.Digest) {
			r.audit = append(r.audit, '@')
			r.audit = append(r.audit, v.Digest...)
		}
	}
	if len(r.audit) > from {
		add("digests", from)
	}
	if warned {
		notes = append(notes, Annotation{"warnings", r.Message()})
	}
	return notes
}
