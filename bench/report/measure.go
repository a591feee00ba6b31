package report

import (
	"errors"
	"strconv"
	"strings"

	"sluice/bench"
)

// measure is one number that a result has: what thresholds are set on, and what is compared.
type measure struct {
	name   string
	about  string
	unit   unit
	better int // -1: less is better; 1: more is; 0: neither
	read   func(r *bench.Result) (float64, error)
}

// Why a result lacks a number.
var (
	errNoAnswer  = errors.New("no review was answered")
	errNoServer  = errors.New("the server's process was not looked at (--server-pid)")
	errNoReviews = errors.New("no review was sent")
	errNoCPU     = errors.New("the server used too little CPU to be counted")
)

// percentiles are those that comparisons and tables show.
var percentiles = [...]string{"p50", "p90", "p99", "p99.9", "p99.99"}

// measures are all but percentiles, which percentile makes, and what scenarios measure, which extra reads.
func measures() []measure {
	fromLatency := func(read func(l *bench.Latency) float64) func(r *bench.Result) (float64, error) {
		return func(r *bench.Result) (float64, error) {
			if r.Latency.Count == 0 {
				return 0, errNoAnswer
			}
			return read(&r.Latency), nil
		}
	}
	fromServer := func(read func(p *bench.Process) float64) func(r *bench.Result) (float64, error) {
		return func(r *bench.Result) (float64, error) {
			if r.Server == nil {
				return 0, errNoServer
			}
			return read(r.Server), nil
		}
	}
	counted := func(read func(r *bench.Result) int64) func(r *bench.Result) (float64, error) {
		return func(r *bench.Result) (float64, error) { return float64(read(r)), nil }
	}
	return []measure{
		{"mean", "mean latency", nanos, -1, fromLatency(func(l *bench.Latency) float64 { return l.Mean })},
		{"max", "highest latency", nanos, -1, fromLatency(func(l *bench.Latency) float64 { return float64(l.Max) })},
		{"throughput", "reviews answered a second", rate, 1, func(r *bench.Result) (float64, error) {
			if r.Elapsed <= 0 {
				return 0, errNoReviews
			}
			return float64(r.Counts.Answered()) / seconds(r.Elapsed), nil
		}},
		{"errors", "reviews without a verdict", count, -1, counted(func(r *bench.Result) int64 { return r.Counts.Failed() })},
		{"error-rate", "share of reviews without a verdict", share, -1, func(r *bench.Result) (float64, error) {
			all := r.Counts.Answered() + r.Counts.Failed()
			if all <= 0 {
				return 0, errNoReviews
			}
			return float64(r.Counts.Failed()) / float64(all), nil
		}},
		{"denied", "reviews denied", count, 0, counted(func(r *bench.Result) int64 { return r.Counts.Denied })},
		{"wrong", "verdicts other than expected", count, -1, counted(func(r *bench.Result) int64 { return r.Counts.Wrong })},
		{"cpu", "server CPU a review", micros, -1, func(r *bench.Result) (float64, error) {
			if r.Server != nil && r.Counts.Answered() == 0 {
				return 0, errNoAnswer
			}
			if r.Server != nil && r.Server.User == 0 && r.Server.System == 0 {
				return 0, errNoCPU
			}
			return fromServer(func(p *bench.Process) float64 { return p.CPUReview })(r)
		}},
		{"rss", "highest resident memory of the server", octets, -1, fromServer(func(p *bench.Process) float64 { return float64(p.RSSMax) })},
		{"connections", "connections opened during the run, warm-up aside", count, -1, counted(during)},
		{"bottleneck", "whether the load generator was the bottleneck", boolean, -1, func(r *bench.Result) (float64, error) {
			if len(r.Generator.Bottleneck) > 0 {
				return 1, nil
			}
			return 0, nil
		}},
	}
}

// during counts the connections that were opened in the run itself.
func during(r *bench.Result) int64 { return max(r.Connections.Opened-r.Connections.WarmedUp, 0) }

func seconds(ns int64) float64 { return float64(ns) / 1e9 }

// Measures names what thresholds can be set on.
func Measures() (names []string) {
	names = append(names, percentiles[:]...)
	for _, m := range measures() {
		names = append(names, m.name)
	}
	return names
}

// find finds a measure: one of measures, any percentile such as p99.95, or extra.NAME.
func find(name string) (measure, bool) {
	for _, m := range measures() {
		if m.name == name {
			return m, true
		}
	}
	if p, ok := percent(name); ok {
		return percentile(name, p), true
	}
	if key, ok := strings.CutPrefix(name, "extra."); ok && key != "" {
		return extra(key), true
	}
	return measure{}, false
}

// percent is the number of a percentile's name.
func percent(name string) (float64, bool) {
	number, ok := strings.CutPrefix(name, "p")
	if !ok || strings.Trim(number, "0123456789.") != "" {
		return 0, false
	}
	p, err := strconv.ParseFloat(number, 64)
	return p, err == nil && p > 0 && p <= 99.999
}

// enough tells whether at least one of the reviews is beyond a percentile. If none is, the percentile is the maximum by
// another name: thresholds may take it for that, and nothing shows it.
func enough(l *bench.Latency, p float64) bool { return float64(l.Count)*(100-p) >= 100-1e-6 }

// shown tells whether a measure of a result is more than a maximum by another name.
func shown(m *measure, r *bench.Result) bool {
	p, ok := percent(m.name)
	return !ok || enough(&r.Latency, p)
}

func percentile(name string, p float64) measure {
	return measure{name, name + " latency", nanos, -1, func(r *bench.Result) (float64, error) {
		if r.Latency.Count == 0 {
			return 0, errNoAnswer
		}
		// Beyond the last point, nothing lower than the maximum is known to be enough.
		if points := r.Latency.Points; len(points) == 0 || points[len(points)-1].Percent < p-1e-9 {
			return float64(r.Latency.Max), nil
		}
		return float64(r.Latency.At(p)), nil
	}}
}

func extra(key string) measure {
	return measure{"extra." + key, strings.ReplaceAll(key, "_", " "), count, 0, func(r *bench.Result) (float64, error) {
		v, ok := r.Extra[key]
		if !ok {
			return 0, errors.New("the scenario did not measure this")
		}
		return v, nil
	}}
}
