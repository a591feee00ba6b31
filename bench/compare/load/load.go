// Package load keeps a server busy, and measures the time that its answers take.
//
// It decides when a request begins, and whether an answer is the one that was wanted. The first that is another ends a
// load with an error: a server that refuses is fast, and its figures would mislead.
package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Window is what of a load is measured. Begin is called after the warm-up, when requests are under way, and End when
// they still are; neither may block for long.
type Window struct {
	WarmUp, Measure time.Duration
	Begin, End      func()
}

// Result is what came of a load between Begin and End.
type Result struct {
	Requests    int64
	Elapsed     time.Duration
	Latency     *hdrhistogram.Histogram // nanoseconds; nil if it isn't known
	Connections int64                   // opened between Begin and End, each with a handshake; -1 if it isn't known
}

// NewHistogram makes a histogram of latencies from 1 µs to a minute, to the nearest percent.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(time.Minute), 2)
}

// Meter is what one worker counts. It is used by one goroutine at a time.
type Meter struct {
	phase   *atomic.Int32
	done    atomic.Int64
	latency *hdrhistogram.Histogram // read once the worker has ended
	_       [64]byte                // keeps the workers' counters apart
}

// The phases of a load.
const (
	warming int32 = iota
	measuring
	ending
)

// Stopped tells whether no further request is to be begun.
func (m *Meter) Stopped() bool { return m.phase.Load() == ending }

// Answered counts one answer to a request that was sent at begin.
func (m *Meter) Answered(begin time.Time) {
	m.done.Add(1)
	if m.phase.Load() == measuring {
		_ = m.latency.RecordValue(int64(min(max(time.Since(begin), time.Microsecond), time.Minute)))
	}
}

// patience is how long a worker may take for its first answer, and for its last.
const patience = 10 * time.Second

// warm tells whether every worker has had an answer: its connection is there.
func warm(meters []*Meter) bool {
	for _, m := range meters {
		if m.done.Load() == 0 {
			return false
		}
	}
	return true
}

// Worker sends requests until its meter says stopped, or ctx ends.
type Worker func(ctx context.Context, m *Meter) error

// Run starts the workers and measures them. opened says how many connections they have made so far.
func Run(ctx context.Context, w Window, opened func() int64, workers []Worker) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var phase atomic.Int32
	meters := make([]*Meter, len(workers))
	var wg sync.WaitGroup
	for i, work := range workers {
		meters[i] = &Meter{phase: &phase, latency: NewHistogram()}
		wg.Go(func() {
			if err := work(ctx, meters[i]); err != nil {
				cancel(err)
			}
		})
	}
	sum := func() (done int64) {
		for _, m := range meters {
			done += m.done.Load()
		}
		return done
	}
	pause := func(d time.Duration) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	pause(w.WarmUp)
	for began := time.Now(); ctx.Err() == nil && time.Since(began) < patience && !warm(meters); {
		pause(time.Millisecond)
	}
	w.Begin()
	before, connections, began := sum(), opened(), time.Now()
	phase.Store(measuring)
	pause(w.Measure)
	w.End()
	result := Result{
		Requests: sum() - before, Connections: opened() - connections,
		Elapsed: time.Since(began), Latency: NewHistogram(),
	}
	phase.Store(ending)
	// Workers that wait for an answer get it, as long as the server is alive.
	bound := time.AfterFunc(patience, func() { cancel(fmt.Errorf("the last answers did not come within %s", patience)) })
	defer bound.Stop()
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return result, err
	}
	for _, m := range meters {
		result.Latency.Merge(m.latency)
	}
	return result, nil
}
