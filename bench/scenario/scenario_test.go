package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/bench"
	"sluice/bench/workload"
)

func names(all []Scenario) (names []string) {
	for _, s := range all {
		names = append(names, s.Name)
	}
	return names
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ asked, want []string }{
		{[]string{"cold", "warm"}, []string{"warm", "cold"}},
		{[]string{"all"}, []string{"warm", "cold", "churn", "expiry", "reconnect", "memory"}},
		{nil, nil},
	} {
		found, err := Find(c.asked...)
		if got := names(found); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %q %v", c.asked, got, err)
		}
	}
	if _, err := Find("warm", "hot"); err == nil || !strings.Contains(err.Error(), `"hot"`) {
		t.Errorf("a scenario that is none: %v", err)
	}
}

// TestRunClearsAway looks for what is left of a scenario that could not be carried out.
func TestRunClearsAway(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	exe := self(t)
	o := Options{Sluice: []string{exe, "fake", "well"}, Registry: []string{exe, RegistryCommand}, Short: true}
	failing := errors.New("failing")
	var pids []int
	serve := func(ctx context.Context, st *stage) error {
		v, err := st.serve(ctx, settings{})
		if err != nil {
			return err
		}
		defer v.stop()
		pids = append(pids, v.pid, st.registry.pid)
		st.results = append(st.results, &bench.Result{Name: "s/one"})
		return failing
	}
	results, err := Scenario{Name: "s", run: serve}.Run(t.Context(), o)
	if !errors.Is(err, failing) || !strings.Contains(err.Error(), "scenario s:") || len(results) != 1 {
		t.Errorf("a scenario that fails: %v %v", results, err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was lost")
			}
		}()
		_, _ = Scenario{Name: "s", run: func(ctx context.Context, st *stage) error {
			_ = serve(ctx, st)
			panic("at the disco")
		}}.Run(t.Context(), o)
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Scenario{Name: "s", run: serve}).Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("without time: %v", err)
	}
	if len(pids) != 4 {
		t.Fatalf("processes %v", pids)
	}
	for _, pid := range pids {
		if !gone(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
	if left, err := filepath.Glob(tmp + "/*"); err != nil || len(left) != 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	st := &stage{Options: Options{Say: func(string) {}}}
	values := []float64{5, 1, 3}
	err := st.median("ratio", func(round int) (*bench.Result, error) {
		reference, res := &bench.Result{Name: "reference"}, &bench.Result{Name: "res"}
		res.Extra = map[string]float64{"ratio": values[round-1], "round": float64(round)}
		expect(res, "wrong verdicts", float64(round%2), 0) // of the first and the third
		st.results = append(st.results, reference, res)
		return res, nil
	})
	if err != nil || len(st.results) != 2 {
		t.Fatalf("results %v %v", st.results, err)
	}
	res := st.results[1]
	want := map[string]float64{"ratio": 3, "ratio_min": 1, "ratio_max": 5, "round": 3, "rounds": 3}
	for key, v := range want {
		if res.Extra[key] != v {
			t.Errorf("%s is %g, not %g", key, res.Extra[key], v)
		}
	}
	var failed []string
	for _, c := range res.Checks {
		if !c.OK {
			failed = append(failed, c.Text)
		}
	}
	if !slices.Equal(failed, []string{"wrong verdicts <= 0", "wrong verdicts <= 0 (res in another round)"}) {
		t.Errorf("failed checks %q", failed)
	}
	failing := errors.New("failing")
	if err := st.median("ratio", func(int) (*bench.Result, error) { return nil, failing }); !errors.Is(err, failing) {
		t.Errorf("a round that fails: %v", err)
	}
}

func TestCompareAndGrown(t *testing.T) {
	t.Parallel()
	result := func(p99 time.Duration) *bench.Result {
		return &bench.Result{
			Latency: bench.Latency{Points: []bench.Percentile{{Percent: 99, Value: int64(p99)}}},
			Extra:   map[string]float64{},
		}
	}
	r := result(3 * time.Millisecond)
	compare(r, "before", result(2*time.Millisecond), 99)
	compare(r, "nothing", result(0), 99)
	if r.Extra["p99_ratio_before"] != 1.5 || r.Extra["p99_before_us"] != 2000 {
		t.Errorf("compared: %v", r.Extra)
	}
	if _, ok := r.Extra["p99_ratio_nothing"]; ok {
		t.Errorf("a ratio to nothing: %v", r.Extra)
	}
	r.Metrics = map[string]bench.Metric{
		`a{b="c"}`: {Before: 1, After: 4}, `a{b="d"}`: {Before: 0, After: 5}, "ab": {Before: 0, After: 9},
	}
	if got := grown(r, "a"); got != 8 {
		t.Errorf("grown by %g, not by 8", got)
	}
	if got := grown(r, "a", `b="c"`); got != 3 {
		t.Errorf("grown by %g, not by 3", got)
	}
}

// images are those that a review holds.
func imagesOf(t *testing.T, r bench.Review) (all []string) {
	t.Helper()
	var body struct {
		Kind string
		Spec struct {
			Containers []struct{ Image string }
		}
	}
	if err := json.Unmarshal(r.Body, &body); err != nil || body.Kind != "ImageReview" {
		t.Fatalf("%s: %v", r.Body, err)
	}
	var spec struct{ Namespace string }
	if err := json.Unmarshal([]byte(r.Key), &spec); err != nil || spec.Namespace != "default" || !strings.Contains(string(r.Body), r.Key) {
		t.Fatalf("the key %s of %s: %v", r.Key, r.Body, err)
	}
	for _, c := range body.Spec.Containers {
		all = append(all, c.Image)
	}
	return all
}

func TestDigests(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	w := &digests{host: "localhost:5000", containers: 7}
	for range 10 {
		for _, i := range imagesOf(t, w.Next()) {
			seen[i] = true
		}
	}
	if len(seen) != 70 {
		t.Errorf("70 images, of which %d are different", len(seen))
	}
	again := &digests{host: "localhost:5000", containers: 2, again: 70, seed: 1}
	asked := make(map[string]bool)
	for range 1000 {
		for _, i := range imagesOf(t, again.Next()) {
			if asked[i] = true; !seen[i] {
				t.Fatalf("%s was not there before", i)
			}
		}
	}
	if len(asked) != 70 {
		t.Errorf("%d of 70 were asked for", len(asked))
	}
}

func TestLists(t *testing.T) {
	l := newTestLab(t, "well")
	st := &stage{lab: l, Options: Options{Say: func(string) {}}}
	lines, err := st.known(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	denied, digests := 0, 0
	for _, line := range lines {
		if strings.HasSuffix(line, " deny") {
			denied++
			if !strings.Contains(line, "/unsigned/") {
				t.Errorf("%s", line)
			}
		}
		if strings.Contains(line, "@sha256:") {
			digests++
		}
	}
	if len(lines) != 100 || denied != 4 || digests != 50 {
		t.Errorf("%d lines, %d of them denied, %d by digest", len(lines), denied, digests)
	}
	w, err := st.each(lines)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range slices.Concat(lines, lines[:1]) {
		r := w.Next()
		name, verdict, _ := strings.Cut(line, " ")
		if got := imagesOf(t, r); !slices.Equal(got, []string{name}) || (r.Deny == bench.ExpectDeny) != (verdict == "deny") {
			t.Errorf("%s: %q, %d", line, got, r.Deny)
		}
	}
	first, err := st.list(lines, workload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.pods(lines[:2]); err != nil { // a list of its own
		t.Fatal(err)
	}
	if first.Next().Body == nil || st.lists != 2 {
		t.Errorf("%d lists", st.lists)
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	s := Summary{Took: time.Minute, Results: []*bench.Result{
		{
			Name: "warm/limit", Commit: "abc-dirty", Command: []string{"sluice-bench", "scenario", "warm"}, Load: bench.Load{Closed: 5, Client: "lean"},
			Server:  &bench.Process{CPUReview: 12.34},
			Metrics: map[string]bench.Metric{`sluice_build_info{version="v9"}`: {After: 1}},
			Counts:  bench.Counts{Allowed: 3, Denied: 2, Wrong: 1, Errors: map[string]int64{"eof": 4}},
		},
		{
			Name: "warm/constant", Extra: map[string]float64{"ratio": 1.2345, "requests": 1234567},
			Generator: bench.Generator{Bottleneck: []string{"it was slow"}},
			Checks:    []bench.Check{{Text: "good <= 1", OK: true}, {Text: "bad <= 1", Value: 7}},
		},
	}}
	var b strings.Builder
	if err := s.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| warm/limit (closed loop, 5 in flight) | lean | 9 | 0.00 ms | 0.00 ms | 0.00 ms | 12.3 µs | 4 | 1 |",
		"abc, with changes that are in no commit", "`sluice-bench scenario warm`", `version="v9"`, "it took 1m0s",
		"- **failed**: bad <= 1: it was 7\n- `ratio`: 1.23\n- `requests`: 1234567\n- the load generator was a bottleneck: it was slow\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in:\n%s", want, b.String())
		}
	}
	for _, no := range []string{"good <= 1", "short run", "## warm/limit"} {
		if strings.Contains(b.String(), no) {
			t.Errorf("%q is in:\n%s", no, b.String())
		}
	}
	if shown := s.Shown(); len(shown) != 1 || shown[0].Name != "warm/constant" {
		t.Errorf("shown: %v", shown)
	}
	b.Reset()
	if err := (Summary{Short: true}).Markdown(&b); err != nil || !strings.Contains(b.String(), "short run") || !strings.Contains(b.String(), "Nothing") {
		t.Errorf("nothing: %v\n%s", err, b.String())
	}
}

// TestConnector connects to a server that speaks HTTP/2, and to one that does not.
func TestConnector(t *testing.T) {
	l := newTestLab(t, "well")
	for _, c := range []struct {
		protocol string
		ok       bool
	}{{"h2", true}, {"http/1.1", false}} {
		url, stop := tlsServer(t, l.dir, c.protocol)
		connect, err := l.connector(&service{url: url})
		if err != nil {
			t.Fatal(err)
		}
		var s storm
		s.run(t.Context(), 3, connect)
		if (s.failed == 0) != c.ok || s.failed != 0 && s.failed != 3 || (s.err == nil) != c.ok || s.took <= 0 {
			t.Errorf("%s: %+v", c.protocol, s)
		}
		stop()
	}
	if err := os.Remove(filepath.Join(l.dir, "client.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.connector(&service{url: "https://127.0.0.1:1"}); err == nil {
		t.Error("a connector without a key")
	}
}
