package telemetry_test

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"sluice/server/telemetry"
)

// TestMain forgets the variables of whoever runs the tests: each test says itself what the environment is.
func TestMain(m *testing.M) {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OTEL_") {
			os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

func start(t *testing.T, cfg telemetry.Config, instruments ...telemetry.Instrument) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The context is over already, on purpose: nothing is worth waiting for.
		_ = tel.Shutdown(t.Context())
	})
	if err := tel.Register(instruments...); err != nil {
		t.Fatal(err)
	}
	return tel
}

// expose scrapes and returns the text of the exposition.
func expose(t *testing.T, tel *telemetry.Telemetry) string {
	t.Helper()
	answer := httptest.NewRecorder()
	tel.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("a scrape is answered %d:\n%s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// families parses an exposition as Prometheus would.
func families(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	parsed, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("the exposition does not parse: %v\n%s", err, text)
	}
	return parsed
}

// own keeps the lines of sluice's own metrics.
func own(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), "sluice_") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// source is what counts in these tests; the service has plain atomics like these.
type source struct {
	allowed, denied atomic.Int64
	buckets         [4]atomic.Uint64
	nanoseconds     atomic.Int64
}

func (s *source) instruments() []telemetry.Instrument {
	return []telemetry.Instrument{
		telemetry.Counter("sluice_reviews_total", "Reviews answered.",
			func(observe func(int64, ...telemetry.Label)) {
				hit := telemetry.Label{Key: "cache", Value: "hit"}
				observe(s.allowed.Load(), telemetry.Label{Key: "verdict", Value: "allow"}, hit)
				observe(s.denied.Load(), telemetry.Label{Key: "verdict", Value: "deny"}, hit)
			}),
		telemetry.Gauge("sluice_last_reload_success_timestamp_seconds", "When a reload last succeeded.",
			func(observe func(float64, ...telemetry.Label)) { observe(1790000000.25) }),
		telemetry.Gauge("sluice_cache_capacity_bytes", "Capacity.",
			func(observe func(float64, ...telemetry.Label)) { observe(64) }),
		telemetry.Histogram("sluice_review_duration_seconds", "Time to answer.", []float64{50e-6, 0.001, 0.25},
			func(observe func([]uint64, float64, ...telemetry.Label)) {
				var counts [4]uint64
				for i := range s.buckets {
					counts[i] = s.buckets[i].Load()
				}
				observe(counts[:], float64(s.nanoseconds.Load())/1e9)
			}),
		telemetry.Histogram("sluice_registry_request_duration_seconds", "Time of a request.", []float64{1},
			func(observe func([]uint64, float64, ...telemetry.Label)) {
				observe([]uint64{1, 2}, 7.5, telemetry.Label{Key: "registry", Value: "registry.example.com"})
				observe([]uint64{0, 0}, 0, telemetry.Label{Key: "registry", Value: "mirror.example.com"})
			}),
	}
}

func TestExposition(t *testing.T) {
	t.Parallel()
	s := new(source)
	s.allowed.Store(7)
	s.buckets[0].Store(5)
	s.buckets[1].Store(2)
	s.buckets[3].Store(1)
	s.nanoseconds.Store(1_500_000_000)
	tel := start(t, telemetry.Config{Version: "v1.2.3", Commit: "abc"}, s.instruments()...)

	text := expose(t, tel)
	want := `# HELP sluice_build_info What is running. The value is always 1.
# TYPE sluice_build_info gauge
sluice_build_info{commit="abc",goversion="` + runtime.Version() + `",version="v1.2.3"} 1
# HELP sluice_cache_capacity_bytes Capacity.
# TYPE sluice_cache_capacity_bytes gauge
sluice_cache_capacity_bytes 64
# HELP sluice_last_reload_success_timestamp_seconds When a reload last succeeded.
# TYPE sluice_last_reload_success_timestamp_seconds gauge
sluice_last_reload_success_timestamp_seconds 1.79000000025e+09
# HELP sluice_registry_request_duration_seconds Time of a request.
# TYPE sluice_registry_request_duration_seconds histogram
sluice_registry_request_duration_seconds_bucket{registry="mirror.example.com",le="1"} 0
sluice_registry_request_duration_seconds_bucket{registry="mirror.example.com",le="+Inf"} 0
sluice_registry_request_duration_seconds_sum{registry="mirror.example.com"} 0
sluice_registry_request_duration_seconds_count{registry="mirror.example.com"} 0
sluice_registry_request_duration_seconds_bucket{registry="registry.example.com",le="1"} 1
sluice_registry_request_duration_seconds_bucket{registry="registry.example.com",le="+Inf"} 3
sluice_registry_request_duration_seconds_sum{registry="registry.example.com"} 7.5
sluice_registry_request_duration_seconds_count{registry="registry.example.com"} 3
# HELP sluice_review_duration_seconds Time to answer.
# TYPE sluice_review_duration_seconds histogram
sluice_review_duration_seconds_bucket{le="5e-05"} 5
sluice_review_duration_seconds_bucket{le="0.001"} 7
sluice_review_duration_seconds_bucket{le="0.25"} 7
sluice_review_duration_seconds_bucket{le="+Inf"} 8
sluice_review_duration_seconds_sum 1.5
sluice_review_duration_seconds_count 8
# HELP sluice_reviews_total Reviews answered.
# TYPE sluice_reviews_total counter
sluice_reviews_total{cache="hit",verdict="allow"} 7
sluice_reviews_total{cache="hit",verdict="deny"} 0
`
	if got := own(text); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for name := range families(t, text) {
		if !slices.ContainsFunc([]string{"sluice_", "go_", "process_"}, func(prefix string) bool {
			return strings.HasPrefix(name, prefix)
		}) {
			t.Errorf("nobody asked for %s", name)
		}
	}

	// The next scrape reads again.
	s.allowed.Store(8)
	if text := own(expose(t, tel)); !strings.Contains(text, `verdict="allow"} 8`) {
		t.Errorf("a second scrape does not see the new count:\n%s", text)
	}
}

func TestExpositionByDefault(t *testing.T) {
	t.Parallel()
	parsed := families(t, expose(t, start(t, telemetry.Config{})))
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes", "sluice_build_info"} {
		if parsed[name] == nil {
			t.Errorf("%s is missing from %v", name, slices.Sorted(maps.Keys(parsed)))
		}
	}
}

// Label values that are not UTF-8 would fail a whole OTLP export; here they must still give a series.
func TestLabelsAreMadeValid(t *testing.T) {
	t.Parallel()
	tel := start(t, telemetry.Config{}, telemetry.Gauge("sluice_x", "X.",
		func(observe func(float64, ...telemetry.Label)) {
			observe(1, telemetry.Label{Key: "l", Value: "a\xff\"b\n"})
		}))
	if text := expose(t, tel); !strings.Contains(text, `sluice_x{l="a`+"\uFFFD"+`\"b\n"} 1`) {
		t.Errorf("got\n%s", own(text))
	}
}

// A function that reads figures is someone else's code, called where nobody could catch its panic.
func TestBadReadersLoseOnlyTheirOwnFigures(t *testing.T) {
	t.Parallel()
	var log records
	tel := start(t, telemetry.Config{Logger: log.logger()},
		telemetry.Counter("sluice_a_total", "A.", func(func(int64, ...telemetry.Label)) { panic("counter") }),
		telemetry.Gauge("sluice_b", "B.", func(func(float64, ...telemetry.Label)) { panic("gauge") }),
		telemetry.Histogram("sluice_c", "C.", []float64{1, 2}, func(func([]uint64, float64, ...telemetry.Label)) {
			panic("histogram")
		}),
		telemetry.Histogram("sluice_d", "D.", []float64{1, 2}, func(observe func([]uint64, float64, ...telemetry.Label)) {
			observe([]uint64{1, 2}, 1) // one count is missing
		}),
		telemetry.Gauge("sluice_e", "E.", func(observe func(float64, ...telemetry.Label)) { observe(5) }),
	)
	text := own(expose(t, tel))
	if !strings.Contains(text, "sluice_e 5") {
		t.Errorf("the good figure is gone:\n%s", text)
	}
	for _, name := range []string{"sluice_a", "sluice_b ", "sluice_c", "sluice_d"} {
		if strings.Contains(text, name) {
			t.Errorf("%s has a figure:\n%s", name, text)
		}
	}
	if got := log.text(); !strings.Contains(got, "telemetry fails") || !strings.Contains(got, "sluice_a_total panicked") {
		t.Errorf("the log says %q", got)
	}
}

// Series that collide are dropped, and the others are still served.
func TestCollidingSeries(t *testing.T) {
	t.Parallel()
	var log records
	tel := start(t, telemetry.Config{Logger: log.logger()},
		telemetry.Histogram("sluice_c", "C.", []float64{1}, func(observe func([]uint64, float64, ...telemetry.Label)) {
			observe([]uint64{1, 2}, 1)
			observe([]uint64{3, 4}, 1)
		}))
	parsed := families(t, expose(t, tel))
	if n := len(parsed["sluice_c"].GetMetric()); n != 1 || parsed["sluice_build_info"] == nil {
		t.Errorf("%d series of sluice_c, build info %v", n, parsed["sluice_build_info"])
	}
	if got := log.text(); !strings.Contains(got, "collected before with the same name and label values") {
		t.Errorf("the log says %q", got)
	}
}

func TestRegisterRefuses(t *testing.T) {
	t.Parallel()
	tel := start(t, telemetry.Config{})
	counts := func(func(int64, ...telemetry.Label)) {}
	values := func(func(float64, ...telemetry.Label)) {}
	buckets := func(func([]uint64, float64, ...telemetry.Label)) {}
	f := func(in telemetry.Instrument, want string) {
		t.Helper()
		if err := tel.Register(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(telemetry.Counter("sluice_reviews", "Help.", counts), "ends in _total")
	f(telemetry.Gauge("sluice_reviews_total", "Help.", values), "ends in _total")
	f(telemetry.Gauge("sluice.reviews", "Help.", values), "lower case letters, digits and _")
	f(telemetry.Gauge("1sluice", "Help.", values), "lower case letters, digits and _")
	f(telemetry.Gauge("", "Help.", values), "a name and a help text")
	f(telemetry.Gauge("sluice_x", "", values), "a name and a help text")
	f(telemetry.Gauge("sluice_x", "Help.", nil), "no function")
	f(telemetry.Instrument{}, "a name and a help text")
	f(telemetry.Histogram("sluice_x", "Help.", nil, buckets), "has bounds")
	f(telemetry.Histogram("sluice_x", "Help.", []float64{1, 1}, buckets), "finite and rise")
	f(telemetry.Gauge("sluice_build_info", "Help.", values), "registered already")
	if err := tel.Register(telemetry.Histogram("sluice_x", "Help.", []float64{1, 2}, buckets)); err != nil {
		t.Errorf("after the refusals: %v", err)
	}
}

// Scrapes, registrations and counting go on at the same time; the race detector looks on.
func TestConcurrentScrapes(t *testing.T) {
	t.Parallel()
	s := new(source)
	tel := start(t, telemetry.Config{}, s.instruments()...)
	server := httptest.NewServer(tel.Handler())
	defer server.Close()

	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			for range 5 {
				s.allowed.Add(1)
				s.buckets[i].Add(1)
				response, err := server.Client().Get(server.URL)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil || response.StatusCode != http.StatusOK {
					t.Errorf("%d, %v", response.StatusCode, err)
					return
				}
				parsed := families(t, string(body))
				h := parsed["sluice_review_duration_seconds"].GetMetric()[0].GetHistogram()
				if last := h.GetBucket()[len(h.GetBucket())-1]; last.GetCumulativeCount() != h.GetSampleCount() {
					t.Errorf("the buckets hold %d, the count is %d", last.GetCumulativeCount(), h.GetSampleCount())
				}
			}
		})
	}
	wait.Go(func() {
		for i := range 5 {
			name := "sluice_late_" + string(rune('a'+i))
			err := tel.Register(
				telemetry.Gauge(name, "Late.", func(observe func(float64, ...telemetry.Label)) { observe(1) }),
				telemetry.Histogram(name+"_seconds", "Late.", []float64{1},
					func(observe func([]uint64, float64, ...telemetry.Label)) { observe([]uint64{1, 1}, 2) }),
			)
			if err != nil {
				t.Error(err)
			}
		}
	})
	wait.Wait()
	if got := families(t, expose(t, tel))["sluice_reviews_total"].GetMetric()[0].GetCounter().GetValue(); got != 20 {
		t.Errorf("%v reviews, want 20", got)
	}
}

// After Shutdown a scrape is still answered.
func TestShutdownWithoutExports(t *testing.T) {
	t.Parallel()
	tel := start(t, telemetry.Config{})
	if err := tel.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if text := expose(t, tel); own(text) != "" || !strings.Contains(text, "go_goroutines") {
		t.Errorf("got\n%s", text)
	}
}
