package pullsecret

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneRequestIsForAllWhoWait(t *testing.T) {
	t.Parallel()
	a := newAPI()
	a.secret("shop", "x", "u")
	l := start(t, a, nil)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if got := who(l.load(t, "shop", "", "x")); got != "u" {
				t.Error(got)
			}
		})
	}
	all.Wait()
	a.wantRequests(t, "shop/secrets/x")
}

func TestAFloodOfNamespacesIsAFewRequestsAtATime(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		a.hook = func(string) { time.Sleep(time.Second) }
		l := offline(t, a, ca)
		const floods = 4
		var all sync.WaitGroup
		for i := range floods * maxLoads {
			all.Go(func() { l.load(t, fmt.Sprint("ns-", i), "") })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		for i := range 1000 { // which don't wait for so long
			all.Go(func() { l.Load(ctx, fmt.Sprint("late-", i), "", nil) })
		}
		for range floods {
			synctest.Wait()
			if n := len(a.requests()); n != maxLoads {
				t.Errorf("%d requests at a time, want %d", n, maxLoads)
			}
			time.Sleep(time.Second)
		}
		all.Wait()
		a.wantRequests(t)
		if s := l.Stats(); s.Failures+s.Failed != 0 || l.logged.Len() > 0 {
			t.Errorf("that nobody waits is no failure: %+v, %s", s, l.logged)
		}
	})
}

// TestANamespaceKeepsNoOtherWaiting: pods of one name their secrets in ever other ways.
func TestANamespaceKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		a.secret("shop", "good", "u")
		a.hook = func(path string) {
			if strings.Contains(path, "/hog/") {
				time.Sleep(time.Second)
			}
		}
		l := offline(t, a, ca)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		for i := range 4 * maxLoads {
			all.Go(func() { l.Load(ctx, "hog", "", []string{fmt.Sprint("x", i)}) })
		}
		synctest.Wait()
		if n := len(a.requests()); n != maxOfOne {
			t.Errorf("%d requests at a time, want %d", n, maxOfOne)
		}
		begun := time.Now()
		if got := who(l.load(t, "shop", "", "good")); got != "u" || time.Since(begun) > 0 {
			t.Errorf("%s after %s", got, time.Since(begun))
		}
		all.Wait()
		time.Sleep(time.Second) // until the API has answered to nobody
		l.turns.mu.Lock()
		defer l.turns.mu.Unlock()
		if n := len(l.turns.all); n != 0 {
			t.Errorf("%d namespaces are kept", n)
		}
	})
}

func TestWhoLeavesIsNoFailure(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		a.hook = func(string) { time.Sleep(time.Second) }
		l := offline(t, a, ca)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if access := l.Load(ctx, "shop", "", []string{"x"}); access != nil {
			t.Error(access)
		}
		synctest.Wait()
		if s := l.Stats(); s.Requests != 1 || s.Failures+s.Failed != 0 || l.logged.Len() > 0 {
			t.Errorf("%+v, %s", s, l.logged)
		}
		time.Sleep(time.Second) // until the API has answered to nobody
	})
}
