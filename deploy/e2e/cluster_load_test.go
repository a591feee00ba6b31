package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// Pods by the hundred. The apiserver's requests to the service share a handful of connections, however many clients there
// are, and none is refused. It is not parallel, since it takes all cores for a while, and other tests have deadlines.
func TestClusterLoad(t *testing.T) {
	c := sharedCluster(t)
	ns, image := c.namespace(t), signed(t).tag("1")
	must(t, c.dryRun(t.Context(), c.client, ns, image)) // the first connection
	reviews := func() float64 { return c.sluice.metric(t, "sluice_reviews_total", `verdict="allow"`) }

	// 200 at once, for good.
	before := reviews()
	create := func(name string) error {
		_, err := c.do(t.Context(), c.client, http.MethodPost, "/api/v1/namespaces/"+ns+"/pods", podManifest(name, image))
		return err
	}
	each(t, 200, 200, func(_, n int) error { return create(fmt.Sprintf("web-%d", n)) })
	if n := reviews() - before; n < 200 {
		t.Errorf("%v reviews for 200 pods", n)
	}
	_, err := c.do(t.Context(), c.client, http.MethodDelete, "/api/v1/namespaces/"+ns+"/pods", "")
	must(t, err)

	// 2,000 that are only tried, so that etcd need not hold them: for the plugin they are as any.
	for _, clients := range []int{50, 200} {
		before := reviews()
		own := make([]*http.Client, clients)
		for n := range own {
			own[n] = c.newClient(t)
		}
		each(t, clients, 2000, func(client, _ int) error { return c.dryRun(t.Context(), own[client], ns, image) })
		if n := reviews() - before; n < 2000 {
			t.Errorf("%v reviews for 2000 pods", n)
		}
	}

	// All that the service has seen since it was started.
	const handful = 10
	all := c.sluice.metric(t, "sluice_connections_accepted_total")
	h1 := c.sluice.metric(t, "sluice_connections_total", `protocol="h1"`)
	if all < 1 || all > handful || h1 != 0 {
		t.Errorf("%v connections were accepted, %v of which speak HTTP/1.1; want at most %d, and none", all, h1, handful)
	}
	t.Logf("%v connections for %v reviews", all, reviews())
	c.sluice.lives(t)
}

// each does something n times in so many goroutines, and fails the test if one of them fails.
func each(t *testing.T, workers, n int, do func(worker, n int) error) {
	t.Helper()
	var (
		next, failed atomic.Int64
		wg           sync.WaitGroup
	)
	for worker := range workers {
		wg.Go(func() {
			for {
				turn := int(next.Add(1)) - 1
				if turn >= n {
					return
				}
				if err := do(worker, turn); err != nil && failed.Add(1) <= 3 {
					t.Errorf("%d: %v", turn, err)
				}
			}
		})
	}
	wg.Wait()
	if failed := failed.Load(); failed > 0 {
		t.Errorf("%d of %d failed", failed, n)
	}
}
