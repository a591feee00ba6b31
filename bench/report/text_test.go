package report

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/bench"
)

func TestText(t *testing.T) {
	t.Parallel()
	for name, r := range results() {
		var b bytes.Buffer
		if err := Text(&b, r); err != nil {
			t.Fatal(err)
		}
		golden(t, "text/"+name+".txt", b.String())
	}
	// One screen, of a usual width for what is usual.
	var b bytes.Buffer
	if err := Text(&b, warm()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n > 30 {
		t.Errorf("%d lines are more than a screen", n)
	}
	for line := range strings.Lines(b.String()) {
		if utf8.RuneCountInString(line) > 120 {
			t.Errorf("a long line: %s", line)
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	f := func(u unit, v float64, want string) {
		t.Helper()
		if got := u.format(v); got != want {
			t.Errorf("%v is written %q, not %q", v, got, want)
		}
	}
	f(count, 0, "0")
	f(count, 999, "999")
	f(count, 1000, "1,000")
	f(count, -1234567, "-1,234,567")
	f(count, 0.12345, "0.123")
	f(count, 1.5, "1.5")
	f(count, 99.96, "100")
	f(count, 1e-12, "0")
	f(count, -1e-12, "0")
	f(count, 1e12, "1e+12")
	f(count, math.NaN(), "?")
	f(count, math.Inf(-1), "?")
	f(nanos, 0, "0 ns")
	f(nanos, 999, "999 ns")
	f(nanos, 999.9, "1 µs")
	f(nanos, 1234, "1.23 µs")
	f(nanos, 999_499, "999 µs")
	f(nanos, 999_999, "1 ms")
	f(nanos, 12_345_678, "12.3 ms")
	f(nanos, 125e9, "125 s")
	f(nanos, -2e6, "-2 ms")
	f(micros, 24.1, "24.1 µs")
	f(rate, 1234.5, "1,234/s")
	f(share, 0.000345, "0.0345 %")
	f(share, 1, "100 %")
	f(octets, 0, "0 B")
	f(octets, 1023, "1,023 B")
	f(octets, 64<<20, "64 MiB")
	f(octets, 1.5*(1<<30), "1.5 GiB")
	f(boolean, 0, "no")
	f(boolean, 1, "yes")

	g := func(v float64, want string) {
		t.Helper()
		if got := ratio(v); got != want {
			t.Errorf("the ratio %v is written %q, not %q", v, got, want)
		}
	}
	g(1, "1.00x")
	g(0.5, "0.50x")
	g(0.0123, "0.0123x")
	g(12.34, "12.3x")
	g(0, "0x")
}

// TestFile: what JSON writes, Read reads, whatever it is.
func TestFile(t *testing.T) {
	t.Parallel()
	for name, r := range results() {
		r.Version = bench.FormatVersion
		var b bytes.Buffer
		if err := JSON(&b, r); err != nil {
			t.Fatal(err)
		}
		if name == "warm" {
			golden(t, "warm.json", b.String())
		}
		got, err := Read(&b)
		if err != nil {
			t.Fatal(name, err)
		}
		// An empty list and none mean the same.
		want, _ := json.Marshal(r)
		if again, _ := json.Marshal(got); !bytes.Equal(again, want) {
			t.Errorf("%s became %s", want, again)
		}
	}
}

func TestFileErrors(t *testing.T) {
	t.Parallel()
	f := func(content, problem string) {
		t.Helper()
		r, err := Read(strings.NewReader(content))
		if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%.40q: %v %v, not %q", content, r, err, problem)
		}
	}
	f("", "no result of sluice-bench")
	f("{", "no result of sluice-bench")
	f("[]", "no result of sluice-bench")
	f("{}", "it has no version")
	f(`{"version":"1"}`, "no result of sluice-bench")
	f(`{"version":0}`, "there is no version 0")
	f(`{"version":99,"latency":"new"}`, "of version 99, which a newer sluice-bench wrote: this one reads up to version 1")
	f(`{"version":1,"latency":"old"}`, "no result of sluice-bench")
	f(`{"version":1}{}`, "no result of sluice-bench")
	f(`{"version":1,"series":[`+strings.Repeat("{},", maxIntervals)+"{}]}", "20001 intervals")
	f(`{"version":1,"latency":{"points":[`+strings.Repeat("{},", maxPoints)+"{}]}}", "more than 1000 points")
	f(strings.Repeat(" ", maxFile+1), "larger than 16 MiB")
}

// FuzzReports: whatever file somebody sends, every report of it is made, and stays one.
func FuzzReports(f *testing.F) {
	for _, r := range results() {
		r.Version = bench.FormatVersion
		content, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Add([]byte(`{"version":1,"series":[{"length":-1,"max":1},{"at":5}],"latency":{"count":-1,"points":[{"percent":1e308,"value":-5}]}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := Read(bytes.NewReader(content))
		if err != nil {
			return
		}
		examine(t, pageOf(t, r))
		var b bytes.Buffer
		c := Compare(r, warm(), "A", "B")
		ratio, err := ParseRatio("p99 < 1.1x")
		if err != nil {
			t.Fatal(err)
		}
		c.Evaluate([]Threshold{ratio})
		if err := c.HTML(&b); err != nil {
			t.Fatal(err)
		}
		examine(t, b.Bytes())
		for _, write := range []func() error{
			func() error { return Text(&b, r) }, func() error { return c.Text(&b) }, func() error { return c.JSON(&b) }, func() error { return JSON(&b, r) },
		} {
			if err := write(); err != nil {
				t.Error(err)
			}
		}
		for _, p := range plots() {
			if svg, err := SVG([]*bench.Result{r, r}, p.name); err == nil {
				drawn(t, svg)
			}
		}
	})
}

// TestEvaluate: what is checked is what the result says.
func TestEvaluate(t *testing.T) {
	t.Parallel()
	r := warm()
	r.Extra = map[string]float64{"registry_requests": 3}
	f := func(text string, value float64, ok bool, note string) {
		t.Helper()
		th, err := ParseThreshold(text)
		if err != nil {
			t.Error(err)
			return
		}
		c := Evaluate([]Threshold{th}, r)[0]
		if c.Text != text || math.Abs(c.Value-value) > math.Abs(value)*1e-3 || c.OK != ok || c.Note != note {
			t.Errorf("%q: %+v", text, c)
		}
	}
	f("p50 < 401us", 400e3, true, "")
	f("p50<=400µs", 400e3, true, "")
	f(" p50 < 400us ", 400e3, false, "")
	f("p99 > 5ms", 9027e3, true, "")
	f("p99.95 < 1s", 24248e3, true, "")
	f("p99.997 < 1s", 44148e3, true, "") // between two points: the one above
	f("max < 44ms", 44148e3, false, "")
	f("mean != 0s", 492e3, true, "")
	f("errors = 0", 10, false, "")
	f("errors <= 10", 10, true, "")
	f("error-rate < 0.1%", 10.0/29_000, true, "")
	f("error-rate < 0.03%", 10.0/29_000, false, "")
	f("error-rate < 0.0003", 10.0/29_000, false, "")
	f("throughput >= 900/s", 28_990/30.012, true, "")
	f("throughput >= 900", 28_990/30.012, true, "")
	f("denied = 1500", 1500, true, "")
	f("wrong = 0", 1, false, "")
	f("cpu < 25us", 24.1, true, "")
	f("cpu < 24", 24.1, false, "")
	f("rss < 64MiB", 48<<20+300<<10, true, "")
	f("rss < 50MB", 48<<20+300<<10, false, "")
	f("rss > 5", 48<<20+300<<10, true, "")
	f("connections < 5", 4, true, "")
	f("bottleneck = no", 0, true, "")
	f("bottleneck != yes", 0, true, "")
	f("extra.registry_requests <= 3", 3, true, "")
	f("extra.other = 0", 0, false, "the scenario did not measure this")

	r = &bench.Result{}
	f("p99 < 5ms", 0, false, "no review was answered")
	f("cpu < 5", 0, false, "the server's process was not looked at (--server-pid)")
	f("throughput > 0", 0, false, "no review was sent")
	f("error-rate = 0", 0, false, "no review was sent")
	r = &bench.Result{Latency: bench.Latency{Count: 1, Max: 7, Points: []bench.Percentile{{Percent: 50, Value: 3}}}}
	f("p99 < 5ns", 7, false, "") // nothing is known but the maximum
	r.Server, r.Counts.Allowed = &bench.Process{}, 1
	f("cpu < 5", 0, false, "the server used too little CPU to be counted")
	r.Generator.Bottleneck = []string{"why"}
	f("bottleneck = no", 1, false, "")
	r.Extra = map[string]float64{"n": math.Inf(1)}
	f("extra.n > 5", 0, false, "unknown")

	g := func(text, problem string) {
		t.Helper()
		if _, err := ParseThreshold(text); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%q: %v, not %q", text, err, problem)
		}
	}
	g("", "has no <")
	g("p99", "has no <")
	g("p99 ! 5ms", "has no <")
	g("latency < 5ms", `nothing is called "latency"; there are p50, p90`)
	g("p < 5ms", `nothing is called "p"`)
	g("p0 < 5ms", `nothing is called "p0"`)
	g("p100 < 5ms", `nothing is called "p100"`)
	g("pInf < 5ms", `nothing is called "pInf"`)
	g("extra. < 5", `nothing is called "extra."`)
	g("p99 < 5", "p99 is a duration, such as 5ms, not \"5\"")
	g("p99 < -5ms", "p99 is a duration")
	g("p99 == 5ms", "p99 is a duration")
	g("p99 < 1.1x", "p99 is a duration")
	g("errors < NaN", "errors is a number")
	g("error-rate < x%", "a share, such as 0.1%")
	g("rss < 5 parsecs", "an amount of memory")
	g("rss < xMiB", "an amount of memory")
	g("throughput > fast", "a rate, such as 1000/s")
	g("bottleneck = 0", "yes or no")
	g("bottleneck < yes", "compare it by =")
}

func TestCompare(t *testing.T) {
	t.Parallel()
	before, after := warm(), warm()
	before.Name, after.Name = "", ""
	after.Machine.Cores, after.Commit, after.Load.Workload, after.Complete = 8, "fedcba9876543210", "others", false
	after.Latency, after.Server, after.Counts.Errors = distribution(20_000, 100e3), nil, nil
	after.Counts.Denied, after.Counts.Wrong, after.Elapsed = 3_000, 2, before.Elapsed*102/100
	after.Extra = map[string]float64{"registry_requests": 3}
	after.Generator.Bottleneck = []string{"it was busy"}
	c := Compare(before, after, "a.json", "b.json")
	var thresholds []Threshold
	for _, text := range []string{"p99 < 0.3x", "throughput > 1.5x", "cpu < 1x", "wrong<=2x", "errors = 0x", "extra.registry_requests < 2x"} {
		th, err := ParseRatio(text)
		if err != nil {
			t.Fatal(err)
		}
		thresholds = append(thresholds, th)
	}
	c.Evaluate(thresholds)
	var b bytes.Buffer
	if err := c.Text(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "text/compare.txt", b.String())
	b.Reset()
	if err := c.JSON(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.json", b.String())
	b.Reset()
	if err := c.HTML(&b); err != nil {
		t.Fatal(err)
	}
	keep(t, "compare.html", b.Bytes())
	examine(t, b.Bytes())
	for _, text := range []string{"a.json against b.json", "What else differs", "A: p99", "B: p99", `<td class="good">better</td>`, "B: interrupted after", "B: the load generator was the bottleneck: it was busy"} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("the page does not say %q", text)
		}
	}

	// The same twice differs in nothing.
	same := Compare(before, before, "a", "b")
	for _, row := range same.Rows {
		if row.Ratio == nil || *row.Ratio != 1 || row.Verdict != "about the same" && row.Verdict != "" {
			t.Errorf("%+v", row)
		}
	}
	if len(same.Notes) > 0 {
		t.Errorf("%+v", same.Notes)
	}

	// Names of their own, where they tell the results apart.
	before.Name, after.Name = "h1", "h2"
	if c := Compare(before, after, "a", "b"); !reflect.DeepEqual([]string{c.A.Name, c.B.Name}, []string{"h1", "h2"}) {
		t.Errorf("%s %s", c.A.Name, c.B.Name)
	}

	// From nothing to something there is no ratio, and no threshold on it holds.
	nothing := warm()
	nothing.Counts.Wrong = 0
	c = Compare(nothing, before, "a", "b")
	c.Evaluate(thresholds[3:4])
	if c.Checks[0].OK || c.Checks[0].Note != "no ratio: it was 0, and is 1" {
		t.Errorf("%+v", c.Checks)
	}
	// A percentile of too few is the maximum: it is compared with nothing.
	few := warm()
	few.Latency.Count = 99
	c = Compare(before, few, "a", "b")
	c.Evaluate(thresholds[:1])
	if c.Checks[0].OK || c.Checks[0].Note != "too few reviews in one of the results" {
		t.Errorf("%+v", c.Checks)
	}
	for _, row := range c.Rows {
		if (row.Measure == "p90" || row.Measure == "p99") && (row.B == nil) != (row.Measure == "p99") {
			t.Errorf("%+v", row)
		}
	}
	if _, err := ParseRatio("p99 < 5ms"); err == nil {
		t.Error("a duration is taken for a ratio")
	}
	for _, text := range []string{"p99 < x", "p99 < -1x", "p99 < Infx", "nothing < 1x"} {
		if _, err := ParseRatio(text); err == nil {
			t.Errorf("%q is taken for a ratio", text)
		}
	}
}
