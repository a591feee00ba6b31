package report

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"sluice/bench"
)

// Threshold is a condition on one number of a result, such as "p99 < 5ms", or on how it compares, such as "p99 < 1.1x".
type Threshold struct {
	text     string
	measure  measure
	operator string
	bound    float64
	ratio    bool // bound is of B's number to A's
}

// operators, longer ones first.
var operators = [...]string{"<=", ">=", "!=", "<", ">", "="}

// ParseThreshold reads a condition: one of Measures, a percentile such as p99.95, or extra.NAME; then <, <=, >, >=, = or
// !=; then a number in the measure's unit, such as 5ms, 1000/s, 0.1%, 64MiB, 12, or no.
func ParseThreshold(text string) (Threshold, error) {
	t, bound, err := parseThreshold(text)
	if err != nil {
		return Threshold{}, err
	}
	if t.bound, err = t.measure.unit.parse(bound); err != nil {
		return Threshold{}, fmt.Errorf("the threshold %q: %s is %w, not %q", text, t.measure.name, err, bound)
	}
	if t.measure.unit == boolean && t.operator != "=" && t.operator != "!=" {
		return Threshold{}, fmt.Errorf("the threshold %q: %s is yes or no, so compare it by =", text, t.measure.name)
	}
	return t, nil
}

// ParseRatio reads a condition on how the second of two results compares with the first, such as "p99 < 1.1x".
func ParseRatio(text string) (Threshold, error) {
	t, bound, err := parseThreshold(text)
	if err != nil {
		return Threshold{}, err
	}
	number, ok := strings.CutSuffix(bound, "x")
	if t.bound, err = strconv.ParseFloat(number, 64); !ok || err != nil || !finite(t.bound) || t.bound < 0 {
		return Threshold{}, fmt.Errorf("the threshold %q: a comparison's bound is a ratio, such as 1.1x, not %q", text, bound)
	}
	t.ratio = true
	return t, nil
}

// parseThreshold reads all but the bound.
func parseThreshold(text string) (t Threshold, bound string, err error) {
	at := strings.IndexAny(text, "<>=!")
	if at < 0 {
		return t, "", fmt.Errorf("the threshold %q has no <, <=, >, >=, = or !=; write for example: p99 < 5ms", text)
	}
	name := strings.TrimSpace(text[:at])
	m, ok := find(name)
	if !ok {
		return t, "", fmt.Errorf("the threshold %q: nothing is called %q; there are %s, any other percentile, and extra.NAME of a scenario",
			text, name, strings.Join(Measures(), ", "))
	}
	for _, o := range operators {
		if rest, ok := strings.CutPrefix(text[at:], o); ok {
			return Threshold{text: text, measure: m, operator: o}, strings.TrimSpace(rest), nil
		}
	}
	return t, "", fmt.Errorf("the threshold %q has no <, <=, >, >=, = or !=; write for example: p99 < 5ms", text)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// parse reads a value of the unit. Its error says what the unit is, as the end of a sentence.
func (u unit) parse(text string) (float64, error) {
	var what string
	switch u {
	case nanos, micros:
		d, err := time.ParseDuration(text)
		if err == nil && d >= 0 {
			if u == micros {
				return float64(d) / 1e3, nil
			}
			return float64(d), nil
		}
		if what = "a duration, such as 5ms"; u == nanos {
			return 0, errors.New(what)
		}
		what += ", or a number of microseconds"
	case rate:
		what = "a rate, such as 1000/s"
		text = strings.TrimSuffix(text, "/s")
	case share:
		what = "a share, such as 0.1%"
		if percent, ok := strings.CutSuffix(text, "%"); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(percent), 64)
			if err != nil || !finite(v) || v < 0 {
				return 0, errors.New(what)
			}
			return v / 100, nil
		}
	case octets:
		what = "an amount of memory, such as 64MiB"
		for _, s := range []scale{{1 << 10, "KiB"}, {1 << 20, "MiB"}, {1 << 30, "GiB"}, {1e3, "kB"}, {1e6, "MB"}, {1e9, "GB"}, {1, "B"}} {
			if number, ok := strings.CutSuffix(text, s.name); ok {
				v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
				if err != nil || !finite(v) || v < 0 {
					return 0, errors.New(what)
				}
				return v * s.size, nil
			}
		}
	case boolean:
		switch text {
		case "no":
			return 0, nil
		case "yes":
			return 1, nil
		}
		return 0, errors.New("yes or no")
	default:
		what = "a number"
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !finite(v) || v < 0 {
		return 0, errors.New(what)
	}
	return v, nil
}

// Evaluate tells of each threshold whether it holds. One that cannot be checked does not hold.
func Evaluate(thresholds []Threshold, r *bench.Result) (checks []bench.Check) {
	for _, t := range thresholds {
		c := bench.Check{Text: t.text}
		v, err := t.measure.read(r)
		if err != nil || !finite(v) {
			c.Note = "unknown"
			if err != nil {
				c.Note = err.Error()
			}
		} else {
			c.Value, c.OK = v, t.holds(v)
		}
		checks = append(checks, c)
	}
	return checks
}

func (t *Threshold) holds(v float64) bool {
	switch t.operator {
	case "<":
		return v < t.bound
	case "<=":
		return v <= t.bound
	case ">":
		return v > t.bound
	case ">=":
		return v >= t.bound
	case "=":
		return v == t.bound
	}
	return v != t.bound
}

// Failed counts the checks that do not hold.
func Failed(checks []bench.Check) (n int) {
	for _, c := range checks {
		if !c.OK {
			n++
		}
	}
	return n
}

// found is what a check found, in the unit of what it looked at.
func found(c bench.Check) string {
	if c.Note != "" {
		return c.Note
	}
	if t, bound, err := parseThreshold(c.Text); err == nil {
		if strings.HasSuffix(bound, "x") {
			return ratio(c.Value)
		}
		return t.measure.unit.format(c.Value)
	}
	return number(c.Value)
}

// ratio writes how often one number goes into another: three digits, and at least two decimals of what is near 1.
func ratio(v float64) string {
	if v >= 0.1 && v < 10 {
		return strconv.FormatFloat(v, 'f', 2, 64) + "x"
	}
	return number(v) + "x"
}
