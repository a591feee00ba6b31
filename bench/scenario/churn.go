package scenario

import (
	"context"
	"fmt"
	"time"

	"sluice/bench"
	"sluice/bench/schedule"
	"sluice/bench/workload"
)

// churn is a busy cluster: pods of images that run already, one review in a hundred with an image that nobody has seen
// before; then Deployments are rolled out, then nodes are drained.
func churn(ctx context.Context, st *stage) error {
	lines, err := st.known(ctx, pick(st, images, 50))
	if err != nil {
		return err
	}
	const share = 0.01
	calm := constant(pick(st, 500.0, 100), pick(st, 10*time.Second, time.Second))
	rollouts := pick(st, 5, 1)
	each := pick(st, 4*time.Second, time.Second)
	rollout, err := schedule.Named("rollout", pick(st, 400, 40), each)
	if err != nil {
		return err
	}
	drain, err := schedule.Named("node-drain", pick(st, 500, 50), each)
	if err != nil {
		return err
	}
	loads := []struct {
		name string
		when schedule.Schedule
	}{{"steady", calm}, {"rollouts", repeat(rollout, rollouts)}, {"node-drains", repeat(drain, rollouts)}}

	// The images that come up are made beforehand: somewhat more of them than chance will ask for.
	expected := 0
	for _, l := range loads {
		expected += l.when.Reviews()
	}
	if err := st.newcomers(ctx, int(2*share*float64(expected))+100); err != nil {
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
	client, err := st.apiserver(ctx, v, "h2")
	if err != nil {
		return err
	}
	defer client.Close()
	// One workload for all loads, so that what was new in one is not new again in the next.
	w, err := st.list(lines, workload.Options{
		Zipf: zipf, Containers: 1, MaxContainers: 3, Unique: share, UniqueImage: st.registry.state.Host + "/" + newcomersFolder + "/app-0:v{n}",
	})
	if err != nil {
		return err
	}
	for _, l := range loads {
		res, err := st.load(ctx, v, l.name, bench.Plan{Client: client, Workload: w, Schedule: l.when})
		if err != nil {
			return err
		}
		expectRight(res)
		res.Extra["misses"] = grown(res, "sluice_reviews_total", `cache="miss"`)
		res.Extra["verifications"] = grown(res, "sluice_verifications_total")
	}
	return nil
}

const newcomersFolder = "new"

// newcomers makes signed images new/app-0:v1, v2 and so on.
func (st *stage) newcomers(ctx context.Context, n int) error {
	_, err := st.registry.do(ctx, order{Fill: n + 1, Folder: newcomersFolder, Signed: true, OneRepo: true})
	if err != nil {
		return fmt.Errorf("new images: %w", err)
	}
	return nil
}

func repeat(s schedule.Schedule, times int) (all schedule.Schedule) {
	for range times {
		all = append(all, s...)
	}
	return all
}
