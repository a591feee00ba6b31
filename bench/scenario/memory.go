package scenario

import (
	"context"
	"errors"
	"time"

	"sluice/bench"
)

// memory fills the verdict cache: with digests under a policy that asks no registry, so that verdicts are all there is.
func memory(ctx context.Context, st *stage) error {
	n := pick(st, 1_000_000, 5000)
	v, err := st.serve(ctx, settings{verdicts: 2 * n, unverified: true, memoryLimit: "512MiB"})
	if err != nil {
		return err
	}
	defer v.stop()
	// A hundred images a review, and one stream after the other: it is the cache that is measured here.
	const containers = 100
	w := &digests{host: st.registry.state.Host, containers: containers}
	client, err := st.lean(v, "h2", 2, 4)
	if err != nil {
		return err
	}
	defer client.Close()
	rate := pick(st, 400.0, 100)
	res, err := st.load(ctx, v, "fill", bench.Plan{
		Client: client, Workload: w, Schedule: constant(rate, time.Duration(float64(n)/containers/rate*float64(time.Second))),
	})
	if err != nil {
		return err
	}
	expectRight(res)
	if res.Server == nil {
		return errors.New("this system does not tell what a process holds")
	}
	idle, full := res.Server.RSSBegin, res.Server.RSSEnd
	verdicts := res.Metrics[`sluice_cache_cost{cache="verdicts"}`].After
	res.Extra["rss_idle_bytes"], res.Extra["rss_full_bytes"] = float64(idle), float64(full)
	res.Extra["verdicts"] = verdicts
	res.Extra["heap_in_use_bytes"] = res.Metrics["go_memstats_heap_inuse_bytes"].After
	if verdicts > 0 {
		res.Extra["bytes_per_verdict"] = float64(full-idle) / verdicts
	}
	expect(res, "idle MiB", float64(idle)/(1<<20), 64)
	if !st.Short {
		expect(res, "MiB with a million verdicts", float64(full)/(1<<20), 512)
	}
	st.say("fill: %.1f MiB idle, %.1f MiB with %g verdicts: %.0f bytes each", float64(idle)/(1<<20), float64(full)/(1<<20),
		verdicts, res.Extra["bytes_per_verdict"])
	return nil
}
