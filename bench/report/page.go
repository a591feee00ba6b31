package report

import (
	"cmp"
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"sluice/bench"
)

//go:embed page.html.tmpl
var pageTemplate string

// document is what the page shows. Every string in it is escaped by the template; Figures are drawn by this package,
// which escapes what it writes into them.
type document struct {
	Title, Subtitle string
	Banners         []string // what nobody may overlook
	Tiles, Facts    []fact
	Figures         []template.HTML
	Tables          []table
}

type fact struct{ Name, Value string }

type table struct {
	Title, Note string
	Folded      bool // shown when asked for
	Words       bool // its columns are text and not numbers
	Head        []string
	Rows        [][]string
}

func (d *document) write(w io.Writer) error {
	d.flatten()
	class := func(cell string) string {
		switch cell {
		case "ok", "better":
			return "good"
		case "FAILED", "worse":
			return "bad"
		}
		return ""
	}
	t, err := template.New("page").Funcs(template.FuncMap{"class": class}).Parse(pageTemplate)
	if err != nil {
		return err
	}
	return t.Execute(w, d)
}

// flatten has every text on one line and in one direction: the template keeps markup out, but not what turns writing
// around.
func (d *document) flatten() {
	d.Title, d.Subtitle = plain(d.Title), plain(d.Subtitle)
	for i := range d.Banners {
		d.Banners[i] = plain(d.Banners[i])
	}
	for _, facts := range [...][]fact{d.Tiles, d.Facts} {
		for i := range facts {
			facts[i] = fact{plain(facts[i].Name), plain(facts[i].Value)}
		}
	}
	for _, t := range d.Tables {
		for _, row := range t.Rows {
			for i := range row {
				row[i] = plain(row[i])
			}
		}
	}
}

// figures draws every plot that has something to show.
func (d *document) figures(results []named) {
	for _, p := range plots() {
		if f := p.make(results); f != nil {
			d.Figures = append(d.Figures, template.HTML(f.svg(false)))
		}
	}
}

func (d *document) table(t table) {
	if len(t.Rows) > 0 {
		d.Tables = append(d.Tables, t)
	}
}

// HTML writes a result as a page of its own: it needs no other file, no script and no network.
func HTML(w io.Writer, r *bench.Result) error {
	d := document{
		Title:    cmp.Or(r.Name, "sluice-bench"),
		Subtitle: fmt.Sprintf("%s · %s", r.Load.Target, when(r.Started)),
		Tiles:    tiles(r),
		Facts: []fact{
			{"client", r.Load.Client},
			{"workload", fmt.Sprintf("%s (seed %d)", r.Load.Workload, r.Load.Seed)},
			{"load", asked(r)},
			{"", loop(r)},
		},
	}
	for i, text := range reviews(r) {
		d.Facts = append(d.Facts, fact{[...]string{"reviews", ""}[i], text})
	}
	d.Facts = append(d.Facts,
		fact{"errors", failures(r)},
		fact{"connections", connections(r)},
		fact{"server", server(r.Server)},
		fact{"load generator", generator(r)},
		fact{"machine", machine(r)},
	)
	if len(r.Command) > 0 {
		d.Facts = append(d.Facts, fact{"command", command(r.Command)})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Extra)) {
		d.Facts = append(d.Facts, fact{strings.ReplaceAll(name, "_", " "), number(r.Extra[name])})
	}
	d.Banners = banners("", r)
	d.table(checksTable(r.Checks))
	if rows := latencies(r); len(rows) > 0 {
		d.table(table{Title: "Latency", Note: strings.Join(append([]string{loop(r)}, excluded(r)...), ". "), Head: append([]string{""}, rows[0][1:]...), Rows: rows[1:]})
	}
	if rows := phases(r); rows != nil {
		d.table(table{Title: "Phases", Note: phasesNote(r), Head: rows[0], Rows: rows[1:]})
	}
	d.figures([]named{{"", r}})
	d.table(percentileTable(r))
	d.table(seriesTable("Intervals", r))
	d.table(metricsTable(r.Metrics))
	return d.write(w)
}

// HTML writes the comparison as a page of its own, with the plots of both laid over each other.
func (c *Comparison) HTML(w io.Writer) error {
	d := document{Title: c.title(), Subtitle: fmt.Sprintf("A: %s · B: %s", when(c.A.Result.Started), when(c.B.Result.Started))}
	d.Facts = []fact{{"A", c.A.Name}, {"B", c.B.Name}}
	d.Banners = append(banners("A: ", c.A.Result), banners("B: ", c.B.Result)...)
	d.table(checksTable(c.Checks))
	rows := table{
		Title: "Ratios", Note: fmt.Sprintf("Of B to A; about the same is up to %.0f %% apart.", alike*100),
		Head: []string{"", "A", "B", "B to A", ""},
	}
	for i := range c.Rows {
		cells := c.Rows[i].cells()
		rows.Rows = append(rows.Rows, append([]string{c.Rows[i].About}, cells[:]...))
	}
	d.table(rows)
	notes := table{Title: "What else differs", Note: "The ratios may mean less than they seem to.", Words: true, Head: []string{"", "A", "B"}}
	for _, n := range c.Notes {
		notes.Rows = append(notes.Rows, []string{n.What, n.A, n.B})
	}
	d.table(notes)
	d.figures([]named{{"A", c.A.Result}, {"B", c.B.Result}})
	d.table(seriesTable("Intervals of A", c.A.Result))
	d.table(seriesTable("Intervals of B", c.B.Result))
	return d.write(w)
}

func when(t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// command joins arguments so that a shell reads them again as they were.
func command(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = a
		if a == "" || strings.ContainsFunc(a, func(r rune) bool {
			return !strings.ContainsRune("-_./:=@%+,", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}) {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// banners are what nobody may overlook.
func banners(side string, r *bench.Result) (all []string) {
	if r.Load.Closed > 0 {
		all = append(all, side+closedLoop)
	}
	if !r.Complete {
		all = append(all, fmt.Sprintf("%sinterrupted after %s of %s: what follows is true of what was sent until then",
			side, duration(float64(r.Elapsed)), duration(float64(r.Load.Duration))))
	}
	for _, why := range r.Generator.Bottleneck {
		all = append(all, side+"the load generator was the bottleneck: "+why)
	}
	if c := &r.Counts; c.Failed() > 0 {
		all = append(all, side+"reviews without a verdict: "+failures(r))
	}
	if text := unexpected(r); text != "" {
		all = append(all, side+text)
	}
	return all
}

// tiles are the numbers that people look for first.
func tiles(r *bench.Result) (all []fact) {
	for _, t := range [...]fact{
		{"latency, p50", "p50"},
		{"latency, p99", "p99"},
		{"latency, p99.9", "p99.9"},
		{"answered", "throughput"},
		{"without a verdict", "errors"},
		{"server CPU a review", "cpu"},
		{"server memory, at most", "rss"},
	} {
		m, _ := find(t.Value)
		if v := value(&m, r); v != nil {
			all = append(all, fact{t.Name, m.unit.format(*v)})
		}
	}
	return all
}

func checksTable(checks []bench.Check) table {
	t := table{Title: "Thresholds", Words: true, Head: []string{"", "holds", "found"}}
	for _, c := range checks {
		t.Rows = append(t.Rows, []string{c.Text, verdict(c), found(c)})
	}
	return t
}

func percentileTable(r *bench.Result) table {
	t := table{Title: "Percentiles", Folded: true, Head: []string{"percentile", "from the intended start", "from the real start"}}
	if r.Load.Closed > 0 {
		t.Head = []string{"percentile", "latency"}
	}
	for _, p := range r.Latency.Points {
		if p.Percent < 100 && !enough(&r.Latency, p.Percent) {
			continue
		}
		row := []string{fmt.Sprintf("%g %%", p.Percent), duration(float64(p.Value))}
		if r.Load.Closed == 0 {
			row = append(row, duration(float64(r.Service.At(p.Percent))))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func seriesTable(title string, r *bench.Result) table {
	t := table{
		Title: title, Folded: true,
		Head: []string{"from", "intended", "sent", "answered", "failed", "p50", "p90", "p99", "max", "in flight"},
	}
	if r.Server != nil {
		t.Head = append(t.Head, "CPU in cores", "memory")
	}
	flying := inFlight(r)
	for i := range r.Series {
		in := &r.Series[i]
		n := func(v int64) string { return number(float64(v)) }
		d := func(v int64) string {
			if v == 0 {
				return "-"
			}
			return duration(float64(v))
		}
		row := []string{
			duration(float64(in.At)), number(in.Intended), n(in.Sent), n(in.Answered), n(in.Failed),
			d(in.P50), d(in.P90), d(in.P99), d(in.Max), number(flying[i]),
		}
		if r.Server != nil {
			row = append(row, number(in.ServerCPU), memory(float64(in.ServerRSS)))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// metricsTable has what the server counts, with what changed most at the top.
func metricsTable(metrics map[string]bench.Metric) table {
	t := table{
		Title: "Server metrics", Note: "As the server's /metrics has them before and after the run: those that changed first, the runtime's after the others.",
		Folded: true, Head: []string{"metric", "before", "after", "difference"},
	}
	changed := func(name string) bool { return metrics[name].After != metrics[name].Before }
	// What changed comes first, and what every Go program has comes last among the others.
	rank := func(name string) (n int) {
		if !changed(name) {
			n = 2
		}
		for _, common := range [...]string{"go_", "process_", "promhttp_"} {
			if strings.HasPrefix(name, common) {
				n++
			}
		}
		return n
	}
	names := slices.SortedFunc(maps.Keys(metrics), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
	})
	for _, name := range names {
		m := metrics[name]
		difference := "-"
		if changed(name) {
			difference = exact(m.After - m.Before)
		}
		t.Rows = append(t.Rows, []string{name, exact(m.Before), exact(m.After), difference})
	}
	return t
}

// exact writes a metric's value: as a whole number if it is one, else with six digits.
func exact(v float64) string {
	if v == math.Trunc(v) {
		return number(v)
	}
	return fmt.Sprintf("%.6g", v)
}
