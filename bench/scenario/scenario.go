package scenario

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"sluice/bench"
)

// Options are what a scenario is run with.
type Options struct {
	Sluice   []string // the command of the service, which is followed by serve; its program by an absolute path
	Registry []string // a command that calls [ServeRegistry], such as this program with [RegistryCommand]
	Env      []string // the service's environment, beside what scenarios set; nothing is inherited

	Short    bool   // seconds in place of a minute, for a look at whether it works
	Seed     uint64 // of the workloads; default 1
	Say      func(string)
	Progress func(bench.Progress) // as in [bench.Plan]; may be nil
}

// Scenario is a situation that a service gets into.
type Scenario struct {
	Name  string
	About string // in a line
	run   func(context.Context, *stage) error
}

// All are the scenarios, in the order in which they are run.
func All() []Scenario {
	return []Scenario{
		{"warm", "every image is known: a constant rate, bursts, and as fast as it goes", warm},
		{"cold", "5,000 identical reviews at once, and 1,000 different ones, of images nobody has asked about", cold},
		{"churn", "one image in a hundred is new, under a steady load, rollouts and node drains", churn},
		{"expiry", "entries end every few seconds, against ones that do not end", expiry},
		{"reconnect", "1,000 new connections at once, beside established ones", reconnect},
		{"memory", "a million verdicts", memory},
	}
}

// Find returns the scenarios of these names, in the order of All. The name all means every one.
func Find(names ...string) ([]Scenario, error) {
	var known []string
	for _, s := range All() {
		known = append(known, s.Name)
	}
	for _, name := range names {
		if name != "all" && !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no scenario %q; there are %s, and all", name, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(All(), func(s Scenario) bool {
		return !slices.Contains(names, "all") && !slices.Contains(names, s.Name)
	}), nil
}

// Run sets a scenario up, goes through it, and clears it away. What has been measured is returned even if there is an
// error. An error means that the scenario could not be carried out; that the service did badly is told by the results'
// Checks. It changes GOMAXPROCS while it runs, and takes some minutes at most.
func (s Scenario) Run(ctx context.Context, o Options) (results []*bench.Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if o.Seed == 0 {
		o.Seed = 1
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	// Loads that run beside each other would otherwise each set it and set it back.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(4, runtime.NumCPU())))
	l, err := newLab(ctx, o.Sluice, o.Registry, o.Env)
	if err != nil {
		return nil, err
	}
	defer l.close()
	st := &stage{lab: l, Options: o, scenario: s.Name}
	err = s.run(ctx, st)
	if err != nil {
		err = fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	return st.results, err
}

// stage is a scenario under way. Its methods are called from one goroutine at a time.
type stage struct {
	*lab
	Options
	scenario string
	results  []*bench.Result
	lists    int // that have been written
}

func (st *stage) say(format string, args ...any) {
	st.Say(st.scenario + ": " + fmt.Sprintf(format, args...))
}

// pick returns the size of something: the first as a rule, and the second if it is to be short.
func pick[T any](st *stage, full, short T) T {
	if st.Short {
		return short
	}
	return full
}

// load carries out a plan against a service, and keeps its result under scenario/name.
func (st *stage) load(ctx context.Context, v *service, name string, p bench.Plan) (*bench.Result, error) {
	st.say("%s: %s", name, describe(&p))
	res, err := st.measure(ctx, v, name, p)
	if err != nil {
		return nil, err
	}
	st.keep(res)
	return res, v.dead()
}

// keep keeps a result, and says what it is in short.
func (st *stage) keep(res *bench.Result) {
	st.results = append(st.results, res)
	st.Say(strings.Replace(res.Name, "/", ": ", 1) + ": " + outcome(res))
}

// measure is load without a word, and without keeping the result. It may be called concurrently.
func (st *stage) measure(ctx context.Context, v *service, name string, p bench.Plan) (*bench.Result, error) {
	p.Name, p.Target, p.Seed, p.PID = st.scenario+"/"+name, v.url, st.Seed, v.pid
	p.Protocol = cmp.Or(p.Protocol, "h2")
	if p.Metrics == nil {
		p.Metrics = func() (map[string]float64, error) { return v.metrics(ctx) }
	}
	if p.Progress == nil {
		p.Progress = st.Progress
	}
	res, err := bench.Run(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if !res.Complete {
		return nil, fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
	res.Extra = map[string]float64{}
	maps.DeleteFunc(res.Metrics, func(_ string, m bench.Metric) bool { return m.Before == 0 && m.After == 0 }) // of which there are many
	return res, nil
}

// describe says what a plan is going to do.
func describe(p *bench.Plan) string {
	if p.Closed > 0 {
		return fmt.Sprintf("%d in flight for %s (closed loop), %s", p.Closed, p.Duration, p.Client)
	}
	return fmt.Sprintf("%d reviews in %s, %s", p.Schedule.Reviews(), p.Schedule.Duration(), p.Client)
}

// outcome says in short what came of it.
func outcome(r *bench.Result) string {
	text := fmt.Sprintf("p50 %s, p99 %s, p99.9 %s", short(r.Latency.At(50)), short(r.Latency.At(99)), short(r.Latency.At(99.9)))
	if r.Server != nil {
		text += fmt.Sprintf(", server CPU %.1f µs a review", r.Server.CPUReview)
	}
	if n := r.Counts.Failed(); n > 0 {
		text += fmt.Sprintf(", %d failed %v", n, r.Counts.Errors)
	}
	if r.Counts.Wrong > 0 {
		text += fmt.Sprintf(", %d WRONG", r.Counts.Wrong)
	}
	return text
}

func short(d time.Duration) time.Duration {
	if d > 10*time.Millisecond {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

// expect adds a check to a result: what a value must not be above.
func expect(r *bench.Result, what string, value, most float64) {
	r.Checks = append(r.Checks, bench.Check{Text: fmt.Sprintf("%s <= %g", what, most), Value: value, OK: value <= most})
}

// expectRight adds the checks that every load has to pass: no review without a verdict, and no wrong verdict.
func expectRight(r *bench.Result) {
	expect(r, "reviews without a verdict", float64(r.Counts.Failed()), 0)
	expect(r, "wrong verdicts", float64(r.Counts.Wrong), 0)
}
