package client

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/bench"
)

// burst has n reviews under way at a time, and returns when all are answered. The server answers when all have arrived.
type burst struct {
	size    atomic.Int64
	mu      sync.Mutex
	arrived int64
	release chan struct{}
}

func (b *burst) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	b.mu.Lock()
	release := b.release
	if b.arrived++; b.arrived == b.size.Load() {
		close(release)
		b.arrived, b.release = 0, make(chan struct{})
	}
	b.mu.Unlock()
	<-release
	_, _ = io.WriteString(w, allowedReply)
}

func (b *burst) send(t *testing.T, c bench.Client, n int) {
	t.Helper()
	b.size.Store(int64(n))
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if a, err := ask(t, c); err != nil || !a.Allowed {
				t.Errorf("%+v %v", a, err)
			}
		})
	}
	all.Wait()
}

// serveBursts also counts resumed sessions, which there must not be.
func serveBursts(t *testing.T) (*burst, Options) {
	b := &burst{release: make(chan struct{})}
	_, o := serve(t, b, func(s *httptest.Server) {
		s.TLS = &tls.Config{VerifyConnection: func(state tls.ConnectionState) error {
			if state.DidResume {
				t.Error("a session was resumed")
			}
			return nil
		}}
	})
	return b, o
}

// TestBurstsH1 has bursts of 80: 25 connections stay, and the others are opened anew each time.
func TestBurstsH1(t *testing.T) {
	t.Parallel()
	b, reach := serveBursts(t)
	c := open(t, Options{Protocol: "h1"}.to(reach))
	b.send(t, c, 80)
	if n := c.Connections(); n.Opened != 80 || n.Unused != 0 || n.Handshake <= 0 {
		t.Errorf("%+v after the first 80 reviews at once", n)
	}
	b.send(t, c, 80)
	// While connections are put back, others are being opened: then there may be more of them than were needed.
	if n := c.Connections(); n.Opened < 80+55 || n.Opened > 80+80 || n.Failed != 0 {
		t.Errorf("%+v after twice 80: 25 are kept", n)
	}
}

// TestBurstsH2 has the same with HTTP/2: the first burst may open some connections, of which one is kept.
func TestBurstsH2(t *testing.T) {
	t.Parallel()
	b, reach := serveBursts(t)
	c := open(t, Options{}.to(reach))
	b.send(t, c, 1)
	b.send(t, c, 200)
	b.send(t, c, 200)
	if n := c.Connections(); n.Opened != 1 || n.Unused != 0 {
		t.Errorf("%+v", n)
	}
}

// TestApiserversApart gives each apiserver its own connections.
func TestApiserversApart(t *testing.T) {
	t.Parallel()
	_, reach := serve(t, http.HandlerFunc(allow))
	c := open(t, Options{Apiservers: 3}.to(reach))
	for range 9 {
		if a, err := ask(t, c); err != nil || !a.Allowed {
			t.Fatalf("%+v %v", a, err)
		}
	}
	if n := c.Connections(); n.Opened != 3 || n.Unused != 0 {
		t.Errorf("%+v", n)
	}
}

// TestLeanKeeps has more reviews than a lean client has connections, sent in both ways: all are answered, and no
// connection more than asked for is opened.
func TestLeanKeeps(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"h1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			_, reach := serve(t, http.HandlerFunc(allow))
			o := Options{Lean: true, Protocol: protocol, Connections: 4, Streams: 3}.to(reach)
			c := open(t, o).(bench.Sender)
			for range 8 { // as a runner warms up: one after the other
				if a, err := ask(t, c); err != nil || !a.Allowed {
					t.Fatalf("%+v %v", a, err)
				}
			}
			if n := c.Connections(); n.Opened != 4 {
				t.Errorf("%+v after warming up", n)
			}
			r := newReceiver()
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					for range 4 {
						c.Send(review, time.Now().Add(20*time.Second), r)
						if a, err := ask(t, c); err != nil || !a.Allowed {
							t.Errorf("%+v %v", a, err)
						}
					}
				})
			}
			all.Wait()
			wantAllowed(t, 200, r)
			if n := c.Connections(); n.Opened != 4 || n.Unused != 0 || n.Failed != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// chain sends a review for each answer, until it has sent enough.
type chain struct {
	c    bench.Sender
	left atomic.Int64
	done chan error
}

func (r *chain) Answered(a bench.Answer, err error) {
	switch {
	case err != nil || !a.Allowed:
		r.done <- err
	case r.left.Add(-1) >= 0:
		r.c.Send(review, time.Time{}, r)
	default:
		r.done <- nil
	}
}

// run keeps n reviews under way until left are answered.
func (r *chain) run(t testing.TB, n int, left int64) {
	r.left.Store(left)
	for range n {
		r.Answered(bench.Answer{Allowed: true}, nil)
	}
	for range n {
		if err := <-r.done; err != nil {
			t.Fatal(err)
		}
	}
}

// TestSendFromAnswered sends from the goroutine that reads, as a closed loop does.
func TestSendFromAnswered(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"h1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			_, reach := serve(t, http.HandlerFunc(allow))
			c := open(t, Options{Lean: true, Protocol: protocol, Connections: 2, Streams: 5}.to(reach)).(bench.Sender)
			r := &chain{c: c, done: make(chan error, 100)}
			r.run(t, 30, 500)
		})
	}
}

// TestReconnects asks a server that closes connections after some answers, in the ways that it may.
func TestReconnects(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o Options) {
		var n atomic.Int64
		_, reach := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1)%5 == 0 {
				w.Header().Set("Connection", "close") // GOAWAY in h2
			}
			allow(w, r)
		}))
		o.Connections = 1
		c := open(t, o.to(reach))
		for range 20 {
			if a, err := ask(t, c); err != nil || !a.Allowed {
				t.Fatalf("%+v %v", a, err)
			}
		}
		if n := c.Connections(); n.Opened < 4 || n.Opened > 5 {
			t.Errorf("%+v", n)
		}
	})
}

// TestCanceledBeforehand does not ask at all.
func TestCanceledBeforehand(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o Options) {
		_, reach := serve(t, http.HandlerFunc(allow))
		c := open(t, o.to(reach))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Do(ctx, review); c.Kind(err) != "canceled" {
			t.Error(err)
		}
		if a, err := ask(t, c); err != nil || !a.Allowed {
			t.Errorf("%+v %v", a, err)
		}
	})
}
