// Package report shows what a load found out: as text for a terminal, as JSON, and as one HTML file with plots.
//
// It decides what is shown and whether thresholds hold. It trusts numbers only: every text in a result may come from a
// file that somebody sent, and is written so that it stays text. It fetches nothing, and what it writes refers to
// nothing outside itself.
package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/bench"
)

// openLoop and closedLoop say what latencies mean. Every report has one of them.
const (
	openLoop   = "open loop: latency counts from the moment a review was meant to be sent"
	closedLoop = "closed loop: latency hides stalls, because a server that stops is asked less"
)

// Text writes a result for a terminal: one screen.
func Text(w io.Writer, r *bench.Result) error {
	var p page
	if r.Name != "" {
		p.line("scenario", r.Name)
	}
	p.line("target", r.Load.Target)
	p.line("client", r.Load.Client)
	p.line("workload", fmt.Sprintf("%s (seed %d)", r.Load.Workload, r.Load.Seed))
	p.line("load", asked(r))
	p.line("", loop(r))
	p.line("machine", machine(r))
	p.blank()
	if !r.Complete {
		p.line("INTERRUPTED", fmt.Sprintf("after %s of %s: what follows is true of what was sent until then",
			duration(float64(r.Elapsed)), duration(float64(r.Load.Duration))))
	}
	for i, text := range reviews(r) {
		p.line([...]string{"reviews", ""}[i], text)
	}
	p.line("errors", failures(r))
	p.blank()
	p.table(latencies(r))
	for _, text := range excluded(r) {
		p.line("", text)
	}
	p.blank()
	if rows := phases(r); rows != nil {
		p.table(rows)
		p.line("", phasesNote(r))
		p.blank()
	}
	p.line("connections", connections(r))
	p.line("server", server(r.Server))
	p.line("generator", generator(r))
	for _, why := range r.Generator.Bottleneck {
		p.line("BOTTLENECK", "the load generator: "+why)
	}
	if text := unexpected(r); text != "" {
		p.line("WRONG", text)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Extra)) {
		p.line("measured", fmt.Sprintf("%s: %s", strings.ReplaceAll(name, "_", " "), number(r.Extra[name])))
	}
	p.checks(r.Checks)
	_, err := io.WriteString(w, p.String())
	return err
}

// page is text in two columns.
type page struct{ strings.Builder }

func (p *page) line(name, text string) {
	fmt.Fprintf(p, "%s\n", strings.TrimRight(fmt.Sprintf("%-12s %s", name, plain(text)), " "))
}

func (p *page) blank() { p.WriteByte('\n') }

// table writes rows: their first column to the left, the others to the right.
func (p *page) table(rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString(cell + pad)
			} else {
				b.WriteString("  " + pad + cell)
			}
		}
		p.WriteString(strings.TrimRight(plain(b.String()), " ") + "\n")
	}
}

func (p *page) checks(checks []bench.Check) {
	if len(checks) == 0 {
		return
	}
	p.blank()
	wide := 0
	for _, c := range checks {
		wide = max(wide, utf8.RuneCountInString(c.Text))
	}
	for i, c := range checks {
		name := ""
		if i == 0 {
			name = "thresholds"
		}
		const most = 60
		p.line(name, fmt.Sprintf("%-6s  %-*s  %s", verdict(c), min(wide, most), c.Text, found(c)))
	}
}

func verdict(c bench.Check) string {
	if c.OK {
		return "ok"
	}
	return "FAILED"
}

// asked is the load that was asked for.
func asked(r *bench.Result) string {
	if r.Load.Closed > 0 {
		return fmt.Sprintf("%s reviews always in flight for %s", number(float64(r.Load.Closed)), duration(float64(r.Load.Duration)))
	}
	const most = 160 // of a step's many phases
	return cut(r.Load.Schedule.String(), most)
}

func loop(r *bench.Result) string {
	if r.Load.Closed > 0 {
		return closedLoop
	}
	return openLoop
}

func machine(r *bench.Result) string {
	parts := []string{r.Machine.OS, r.Machine.CPU, fmt.Sprintf("%d cores", r.Machine.Cores)}
	if r.Machine.Memory > 0 {
		parts = append(parts, memory(float64(r.Machine.Memory)))
	}
	parts = append(parts, r.Machine.Go)
	if r.Commit != "" {
		parts = append(parts, "commit "+cut(r.Commit, 13))
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

// perSecond is how many of something there were a second; empty if that means nothing.
func perSecond(n, elapsed int64) string {
	if elapsed <= 0 {
		return ""
	}
	return fmt.Sprintf(" (%s/s)", number(float64(n)/seconds(elapsed)))
}

// reviews is what was meant to be sent, and what became of it: two lines.
func reviews(r *bench.Result) [2]string {
	c := &r.Counts
	n := func(v int64) string { return number(float64(v)) }
	first := fmt.Sprintf("%s sent, %s answered%s in %s", n(c.Sent), n(c.Answered()), perSecond(c.Answered(), r.Elapsed), duration(float64(r.Elapsed)))
	if r.Load.Closed == 0 {
		first = n(r.Load.Reviews) + " intended" + perSecond(r.Load.Reviews, r.Load.Duration) + ", " + first
	}
	second := fmt.Sprintf("%s allowed, %s denied, %s other than expected", n(c.Allowed), n(c.Denied), n(c.Wrong))
	if c.Cached > 0 {
		second += fmt.Sprintf("; %s answered by the apiservers' caches", n(c.Cached))
	}
	return [2]string{first, second}
}

func failures(r *bench.Result) string {
	c := &r.Counts
	if c.Failed() == 0 {
		return "none"
	}
	kinds := slices.SortedFunc(maps.Keys(c.Errors), func(a, b string) int {
		return cmp.Or(cmp.Compare(c.Errors[b], c.Errors[a]), strings.Compare(a, b))
	})
	var parts []string
	for i, kind := range kinds {
		if i == 8 {
			parts = append(parts, fmt.Sprintf("and %d other kinds", len(kinds)-i))
			break
		}
		parts = append(parts, cut(kind, 60)+" "+number(float64(c.Errors[kind])))
	}
	if c.Dropped > 0 {
		parts = append(parts, "never sent "+number(float64(c.Dropped)))
	}
	part := float64(c.Failed()) / float64(max(c.Answered()+c.Failed(), 1))
	return fmt.Sprintf("%s (%s): %s", number(float64(c.Failed())), share.format(part), strings.Join(parts, ", "))
}

// latencies is the table of both distributions, with its head.
func latencies(r *bench.Result) [][]string {
	head := append(append([]string{"latency", "min", "mean"}, percentiles[:]...), "max")
	row := func(name string, l *bench.Latency) []string {
		if l.Count == 0 {
			return []string{name, "none"}
		}
		cells := []string{name, duration(float64(l.Min)), duration(l.Mean)}
		for _, p := range percentiles {
			m, _ := find(p)
			if v := value(&m, &bench.Result{Latency: *l}); v != nil {
				cells = append(cells, duration(*v))
			} else {
				cells = append(cells, "-")
			}
		}
		return append(cells, duration(float64(l.Max)))
	}
	if r.Load.Closed > 0 {
		return [][]string{head, row("from its sending", &r.Latency)}
	}
	return [][]string{head, row("from the intended start", &r.Latency), row("from the real start", &r.Service)}
}

// excluded says what the latencies do not hold, and which percentiles are not known.
func excluded(r *bench.Result) (all []string) {
	c, l := &r.Counts, &r.Latency
	// Of reviews that failed, those that timed out have a latency.
	if n := c.Failed() - c.Errors[bench.KindTimeout]; n > 0 {
		all = append(all, fmt.Sprintf("%s of %s reviews failed before their timeout or were never sent: they are not among these latencies",
			number(float64(n)), number(float64(c.Answered()+c.Failed()))))
	}
	var few []string
	for _, name := range percentiles {
		if p, _ := percent(name); l.Count > 0 && !enough(l, p) {
			few = append(few, name)
		}
	}
	if few != nil {
		all = append(all, fmt.Sprintf("%s: too few reviews (%s); thresholds take the maximum", strings.Join(few, ", "), number(float64(l.Count))))
	}
	return all
}

// unexpected says what verdicts other than expected mean; empty if there are none.
func unexpected(r *bench.Result) string {
	if r.Counts.Wrong == 0 {
		return ""
	}
	return fmt.Sprintf("%s of %s verdicts: the server's policies do not allow and deny these images as the workload expects",
		number(float64(r.Counts.Wrong)), number(float64(r.Counts.Answered())))
}

func connections(r *bench.Result) string {
	c := &r.Connections
	n := func(v int64) string { return number(float64(v)) }
	text := fmt.Sprintf("%s opened in the run, %s before it, %s failed, %s never used", n(during(r)), n(c.WarmedUp), n(c.Failed), n(c.Unused))
	if c.Handshake > 0 {
		text += "; a handshake took " + duration(float64(c.Handshake))
	}
	return text
}

// fewTicks is CPU time of which the steps that systems count it in are a large part.
const fewTicks = 100 * time.Millisecond

func server(p *bench.Process) string {
	if p == nil {
		return "not looked at (--server-pid)"
	}
	used := float64(p.User) + float64(p.System)
	text := "too little CPU to be counted"
	if used > 0 {
		text = fmt.Sprintf("%s of CPU a review (%s in all, %s of it in the kernel",
			micros.format(p.CPUReview), duration(used), share.format(float64(p.System)/used))
		if used < float64(fewTicks) {
			text += "; counted in steps of 10 ms: run for longer"
		}
		text += ")"
	}
	return text + fmt.Sprintf("; memory %s, at most %s", memory(float64(p.RSSEnd)), memory(float64(p.RSSMax)))
}

func generator(r *bench.Result) string {
	g := &r.Generator
	text := fmt.Sprintf("%s cores, %s a review", number(g.CPU), micros.format(g.CPUReview))
	if g.Lag.Count > 0 && r.Load.Closed == 0 {
		text += fmt.Sprintf("; late by %s (p50), %s (p99), %s at most",
			duration(float64(g.Lag.At(50))), duration(float64(g.Lag.At(99))), duration(float64(g.Lag.Max)))
	}
	if len(g.Bottleneck) == 0 {
		text += "; not the bottleneck"
	}
	return text
}
