package signature

import (
	"syscall"
	"testing"

	"sluice/engine"
	"sluice/resolver"
	"sluice/resolver/registrytest"
	"sluice/resolver/signature/attached"
)

// BenchmarkFact is a Verify that is answered from the cache.
func BenchmarkFact(b *testing.B) {
	k := newKey(b, "P-256")
	v := newVerifier(b, signedRegistry(b, k))
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(ctx, image, k.authority, engine.KnownFacts); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCold is everything that a tagged image costs that nothing is known of: tag, signature manifest, payload
// (three trips to a registry in this process) and one verification. cpu-us/op is user and system time, that of the
// registry included. trips is the same without the verification.
func BenchmarkCold(b *testing.B) {
	h := newHouse(b, registrytest.P256)
	h.sign(b, h.image, h.key, registrytest.SignOptions{})
	res, err := resolver.New(resolver.Config{
		Registries: []resolver.Registry{{Host: h.registry.Host(), PlainHTTP: true}},
		TagTTL:     1, // ns, so that it is asked for each time
	})
	if err != nil {
		b.Fatal(err)
	}
	defer res.Close()
	v := newVerifier(b, res)
	ctx := b.Context()
	tagged := engine.Reference{Registry: h.registry.Host(), Repository: "team/app", Tag: "v1"}
	resolve := func(b *testing.B) engine.Reference {
		r, err := res.Resolve(ctx, tagged, engine.KnownFacts)
		if err != nil {
			b.Fatal(err)
		}
		return engine.Reference{Registry: tagged.Registry, Repository: tagged.Repository, Digest: r.Digest}
	}
	measure := func(b *testing.B, op func()) {
		b.ReportAllocs()
		op() // connect
		before := cpu(b)
		for b.Loop() {
			op()
		}
		b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e3, "cpu-us/op")
	}
	b.Run("verify", func(b *testing.B) {
		measure(b, func() {
			v.facts.Invalidate()
			v.downloads.Invalidate()
			if _, err := v.Verify(ctx, resolve(b), h.trusted, engine.KnownFacts); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("trips", func(b *testing.B) {
		measure(b, func() {
			if _, err := attached.Find(ctx, res, attached.SignatureTag, resolve(b)); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// cpu returns the user and system time that this process has used, in nanoseconds.
func cpu(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
