package bench

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/bench/schedule"
)

// reviews is a workload that expects every third review to be denied.
type reviews struct{ n int }

func (r *reviews) Next() Review {
	r.n++
	if r.n%3 == 0 {
		return Review{Deny: ExpectDeny}
	}
	return Review{Deny: ExpectAllow}
}

func (r *reviews) String() string { return "reviews" }

// client answers with do.
type client struct {
	do    func(context.Context, *Review) (Answer, error)
	calls atomic.Int64
}

func (c *client) Do(ctx context.Context, r *Review) (Answer, error) {
	c.calls.Add(1)
	return c.do(ctx, r)
}

func (c *client) Kind(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return KindTimeout
	}
	return "broken"
}

func (c *client) Connections() Connections { return Connections{Opened: c.calls.Load()} }
func (c *client) Close()                   {}
func (c *client) String() string           { return "client" }

func right(_ context.Context, r *Review) (Answer, error) {
	return Answer{Status: 200, Verdict: true, Allowed: r.Deny == ExpectAllow}, nil
}

func burst(n int) schedule.Schedule { return schedule.Schedule{{Burst: n}} }

// mustRun runs a plan. These tests run one after the other, since each may change GOMAXPROCS.
func mustRun(t *testing.T, p Plan) *Result {
	t.Helper()
	if p.Workload == nil {
		p.Workload = &reviews{}
	}
	res, err := Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// mustRunClosed runs a closed loop until that many reviews were picked, however long that takes.
func mustRunClosed(t *testing.T, p Plan, reviewed int) *Result {
	t.Helper()
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	all := &reviews{}
	p.Duration, p.Workload = time.Hour, &counted{make: func(i int) Review {
		if i == reviewed {
			enough()
		}
		return all.Next()
	}}
	res, err := Run(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestOpenLoop(t *testing.T) {
	c := &client{do: right}
	res := mustRun(t, Plan{
		Client: c, WarmUp: 3, PID: os.Getpid(),
		Schedule: schedule.Schedule{{Duration: 100 * time.Millisecond, Rate: 1000}, {Duration: 50 * time.Millisecond, Burst: 50}},
	})
	if n := res.Counts; n.Sent != 150 || n.Allowed != 100 || n.Denied != 50 || n.Wrong != 0 || n.Failed() != 0 || n.Statuses["200"] != 150 {
		t.Errorf("%+v", n)
	}
	if res.Load.Reviews != 150 || res.Latency.Count != 150 || res.Service.Count != 150 || res.Generator.Lag.Count != 150 {
		t.Errorf("%d planned, latencies of %d, %d, %d", res.Load.Reviews, res.Latency.Count, res.Service.Count, res.Generator.Lag.Count)
	}
	if res.Connections.WarmedUp != 3 || res.Connections.Opened != 153 {
		t.Errorf("%+v", res.Connections)
	}
	if !res.Complete || res.Elapsed < int64(150*time.Millisecond) {
		t.Errorf("complete: %v, after %s", res.Complete, time.Duration(res.Elapsed))
	}
	if res.Latency.HDR == "" || res.Latency.At(100) < res.Latency.At(50) || res.Latency.At(50) <= 0 {
		t.Errorf("%+v", res.Latency)
	}
	var meant float64
	var answered int64
	for _, in := range res.Series {
		meant, answered = meant+in.Intended, answered+in.Answered
	}
	if meant != 150 || answered != 150 || len(res.Series) < 3 {
		t.Errorf("a series of %d intervals, %.0f meant, %d answered", len(res.Series), meant, answered)
	}
	if s := res.Server; s == nil || s.PID != os.Getpid() || s.RSSMax <= 0 {
		t.Errorf("%+v", s)
	}
}

// TestOpenLoopWaitsForNobody has a server that answers nothing until everything was sent.
func TestOpenLoopWaitsForNobody(t *testing.T) {
	const n = 40
	var all sync.WaitGroup
	all.Add(n)
	c := &client{do: func(ctx context.Context, r *Review) (Answer, error) {
		all.Done()
		all.Wait()
		return right(ctx, r)
	}}
	res := mustRun(t, Plan{Client: c, Schedule: schedule.Schedule{{Duration: 80 * time.Millisecond, Rate: 500}}})
	if res.Counts.Answered() != n {
		t.Errorf("%+v", res.Counts)
	}
	// The first was sent at once, and answered when the last had been: it waited for almost all of the run.
	if first := time.Duration(res.Latency.Max); first < 70*time.Millisecond {
		t.Errorf("the longest latency is %s, although the first review was answered after the last was sent", first)
	}
}

func TestTooManyInFlight(t *testing.T) {
	release := make(chan struct{})
	c := &client{}
	c.do = func(ctx context.Context, r *Review) (Answer, error) {
		<-release
		return right(ctx, r)
	}
	p := Plan{Client: c, MaxInFlight: 10, Schedule: schedule.Schedule{{Burst: 50}, {Duration: 10 * time.Millisecond}}}
	p.Workload = &counted{make: func(i int) Review {
		if i == 49 { // all before it are in flight, or dropped
			close(release)
		}
		return Review{Deny: ExpectAllow}
	}}
	res := mustRun(t, p)
	if res.Counts.Dropped < 39 || res.Counts.Sent+res.Counts.Dropped != 50 || res.Counts.Failed() != res.Counts.Dropped {
		t.Errorf("%+v", res.Counts)
	}
	if len(res.Generator.Bottleneck) == 0 || !strings.Contains(strings.Join(res.Generator.Bottleneck, " "), "were not sent") {
		t.Errorf("the bottleneck is not told: %q", res.Generator.Bottleneck)
	}
}

// counted makes reviews by their number.
type counted struct {
	n    int
	make func(i int) Review
}

func (c *counted) Next() Review {
	c.n++
	return c.make(c.n - 1)
}

func (c *counted) String() string { return "counted" }

func TestFailures(t *testing.T) {
	n := 0
	var mu sync.Mutex
	c := &client{do: func(ctx context.Context, r *Review) (Answer, error) {
		mu.Lock()
		n++
		mine := n
		mu.Unlock()
		switch mine {
		case 1:
			<-ctx.Done()
			return Answer{}, ctx.Err()
		case 2:
			return Answer{}, errors.New("x")
		case 3:
			return Answer{Status: 502}, nil
		case 4:
			return Answer{Status: 200}, nil
		case 5:
			return Answer{Cached: true}, nil
		case 6:
			return Answer{Status: 200, Verdict: true, Allowed: r.Deny != ExpectAllow}, nil
		}
		return right(ctx, r)
	}}
	res := mustRun(t, Plan{Client: c, Timeout: 30 * time.Millisecond, Schedule: burst(10)})
	n2 := res.Counts
	want := map[string]int64{"timeout": 1, "broken": 1, "status 502": 1, "no verdict": 1}
	for kind, count := range want {
		if n2.Errors[kind] != count {
			t.Errorf("%s: %d of %v", kind, n2.Errors[kind], n2.Errors)
		}
	}
	if n2.Sent != 9 || n2.Cached != 1 || n2.Failed() != 4 || n2.Answered() != 5 || n2.Wrong != 1 {
		t.Errorf("%+v", n2)
	}
	if res.Latency.Count != 6 || res.Latency.At(100) < 30*time.Millisecond {
		t.Errorf("%d latencies up to %s: whoever waited in vain has waited", res.Latency.Count, res.Latency.At(100))
	}
}

func TestClosedLoop(t *testing.T) {
	var inFlight, most atomic.Int64
	c := &client{do: func(ctx context.Context, r *Review) (Answer, error) {
		now := inFlight.Add(1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		defer inFlight.Add(-1)
		return right(ctx, r)
	}}
	res := mustRunClosed(t, Plan{Client: c, Closed: 7}, 1000)
	if most.Load() > 7 || res.Counts.Sent < 7 || res.Load.Closed != 7 || res.Counts.Wrong != 0 {
		t.Errorf("%d in flight, %+v", most.Load(), res.Counts)
	}
}

// sender answers from a goroutine of its own, as a client does that needs none a review.
type sender struct {
	client
	queue chan func()
}

func (s *sender) Send(r *Review, deadline time.Time, done Receiver) {
	s.queue <- func() {
		if time.Until(deadline) <= 0 {
			done.Answered(Answer{}, context.DeadlineExceeded)
			return
		}
		s.calls.Add(1)
		done.Answered(right(context.Background(), r))
	}
}

func TestSender(t *testing.T) {
	s := &sender{queue: make(chan func(), 100)}
	go func() {
		for answer := range s.queue {
			answer()
		}
	}()
	defer close(s.queue)
	for name, p := range map[string]Plan{
		"open":   {Schedule: burst(50)},
		"closed": {Closed: 7},
	} {
		p.Client = s
		s.calls.Store(0)
		run := mustRun
		if p.Closed > 0 {
			run = func(t *testing.T, p Plan) *Result { return mustRunClosed(t, p, 1000) }
		}
		res := run(t, p)
		if n := res.Counts; n.Sent != s.calls.Load() || n.Answered() != n.Sent || n.Sent < 7 || n.Wrong != 0 || n.Denied == 0 {
			t.Errorf("%s: %d calls, %+v", name, s.calls.Load(), n)
		}
		if name == "open" && res.Counts.Sent != 50 {
			t.Errorf("%d sent of 50", res.Counts.Sent)
		}
	}
}

// atOnce answers before Send returns, and tells how deep the stack is.
type atOnce struct {
	client
	deepest atomic.Int64
}

func (s *atOnce) Send(_ *Review, _ time.Time, done Receiver) {
	depth := int64(runtime.Callers(0, make([]uintptr, 1000)))
	s.deepest.Store(max(s.deepest.Load(), depth))
	done.Answered(Answer{Status: 200, Verdict: true}, nil)
}

func TestSenderAnswersAtOnce(t *testing.T) {
	s := &atOnce{}
	res := mustRunClosed(t, Plan{Client: s, Closed: 1}, 1000)
	if res.Counts.Sent < 2 || s.deepest.Load() > 50 {
		t.Errorf("%d reviews, one in the other up to %d calls deep", res.Counts.Sent, s.deepest.Load())
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &client{do: func(ctx context.Context, _ *Review) (Answer, error) {
		cancel()
		<-ctx.Done()
		return Answer{}, ctx.Err()
	}}
	res, err := Run(ctx, Plan{Client: c, Workload: &reviews{}, Schedule: schedule.Schedule{{Duration: time.Hour, Rate: 1000}}})
	if err != nil || res.Complete || res.Counts.Sent == 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestPlans(t *testing.T) {
	c := &client{do: right}
	broken := &client{do: func(context.Context, *Review) (Answer, error) { return Answer{}, errors.New("nobody there") }}
	for want, p := range map[string]Plan{
		"are needed":            {Client: c},
		"not both":              {Client: c, Workload: &reviews{}, Closed: 1, Schedule: burst(1)},
		"needs a duration":      {Client: c, Workload: &reviews{}, Closed: 1},
		"needs a phase":         {Client: c, Workload: &reviews{}},
		"between 1 and":         {Client: c, Workload: &reviews{}, Closed: -1},
		"below zero":            {Client: c, Workload: &reviews{}, Schedule: burst(1), WarmUp: -1},
		"nobody there":          {Client: broken, Workload: &reviews{}, Schedule: burst(1), WarmUp: 1},
		"process 2147483647":    {Client: c, Workload: &reviews{}, Schedule: burst(1), PID: 1<<31 - 1},
		"metrics: no such port": {Client: c, Workload: &reviews{}, Schedule: burst(1), Metrics: func() (map[string]float64, error) { return nil, errors.New("no such port") }},
	} {
		if _, err := Run(t.Context(), p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := Run(t.Context(), Plan{Client: broken, Workload: &reviews{}, Schedule: burst(1), WarmUp: 1}); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	calls := 0.0
	res := mustRun(t, Plan{Client: &client{do: right}, Schedule: burst(1), Metrics: func() (map[string]float64, error) {
		calls++
		return map[string]float64{"a": calls, "b" + string('0'+rune(calls)): 7}, nil
	}})
	if m := res.Metrics; m["a"] != (Metric{1, 2}) || m["b1"] != (Metric{7, 0}) || m["b2"] != (Metric{0, 7}) {
		t.Errorf("%v", m)
	}
}

func TestProgress(t *testing.T) {
	seen := make(chan Progress, 100)
	var once sync.Once
	hold := make(chan struct{})
	c := &client{do: func(ctx context.Context, r *Review) (Answer, error) {
		<-hold
		return right(ctx, r)
	}}
	mustRun(t, Plan{Client: c, Schedule: burst(3), Progress: func(p Progress) {
		seen <- p
		once.Do(func() { close(hold) })
	}})
	if p := <-seen; p.Intended != 3 || p.InFlight != 3 || p.At <= 0 {
		t.Errorf("%+v", p)
	}
}
