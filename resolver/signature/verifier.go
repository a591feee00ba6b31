// Package signature tells who signed a digest, and what they state about it.
//
// It decides which of the places where signatures may be are looked at, in which order and until when, and what the
// outcome is called. Finding is the work of the package attached, and judging that of the package proof: it trusts
// them with that, an authority's trust with what it says, and nothing that comes from a registry. How much of that is
// judged is bounded ([maxJudged] and its neighbours).
//
// It never contacts anything but the repository that is asked about, never judges who may have signed beyond asking
// [engine.Authority.Weigh] whether it may stop looking, and never takes a failure to look for the absence of a
// signature.
package signature

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"sluice/cache"
	"sluice/engine"
	"sluice/resolver/signature/attached"
)

// Fetcher gets what lies in a registry. *resolver.Resolver is one.
type Fetcher = attached.Fetcher

// Options are the knobs of a [Verifier]. The zero value is ready for use.
type Options struct {
	// FactTTL is how long it is relied on that a digest carries the signatures that were found; 0 means
	// DefaultFactTTL.
	FactTTL time.Duration

	// MaxFacts is how many such facts are kept; 0 means DefaultMaxFacts. One with statements or annotations beyond a
	// kilobyte counts for as many as it has kilobytes.
	MaxFacts int64

	// MaxBytes is, if set, how many bytes such facts may take, in place of MaxFacts.
	MaxBytes int64

	// MaxDownloads is how many bytes of signatures are kept for the few seconds in which other authorities may want
	// them too; 0 means DefaultMaxDownloads. See [cache.Cache] for how strictly.
	MaxDownloads int64

	// Observe is told of everything that is judged, and of places that have nothing or can't be looked at; nil means
	// that nobody asks. It is called concurrently, during verifications alone: nothing is judged for what a fact
	// answers, nor once what was found suffices.
	Observe func(Finding)
}

// What Options mean by zero.
const (
	DefaultFactTTL      = time.Hour
	DefaultMaxFacts     = 100_000
	DefaultMaxDownloads = 32 << 20
)

// Verifier implements [engine.Verifier]. It is safe for concurrent use.
type Verifier struct {
	fetch     Fetcher
	opts      Options // without zeroes
	facts     *cache.Cache[factKey, *fact]
	downloads *cache.Cache[placeKey, *attached.Found]

	judges      judges
	hints       *cache.Memo[engine.Repository, attached.Place] // where signatures were that sufficed
	generations *cache.Memo[factKey, uint32]                   // of facts, by their keys without one

	outcomes []atomic.Uint64 // by engine.Reason
	places   [numPlaces]atomic.Uint64
	judged   atomic.Uint64
	panics   atomic.Uint64
}

// New returns a Verifier that looks for signatures through fetch.
func New(fetch Fetcher, opts Options) (*Verifier, error) {
	if fetch == nil {
		return nil, errors.New("signature: a fetcher is needed")
	}
	if opts.FactTTL < 0 || opts.MaxFacts < 0 || opts.MaxBytes < 0 || opts.MaxDownloads < 0 {
		return nil, errors.New("signature: a lifetime or a capacity is negative")
	}
	if opts.FactTTL == 0 {
		opts.FactTTL = DefaultFactTTL
	}
	if opts.MaxFacts == 0 {
		opts.MaxFacts = DefaultMaxFacts
	}
	if opts.MaxDownloads == 0 {
		opts.MaxDownloads = DefaultMaxDownloads
	}
	facts, err := cache.New(factOptions(opts))
	if err != nil {
		return nil, err
	}
	downloads, err := cache.New(cache.Options[placeKey, *attached.Found]{
		MaxCost: max(1, opts.MaxDownloads>>10), // both in KiB, as facts are
		Cost:    func(_ placeKey, f *attached.Found) int64 { return 1 + f.Size>>10 },
	})
	if err != nil {
		facts.Close()
		return nil, err
	}
	return &Verifier{
		fetch:       fetch,
		opts:        opts,
		facts:       facts,
		downloads:   downloads,
		hints:       cache.NewMemo[engine.Repository, attached.Place](maxHints),
		generations: cache.NewMemo[factKey, uint32](maxGenerations),
		outcomes:    make([]atomic.Uint64, len(engine.Reasons())),
	}, nil
}

// Close releases the caches. Nothing may be verified after it.
func (v *Verifier) Close() {
	v.facts.Close()
	v.downloads.Close()
}

// Stats are counters since New.
type Stats struct {
	// Verifications counts the verifications done, by outcome: ReasonPassed, or the failure's. What was answered
	// from a fact, or joined, is in Facts.
	Verifications map[engine.Reason]uint64

	Places map[attached.Place]uint64 // looks at the places where signatures may be, through the Fetcher
	Judged uint64                    // single signatures and attestations judged
	Panics uint64                    // of them, those that ended in a recovered panic
	Judges uint64                    // judges built: keys and trusted roots read

	Facts     cache.Stats // who signed what
	Downloads cache.Stats // what was fetched and not yet judged for every authority
}

// Stats reads the counters.
func (v *Verifier) Stats() Stats {
	s := Stats{
		Verifications: make(map[engine.Reason]uint64),
		Places:        make(map[attached.Place]uint64),
		Judged:        v.judged.Load(),
		Panics:        v.panics.Load(),
		Judges:        v.judges.built.Load(),
		Facts:         v.facts.Stats(),
		Downloads:     v.downloads.Stats(),
	}
	for i := range v.outcomes {
		if n := v.outcomes[i].Load(); n > 0 {
			s.Verifications[engine.Reason(i)] = n
		}
	}
	for i := range v.places {
		s.Places[attached.Place(i)] = v.places[i].Load()
	}
	return s
}

// Verify implements [engine.Verifier]. Verifications are joined, and what they find is remembered for
// Options.FactTTL; that nothing was found, or that what was found does not suffice, is not.
func (v *Verifier) Verify(
	ctx context.Context, ref engine.Reference, a *engine.Authority, known engine.Known,
) (engine.Evidence, error) {
	if _, err := engine.ParseDigest(string(ref.Digest)); err != nil || a.Trust == nil || a.Trust.ID == "" {
		return engine.Evidence{}, &engine.Failure{
			Reason: engine.ReasonInternal,
			Public: "the check failed",
			Err:    fmt.Errorf("asked to verify %q by authority %q, which needs a digest and a trust with an ID", ref, a.Name),
		}
	}
	q := v.question(ref, a)
	key := q.key()
	if generation, ok := v.generations.Get(key); ok {
		key.generation = generation
	}
	for round := 0; ; round++ {
		least := time.Duration(0) // that a fact must still have to live
		if known == engine.KnownLately && round == 0 {
			least = v.opts.FactTTL / 2
		}
		asked := key // the load may outlive this round
		loaded, err := v.facts.Renew(ctx, asked, least, func(ctx context.Context) (*fact, time.Duration, error) {
			f := q.answer(ctx, round > 0 || a.Distinct)
			switch {
			case least == 0 || f.failure == nil || f.ttl > 0:
			case f.failure.Reason.Transient(): // the fact before will do
				return nil, 0, f.failure
			case len(f.signatures) == 0: // and here it won't, for anybody
				v.facts.Drop(asked)
			}
			return f, f.ttl, nil
		})
		if err != nil && loaded.TTL == 0 {
			return engine.Evidence{}, asFailure(err)
		}
		f := loaded.Value
		fresh := v.facts.Now()-f.at <= cache.Instant(downloadTTL)
		complete := !f.partial && fresh && f.failure == nil
		suffices := complete && round == 0 || q.suffices(f.signatures)
		if a.Distinct && f.partial || known == engine.KnownNow && !fresh {
			suffices = false
		}
		switch {
		case suffices && round > 0:
			v.generations.Put(q.key(), key.generation)
		case suffices:
		case a.Distinct && f.failure != nil: // others may have signed, too
			return engine.Evidence{}, f.failure
		case round < maxRounds && (f.partial || !fresh):
			// There may be more than another authority needed, or than there was. What is there already is still
			// true, and stays where it is for those to whom it suffices.
			key.generation++
			continue
		case f.failure != nil:
			return engine.Evidence{}, f.failure
		case f.partial:
			return engine.Evidence{}, &engine.Failure{
				Reason: engine.ReasonOverloaded, Public: "too many policies ask about the image at once",
			}
		}
		return engine.Evidence{Signatures: f.signatures, TTL: f.remains(loaded.TTL, v.opts.FactTTL)}, nil
	}
}

// asFailure makes a Failure of what a cache or a Fetcher returned.
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

// owned copies a reference out of the request whose buffer it may point into.
func owned(ref engine.Reference) engine.Reference {
	ref.Registry = strings.Clone(ref.Registry)
	ref.Repository = strings.Clone(ref.Repository)
	ref.Tag = strings.Clone(ref.Tag)
	ref.Digest = engine.Digest(strings.Clone(string(ref.Digest)))
	return ref
}
