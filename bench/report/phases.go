package report

import (
	"fmt"
	"slices"

	"sluice/bench"
	"sluice/bench/schedule"
)

// maxPhases is how many phases of a schedule have rows of their own.
const maxPhases = 16

// phases is a table, with its head, of what became of each phase of a schedule, which shows up to what rate a server
// keeps up. It is nil if there is nothing to tell apart: with fewer than two phases of constant rates.
func phases(r *bench.Result) (rows [][]string) {
	if len(r.Load.Schedule) > maxPhases || r.Load.Closed > 0 {
		return nil
	}
	rows = [][]string{{"phase", "intended", "answered", "failed", "p50", "p99", "max"}}
	end := int64(0)
	for _, p := range r.Load.Schedule {
		begin := end
		end += int64(p.Duration)
		if p.Rate <= 0 || p.Ramp {
			continue
		}
		if row := phase(p, within(r.Series, begin, end)); row != nil {
			rows = append(rows, row)
		}
	}
	if len(rows) < 3 {
		return nil
	}
	return rows
}

// phasesNote says what the table's numbers are.
func phasesNote(r *bench.Result) string {
	return fmt.Sprintf("p50 and p99 are the medians of those of each %s; reviews of one phase may be answered in the next",
		duration(float64(r.Series[0].Length)))
}

// within are the intervals that lie within a stretch of the run.
func within(series []bench.Interval, begin, end int64) []bench.Interval {
	first := slices.IndexFunc(series, func(in bench.Interval) bool { return in.At >= begin })
	if first < 0 {
		return nil
	}
	series = series[first:]
	if last := slices.IndexFunc(series, func(in bench.Interval) bool { return in.Length <= 0 || in.At+in.Length > end }); last >= 0 {
		series = series[:last]
	}
	return series
}

func phase(p schedule.Phase, in []bench.Interval) []string {
	var (
		intended, length          float64
		answered, failed, highest int64
		p50, p99                  []int64
	)
	for i := range in {
		intended += in[i].Intended
		length += seconds(in[i].Length)
		answered += in[i].Answered
		failed += in[i].Failed
		highest = max(highest, in[i].Max)
		if in[i].Max > 0 {
			p50, p99 = append(p50, in[i].P50), append(p99, in[i].P99)
		}
	}
	if length <= 0 {
		return nil
	}
	median := func(all []int64) string {
		if len(all) == 0 {
			return "-"
		}
		slices.Sort(all)
		return duration(float64(all[len(all)/2]))
	}
	most := "-"
	if highest > 0 {
		most = duration(float64(highest))
	}
	return []string{
		schedule.Schedule{p}.String(), rate.format(intended / length), rate.format(float64(answered) / length),
		number(float64(failed)), median(p50), median(p99), most,
	}
}
