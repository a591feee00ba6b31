package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The SDK hands the errors of an export to a handler that is global to the process. These two take them before it
// does, so that they reach our logger and no global has to be set.

type metricExporter struct {
	sdkmetric.Exporter
	log *reporter
}

func (e *metricExporter) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	e.log.done(ctx, e.Exporter.Export(ctx, rm))
	return nil
}

type spanExporter struct {
	sdktrace.SpanExporter
	log *reporter
}

func (e *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.log.done(ctx, e.SpanExporter.ExportSpans(ctx, spans))
	return nil
}

const (
	reportEvery    = time.Minute // between two records of one reporter
	maxReportBytes = 512         // of an error: a collector's answer may be a whole page
)

// reporter logs the failures of one thing that is done over and over: the first at once, then at most one a minute
// with the number of those in between, and the recovery.
type reporter struct {
	logger *slog.Logger
	what   string

	mu         sync.Mutex
	failing    bool      // a failure was logged and no recovery since
	last       time.Time // when a failure was logged last
	suppressed int       // failures since then
}

func (r *reporter) done(ctx context.Context, err error) {
	if err != nil {
		r.failed(ctx, err)
		return
	}
	r.mu.Lock()
	recovered := r.failing
	r.failing = false
	r.mu.Unlock()
	if recovered {
		r.logger.LogAttrs(ctx, slog.LevelInfo, "telemetry works again", slog.String("what", r.what))
	}
}

func (r *reporter) failed(ctx context.Context, err error) {
	r.mu.Lock()
	now := time.Now()
	if !r.last.IsZero() && now.Sub(r.last) < reportEvery {
		r.suppressed++
		r.mu.Unlock()
		return
	}
	suppressed := r.suppressed
	r.failing, r.last, r.suppressed = true, now, 0
	r.mu.Unlock()

	text := err.Error()
	if len(text) > maxReportBytes {
		text = strings.ToValidUTF8(text[:maxReportBytes], "") + "…"
	}
	r.logger.LogAttrs(ctx, slog.LevelWarn, "telemetry fails",
		slog.String("what", r.what), slog.String("error", text), slog.Int("suppressed", suppressed))
}

// Println implements promhttp.Logger, which calls it for what could not be gathered.
func (r *reporter) Println(v ...any) { r.failed(context.Background(), errors.New(fmt.Sprint(v...))) }
