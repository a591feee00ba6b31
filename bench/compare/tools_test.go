package main

import (
	"maps"
	"testing"
	"time"
)

func TestReadWrk(t *testing.T) {
	t.Parallel()
	const out = `Running 2s test @ https://127.0.0.1:43297/v1/imagereview?timeout=30s
  2 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.25ms    2.07ms  31.34ms   92.18%
    Req/Sec     8.93k     1.70k   12.35k    72.50%
  Latency Distribution
     50%  640.00us
     75%    1.20ms
     90%    2.65ms
     99%   10.40ms
  35561 requests in 2.00s, 22.52MB read
Requests/sec:  17760.59
Transfer/sec:     11.25MB
`
	r, err := readWrk([]byte(out))
	if err != nil || r.Requests != 35561 {
		t.Fatal(r, err)
	}
	for quantile, want := range map[float64]time.Duration{50: 640 * time.Microsecond, 99: 10400 * time.Microsecond} {
		if got := time.Duration(r.Latency.ValueAtQuantile(quantile)); got < want*98/100 || got > want*102/100 {
			t.Errorf("the %v %% are %v, want %v", quantile, got, want)
		}
	}
	for _, wrong := range []string{
		"", out + "  Non-2xx or 3xx responses: 7\n", out + "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
		"35561 requests in 2.00s",
	} {
		if r, err := readWrk([]byte(wrong)); err == nil {
			t.Errorf("%q is read as %v", wrong, r)
		}
	}
}

func TestReadH2load(t *testing.T) {
	t.Parallel()
	const out = `finished in 1.02s, 19521.61 req/s, 10.66MB/s
requests: 20000 total, 20000 started, 20000 done, 20000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 20000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 10.92MB (11450000) total, 1.05MB (1100000) headers (space savings 73.17%), 9.54MB (10000000) data
`
	if r, err := readH2load([]byte(out), 20000); err != nil || r.Requests != 20000 {
		t.Error(r, err)
	}
	for _, wrong := range []string{"", "status codes: 19999 2xx, 0 3xx, 0 4xx, 0 5xx", "status codes: 19999 2xx, 0 3xx, 1 4xx, 0 5xx"} {
		if r, err := readH2load([]byte(wrong), 20000); err == nil {
			t.Errorf("%q is read as %v", wrong, r)
		}
	}
}

func TestReadBenchmark(t *testing.T) {
	t.Parallel()
	name, values, ok := readBenchmark("BenchmarkGet/map_behind_a_pointer/100_keys-2 \t 4135016\t        58.30 ns/op\t       0 B/op\t       0 allocs/op")
	want := map[string]float64{"ns/op": 58.3, "B/op": 0, "allocs/op": 0}
	if !ok || name != "Get/map behind a pointer/100 keys-2" || !maps.Equal(values, want) {
		t.Error(name, values, ok)
	}
	name, values, ok = readBenchmark("BenchmarkHitRatio/otter/room_for_1_% \t 1\t 0.6042 hits/look-up\t 0 ns/op")
	if want := map[string]float64{"hits/look-up": 0.6042}; !ok || name != "HitRatio/otter/room for 1 %" || !maps.Equal(values, want) {
		t.Error(name, values, ok)
	}
	for _, line := range []string{"", "PASS", "goos: linux", "BenchmarkX", "BenchmarkX-2 100", "BenchmarkX 1 x ns/op", "--- BENCH: BenchmarkX-2 1"} {
		if name, values, ok := readBenchmark(line); ok {
			t.Errorf("%q is read as %s %v", line, name, values)
		}
	}
}
