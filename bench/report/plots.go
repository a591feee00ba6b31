package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"sluice/bench"
)

// plot makes one figure of results, or nil where there is nothing to show.
type plot struct {
	name string
	make func(results []named) *figure
}

// named is a result with the name that plots give it.
type named struct {
	name string
	*bench.Result
}

// plots are in the order in which a page shows them.
func plots() []plot {
	return []plot{
		{"latency", latencyOverTime},
		{"percentiles", latencyByPercentile},
		{"throughput", throughputOverTime},
		{"errors", errorsOverTime},
		{"cpu", cpuOverTime},
		{"memory", memoryOverTime},
		{"in-flight", inFlightOverTime},
	}
}

// SVG draws one plot of one result, or of several over each other, as a file of its own: latency, percentiles,
// throughput, errors, cpu, memory or in-flight. Results go by their names. It is readable on a light and on a dark
// ground. An error means that there is no such plot, or that no result has what it shows.
func SVG(results []*bench.Result, name string) ([]byte, error) {
	all := plots()
	i := slices.IndexFunc(all, func(p plot) bool { return p.name == name })
	if i < 0 {
		var names []string
		for _, p := range all {
			names = append(names, p.name)
		}
		return nil, fmt.Errorf("there is no plot %q, only %s", name, strings.Join(names, ", "))
	}
	f := all[i].make(withNames(results))
	if f == nil {
		return nil, fmt.Errorf("the plot %q has nothing to show", name)
	}
	return []byte(f.svg(true)), nil
}

// withNames gives each result a name: its own, or else a letter.
func withNames(results []*bench.Result) (all []named) {
	for i, r := range results {
		name := r.Name
		if name == "" && len(results) > 1 {
			name = string(rune('A' + i%26))
		}
		all = append(all, named{name, r})
	}
	return all
}

// of makes the name of a line: of several results, the result's too.
func (r *named) of(what string, among int) string {
	if among == 1 {
		return what
	}
	return r.name + ": " + what
}

// over makes the points of something that is measured in each interval, at its middle.
func (r *named) over(value func(in *bench.Interval) float64) (points []point) {
	for i := range r.Series {
		in := &r.Series[i]
		points = append(points, point{seconds(in.At) + seconds(in.Length)/2, value(in)})
	}
	return points
}

// planned is over without what came after the plan's end: a last interval, mostly empty, for answers that came late. As
// a rate it would look like a fall.
func (r *named) planned(value func(in *bench.Interval) float64) (points []point) {
	for i, p := range r.over(value) {
		if i == 0 || r.Series[i].At < r.Load.Duration {
			points = append(points, p)
		}
	}
	return points
}

// sampled is over for what is read from the server's process. A busy machine misses samples; the next one then tells of
// the intervals before it, too. After the last one the process was gone.
func (r *named) sampled(value func(in *bench.Interval) float64) []point {
	points := r.planned(value)
	end := 0
	for i := len(points) - 1; i >= 0; i-- {
		if in := &r.Series[i]; in.ServerRSS != 0 || in.ServerCPU != 0 {
			end = max(end, i+1)
		} else if i+1 < end {
			points[i].y = points[i+1].y
		}
	}
	return points[:end]
}

// inFlight is how many reviews were under way at the end of each interval, where it was looked at, and at least as many
// as were sent and did not come back.
func inFlight(r *bench.Result) []float64 {
	all, out := make([]float64, len(r.Series)), 0.0
	for i := range r.Series {
		in := &r.Series[i]
		out += float64(in.Sent) - float64(in.Answered) - float64(in.Failed)
		all[i] = max(float64(in.InFlight), out)
	}
	return all
}

// ofLoop labels a plot of latencies that hide stalls, which is also seen where no page is around it.
func ofLoop(results []named) string {
	for _, r := range results {
		if r.Load.Closed > 0 {
			return " (closed loop: stalls are hidden)"
		}
	}
	return ""
}

// counted says over what time rates are: a burst has any height, by that.
func counted(results []named) string {
	length := int64(0)
	for _, r := range results {
		for i := range r.Series {
			if n := r.Series[i].Length; n <= 0 || length > 0 && n != length {
				return ""
			}
			length = r.Series[i].Length
		}
	}
	if length == 0 {
		return ""
	}
	return ", counted every " + duration(float64(length))
}

// span is the end of the longest series, in seconds.
func span(results []named) (end float64) {
	for _, r := range results {
		for i := range r.Series {
			end = max(end, seconds(r.Series[i].At)+seconds(r.Series[i].Length))
		}
	}
	return end
}

// bounds are the lowest and the highest value above zero of all lines.
func bounds(lines []line) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for i := range lines {
		for _, p := range lines[i].points {
			if finite(p.y) && p.y > 0 {
				low, high = min(low, p.y), max(high, p.y)
			}
		}
	}
	return low, high
}

// overTime is a figure whose x axis is the run.
func overTime(results []named, f figure) *figure {
	f.x, f.under = clock(span(results)), "time since the beginning"
	if len(f.lines) == 0 {
		return nil
	}
	return &f
}

// positive makes a gap of what was not measured.
func positive(v float64) float64 {
	if v <= 0 {
		return math.NaN()
	}
	return v
}

func latencyOverTime(results []named) *figure {
	shown := []struct {
		name  string
		value func(in *bench.Interval) int64
	}{
		{"p50", func(in *bench.Interval) int64 { return in.P50 }},
		{"p90", func(in *bench.Interval) int64 { return in.P90 }},
		{"p99", func(in *bench.Interval) int64 { return in.P99 }},
		{"max", func(in *bench.Interval) int64 { return in.Max }},
	}
	f := figure{name: "latency", title: "Latency over time" + ofLoop(results)}
	for n := range results {
		r := &results[n]
		for i, s := range shown {
			if len(results) > 1 && s.name != "p50" && s.name != "p99" {
				continue // two lines for each of several results are as much as the eye can follow
			}
			l := line{name: r.of(s.name, len(results)), color: i}
			l.points = r.over(func(in *bench.Interval) float64 { return positive(float64(s.value(in))) })
			if len(results) > 1 {
				l.color, l.dashed = n, s.name == "p50"
			}
			f.lines = append(f.lines, l)
		}
	}
	low, high := bounds(f.lines)
	if low > high {
		return nil
	}
	f.y = logarithmic(low, high, duration)
	f.about = fmt.Sprintf("Latency of the reviews meant to be sent in each interval, on a logarithmic scale: between %s and %s.",
		duration(low), duration(high))
	return overTime(results, f)
}

// latencyByPercentile has the distance of a percentile from 100 on a logarithmic scale: each decade is one nine more.
func latencyByPercentile(results []named) *figure {
	f := figure{name: "percentiles", title: "Latency by percentile" + ofLoop(results), under: "percentile"}
	most := 10.0
	of := func(l *bench.Latency) (points []point) {
		for _, p := range l.Points {
			// A percentile beyond the count of what was measured is the maximum, which stands where the last one does.
			x := float64(max(l.Count, 1))
			if p.Percent < 100 {
				x = min(x, 100/(100-p.Percent))
			}
			if p.Percent < 0 || !finite(x) {
				continue
			}
			if len(points) > 0 && x <= points[len(points)-1].x {
				points[len(points)-1].y = max(points[len(points)-1].y, float64(p.Value))
				continue
			}
			points = append(points, point{x, positive(float64(p.Value))})
			most = max(most, x)
		}
		return points
	}
	for n := range results {
		r := &results[n]
		if r.Latency.Count == 0 {
			continue
		}
		name := "from the intended start"
		if r.Load.Closed > 0 {
			name = "closed loop"
		}
		f.lines = append(f.lines, line{name: r.of(name, len(results)), color: n, points: of(&r.Latency)})
		if len(results) == 1 && r.Load.Closed == 0 && r.Service.Count > 0 {
			f.lines = append(f.lines, line{name: "from the real start", color: 5, dashed: true, points: of(&r.Service)})
		}
	}
	low, high := bounds(f.lines)
	if low > high {
		return nil
	}
	f.x, f.y = logarithmic(1, min(most, 1e6), nines), logarithmic(low, high, duration)
	f.about = fmt.Sprintf("The distribution of latency, with one more nine for each step to the right: between %s and %s.",
		duration(low), duration(high))
	return &f
}

// nines names a place on the percentile axis: 10 is 90 %, 100 is 99 %.
func nines(v float64) string {
	switch n := int(math.Round(math.Log10(v))); {
	case n <= 0:
		return "0 %"
	case math.Abs(v-math.Pow(10, float64(n))) > v*1e-6:
		return ""
	case n == 1:
		return "90 %"
	case n == 2:
		return "99 %"
	default:
		return "99." + strings.Repeat("9", n-2) + " %"
	}
}

func throughputOverTime(results []named) *figure {
	f := figure{name: "throughput", title: "Reviews a second" + counted(results)}
	each := func(r *named, n func(in *bench.Interval) float64) []point {
		return r.planned(func(in *bench.Interval) float64 { return n(in) / seconds(in.Length) })
	}
	for n := range results {
		r := &results[n]
		if len(r.Series) == 0 {
			continue
		}
		meant := line{name: r.of("intended", len(results)), color: n, dashed: true}
		meant.points = each(r, func(in *bench.Interval) float64 { return in.Intended })
		if len(results) == 1 {
			meant.color = 5
		}
		if r.Load.Closed == 0 {
			f.lines = append(f.lines, meant)
		}
		f.lines = append(f.lines, line{
			name: r.of("answered", len(results)), color: n,
			points: each(r, func(in *bench.Interval) float64 { return float64(in.Answered) }),
		})
	}
	_, high := bounds(f.lines)
	f.y = linear(high, tick)
	f.about = fmt.Sprintf("Reviews answered a second, against the intended rate: up to %s.", number(max(high, 0)))
	return overTime(results, f)
}

func errorsOverTime(results []named) *figure {
	f := figure{name: "errors", title: "Reviews without a verdict, a second" + counted(results)}
	for n := range results {
		r := &results[n]
		if r.Counts.Failed() == 0 && len(results) == 1 || len(r.Series) == 0 {
			continue
		}
		f.lines = append(f.lines, line{
			name: r.of("failed", len(results)), color: n, steps: true,
			points: r.over(func(in *bench.Interval) float64 { return float64(in.Failed) / seconds(in.Length) }),
		})
	}
	if len(results) == 1 && len(f.lines) == 1 {
		f.lines[0].color = 3
	}
	_, high := bounds(f.lines)
	if !(high > 0) {
		return nil
	}
	f.y = linear(high, tick)
	f.about = fmt.Sprintf("Reviews a second that failed: up to %s.", number(high))
	return overTime(results, f)
}

func cpuOverTime(results []named) *figure {
	f := figure{name: "cpu", title: "CPU of the server, in cores"}
	for n := range results {
		r := &results[n]
		if r.Server != nil && len(r.Series) > 0 {
			f.lines = append(f.lines, line{
				name: r.of("server", len(results)), color: n,
				points: coarse(r.sampled(func(in *bench.Interval) float64 { return in.ServerCPU })),
			})
		}
	}
	_, high := bounds(f.lines)
	f.y = linear(high, tick)
	f.about = fmt.Sprintf("CPU that the server's process used: up to %s cores.", number(max(high, 0)))
	return overTime(results, f)
}

// coarse averages points over about a second: systems count CPU time in steps of 10 ms, which in shorter intervals would
// be seen as jumps.
func coarse(points []point) (means []point) {
	for len(points) > 0 {
		n := 1
		for n < len(points) && points[n].x-points[0].x < 0.999 {
			n++
		}
		var sum point
		for _, p := range points[:n] {
			sum.x, sum.y = sum.x+p.x/float64(n), sum.y+p.y/float64(n)
		}
		means, points = append(means, sum), points[n:]
	}
	return means
}

func memoryOverTime(results []named) *figure {
	f := figure{name: "memory", title: "Resident memory of the server"}
	for n := range results {
		r := &results[n]
		if r.Server != nil && len(r.Series) > 0 {
			f.lines = append(f.lines, line{name: r.of("server", len(results)), color: n, points: r.sampled(func(in *bench.Interval) float64 {
				return positive(float64(in.ServerRSS) / (1 << 20))
			})})
		}
	}
	_, high := bounds(f.lines)
	if !(high > 0) {
		return nil
	}
	f.y = linear(high, func(v float64) string { return tick(v) + " MiB" })
	f.about = fmt.Sprintf("Resident memory of the server's process: up to %s.", memory(high*(1<<20)))
	return overTime(results, f)
}

func inFlightOverTime(results []named) *figure {
	f := figure{name: "in-flight", title: "Reviews in flight"}
	for n := range results {
		r := &results[n]
		if len(r.Series) > 0 {
			flying := inFlight(r.Result)
			points := r.planned(func(*bench.Interval) float64 { return 0 })
			for i := range points {
				points[i].y = flying[i]
			}
			f.lines = append(f.lines, line{name: r.of("in flight", len(results)), color: n, points: points})
		}
	}
	_, high := bounds(f.lines)
	f.y = linear(high, tick)
	f.about = fmt.Sprintf("Reviews in flight at the end of each interval: up to %s.", number(max(high, 0)))
	return overTime(results, f)
}
