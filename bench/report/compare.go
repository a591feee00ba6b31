package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"sluice/bench"
)

// Comparison is how a second result, B, stands against a first, A.
type Comparison struct {
	Version int    `json:"version"` // bench.FormatVersion
	A       Side   `json:"a"`
	B       Side   `json:"b"`
	Rows    []Row  `json:"rows"`
	Notes   []Note `json:"notes"` // what else differs, so that the ratios may not mean what they seem to

	Checks []bench.Check `json:"checks,omitempty"`
}

// Side is one of the results.
type Side struct {
	Name   string        `json:"name"` // its scenario's, or the file's
	Result *bench.Result `json:"-"`
}

// Row is one number in both results.
type Row struct {
	Measure string   `json:"measure"` // one of Measures
	About   string   `json:"about"`
	A       *float64 `json:"a"` // in the unit of the result; null where a result lacks it
	B       *float64 `json:"b"`
	Ratio   *float64 `json:"ratio"`   // B to A; null where there is none
	Verdict string   `json:"verdict"` // better, worse, about the same, or empty where neither is good or bad
	unit    unit
}

// Note is a difference that numbers depend on.
type Note struct {
	What string `json:"what"`
	A    string `json:"a"`
	B    string `json:"b"`
}

// alike is how far a ratio may be from 1 before it counts as a difference: what two runs on the same machine differ by.
const alike = 0.05

// Compare sets B against A. The names are shown where a result has none of its own, or both have the same.
func Compare(a, b *bench.Result, nameA, nameB string) *Comparison {
	if a.Name != "" && b.Name != "" && a.Name != b.Name {
		nameA, nameB = a.Name, b.Name
	}
	c := &Comparison{
		Version: bench.FormatVersion, Notes: differences(a, b),
		A: Side{nameA, a}, B: Side{nameB, b},
	}
	var all []measure
	for _, name := range percentiles {
		m, _ := find(name)
		all = append(all, m)
	}
	for _, m := range measures() {
		if m.unit != boolean {
			all = append(all, m)
		}
	}
	keys := maps.Clone(a.Extra)
	if keys == nil {
		keys = map[string]float64{}
	}
	maps.Copy(keys, b.Extra)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		all = append(all, extra(key))
	}
	for _, m := range all {
		row := Row{Measure: m.name, About: m.about, unit: m.unit}
		row.A, row.B = value(&m, a), value(&m, b)
		if row.A == nil && row.B == nil {
			continue
		}
		row.Ratio, row.Verdict = row.judge(m.better)
		c.Rows = append(c.Rows, row)
	}
	return c
}

func value(m *measure, r *bench.Result) *float64 {
	v, err := m.read(r)
	if err != nil || !finite(v) || !shown(m, r) {
		return nil
	}
	return &v
}

// judge tells the ratio, and which side is better.
func (r *Row) judge(better int) (*float64, string) {
	if r.A == nil || r.B == nil {
		return nil, ""
	}
	a, b := *r.A, *r.B
	verdict := ""
	switch {
	case better == 0:
	case a == b || a > 0 && math.Abs(b/a-1) <= alike:
		verdict = "about the same"
	case (b > a) == (better > 0):
		verdict = "better"
	default:
		verdict = "worse"
	}
	ratio := 1.0
	if a != b {
		if ratio = b / a; !finite(ratio) {
			return nil, verdict
		}
	}
	return &ratio, verdict
}

// Evaluate checks thresholds that ParseRatio read.
func (c *Comparison) Evaluate(thresholds []Threshold) {
	for _, t := range thresholds {
		check := bench.Check{Text: t.text}
		row := Row{A: value(&t.measure, c.A.Result), B: value(&t.measure, c.B.Result)}
		ratio, _ := row.judge(0)
		switch {
		case row.A == nil || row.B == nil:
			if check.Note = "not in both results"; !shown(&t.measure, c.A.Result) || !shown(&t.measure, c.B.Result) {
				check.Note = "too few reviews in one of the results"
			}
		case ratio == nil:
			check.Note = fmt.Sprintf("no ratio: it was %s, and is %s", t.measure.unit.format(*row.A), t.measure.unit.format(*row.B))
		default:
			check.Value, check.OK = *ratio, t.holds(*ratio)
		}
		c.Checks = append(c.Checks, check)
	}
}

// differences are what else differs between two results.
func differences(a, b *bench.Result) []Note {
	notes := []Note{}
	add := func(what, of, to string) {
		if of != to {
			notes = append(notes, Note{what, of, to})
		}
	}
	seed := func(r *bench.Result) string { return fmt.Sprintf("%s (seed %d)", r.Load.Workload, r.Load.Seed) }
	whole := func(r *bench.Result) string {
		if r.Complete {
			return "complete"
		}
		return "interrupted"
	}
	limit := func(r *bench.Result) string {
		if len(r.Generator.Bottleneck) > 0 {
			return "was the bottleneck"
		}
		return "was not the bottleneck"
	}
	add("system", a.Machine.OS, b.Machine.OS)
	add("processor", a.Machine.CPU, b.Machine.CPU)
	add("cores", fmt.Sprint(a.Machine.Cores), fmt.Sprint(b.Machine.Cores))
	add("memory", memory(float64(a.Machine.Memory)), memory(float64(b.Machine.Memory)))
	add("Go", a.Machine.Go, b.Machine.Go)
	add("commit", cut(a.Commit, 13), cut(b.Commit, 13))
	add("client", a.Load.Client, b.Load.Client)
	add("protocol", a.Load.Protocol, b.Load.Protocol)
	add("workload", seed(a), seed(b))
	add("load", asked(a), asked(b))
	add("latency", loop(a), loop(b))
	add("run", whole(a), whole(b))
	add("generator", limit(a), limit(b))
	return notes
}

// JSON writes the comparison.
func (c *Comparison) JSON(w io.Writer) error { return writeJSON(w, c) }

// Text writes the comparison for a terminal.
func (c *Comparison) Text(w io.Writer) error {
	var p page
	p.line("A", c.A.Name)
	p.line("B", c.B.Name)
	p.blank()
	rows := [][]string{{"", "A", "B", "B to A", ""}}
	for i := range c.Rows {
		cells := c.Rows[i].cells()
		rows = append(rows, append([]string{c.Rows[i].Measure}, cells[:]...))
	}
	p.table(rows)
	if len(c.Notes) > 0 {
		p.blank()
		p.WriteString("These differ too, so the ratios may mean less than they seem to:\n")
		for _, n := range c.Notes {
			p.line(n.What, fmt.Sprintf("A: %s", n.A))
			p.line("", fmt.Sprintf("B: %s", n.B))
		}
	}
	for _, s := range [...]struct {
		name string
		Side
	}{{"A", c.A}, {"B", c.B}} {
		for _, why := range s.Result.Generator.Bottleneck {
			p.blank()
			p.line("BOTTLENECK", fmt.Sprintf("the load generator, in %s: %s", s.name, why))
		}
	}
	p.checks(c.Checks)
	_, err := io.WriteString(w, p.String())
	return err
}

// cells are a row's numbers in words: A, B, the ratio and which is better.
func (r *Row) cells() (cells [4]string) {
	show := func(v *float64) string {
		if v == nil {
			return "-"
		}
		return r.unit.format(*v)
	}
	cells = [4]string{show(r.A), show(r.B), "-", r.Verdict}
	if r.Ratio != nil {
		cells[2] = ratio(*r.Ratio)
	}
	return cells
}

// title names both sides in one line.
func (c *Comparison) title() string {
	return strings.Join([]string{c.A.Name, c.B.Name}, " against ")
}
