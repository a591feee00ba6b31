package report

import (
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/bench"
	"sluice/bench/schedule"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file below testdata, or writes it there.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what was got (go test -update ./bench/report writes it)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// distribution is a latency of a shape that real ones have: most are alike, and few are long.
func distribution(count int64, typical time.Duration) bench.Latency {
	l := bench.Latency{Count: count, Min: int64(typical / 2), Mean: float64(typical) * 1.23}
	for _, p := range []float64{0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.999, 100} {
		x := min(float64(count), 100/(100-min(p, 100-1e-7)))
		l.Points = append(l.Points, bench.Percentile{Percent: p, Value: int64(float64(typical) * (0.5 + math.Pow(math.Log2(x), 2)/2))})
	}
	l.Max = l.Points[len(l.Points)-1].Value
	return l
}

// warm is a result as an ordinary run has it.
func warm() *bench.Result {
	r := &bench.Result{
		Version: bench.FormatVersion, Name: "warm", Started: time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC),
		Command: []string{"sluice-bench", "run", "--target", "https://127.0.0.1:8443/v1/imagereview", "--schedule", "constant 1000/s for 30s"},
		Machine: bench.Machine{OS: "linux 6.1.0", CPU: "Example CPU @ 2.10GHz", Cores: 2, Memory: 24 << 30, Go: "go1.26.0"},
		Commit:  "0123456789abcdef0123456789abcdef01234567",
		Load: bench.Load{
			Target: "https://127.0.0.1:8443/v1/imagereview", Client: "apiserver, h2, mTLS, 3 apiservers, cache of 1024", Protocol: "h2",
			Workload: "50 images by Zipf 1.1, 1 to 3 containers, 5 % denied", Seed: 7,
			Schedule: schedule.Schedule{{Duration: 30 * time.Second, Rate: 1000}},
			Duration: int64(30 * time.Second), Reviews: 30_000,
		},
		Counts: bench.Counts{
			Sent: 29_000, Cached: 1_000, Allowed: 27_490, Denied: 1_500, Wrong: 1,
			Errors: map[string]int64{"timeout": 8, "status 502": 2}, Statuses: map[string]int64{"200": 28_990, "502": 2},
		},
		Elapsed: int64(30*time.Second + 12*time.Millisecond), Complete: true,
		Latency: distribution(28_998, 400*time.Microsecond), Service: distribution(28_998, 300*time.Microsecond),
		Connections: bench.Connections{Opened: 7, Failed: 1, Unused: 2, WarmedUp: 3, Handshake: int64(1200 * time.Microsecond)},
		Generator:   bench.Generator{CPU: 0.42, CPUReview: 43.1, Lag: distribution(29_000, 20*time.Microsecond)},
		Server: &bench.Process{
			PID: 4711, User: int64(400 * time.Millisecond), System: int64(300 * time.Millisecond), CPUReview: 24.1,
			RSSBegin: 40 << 20, RSSEnd: 45 << 20, RSSMax: 48<<20 + 300<<10,
		},
		Metrics: map[string]bench.Metric{
			`sluice_reviews_total{verdict="allow"}`: {Before: 100, After: 27_590},
			`sluice_cache_entries{cache="verdict"}`: {Before: 50, After: 50},
			`process_cpu_seconds_total`:             {Before: 1.25, After: 1.95},
		},
		Checks: []bench.Check{{Text: "p99 < 50ms", Value: 4.2e6, OK: true}, {Text: "errors = 0", Value: 10}, {Text: "cpu < 30us", Value: 24.1, OK: true}},
	}
	for i := range 30 {
		wave := 1 + 0.3*math.Sin(float64(i)/3)
		in := bench.Interval{
			At: int64(i) * 1e9, Length: 1e9, Intended: 1000, Sent: 990, Answered: 980 + int64(20*wave),
			P50: int64(400e3 * wave), P90: int64(900e3 * wave), P99: int64(4e6 * wave * wave), Max: int64(12e6 * wave),
			ServerCPU: 0.024 * wave, ServerRSS: 40<<20 + int64(i)<<18, InFlight: int64(2 * wave),
		}
		if i == 20 {
			in.Failed, in.Max = 10, 30e9
		}
		r.Series = append(r.Series, in)
	}
	return r
}

// results are what reports are held to show, by the name of a golden file.
func results() map[string]*bench.Result {
	all := map[string]*bench.Result{"warm": warm(), "nothing": {}}

	zero := warm()
	zero.Name, zero.Counts, zero.Latency, zero.Service = "", bench.Counts{}, bench.Latency{}, bench.Latency{}
	zero.Series, zero.Server, zero.Metrics, zero.Checks, zero.Connections = nil, nil, nil, nil, bench.Connections{}
	zero.Generator, zero.Elapsed = bench.Generator{}, 0
	all["zero_reviews"] = zero

	one := warm()
	one.Series = one.Series[:1]
	all["one_interval"] = one

	failed := warm()
	failed.Counts = bench.Counts{Sent: 29_900, Dropped: 100, Errors: map[string]int64{"refused": 29_900}}
	failed.Latency, failed.Service = bench.Latency{}, bench.Latency{}
	failed.Checks = Evaluate([]Threshold{{text: "p99 < 5ms", measure: percentile("p99", 99), operator: "<", bound: 5e6}}, failed)
	failed.Generator.Bottleneck = []string{"100 reviews were not sent, because 20000 were in flight"}
	for i := range failed.Series {
		in := &failed.Series[i]
		*in = bench.Interval{At: in.At, Length: in.Length, Intended: 1000, Sent: 1000, Failed: 1000}
	}
	all["all_errors"] = failed

	closed := warm()
	closed.Load.Schedule, closed.Load.Closed, closed.Load.Reviews = nil, 64, 0
	closed.Service = closed.Latency
	all["closed_loop"] = closed

	stopped := warm()
	stopped.Complete, stopped.Elapsed, stopped.Series = false, int64(4*time.Second), stopped.Series[:4]
	all["interrupted"] = stopped

	short := warm()
	short.Counts = bench.Counts{Sent: 120, Allowed: 100, Wrong: 30, Errors: map[string]int64{"refused": 18, "timeout": 2}}
	short.Latency, short.Service = distribution(102, 400*time.Microsecond), distribution(102, 300*time.Microsecond)
	short.Server = &bench.Process{User: int64(10 * time.Millisecond), System: int64(10 * time.Millisecond), CPUReview: 200}
	all["short"] = short

	steps := warm()
	steps.Load.Schedule, steps.Load.Reviews = nil, 60_000
	for i := range 3 {
		rate := float64(1000 * (i + 1))
		steps.Load.Schedule = append(steps.Load.Schedule, schedule.Phase{Duration: 10 * time.Second, Rate: rate})
		for j := range 10 {
			in := &steps.Series[10*i+j]
			in.Intended, in.Answered = rate, int64(min(rate, 2500))
			if i == 2 {
				in.P50, in.P99, in.Max = int64(j+1)*2e8, int64(j+1)*3e8, int64(j+1)*4e8
			}
		}
	}
	all["steps"] = steps

	huge := warm()
	const most = math.MaxInt64
	huge.Load.Schedule = schedule.Schedule{}
	for i := range 100 {
		huge.Load.Schedule = append(huge.Load.Schedule, schedule.Phase{Duration: time.Hour, Rate: float64(i) * 1e4})
	}
	huge.Load.Reviews, huge.Load.Duration, huge.Elapsed, huge.Load.Seed = most, most, most, math.MaxUint64
	huge.Counts = bench.Counts{Sent: most, Allowed: most, Errors: map[string]int64{"timeout": most}}
	huge.Latency = bench.Latency{Count: most, Min: most, Mean: math.MaxFloat64, Max: most, Points: []bench.Percentile{{Percent: -1, Value: most}, {Percent: 100, Value: most}}}
	huge.Connections, huge.Generator.CPU = bench.Connections{Opened: most, Handshake: most}, math.MaxFloat64
	huge.Server = &bench.Process{User: most, System: most, CPUReview: math.MaxFloat64, RSSEnd: most, RSSMax: most}
	huge.Series = []bench.Interval{
		{At: most, Length: most, Intended: math.MaxFloat64, Sent: most, Answered: most, Failed: most, P50: most, P90: most, P99: most, Max: most, ServerCPU: math.MaxFloat64, ServerRSS: most, InFlight: most},
		{At: -most, Length: 0, Intended: 1, Answered: 1, P50: 1, P90: -1, P99: 1, Max: 1, ServerCPU: 5e-324, ServerRSS: -most, InFlight: -most},
	}
	huge.Extra = map[string]float64{"registry_requests": 3, "largest": math.MaxFloat64}
	all["huge"] = huge
	return all
}
