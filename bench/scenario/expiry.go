package scenario

import (
	"context"
	"time"

	"sluice/bench"
)

// hotImages is how many there are when each of them is asked for several times in any half second.
const hotImages = 20

// expiry compares a load on images whose verdicts and tags end every few seconds with the same load on ones that last.
// The images are hot: each is asked for many times before its entries end. The two take turns, on two services that run
// side by side, so that what else the machine does hits both.
func expiry(ctx context.Context, st *stage) error {
	lines, err := st.known(ctx, hotImages)
	if err != nil {
		return err
	}
	if _, err := st.registry.do(ctx, order{Latency: latency}); err != nil {
		return err
	}
	ttl := pick(st, 4*time.Second, 3*time.Second)
	lasting, err := st.serve(ctx, settings{})
	if err != nil {
		return err
	}
	defer lasting.stop()
	ending, err := st.serve(ctx, settings{allowTTL: ttl, denyTTL: ttl, tagTTL: ttl})
	if err != nil {
		return err
	}
	defer ending.stop()
	plan := bench.Plan{Schedule: constant(pick(st, 1000.0, 200), pick(st, 12*time.Second, 4*time.Second))}
	return st.median("p99.9_ratio_lasting", func(int) (*bench.Result, error) {
		reference, err := st.hot(ctx, lasting, "lasting", lines, plan)
		if err != nil {
			return nil, err
		}
		if _, err := st.registry.do(ctx, order{Reset: true}); err != nil {
			return nil, err
		}
		res, err := st.hot(ctx, ending, "ending", lines, plan)
		if err != nil {
			return nil, err
		}
		state, err := st.registry.do(ctx, order{})
		if err != nil {
			return nil, err
		}
		res.Extra["registry_requests"] = float64(state.Requests)
		res.Extra["ttls"] = plan.Schedule.Duration().Seconds() / ttl.Seconds()
		compare(res, "lasting", reference, 99)
		compare(res, "lasting", reference, 99.9)
		st.say("ending: %g of %d reviews were not answered from the cache", res.Extra["misses"], res.Counts.Sent)
		return res, nil
	})
}

// hot is one load on a service that has just been asked about each line.
func (st *stage) hot(ctx context.Context, v *service, name string, lines []string, p bench.Plan) (*bench.Result, error) {
	if err := st.fill(ctx, v, lines); err != nil {
		return nil, err
	}
	client, err := st.apiserver(ctx, v, "h2")
	if err != nil {
		return nil, err
	}
	defer client.Close()
	res, err := st.loadPods(ctx, v, name, lines, client, p)
	if err != nil {
		return nil, err
	}
	expectRight(res)
	res.Extra["misses"] = grown(res, "sluice_reviews_total", `cache="miss"`)
	return res, nil
}
