package resolver

import (
	"testing"

	"sluice/resolver/registrytest"
)

func BenchmarkResolveHit(b *testing.B) {
	reg := startRegistry(b, registrytest.Options{})
	push(b, reg, "team/app:1")
	r, image := plain(b, reg), ref(b, "%s/team/app:1", reg.Host())
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Resolve(ctx, image); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkManifest(b *testing.B) {
	for name, o := range map[string]registrytest.Options{
		"http": {}, "tls": {TLS: true}, "bearer": {TLS: true, Auth: registrytest.BearerAuth},
	} {
		b.Run(name, func(b *testing.B) {
			reg := startRegistry(b, o)
			digest := push(b, reg, "team/app:1")
			entry := Registry{Host: reg.Host(), PlainHTTP: !o.TLS}
			if o.TLS {
				entry.CAFile = caFile(b, reg)
			}
			r, image := newTest(b, nil, Config{Registries: []Registry{entry}}), ref(b, "%s/team/app@%s", reg.Host(), digest)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Manifest(ctx, image); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
