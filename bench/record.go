package bench

import (
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Durations are recorded from a microsecond to two minutes, which is above any timeout: three digits for a whole run, two
// for an interval of one.
const (
	shortest     = int64(time.Microsecond)
	longest      = int64(2 * time.Minute)
	digits       = 3
	fewDigits    = 2
	maxIntervals = 300
	recorders    = 4 // so that answers rarely wait for each other to be recorded
)

// recorder notes what becomes of reviews. Its methods may be called concurrently.
type recorder struct {
	length   time.Duration // of an interval
	planned  int           // intervals in which reviews are meant to be sent
	next     atomic.Uint32
	shards   [recorders]shard
	intended []atomic.Int64 // by interval

	sampling sync.Mutex
	samples  map[int]sample // by interval
	last     snapshot       // of progress
}

// shard is a part of what was recorded.
type shard struct {
	mu                    sync.Mutex
	latency, service, lag *hdrhistogram.Histogram
	recent                *hdrhistogram.Histogram // since progress was last asked for
	intervals             []interval
	counts                Counts
}

type interval struct {
	latency                *hdrhistogram.Histogram // by when reviews were meant to be sent; nil until there is one
	sent, answered, failed int64
}

type sample struct {
	cpu      float64
	rss      int64
	inFlight int64
}

type snapshot struct {
	at       time.Time
	answered int64
}

func newHistogram(significant int) *hdrhistogram.Histogram {
	return hdrhistogram.New(shortest, longest, significant)
}

func newRecorder(planned, length, every time.Duration) *recorder {
	n := int(length/every) + 1
	r := &recorder{length: every, planned: int((planned + every - 1) / every), intended: make([]atomic.Int64, n), samples: map[int]sample{}}
	for i := range r.shards {
		r.shards[i] = shard{
			latency: newHistogram(digits), service: newHistogram(digits), lag: newHistogram(digits),
			recent: newHistogram(fewDigits), intervals: make([]interval, n),
			counts: Counts{Errors: map[string]int64{}, Statuses: map[string]int64{}},
		}
	}
	return r
}

// of is the interval that a moment belongs to. What comes after the end belongs to the last.
func (r *recorder) of(at time.Duration) int {
	return min(max(int(at/r.length), 0), len(r.intended)-1)
}

func (r *recorder) intend(at time.Duration) { r.intended[r.of(at)].Add(1) }

// drop notes a review that was never sent.
func (r *recorder) drop(at time.Duration) {
	s := &r.shards[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intervals[r.of(at)].failed++
}

// answered notes what became of a review. kind is that of an error, or empty.
func (r *recorder) answered(at, sent, now time.Duration, expected Expectation, a Answer, kind string) {
	s := &r.shards[r.next.Add(1)%recorders]
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.counts
	if a.Cached {
		c.Cached++
		return
	}
	c.Sent++
	s.intervals[r.of(sent)].sent++
	_ = s.lag.RecordValue(clamp(sent - at))
	if a.Status != 0 {
		c.Statuses[strconv.Itoa(a.Status)]++
	}
	if kind == "" && !a.Verdict {
		kind = fmt.Sprintf("status %d", a.Status)
		if a.Status == 200 {
			kind = "no verdict"
		}
	}
	switch {
	case kind != "":
		c.Errors[kind]++
		s.intervals[r.of(now)].failed++
		if kind != KindTimeout { // a quick failure is no quick answer; but whoever waited for nothing has waited
			return
		}
	case a.Allowed:
		c.Allowed++
		s.intervals[r.of(now)].answered++
	default:
		c.Denied++
		s.intervals[r.of(now)].answered++
	}
	if kind == "" && (expected == ExpectAllow && !a.Allowed || expected == ExpectDeny && a.Allowed) {
		c.Wrong++
	}
	latency := clamp(now - at)
	_ = s.latency.RecordValue(latency)
	_ = s.service.RecordValue(clamp(now - sent))
	_ = s.recent.RecordValue(latency)
	in := &s.intervals[r.of(at)]
	if in.latency == nil {
		in.latency = newHistogram(fewDigits)
	}
	_ = in.latency.RecordValue(latency)
}

func clamp(d time.Duration) int64 { return min(max(int64(d), 0), longest) }

func (r *recorder) sampled(at time.Duration, cpu float64, rss, inFlight int64) {
	r.sampling.Lock()
	defer r.sampling.Unlock()
	r.samples[r.of(at-r.length/2)] = sample{cpu, rss, inFlight} // ticks come a little after the end of an interval
}

// progress tells what was recorded since it was last asked.
func (r *recorder) progress() (p Progress) {
	recent := newHistogram(fewDigits)
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		p.Sent += s.counts.Sent
		p.Answered += s.counts.Answered()
		p.Failed += s.counts.Failed()
		recent.Merge(s.recent)
		s.recent.Reset()
		s.mu.Unlock()
	}
	now := time.Now()
	if !r.last.at.IsZero() {
		p.Rate = float64(p.Answered-r.last.answered) / now.Sub(r.last.at).Seconds()
	}
	r.last = snapshot{now, p.Answered}
	p.P50, p.P99 = time.Duration(recent.ValueAtPercentile(50)), time.Duration(recent.ValueAtPercentile(99))
	return p
}

// into writes what was recorded into a result. Nothing is recorded any more.
func (r *recorder) into(res *Result) {
	latency, service, lag := newHistogram(digits), newHistogram(digits), newHistogram(digits)
	intervals := make([]interval, len(r.intended))
	c := &res.Counts
	c.Errors, c.Statuses = map[string]int64{}, map[string]int64{}
	for i := range r.shards {
		s := &r.shards[i]
		latency.Merge(s.latency)
		service.Merge(s.service)
		lag.Merge(s.lag)
		c.Sent, c.Cached = c.Sent+s.counts.Sent, c.Cached+s.counts.Cached
		c.Allowed, c.Denied, c.Wrong = c.Allowed+s.counts.Allowed, c.Denied+s.counts.Denied, c.Wrong+s.counts.Wrong
		add(c.Errors, s.counts.Errors)
		add(c.Statuses, s.counts.Statuses)
		for j := range intervals {
			from, to := &s.intervals[j], &intervals[j]
			to.sent, to.answered, to.failed = to.sent+from.sent, to.answered+from.answered, to.failed+from.failed
			switch {
			case to.latency == nil:
				to.latency = from.latency
			case from.latency != nil:
				to.latency.Merge(from.latency)
			}
		}
	}
	res.Latency, res.Service, res.Generator.Lag = latencyOf(latency), latencyOf(service), latencyOf(lag)
	res.Generator.Lag.HDR = ""
	end := r.planned
	for i := range intervals {
		in := &intervals[i]
		meant := r.intended[i].Load()
		if meant+in.sent+in.answered+in.failed > 0 {
			end = max(end, i+1)
		}
		one := Interval{
			At: int64(i) * int64(r.length), Length: int64(r.length), Intended: float64(meant),
			Sent: in.sent, Answered: in.answered, Failed: in.failed,
			ServerCPU: r.samples[i].cpu, ServerRSS: r.samples[i].rss, InFlight: r.samples[i].inFlight,
		}
		if h := in.latency; h != nil {
			one.P50, one.P90, one.P99 = h.ValueAtPercentile(50), h.ValueAtPercentile(90), h.ValueAtPercentile(99)
			one.Max = h.Max()
		}
		res.Series = append(res.Series, one)
	}
	res.Series = res.Series[:end] // what is behind is as empty as a run that has ended
}

func add(to, from map[string]int64) {
	for k, n := range maps.All(from) {
		to[k] += n
	}
}

// percents are the points of a distribution that reports show.
var percents = [...]float64{
	0, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 97.5, 98, 99, 99.5, 99.75, 99.9, 99.95, 99.975, 99.99, 99.995, 99.999, 100,
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	l := Latency{Count: h.TotalCount(), Points: []Percentile{}}
	if l.Count == 0 {
		return l
	}
	l.Min, l.Mean, l.Max = h.Min(), h.Mean(), h.Max()
	for _, p := range percents {
		l.Points = append(l.Points, Percentile{p, h.ValueAtPercentile(p)})
	}
	if encoded, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase); err == nil { // in base64 already
		l.HDR = string(encoded)
	}
	return l
}
