package engine

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Outcome is what is answered. The zero value denies.
type Outcome uint8

// The outcomes.
const (
	Deny  Outcome = iota // 200, allowed: false
	Allow                // 200, allowed: true
	Retry                // a status that makes the plugin ask again
	Defer                // a status that makes the plugin's defaultAllow decide
	Shed                 // a status that the plugin does not repeat: too much work is under way

	numOutcomes
)

var outcomeNames = [numOutcomes]string{Deny: "deny", Allow: "allow", Retry: "retry", Defer: "defer", Shed: "shed"}

// String returns the stable name, for metrics, audit annotations and logs.
func (o Outcome) String() string {
	if o < numOutcomes {
		return outcomeNames[o]
	}
	return outcomeNames[Deny]
}

// Outcomes lists every Outcome, for metrics that want all their label values from the start.
func Outcomes() []Outcome { return []Outcome{Deny, Allow, Retry, Defer, Shed} }

// rank orders outcomes: that of a review is the highest of its images', so that one denial denies the pod.
var rank = [numOutcomes]uint8{Allow: 0, Defer: 1, Retry: 2, Shed: 3, Deny: 4}

// Verdict is what was decided about one image. It is shared between reviews and must not be changed.
type Verdict struct {
	Image   string // as it was sent
	Digest  Digest // what the reference names or its tag pointed at; empty if no rule had to know
	Outcome Outcome
	Warning bool // allowed although a policy does not pass, because that policy or noMatch says so
	Reason  Reason
	shapes  atomic.Uint32 // see shape
	Policy  string        // the policy that decided; empty if several passed or none matched
	words   *words        // nil if there are none, as of most that are remembered

	Rewrite    string // of a Request to Pin: what to write in place of Image; empty: it stays
	AlwaysPull bool   // of a Request to Pin: a policy wants imagePullPolicy: Always

	// Found out, as shapes is, when the verdict is first part of an answer, and from then on always the same.
	ruling atomic.Pointer[Ruling] // for an answer that this verdict alone decides; by the rules it was made by
}

// words is what there is to say about a verdict.
type words struct{ message, detail string }

// Message returns what people are told where the image is not allowed or there is a warning: image, rule and remedy.
func (v *Verdict) Message() string {
	if v.words == nil {
		return ""
	}
	return v.words.message
}

// Detail returns what is for the log only.
func (v *Verdict) Detail() string {
	if v.words == nil {
		return ""
	}
	return v.words.detail
}

// What is known of the text of a verdict's Image and Digest.
const (
	shapeKnown  = 1 << iota
	shapePlain  // both are plain, see isPlain
	shapePinned // the image ends with the digest
)

// shape tells about the text of Image and Digest.
func (v *Verdict) shape() uint32 {
	shape := v.shapes.Load()
	if shape == 0 {
		shape = shapeKnown
		if isPlain(v.Image) && isPlain(string(v.Digest)) {
			shape |= shapePlain
		}
		if strings.HasSuffix(v.Image, string(v.Digest)) {
			shape |= shapePinned
		}
		v.shapes.Store(shape)
	}
	return shape
}

// isPlain tells whether s is printable ASCII without quotes and backslashes.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' || s[i] == '\'' || s[i] == '`' {
			return false
		}
	}
	return true
}

// weight orders verdicts: those that weigh most decide the review.
func (v *Verdict) weight() uint8 {
	w := rank[v.Outcome] << 1
	if v.Warning {
		w |= 1
	}
	return w
}

// problem is why one policy does not pass for one image.
type problem struct {
	policy *Policy
	reason Reason
	what   string // completes "image x …", naming the policy
	remedy string
	detail string

	crowded bool // see Failure
}

// outcome applies the policy's mode and onError. onError is for registries that can't be asked. What a registry sends
// may be what somebody has pushed there: if content that breaks the bounds were treated as an outage, whoever may push
// could turn onError: allow on at will. So it denies, though it is no more remembered than an outage is. So does an image
// that had to wait for the others of its review until there was no time left.
func (p *problem) outcome() Outcome {
	switch {
	case p.policy.Mode == Warn:
		return Allow
	case !p.reason.Transient(), p.reason == ReasonRegistryMalformed, p.crowded:
		return Deny
	}
	switch p.policy.OnError {
	case OnErrorAllow:
		return Allow
	case OnErrorDefer:
		return Defer
	case OnErrorRetry:
		if p.reason == ReasonOverloaded {
			return Shed // a retry would come back five times, when there is too much to do already
		}
		return Retry
	default:
		return Deny
	}
}

// message is the sentence for the pod's author. The operator's own words, where the policy has them, stand in place of
// the remedy.
func (p *problem) message(image string) string {
	if p.policy != nil && p.policy.Message != "" {
		return "image " + quote(image) + " " + p.what + ": " + p.policy.Message
	}
	return "image " + quote(image) + " " + p.what + "; " + p.remedy
}

// verdictOf makes a verdict of all that is wrong with an image: the problem whose outcome ranks highest decides.
// Where everything that is wrong is allowed, the message names it all.
func verdictOf(image string, digest Digest, problems []*problem) *Verdict {
	worst := problems[0]
	for _, p := range problems[1:] {
		if rank[p.outcome()] > rank[worst.outcome()] {
			worst = p
		}
	}
	said := &words{worst.message(image), worst.detail}
	v := &Verdict{
		Image: image, Digest: digest, Outcome: worst.outcome(), Warning: worst.outcome() == Allow,
		Reason: worst.reason, Policy: worst.policy.Name, words: said,
	}
	if v.Warning {
		for _, p := range problems {
			if p != worst {
				said.message += "; " + p.message(image)
			}
		}
	}
	return v
}

// How long verdicts live that no policy gives a TTL to.
const (
	// noMatchTTL is a verdict's that rests on the absence of policies alone: only a reload can change it, and a
	// reload changes the key.
	noMatchTTL = 5 * time.Minute
	// failureTTL is how long a failure to get facts is answered again without asking again, so that a rollout does
	// not become a storm on a registry that is down.
	failureTTL = time.Second
)

// maxQuoted bounds how much of an image string is repeated, because it is the pod author's to choose.
const maxQuoted = 640

func quote(image string) string { return quoteUpTo(image, maxQuoted) }

func quoteUpTo(s string, most int) string {
	if len(s) <= most {
		return strconv.Quote(s)
	}
	return strconv.Quote(s[:most]) + "…"
}

// invalid is the verdict on an image string that is no reference. It is not remembered: finding it again is cheap,
// and there is no end of such strings.
func invalid(image string, err error) *Verdict {
	p := problem{what: "is no image reference: " + err.Error(), remedy: "correct it"}
	return &Verdict{Image: image, Outcome: Deny, Reason: ReasonInvalidReference, words: &words{message: p.message(image)}}
}

// broken is the verdict on an image over which we stumbled.
func broken(image string, panicked any) *Verdict {
	p := problem{what: "could not be checked because of an internal error", remedy: "tell the cluster's operators"}
	return &Verdict{
		Image: image, Outcome: Deny, Reason: ReasonInternal, words: &words{p.message(image), fmt.Sprintf("panic: %v", panicked)},
	}
}

// unmatched is the verdict on an image that no policy matches.
func unmatched(image string, digest Digest, noMatch NoMatch) *Verdict {
	v := &Verdict{Image: image, Digest: digest, Outcome: Allow, Reason: ReasonNoMatch}
	if noMatch == NoMatchAllow {
		return v
	}
	p := problem{
		what:   "is matched by no policy, and such images are denied",
		remedy: "use an image that a policy covers, or ask the cluster's operators for a policy",
	}
	if noMatch == NoMatchWarn {
		p.what = "is matched by no policy"
		v.Warning = true
	} else {
		v.Outcome = Deny
	}
	v.words = &words{message: p.message(image)}
	return v
}
