package signature

import (
	"syscall"
	"testing"

	"sluice/engine"
	"sluice/resolver"
	"sluice/resolver/registrytest"
)

// BenchmarkJudge is the comparison of one signature with a key, and the reading of its claim: no network, no cache.
func BenchmarkJudge(b *testing.B) {
	for _, kind := range []string{"P-256", "P-384", "P-521", "RSA-2048", "Ed25519"} {
		k := newKey(b, kind)
		p := claimFor(b, image.Digest, map[string]any{"env": "prod"})
		l := layer{MediaType: payloadType, Digest: string(digestOf(p)), Size: int64(len(p))}
		for way, s := range map[string]string{"usual": sign(b, k.usual, p), "old": sign(b, k.old, p)} {
			if way == "old" && (kind == "P-256" || kind == "RSA-2048") {
				continue // the same
			}
			l.Annotations.Signature = s
			c := l.candidate(0)
			c.payload = p
			b.Run(kind+"/"+way, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					verifiers, err := keyVerifiers(k.authority.Key)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := judge(verifiers, c, image.Digest); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkClaim is what judge does beside cryptography.
func BenchmarkClaim(b *testing.B) {
	p := claimFor(b, image.Digest, map[string]any{"env": "prod"})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseClaim(p); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkManifest reads a signature manifest of one layer, and the largest of junk that is read at all.
func BenchmarkManifest(b *testing.B) {
	p := claimFor(b, image.Digest, nil)
	l := layerOf(p, sign(b, newKey(b, "P-256").usual, p))
	junk := make([]descriptor, maxLayers)
	for i := range junk {
		junk[i] = l
	}
	for name, raw := range map[string][]byte{"one": manifestOf(b, l), "thousand": manifestOf(b, junk...)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := parseManifest(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFact is a Verify that is answered from the cache.
func BenchmarkFact(b *testing.B) {
	k := newKey(b, "P-256")
	v := newVerifier(b, signedRegistry(b, k))
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(ctx, image, k.authority); err != nil {
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
		r, err := res.Resolve(ctx, tagged)
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
			if _, err := v.Verify(ctx, resolve(b), h.trusted); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("trips", func(b *testing.B) {
		measure(b, func() {
			if _, err := fetchClassic(ctx, res, resolve(b)); err != nil {
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
