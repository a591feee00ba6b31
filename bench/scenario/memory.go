package scenario

import (
	"context"
	"errors"
	"time"

	"sluice/bench"
)

// memory fills the verdict cache, with digests under a policy that asks no registry, so that verdicts are all there is;
// and then asks for what is in it.
func memory(ctx context.Context, st *stage) error {
	n := pick(st, 1_000_000, 10_000)
	const containers = 100 // a review: it is the cache that is filled, and not the front end that is measured
	v, err := st.serve(ctx, settings{verdicts: n, unverified: true, memoryLimit: "470MiB"})
	if err != nil {
		return err
	}
	defer v.stop()
	idle, err := v.uses(ctx)
	if err != nil {
		return err
	}
	client, err := st.lean(v, "h2", 2, 4)
	if err != nil {
		return err
	}
	defer client.Close()
	st.say("filling it with %d verdicts", n)
	if err := ask(ctx, client, &digests{host: st.registry.state.Host, containers: containers}, n/containers); err != nil {
		return err
	}
	full, err := v.uses(ctx)
	if err != nil {
		return err
	}
	res, err := st.load(ctx, v, "full", bench.Plan{
		Client: client, Workload: &digests{host: st.registry.state.Host, containers: 2, again: uint64(n), seed: st.Seed},
		Schedule: constant(pick(st, 1000.0, 200), pick(st, 8*time.Second, time.Second)),
	})
	if err != nil {
		return err
	}
	expectRight(res)
	verdicts := res.Metrics[`sluice_cache_cost{cache="verdicts"}`].Before
	res.Extra["verdicts"] = verdicts
	res.Extra["misses"] = grown(res, "sluice_reviews_total", `cache="miss"`)
	res.Extra["fill_cpu_us_per_verdict"] = (full.cpu - idle.cpu) * 1e6 / float64(n)
	res.Extra["heap_bytes"] = res.Metrics["go_memstats_heap_alloc_bytes"].Before
	res.Extra["idle_mib"], res.Extra["full_mib"] = idle.mib, full.mib
	if verdicts > 0 {
		res.Extra["bytes_per_verdict"] = (full.mib - idle.mib) * (1 << 20) / verdicts
	}
	st.say("%.1f MiB idle, %.1f MiB with %g verdicts: %.0f bytes each", idle.mib, full.mib, verdicts, res.Extra["bytes_per_verdict"])
	return v.dead()
}

// used is what a process has used and holds.
type used struct {
	cpu float64 // seconds
	mib float64 // resident
}

// uses reads the accounts that the system keeps of the service's process, from where the service passes them on.
func (v *service) uses(ctx context.Context) (used, error) {
	m, err := v.metrics(ctx)
	if err != nil {
		return used{}, err
	}
	u := used{cpu: m["process_cpu_seconds_total"], mib: m["process_resident_memory_bytes"] / (1 << 20)}
	if u.mib == 0 {
		return u, errors.New("the service does not tell what it holds")
	}
	return u, nil
}
