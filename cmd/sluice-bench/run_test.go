package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"sluice/bench"
)

// TestInterrupted: who ends a run early is told what was measured until then.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	w := newWebhook("")
	t.Cleanup(w.close)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := w.authority(ca); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	w.seen = func(n int64) {
		if n == 10 {
			stop()
		}
	}
	var stdout, stderr bytes.Buffer
	args := []string{"run", "--target", w.URL, "--ca-file", ca, "--schedule", "constant 200/s for 1h", "-o", "json", "--threshold", "errors = 0"}
	if code := run(ctx, args, &stdout, &stderr); code != exitInterrupted || stderr.Len() > 0 {
		t.Errorf("exit %d: %s", code, &stderr)
	}
	var r bench.Result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Complete || r.Counts.Allowed < 9 || len(r.Checks) != 1 {
		t.Errorf("%+v", r)
	}

	// Before anything was measured there is nothing to report.
	stdout.Reset()
	if code := run(ctx, args, &stdout, &stderr); code != exitInterrupted || stdout.Len() > 0 || !strings.HasPrefix(stderr.String(), "error: interrupted before") {
		t.Errorf("exit %d: %s %s", code, &stdout, &stderr)
	}
}

func TestReadMetrics(t *testing.T) {
	t.Parallel()
	got, err := readMetrics(strings.NewReader(`# HELP a A.
a 1
  b{x="y z } 5",w="\""} 2.5e3 1700000000
c_bucket{le="1"} 7
c_sum NaN
c_count +Inf

d{} -1`))
	want := map[string]float64{"a": 1, `b{x="y z } 5",w="\""}`: 2500, "d{}": -1}
	if err != nil || len(got) != len(want) {
		t.Errorf("%v %v", got, err)
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s is %v, not %v", name, got[name], v)
		}
	}
	for _, bad := range []string{"a", "a b", "{", "<html>", `a{b="c"}`, strings.Repeat("a", 2<<20)} {
		if got, err := readMetrics(strings.NewReader(bad)); err == nil {
			t.Errorf("%.40q: %v", bad, got)
		}
	}
	if _, err := readMetrics(strings.NewReader(strings.Repeat("# "+strings.Repeat("a", 1<<19)+"\n", maxExposition>>19))); err == nil {
		t.Error("any amount of metrics is read")
	}
}

// TestUnreachableHints: whoever forgets the client's certificate is told so, whichever way the transport puts it.
func TestUnreachableHints(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"remote error: tls: certificate required", "http2: client conn could not be established",
	} {
		if hints := unreachableHints(errors.New(text)); len(hints) != 1 || !strings.Contains(hints[0], "--cert-file and --key-file") {
			t.Errorf("%s: %q", text, hints)
		}
	}
}

// TestTimeoutHint: the two kinds of clients put it differently.
func TestTimeoutHint(t *testing.T) {
	t.Parallel()
	for _, err := range []error{context.DeadlineExceeded, errors.New("no answer in time")} {
		if hints := unreachableHints(err); len(hints) != 1 || !strings.Contains(hints[0], "--timeout") {
			t.Errorf("%v: %q", err, hints)
		}
	}
}

// TestNoVerdict: a run without one has failed, and the hint goes by what was answered.
func TestNoVerdict(t *testing.T) {
	t.Parallel()
	f := func(c bench.Counts, hint string) {
		t.Helper()
		e := noVerdict(&bench.Result{Counts: c})
		if e == nil || e.code != exitUnmeasured || !strings.Contains(strings.Join(e.hints, " "), hint) || (hint == "") != (len(e.hints) == 0) {
			t.Errorf("%+v: %+v", c, e)
		}
	}
	f(bench.Counts{}, "")
	f(bench.Counts{Statuses: map[string]int64{"404": 5}}, "/v1/imagereview")
	f(bench.Counts{Statuses: map[string]int64{"403": 5}}, "--token-file")
	for _, c := range []bench.Counts{{Allowed: 1}, {Denied: 1}, {Cached: 1}} {
		if e := noVerdict(&bench.Result{Counts: c}); e != nil {
			t.Errorf("%+v: %+v", c, e)
		}
	}
}
