package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"sluice/engine"
	"sluice/resolver"
	"sluice/resolver/credential"
	"sluice/resolver/signature"
)

// backend is what facts come from: both of the engine's ports, by one configuration of the registries.
type backend struct {
	providers *credential.Providers // nil if there are none
	resolver  *resolver.Resolver
	verifier  *signature.Verifier
}

// newBackend makes the backend of a configuration. seen is told of what it does, if it is not nil.
func newBackend(c *Config, seen *explanation, log *slog.Logger) (_ *backend, err error) {
	b := new(backend)
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	rc, options := c.resolver(), signature.Options{
		FactTTL: c.Cache.SignatureTTL, MaxFacts: c.Cache.Signatures.entries, MaxBytes: c.Cache.Signatures.bytes,
	}
	if seen != nil {
		rc.Observe, options.Observe = seen.request, seen.finding
	}
	if from := c.CredentialProviders; from.ConfigFile != "" {
		b.providers, err = credential.New(credential.Config{
			ConfigFile: c.path(from.ConfigFile), BinDir: c.path(from.BinDir), Log: log,
		})
		if err != nil {
			return nil, fmt.Errorf("credentialProviders: %w", err)
		}
		rc.Keychain = b.providers
	}
	if b.resolver, err = resolver.New(rc); err != nil {
		return nil, err
	}
	for _, dir := range c.HostsDirs {
		// Container runtimes say nothing of it, either. But here it may be that nobody has mounted it.
		if _, err := os.Stat(dir); err != nil && log != nil {
			log.Warn("no mirrors are known from a directory of hostsDirs", "directory", dir, "error", err)
		}
	}
	if b.verifier, err = signature.New(b.resolver, options); err != nil {
		return nil, err
	}
	return b, nil
}

// close ends what newBackend began, as far as it came.
func (b *backend) close() {
	if b.verifier != nil {
		b.verifier.Close()
	}
	if b.resolver != nil {
		b.resolver.Close()
	}
	if b.providers != nil {
		b.providers.Close()
	}
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
