package scenario

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/bench"
)

// steady is a constant load of hits, beside which something happens.
type steady struct {
	rate       float64 // reviews a second
	length, at time.Duration
}

// beside measures a steady load of pods over the lines of a list, while disturb is called in its midst; nil disturbs
// nobody. Disturbances are tried against a neighbour too, another service on the same machine: what the hits suffer
// there, cores that are busy with handshakes, verifications and the load generator itself, is not the service's doing.
func (st *stage) beside(
	ctx context.Context, v *service, name string, lines []string, hits steady, disturb func(context.Context) error,
) (res *bench.Result, err error) {
	client, err := st.apiserver(ctx, v, "h2")
	if err != nil {
		return nil, err
	}
	defer client.Close()
	pods, err := st.pods(lines)
	if err != nil {
		return nil, err
	}
	plan := bench.Plan{Client: client, Workload: pods, Schedule: constant(hits.rate, hits.length)}
	st.say("%s: %s", name, describe(&plan))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		res, err = st.measure(ctx, v, name, plan)
		return err
	})
	if disturb != nil {
		g.Go(func() error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(hits.at):
				return disturb(ctx)
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	expectRight(res)
	st.keep(res)
	return res, v.dead()
}

// rounds is how often what is compared is tried: machines have neighbours too, and the middle of three is less theirs
// than one alone.
const rounds = 3

// median tries something several times, and keeps the results of the try whose result has the middle value of key in
// Extra, with the least and the highest beside it. What failed a check in another try counts as well.
func (st *stage) median(key string, try func(round int) (*bench.Result, error)) error {
	type tried struct {
		res *bench.Result
		all []*bench.Result
	}
	var tries []tried
	for i := range pick(st, rounds, 1) {
		begin := len(st.results)
		res, err := try(i + 1)
		if err != nil {
			return err
		}
		tries = append(tries, tried{res, slices.Clone(st.results[begin:])})
		st.results = st.results[:begin]
	}
	slices.SortFunc(tries, func(a, b tried) int { return cmp.Compare(a.res.Extra[key], b.res.Extra[key]) })
	middle := tries[len(tries)/2]
	middle.res.Extra["rounds"] = float64(len(tries))
	middle.res.Extra[key+"_min"] = tries[0].res.Extra[key]
	middle.res.Extra[key+"_max"] = tries[len(tries)-1].res.Extra[key]
	st.results = append(st.results, middle.all...)
	for _, t := range tries {
		if t.res == middle.res {
			continue
		}
		for _, r := range t.all {
			for _, c := range r.Checks {
				if !c.OK {
					c.Text += " (" + r.Name + " in another round)"
					middle.res.Checks = append(middle.res.Checks, c)
				}
			}
		}
	}
	st.say("%s in %d rounds: %.2f, %.2f to %.2f", key, len(tries), middle.res.Extra[key], tries[0].res.Extra[key], tries[len(tries)-1].res.Extra[key])
	return nil
}

// grown is by how much a metric of the service grew during a run.
func grown(r *bench.Result, name string, labels ...string) float64 {
	before, after := make(map[string]float64), make(map[string]float64)
	for key, m := range r.Metrics {
		before[key], after[key] = m.Before, m.After
	}
	return sum(after, name, labels...) - sum(before, name, labels...)
}

// compare notes in a result what a percentile of its latency is against that of another.
func compare(r *bench.Result, with string, other *bench.Result, percent float64) {
	name := fmt.Sprintf("p%g", percent)
	a, b := r.Latency.At(percent), other.Latency.At(percent)
	r.Extra[name+"_"+with+"_us"] = float64(b.Microseconds())
	if b > 0 {
		r.Extra[name+"_ratio_"+with] = a.Seconds() / b.Seconds()
	}
}
