package engine

import (
	"fmt"
	"testing"
)

// hitReviews makes an engine, and reviews whose verdicts it remembers.
func hitReviews(t testing.TB) (e *Engine, allowed, denied, many *Request) {
	t.Helper()
	ports := &facts{}
	ports.sign(ports.push("registry.example.com/team/app:v1.2.3"), "release", nil)
	ports.push("registry.example.com/team/bad:v1.2.3")
	e = newEngine(t, ports, NoMatchDeny, policyFor(t, "signed", "registry.example.com/**", signedBy("release")),
		policyFor(t, "no-latest", "**", denyTags("latest")))
	allowed = &Request{Namespace: "prod-a", Images: []string{"registry.example.com/team/app:v1.2.3"}}
	denied = &Request{Namespace: "prod-a", Images: []string{"registry.example.com/team/app:v1.2.3", "registry.example.com/team/bad:v1.2.3"}}
	many = &Request{Namespace: "prod-a"}
	for i := range 3000 {
		many.Images = append(many.Images, fmt.Sprintf("registry.example.com/team/app-%d", i))
	}
	for _, req := range []*Request{allowed, denied, many} {
		var res Result
		e.Decide(t.Context(), req, &res)
		if !e.Hit(req, &res) {
			t.Fatalf("the review of %d images is not remembered", len(req.Images))
		}
	}
	return e, allowed, denied, many
}

func benchmarkHit(b *testing.B, e *Engine, req *Request) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var res Result
		for pb.Next() {
			if !e.Hit(req, &res) {
				b.Fatal("no hit")
			}
		}
	})
}

func BenchmarkHitOneImage(b *testing.B) {
	e, allowed, _, _ := hitReviews(b)
	benchmarkHit(b, e, allowed)
}

func BenchmarkHitTwoImagesOneDenied(b *testing.B) {
	e, _, denied, _ := hitReviews(b)
	benchmarkHit(b, e, denied)
}

func BenchmarkHit3000Images(b *testing.B) {
	e, _, _, many := hitReviews(b)
	benchmarkHit(b, e, many)
}

func BenchmarkHitWithAccess(b *testing.B) {
	e, allowed, _, _ := hitReviews(b)
	req := &Request{Namespace: allowed.Namespace, Images: allowed.Images, Access: &Access{ID: fmt.Sprintf("%064d", 1)}}
	var res Result
	e.Decide(b.Context(), req, &res)
	benchmarkHit(b, e, req)
}

func BenchmarkFindEachOf3000(b *testing.B) {
	e, _, _, many := hitReviews(b)
	b.ReportAllocs()
	var res Result
	for b.Loop() {
		if !e.Hit(many, &res) {
			b.Fatal("no hit")
		}
		for _, image := range many.Images {
			if res.Find(image) == nil {
				b.Fatal("not found")
			}
		}
	}
}

func BenchmarkParseReference(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseReference("registry.example.com/team/app:v1.2.3"); err != nil {
			b.Fatal(err)
		}
	}
}
