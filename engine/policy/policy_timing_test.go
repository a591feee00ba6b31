package policy_test

import (
	"testing"

	"sluice/engine/policy"
)

// BenchmarkParse is what a reload costs for one policy with every field and three keys.
func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	opts := options()
	for b.Loop() {
		if _, err := policy.Parse("testdata/test.yaml", []byte(full), opts); err != nil {
			b.Fatal(err)
		}
	}
}
