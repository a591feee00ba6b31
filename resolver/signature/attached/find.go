package attached

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"sluice/engine"
)

// String returns what the place is called in logs.
func (p Place) String() string {
	switch p {
	case SignatureTag:
		return "signature tag"
	case AttestationTag:
		return "attestation tag"
	case Referrers:
		return "referrers"
	}
	return fmt.Sprintf("place %d", uint8(p))
}

// Find gets what is attached to ref.Digest in one place of ref.Registry and ref.Repository, with ref.Access. That there is nothing is no
// error. An item that can't be had carries its own failure, so that it does not hide the others; the error is a
// [*engine.Failure] that says why it isn't known which items there are.
func Find(ctx context.Context, f Fetcher, place Place, ref engine.Reference) (*Found, error) {
	s := search{
		f: f, at: engine.Reference{Registry: ref.Registry, Repository: ref.Repository, Access: ref.Access}, digest: ref.Digest,
	}
	switch place {
	case SignatureTag:
		return s.tag(ctx, ".sig")
	case AttestationTag:
		return s.tag(ctx, ".att")
	case Referrers:
		return s.referrers(ctx)
	}
	return nil, &engine.Failure{Reason: engine.ReasonInternal, Public: "the check failed", Err: errors.New("attached: no such place")}
}

// search is one look at one place.
type search struct {
	f      Fetcher
	at     engine.Reference // registry and repository, and whose access
	digest engine.Digest    // what things are looked for that are attached to
}

// tag reads the manifest under a tag, whose layers are the items.
func (s *search) tag(ctx context.Context, suffix string) (*Found, error) {
	found := &Found{Where: fmt.Sprintf("sha256-%.12s…%s", s.digest.Hex(), suffix)}
	at := s.at
	at.Tag = "sha256-" + s.digest.Hex() + suffix
	m, err := s.f.Manifest(ctx, at)
	switch {
	case notFound(err):
		return found, nil
	case err != nil:
		return nil, asFailure(err)
	}
	doc, f := parseManifest(m.Raw)
	if f != nil {
		return nil, f
	}
	all := doc.candidates(found.Where)
	found.Total = len(all)
	s.fill(ctx, found, choose([][]*candidate{all}))
	return found, nil
}

// fill gets the content of what was chosen, and puts it into found.
func (s *search) fill(ctx context.Context, found *Found, chosen []*candidate) {
	s.fetchContent(ctx, chosen)
	held := make(map[engine.Digest]bool, len(chosen))
	for _, c := range chosen {
		i := &c.Item
		found.Items = append(found.Items, i)
		found.Size += itemOverhead + int64(len(i.Signature)+len(i.Certificate)+len(i.Chain)+len(i.LogEntry)+len(i.Timestamp))
		if !held[i.Blob] {
			found.Size += int64(len(i.Content))
		}
		held[i.Blob] = held[i.Blob] || i.Content != nil
	}
}

// choose returns at most maxItems of what several manifests hold, in their order: from each the first, then from each
// the last, then the second, and so on. cosign appends, so that neither what was signed before someone pushed junk nor
// what was signed after it is lost, and a manifest full of junk takes no other's place.
func choose(groups [][]*candidate) []*candidate {
	total := 0
	for _, g := range groups {
		total += len(g)
	}
	room := maxItems
	took := make([]int, len(groups)) // how many of each group's candidates
	for room > 0 && total > 0 {
		for i, g := range groups {
			if room > 0 && took[i] < len(g) {
				took[i]++
				room--
				total--
			}
		}
	}
	var chosen []*candidate
	for i, g := range groups {
		head := (took[i] + 1) / 2
		chosen = append(chosen, g[:head]...)
		chosen = append(chosen, g[len(g)-(took[i]-head):]...)
	}
	return chosen
}

// sideBySide calls do for 0 to n-1, at most maxFetches at a time, the first of them on the caller's goroutine. do
// recovers from panics of its own: on the other goroutines they would end the process.
func sideBySide(n int, do func(int)) {
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			do(i)
		}
	}
	var wg sync.WaitGroup
	for range min(maxFetches, n) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

var errPanic = errors.New("recovered panic")

// recovered makes a failure of a panic, or returns nil. It is to be called with what recover() returned.
func recovered(p any) *engine.Failure {
	if p == nil {
		return nil
	}
	return &engine.Failure{
		Reason: engine.ReasonInternal,
		Public: "the check failed",
		Err:    fmt.Errorf("%w: fetching what is attached: %v", errPanic, p),
	}
}

// notFound tells whether a registry has answered that it hasn't what was asked for.
func notFound(err error) bool {
	var f *engine.Failure
	return errors.As(err, &f) && f.Reason == engine.ReasonImageNotFound
}

// asFailure makes a Failure of what a Fetcher returned.
func asFailure(err error) *engine.Failure {
	var f *engine.Failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &engine.Failure{Reason: engine.ReasonTimeout, Public: "the check of signatures did not finish in time", Err: err}
	}
	return &engine.Failure{Reason: engine.ReasonInternal, Public: "the check failed", Err: err}
}

// malformed is a failure that is the registry's, or of those who push there.
func malformed(err error, public string, args ...any) *engine.Failure {
	return &engine.Failure{Reason: engine.ReasonRegistryMalformed, Public: fmt.Sprintf(public, args...), Err: err}
}
