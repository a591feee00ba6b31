package signature

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/proof"
)

const numPlaces = int(attached.Referrers) + 1

// The places of each kind, those first that are cheapest to look at.
var (
	signaturePlaces   = [...]attached.Place{attached.SignatureTag, attached.Referrers}
	attestationPlaces = [...]attached.Place{attached.AttestationTag, attached.Referrers}
)

// question is what one call of Verify asks. It is not changed, and shares no memory with the call's reference.
type question struct {
	v            *Verifier
	image        engine.Reference
	at           engine.Reference // where to look, and for what: no more than registry, repository, digest and whose access
	authority    *engine.Authority
	attestations bool
}

func (v *Verifier) question(ref engine.Reference, a *engine.Authority) question {
	q := question{v: v, image: owned(ref), authority: a, attestations: len(a.Attestations) > 0}
	q.at = engine.Reference{
		Registry: q.image.Registry, Repository: q.image.Repository, Digest: q.image.Digest, Access: q.image.Access,
	}
	if a.Repository != (engine.Repository{}) {
		q.at.Registry, q.at.Repository = a.Repository.Registry, a.Repository.Path
	}
	if access := q.at.Access; access != nil && (access.Logins == nil || len(access.Logins(q.at.Registry, q.at.Repository)) == 0) {
		q.at.Access = nil // it makes no difference there, and what is found is everybody's
	}
	return q
}

func (q *question) repository() engine.Repository {
	return engine.Repository{Registry: q.at.Registry, Path: q.at.Repository}
}

// access tells apart who asks: what one may see of a repository, another may not.
func (q *question) access() string {
	if q.at.Access == nil {
		return ""
	}
	return q.at.Access.ID
}

func (q *question) key() factKey {
	return factKey{
		at: q.repository(), digest: q.at.Digest, access: q.access(),
		attestations: q.attestations, trust: q.authority.Trust.ID,
	}
}

// suffices tells whether found is what the authority asks for.
func (q *question) suffices(found []engine.Signature) bool {
	return len(found) > 0 && q.authority.Weigh(q.image, found, time.Now()) == nil
}

// answer makes the fact: once for all who wait. Unless it is to be exhaustive it may end once it suffices.
func (q *question) answer(ctx context.Context, exhaustive bool) *fact {
	// The parent's provider, so that spans go where the review's own does, and nowhere if it has none.
	tracer := trace.SpanFromContext(ctx).TracerProvider().Tracer("sluice/resolver/signature")
	ctx, span := tracer.Start(ctx, "verify")
	reason := engine.ReasonInternal // if what follows panics
	defer func() {
		q.v.outcomes[reason].Add(1)
		q.endSpan(span, reason)
	}()
	s := &search{question: q, exhaustive: exhaustive}
	f := s.run(ctx)
	f.at = q.v.facts.Now()
	switch {
	case f.partial:
		f.ttl = q.v.opts.FactTTL
	case f.failure != nil:
		if q.suffices(f.signatures) { // whatever else there is
			f.partial, f.ttl = true, q.v.opts.FactTTL
		}
	case exhaustive && !q.suffices(f.signatures):
		f.ttl = downloadTTL // there is a fact before it that others need more
	default:
		f.ttl = q.v.opts.FactTTL
	}
	reason = engine.ReasonPassed
	if f.failure != nil && !f.partial {
		reason = f.failure.Reason
	}
	return f
}

func (q *question) endSpan(span trace.Span, reason engine.Reason) {
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("sluice.image", q.image.String()),
			attribute.String("sluice.authority", q.authority.Name),
			attribute.String("sluice.outcome", reason.String()),
		)
		if reason.Transient() {
			span.SetStatus(codes.Error, reason.String())
		}
	}
	span.End()
}

// search is one answer in the making. It belongs to one goroutine.
type search struct {
	*question
	exhaustive bool
	judge      *proof.Judge
	spent      int  // of maxJudged
	done       bool // what is found suffices, and the search was free to end with it
	tally      tally
}

// run looks at the places and judges what is there.
func (s *search) run(ctx context.Context) *fact {
	judge, failure := s.v.judges.of(s.authority.Trust)
	if failure != nil {
		return &fact{failure: failure}
	}
	s.judge = judge
	ctx, leave := context.WithCancel(ctx)
	defer leave() // of what is under way still
	places := signaturePlaces[:]
	if s.attestations {
		places = attestationPlaces[:]
	}
	if hint, ok := s.hint(); ok && slices.Contains(places, hint) {
		s.take(ctx, s.look(ctx, hint))
		places = slices.DeleteFunc(slices.Clone(places), func(p attached.Place) bool { return p == hint })
	}
	if !s.done {
		s.sideBySide(ctx, places)
	}
	if s.done {
		return &fact{signatures: s.tally.found(), partial: true}
	}
	return &fact{signatures: s.tally.found(), failure: s.tally.outcome(s)}
}

// hint returns the place where signatures sufficed last. Of attestations there may be some in each place.
func (s *search) hint() (attached.Place, bool) {
	if s.attestations || s.exhaustive {
		return 0, false
	}
	return s.v.hints.Get(s.repository())
}

// look is what a place has, or why that is not known.
type look struct {
	place attached.Place
	found *attached.Found
	err   error
	took  time.Duration
}

// sideBySide looks at places at the same time, and judges what is there one after the other as it comes in.
func (s *search) sideBySide(ctx context.Context, places []attached.Place) {
	if len(places) == 1 {
		s.take(ctx, s.look(ctx, places[0]))
		return
	}
	looks := make(chan look, len(places))
	for _, p := range places {
		go func() { looks <- s.look(ctx, p) }()
	}
	for range places {
		if s.take(ctx, <-looks); s.done {
			return
		}
	}
}

// look gets what a place has, from the registry or from what was fetched for another authority just now. A panic below
// it is an error, for it may be on a goroutine of its own.
func (s *search) look(ctx context.Context, place attached.Place) (l look) {
	began := time.Now()
	defer func() {
		if p := recover(); p != nil {
			l.err = fmt.Errorf("recovered from a panic: %v", p)
		}
		l.place, l.took = place, time.Since(began)
	}()
	key := placeKey{at: s.repository(), digest: s.at.Digest, access: s.access(), place: place}
	loaded, err := s.v.downloads.Do(ctx, key, func(ctx context.Context) (*attached.Found, time.Duration, error) {
		s.v.places[place].Add(1)
		found, err := attached.Find(ctx, s.v.fetch, place, s.at)
		if err != nil {
			return nil, 0, err
		}
		for _, item := range found.Items {
			if item.Failure != nil { // for those who wait; the next one tries again
				return found, 0, nil
			}
		}
		return found, downloadTTL, nil
	})
	return look{found: loaded.Value, err: err}
}

// take judges what a place has.
func (s *search) take(ctx context.Context, l look) {
	if l.err != nil {
		failure := asFailure(l.err)
		s.tally.undecided(failure)
		s.observe(Finding{Place: l.place, Err: failure, Took: l.took})
		return
	}
	s.tally.look(l.place, l.found)
	if len(l.found.Items) == 0 {
		s.observe(Finding{Place: l.place, Err: &engine.Failure{Reason: s.missing(), Public: "there is no " + l.found.Where}, Took: l.took})
	}
	items := l.found.Items
	if !s.attestations {
		items = smallestFirst(items)
	}
	queue := make([]priced, 0, len(items))
	for _, item := range items {
		queue = append(queue, priced{item, 1})
	}
	for i := 0; i < len(queue); i++ {
		if i == len(items) { // those that turned out to cost more
			slices.SortStableFunc(queue[i:], func(a, b priced) int { return a.cost - b.cost })
		}
		if err := ctx.Err(); err != nil { // nobody waits any more
			s.tally.undecided(asFailure(err))
			return
		}
		if s.spent+queue[i].cost > maxJudged {
			s.tally.unseen += len(queue) - i
			return
		}
		if cost := s.one(l.place, queue[i]); cost > queue[i].cost {
			queue = append(queue, priced{queue[i].item, cost})
		}
		if s.done {
			s.remember(l.place)
			return
		}
	}
}

// priced is an item, and what may be spent on it.
type priced struct {
	item *attached.Item
	cost int
}

// smallestFirst brings bundles into the order of their size, after all else: those of signatures have no predicate, so
// they come before most attestations, and to parse them all only to tell them apart would take as long.
func smallestFirst(items []*attached.Item) []*attached.Item {
	size := func(i *attached.Item) int {
		if i.Form == attached.Bundle {
			return len(i.Content)
		}
		return 0
	}
	bySize := func(a, b *attached.Item) int { return size(a) - size(b) }
	if slices.IsSortedFunc(items, bySize) {
		return items
	}
	return slices.SortedStableFunc(slices.Values(items), bySize)
}

// one judges an item, and ends the search if that is enough. It returns what that costs: if it is more than may be spent
// then nothing has been done.
func (s *search) one(place attached.Place, p priced) (cost int) {
	item := p.item
	finding := Finding{Place: place, Item: item}
	switch {
	case item.Form == attached.Envelope && !s.attestations, item.Form == attached.SimpleSigning && s.attestations:
		s.tally.others++
		return 0
	case item.Failure != nil:
		s.tally.undecided(item.Failure)
		finding.Err = item.Failure
	case item.Fault != nil:
		s.tally.refused(item, item.Fault)
		finding.Err = item.Fault
	default:
		if finding, cost = s.judgeOne(finding, p.cost); cost > p.cost {
			return cost
		}
	}
	s.observe(finding)
	return cost
}

// judgeOne judges what finding is about, unless it costs more than most. It returns what it costs.
func (s *search) judgeOne(finding Finding, most int) (Finding, int) {
	began := time.Now()
	var cost int
	finding.Signature, cost, finding.Err = s.judge.JudgeWithin(finding.Item, s.at.Digest, most)
	if cost > most {
		return finding, cost
	}
	finding.Took = time.Since(began)
	s.v.judged.Add(1)
	s.spent += cost
	s.tally.judged++
	switch {
	case finding.Err != nil:
		if r := (*proof.Refusal)(nil); errors.As(finding.Err, &r) && r.Panicked {
			s.v.panics.Add(1)
		}
		s.tally.refused(finding.Item, finding.Err)
	case (finding.Signature.Statement != nil) != s.attestations:
		s.tally.others++
	default:
		valid := &s.tally.valid[finding.Place]
		*valid = append(*valid, finding.Signature)
		s.done = !s.attestations && !s.exhaustive && s.suffices(s.tally.found())
	}
	return finding, cost
}

// remember notes which place sufficed, to look there first the next time.
func (s *search) remember(place attached.Place) {
	repository := s.repository()
	if last, ok := s.v.hints.Get(repository); !ok || last != place {
		s.v.hints.Put(repository, place)
	}
}
