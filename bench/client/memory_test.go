package client

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/bench"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(300*time.Second, 30*time.Second)
		f := func(key string, allowed, ok bool) {
			t.Helper()
			if gotAllowed, gotOK := m.get(key); gotAllowed != allowed || gotOK != ok {
				t.Errorf("%s: %v %v", key, gotAllowed, gotOK)
			}
		}
		m.add("a", true)
		m.add("d", false)
		f("a", true, true)
		f("d", false, true)
		f("x", false, false)
		time.Sleep(30 * time.Second)
		f("d", false, true) // until the moment itself
		time.Sleep(time.Nanosecond)
		f("d", false, false)
		f("a", true, true)
		m.add("a", false) // changes the verdict and its time
		f("a", false, true)
		time.Sleep(31 * time.Second)
		f("a", false, false)
		if len(m.entries) != 0 || m.recent.Len() != 0 {
			t.Error("what is over stays")
		}

		for i := range memorySize {
			m.add(fmt.Sprint(i), true)
		}
		f("0", true, true) // used last now
		m.add("new", true)
		f("0", true, true)
		f("1", false, false)
		f("2", true, true)
		if len(m.entries) != memorySize || m.recent.Len() != memorySize {
			t.Error(len(m.entries), m.recent.Len())
		}
	})
}

// TestCache asks three apiservers in turn, each of which asks the server once.
func TestCache(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	_, reach := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusBadGateway) // no verdict, and not remembered
			return
		}
		allow(w, r)
	}))
	c := open(t, Options{Apiservers: 3, Cache: true}.to(reach))
	for i, want := range []bench.Answer{
		{Status: 502},
		{Status: 200, Allowed: true, Verdict: true},
		{Status: 200, Allowed: true, Verdict: true},
		{Status: 200, Allowed: true, Verdict: true},
		{Allowed: true, Verdict: true, Cached: true},
		{Allowed: true, Verdict: true, Cached: true},
		{Allowed: true, Verdict: true, Cached: true},
	} {
		if a, err := ask(t, c); err != nil || a != want {
			t.Errorf("%d: %+v %v, want %+v", i, a, err, want)
		}
	}
	if n := asked.Load(); n != 4 {
		t.Errorf("the server was asked %d times", n)
	}
	other := &bench.Review{Body: review.Body, Key: "another"}
	if a, err := c.Do(t.Context(), other); err != nil || a.Cached {
		t.Errorf("%+v %v", a, err)
	}
}
