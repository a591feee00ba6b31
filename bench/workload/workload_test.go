package workload

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"testing"

	"sluice/bench"
)

// fullReview is all of an ImageReview as kube-apiserver encodes it: its fields in the order of k8s.io/api.
type fullReview struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Metadata   struct {
		Created *string `json:"creationTimestamp,omitempty"`
	} `json:"metadata"`
	Spec   reviewSpec `json:"spec"`
	Status struct {
		Allowed bool `json:"allowed"`
	} `json:"status"`
}

func decode(t *testing.T, r bench.Review) reviewSpec {
	t.Helper()
	var full fullReview
	dec := json.NewDecoder(bytes.NewReader(r.Body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&full); err != nil {
		t.Fatalf("%v: %.300s", err, r.Body)
	}
	return full.Spec
}

func source(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFirstReview(t *testing.T) {
	t.Parallel()
	r := source(t, Options{Containers: 2, Allowed: "nginx:1"}).Next()
	// Recorded from kube-apiserver v1.36.3, but for the images.
	const want = `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{},` +
		`"spec":{"containers":[{"image":"nginx:1"},{"image":"nginx:1"}],"namespace":"default"},"status":{"allowed":false}}` + "\n"
	if string(r.Body) != want {
		t.Errorf("%s", r.Body)
	}
	if key := `{"containers":[{"image":"nginx:1"},{"image":"nginx:1"}],"namespace":"default"}`; r.Key != key {
		t.Errorf("%s", r.Key)
	}
}

// TestEncodedAsThePluginDoes holds the bytes against encoding/json with the plugin's types.
func TestEncodedAsThePluginDoes(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{},
		{Images: 50, Zipf: 1.1, MaxContainers: 5, Digests: 0.5, Namespaces: 3, Deny: 0.2, Unique: 0.2},
		{Images: 5, Allowed: "a<b>&\u2028\"\\é{n}\x01\xff", Annotations: 12, AnnotationSize: 40, Deny: 0.5},
		{Weights: []float64{1, 0, 2}, Annotations: 1, Namespaces: 2},
	} {
		s := source(t, o)
		for range 200 {
			r := s.Next()
			full := fullReview{Kind: "ImageReview", APIVersion: "imagepolicy.k8s.io/v1alpha1", Spec: decode(t, r)}
			var want bytes.Buffer
			if err := json.NewEncoder(&want).Encode(full); err != nil {
				t.Fatal(err)
			}
			// json.Marshal writes U+FFFD where a string is not UTF-8; once decoded, it is a character like others.
			if got := strings.ReplaceAll(string(r.Body), `\ufffd`, "\ufffd"); got != want.String() {
				t.Fatalf("got  %s\nwant %s", got, want.String())
			}
			if key, _ := json.Marshal(full.Spec); string(key) != strings.ReplaceAll(r.Key, `\ufffd`, "\ufffd") {
				t.Fatalf("key  %s\nwant %s", r.Key, key)
			}
		}
	}
}

func TestSameOptionsSameBytes(t *testing.T) {
	t.Parallel()
	o := Options{Seed: 7, Images: 100, Zipf: 1, MaxContainers: 3, Deny: 0.1, Unique: 0.1, Digests: 0.5, Annotations: 2, AnnotationSize: 9, Namespaces: 4}
	a, b := source(t, o), source(t, o)
	o.Seed = 8
	c := source(t, o)
	differ := 0
	for range 500 {
		x, y, z := a.Next(), b.Next(), c.Next()
		if !bytes.Equal(x.Body, y.Body) || x.Key != y.Key || x.Deny != y.Deny {
			t.Fatalf("%s\n%s", x.Body, y.Body)
		}
		if !bytes.Equal(x.Body, z.Body) {
			differ++
		}
	}
	if differ < 400 {
		t.Errorf("another seed differs in %d of 500", differ)
	}
}

// TestReviewsStay makes sure that a review is not overwritten by the next ones.
func TestReviewsStay(t *testing.T) {
	t.Parallel()
	s := source(t, Options{Images: 3, MaxContainers: 2, Deny: 0.3})
	first := s.Next()
	body, key := string(first.Body), first.Key
	for range 100 {
		s.Next()
	}
	if string(first.Body) != body || first.Key != key {
		t.Error("it changed")
	}
}

// TestShares counts what 20,000 reviews hold. The same seed draws the same, so this can't fail by chance.
func TestShares(t *testing.T) {
	t.Parallel()
	const n = 20_000
	near := func(what string, got int, share float64) {
		t.Helper()
		if math.Abs(float64(got)/n-share) > 0.015 {
			t.Errorf("%s: %d of %d, want %v", what, got, n, share)
		}
	}
	s := source(t, Options{
		Seed: 1, Images: 1000, Zipf: 1.2, Weights: []float64{3, 0, 1}, Deny: 0.1, Unique: 0.05, Digests: 0.25, Namespaces: 4,
	})
	images, seen := make(map[string]int), make(map[string]bool)
	var denied, unique, three, second, digest, all int
	for range n {
		r := s.Next()
		spec := decode(t, r)
		switch len(spec.Containers) {
		case 1:
		case 3:
			three++
		default:
			t.Fatalf("%d containers", len(spec.Containers))
		}
		if spec.Namespace == "bench-2" {
			second++
		}
		bad := 0
		for _, c := range spec.Containers {
			switch {
			case strings.HasPrefix(c.Image, "registry.example.com/denied/"):
				bad++
			case strings.HasPrefix(c.Image, "registry.example.com/team/new:1-"):
				if unique++; seen[c.Image] {
					t.Fatalf("%s again", c.Image)
				}
				seen[c.Image] = true
			default:
				all++
				images[c.Image]++
				if strings.Contains(c.Image, "@sha256:") {
					digest++
				}
			}
		}
		if want := bad == 1; want != (r.Deny == bench.ExpectDeny) || bad > 1 || r.Deny == bench.Unknown {
			t.Fatalf("%d denied images, expectation %d", bad, r.Deny)
		}
		denied += bad
	}
	near("denied", denied, 0.1)
	near("unique", unique, 0.05)
	near("three containers", three, 0.25)
	near("one of four namespaces", second, 0.25)
	if digest == 0 || digest == all {
		t.Errorf("%d of %d by digest", digest, all)
	}
	digests := 0
	wellFormed := regexp.MustCompile(`^registry\.example\.com/team/app-\d+(:v1|@sha256:[0-9a-f]{64})$`)
	for name := range images {
		if !wellFormed.MatchString(name) {
			t.Fatal(name)
		}
		if strings.Contains(name, "@") {
			digests++
		}
	}
	if share := float64(digests) / float64(len(images)); share < 0.2 || share > 0.3 {
		t.Errorf("%d of %d images by digest", digests, len(images))
	}
}

func TestZipf(t *testing.T) {
	t.Parallel()
	const n, draws = 50, 400_000
	for _, exponent := range []float64{0, 0.7, 1, 2} {
		s := source(t, Options{Seed: 3})
		c := newZipf(n, exponent)
		counts, sum := make([]int, n), 0.0
		for range draws {
			counts[c.pick(s.rand)]++
		}
		for i := range n {
			sum += math.Pow(float64(i+1), -exponent)
		}
		for i, got := range counts {
			want := math.Pow(float64(i+1), -exponent) / sum * draws
			if math.Abs(float64(got)-want) > 5*math.Sqrt(want)+1 {
				t.Errorf("exponent %v, number %d: %d times, want %.0f", exponent, i, got, want)
			}
		}
	}
}

// TestNeverWithoutWeight covers the remainders that rounding leaves in an alias table.
func TestNeverWithoutWeight(t *testing.T) {
	t.Parallel()
	s := source(t, Options{})
	for _, weights := range [][]float64{{0, 1}, {1, 0}, {0, 0.1, 0, 0.3, 0.7, 0}, {1e-9, 0, 1e9}} {
		c := newChooser(weights)
		for range 10_000 {
			if i := c.pick(s.rand); weights[i] == 0 {
				t.Fatalf("%v: %d", weights, i)
			}
		}
	}
	for range 5000 {
		weights := make([]float64, 2+s.rand.IntN(20))
		for i := range weights {
			if weights[i] = s.rand.Float64(); s.rand.IntN(3) == 0 {
				weights[i] = 0
			}
		}
		weights[0] = 0.1
		for i, keep := range newChooser(weights).keep {
			if weights[i] == 0 && keep != 0 {
				t.Fatalf("%v: %d can be picked", weights, i)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	f := func(o Options, want string) {
		t.Helper()
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	f(Options{Images: -1}, "images")
	f(Options{Images: MaxImages + 1}, "images")
	f(Options{Images: 2, Allowed: "nginx:1"}, "need {n}")
	f(Options{Allowed: " nginx"}, "space")
	f(Options{Zipf: -1}, "exponent")
	f(Options{Zipf: math.NaN()}, "exponent")
	f(Options{Deny: 1.1}, "shares")
	f(Options{Deny: 0.6, Unique: 0.6}, "together")
	f(Options{Digests: math.NaN()}, "shares")
	f(Options{Unique: 1, UniqueImage: "nginx"}, "need {n}")
	f(Options{Containers: -1}, "containers")
	f(Options{Containers: 3, MaxContainers: 2}, "containers")
	f(Options{MaxContainers: MaxContainers + 1}, "containers")
	f(Options{MaxContainers: 2, Weights: []float64{1}}, "either")
	f(Options{Weights: []float64{0, 0}}, "0")
	f(Options{Weights: []float64{-1, 2}}, "weight")
	f(Options{Annotations: MaxAnnotations + 1}, "annotations")
	f(Options{Annotations: 1000, AnnotationSize: 1 << 20, Namespaces: 1000}, "take up")
	f(Options{Namespaces: -1}, "namespaces")
	f(Options{Shuffle: true}, "shuffled")
	f(Options{List: "x", Deny: 0.1}, "list")
	f(Options{List: "/nonexistent/list"}, "no such file")
	f(Options{Recorded: "/nonexistent/reviews"}, "no such file")
}

func TestString(t *testing.T) {
	t.Parallel()
	f := func(o Options, want string) {
		t.Helper()
		if got := source(t, o).String(); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	f(Options{}, "1 image, 1 container")
	f(Options{Images: 9, Containers: 2}, "9 images, evenly, 2 containers")
	f(Options{Images: 9, Zipf: 1.1, MaxContainers: 4, Deny: 0.051, Unique: 0.01, Digests: 0.5, Annotations: 2, AnnotationSize: 10, Namespaces: 5},
		"9 images, Zipf 1.1, 1 to 4 containers, 50 % by digest, 5.1 % with a denied image, 1 % with an image never seen before, 2 annotations of 10 bytes, 5 namespaces")
	f(Options{Weights: []float64{1, 2}}, "1 image, 1 to 2 containers, weighted")
}
