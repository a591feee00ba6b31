package main

import (
	"context"
	"sync/atomic"
	"time"

	"sluice/engine"
	"sluice/resolver"
	"sluice/resolver/signature"
)

// backend is what facts come from: both of the engine's ports, by one configuration of the registries.
type backend struct {
	resolver *resolver.Resolver
	verifier *signature.Verifier
}

// newBackend makes the backend of a configuration. seen is told of what it does, if it is not nil.
func newBackend(c *Config, seen *explanation) (*backend, error) {
	rc, options := c.resolver(), signature.Options{FactTTL: c.Cache.SignatureTTL, MaxFacts: c.Cache.Signatures.entries, MaxBytes: c.Cache.Signatures.bytes}
	if seen != nil {
		rc.Observe, options.Observe = seen.request, seen.finding
	}
	r, err := resolver.New(rc)
	if err != nil {
		return nil, err
	}
	v, err := signature.New(r, options)
	if err != nil {
		r.Close()
		return nil, err
	}
	return &backend{r, v}, nil
}

func (b *backend) close() {
	b.verifier.Close()
	b.resolver.Close()
}

// ports hands the engine the backend of the moment, so that registries and credentials can change under it.
type ports struct{ current atomic.Pointer[backend] }

func (p *ports) Resolve(ctx context.Context, ref engine.Reference, known engine.Known) (engine.Resolution, error) {
	return p.current.Load().resolver.Resolve(ctx, ref, known)
}

func (p *ports) Children(ctx context.Context, ref engine.Reference) ([]engine.Child, error) {
	return p.current.Load().resolver.Children(ctx, ref)
}

func (p *ports) Verify(
	ctx context.Context, ref engine.Reference, a *engine.Authority, known engine.Known,
) (engine.Evidence, error) {
	return p.current.Load().verifier.Verify(ctx, ref, a, known)
}

// swap puts b in place. The one before is closed when no review can be using it any more.
func (p *ports) swap(b *backend, longest time.Duration) {
	if old := p.current.Swap(b); old != nil {
		time.AfterFunc(2*longest, old.close)
	}
}
