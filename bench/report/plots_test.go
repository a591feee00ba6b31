package report

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"sluice/bench"
)

// TestShortIntervals: intervals of less than a second have no CPU of their own, and what comes after the plan's end is no
// rate.
func TestShortIntervals(t *testing.T) {
	t.Parallel()
	r := &bench.Result{Server: &bench.Process{}, Load: bench.Load{Duration: 3e9}}
	for i := range 31 {
		r.Series = append(r.Series, bench.Interval{At: int64(i) * 1e8, Length: 1e8, Answered: 7, ServerCPU: float64(i % 10), ServerRSS: 1})
	}
	one := []named{{"", r}}
	cpu := cpuOverTime(one).lines[0].points
	if len(cpu) != 3 {
		t.Fatalf("%v", cpu)
	}
	for i, p := range cpu {
		if math.Abs(p.y-4.5) > 1e-9 || math.Abs(p.x-float64(i)-0.5) > 1e-9 {
			t.Errorf("%v", cpu)
		}
	}
	for _, l := range throughputOverTime(one).lines {
		if len(l.points) != 30 {
			t.Errorf("%s has %d points", l.name, len(l.points))
		}
	}
}

// TestMissedSamples: what a busy machine did not look at in time is no zero, and what ended is no more.
func TestMissedSamples(t *testing.T) {
	t.Parallel()
	r := &bench.Result{Server: &bench.Process{}, Load: bench.Load{Duration: 5e9}, Series: []bench.Interval{
		{Sent: 9, Answered: 2}, {Answered: 3, ServerCPU: 0.5, ServerRSS: 2 << 20, InFlight: 4}, {}, {Answered: 4, ServerRSS: 3 << 20}, {},
	}}
	for i := range r.Series {
		r.Series[i].At, r.Series[i].Length = int64(i)*1e9, 1e9
	}
	one := []named{{"", r}}
	for name, want := range map[string][]float64{"cpu": {0.5, 0.5, 0, 0}, "memory": {2, 2, 3, 3}, "in-flight": {7, 4, 4, 0, 0}} {
		i := slices.IndexFunc(plots(), func(p plot) bool { return p.name == name })
		var got []float64
		for _, p := range plots()[i].make(one).lines[0].points {
			got = append(got, p.y)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, not %v", name, got, want)
		}
	}
}

// TestLabels: a plot that stands alone says what its latencies and rates are.
func TestLabels(t *testing.T) {
	t.Parallel()
	open, closed := results()["warm"], results()["closed_loop"]
	for _, name := range []string{"latency", "percentiles"} {
		one, err := SVG([]*bench.Result{open}, name)
		both, err2 := SVG([]*bench.Result{open, closed}, name)
		if err != nil || err2 != nil || bytes.Contains(one, []byte("closed loop:")) || !bytes.Contains(both, []byte("closed loop: stalls are hidden")) {
			t.Errorf("%s: %v %v", name, err, err2)
		}
	}
	if svg, err := SVG([]*bench.Result{open}, "throughput"); err != nil || !bytes.Contains(svg, []byte("Reviews a second, counted every 1 s<")) {
		t.Errorf("%s %v", svg, err)
	}
	other := warm()
	other.Series[0].Length = 5e8
	if svg, err := SVG([]*bench.Result{open, other}, "throughput"); err != nil || bytes.Contains(svg, []byte("counted every")) {
		t.Errorf("%s %v", svg, err)
	}
}
