package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"sluice/engine"
	"sluice/resolver"
	"sluice/resolver/signature"
	"sluice/resolver/signature/proof"
)

// explanation collects what check --explain tells beside the verdicts. Its methods may be called concurrently.
type explanation struct {
	began time.Time

	mu       sync.Mutex
	requests []resolver.Request
	findings []signature.Finding
}

func (e *explanation) request(r resolver.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests = append(e.requests, r)
}

func (e *explanation) finding(f signature.Finding) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.findings = append(e.findings, f)
}

// explained is the part of check's JSON that --explain adds.
type explained struct {
	Requests   []explainedRequest   `json:"requests"`
	Signatures []explainedSignature `json:"signatures"`
	Places     []explainedPlace     `json:"places"` // those that have nothing, or could not be looked at
}

// explainedPlace is what there is to say of a whole place.
type explainedPlace struct {
	Image string `json:"image"` // where it was looked for
	Place string `json:"place"`
	Error string `json:"error,omitempty"` // why it could not be looked at; empty if there is nothing
}

// explainedRequest is one request on the wire.
type explainedRequest struct {
	Method       string  `json:"method"`
	URL          string  `json:"url"`
	Status       int     `json:"status,omitempty"`
	Bytes        int     `json:"bytes,omitempty"`
	BeganMillis  float64 `json:"beganMillis"`
	MillisTotal  float64 `json:"millis"`
	ErrorMessage string  `json:"error,omitempty"`
}

// explainedSignature is one thing that was found, and what it is worth to one authority.
type explainedSignature struct {
	Image     string `json:"image"` // where it was looked for
	Policy    string `json:"policy"`
	Authority string `json:"authority"`
	Found     string `json:"found"`
	saysOfItself
	Verified bool    `json:"verified"` // what it says of itself has been proved
	Counts   bool    `json:"counts"`
	Reason   string  `json:"reason,omitempty"` // why it does not
	Why      string  `json:"why,omitempty"`
	Millis   float64 `json:"millis"`
}

// saysOfItself is what a signature or an attestation says. It is proved or not, as the case may be.
type saysOfItself struct {
	Kind          string            `json:"kind,omitempty"` // signature or attestation
	PredicateType string            `json:"predicateType,omitempty"`
	Key           string            `json:"key,omitempty"`
	Issuer        string            `json:"issuer,omitempty"`
	Subject       string            `json:"subject,omitempty"`
	Time          *time.Time        `json:"time,omitempty"`
	Reference     string            `json:"reference,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

func proved(s engine.Signature) saysOfItself {
	o := saysOfItself{
		Kind: "signature", Key: s.Signer.Key, Issuer: s.Signer.Issuer, Subject: s.Signer.Subject,
		Reference: s.Reference, Annotations: s.Annotations,
	}
	if s.Statement != nil {
		o.Kind, o.PredicateType = "attestation", s.Statement.PredicateType
	}
	if !s.Time.IsZero() {
		t := s.Time.UTC()
		o.Time = &t
	}
	return o
}

func claimed(d proof.Description) saysOfItself {
	o := saysOfItself{
		Kind: d.Kind, PredicateType: d.PredicateType, Issuer: d.Issuer, Subject: d.Subject,
		Reference: d.Reference, Annotations: d.Annotations,
	}
	if len(d.Times) > 0 {
		t := slices.MinFunc(d.Times, time.Time.Compare).UTC()
		o.Time = &t
	}
	return o
}

// String says who, what and when in one line.
func (o saysOfItself) String() string {
	var b strings.Builder
	b.WriteString(cmp.Or(o.Kind, "something"))
	if o.Kind != "signature" && o.PredicateType != "" { // that of a signature says no more than that
		fmt.Fprintf(&b, " %q", o.PredicateType)
	}
	switch {
	case o.Subject != "":
		fmt.Fprintf(&b, " by %q", o.Subject)
		if o.Issuer != "" {
			fmt.Fprintf(&b, " (issuer %q)", o.Issuer)
		}
	case o.Key != "":
		fmt.Fprintf(&b, " by the key %s", short(o.Key))
	}
	if o.Time != nil {
		fmt.Fprintf(&b, " at %s", o.Time.Format(time.RFC3339))
	}
	return b.String()
}

// explain puts together what was seen, for the policies in force.
func (e *explanation) explain(policies []*engine.Policy) *explained {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := &explained{Requests: []explainedRequest{}, Signatures: []explainedSignature{}, Places: []explainedPlace{}}
	slices.SortStableFunc(e.requests, func(a, b resolver.Request) int { return a.Start.Compare(b.Start) })
	for _, r := range e.requests {
		one := explainedRequest{
			Method: r.Method, URL: r.URL, Status: r.Status, Bytes: r.Bytes,
			BeganMillis: inMillis(r.Start.Sub(e.began)), MillisTotal: inMillis(r.Took),
		}
		if r.Err != nil {
			one.ErrorMessage = r.Err.Error()
		}
		out.Requests = append(out.Requests, one)
	}
	slices.SortStableFunc(e.findings, func(a, b signature.Finding) int {
		return cmp.Or(cmp.Compare(a.Ref.String(), b.Ref.String()), cmp.Compare(a.Authority.Name, b.Authority.Name), cmp.Compare(a.Place, b.Place))
	})
	for _, f := range e.findings {
		if f.Item == nil {
			if p := explainPlace(f); !slices.Contains(out.Places, p) {
				out.Places = append(out.Places, p)
			}
			continue
		}
		for _, w := range sharing(f, policies) {
			out.Signatures = append(out.Signatures, explainFinding(f, w))
		}
	}
	return out
}

// whose is an authority of a policy.
type whose struct {
	policy    string
	authority *engine.Authority
}

// sharing are the authorities that a finding is about: the one it was made for, and those that had its fact without
// looking for themselves, since they have the same trust.
func sharing(f signature.Finding, policies []*engine.Policy) []whose {
	var all []whose
	for _, p := range policies {
		if !slices.ContainsFunc(p.Images, func(g engine.Glob) bool { return g.Match(f.Image.Name()) }) {
			continue
		}
		for _, a := range p.Authorities {
			if a.Trust != nil && a.Trust.ID == f.Authority.Trust.ID && a.Repository == f.Authority.Repository &&
				(len(a.Attestations) > 0) == (len(f.Authority.Attestations) > 0) {
				all = append(all, whose{p.Name, a})
			}
		}
	}
	return all
}

func explainPlace(f signature.Finding) explainedPlace {
	p := explainedPlace{Image: f.Ref.String(), Place: f.Place.String()}
	var failed *engine.Failure
	if errors.As(f.Err, &failed) && failed.Reason != engine.ReasonSignatureMissing && failed.Reason != engine.ReasonAttestationMissing {
		p.Error = failed.Error()
	}
	return p
}

func explainFinding(f signature.Finding, w whose) explainedSignature {
	s := explainedSignature{
		Image: f.Ref.String(), Policy: w.policy, Authority: w.authority.Name, Found: f.Item.Found, Millis: inMillis(f.Took),
		saysOfItself: claimed(proof.Describe(f.Item)),
	}
	if f.Err != nil {
		s.Why = f.Err.Error()
		var refused *proof.Refusal
		var failed *engine.Failure
		switch {
		case errors.As(f.Err, &refused):
			s.Reason = refused.Reason.String()
		case errors.As(f.Err, &failed):
			s.Reason = failed.Reason.String()
		}
		return s
	}
	s.Verified, s.saysOfItself = true, proved(f.Signature)
	if refusal := w.authority.Refuses(f.Image, f.Signature, time.Now()); refusal != nil {
		s.Reason, s.Why = refusal.Reason.String(), refusal.What
		if refusal.Err != nil {
			s.Why += ": " + refusal.Err.Error()
		}
		return s
	}
	s.Counts = true
	return s
}

// inMillis is a duration in milliseconds, of which two places are of interest.
func inMillis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// printable takes out of a text what a terminal would act on: much of it is what somebody has pushed.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// print writes the explanation for people.
func (x *explained) print(b *strings.Builder) {
	image := ""
	for _, s := range x.Signatures {
		if s.Image != image {
			image = s.Image
			fmt.Fprintf(b, "\nfound at %s\n", image)
		}
		fmt.Fprintf(b, "  %s: %s\n", s.Found, s.saysOfItself)
		whose := fmt.Sprintf("%q of policy %q", s.Authority, s.Policy)
		switch {
		case s.Counts:
			fmt.Fprintf(b, "    counts for %s\n", whose)
		case s.Verified:
			fmt.Fprintf(b, "    verified, and does not count for %s: %s\n", whose, s.Why)
		default:
			fmt.Fprintf(b, "    does not count for %s: %s\n", whose, strings.ReplaceAll(s.Why, "\n", "\n      "))
		}
	}
	for i, p := range x.Places {
		if i == 0 || p.Image != x.Places[i-1].Image {
			fmt.Fprintf(b, "\nlooked at %s\n", p.Image)
		}
		if p.Error != "" {
			fmt.Fprintf(b, "  %s: %s\n", p.Place, p.Error)
		} else {
			fmt.Fprintf(b, "  nothing at %s\n", p.Place)
		}
	}
	b.WriteString("\nrequests (ms since the beginning, ms taken)\n")
	for _, r := range x.Requests {
		fmt.Fprintf(b, "  %8.2f %8.2f  %s %s", r.BeganMillis, r.MillisTotal, r.Method, r.URL)
		switch {
		case r.ErrorMessage != "":
			fmt.Fprintf(b, ": %s\n", r.ErrorMessage)
		default:
			fmt.Fprintf(b, ": %d, %d bytes\n", r.Status, r.Bytes)
		}
	}
}
