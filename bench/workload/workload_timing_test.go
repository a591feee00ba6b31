package workload

import "testing"

// BenchmarkNext is what a review costs before it is sent.
func BenchmarkNext(b *testing.B) {
	for name, o := range map[string]Options{
		"one":     {},
		"zipf":    {Images: 10_000, Zipf: 1.1, Namespaces: 10},
		"two":     {Images: 1000, Zipf: 1.1, Containers: 2},
		"unique":  {Images: 1000, Zipf: 1.1, Unique: 1},
		"varied":  {Images: 1000, Zipf: 1.1, Containers: 1, MaxContainers: 5, Deny: 0.05, Unique: 0.01, Annotations: 3, AnnotationSize: 60},
		"million": {Images: MaxImages, Zipf: 1},
	} {
		b.Run(name, func(b *testing.B) {
			s, err := New(o)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				s.Next()
			}
		})
	}
}
