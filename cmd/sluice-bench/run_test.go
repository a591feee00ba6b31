package main

import (
	"bytes"
	"context"
	"encoding/json"
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
