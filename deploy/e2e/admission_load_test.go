package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// Pods by the hundred, pinned and judged. The requests of both webhooks share a handful of connections.
func TestAdmissionLoad(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	i := w.signed[forPin]
	ns := w.namespace(t)
	answered := func(door string) float64 {
		return w.service.metric(t, "sluice_door_reviews_total", `door="`+door+`"`, `verdict="allow"`)
	}
	check := func(n int, do func()) {
		t.Helper()
		mutated, validated := answered("mutate"), answered("validate")
		do()
		if m, v := answered("mutate")-mutated, answered("validate")-validated; m < float64(n) || v < float64(n) {
			t.Errorf("%v pods were pinned and %v judged, want %d", m, v, n)
		}
	}
	// 200 at once, for good.
	check(200, func() {
		each(t, 200, 200, func(_, n int) error {
			_, err := w.do(t.Context(), w.client, http.MethodPost, podsOf(ns), podManifest(fmt.Sprintf("web-%d", n), i.tag("1")))
			return err
		})
	})
	for _, n := range []int{0, 99, 199} {
		w.read(t, fmt.Sprintf("%s/web-%d", podsOf(ns), n)).has(t, i.pinned("1"))
	}
	_, err := w.do(t.Context(), w.client, http.MethodDelete, podsOf(ns), "")
	must(t, err)
	// 2,000 that are only tried.
	const clients = 100
	own := make([]*http.Client, clients)
	for n := range own {
		own[n] = w.newClient(t)
	}
	check(2000, func() {
		each(t, clients, 2000, func(client, _ int) error {
			return w.dryRun(t.Context(), own[client], ns, i.tag("1"), signed(t).tag("1"))
		})
	})

	// All that the service has seen, for this test and those beside it.
	const handful = 10
	all := w.service.metric(t, "sluice_connections_accepted_total")
	h1 := w.service.metric(t, "sluice_connections_total", `protocol="h1"`)
	if all < 1 || all > handful || h1 != 0 {
		t.Errorf("%v connections were accepted, %v of which speak HTTP/1.1; want at most %d, and none", all, h1, handful)
	}
	t.Logf("%v connections for %v pinned and %v judged", all, answered("mutate"), answered("validate"))
	w.service.lives(t)
}
