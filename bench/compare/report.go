package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// Report is everything that was found out. Its JSON is compare.json.
type Report struct {
	Date     time.Time         `json:"date"`
	Command  string            `json:"command"`
	Commit   string            `json:"commit"`
	Machine  string            `json:"machine"`
	Rounds   int               `json:"rounds"`
	Window   string            `json:"window"`
	Short    bool              `json:"short,omitempty"` // nothing in it is worth quoting
	Versions map[string]string `json:"versions"`
	Aims     []Aim             `json:"aims"`
	Groups   []Group           `json:"groups"`
	Suites   []Suite           `json:"suites"`
}

// Group is servers under the same load.
type Group struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Base  string `json:"base"`
	Rows  []Row  `json:"rows"`
}

// Row is one server.
type Row struct {
	Server string   `json:"server"`
	Error  string   `json:"error,omitempty"` // why there are no figures
	CPU    Spread   `json:"cpuMicroseconds"`
	Ratio  Spread   `json:"ratioToBase"` // of CPU, round by round
	Rounds []sample `json:"rounds"`
}

// Spread is the median of all rounds, and their range.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Suite is Go benchmarks of one thing done in several ways.
type Suite struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Error string `json:"error,omitempty"`
	Lines []Line `json:"lines"`
}

// Line is one benchmark: medians by unit.
type Line struct {
	Name   string             `json:"name"`
	Values map[string]float64 `json:"values"`
}

func spreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		middle = (middle + sorted[len(sorted)/2-1]) / 2
	}
	return Spread{Median: middle, Min: sorted[0], Max: sorted[len(sorted)-1]}
}

// column collects one figure of all rounds.
func (r *Row) column(of func(sample) float64) Spread {
	values := make([]float64, len(r.Rounds))
	for i, s := range r.Rounds {
		values[i] = of(s)
	}
	return spreadOf(values)
}

func (g *Group) row(server string) *Row {
	for i := range g.Rows {
		if g.Rows[i].Server == server {
			return &g.Rows[i]
		}
	}
	return nil
}

// against divides two rows' costs round by round; false if one of them is missing.
func (r *Row) against(base *Row) (Spread, bool) {
	if r == nil || base == nil || r.Error != "" || base.Error != "" || len(r.Rounds) != len(base.Rounds) || len(r.Rounds) == 0 {
		return Spread{}, false
	}
	ratios := make([]float64, len(r.Rounds))
	for i := range ratios {
		ratios[i] = r.Rounds[i].CPU / base.Rounds[i].CPU
	}
	return spreadOf(ratios), true
}

func (g *Group) summarize() {
	for i := range g.Rows {
		r := &g.Rows[i]
		r.CPU = r.column(func(s sample) float64 { return s.CPU })
		r.Ratio, _ = r.against(g.row(g.Base))
	}
}

func newReport(p *plan) *Report {
	r := &Report{
		Date: time.Now().UTC().Truncate(time.Second), Command: p.command, Commit: p.commit, Machine: machine(),
		Rounds: p.rounds, Window: p.window.String(), Short: p.short, Versions: versions(p.tools),
		Groups: []Group{}, Suites: []Suite{},
	}
	return r
}

func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	model, memory := "", ""
	for _, f := range []struct {
		file, field string
		to          *string
	}{{"/proc/cpuinfo", "model name", &model}, {"/proc/meminfo", "MemTotal", &memory}} {
		content, _ := os.ReadFile(f.file)
		for line := range strings.Lines(string(content)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == f.field {
				*f.to = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores of %s, %s, Linux %s, %s", runtime.NumCPU(), cmp.Or(model, runtime.GOARCH), memory,
		unix.ByteSliceToString(u.Release[:]), runtime.Version())
}

// text is the report for a terminal.
func (r *Report) text() *bytes.Buffer {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\ncommit %s, %s\n%s\n", r.Machine, r.Commit, r.Command, r.about())
	for _, g := range r.Groups {
		fmt.Fprintf(&b, "\n%s: %s\n", g.Name, g.Title)
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(w, "CPU µs\trange\tratio\trange\t/s\tp50 µs\tp99 µs\thandshakes\t  \n")
		for _, row := range g.Rows {
			if row.Error != "" {
				continue
			}
			fmt.Fprintf(w, "%s\t  %s\n", strings.Join(row.cells(), "\t"), row.Server)
		}
		_ = w.Flush() // into memory
		for _, row := range g.Rows {
			if row.Error != "" {
				fmt.Fprintf(&b, "  %s: %s\n", row.Server, row.Error)
			}
		}
	}
	for _, s := range r.Suites {
		fmt.Fprintf(&b, "\n%s: %s\n", s.Name, s.Title)
		if s.Error != "" {
			fmt.Fprintf(&b, "  %s\n", s.Error)
		}
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		units := s.units()
		fmt.Fprintf(w, "%s\t  \n", strings.Join(units, "\t"))
		for _, l := range s.Lines {
			fmt.Fprintf(w, "%s\t  %s\n", strings.Join(l.cells(units), "\t"), l.Name)
		}
		_ = w.Flush()
	}
	fmt.Fprintf(&b, "\naims\n")
	for _, a := range r.Aims {
		fmt.Fprintf(&b, "  %s\n", a)
	}
	return &b
}

func (r *Report) about() string {
	about := fmt.Sprintf("%d rounds of %s a row, the rows in turns: medians and ranges; ratios are of CPU, round by round",
		r.Rounds, r.Window)
	if r.Short {
		about += "\nThis was a short run, to see that it works: none of its figures mean anything."
	}
	return about
}

// cells are a row's figures.
func (r *Row) cells() []string {
	handshakes := r.column(func(s sample) float64 { return float64(s.Handshakes) })
	latency := func(s Spread) string {
		if s.Max == 0 {
			return "-" // a tool that doesn't say
		}
		return figure(s.Median)
	}
	c := []string{
		figure(r.CPU.Median), figure(r.CPU.Min) + " to " + figure(r.CPU.Max), "-", "-",
		figure(r.column(func(s sample) float64 { return s.PerSecond }).Median),
		latency(r.column(func(s sample) float64 { return s.P50 })),
		latency(r.column(func(s sample) float64 { return s.P99 })),
		figure(handshakes.Median),
	}
	if r.Ratio.Max > 0 {
		c[2], c[3] = fmt.Sprintf("%.2f", r.Ratio.Median), fmt.Sprintf("%.2f to %.2f", r.Ratio.Min, r.Ratio.Max)
	}
	if handshakes.Min < 0 {
		c[7] = "-"
	}
	return c
}

// figure writes three digits that count.
func figure(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func (s *Suite) units() []string {
	var units []string
	for _, l := range s.Lines {
		for unit := range l.Values {
			if !slices.Contains(units, unit) {
				units = append(units, unit)
			}
		}
	}
	order := []string{"ns/op", "MB/s", "B/op", "allocs/op"}
	slices.SortFunc(units, func(a, b string) int {
		i, j := slices.Index(order, a), slices.Index(order, b)
		if i < 0 {
			i = len(order)
		}
		if j < 0 {
			j = len(order)
		}
		return cmp.Or(cmp.Compare(i, j), cmp.Compare(a, b))
	})
	return units
}

func (l *Line) cells(units []string) []string {
	cells := make([]string, len(units))
	for i, unit := range units {
		cells[i] = "-"
		if v, ok := l.Values[unit]; ok {
			cells[i] = figure(v)
		}
	}
	return cells
}

// write puts compare.json and compare.md into a directory.
func (r *Report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "compare.json"), append(content, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "compare.md"), r.markdown().Bytes(), 0o644)
}

func (r *Report) markdown() *bytes.Buffer {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# sluice beside its rivals\n\n%s, commit %s, `%s`, on %s.\n%s.\n",
		r.Date.Format(time.DateTime+" MST"), r.Commit, r.Command, r.Machine, r.about())
	fmt.Fprintf(&b, "\nCPU is that of the server's processes, user and system together, in microseconds a request.\n\n")
	if len(r.Aims) > 0 {
		fmt.Fprintf(&b, "| aim | ratio | range | reached |\n| --- | --- | --- | --- |\n")
		for _, a := range r.Aims {
			ratio, spread, reached := a.cells()
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", a.Text, ratio, spread, reached)
		}
	}
	for _, g := range r.Groups {
		fmt.Fprintf(&b, "\n## %s\n\n%s. Ratios are to %s.\n\n", g.Name, upper(g.Title), g.Base)
		fmt.Fprintf(&b, "| server | CPU µs | range | ratio | range | a second | p50 µs | p99 µs | handshakes |\n"+
			"| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
		for _, row := range g.Rows {
			if row.Error != "" {
				fmt.Fprintf(&b, "| %s | %s | | | | | | | |\n", row.Server, oneLine(row.Error))
				continue
			}
			fmt.Fprintf(&b, "| %s | %s |\n", row.Server, strings.Join(row.cells(), " | "))
		}
	}
	for _, s := range r.Suites {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", s.Name, upper(s.Title))
		if s.Error != "" {
			fmt.Fprintf(&b, "%s\n\n", oneLine(s.Error))
		}
		units := s.units()
		fmt.Fprintf(&b, "| | %s |\n| --- |%s\n", strings.Join(units, " | "), strings.Repeat(" --- |", len(units)))
		for _, l := range s.Lines {
			fmt.Fprintf(&b, "| %s | %s |\n", l.Name, strings.Join(l.cells(units), " | "))
		}
	}
	fmt.Fprintf(&b, "\n## Versions\n\n")
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, "- %s %s\n", name, r.Versions[name])
	}
	return &b
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// oneLine makes an error fit into a table.
func oneLine(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "\\|")
}
