package telemetry

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Label is one dimension of a series. The values of a label must come from a set that is bounded by construction: an
// enum, the registries that the configuration lists, never what a request says.
type Label struct{ Key, Value string }

// Instrument is a metric that is read when somebody asks, from whatever the function it was made with reads. Make one
// with [Counter], [Gauge] or [Histogram] and hand it to [Telemetry.Register].
//
// That function is called at every scrape and every OTLP export, possibly by several goroutines at once. It calls
// observe once for each set of labels, and returns quickly: it reads atomics, it does not compute or wait.
type Instrument struct {
	name, help string
	kind       kind
	bounds     []float64
	counter    func(observe func(value int64, labels ...Label))
	gauge      func(observe func(value float64, labels ...Label))
	histogram  func(observe func(counts []uint64, sum float64, labels ...Label))
}

type kind uint8

const (
	kindCounter kind = iota + 1
	kindGauge
	kindHistogram
)

// Counter is a count that never falls while the process lives. Its name ends in _total.
func Counter(name, help string, read func(observe func(value int64, labels ...Label))) Instrument {
	return Instrument{name: name, help: help, kind: kindCounter, counter: read}
}

// Gauge is a value of this moment, in the unit that its name ends in (_seconds, _bytes) or without one.
func Gauge(name, help string, read func(observe func(value float64, labels ...Label))) Instrument {
	return Instrument{name: name, help: help, kind: kindGauge, gauge: read}
}

// Histogram is a distribution. bounds are the upper limits of its buckets, inclusive, finite and rising, in the unit
// that the name ends in. observe takes the count of each bucket by itself (not added up), one more than there are
// bounds, the last being for what lies above them all; and the sum of what was observed. The counts are copied.
func Histogram(name, help string, bounds []float64,
	read func(observe func(counts []uint64, sum float64, labels ...Label)),
) Instrument {
	return Instrument{name: name, help: help, kind: kindHistogram, bounds: slices.Clone(bounds), histogram: read}
}

// Register adds instruments to the exposition and to the OTLP metrics. Names are those of the exposition, in
// Prometheus style: nothing is added to them. An error is a mistake in the program: a name that breaks the rules or is
// taken, bounds that do not rise, no function. What stood before the instrument that is refused is registered.
func (t *Telemetry) Register(instruments ...Instrument) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, in := range instruments {
		if err := in.check(); err != nil {
			return fmt.Errorf("telemetry: metric %q: %w", in.name, err)
		}
		if t.names[in.name] {
			return fmt.Errorf("telemetry: metric %q is registered already", in.name)
		}
		if err := t.register(in); err != nil {
			return fmt.Errorf("telemetry: metric %q: %w", in.name, err)
		}
		t.names[in.name] = true
	}
	return nil
}

func (t *Telemetry) register(in Instrument) error {
	var err error
	switch in.kind {
	case kindCounter:
		_, err = t.meter.Int64ObservableCounter(in.name,
			metric.WithDescription(in.help), metric.WithUnit(unit(in.name)),
			metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
				defer t.recovered(in.name)
				in.counter(func(value int64, labels ...Label) {
					o.Observe(value, metric.WithAttributeSet(attributes(labels)))
				})
				return nil
			}))
	case kindGauge:
		_, err = t.meter.Float64ObservableGauge(in.name,
			metric.WithDescription(in.help), metric.WithUnit(unit(in.name)),
			metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
				defer t.recovered(in.name)
				in.gauge(func(value float64, labels ...Label) {
					o.Observe(value, metric.WithAttributeSet(attributes(labels)))
				})
				return nil
			}))
	case kindHistogram:
		t.histograms.add(func(now time.Time) metricdata.Metrics { return t.distribution(in, now) })
	}
	return err
}

// recovered keeps a mistake in a function that reads a figure from ending the service: the exporters call those
// functions on goroutines of their own, where nobody else could catch it.
func (t *Telemetry) recovered(name string) {
	if cause := recover(); cause != nil {
		t.readers.failed(context.Background(), fmt.Errorf("the function that reads %s panicked: %v", name, cause))
	}
}

// distribution reads one histogram.
func (t *Telemetry) distribution(in Instrument, now time.Time) metricdata.Metrics {
	var points []metricdata.HistogramDataPoint[float64]
	func() {
		defer t.recovered(in.name)
		in.histogram(func(counts []uint64, sum float64, labels ...Label) {
			if len(counts) != len(in.bounds)+1 {
				t.readers.failed(context.Background(), fmt.Errorf("%s: %d counts for %d bounds", in.name, len(counts), len(in.bounds)))
				return
			}
			// The total is the sum of what was just read, so that the buckets agree with it even while they are counted up.
			var total uint64
			for _, n := range counts {
				total += n
			}
			points = append(points, metricdata.HistogramDataPoint[float64]{
				Attributes:   attributes(labels),
				StartTime:    t.histograms.started,
				Time:         now,
				Count:        total,
				Bounds:       in.bounds,
				BucketCounts: slices.Clone(counts),
				Sum:          sum,
			})
		})
	}()
	return metricdata.Metrics{
		Name:        in.name,
		Description: in.help,
		Unit:        unit(in.name),
		Data:        metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality, DataPoints: points},
	}
}

// histograms feeds distributions to the exposition and to OTLP alike. OpenTelemetry has no observable histogram, and
// its synchronous one costs half a microsecond a call; so the buckets are counted in plain atomics elsewhere and
// enter the SDK here, as a Producer, which every reader asks when it collects.
type histograms struct {
	started time.Time // since when the counts are counted

	mu    sync.Mutex
	reads []func(now time.Time) metricdata.Metrics // guarded by mu; only ever appended to
}

func (h *histograms) add(read func(now time.Time) metricdata.Metrics) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads = append(h.reads, read)
}

// Produce implements the SDK's metric.Producer. It is called concurrently.
func (h *histograms) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	h.mu.Lock()
	reads := h.reads
	h.mu.Unlock() // what the functions read is no business of this lock
	now := time.Now()
	var metrics []metricdata.Metrics
	for _, read := range reads {
		m := read(now)
		if data, ok := m.Data.(metricdata.Histogram[float64]); ok && len(data.DataPoints) > 0 {
			metrics = append(metrics, m)
		}
	}
	if len(metrics) == 0 {
		return nil, nil
	}
	return []metricdata.ScopeMetrics{{Scope: instrumentation.Scope{Name: scope}, Metrics: metrics}}, nil
}

func (in *Instrument) check() error {
	for i := range len(in.name) {
		c := in.name[i]
		if !(c >= 'a' && c <= 'z' || c == '_' || i > 0 && c >= '0' && c <= '9') {
			return errors.New("a name is made of lower case letters, digits and _")
		}
	}
	if in.name == "" || in.help == "" {
		return errors.New("a metric has a name and a help text")
	}
	if total := strings.HasSuffix(in.name, "_total"); total != (in.kind == kindCounter) {
		return errors.New("the name of a counter, and of nothing else, ends in _total")
	}
	if in.counter == nil && in.gauge == nil && in.histogram == nil {
		return errors.New("there is no function to read it")
	}
	if in.kind == kindHistogram && len(in.bounds) == 0 {
		return errors.New("a histogram has bounds")
	}
	for i, b := range in.bounds {
		if math.IsNaN(b) || math.IsInf(b, 0) || i > 0 && b <= in.bounds[i-1] {
			return errors.New("bounds are finite and rise")
		}
	}
	return nil
}

// unit is the unit of OTLP, in UCUM's notation, that the name tells in Prometheus style.
func unit(name string) string {
	name = strings.TrimSuffix(name, "_total")
	switch {
	case strings.HasSuffix(name, "_seconds"):
		return "s"
	case strings.HasSuffix(name, "_bytes"):
		return "By"
	}
	return ""
}

// attributes converts labels. Bytes that are not UTF-8 are replaced: protobuf would refuse the whole export for one of
// them, and Prometheus the series.
func attributes(labels []Label) attribute.Set {
	kvs := make([]attribute.KeyValue, len(labels))
	for i, l := range labels {
		kvs[i] = attribute.String(l.Key, strings.ToValidUTF8(l.Value, "\uFFFD"))
	}
	return attribute.NewSet(kvs...)
}
