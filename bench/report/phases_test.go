package report

import (
	"slices"
	"strings"
	"testing"

	"sluice/bench"
	"sluice/bench/schedule"
)

// TestPhases: only phases of constant rates, of which there are several, have a table.
func TestPhases(t *testing.T) {
	t.Parallel()
	of := func(change func(r *bench.Result)) [][]string {
		r := results()["steps"]
		change(r)
		return phases(r)
	}
	rows := of(func(*bench.Result) {})
	want := []string{"constant 3000/s for 10s", "3,000/s", "2,500/s", "10", "1.2 s", "1.8 s", "4 s"}
	if len(rows) != 4 || !slices.Equal(rows[3], want) {
		t.Errorf("%q", rows)
	}
	if page := string(pageOf(t, results()["steps"])); !strings.Contains(page, "<h2>Phases</h2>") {
		t.Error("the page has no table of phases")
	}
	for name, change := range map[string]func(r *bench.Result){
		"one":         func(r *bench.Result) { r.Load.Schedule = r.Load.Schedule[:1] },
		"closed":      func(r *bench.Result) { r.Load.Closed = 5 },
		"ramps":       func(r *bench.Result) { r.Load.Schedule[0].Ramp, r.Load.Schedule[1].Ramp = true, true },
		"too many":    func(r *bench.Result) { r.Load.Schedule = make(schedule.Schedule, maxPhases+1) },
		"interrupted": func(r *bench.Result) { r.Series = r.Series[:9] },
		"no series":   func(r *bench.Result) { r.Series = nil },
	} {
		if rows := of(change); rows != nil {
			t.Errorf("%s: %q", name, rows)
		}
	}
}
