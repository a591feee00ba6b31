package engine

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// facts is both ports: a registry that a test writes down. The real ones are in resolver; here stand the faults and
// the counts that a decision depends on.
type facts struct {
	mu         sync.Mutex
	digests    map[string]Digest      // by reference with tag
	signatures map[string][]Signature // by digest + authority ID
	children   map[Digest][]Child
	childErr   error                           // what Children fails with
	resolveErr error                           // what Resolve fails with
	verifyErr  map[string]error                // by authority ID
	wait       func(ctx context.Context) error // called by both, without the lock
	ttl        time.Duration
	signedTTL  time.Duration // what remains of the facts about signatures; an hour if 0
	resolves   int
	verifies   int
	listings   int              // of children
	verified   []Digest         // what Verify was asked about
	down       map[Digest]error // what Verify fails with for some
	accesses   []string         // what each call was made with: its ID, or a dash
}

// with notes whose access a call is made with, under the lock.
func (f *facts) with(ref Reference) {
	id := "-"
	if ref.Access != nil {
		id = ref.Access.ID
	}
	f.accesses = append(f.accesses, id)
}

func (f *facts) Resolve(ctx context.Context, ref Reference, _ Known) (Resolution, error) {
	f.mu.Lock()
	f.resolves++
	f.with(ref)
	d, err, ttl := f.digests[ref.String()], f.resolveErr, f.ttl
	f.mu.Unlock()
	if f.wait != nil {
		if err := f.wait(ctx); err != nil {
			return Resolution{}, err
		}
	}
	switch {
	case err != nil:
		return Resolution{}, err
	case d == "":
		return Resolution{}, &Failure{Reason: ReasonImageNotFound, Public: "there is no such image"}
	case ttl == 0:
		ttl = time.Hour
	}
	return Resolution{d, ttl}, nil
}

func (f *facts) Children(_ context.Context, ref Reference) ([]Child, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listings++
	f.with(ref)
	return f.children[ref.Digest], f.childErr
}

func (f *facts) Verify(ctx context.Context, ref Reference, a *Authority, _ Known) (Evidence, error) {
	f.mu.Lock()
	f.verifies++
	f.with(ref)
	f.verified = append(f.verified, ref.Digest)
	signatures, err := f.signatures[string(ref.Digest)+a.Trust.ID], f.verifyErr[a.Trust.ID]
	f.mu.Unlock()
	if f.wait != nil {
		if err := f.wait(ctx); err != nil {
			return Evidence{}, err
		}
	}
	switch {
	case err != nil:
		return Evidence{}, err
	case f.down[ref.Digest] != nil:
		return Evidence{}, f.down[ref.Digest]
	case len(signatures) == 0:
		tag := strings.Replace(string(ref.Digest), ":", "-", 1)
		missing := &Failure{Reason: ReasonSignatureMissing, Public: "looked for " + tag + ".sig in " + ref.Name()}
		if len(a.Attestations) > 0 {
			missing = &Failure{Reason: ReasonAttestationMissing, Public: "looked for " + tag + ".att in " + ref.Name()}
		}
		return Evidence{}, missing
	}
	ttl := f.signedTTL
	if ttl == 0 {
		ttl = time.Hour
	}
	return Evidence{signatures, ttl}, nil
}

func (f *facts) counts() (resolves, verifies int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resolves, f.verifies
}

// push makes an image, and returns its digest.
func (f *facts) push(image string) Digest {
	ref, err := ParseReference(image)
	if err != nil {
		panic(err)
	}
	d := Digest(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(image))))
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.digests == nil {
		f.digests = make(map[string]Digest)
	}
	f.digests[ref.String()] = d
	return d
}

func (f *facts) sign(d Digest, id string, annotations map[string]string) {
	f.add(d, id, Signature{Annotations: annotations})
}

// add attaches a signature, or an attestation, that is valid by the trust id.
func (f *facts) add(d Digest, id string, s Signature) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.signatures == nil {
		f.signatures = make(map[string][]Signature)
	}
	f.signatures[string(d)+id] = append(f.signatures[string(d)+id], s)
}

// newEngine makes an engine over ports with policies.
func newEngine(t testing.TB, ports *facts, noMatch NoMatch, policies ...*Policy) *Engine {
	t.Helper()
	e, err := New(Config{Resolver: ports, Verifier: ports, MaxVerdicts: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	e.Load(NewSnapshot(policies, noMatch))
	return e
}

// policyFor makes a policy for the images of one glob. The options are the rest of it.
func policyFor(t testing.TB, name, glob string, options ...func(*Policy)) *Policy {
	t.Helper()
	g, err := ParseImageGlob(glob)
	if err != nil {
		t.Fatal(err)
	}
	p := &Policy{Name: name, Images: []Glob{g}, AllowTTL: 5 * time.Minute, DenyTTL: 15 * time.Second}
	for _, o := range options {
		o(p)
	}
	p.Fingerprint = sha256.Sum256(fmt.Appendf(nil, "%#v", *p))
	return p
}

func signedBy(ids ...string) func(*Policy) {
	return func(p *Policy) {
		for _, id := range ids {
			p.Authorities = append(p.Authorities, &Authority{Name: id, Trust: &Trust{ID: id}})
		}
	}
}

// authorities makes a policy that requires some of them.
func authorities(threshold int, all ...*Authority) func(*Policy) {
	return func(p *Policy) { p.Threshold, p.Authorities = threshold, all }
}

// condition is an Expression that a test writes down.
type condition func(*Statement) (bool, error)

func (c condition) Holds(s *Statement, _ uint64) (bool, uint64, error) {
	holds, err := c(s)
	return holds, 1, err
}
func (c condition) String() string { return "predicate.builder ==\n\t'ours'" }

// built holds for predicates of our builder, and can't be evaluated for what is not JSON.
var built = condition(func(s *Statement) (bool, error) {
	var p struct{ Builder string }
	err := json.Unmarshal(s.Predicate, &p)
	return p.Builder == "ours", err
})

func denyTags(tags ...string) func(*Policy) {
	return func(p *Policy) {
		for _, tag := range tags {
			g, err := ParseGlob(tag)
			if err != nil {
				panic(err)
			}
			p.Tags.Deny = append(p.Tags.Deny, g)
		}
	}
}

// pins makes a policy pin.
func pins(p *Policy) { p.Pin = true }

// keeps makes a policy let unchanged images stay.
func keeps(p *Policy) { p.AllowUnchanged = true }

func onError(o OnError) func(*Policy) { return func(p *Policy) { p.OnError = o } }

func mode(m Mode) func(*Policy) { return func(p *Policy) { p.Mode = m } }

// ask asks for one review, by a hit if it is one.
func ask(t testing.TB, e *Engine, req *Request) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	res := &Result{}
	if !e.Hit(req, res) {
		e.Decide(ctx, req, res)
	}
	return res
}

// decide asks for one review, and returns what can be compared and kept.
func decide(t testing.TB, e *Engine, namespace string, images ...string) (Outcome, Reason, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	var res Result
	e.Decide(ctx, &Request{Namespace: namespace, Images: images}, &res)
	return res.Outcome, res.Reason, string(res.Message())
}

func auditText(res *Result) string {
	var b strings.Builder
	for _, a := range res.Audit() {
		fmt.Fprintf(&b, "%s=%s\n", a.Key, a.Value)
	}
	return b.String()
}

// everything is ports that know any number of images, each signed, and remember none.
type everything struct{}

func (everything) Resolve(_ context.Context, ref Reference, _ Known) (Resolution, error) {
	return Resolution{Digest(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(ref.String())))), time.Hour}, nil
}

func (everything) Children(context.Context, Reference) ([]Child, error) { return nil, nil }

func (everything) Verify(context.Context, Reference, *Authority, Known) (Evidence, error) {
	return Evidence{[]Signature{{}}, time.Hour}, nil
}
