package engine

import "strconv"

// Request is one review: the images of a pod, and the namespace it is to run in. The strings may alias a buffer that
// is used again once Decide has returned: what is kept is copied. One without any image is denied.
type Request struct {
	Namespace string
	Images    []string

	// Kept are images that the object had before and has still, in the same place. They are judged like Images, but for
	// policies that say unchangedImages: allow. One that is among Images, too, is judged as such. They are not asked about
	// when Pin is set.
	Kept []string

	// Access is whose credentials registries are asked with, beside the configuration's own; nil: nobody's.
	Access *Access

	// Pin asks for no judgement. It asks what each image is to be replaced with before it is judged: see [Verdict.Rewrite]
	// and [Verdict.AlwaysPull]. The outcome is Allow, unless a digest that is wanted can't be had for now: then the policy's
	// onError decides. What is definite (no such image, say) is left for the judgement to say.
	Pin bool
}

// empty tells whether nothing is asked.
func (r *Request) empty() bool { return len(r.Images) == 0 && (len(r.Kept) == 0 || r.Pin) }

// question is what is asked about r.Images.
func (r *Request) question() question {
	if r.Pin {
		return pinning
	}
	return judging
}

// Annotation is one audit annotation. Its value may alias the Result it came from.
type Annotation struct {
	Key   string
	Value []byte

	// Plain says that Value is known to be printable ASCII without quotes and backslashes, so that whoever writes it
	// down need not look for what must be escaped. It may be false of such a value, too.
	Plain bool
}

// Result is the answer to a Request. It holds the scratch memory of an answer and is meant to be used again; the zero
// value is ready. It is not safe for concurrent use, and what its methods return is valid until its next use.
type Result struct {
	Outcome Outcome
	Reason  Reason
	Hit     bool // every image was answered from the cache

	scope    *scope     // nil if no engine decided
	verdicts []*Verdict // one a distinct image, in the order of the request, those that were kept at the end
	seen     seen       // used beyond fewVerdicts
	byImage  byImage    // and so is this, by Find
	decisive *Verdict   // the first of those that weigh most
	weight   uint8      // of it
	policy   string     // the first that is named by those that weigh as much; may be empty
	said     bool       // there is a message among them
	text     []byte
	audit    []byte
	notes    [6]Annotation
}

// fewVerdicts is up to where comparing with each beats a table.
const fewVerdicts = 16

func (r *Result) begin(sc *scope) {
	r.Outcome, r.Reason, r.Hit = Deny, ReasonUnknown, false
	r.scope = sc
	clear(r.verdicts) // lets go of what evicted entries would keep alive
	r.verdicts = r.verdicts[:0]
	r.seen.clear()
	r.byImage.clear()
	r.decisive, r.weight, r.policy, r.said = nil, 0, "", false
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
	} else if r.seen.add(r.verdicts, v) {
		return
	}
	r.verdicts = append(r.verdicts, v)
	r.said = r.said || v.Message() != ""
	switch w := v.weight(); {
	case r.decisive == nil || w > r.weight:
		r.decisive, r.weight, r.policy = v, w, v.Policy
	case w == r.weight && r.policy == "":
		r.policy = v.Policy
	}
}

// finish combines the images' verdicts: the highest ranking outcome, and the first reason for it.
func (r *Result) finish() {
	r.Outcome, r.Reason = Deny, ReasonInvalidRequest
	if r.decisive != nil {
		r.Outcome, r.Reason = r.decisive.Outcome, r.decisive.Reason
	}
}

// Images returns the verdict on each distinct image, in the order of the request: that of Images, and then of those Kept
// that are not among them.
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
	if !r.said {
		return nil
	}
	left := 0
	for _, v := range r.verdicts {
		switch {
		case v.Message() == "" || r.Outcome != Allow && v.Outcome == Allow:
		case len(r.text)+len(v.Message()) > maxMessage:
			left++
		default:
			if len(r.text) > 0 {
				r.text = append(r.text, "; "...)
			}
			r.text = append(r.text, v.Message()...)
		}
	}
	if left > 0 {
		r.text = append(r.text, "; and "...)
		r.text = strconv.AppendInt(r.text, int64(left), 10)
		r.text = append(r.text, " more images"...)
	}
	return r.text
}

// Ruling returns what the answer has in common with others, or nil if no engine decided.
func (r *Result) Ruling() *Ruling {
	if r.scope == nil {
		return nil
	}
	v := r.decisive
	if v == nil || v.Policy != r.policy || v.Outcome != r.Outcome || v.Reason != r.Reason {
		return r.scope.ruling(rulingKey{r.policy, r.Outcome, r.Reason, r.warned()})
	}
	ruling := v.ruling.Load()
	if ruling == nil {
		ruling = r.scope.ruling(rulingKey{r.policy, r.Outcome, r.Reason, r.warned()})
		v.ruling.Store(ruling)
	}
	return ruling
}

// warned tells whether the review is allowed with warnings.
func (r *Result) warned() bool { return r.Outcome == Allow && r.decisive != nil && r.decisive.Warning }

// Audit returns the audit annotations, the same for the same verdicts: the plugin replays them from its own cache, so
// they hold no time and no id. Keys are of the form that the plugin accepts: letters and dashes. They are those of
// Ruling, and those of Details.
func (r *Result) Audit() []Annotation {
	ruling := r.Ruling()
	if ruling == nil {
		n := len(r.Outcome.String())
		r.audit = append(append(r.audit[:0], r.Outcome.String()...), r.Reason.String()...)
		return append(r.notes[:0], Annotation{"verdict", r.audit[:n:n], true}, Annotation{"reason", r.audit[n:], true})
	}
	return r.details(append(r.notes[:0], ruling.audit...))
}

// Details returns the audit annotations that are this review's own.
func (r *Result) Details() []Annotation { return r.details(r.notes[:0]) }

// maxAudit bounds the resolved digests in the audit annotation of one review.
const maxAudit = 64 << 10

func (r *Result) details(notes []Annotation) []Annotation {
	b, plain := r.audit[:0], true
	for _, v := range r.verdicts {
		if v.Digest == "" {
			continue
		}
		if len(b) > maxAudit {
			break
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		shape := v.shape()
		plain = plain && shape&shapePlain != 0
		b = append(b, v.Image...)
		if shape&shapePinned == 0 {
			b = append(b, '@')
			b = append(b, v.Digest...)
		}
	}
	r.audit = b
	if len(b) > 0 {
		notes = append(notes, Annotation{"digests", b, plain})
	}
	if r.warned() {
		notes = append(notes, Annotation{Key: "warnings", Value: r.Message()})
	}
	return notes
}
