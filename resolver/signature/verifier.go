// Package signature tells who signed a digest.
//
// It decides whether a signature that lies beside an image in its registry was made by an authority's key, over a
// claim for this very digest. It trusts the key, and the [Fetcher] for one thing: that bytes are those of the digest
// that was asked for. It trusts nothing else that comes from the registry: manifests, annotations and payloads are
// the words of whoever may push. They are bounded ([maxSignatures] and its neighbours) before they are read, and
// what a payload says is not looked at before its signature has been verified.
//
// It never contacts anything but the image's own repository, never judges what a signer's annotations say, and never
// takes a failure to look for the absence of a signature.
package signature

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"sluice/cache"
	"sluice/engine"
	"sluice/resolver"
)

// Fetcher gets what lies in a registry. *resolver.Resolver is one.
//
// Both methods are called concurrently, return within ctx and keep nothing of ref. Every error is a
// [*engine.Failure]; of these, [engine.ReasonImageNotFound] says that the registry answered, and has it not. The bytes
// returned are not changed by anyone.
type Fetcher interface {
	// Manifest gets the manifest that ref.Tag names, of at most 4 MiB.
	Manifest(ctx context.Context, ref engine.Reference) (resolver.Manifest, error)

	// Blob gets the content of d from ref's repository. It has been hashed, and is no longer than limit bytes.
	Blob(ctx context.Context, ref engine.Reference, d engine.Digest, limit int64) ([]byte, error)
}

// Options are the knobs of a [Verifier]. The zero value is ready for use.
type Options struct {
	// FactTTL is how long it is relied on that a digest is signed by an authority; 0 means DefaultFactTTL.
	FactTTL time.Duration

	// MaxFacts is how many such facts are kept; 0 means DefaultMaxFacts. One with annotations beyond a kilobyte
	// counts for as many as it has kilobytes.
	MaxFacts int64

	// MaxDownloads is how many bytes of signatures are kept for the few seconds in which other authorities may want
	// them too; 0 means DefaultMaxDownloads. See [cache.Cache] for how strictly.
	MaxDownloads int64
}

// What Options mean by zero.
const (
	DefaultFactTTL      = time.Hour
	DefaultMaxFacts     = 100_000
	DefaultMaxDownloads = 32 << 20
)

// downloadTTL is how long what lies beside a digest is kept for the other authorities of a review, and for the
// reviews that come with it. A signature that is pushed is seen after that at the latest.
const downloadTTL = 2 * time.Second

// Verifier implements [engine.Verifier]. It is safe for concurrent use.
type Verifier struct {
	fetch     Fetcher
	ttl       time.Duration
	facts     *cache.Cache[factKey, engine.Evidence]
	downloads *cache.Cache[imageKey, *found]

	outcomes []atomic.Uint64 // by engine.Reason
	judged   atomic.Uint64
	panics   atomic.Uint64
}

// imageKey names a digest where it lies: the same digest in another repository has other signatures.
type imageKey struct {
	registry, repository string
	digest               engine.Digest
}

// factKey is the whole of what a fact depends on.
type factKey struct {
	image imageKey
	trust string // engine.Trust.ID
}

// New returns a Verifier that looks for signatures through fetch.
func New(fetch Fetcher, opts Options) (*Verifier, error) {
	if fetch == nil {
		return nil, errors.New("signature: a fetcher is needed")
	}
	if opts.FactTTL < 0 || opts.MaxFacts < 0 || opts.MaxDownloads < 0 {
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
	facts, err := cache.New(cache.Options[factKey, engine.Evidence]{
		MaxCost: opts.MaxFacts,
		Cost:    func(_ factKey, e engine.Evidence) int64 { return max(1, evidenceSize(e)>>10) },
	})
	if err != nil {
		return nil, err
	}
	downloads, err := cache.New(cache.Options[imageKey, *found]{
		MaxCost: max(1, opts.MaxDownloads>>10), // both in KiB, as facts are
		Cost:    func(_ imageKey, f *found) int64 { return 1 + f.size>>10 },
	})
	if err != nil {
		facts.Close()
		return nil, err
	}
	return &Verifier{
		fetch:     fetch,
		ttl:       opts.FactTTL,
		facts:     facts,
		downloads: downloads,
		outcomes:  make([]atomic.Uint64, len(engine.Reasons())),
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

	Judged uint64 // single signatures compared with a key
	Panics uint64 // of them, those that ended in a recovered panic

	Facts     cache.Stats // who signed what
	Downloads cache.Stats // signatures fetched and not yet judged by every authority
}

// Stats reads the counters.
func (v *Verifier) Stats() Stats {
	s := Stats{
		Verifications: make(map[engine.Reason]uint64),
		Judged:        v.judged.Load(),
		Panics:        v.panics.Load(),
		Facts:         v.facts.Stats(),
		Downloads:     v.downloads.Stats(),
	}
	for i := range v.outcomes {
		if n := v.outcomes[i].Load(); n > 0 {
			s.Verifications[engine.Reason(i)] = n
		}
	}
	return s
}

// Verify implements [engine.Verifier]. That there is a signature is remembered for Options.FactTTL, and joined; any
// other outcome is not remembered.
func (v *Verifier) Verify(ctx context.Context, ref engine.Reference, a *engine.Authority) (engine.Evidence, error) {
	digest, err := engine.ParseDigest(string(ref.Digest))
	if err != nil || a.Trust == nil || len(a.Trust.Keys) == 0 || a.Trust.ID == "" {
		return engine.Evidence{}, &engine.Failure{
			Reason: engine.ReasonInternal,
			Public: "the check failed",
			Err:    fmt.Errorf("asked to verify %q by authority %q, which needs a digest, a key and an ID", ref, a.Name),
		}
	}
	// The key of a fact outlives the request whose buffer ref may point into.
	ref = engine.Reference{
		Registry:   strings.Clone(ref.Registry),
		Repository: strings.Clone(ref.Repository),
		Digest:     engine.Digest(strings.Clone(string(digest))),
	}
	key := factKey{image: imageKey{ref.Registry, ref.Repository, ref.Digest}, trust: a.Trust.ID}
	fact, err := v.facts.Do(ctx, key, func(ctx context.Context) (engine.Evidence, time.Duration, error) {
		signatures, err := v.verify(ctx, ref, a)
		return engine.Evidence{Signatures: signatures}, v.ttl, err
	})
	if err != nil {
		return engine.Evidence{}, asFailure(err)
	}
	// A fact whose life ends while it is handed over is still one, and the contract knows no lifetime of 0.
	return engine.Evidence{Signatures: fact.Value.Signatures, TTL: max(fact.TTL, 1)}, nil
}

// verify does the work that a fact stands for: once for all who wait.
func (v *Verifier) verify(ctx context.Context, ref engine.Reference, a *engine.Authority) (_ []engine.Signature, err error) {
	// The parent's provider, so that spans go where the review's own does, and nowhere if it has none.
	tracer := trace.SpanFromContext(ctx).TracerProvider().Tracer("sluice/resolver/signature")
	ctx, span := tracer.Start(ctx, "verify")
	reason := engine.ReasonInternal // if what follows panics
	defer func() {
		v.outcomes[reason].Add(1)
		endSpan(span, ref, a, reason)
	}()
	signatures, failure := v.find(ctx, ref, a)
	if failure != nil {
		reason = failure.Reason
		return nil, failure
	}
	reason = engine.ReasonPassed
	return signatures, nil
}

func endSpan(span trace.Span, ref engine.Reference, a *engine.Authority, reason engine.Reason) {
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("sluice.image", ref.String()),
			attribute.String("sluice.authority", a.Name),
			attribute.String("sluice.outcome", reason.String()),
		)
		if reason.Transient() {
			span.SetStatus(codes.Error, reason.String())
		}
	}
	span.End()
}

// find downloads what lies beside the digest and judges it.
func (v *Verifier) find(ctx context.Context, ref engine.Reference, a *engine.Authority) ([]engine.Signature, *engine.Failure) {
	verifiers, err := keyVerifiers(a.Trust.Keys[0])
	if err != nil {
		return nil, &engine.Failure{
			Reason: engine.ReasonInternal,
			Public: "the policy's key is of no use",
			Err:    fmt.Errorf("authority %q: %w", a.Name, err),
		}
	}
	key := imageKey{ref.Registry, ref.Repository, ref.Digest}
	download, err := v.downloads.Do(ctx, key, func(ctx context.Context) (*found, time.Duration, error) {
		f, err := fetchClassic(ctx, v.fetch, ref)
		if err != nil {
			return nil, 0, err
		}
		for _, c := range f.candidates {
			if c.failure != nil { // for those who wait; the next one tries again
				return f, 0, nil
			}
		}
		return f, downloadTTL, nil
	})
	if err != nil {
		return nil, asFailure(err)
	}
	t := tally{found: download.Value, digest: ref.Digest}
	for _, c := range t.found.candidates {
		if c.failure != nil {
			t.undecided(c.failure)
			continue
		}
		if t.passed[c.blob] {
			continue
		}
		if err := ctx.Err(); err != nil { // nobody waits any more
			return nil, asFailure(err)
		}
		v.judged.Add(1)
		signature, err := judge(verifiers, c, ref.Digest)
		if errors.Is(err, errPanic) {
			v.panics.Add(1)
		}
		t.judged(c, signature, err)
	}
	return t.outcome()
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

// evidenceSize is about the bytes that e holds.
func evidenceSize(e engine.Evidence) int64 {
	var n int
	for _, s := range e.Signatures {
		n += len(s.Reference)
		for name, value := range s.Annotations {
			n += len(name) + len(value)
		}
	}
	return int64(n)
}
