package telemetry_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	metricsservice "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	traceservice "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"sluice/server/telemetry"
)

// These tests set variables of the process, so they do not run beside each other.

// records is a log that can be read while it is written.
type records struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *records) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

func (r *records) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

// collector is an OTLP/HTTP receiver that keeps what it is sent.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	metrics []*metricsservice.ExportMetricsServiceRequest
	traces  []*traceservice.ExportTraceServiceRequest
	other   []string
}

func collect(t *testing.T) *collector {
	t.Helper()
	c := new(collector)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		switch r.URL.Path {
		case "/v1/metrics":
			c.metrics = append(c.metrics, decode(t, body, new(metricsservice.ExportMetricsServiceRequest)))
		case "/v1/traces":
			c.traces = append(c.traces, decode(t, body, new(traceservice.ExportTraceServiceRequest)))
		default:
			c.other = append(c.other, r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

func decode[M proto.Message](t *testing.T, body []byte, m M) M {
	if err := proto.Unmarshal(body, m); err != nil {
		t.Error(err)
	}
	return m
}

func TestExports(t *testing.T) {
	c := collect(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")

	s := new(source)
	s.allowed.Store(7)
	s.buckets[1].Store(2)
	s.nanoseconds.Store(1_500_000_000)
	tel := start(t, telemetry.Config{Version: "v1.2.3"}, s.instruments()...)
	_, span := tel.TracerProvider().Tracer("engine").Start(t.Context(), "resolve",
		trace.WithAttributes(attribute.String("registry", "registry.example.com")))
	if !span.IsRecording() {
		t.Error("the span is not recorded")
	}
	span.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}

	if len(c.metrics) != 1 || len(c.traces) != 1 || len(c.other) != 0 {
		t.Fatalf("%d metrics, %d traces, others %q; want one of each", len(c.metrics), len(c.traces), c.other)
	}
	resource := c.metrics[0].ResourceMetrics[0]
	wantAttribute(t, resource.Resource.Attributes, "service.name", "sluice")
	wantAttribute(t, resource.Resource.Attributes, "service.version", "v1.2.3")
	wantAttribute(t, resource.Resource.Attributes, "deployment.environment.name", "test")
	got := make(map[string]*metricspb.Metric)
	for _, scope := range resource.ScopeMetrics {
		if scope.Scope.Name != "sluice" {
			t.Errorf("scope %q", scope.Scope.Name)
		}
		for _, m := range scope.Metrics {
			got[m.Name] = m
		}
	}
	reviews := got["sluice_reviews_total"].GetSum()
	if !reviews.GetIsMonotonic() || len(reviews.GetDataPoints()) != 2 {
		t.Errorf("reviews: %v", reviews)
	}
	for _, point := range reviews.GetDataPoints() {
		for _, kv := range point.Attributes {
			if kv.Key == "verdict" && kv.Value.GetStringValue() == "allow" && point.GetAsInt() != 7 {
				t.Errorf("%d allowed, want 7", point.GetAsInt())
			}
		}
	}
	if m := got["sluice_last_reload_success_timestamp_seconds"]; m.GetUnit() != "s" ||
		m.GetGauge().GetDataPoints()[0].GetAsDouble() != 1790000000.25 {
		t.Errorf("timestamp: %v", m)
	}
	if unit := got["sluice_cache_capacity_bytes"].GetUnit(); unit != "By" {
		t.Errorf("unit of bytes: %q", unit)
	}
	duration := got["sluice_review_duration_seconds"].GetHistogram()
	if duration.GetAggregationTemporality() != metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE {
		t.Errorf("temporality %v", duration.GetAggregationTemporality())
	}
	if p := duration.GetDataPoints()[0]; p.GetCount() != 2 || p.GetSum() != 1.5 || len(p.GetExplicitBounds()) != 3 ||
		len(p.GetBucketCounts()) != 4 || p.GetBucketCounts()[1] != 2 || p.GetStartTimeUnixNano() == 0 {
		t.Errorf("duration: %v", p)
	}
	if n := len(got["sluice_registry_request_duration_seconds"].GetHistogram().GetDataPoints()); n != 2 {
		t.Errorf("%d histograms of registries, want 2", n)
	}

	spans := c.traces[0].ResourceSpans[0]
	wantAttribute(t, spans.Resource.Attributes, "service.name", "sluice")
	if s := spans.ScopeSpans[0]; s.Scope.Name != "engine" || s.Spans[0].Name != "resolve" {
		t.Errorf("spans: %v", s)
	}
}

func TestEnvironmentNamesTheService(t *testing.T) {
	c := collect(t)
	t.Setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", c.URL+"/v1/metrics")
	t.Setenv("OTEL_SERVICE_NAME", "gate")
	tel := start(t, telemetry.Config{})
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(c.metrics) != 1 || len(c.traces) != 0 {
		t.Fatalf("%d metrics, %d traces; want 1 and 0", len(c.metrics), len(c.traces))
	}
	wantAttribute(t, c.metrics[0].ResourceMetrics[0].Resource.Attributes, "service.name", "gate")
}

func wantAttribute(t *testing.T, attributes []*commonpb.KeyValue, key, want string) {
	t.Helper()
	for _, kv := range attributes {
		if kv.Key == key {
			if got := kv.Value.GetStringValue(); got != want {
				t.Errorf("%s=%q, want %q", key, got, want)
			}
			return
		}
	}
	t.Errorf("%s is missing", key)
}

// What is exported, by the variables.
func TestSignals(t *testing.T) {
	f := func(wantMetrics, wantTraces bool, variables ...string) {
		t.Helper()
		t.Run(strings.Join(variables, " "), func(t *testing.T) {
			c := collect(t)
			for _, v := range variables {
				name, value, _ := strings.Cut(v, "=")
				t.Setenv(name, strings.ReplaceAll(value, "URL", c.URL))
			}
			tel := start(t, telemetry.Config{})
			_, span := tel.TracerProvider().Tracer("test").Start(t.Context(), "test")
			if span.IsRecording() != wantTraces {
				t.Errorf("recording: %v, want %v", span.IsRecording(), wantTraces)
			}
			span.End()
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			if metrics, traces := len(c.metrics) > 0, len(c.traces) > 0; metrics != wantMetrics || traces != wantTraces {
				t.Errorf("metrics %v, traces %v; want %v, %v", metrics, traces, wantMetrics, wantTraces)
			}
		})
	}
	f(false, false)
	f(true, true, "OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
	f(false, true, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=URL/v1/traces")
	f(false, true, "OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_METRICS_EXPORTER=none")
	f(false, true, "OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_METRICS_EXPORTER=prometheus")
	f(true, true, "OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_METRICS_EXPORTER=prometheus, otlp")
	f(true, false, "OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_METRICS_EXPORTER=otlp,prometheus", "OTEL_TRACES_EXPORTER=none")
	f(false, false, "OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_SDK_DISABLED=TRUE")
	f(true, false, "OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_TRACES_SAMPLER=always_off")
	f(true, true, "OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=1.0")
	// grpc is no mistake where nothing is exported.
	f(false, false, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
	f(false, true, "OTEL_EXPORTER_OTLP_ENDPOINT=URL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=grpc",
		"OTEL_METRICS_EXPORTER=none")
}

func TestEnvironmentRefused(t *testing.T) {
	f := func(want string, variables ...string) {
		t.Helper()
		t.Run(strings.Join(variables, " "), func(t *testing.T) {
			for _, v := range variables {
				name, value, _ := strings.Cut(v, "=")
				t.Setenv(name, value)
			}
			if _, err := telemetry.New(t.Context(), telemetry.Config{}); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %v", err, want)
			}
		})
	}
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"
	f(`OTEL_EXPORTER_OTLP_PROTOCOL="grpc": only http/protobuf is supported (collectors take it on port 4318)`,
		endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
	f(`OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="grpc": only http/protobuf is supported (collectors take it on port 4318)`,
		endpoint, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
	f(`OTEL_TRACES_EXPORTER="jaeger": supported are otlp, none`, "OTEL_TRACES_EXPORTER=jaeger")
	f(`OTEL_METRICS_EXPORTER="console": supported are otlp, prometheus, none`, "OTEL_METRICS_EXPORTER=otlp,console")
	f(`OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://collector.example.com:4318`,
		"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318")
	f(`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be a URL such as http://collector.example.com:4318`,
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http:///v1/traces")
	f(`OTEL_EXPORTER_OTLP_METRICS_ENDPOINT must be a URL such as http://collector.example.com:4318`,
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://user:secret@%zz")
	f(`OTEL_TRACES_SAMPLER="sometimes": supported are always_on, always_off, traceidratio and the same with parentbased_ `+
		`before it`, endpoint, "OTEL_TRACES_SAMPLER=sometimes")
	f(`OTEL_TRACES_SAMPLER_ARG="NaN": must be a number from 0 to 1`,
		endpoint, "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=NaN")
	f("OTEL_RESOURCE_ATTRIBUTES: must be key=value pairs separated by commas: "+
		"error detecting resource: partial resource: missing value: [nonsense]", "OTEL_RESOURCE_ATTRIBUTES=a=b,nonsense")
}

// A collector that is away costs a log record, and nothing fails.
func TestCollectorAway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+address)

	var log records
	tel := start(t, telemetry.Config{Logger: log.logger()})
	_, span := tel.TracerProvider().Tracer("test").Start(t.Context(), "test")
	span.End()
	if text := expose(t, tel); !strings.Contains(text, "sluice_build_info") {
		t.Errorf("the exposition suffers:\n%s", text)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	text := log.text()
	for _, want := range []string{`what="exporting metrics"`, `what="exporting spans"`, "connection refused"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %s:\n%s", want, text)
		}
	}
}

// A collector that takes the request and never answers holds Shutdown no longer than its context lasts, and New not
// at all.
func TestCollectorHangs(t *testing.T) {
	asked, left := make(chan struct{}, 16), make(chan struct{}, 16)
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
			left <- struct{}{}
		case <-release:
		}
	}))
	defer hanging.Close()
	defer close(release)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", hanging.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "600000") // ms: only Shutdown exports
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "600000")

	tel := start(t, telemetry.Config{})
	_, span := tel.TracerProvider().Tracer("test").Start(t.Context(), "test")
	span.End()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tel.Shutdown(ctx) }()
	within := func(c <-chan struct{}, complaint string) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(10 * time.Second):
			t.Fatal(complaint)
		}
	}
	within(asked, "nothing is exported")
	within(asked, "the signals are not exported side by side")
	cancel()
	select {
	case err := <-done:
		if err == nil {
			t.Error("shutdown lost data and says nothing")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("shutdown outlasts its context")
	}
	within(left, "no request is broken off")
	within(left, "one request goes on")
}
