package client

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/bench"
)

// cpu is what this process has used so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkClient is what a review costs the client, with the server in another process: cpu-µs/review is the figure to
// look at.
func BenchmarkClient(b *testing.B) {
	reach := startPeer(b)
	for _, c := range []struct {
		name   string
		o      Options
		flying int
		do     bool
	}{
		{"lean-h2/3x50", Options{Lean: true, Connections: 3, Streams: 50}, 150, false},
		{"lean-h2/1x200", Options{Lean: true, Connections: 1, Streams: 200}, 200, false},
		{"lean-h2/16x1", Options{Lean: true, Connections: 16, Streams: 1}, 16, false},
		{"lean-h2/3x50-do", Options{Lean: true, Connections: 3, Streams: 50}, 150, true},
		{"lean-h1/16", Options{Lean: true, Protocol: "h1", Connections: 16}, 16, false},
		{"lean-h1/16-do", Options{Lean: true, Protocol: "h1", Connections: 16}, 16, true},
		{"apiserver-h2/150", Options{}, 150, true},
		{"apiserver-h1/16", Options{Protocol: "h1"}, 16, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			client := open(b, c.o.to(reach))
			run := func(n int) {
				if !c.do {
					r := &chain{c: client.(bench.Sender), done: make(chan error, c.flying)}
					r.run(b, min(c.flying, n), int64(n))
					return
				}
				var all sync.WaitGroup
				for i := range c.flying {
					all.Go(func() {
						for range n/c.flying + min(1, max(0, n%c.flying-i)) {
							if a, err := client.Do(b.Context(), review); err != nil || !a.Allowed {
								b.Error(a, err)
								return
							}
						}
					})
				}
				all.Wait()
			}
			run(2 * c.flying)
			begin := cpu(b)
			b.ReportAllocs()
			b.ResetTimer()
			run(b.N)
			b.StopTimer()
			b.ReportMetric(float64(cpu(b)-begin)/1e3/float64(b.N), "cpu-µs/review")
			if n := client.Connections(); n.Failed > 0 {
				b.Errorf("%+v", n)
			}
		})
	}
}

func BenchmarkVerdict(b *testing.B) {
	body := []byte(`{"apiVersion":"imagepolicy.k8s.io/v1alpha1","kind":"ImageReview","status":{"allowed":true,"auditAnnotations":{"verdict":"allow","policy":"production-is-signed","digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}}`)
	b.ReportAllocs()
	for b.Loop() {
		verdictOf(body)
	}
}
