package engine

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/cache"
)

// Config is what an Engine is made of. Zero numbers mean the defaults.
type Config struct {
	Resolver Resolver
	Verifier Verifier

	MaxVerdicts     int64 // how many verdicts are remembered, each KiB of text counting as one more; default 100,000
	MaxVerdictBytes int64 // if set, how many bytes the verdicts may take that are remembered, in place of MaxVerdicts
	MissesPerReview int   // how many images of one review are checked side by side; default 16
	MaxChecks       int   // how many images are checked at once, over all reviews; default 256
	MaxWaiting      int   // how many more may wait for that; beyond it reviews are shed; default 4,096
}

// Engine decides reviews. Its methods may be called concurrently.
type Engine struct {
	resolver Resolver
	verifier Verifier
	perMiss  int

	snapshot atomic.Pointer[Snapshot]
	verdicts *cache.Cache[verdictKey, *Verdict]

	checks     chan struct{} // a token for each image that is being checked
	waiting    atomic.Int64
	maxWaiting int64
	shed       atomic.Uint64

	refreshes refreshes
}

// New makes an Engine, which denies everything until Load.
func New(c Config) (*Engine, error) {
	if c.Resolver == nil || c.Verifier == nil {
		return nil, errors.New("engine: a resolver and a verifier are needed")
	}
	orDefault := func(v *int, otherwise int) {
		if *v <= 0 {
			*v = otherwise
		}
	}
	orDefault(&c.MissesPerReview, 16)
	orDefault(&c.MaxChecks, 256)
	orDefault(&c.MaxWaiting, 4096)
	if c.MaxVerdicts <= 0 {
		c.MaxVerdicts = 100_000
	}
	verdicts, err := newVerdicts(c.MaxVerdicts, c.MaxVerdictBytes)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		resolver: c.Resolver, verifier: c.Verifier, perMiss: c.MissesPerReview, verdicts: verdicts,
		checks: make(chan struct{}, c.MaxChecks), maxWaiting: int64(c.MaxWaiting),
	}
	e.refreshes.open(max(c.MaxChecks/4, 1))
	e.Load(NewSnapshot(nil, NoMatchDeny))
	return e, nil
}

// Load makes s the rules. No review that is answered after Load has returned is decided by earlier ones: their
// verdicts have other keys, and a review that is under way is decided again.
func (e *Engine) Load(s *Snapshot) { e.snapshot.Store(s) }

// Snapshot returns the rules in force.
func (e *Engine) Snapshot() *Snapshot { return e.snapshot.Load() }

// Close ends the background work, and waits for its end. Nothing may be decided after it.
func (e *Engine) Close() {
	e.refreshes.close()
	e.verdicts.Close()
}

// Stats is what the engine counted since it was made.
type Stats struct {
	Verdicts  cache.Stats
	Refreshes RefreshStats
	Checking  int    // images being checked now
	Waiting   int64  // images waiting for their turn now
	Shed      uint64 // images not checked because too many waited
}

// Stats returns the counts.
func (e *Engine) Stats() Stats {
	return Stats{
		Verdicts: e.verdicts.Stats(), Refreshes: e.refreshes.stats(),
		Checking: len(e.checks), Waiting: e.waiting.Load(), Shed: e.shed.Load(),
	}
}

// Hit decides the review if the verdict on each image is remembered, and otherwise returns false and leaves res
// undefined. It allocates nothing once res has grown, waits for no check, and takes no lock but a short one for a verdict
// that is due, or that is not in the first level of the cache.
func (e *Engine) Hit(req *Request, res *Result) bool {
	if req.empty() {
		return false
	}
	s := e.snapshot.Load()
	sc := s.scope(req.Namespace)
	res.begin(sc)
	asked := sc.plain()
	if req.Pin || req.Access != nil {
		asked = s.view(sc, req.question(), req.Access)
	}
	key := verdictKey{view: asked.key}
	now := e.verdicts.Now()
	for _, image := range req.Images {
		key.image = image
		v, due, ok := e.verdicts.Use(key, now)
		if !ok {
			return false
		}
		if due {
			e.refresh(asked, image)
		}
		res.add(v)
	}
	if len(req.Kept) > 0 && !req.Pin && !e.hitKept(s, asked, req, res, now) {
		return false
	}
	res.finish()
	res.Hit = true
	return true
}

// hitKept is Hit for what was there before, after the other images.
func (e *Engine) hitKept(s *Snapshot, asked view, req *Request, res *Result, now cache.Instant) bool {
	kept := s.view(asked.scope, keeping, req.Access)
	key := verdictKey{view: kept.key}
	// Of the same view, an image that is in both has one verdict.
	twice := len(req.Images) > 0 && kept.key != asked.key
	for _, image := range req.Kept {
		if twice && res.Find(image) != nil {
			continue
		}
		key.image = image
		v, due, ok := e.verdicts.Use(key, now)
		if !ok {
			return false
		}
		if due {
			e.refresh(kept, image)
		}
		res.add(v)
	}
	return true
}

// Decide decides a review that is no hit, checking what is not remembered within ctx. It always leaves an answer in
// res.
func (e *Engine) Decide(ctx context.Context, req *Request, res *Result) {
	for {
		s := e.snapshot.Load()
		e.miss(ctx, s, req, res)
		// Rules that changed meanwhile are the ones to answer by, while there is time.
		if e.snapshot.Load() == s || ctx.Err() != nil {
			return
		}
	}
}

// miss decides a review of which at least one image is not remembered: each distinct image once, side by side.
func (e *Engine) miss(ctx context.Context, s *Snapshot, req *Request, res *Result) {
	sc := s.scope(req.Namespace)
	asked := s.view(sc, req.question(), req.Access)
	kept := asked
	if len(req.Kept) > 0 {
		kept = s.view(sc, keeping, req.Access)
	}
	known := make(map[string]bool, len(req.Images)+len(req.Kept))
	images := make([]string, 0, len(req.Images)+len(req.Kept))
	add := func(more []string) {
		for _, image := range more {
			if !known[image] {
				image = strings.Clone(image)
				known[image] = true
				images = append(images, image)
			}
		}
	}
	add(req.Images)
	others := len(images) // from here on they are kept
	if !req.Pin {
		add(req.Kept)
	}
	verdicts := make([]*Verdict, len(images))
	var next atomic.Int64
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(images) {
				return
			}
			v := asked
			if i >= others {
				v = kept
			}
			verdicts[i] = e.verdict(ctx, v, images[i], i >= e.perMiss)
		}
	}
	var wg sync.WaitGroup
	for range min(e.perMiss, len(images)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	res.begin(sc)
	for _, v := range verdicts {
		res.add(v)
	}
	res.finish()
}

// verdict finds the verdict on one image, remembered, joined or decided now. It may run on a goroutine of the engine's
// own, where a panic that nobody recovers ends the process, so it becomes a denial here.
func (e *Engine) verdict(ctx context.Context, by view, image string, queued bool) (v *Verdict) {
	defer func() {
		if p := recover(); p != nil {
			v = broken(image, p)
		}
	}()
	ref, err := ParseReference(image)
	switch {
	case err != nil && by.question == pinning:
		return &Verdict{Image: image, Outcome: Allow, Reason: ReasonInvalidReference}
	case err != nil:
		return invalid(image, err)
	}
	loaded, err := e.verdicts.Do(ctx, verdictKey{by.key, image},
		func(ctx context.Context) (*Verdict, time.Duration, error) {
			j := newJudgement(e, by, image, ref, KnownFacts)
			defer j.done()
			v, ttl := j.decide(ctx) // not remembered if nobody waits any more: the cache sees to that
			return v, ttl, nil
		})
	if err != nil {
		f := *asFailure(err)
		f.Crowded = queued
		return newJudgement(e, by, image, ref, KnownFacts).undecided(&f)
	}
	if loaded.Due {
		e.refresh(by, image)
	}
	return loaded.Value
}

// admit waits for a turn to check an image. The release it returns must be called once.
func (e *Engine) admit(ctx context.Context) (release func(), f *Failure) {
	release = func() { <-e.checks }
	select {
	case e.checks <- struct{}{}:
		return release, nil
	default:
	}
	if e.waiting.Add(1) > e.maxWaiting {
		e.waiting.Add(-1)
		e.shed.Add(1)
		return nil, &Failure{Reason: ReasonOverloaded, Public: "too many checks are under way"}
	}
	defer e.waiting.Add(-1)
	select {
	case e.checks <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, asFailure(ctx.Err())
	}
}
