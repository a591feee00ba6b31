//go:build !race

package client

import (
	"context"
	"testing"
	"time"

	"sluice/bench"
)

// TestLeanAlloc sends reviews with deadlines to a server in another process. crypto/tls allocates 24 bytes for each record
// that it reads, and nothing else is allocated. In HTTP/2 a record has up to all of the twenty answers.
func TestLeanAlloc(t *testing.T) {
	reach := startPeer(t)
	for name, o := range map[string]Options{
		"h1": {Lean: true, Protocol: "h1", Connections: 2},
		"h2": {Lean: true, Connections: 2, Streams: 10},
	} {
		c := open(t, o.to(reach)).(bench.Sender)
		r := newReceiver()
		send := func() {
			for range 20 {
				c.Send(review, time.Now().Add(time.Minute), r)
			}
			for range 20 {
				<-r.answers
				if err := <-r.errs; err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 10 {
			send()
		}
		if n := testing.AllocsPerRun(100, send); n > 20 {
			t.Errorf("%s: %v allocations for 20 reviews", name, n)
		}
		one := func() {
			if a, err := c.Do(context.Background(), review); err != nil || !a.Allowed {
				t.Fatal(a, err)
			}
		}
		if n := testing.AllocsPerRun(200, one); n > 1 {
			t.Errorf("%s, waiting: %v allocations", name, n)
		}
	}
}

func TestVerdictAllocsNone(t *testing.T) {
	body := []byte(`{"apiVersion":"imagepolicy.k8s.io/v1alpha1","kind":"ImageReview","status":{"allowed":true,"reason":"\"yes\"","auditAnnotations":{"a":"b"}}}`)
	if n := testing.AllocsPerRun(100, func() {
		if allowed, ok := verdictOf(body); !allowed || !ok {
			t.Fatal("no verdict")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
