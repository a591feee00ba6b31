package credential

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"sluice/cache"
)

const (
	maxDuration  = 24 * time.Hour // for which an answer is kept, whatever the plugin says
	failureTTL   = time.Second
	maxAnswers   = 32 << 20 // bytes of answers that are kept
	maxProcesses = 8

	// maxOfOne is how many of these are one plugin's, where there are others: one that hangs must not keep them waiting.
	maxOfOne = maxProcesses / 2
)

// provider is one plugin: when it is asked, and what it said.
type provider struct {
	settings
	program program
	shared  *shared
	slots   chan struct{} // likewise for its own processes: not all, where there are others
	index   int

	// reach is the scope of the last answer: whom the next one is likely to be good for. So those wait for one run
	// together who need but one.
	reach atomic.Uint32

	runs, failures atomic.Uint64
	took           atomic.Int64 // nanoseconds
}

// shared is what providers have in common.
type shared struct {
	answers *cache.Cache[answerKey, answer]
	slots   chan struct{} // one for each process at a time
	timeout time.Duration
	log     *slog.Logger
}

// answerKey is one kind of two: where an answer is kept, and where a run is waited for, which is also where its failure
// is kept.
type answerKey struct {
	provider             int
	run                  bool
	scope                scope
	registry, repository string // empty where the scope does not tell them apart
}

func (p *provider) key(run bool, s scope, registry, repository string) answerKey {
	k := answerKey{provider: p.index, run: run, scope: s}
	if s <= scopeRegistry {
		k.registry = registry
	}
	if s == scopeImage {
		k.repository = repository
	}
	return k
}

func (p *provider) matches(t *target) bool {
	for i := range p.images {
		if p.images[i].match(t) {
			return true
		}
	}
	return false
}

// kept returns an answer that is good for an image, looking in the kubelet's order.
func (p *provider) kept(registry, repository string) (*Keyring, bool) {
	now := p.shared.answers.Now()
	for s := scopeImage; s <= scopeGlobal; s++ {
		if a, ok := p.shared.answers.Get(p.key(false, s, registry, repository), now); ok {
			return a.keyring, true
		}
	}
	return nil, false
}

// keyring returns what the plugin says about an image: what it has said, or else what it says now.
func (p *provider) keyring(ctx context.Context, registry, repository string) (*Keyring, error) {
	s := scope(p.reach.Load())
	for {
		if k, ok := p.kept(registry, repository); ok {
			return k, nil
		}
		loaded, err := p.shared.answers.Do(ctx, p.key(true, s, registry, repository),
			func(ctx context.Context) (answer, time.Duration, error) { return p.load(ctx, registry, repository) })
		if err != nil {
			return nil, err
		}
		switch a := loaded.Value; {
		case a.covers(registry, repository):
			return a.keyring, a.failure
		case a.scope >= s: // the key of the run would have been another
			return nil, fmt.Errorf("credential provider %s: its answer is for another image", p.name)
		default:
			s = a.scope // it was asked about another image, and its answer does not reach so far
		}
	}
}

// load runs the plugin, unless its answer has come meanwhile, and keeps what it says. A failure is a value, so that it is
// remembered for a moment; that nobody waits any more is an error.
func (p *provider) load(ctx context.Context, registry, repository string) (answer, time.Duration, error) {
	for _, slots := range [...]chan struct{}{p.slots, p.shared.slots} {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return answer{}, 0, err
	}
	if k, ok := p.kept(registry, repository); ok {
		return answer{scopeImage, registry, repository, k, nil}, 0, nil
	}
	image := runtimeName(registry) + "/" + repository
	begun := time.Now()
	limited, cancel := context.WithTimeout(ctx, p.shared.timeout)
	defer cancel()
	r, said, err := p.program.run(limited, image)
	p.took.Add(int64(time.Since(begun)))
	p.runs.Add(1)
	switch {
	case err != nil && ctx.Err() != nil:
		return answer{}, 0, ctx.Err()
	case err != nil:
		p.failures.Add(1)
		p.shared.log.WarnContext(ctx, "a credential provider failed", "provider", p.name, "image", image,
			"error", err.Error(), "stderr", said)
		// It says nothing about other images: one that a plugin fails for must not fail those beside it.
		failure := fmt.Errorf("credential provider %s: %w", p.name, err)
		return answer{scopeImage, registry, repository, nil, failure}, failureTTL, nil
	}
	p.reach.Store(uint32(r.scope))
	a := answer{r.scope, registry, repository, r.keyring, nil}
	if r.duration == asConfigured {
		r.duration = p.duration
	}
	// To put it there is to renew whatever there is.
	_, err = p.shared.answers.Renew(ctx, p.key(false, r.scope, registry, repository), math.MaxInt64,
		func(context.Context) (answer, time.Duration, error) { return a, min(r.duration, maxDuration), nil })
	if err != nil {
		return answer{}, 0, err
	}
	return a, 0, nil
}
