package engine

import (
	"fmt"
	"testing"
)

// TestFind finds each image of few and of many, and no other, also while the list grows.
func TestFind(t *testing.T) {
	t.Parallel()
	e := newEngine(t, &facts{}, NoMatchDeny, policyFor(t, "p", "**", keeps, denyTags("latest")))
	var res Result
	if res.Find("x") != nil {
		t.Error("found in a Result that was not used")
	}
	image := func(i int) string { return fmt.Sprintf("reg.test/app-%d:1", i) }
	for _, n := range []int{5000, 1, fewVerdicts - 1, fewVerdicts, fewVerdicts + 1, 3 * fewVerdicts, 1000} {
		req := &Request{Namespace: "default"}
		for i := range n {
			if req.Images = append(req.Images, image(i)); i%2 == 0 { // half of what is kept is changed as well
				req.Kept = append(req.Kept, image(i), image(n+i))
			}
		}
		for range 2 {
			if !e.Hit(req, &res) {
				e.Decide(t.Context(), req, &res)
			}
			for i := range 2 * n {
				v := res.Find(image(i))
				switch {
				case i < n && (v == nil || v.Image != image(i) || v.Reason != ReasonPassed):
					t.Fatalf("%d images, hit %v: %s is %+v", n, res.Hit, image(i), v)
				case i >= n && i%2 == n%2 && (v == nil || v.Image != image(i) || v.Reason != ReasonUnchanged):
					t.Fatalf("%d images, hit %v: %s, which was kept, is %+v", n, res.Hit, image(i), v)
				case i >= n && i%2 != n%2 && v != nil:
					t.Fatalf("%d images, hit %v: %s was not asked for, and is %+v", n, res.Hit, image(i), v)
				}
			}
			if res.Find("reg.test/app-0") != nil || res.Find("") != nil {
				t.Errorf("%d images: found what is not there", n)
			}
		}
		if !res.Hit {
			t.Errorf("%d images are no hit", n)
		}
	}
}

// TestFindFirst: of two verdicts on one image, as there are if one was renewed meanwhile, both ways find the first.
func TestFindFirst(t *testing.T) {
	t.Parallel()
	res := Result{verdicts: []*Verdict{{Image: "a"}, {Image: "b"}, {Image: "a"}}}
	for _, v := range res.verdicts[:2] {
		if res.Find(v.Image) != v || res.byImage.find(res.verdicts, v.Image) != v {
			t.Errorf("not the first of %s", v.Image)
		}
	}
}

// TestFindWhileGrowing loses nothing of what was in a table that became too small.
func TestFindWhileGrowing(t *testing.T) {
	t.Parallel()
	var res Result
	for n := range 200 {
		res.verdicts = append(res.verdicts, &Verdict{Image: fmt.Sprint(n)})
		for i, v := range res.verdicts {
			if res.byImage.find(res.verdicts, fmt.Sprint(i)) != v {
				t.Fatalf("%d of %d is not found", i, n)
			}
		}
	}
}
