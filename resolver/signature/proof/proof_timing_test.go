package proof

import (
	"syscall"
	"testing"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	. "sluice/resolver/signature/signaturetest"
)

// BenchmarkJudge is what one item costs, once the keys and roots have been prepared. cpu-us/op is user and system time.
func BenchmarkJudge(b *testing.B) {
	ours := must(NewSigstore())
	key, keyless := must(NewKeySigner(P256)), must(ours.Keyless(Identity{Issuer: tokenBy, Subject: holder}))
	byKey := judge(b, engine.Trust{Keys: keys(key)})
	byRoot := judge(b, engine.Trust{Roots: roots(ours.TrustedRoot()), Logs: 1, SCTs: 1})
	public := judge(b, engine.Trust{Roots: roots(readFile(b, "testdata/public_good_root.json")), Logs: 1, SCTs: 1})
	rekor, tiles := Evidence{Log: Rekor}, Evidence{Log: RekorTiles, Timestamp: true}
	stranger := must(must(NewSigstore()).Keyless(Identity{Issuer: tokenBy, Subject: holder}))
	publicItem := &attached.Item{Form: attached.Bundle, Content: readFile(b, "testdata/public_good_attestation.json")}
	for _, c := range []struct {
		name   string
		j      *Judge
		item   *attached.Item
		digest engine.Digest
		junk   bool
	}{
		{name: "key/classic", j: byKey, item: found(b, must(ours.Classic(key, about(), Evidence{})))},
		{name: "key/bundle", j: byKey, item: found(b, must(ours.Bundle("0.3", key, about(), rekor)))},
		{name: "keyless/classic", j: byRoot, item: found(b, must(ours.Classic(keyless, about(), rekor)))},
		{name: "keyless/bundle", j: byRoot, item: found(b, must(ours.Bundle("0.3", keyless, about(), rekor)))},
		{name: "keyless/bundle-tiles", j: byRoot, item: found(b, must(ours.Bundle("0.3", keyless, about(), tiles)))},
		{name: "keyless/attestation-classic", j: byRoot, item: found(b, must(ours.Classic(keyless, provenance(), rekor)))},
		{name: "keyless/attestation-bundle", j: byRoot, item: found(b, must(ours.Bundle("0.3", keyless, provenance(), rekor)))},
		{name: "public-good/attestation-bundle", j: public, item: publicItem, digest: Describe(publicItem).Digests[0]},
		{name: "junk/another-key", j: byKey, item: found(b, must(ours.Classic(must(NewKeySigner(P256)), about(), Evidence{}))), junk: true},
		{name: "junk/another-authority", j: byRoot, item: found(b, must(ours.Bundle("0.3", stranger, about(), rekor))), junk: true},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			if c.digest == "" {
				c.digest = digest
			}
			before := cpu(b)
			for b.Loop() {
				if _, err := c.j.Judge(c.item, c.digest); (err != nil) != c.junk {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e3, "cpu-us/op")
		})
	}
}

// BenchmarkNew is what a trusted root costs when the rules are loaded.
func BenchmarkNew(b *testing.B) {
	trust := &engine.Trust{Roots: roots(readFile(b, "testdata/public_good_root.json")), Logs: 1, SCTs: 1}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(trust); err != nil {
			b.Fatal(err)
		}
	}
}

// cpu is the processor time of this process, in nanoseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
