package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sluice/bench"
)

// TestProgress: one line, however narrow the terminal is, and nothing where there is none.
func TestProgress(t *testing.T) {
	t.Parallel()
	at := bench.Progress{
		At: 12*time.Second + 300*time.Millisecond, Of: 30 * time.Second, Rate: 999.6, P50: 412_345, P99: 9*time.Millisecond + 123,
		InFlight: 12, Failed: 1, ServerCPU: 0.42,
	}
	const whole = "12s of 30s  1 failed  1000/s  p50 412µs  p99 9ms  12 in flight  server 0.42 cores"
	for width, want := range map[int]string{200: whole, len(whole): whole, 20: "12s of 30s  1 faile", 1: "", 0: ""} {
		var b bytes.Buffer
		p := &progress{&b, func() int { return width }}
		p.follower()(at)
		got, begins := strings.CutPrefix(b.String(), "\r")
		got, ends := strings.CutSuffix(got, "\x1b[K")
		if got != want || !begins || !ends || utf8.RuneCountInString(got) >= max(width, 1) {
			t.Errorf("%d wide: %q", width, b.String())
		}
		b.Reset()
		if p.clear(); b.String() != "\r\x1b[K" {
			t.Errorf("cleared by %q", b.String())
		}
	}

	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if p := newProgress(f); p != nil || p.follower() != nil {
		t.Error("a file is taken for a terminal")
	}
	newProgress(new(bytes.Buffer)).clear() // does nothing
}

func TestBrief(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 999: "999ns", 1234: "1.23µs", 412_345: "412µs", 12_345_678: "12.3ms", 61*time.Second + 1234567: "1m1s",
	} {
		if got := brief(d).String(); got != want {
			t.Errorf("%d: %s, not %s", d, got, want)
		}
	}
}
