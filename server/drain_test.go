package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/engine"
)

// TestRestartUnderLoad replaces one server by the next on the same port while reviews go on, over connections that
// are kept and connections that are opened for one review. Not one review may be refused.
func TestRestartUnderLoad(t *testing.T) {
	t.Parallel()
	// A miss that takes a moment, so that there always are reviews in flight.
	decider := &stub{decide: func(ctx context.Context, _ *engine.Request, res *engine.Result) {
		pause(ctx, 3*time.Millisecond)
		res.Outcome, res.Reason = engine.Allow, engine.ReasonPassed
	}}
	first := prepare(t, decider, func(_ *fixture, c *Config) { c.IdleGrace = 2 * time.Second })
	first.run(t)
	address := first.Addr().String()
	config := first.clientTLS(t)

	ctx, stop := context.WithCancel(context.Background())
	var answered [4]atomic.Int64
	var group sync.WaitGroup
	for i, load := range []struct {
		proto string
		fresh bool
	}{{"h1", false}, {"h2", false}, {"h1", true}, {"h2", true}} {
		kept := client(t, load.proto, config)
		for range 2 {
			group.Go(func() {
				for ctx.Err() == nil {
					c := kept
					if load.fresh {
						c = client(t, load.proto, config)
					}
					a, err := try(c, request(t, "POST", "https://"+address+"/?timeout=30s", reviewOf("a")))
					if err != nil || a.status != 200 || !strings.Contains(a.body, `"allowed":true`) {
						t.Errorf("%s, fresh %v: %d %s %v", load.proto, load.fresh, a.status, a.body, err)
						return
					}
					answered[i].Add(1)
					if load.fresh {
						c.CloseIdleConnections()
					}
				}
			})
		}
	}
	progress := func() {
		var seen [4]int64
		for i := range answered {
			seen[i] = answered[i].Load()
		}
		for i := range answered {
			eventually(t, "reviews of each kind", func() bool { return answered[i].Load() >= seen[i]+10 || t.Failed() })
		}
	}
	progress()
	next := prepare(t, decider, func(f *fixture, c *Config) {
		*c = first.config
		c.Addr = address
	})
	next.run(t)
	progress()
	drained := make(chan error, 1)
	go func() { drained <- first.Shutdown(soon(t), 20*time.Millisecond) }()
	progress()
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
	if n := first.Stats().ConnectionsOpen; n["h1"]+n["h2"]+n["handshake"] != 0 {
		t.Errorf("connections left: %v", n)
	}
	progress()
	stop()
	group.Wait()
}

// pause is a wait that ends with its context.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// soon is a context for what ends by itself, and not by its context.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestDrainFinishesReviews lets a review be decided after the drain has begun.
func TestDrainFinishesReviews(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, proto string) {
		began, finish := make(chan struct{}), make(chan struct{})
		f := start(t, &stub{decide: func(_ context.Context, _ *engine.Request, res *engine.Result) {
			close(began)
			<-finish
			res.Outcome = engine.Allow
		}}, func(_ *fixture, c *Config) { c.IdleGrace = time.Hour })
		drained := make(chan error, 1)
		go func() {
			<-began
			go func() { drained <- f.Drain(soon(t)) }()
			eventually(t, "the port left", f.closing.Load)
			if c, err := net.Dial("tcp", f.Addr().String()); err == nil {
				t.Error("the port is open")
				_ = c.Close()
			}
			if !f.Draining() {
				t.Error("not draining")
			}
			close(finish)
		}()
		a := do(t, client(t, proto, f.clientTLS(t)), request(t, "POST", f.url("/"), reviewOf("a")))
		if a.status != 200 || !strings.Contains(a.body, `"allowed":true`) {
			t.Errorf("%d %s", a.status, a.body)
		}
		if proto == "h1" && !a.closes {
			t.Error("no Connection: close")
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// TestDrainIdleH1 keeps an idle connection for one more review.
func TestDrainIdleH1(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(_ *fixture, c *Config) { c.IdleGrace = time.Hour })
	c := f.rawDial(t, "http/1.1")
	br := bufio.NewReader(c)
	send := func() *http.Response {
		t.Helper()
		if err := request(t, "POST", f.url("/"), reviewOf("a")).Write(c); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp
	}
	if resp := send(); resp.Close {
		t.Error("Connection: close before the drain")
	}
	drained := make(chan error, 1)
	go func() { drained <- f.Drain(soon(t)) }()
	eventually(t, "closing", f.closing.Load)
	if resp := send(); !resp.Close {
		t.Error("no Connection: close during the drain")
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestDrainEnds closes what would stay for ever: idle connections after the grace, and the rest with the context.
func TestDrainEnds(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		f := start(t, allowAll(), func(_ *fixture, c *Config) { c.IdleGrace = time.Millisecond })
		f.rawDial(t, "http/1.1")
		f.rawDial(t, "h2")
		if err := f.Drain(soon(t)); err != nil {
			t.Error(err)
		}
	})
	t.Run("busy", func(t *testing.T) {
		t.Parallel()
		began := make(chan struct{})
		f := start(t, &stub{decide: func(ctx context.Context, _ *engine.Request, _ *engine.Result) {
			close(began)
			<-ctx.Done()
		}})
		go func() { _, _ = try(client(t, "h2", f.clientTLS(t)), request(t, "POST", f.url("/"), reviewOf("a"))) }()
		<-began
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if err := f.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain: %v", err)
		}
	})
	t.Run("before listening", func(t *testing.T) {
		t.Parallel()
		f := prepare(t, allowAll())
		if err := f.Drain(soon(t)); err != nil {
			t.Error(err)
		}
		if err := f.Listen(); err == nil {
			t.Error("listens again")
		}
	})
	t.Run("before serving", func(t *testing.T) {
		t.Parallel()
		f := prepare(t, allowAll())
		if err := f.Listen(); err != nil {
			t.Fatal(err)
		}
		if err := f.Shutdown(soon(t), 0); err != nil {
			t.Error(err)
		}
		if err := f.Serve(context.Background()); err == nil {
			t.Error("serves again")
		}
	})
	t.Run("with the context of Serve", func(t *testing.T) {
		t.Parallel()
		f := prepare(t, allowAll())
		if err := f.Listen(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := f.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestSweep fills the queue of a listening socket, and loses nobody in it. New connections are not reset either.
func TestSweep(t *testing.T) {
	t.Parallel()
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const queued = 50
	clients := make([]net.Conn, queued)
	for i := range clients {
		if clients[i], err = net.Dial("tcp", ln.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
	}
	// The next process has the port as well.
	next, err := listen(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	served := 0
	err = sweep(ln, func(c *net.TCPConn) {
		if served++; served == queued/2 { // as when the drain interrupts an accept too late
			_ = ln.SetDeadline(time.Now())
		}
		_, _ = c.Write([]byte{1})
		_ = c.Close()
	})
	if err != nil {
		t.Error(err)
	}
	if served != queued {
		t.Errorf("%d of %d were taken up", served, queued)
	}
	for _, c := range clients {
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Errorf("one who waited: %v", err)
		}
	}
}
