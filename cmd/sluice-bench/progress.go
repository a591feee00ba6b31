package main

import (
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"sluice/bench"
)

// progress keeps one line on a terminal up to date. On anything else it writes nothing.
type progress struct {
	to    io.Writer
	width func() int // of the terminal, in characters
}

// newProgress is for a terminal; it returns nil if w is none.
func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	if !ok || terminalWidth(f) == 0 {
		return nil
	}
	return &progress{f, func() int { return terminalWidth(f) }}
}

// follower is what a plan takes: nil if nobody looks.
func (p *progress) follower() func(bench.Progress) {
	if p == nil {
		return nil
	}
	return p.show
}

func (p *progress) show(at bench.Progress) {
	// What narrow terminals cut off is at the end; failures are not.
	line := fmt.Sprintf("%s of %s  %d failed  %.0f/s  p50 %s  p99 %s  %d in flight",
		at.At.Round(time.Second), at.Of.Round(time.Second), at.Failed, at.Rate, brief(at.P50), brief(at.P99), at.InFlight)
	if at.ServerCPU > 0 {
		line += fmt.Sprintf("  server %.2f cores", at.ServerCPU)
	}
	// A line as wide as the terminal would wrap in some, and each one after it would take another line.
	if width := p.width() - 1; utf8.RuneCountInString(line) > width {
		line = string([]rune(line)[:max(width, 0)])
	}
	fmt.Fprintf(p.to, "\r%s\x1b[K", line)
}

// clear leaves the line empty, for what comes next.
func (p *progress) clear() {
	if p != nil {
		io.WriteString(p.to, "\r\x1b[K")
	}
}

// brief is a duration with about three digits.
func brief(d time.Duration) time.Duration {
	for unit := 10 * time.Second; unit > 100*time.Nanosecond; unit /= 10 {
		if d >= unit {
			return d.Round(unit / 100)
		}
	}
	return d
}
