package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"sluice/bench"
)

// keep writes a page into the folder that SLUICE_PAGES names, for whoever wants to look at it in a browser.
func keep(t *testing.T, name string, page []byte) {
	t.Helper()
	if dir := os.Getenv("SLUICE_PAGES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name), page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// page makes the page of a result.
func pageOf(t *testing.T, r *bench.Result) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// allowed are the attributes that a page may have, by element; those of all elements by "". Nothing in them can name
// another file or run anything.
var allowed = map[string]string{
	"":     " class id role aria-label aria-labelledby tabindex ",
	"html": " lang ", "meta": " charset name content http-equiv ", "th": " scope ",
	"svg": " viewbox xmlns ", "text": " x y text-anchor ", "line": " x1 y1 x2 y2 ", "path": " d ",
}

// elements are those that a page may have.
const elements = " html head meta title style body main h1 h2 p ul li b span dl dt dd div figure svg desc text line path " +
	"table thead tbody tr th td details summary "

// examine holds that a page is whole, that it has only elements and attributes that it may have, and that ids are
// unique and references to them are to be found.
func examine(t *testing.T, page []byte) {
	t.Helper()
	var open []string
	ids, refs := map[string]bool{}, map[string]bool{}
	for z := html.NewTokenizer(bytes.NewReader(page)); ; {
		kind := z.Next()
		token := z.Token()
		switch kind {
		case html.ErrorToken:
			if !errors.Is(z.Err(), io.EOF) {
				t.Error(z.Err())
			}
			if len(open) > 0 {
				t.Errorf("%q are never closed", open)
			}
			for ref := range refs {
				if !ids[ref] {
					t.Errorf("there is no element with the id %q", ref)
				}
			}
			return
		case html.CommentToken:
			t.Errorf("a comment: %q", token.Data)
		case html.StartTagToken, html.SelfClosingTagToken:
			if !strings.Contains(elements, " "+token.Data+" ") {
				t.Errorf("an element <%s>", token.Data)
			}
			for _, a := range token.Attr {
				if !strings.Contains(allowed[""]+allowed[token.Data], " "+strings.ToLower(a.Key)+" ") {
					t.Errorf("<%s> has the attribute %q", token.Data, a.Key)
				}
				switch a.Key {
				case "id":
					if ids[a.Val] {
						t.Errorf("two elements have the id %q", a.Val)
					}
					ids[a.Val] = true
				case "aria-labelledby":
					for ref := range strings.FieldsSeq(a.Val) {
						refs[ref] = true
					}
				}
			}
			if kind == html.StartTagToken && token.Data != "meta" {
				open = append(open, token.Data)
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != token.Data {
				t.Fatalf("</%s> closes none of %q", token.Data, open)
			}
			open = open[:len(open)-1]
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	for name, r := range results() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page := pageOf(t, r)
			keep(t, name+".html", page)
			examine(t, page)
			for _, bad := range []string{"NaN", "Inf", "%!"} {
				if bytes.Contains(page, []byte(bad)) {
					t.Errorf("the page says %s", bad)
				}
			}
		})
	}
}

// TestPageSays holds that what nobody may overlook is on the page.
func TestPageSays(t *testing.T) {
	t.Parallel()
	all := results()
	f := func(name string, texts ...string) {
		t.Helper()
		page := string(pageOf(t, all[name]))
		for _, text := range texts {
			if !strings.Contains(page, text) {
				t.Errorf("%s: the page does not say %q", name, text)
			}
		}
	}
	f("warm", "open loop: latency counts from", `<td class="bad">FAILED</td>`, "<title id=\"latency-t\">", "27,490",
		`sluice_reviews_total{verdict=&#34;allow&#34;}`, "commit 0123456789ab…", "&#39;constant 1000/s for 30s&#39;")
	f("closed_loop", `<p class="banner" role="note">closed loop: latency hides stalls`)
	f("interrupted", `<p class="banner" role="note">interrupted after 4 s of 30 s`)
	f("all_errors", `<p class="banner" role="note">the load generator was the bottleneck: 100 reviews`, "refused 29,900")
	page := string(pageOf(t, all["warm"]))
	if changed, same := strings.Index(page, "sluice_reviews_total"), strings.Index(page, "sluice_cache_entries"); changed > same {
		t.Error("metrics that did not change come first")
	}
	if strings.Contains(string(pageOf(t, all["all_errors"])), "Latency over time") {
		t.Error("there is a plot of nothing")
	}
}

// attacks are texts that would do something if they were not taken as text.
var attacks = []string{
	`</script><script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `</title></svg><script>x</script>`,
	`</style><style>*{display:none}`, `<!--`, `]]>`, `{{.}}`, "javascript:alert(1)", "\x00\x1b[2J\u202e\u2066", "a&b<c>",
	`</text><a xlink:href="https://example.com">`, strings.Repeat("<b>", 300), "\xff\xfe",
}

// hostile is a result in which every text is an attack.
func hostile(attack string) *bench.Result {
	r := warm()
	r.Name, r.Commit, r.Command = attack, attack, []string{attack, attack}
	r.Machine = bench.Machine{OS: attack, CPU: attack, Go: attack}
	r.Load.Target, r.Load.Client, r.Load.Protocol, r.Load.Workload = attack, attack, attack, attack
	r.Counts.Errors = map[string]int64{attack: 5}
	r.Counts.Statuses = r.Counts.Errors
	r.Metrics = map[string]bench.Metric{attack: {After: 1}}
	r.Extra = map[string]float64{attack: 1}
	r.Generator.Bottleneck = []string{attack}
	r.Checks = []bench.Check{{Text: attack, Note: attack}, {Text: "p99 < " + attack}}
	r.Latency.HDR = attack
	return r
}

// TestHostileText: nothing that a result says can be anything but text, on a page or in a plot.
func TestHostileText(t *testing.T) {
	t.Parallel()
	for _, attack := range attacks {
		r := hostile(attack)
		page := pageOf(t, r)
		examine(t, page)
		other := hostile(attack)
		other.Name += "B"
		var b bytes.Buffer
		if err := Compare(r, other, attack, attack).HTML(&b); err != nil {
			t.Fatal(err)
		}
		examine(t, b.Bytes())
		svg, err := SVG([]*bench.Result{r, other}, "latency")
		if err != nil {
			t.Fatal(err)
		}
		drawn(t, svg)
		b.Reset()
		if err := Text(&b, r); err != nil {
			t.Fatal(err)
		}
		if err := Compare(r, other, attack, attack).Text(&b); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{b.String(), string(page)} {
			if i := strings.IndexFunc(text, func(c rune) bool { return c != '\n' && c < ' ' || c == '\u202e' || c == '\u2066' || c == 0x7f }); i >= 0 {
				t.Errorf("%q: a control character %q", attack, text[i:i+1])
			}
		}
	}
}

// drawn holds that a plot is XML of elements that draw, and has no text but text. It returns the text.
func drawn(t *testing.T, svg []byte) (text string) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return text
		} else if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if !strings.Contains(" svg title desc style text line path ", " "+token.Name.Local+" ") {
				t.Errorf("an element <%s>", token.Name.Local)
			}
			for _, a := range token.Attr {
				if !strings.Contains(allowed[""]+allowed[token.Name.Local], " "+strings.ToLower(a.Name.Local)+" ") {
					t.Errorf("<%s> has the attribute %q", token.Name.Local, a.Name.Local)
				}
			}
		case xml.CharData:
			text += string(token)
		case xml.Comment, xml.ProcInst, xml.Directive:
			t.Errorf("%v", token)
		}
	}
}

func TestSVG(t *testing.T) {
	t.Parallel()
	all := results()
	after := warm()
	after.Name = "after"
	after.Latency = distribution(20_000, 300*time.Microsecond)
	for _, p := range plots() {
		one, err := SVG([]*bench.Result{all["warm"]}, p.name)
		if err != nil {
			t.Fatal(err)
		}
		drawn(t, one)
		golden(t, "svg/"+p.name+".svg", string(one))
		two, err := SVG([]*bench.Result{all["warm"], after}, p.name)
		if err != nil {
			t.Fatal(err)
		}
		if text := drawn(t, two); !strings.Contains(text, "warm: ") || !strings.Contains(text, "after: ") {
			t.Errorf("%s does not say which line is whose: %s", p.name, text)
		}
		keep(t, p.name+".svg", two)
		for name, r := range all {
			svg, err := SVG([]*bench.Result{r}, p.name)
			if err != nil {
				if strings.Contains(err.Error(), "has nothing to show") {
					continue
				}
				t.Error(err)
			}
			drawn(t, svg)
			if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
				t.Errorf("%s of %s: a number is none: %s", p.name, name, svg)
			}
		}
	}
	if _, err := SVG(nil, "latencies"); err == nil || !strings.Contains(err.Error(), "only latency, percentiles,") {
		t.Error(err)
	}
	if _, err := SVG(nil, "latency"); err == nil {
		t.Error("a plot of nothing")
	}
}

// TestPageSaysWhatIsLeftOut: what failed, what was not expected and what too few reviews can't tell is said in the page.
func TestPageSaysWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	r := results()["short"]
	r.Series = []bench.Interval{{Length: 1e9, Sent: 120, Answered: 7}}
	page := string(pageOf(t, r))
	for _, text := range []string{
		`role="note">reviews without a verdict: 20 (16.7 %): refused 18, timeout 2<`, `role="note">30 of 100 verdicts: `,
		". 18 of 120 reviews failed before their timeout", "p99.9, p99.99: too few reviews (102)", "<td>99 %</td>", "<td>100 %</td>",
		"<td>113</td>", // in flight
	} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not say %q", text)
		}
	}
	for _, text := range []string{"<td>99.9 %</td>", "latency, p99.9<"} {
		if strings.Contains(page, text) {
			t.Errorf("the page says %q", text)
		}
	}
}

// TestServerMetricsFirst: what changed comes first, and what every Go program has after what the server has.
func TestServerMetricsFirst(t *testing.T) {
	t.Parallel()
	var got []string
	for _, row := range metricsTable(warm().Metrics).Rows {
		got = append(got, row[0])
	}
	want := []string{`sluice_reviews_total{verdict="allow"}`, "process_cpu_seconds_total", `sluice_cache_entries{cache="verdict"}`}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestTicks: axes begin and end at round numbers, hold every value, and have neither too few ticks nor too many.
func TestTicks(t *testing.T) {
	t.Parallel()
	f := func(a axis, v float64) {
		t.Helper()
		a.from, a.to = 0, 100
		values, named := a.ticks()
		labels := 0
		for _, n := range named {
			if n {
				labels++
			}
		}
		if labels < 2 || labels > 11 || len(values) > 40 {
			t.Errorf("%v: %d labels at %v", v, labels, values)
		}
		if at := a.at(v); !math.IsNaN(v) && !(at >= 0 && at <= 100) {
			t.Errorf("%v is at %v", v, at)
		}
		if v > 0 && v < 1e299 && a.high < v*(1-1e-9) && !a.log {
			t.Errorf("%v is beyond the end %v", v, a.high)
		}
	}
	for _, v := range []float64{
		-1, 0, 5e-324, 1e-9, 0.1, 0.3, 1, 2, 3, 7, 9.99, 10, 59, 60, 61, 119, 120, 600, 3600, 7200, 86400, 1e6, 12345678, 1e15, 1e300,
		math.MaxFloat64, math.Inf(1), math.NaN(),
	} {
		f(linear(v, tick), v)
		f(clock(min(v, 86400)), min(v, 86400))
		f(logarithmic(v/3, v, duration), v)
		f(logarithmic(v, v, duration), v)
		f(logarithmic(min(v/1e6, 1), v, duration), v)
	}
}
