package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/engine"
)

// TestManyLargeBodies sends far more than there is room for. All are answered, and the room is never overdrawn.
func TestManyLargeBodies(t *testing.T) { // not in parallel: it looks at the heap
	const room, size, count = 10 << 20, 3 << 20, 20
	live := func() uint64 {
		heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(heap)
		return heap[0].Value.Uint64()
	}
	var peak atomic.Uint64
	runtime.GC()
	before := live()
	f := start(t, allowAll(), func(_ *fixture, c *Config) {
		c.MaxBody, c.MaxBodies, c.Budget, c.ReadTimeout = room/2, room, time.Minute, time.Minute
	})
	body := padded(size, "a")
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				peak.Store(max(peak.Load(), live()))
				if n := f.Stats().BodyBytes; n > room {
					t.Errorf("%d bytes are taken of %d", n, room)
				}
			}
		}
	})
	var group sync.WaitGroup
	for _, proto := range []string{"h1", "h2"} {
		c := client(t, proto, f.clientTLS(t))
		for range count / 2 {
			group.Go(func() {
				a, err := try(c, request(t, "POST", f.url("/"), body))
				if err != nil || a.status != 200 || !strings.Contains(a.body, `"allowed":true`) {
					t.Errorf("%s: %d %s %v", proto, a.status, a.body, err)
				}
			})
		}
	}
	group.Wait()
	close(done)
	watch.Wait()
	if n := f.Stats().BodyBytes; n != 0 {
		t.Errorf("%d bytes of room are still taken", n)
	}
	if limit := before + 3*room; peak.Load() > limit { // the bodies read, and what the clients hold of them
		t.Errorf("the heap grew by %d MiB, and all bodies together are %d MiB", (peak.Load()-before)>>20, size*count>>20)
	}
}

// TestNoRoom denies a large body that waits longer than its review may take, and lets small ones pass meanwhile.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, proto string) {
		began, finish := make(chan struct{}, 1), make(chan struct{})
		f := start(t, &stub{decide: func(_ context.Context, req *engine.Request, res *engine.Result) {
			if req.Images[0] == "slow" {
				began <- struct{}{}
				<-finish
			}
			res.Outcome = engine.Allow
		}}, func(_ *fixture, c *Config) { c.MaxBody, c.MaxBodies = 4<<20, 4<<20 })
		c := client(t, proto, f.clientTLS(t))
		slow := make(chan answer, 1)
		go func() {
			a, _ := try(c, request(t, "POST", f.url("/"), padded(3<<20, "slow")))
			slow <- a
		}()
		<-began
		for _, adapt := range []func(r string) answer{
			func(r string) answer { return do(t, c, request(t, "POST", f.url("/?timeout=50ms"), r)) },
			func(r string) answer { return do(t, c, chunked(request(t, "POST", f.url("/?timeout=50ms"), r))) },
		} {
			a := adapt(padded(3<<20, "large"))
			if a.status != 200 || !strings.Contains(a.body, `"allowed":false`) || !strings.Contains(a.body, `"reason":"overloaded"`) || a.header.Get("Retry-After") != "" {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
		if a := do(t, c, request(t, "POST", f.url("/"), padded(60_000, "small"))); a.status != 200 {
			t.Errorf("a small one: %d %s", a.status, a.body)
		}
		close(finish)
		if a := <-slow; a.status != 200 || !strings.Contains(a.body, `"allowed":true`) {
			t.Errorf("the slow one: %d %s", a.status, a.body)
		}
		if a := do(t, c, request(t, "POST", f.url("/"), padded(3<<20, "large"))); a.status != 200 {
			t.Errorf("afterwards: %d %s", a.status, a.body)
		}
	})
}

// TestWaitingIsBounded turns the next one away at once when too many wait.
func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	b := newBudget(10)
	if !b.acquire(context.Background(), 10) {
		t.Fatal("no room to begin with")
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	var got atomic.Int64
	for range maxWaiting {
		group.Go(func() {
			if b.acquire(ctx, 1) {
				got.Add(1)
			}
		})
	}
	eventually(t, "all wait", func() bool { return b.waiting.Load() == maxWaiting })
	if b.acquire(context.Background(), 1) {
		t.Error("one too many got room")
	}
	b.release(10)
	eventually(t, "ten got room", func() bool { return got.Load() == 10 })
	cancel()
	group.Wait()
	if b.used.Load() != 10 || b.waiting.Load() != 0 {
		t.Errorf("%d used, %d waiting", b.used.Load(), b.waiting.Load())
	}
}

// TestQuietConnections opens connections that carry nothing. They are ended in time, and are no news.
func TestQuietConnections(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(f *fixture, c *Config) {
		c.HandshakeTimeout, c.ReadTimeout, c.IdleTimeout = 2*time.Second, 500*time.Millisecond, 4*time.Second
	})
	silent, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	probe, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = probe.Close()
	if _, err := silent.Read(make([]byte, 1)); err == nil || err == io.ErrNoProgress {
		t.Errorf("a silent connection: %v", err)
	}
	eventually(t, "the silent one has failed, the probe was abandoned", func() bool {
		st := f.Stats()
		return st.HandshakesFailed == 1 && st.HandshakesAbandoned == 1 && st.ConnectionsOpen["handshake"] == 0
	})

	// A connection kept for later outlives the time that one request may take, and ends with the idle timeout.
	spare := f.rawDial(t, "http/1.1")
	_ = spare.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
	if _, err := spare.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("a spare connection was ended: %v", err)
	}
	_ = spare.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := spare.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a spare connection was not ended properly: %v", err)
	}
	do(t, client(t, "h2", f.clientTLS(t)), request(t, "POST", f.url("/"), reviewOf("a")))
	eventually(t, "all are gone", func() bool { return f.Stats().ConnectionsOpen["h2"]+f.Stats().ConnectionsOpen["h1"] == 0 })
	if got := f.records.lines(""); len(got) > 0 {
		t.Errorf("records:\n%s", strings.Join(got, ""))
	}
}

// TestWrongCallersAreSeldomNews writes down a failed handshake, but not each of a flood.
func TestWrongCallersAreSeldomNews(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll())
	config := f.clientTLS(t)
	config.Certificates = nil
	const calls = 30
	for range calls {
		if c, err := tls.Dial("tcp", f.Addr().String(), config); err == nil {
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		}
	}
	eventually(t, "all have failed", func() bool { return f.Stats().HandshakesFailed == calls })
	if n := len(f.records.lines("TLS handshake failed")); n == 0 || n > calls/2 {
		t.Errorf("%d records of %d failures", n, calls)
	}
}

// TestManyConnections opens more connections from one address than an apiserver does in a burst.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(_ *fixture, c *Config) { c.HandshakeTimeout = time.Minute })
	config := f.clientTLS(t)
	const count = 150
	conns := make([]*tls.Conn, count)
	var group sync.WaitGroup
	for i := range conns {
		group.Go(func() {
			var err error
			if conns[i], err = tls.Dial("tcp", f.Addr().String(), config); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	if t.Failed() {
		return
	}
	eventually(t, "all are open", func() bool { return f.Stats().ConnectionsOpen["h1"] == count })
	if _, err := fmt.Fprintf(conns[0], "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Error(err)
	}
}

// TestConnectionsWait lets those beyond the limit wait for others to go, instead of closing them.
func TestConnectionsWait(t *testing.T) {
	t.Parallel()
	f := prepare(t, allowAll())
	f.slots = make(chan struct{}, 2)
	f.run(t)
	a, b := f.rawDial(t, "http/1.1"), f.rawDial(t, "http/1.1")
	_ = b
	third := make(chan error, 1)
	config := f.clientTLS(t)
	go func() {
		c, err := tls.Dial("tcp", f.Addr().String(), config)
		if err == nil {
			_ = c.Close()
		}
		third <- err
	}()
	eventually(t, "two are open", func() bool { return f.Stats().ConnectionsOpen["h1"] == 2 })
	select {
	case err := <-third:
		t.Errorf("the third did not wait: %v", err)
	default:
	}
	_ = a.Close()
	if err := <-third; err != nil {
		t.Errorf("the third: %v", err)
	}
}
