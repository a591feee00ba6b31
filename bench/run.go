package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of Run.
var (
	// ErrUnreachable wraps what kept the first review from being answered: there was nothing to measure.
	ErrUnreachable = errors.New("the target did not answer")
)

// minProcs is how many processors the runtime is given at least. One of them sleeps until the next review is due, and
// with fewer, the others wait for it.
const minProcs = 4

// tail is how long the answers to the last reviews may take and still have intervals of their own in the series.
const tail = 10 * time.Second

// grace is how long reviews that are under way may take to end when a run is interrupted.
const grace = time.Second

// Run carries out a plan. It returns when the last review has been answered, or soon after ctx has ended, in which case
// the Result is not Complete. An error means that nothing was measured: the plan is wrong, or the target does not answer.
// It changes GOMAXPROCS while it runs. Only one Run at a time gives figures that mean something.
func Run(ctx context.Context, p Plan) (*Result, error) {
	if err := p.complete(); err != nil {
		return nil, err
	}
	if n := runtime.GOMAXPROCS(0); n < minProcs {
		runtime.GOMAXPROCS(minProcs)
		defer runtime.GOMAXPROCS(n)
	}
	r := &run{plan: &p, records: newRecorder(p.length(), p.length()+min(p.Timeout, tail), p.Interval)}
	r.sender, _ = p.Client.(Sender)
	r.result = &Result{
		Version: FormatVersion, Name: p.Name, Machine: ThisMachine(),
		Load: Load{
			Target: p.Target, Client: p.Client.String(), Protocol: p.Protocol, Workload: p.Workload.String(), Seed: p.Seed,
			Schedule: p.Schedule, Closed: p.Closed, Duration: int64(p.length()),
		},
	}
	if p.Closed == 0 {
		r.result.Load.Reviews = int64(p.Schedule.Reviews())
	}
	if err := r.warmUp(ctx); err != nil {
		return nil, err
	}
	warmed := p.Client.Connections().Opened
	before, err := r.scrape()
	if err != nil {
		return nil, fmt.Errorf("the server's metrics: %w", err)
	}
	sampled, err := newSampler(p.PID)
	if err != nil {
		return nil, err
	}

	r.result.Started = time.Now()
	r.begin = r.result.Started
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(stop, sampled) })
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if p.Closed > 0 {
		r.closedLoop(ctx, work)
	} else {
		r.openLoop(ctx, work)
	}
	r.finish(ctx, cancel)
	elapsed := time.Since(r.begin)
	close(stop)
	watching.Wait()

	res := r.result
	res.Elapsed, res.Complete = int64(elapsed), ctx.Err() == nil
	r.records.into(res)
	res.Counts.Dropped = r.dropped.Load()
	res.Connections = p.Client.Connections()
	res.Connections.WarmedUp = warmed
	sampled.into(res, elapsed)
	res.Generator.Bottleneck = r.bottlenecks(sampled)
	if after, err := r.scrape(); err == nil { // a server that is gone by now leaves the rest true
		res.Metrics = changes(before, after)
	}
	return res, nil
}

func (p *Plan) complete() error {
	if p.Timeout == 0 {
		p.Timeout = 30 * time.Second
	}
	if p.MaxInFlight == 0 {
		p.MaxInFlight = 20_000
	}
	switch {
	case p.Client == nil || p.Workload == nil:
		return errors.New("a client and a workload are needed")
	case p.Closed < 0 || p.Closed > p.MaxInFlight:
		return fmt.Errorf("a closed loop keeps between 1 and %d reviews in flight, not %d", p.MaxInFlight, p.Closed)
	case p.Closed > 0 && len(p.Schedule) > 0:
		return errors.New("a run follows a schedule or is a closed loop, and not both")
	case p.Closed > 0 && p.Duration <= 0:
		return errors.New("a closed loop needs a duration")
	case p.Timeout < 0 || p.WarmUp < 0 || p.Interval < 0:
		return errors.New("a number is below zero")
	}
	if p.Closed == 0 {
		if err := p.Schedule.Validate(); err != nil {
			return err
		}
	}
	if p.Interval == 0 {
		p.Interval = intervalOf(p.length())
	}
	p.Interval = max(p.Interval, (p.length()+tail)/maxIntervals)
	return nil
}

// length is how long the plan takes, without the answers to its last reviews.
func (p *Plan) length() time.Duration {
	if p.Closed > 0 {
		return p.Duration
	}
	return p.Schedule.Duration()
}

// intervalOf picks a length that people find easy to read, of which a run has some dozens.
func intervalOf(length time.Duration) time.Duration {
	for _, d := range []time.Duration{
		50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
		2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute,
	} {
		if length/d <= 120 {
			return d
		}
	}
	return 10 * time.Minute
}

// run is one Run under way.
type run struct {
	plan    *Plan
	result  *Result
	records *recorder
	sender  Sender      // the client, if it is one
	begin   time.Time   // of the first moment
	more    func() bool // whether a closed loop goes on; nil in an open one

	picking  sync.Mutex // Workload.Next in a closed loop
	flying   sync.WaitGroup
	inFlight atomic.Int64
	intended atomic.Int64
	dropped  atomic.Int64
}

// warmUp sends reviews one after the other, and one at least where nothing else says that the target is there.
func (r *run) warmUp(ctx context.Context) error {
	for range r.plan.WarmUp {
		if err := ctx.Err(); err != nil {
			return err
		}
		review := r.plan.Workload.Next()
		one, cancel := context.WithTimeout(ctx, r.plan.Timeout)
		_, err := r.plan.Client.Do(one, &review)
		cancel()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
	}
	return nil
}

func (r *run) scrape() (map[string]float64, error) {
	if r.plan.Metrics == nil {
		return nil, nil
	}
	return r.plan.Metrics()
}

func changes(before, after map[string]float64) map[string]Metric {
	if before == nil && after == nil {
		return nil
	}
	all := make(map[string]Metric, len(after))
	for name, v := range before {
		all[name] = Metric{Before: v}
	}
	for name, v := range after {
		all[name] = Metric{Before: before[name], After: v}
	}
	return all
}

// openLoop sends each review when it is due, whatever became of those before it.
func (r *run) openLoop(ctx, work context.Context) {
	pace := newPacer(r.begin)
	defer pace.end()
	done := ctx.Done()
	for at := range r.plan.Schedule.Moments() {
		if !pace.until(at, done) {
			return
		}
		r.intended.Add(1)
		r.records.intend(at)
		f := &flight{run: r, review: r.plan.Workload.Next(), at: at}
		if r.inFlight.Add(1) > int64(r.plan.MaxInFlight) {
			r.inFlight.Add(-1)
			r.dropped.Add(1)
			r.records.drop(at)
			continue
		}
		r.flying.Add(1)
		if r.sender != nil {
			f.send()
			continue
		}
		go func() {
			f.wait(work)
			f.land()
		}()
	}
	pace.until(r.plan.Schedule.Duration(), done)
}

// closedLoop keeps a number of reviews in flight.
func (r *run) closedLoop(ctx, work context.Context) {
	end := r.begin.Add(r.plan.Duration)
	r.more = func() bool { return ctx.Err() == nil && time.Now().Before(end) }
	for range r.plan.Closed {
		f := &flight{run: r}
		r.flying.Add(1)
		r.inFlight.Add(1)
		if r.sender != nil {
			f.next()
			continue
		}
		go func() {
			for f.again() {
				f.wait(work)
			}
			f.land()
		}()
	}
}

// flight is a review under way; in a closed loop, one after another.
type flight struct {
	run      *run
	review   Review
	at, sent time.Duration // when it was meant to be sent, and when it was
	sending  atomic.Int32  // so that answers that come before Send returns don't pile up on the stack
}

// The states of a flight's sending.
const (
	sendReturned int32 = iota
	sendCalled
	sendAnswered // before it returned
)

// wait sends the review and waits for what becomes of it.
func (f *flight) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.run.plan.Timeout)
	defer cancel()
	f.sent = time.Since(f.run.begin)
	f.note(f.run.plan.Client.Do(ctx, &f.review))
}

// send sends the review. Answered is told what becomes of it.
func (f *flight) send() {
	f.sent = time.Since(f.run.begin)
	f.run.sender.Send(&f.review, f.run.begin.Add(f.sent+f.run.plan.Timeout), f)
}

// Answered implements [Receiver].
func (f *flight) Answered(a Answer, err error) {
	f.note(a, err)
	if !f.sending.CompareAndSwap(sendCalled, sendAnswered) {
		f.next()
	}
}

// next sends the next review of a closed loop, if there is to be one.
func (f *flight) next() {
	for f.again() {
		f.sending.Store(sendCalled)
		f.send()
		if f.sending.CompareAndSwap(sendCalled, sendReturned) {
			return
		}
	}
	f.land()
}

// again picks the next review of a closed loop, if there is to be one.
func (f *flight) again() bool {
	r := f.run
	if r.more == nil || !r.more() {
		return false
	}
	r.picking.Lock()
	f.review = r.plan.Workload.Next()
	r.picking.Unlock()
	r.intended.Add(1)
	f.at = time.Since(r.begin)
	r.records.intend(f.at)
	return true
}

func (f *flight) note(a Answer, err error) {
	now, kind := time.Since(f.run.begin), ""
	if err != nil {
		kind = f.run.plan.Client.Kind(err)
	}
	f.run.records.answered(f.at, f.sent, now, f.review.Deny, a, kind)
}

func (f *flight) land() {
	f.run.inFlight.Add(-1)
	f.run.flying.Done()
}

// finish waits for the reviews that are under way: for all of them, or for a moment if the run was interrupted.
func (r *run) finish(ctx context.Context, cancel context.CancelFunc) {
	landed := make(chan struct{})
	go func() {
		r.flying.Wait()
		close(landed)
	}()
	select {
	case <-landed:
		return
	case <-ctx.Done():
	}
	select {
	case <-landed:
	case <-time.After(grace):
		cancel()
		if r.sender != nil {
			r.sender.Close()
		}
		<-landed
	}
}

// watch samples the processes at the end of each interval, and tells whoever looks how far the run has come.
func (r *run) watch(stop chan struct{}, s *sampler) {
	interval := time.NewTicker(r.plan.Interval)
	defer interval.Stop()
	look := time.NewTicker(500 * time.Millisecond)
	defer look.Stop()
	if r.plan.Progress == nil {
		look.Stop()
	}
	for {
		select {
		case <-stop:
			return
		case <-interval.C:
			at := time.Since(r.begin)
			cpu, rss := s.sample(at)
			r.records.sampled(at, cpu, rss, r.inFlight.Load())
		case <-look.C:
			progress := r.records.progress()
			progress.At, progress.Of = time.Since(r.begin), r.plan.length()
			progress.Intended, progress.InFlight = r.intended.Load(), r.inFlight.Load()
			progress.Failed += r.dropped.Load()
			progress.ServerCPU = s.recent()
			r.plan.Progress(progress)
		}
	}
}

// bottlenecks says what makes the figures the generator's more than the server's.
func (r *run) bottlenecks(s *sampler) (why []string) {
	res := r.result
	// Of fewer than a hundred, one is no share that says anything.
	if lag, seen := res.Generator.Lag.At(99), res.Latency.At(99); res.Load.Closed == 0 && res.Counts.Sent >= 100 &&
		lag > time.Millisecond && lag > seen/10 {
		why = append(why, fmt.Sprintf("one review in a hundred was sent %s or more after its time, which latency from the intended start counts too", round(lag)))
	}
	if res.Counts.Dropped > 0 {
		why = append(why, fmt.Sprintf("%d reviews were not sent, because %d were in flight", res.Counts.Dropped, r.plan.MaxInFlight))
	}
	cores := float64(res.Machine.Cores)
	if res.Generator.CPU > 0.85*cores {
		why = append(why, fmt.Sprintf("the load generator itself used %.1f of %d cores", res.Generator.CPU, res.Machine.Cores))
	} else if busy := s.busy(); busy > 0.95 && res.Generator.CPU > 0.25*cores {
		why = append(why, fmt.Sprintf("the machine's cores were %.0f %% busy, %.1f of %d with the load generator", 100*busy, res.Generator.CPU, res.Machine.Cores))
	}
	return why
}

// round shortens a duration to three digits or so.
func round(d time.Duration) time.Duration {
	for unit := time.Second; unit > time.Nanosecond; unit /= 10 {
		if d >= 10*unit {
			return d.Round(unit / 10)
		}
	}
	return d
}
