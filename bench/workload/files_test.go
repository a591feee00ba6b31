package workload

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sluice/bench"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestList(t *testing.T) {
	t.Parallel()
	name := write(t, filepath.Join(t.TempDir(), "images"), "# popular first\n\ngood.example/a:1 allow\n  bad.example/b:1\tdeny # why\nodd.example/c:1\n")
	s := source(t, Options{List: name})
	want := map[string]bench.Expectation{"good.example/a:1": bench.ExpectAllow, "bad.example/b:1": bench.ExpectDeny, "odd.example/c:1": bench.Unknown}
	seen := make(map[string]bool)
	for range 100 {
		r := s.Next()
		name := decode(t, r).Containers[0].Image
		if e, ok := want[name]; !ok || e != r.Deny {
			t.Fatalf("%s: %d", name, r.Deny)
		}
		seen[name] = true
	}
	if len(seen) != 3 {
		t.Error(seen)
	}
	if got := s.String(); got != "3 images, evenly, from a list, 1 container" {
		t.Error(got)
	}
	// One denied image denies the review; one that nothing is known of leaves the rest open.
	two := source(t, Options{List: name, Containers: 2})
	for range 200 {
		r := two.Next()
		c := decode(t, r).Containers
		if got := both(want[c[0].Image], want[c[1].Image]); got != r.Deny {
			t.Fatalf("%v: %d", c, r.Deny)
		}
	}
	// The first images of the list only.
	first := source(t, Options{List: name, Images: 1})
	for range 20 {
		if r := first.Next(); r.Deny != bench.ExpectAllow {
			t.Fatalf("%s", r.Body)
		}
	}
}

func TestBoth(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]bench.Expectation{
		{bench.ExpectAllow, bench.ExpectAllow, bench.ExpectAllow},
		{bench.ExpectAllow, bench.Unknown, bench.Unknown},
		{bench.Unknown, bench.ExpectAllow, bench.Unknown},
		{bench.Unknown, bench.ExpectDeny, bench.ExpectDeny},
		{bench.ExpectDeny, bench.ExpectAllow, bench.ExpectDeny},
	} {
		if got := both(c[0], c[1]); got != c[2] {
			t.Errorf("%v: %d", c, got)
		}
	}
}

func TestListRefused(t *testing.T) {
	t.Parallel()
	f := func(content, want string) {
		t.Helper()
		name := write(t, filepath.Join(t.TempDir(), "images"), content)
		if _, err := New(Options{List: name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", content, err, want)
		}
	}
	f("", "no image")
	f("# nothing\n", "no image")
	f("a\nb maybe\n", "images:2: a line is")
	f("a\n\nb deny now\n", "images:3: a line is")
	f("a\n"+strings.Repeat("b", maxReference+2048), "images:2: ")
	f("a\n"+strings.Repeat("b", maxReference+1)+"\n", "images:2: a reference has more")
	name := write(t, filepath.Join(t.TempDir(), "images"), "a\n")
	if _, err := New(Options{List: name, Images: 2}); err == nil || !strings.Contains(err.Error(), "has 1 images, not 2") {
		t.Error(err)
	}
}

const (
	recordedA = `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{"creationTimestamp":null},"spec":{"containers":[{"image":"a\u003cb:1"},{"image":"init:1"}],"annotations":{"x.image-policy.k8s.io/break-glass":"yes"},"namespace":"default"},"status":{"allowed":false}}`
	recordedB = `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{},"spec":{"containers":[{"image":"b:1"}]},"status":{"allowed":false}}`
)

func TestRecorded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1.jsonl"), recordedA+"\n"+recordedB+"\n")
	pretty := strings.ReplaceAll(recordedB, ",", ",\n  ")
	write(t, filepath.Join(dir, "2.json"), pretty)
	write(t, filepath.Join(dir, "README.md"), "not a review")
	list := write(t, filepath.Join(dir, "list"), "b:1 allow\ninit:1 deny\n")

	s := source(t, Options{Recorded: dir})
	for _, want := range []string{recordedA, recordedB, recordedB, recordedA} {
		r := s.Next()
		if string(r.Body) != want+"\n" || r.Deny != bench.Unknown {
			t.Errorf("%d %s", r.Deny, r.Body)
		}
	}
	if got := s.String(); got != "3 recorded reviews, in order" {
		t.Error(got)
	}
	if got := source(t, Options{Recorded: filepath.Join(dir, "2.json")}).String(); got != "1 recorded review" {
		t.Error(got)
	}
	r := source(t, Options{Recorded: dir}).Next()
	if want := `{"containers":[{"image":"a\u003cb:1"},{"image":"init:1"}],"annotations":{"x.image-policy.k8s.io/break-glass":"yes"},"namespace":"default"}`; r.Key != want {
		t.Errorf("key %s", r.Key)
	}
	s = source(t, Options{Recorded: dir, List: list})
	for _, want := range []bench.Expectation{bench.ExpectDeny, bench.ExpectAllow} {
		if r := s.Next(); r.Deny != want {
			t.Errorf("%d %s", r.Deny, r.Body)
		}
	}
}

func TestRecordedShuffled(t *testing.T) {
	t.Parallel()
	var content strings.Builder
	for range 50 {
		content.WriteString(recordedA + recordedB) // documents need nothing between them
	}
	name := write(t, filepath.Join(t.TempDir(), "reviews"), content.String())
	order := func(o Options) (s string) {
		o.Recorded = name
		replay := source(t, o)
		for range 100 {
			s += strconv.Itoa(len(decode(t, replay.Next()).Containers))
		}
		return s
	}
	plain := order(Options{})
	if plain != strings.Repeat("21", 50) {
		t.Error(plain)
	}
	a, again, b := order(Options{Shuffle: true}), order(Options{Shuffle: true}), order(Options{Shuffle: true, Seed: 1})
	if a == plain || a != again || a == b || strings.Count(a, "1") != 50 {
		t.Errorf("%s\n%s\n%s", a, again, b)
	}
}

func TestRecordedRefused(t *testing.T) {
	t.Parallel()
	f := func(content, want string) {
		t.Helper()
		name := write(t, filepath.Join(t.TempDir(), "reviews"), content)
		if _, err := New(Options{Recorded: name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", content, err, want)
		}
	}
	f("", "no ImageReview")
	f("\n\n", "no ImageReview")
	f(recordedA+"\n\n{}", `reviews:3: it is a "" of ""`)
	f(recordedA+"\n[1,\n2]", "reviews:2: ")
	f(recordedA+"\n{\n\"kind\": nonsense", "reviews:3: ")
	f(recordedA+"\n"+recordedA[:100], "reviews:2: unexpected EOF")
	f(strings.ReplaceAll(recordedB, "v1alpha1", "v1"), "reviews:1: it is a")
	f(strings.ReplaceAll(recordedB, `[{"image":"b:1"}]`, `[]`), "spec.containers is empty")
	f(strings.ReplaceAll(recordedB, `"b:1"`, `""`), "spec.containers[0].image is missing")
	f(strings.ReplaceAll(recordedB, `"b:1"`, `1`), "cannot unmarshal")
	if _, err := New(Options{Recorded: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "ends in .json") {
		t.Error(err)
	}
	if _, err := New(Options{Recorded: os.DevNull}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
}
