package scenario

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/bench"
	"sluice/bench/schedule"
)

// images is how many different ones a cluster runs that scenarios have in mind.
const images = 1000

// constant is a load of so many reviews a second.
func constant(rate float64, d time.Duration) schedule.Schedule {
	return schedule.Schedule{{Duration: d, Rate: rate}}
}

// warm is what a service does all day: every verdict is known.
func warm(ctx context.Context, st *stage) error {
	lines, err := st.known(ctx, pick(st, images, 50))
	if err != nil {
		return err
	}
	v, err := st.serve(ctx, settings{})
	if err != nil {
		return err
	}
	defer v.stop()
	if err := st.fill(ctx, v, lines); err != nil {
		return err
	}
	long, little := pick(st, 15*time.Second, time.Second), pick(st, 6*time.Second, time.Second)
	for _, load := range []struct {
		name   string
		client func() (bench.Client, error)
		plan   bench.Plan
	}{
		{
			"constant", func() (bench.Client, error) { return st.apiserver(ctx, v, "h2") },
			bench.Plan{Schedule: constant(pick(st, 2000.0, 200), long)},
		},
		{
			"bursts", func() (bench.Client, error) { return st.apiserver(ctx, v, "h2") },
			bench.Plan{Schedule: schedule.Schedule{{Duration: pick(st, 10*time.Second, time.Second), Burst: 200, Every: 250 * time.Millisecond}}},
		},
		{
			"bursts-h1", func() (bench.Client, error) { return st.apiserver(ctx, v, "h1") },
			bench.Plan{Protocol: "h1", Schedule: schedule.Schedule{{Duration: little, Burst: 200, Every: time.Second}}},
		},
		{
			"limit-h1", func() (bench.Client, error) { return st.lean(v, "h1", 16, 1) },
			bench.Plan{Protocol: "h1", Closed: 16, Duration: little},
		},
		{
			"limit-h2", func() (bench.Client, error) { return st.lean(v, "h2", 16, 1) },
			bench.Plan{Closed: 16, Duration: little},
		},
		{
			"limit-h2-streams", func() (bench.Client, error) { return st.lean(v, "h2", 3, 50) },
			bench.Plan{Closed: 150, Duration: little},
		},
	} {
		client, err := load.client()
		if err != nil {
			return err
		}
		res, err := st.loadPods(ctx, v, load.name, lines, client, load.plan)
		client.Close()
		if err != nil {
			return err
		}
		expectRight(res)
	}
	return nil
}

// fill asks about each line of a list once, so that every verdict is known, and says how long that took.
func (st *stage) fill(ctx context.Context, v *service, lines []string) error {
	client, err := st.apiserver(ctx, v, "h2")
	if err != nil {
		return err
	}
	defer client.Close()
	w, err := st.each(lines)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := ask(ctx, client, w, len(lines)); err != nil {
		return err
	}
	st.say("%d images are known after %s", len(lines), time.Since(began).Round(time.Millisecond))
	return nil
}

// ask sends so many reviews of a workload, some of them at once, and measures nothing.
func ask(ctx context.Context, c bench.Client, w bench.Workload, n int) error {
	const atOnce = 16
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for range n {
		r := w.Next()
		g.Go(func() error {
			answer, err := c.Do(ctx, &r)
			switch {
			case err != nil:
				return err
			case !answer.Verdict || r.Deny != bench.Unknown && answer.Allowed != (r.Deny == bench.ExpectAllow):
				return fmt.Errorf("a review was answered wrongly: status %d, allowed: %t; it was %.300s", answer.Status, answer.Allowed, r.Body)
			}
			return nil
		})
		if ctx.Err() != nil {
			break
		}
	}
	return g.Wait()
}

// loadPods is load with the pods of a list.
func (st *stage) loadPods(ctx context.Context, v *service, name string, lines []string, c bench.Client, p bench.Plan) (*bench.Result, error) {
	w, err := st.pods(lines)
	if err != nil {
		return nil, err
	}
	p.Client, p.Workload = c, w
	p.WarmUp = 10
	return st.load(ctx, v, name, p)
}
