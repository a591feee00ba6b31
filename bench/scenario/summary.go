package scenario

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/bench"
)

// Summary is what came of scenarios, in short.
type Summary struct {
	Results []*bench.Result
	Short   bool // as in Options
	Took    time.Duration
}

// Shown are the results that a plot of latencies shows best side by side: what a service does all day, and the same
// with something going on.
func (s Summary) Shown() (picked []*bench.Result) {
	for _, name := range []string{"warm/constant", "warm/bursts", "churn/steady", "expiry/ending"} {
		for _, r := range s.Results {
			if r.Name == name {
				picked = append(picked, r)
			}
		}
	}
	return picked
}

// Markdown writes a page: on what and how it was measured, a table of the loads, and what else was measured of each.
func (s Summary) Markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Scenarios\n\n")
	if s.Short {
		b.WriteString("**This was a short run, to see whether it works. Its figures mean little.**\n\n")
	}
	if len(s.Results) == 0 {
		b.WriteString("Nothing was measured.\n")
		_, err := io.WriteString(w, b.String())
		return err
	}
	first := s.Results[0]
	m := first.Machine
	commit, dirty := strings.CutSuffix(first.Commit, "-dirty")
	if dirty {
		commit += ", with changes that are in no commit"
	}
	fmt.Fprintf(&b, "- Machine: %s, %d cores, %.1f GiB, %s, %s\n", m.CPU, m.Cores, float64(m.Memory)/(1<<30), m.OS, m.Go)
	fmt.Fprintf(&b, "- Commit: %s\n- Service: %s\n", commit, build(first))
	fmt.Fprintf(&b, "- Command: `%s`\n- Date: %s; it took %s\n\n", strings.Join(first.Command, " "),
		first.Started.UTC().Format("2006-01-02 15:04 UTC"), s.Took.Round(time.Second))
	b.WriteString("Service, load generator and registry share these cores. Latency counts from the moment at which a review was\n" +
		"meant to be sent; in a closed loop, there is none, and it hides stalls. CPU is the service's, user and system.\n" +
		"Where two lines differ, the ratios below them say more than each line does: they are from runs next to each other.\n\n")
	b.WriteString("| load | client | reviews | p50 | p99 | p99.9 | CPU a review | without a verdict | wrong |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range s.Results {
		name, cpu := r.Name, "–"
		if r.Load.Closed > 0 {
			name += fmt.Sprintf(" (closed loop, %d in flight)", r.Load.Closed)
		}
		if r.Server != nil {
			cpu = fmt.Sprintf("%.1f µs", r.Server.CPUReview)
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %s | %s | %s | %d | %d |\n", name, r.Load.Client, r.Counts.Answered()+r.Counts.Failed(),
			milliseconds(r.Latency.At(50)), milliseconds(r.Latency.At(99)), milliseconds(r.Latency.At(99.9)), cpu, r.Counts.Failed(), r.Counts.Wrong)
	}
	for _, r := range s.Results {
		s.details(&b, r)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// details are what was measured beside, the checks that failed, and where the load generator was the bottleneck.
func (s Summary) details(b *strings.Builder, r *bench.Result) {
	failed := slices.DeleteFunc(slices.Clone(r.Checks), func(c bench.Check) bool { return c.OK })
	if len(r.Extra)+len(failed)+len(r.Generator.Bottleneck) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", r.Name)
	for _, c := range failed {
		fmt.Fprintf(b, "- **failed**: %s: it was %s\n", c.Text, figure(c.Value))
	}
	for _, key := range slices.Sorted(maps.Keys(r.Extra)) {
		fmt.Fprintf(b, "- `%s`: %s\n", key, figure(r.Extra[key]))
	}
	for _, why := range r.Generator.Bottleneck {
		fmt.Fprintf(b, "- the load generator was a bottleneck: %s\n", why)
	}
}

// build is what the service says it is.
func build(r *bench.Result) string {
	for key := range r.Metrics {
		if labels, ok := strings.CutPrefix(key, "sluice_build_info"); ok {
			return "`" + labels + "`"
		}
	}
	return "unknown"
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 2, 64) + " ms"
}

// figure is a number with three digits, or all of those before the point.
func figure(v float64) string {
	if v >= 100 || v == float64(int64(v)) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
