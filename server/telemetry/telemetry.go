// Package telemetry is where the OpenTelemetry SDK and the Prometheus registry live, and the only place that knows
// them. It decides how figures are named and exposed, and whether metrics and traces leave the process at all.
//
// It counts nothing itself: it is given functions that read counters kept elsewhere, and calls them when somebody
// asks. It trusts the process environment (the standard OTEL_* variables) and the functions it is given. It never sets
// a global provider, never touches the network unless the environment names a collector, and never lets a collector
// that is slow, broken or absent be felt anywhere but in its own log record.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// scope names the origin of every metric, in OTLP only: the exposition carries no otel_scope labels.
const scope = "sluice"

// maxScrapes bounds the scrapes that are answered at the same time; one more is answered 503.
const maxScrapes = 16

// Config says what the program is. Where its telemetry goes is said by the environment; see [New].
type Config struct {
	Version string       // such as v1.2.3; empty becomes "unknown"
	Commit  string       // the revision it was built from; empty becomes "unknown"
	Logger  *slog.Logger // for failing exports, at most one record a minute for each kind; nil discards them
}

// Telemetry holds the providers of one process. Its methods may be called concurrently.
type Telemetry struct {
	handler  http.Handler
	meter    metric.Meter
	tracers  trace.TracerProvider
	readers  *reporter // complaints about functions given to Register
	shutdown []func(context.Context) error

	histograms *histograms // has its own lock

	mu    sync.Mutex
	names map[string]bool // registered so far, guarded by mu
}

// New builds the providers, registers sluice_build_info and the Go and process collectors, and returns without having
// used the network. Nothing global is touched.
//
// The variables are those of the OpenTelemetry specification, read from the process environment:
//
//   - OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and OTEL_EXPORTER_OTLP_METRICS_ENDPOINT turn the
//     export of traces and metrics on; without one of them nothing is exported.
//   - OTEL_TRACES_EXPORTER (otlp or none) and OTEL_METRICS_EXPORTER (otlp, prometheus or none) override that. The
//     exposition of [Telemetry.Handler] is always there.
//   - OTEL_SDK_DISABLED=true turns every export off.
//   - OTEL_EXPORTER_OTLP_PROTOCOL and its variants for a signal may only be http/protobuf.
//   - OTEL_SERVICE_NAME (default sluice) and OTEL_RESOURCE_ATTRIBUTES describe the process.
//   - OTEL_TRACES_SAMPLER, OTEL_BSP_*, OTEL_METRIC_EXPORT_* and the headers, certificates, compression and timeouts of
//     OTEL_EXPORTER_OTLP_* are read by the SDK itself. A temporality preference of delta applies to counters;
//     histograms are always cumulative.
//
// A value that cannot be honoured is an error that names the variable; New leaves nothing running then.
func New(ctx context.Context, cfg Config) (*Telemetry, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Version == "" {
		cfg.Version = "unknown"
	}
	if cfg.Commit == "" {
		cfg.Commit = "unknown"
	}
	// Everything that can be refused is refused before anything is started.
	exports, err := exportsFromEnv()
	if err != nil {
		return nil, err
	}
	res, err := describe(ctx, cfg.Version)
	if err != nil {
		return nil, err
	}
	var metricsTo *otlpmetrichttp.Exporter
	if exports.metrics {
		if metricsTo, err = otlpmetrichttp.New(ctx); err != nil {
			return nil, fmt.Errorf("telemetry: OTLP metrics: %w", err)
		}
	}
	var tracesTo *otlptrace.Exporter
	if exports.traces {
		if tracesTo, err = otlptracehttp.New(ctx); err != nil {
			return nil, fmt.Errorf("telemetry: OTLP traces: %w", err)
		}
	}

	t := &Telemetry{
		tracers:    noop.NewTracerProvider(),
		readers:    &reporter{logger: cfg.Logger, what: "reading metrics"},
		histograms: &histograms{started: time.Now()},
		names:      make(map[string]bool),
	}
	meters := []sdkmetric.Option{sdkmetric.WithResource(res)}

	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	exposition, err := promexporter.New(
		promexporter.WithRegisterer(registry),
		promexporter.WithProducer(t.histograms),
		// Names are given in Prometheus style already: what is registered is what is exposed.
		promexporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithoutSuffixes),
		// One program, one scope: sluice_build_info says what target_info and otel_scope_* would.
		promexporter.WithoutScopeInfo(),
		promexporter.WithoutTargetInfo(),
	)
	if err != nil {
		return nil, fmt.Errorf("telemetry: prometheus exporter: %w", err)
	}
	meters = append(meters, sdkmetric.WithReader(exposition))
	t.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            &reporter{logger: cfg.Logger, what: "gathering metrics"},
		ErrorHandling:       promhttp.ContinueOnError, // one bad series must not blind the operator to the others
		MaxRequestsInFlight: maxScrapes,
	})

	if metricsTo != nil {
		meters = append(meters, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(
			&metricExporter{Exporter: metricsTo, log: &reporter{logger: cfg.Logger, what: "exporting metrics"}},
			sdkmetric.WithProducer(t.histograms),
		)))
	}
	provider := sdkmetric.NewMeterProvider(meters...)
	t.meter = provider.Meter(scope)
	t.shutdown = append(t.shutdown, provider.Shutdown)

	if tracesTo != nil {
		tracers := sdktrace.NewTracerProvider(
			sdktrace.WithResource(res),
			// A batcher drops spans when its queue is full; it never makes a review wait.
			sdktrace.WithBatcher(&spanExporter{
				SpanExporter: tracesTo,
				log:          &reporter{logger: cfg.Logger, what: "exporting spans"},
			}),
		)
		t.tracers = tracers
		t.shutdown = append(t.shutdown, func(ctx context.Context) error {
			err := tracers.Shutdown(ctx)
			if ctx.Err() != nil {
				// The batcher goes on draining on a context of its own; this breaks its requests off.
				_ = tracesTo.Shutdown(ctx)
			}
			return err
		})
	}

	if err := t.Register(Gauge("sluice_build_info", "What is running. The value is always 1.",
		func(observe func(float64, ...Label)) {
			observe(1, Label{"version", cfg.Version}, Label{"commit", cfg.Commit}, Label{"goversion", runtime.Version()})
		})); err != nil {
		return nil, errors.Join(err, t.Shutdown(ctx))
	}
	return t, nil
}

// Handler answers a Prometheus scrape in the text or protobuf exposition format. It calls the registered functions,
// and touches no network.
func (t *Telemetry) Handler() http.Handler { return t.handler }

// TracerProvider makes tracers. Without an export of traces it is a provider that does nothing.
func (t *Telemetry) TracerProvider() trace.TracerProvider { return t.tracers }

// Shutdown exports what is pending and stops the exports; the exposition is empty of sluice's own series afterwards.
// It returns when that is done or ctx ends, whichever is first: give it a deadline of a few seconds, since an
// unreachable collector would use all of it. The error is ctx's, or one of the SDK's own; a failed export is logged,
// not returned.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	errs := make([]error, len(t.shutdown))
	var wait sync.WaitGroup
	for i, stop := range t.shutdown {
		// Side by side, so that the pending metrics do not lose their time to a collector of traces that hangs.
		wait.Go(func() { errs[i] = stop(ctx) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// describe makes the resource of OTLP data: the name and version of this program, the host, and over them what the
// environment says. The attribute names are those of the OpenTelemetry semantic conventions, "Service".
func describe(ctx context.Context, version string) (*resource.Resource, error) {
	asked, err := resource.New(ctx, resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: must be key=value pairs separated by commas: %w", err)
	}
	// The error would be that the host's name cannot be had, which is no reason to go without the rest.
	own, _ := resource.New(ctx,
		resource.WithHost(),
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			attribute.String("service.name", "sluice"),
			attribute.String("service.version", version),
		),
	)
	return resource.Merge(own, asked)
}
