package scenario

import (
	"context"
	"fmt"
	"time"

	"sluice/bench"
	"sluice/bench/schedule"
)

// latency is what a registry in the same region takes to answer: without any, no two requests would be in flight.
const latency = 5 * time.Millisecond

// maxInFlight is how many requests the service's default allows itself at a registry: 64, and some that it has taken back
// and the registry has not noticed yet.
const maxInFlight = 64 + 16

// cold is a service that has to find out, while others ask what it knows.
func cold(ctx context.Context, st *stage) error {
	lines, err := st.known(ctx, pick(st, images, 50))
	if err != nil {
		return err
	}
	if _, err := st.registry.do(ctx, order{Latency: latency}); err != nil {
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
	if err := st.identical(ctx, v); err != nil {
		return err
	}
	return st.distinct(ctx, v, lines)
}

// identical asks about one image that nobody has asked for yet, in many reviews at once.
func (st *stage) identical(ctx context.Context, v *service) error {
	line, err := st.fresh(ctx, "identical", 1)
	if err != nil {
		return err
	}
	if _, err := st.registry.do(ctx, order{Reset: true}); err != nil {
		return err
	}
	// By default an apiserver has 600 requests under way at most, all kinds together.
	client, err := st.apiservers(ctx, v, "h2", 10)
	if err != nil {
		return err
	}
	defer client.Close()
	w, err := st.each(line)
	if err != nil {
		return err
	}
	res, err := st.load(ctx, v, "identical", bench.Plan{
		Client: client, Workload: w, Schedule: atOnce(pick(st, 5000, 500)),
	})
	if err != nil {
		return err
	}
	state, err := st.registry.do(ctx, order{})
	if err != nil {
		return err
	}
	verified := grown(res, "sluice_verifications_total")
	res.Extra["verifications"], res.Extra["registry_requests"] = verified, float64(state.Requests)
	expectRight(res)
	expect(res, "verifications", verified, 1)
	st.say("identical: %g verification, %d requests to the registry", verified, state.Requests)
	return nil
}

// distinct asks about as many images that nobody has asked for yet, in as many reviews at once, beside a steady load of
// hits.
func (st *stage) distinct(ctx context.Context, v *service, lines []string) error {
	neighbour, err := st.serve(ctx, settings{})
	if err != nil {
		return err
	}
	defer neighbour.stop()
	return st.median("p99_ratio_undisturbed", func(round int) (*bench.Result, error) {
		return st.distinctOnce(ctx, v, neighbour, lines, fmt.Sprintf("distinct-%d", round))
	})
}

func (st *stage) distinctOnce(ctx context.Context, v, neighbour *service, lines []string, folder string) (*bench.Result, error) {
	n := pick(st, 1000, 100)
	fresh, err := st.fresh(ctx, folder, n)
	if err != nil {
		return nil, err
	}
	var burst *bench.Result
	misses := func(target *service) (func(context.Context) error, func(), error) {
		client, err := st.apiserver(ctx, target, "h2")
		if err != nil {
			return nil, nil, err
		}
		w, err := st.each(fresh)
		if err != nil {
			client.Close()
			return nil, nil, err
		}
		return func(ctx context.Context) (err error) {
			burst, err = st.measure(ctx, target, "distinct", bench.Plan{
				Client: client, Workload: w, Schedule: atOnce(n), Progress: func(bench.Progress) {},
			})
			return err
		}, client.Close, nil
	}
	hits := steady{rate: pick(st, 500.0, 200), length: pick(st, 4*time.Second, time.Second), at: pick(st, 500*time.Millisecond, 200*time.Millisecond)}
	before, err := st.beside(ctx, v, "hits-undisturbed", lines, hits, nil)
	if err != nil {
		return nil, err
	}
	elsewhere, closeElsewhere, err := misses(neighbour)
	if err != nil {
		return nil, err
	}
	defer closeElsewhere()
	control, err := st.beside(ctx, v, "hits-beside-neighbour", lines, hits, elsewhere)
	if err != nil {
		return nil, err
	}
	here, closeHere, err := misses(v)
	if err != nil {
		return nil, err
	}
	defer closeHere()
	if _, err := st.registry.do(ctx, order{Reset: true}); err != nil {
		return nil, err
	}
	during, err := st.beside(ctx, v, "hits", lines, hits, here)
	if err != nil {
		return nil, err
	}
	state, err := st.registry.do(ctx, order{})
	if err != nil {
		return nil, err
	}
	compare(during, "undisturbed", before, 99)
	compare(during, "neighbour", control, 99)
	st.keep(burst)
	if a, b := before.Server, during.Server; a != nil && b != nil {
		// What the load of hits costs by itself is taken off; making connections to the registry is part of it.
		burst.Extra["cpu_us_per_cold_review"] = float64(b.User+b.System-a.User-a.System) / 1000 / float64(n)
	}
	burst.Extra["registry_requests"] = float64(state.Requests)
	burst.Extra["registry_in_flight_max"] = float64(state.MostAtOnce)
	burst.Extra["verifications"] = grown(burst, "sluice_verifications_total")
	expectRight(burst)
	expect(burst, "requests in flight to the registry", float64(state.MostAtOnce), maxInFlight)
	st.say("distinct: %d requests to the registry, %d at once", state.Requests, state.MostAtOnce)
	return during, v.dead()
}

// atOnce is so many reviews at one moment.
func atOnce(n int) schedule.Schedule {
	return schedule.Schedule{{Burst: n, Duration: 100 * time.Millisecond}}
}
