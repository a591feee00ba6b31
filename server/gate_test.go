package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestGate lets in as many as there are places, in their order.
func TestGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{free: 2}
		ctx := t.Context()
		for range 2 {
			if err := g.enter(ctx, fresh); err != nil {
				t.Fatal(err)
			}
		}
		var mu sync.Mutex
		var order []string
		wait := func(name string, queue int) {
			go func() {
				if err := g.enter(ctx, queue); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			}()
			synctest.Wait()
		}
		late, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		given := make(chan error, 1)
		go func() { given <- g.enter(late, begun) }()
		wait("fresh 1", fresh)
		wait("fresh 2", fresh)
		wait("begun 1", begun)
		wait("begun 2", begun)
		if n := g.waiting.Load(); n != 5 || len(order) != 0 {
			t.Fatalf("%d wait, and in came %q", n, order)
		}
		if err := <-given; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waited too long: %v", err)
		}
		for range 4 {
			g.leave()
			synctest.Wait()
		}
		if want := []string{"begun 1", "begun 2", "fresh 1", "fresh 2"}; !slices.Equal(order, want) {
			t.Errorf("in came %q, want %q", order, want)
		}
		g.leave()
		g.leave()
		if g.free != 2 || g.waiting.Load() != 0 {
			t.Errorf("%d places are free, and %d wait", g.free, g.waiting.Load())
		}
	})
}

// TestGateLosesNoPlace gives up waiting at the very moment at which the turn has come.
func TestGateLosesNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		ctx, cancel := context.WithCancel(t.Context())
		entered := make(chan error, 1)
		go func() { entered <- g.enter(ctx, fresh) }()
		synctest.Wait()
		g.mu.Lock()
		cancel() // which is what wakes the other; but it needs the lock
		g.pass()
		g.mu.Unlock()
		if err := <-entered; !errors.Is(err, context.Canceled) {
			t.Errorf("entered: %v", err)
		}
		if g.free != 1 {
			t.Errorf("%d places are free", g.free)
		}
	})
}

// places are how many places a fixture's gate has while nobody shakes hands.
func (f *fixture) places() int {
	f.gate.mu.Lock()
	defer f.gate.mu.Unlock()
	return f.gate.free
}

// storm connects n callers at once, each of whom sends a review over HTTP/1.1. What each got is sent on the channel.
func (f *fixture) storm(t *testing.T, n int) <-chan error {
	config := f.clientTLS(t)
	config.NextProtos = []string{"http/1.1"}
	ended := make(chan error, n)
	for range n {
		go func() { ended <- f.oneReview(config) }()
	}
	return ended
}

func (f *fixture) oneReview(config *tls.Config) error {
	c, err := tls.Dial("tcp", f.Addr().String(), config)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write(rawH1(reviewOf("a"))); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != 200 || !strings.Contains(string(b), `"allowed":true`)) {
		err = errors.New(resp.Status + " " + string(b))
	}
	return err
}

// TestHandshakesAreBounded has every handshake stop twice where it computes, before the server's part and behind the
// verification of the caller's.
func TestHandshakesAreBounded(t *testing.T) {
	t.Parallel()
	f := prepare(t, allowAll())
	places, callers := f.places(), f.places()+20
	var inside, most, first, second atomic.Int64
	closed := make(chan struct{})
	stop := func(passed *atomic.Int64) {
		n := inside.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-closed
		inside.Add(-1)
		passed.Add(1)
	}
	f.tlsConfig.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		stop(&first)
		config := f.credentials.current.Load().config.Clone()
		config.VerifyConnection = func(tls.ConnectionState) error {
			stop(&second)
			return nil
		}
		return config, nil
	}
	f.run(t)
	ended := f.storm(t, callers)
	eventually(t, "everyone at the gate", func() bool { return f.Stats().HandshakesWaiting == int64(callers-places) })
	close(closed)
	for range callers {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if n := int64(callers); first.Load() != n || second.Load() != n {
		t.Errorf("%d and %d stops, want %d", first.Load(), second.Load(), n)
	}
	if most.Load() != int64(places) {
		t.Errorf("%d handshakes computed at once, with %d places", most.Load(), places)
	}
	if f.places() != places || f.Stats().HandshakesWaiting != 0 {
		t.Errorf("%d places of %d are free, %d wait", f.places(), places, f.Stats().HandshakesWaiting)
	}
}

// TestSilentCallersHoldNoPlace has callers who say nothing, only some of what they should, or do not answer.
func TestSilentCallersHoldNoPlace(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll())
	places := f.places()
	for range places + 5 {
		for _, say := range []string{"", "\x16\x03\x01", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
			c, err := net.Dial("tcp", f.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, say); err != nil {
				t.Fatal(err)
			}
		}
		c, err := net.Dial("tcp", f.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// One who sends a whole hello, and then reads but says no more.
		config := f.clientTLS(t)
		config.ServerName = "127.0.0.1"
		halfway := make(chan error, 1)
		go func() { halfway <- tls.Client(&mute{Conn: c}, config).Handshake() }()
		if err := <-halfway; !errors.Is(err, errMute) {
			t.Fatal(err)
		}
	}
	if err := <-f.storm(t, 1); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	eventually(t, "all places free", func() bool { return f.places() == places })
	if n := f.Stats().ConnectionsOpen["handshake"]; n != int64(4*(places+5)) {
		t.Errorf("%d handshakes are under way", n)
	}
}

// TestWritingHoldsNoPlace writes more than the caller takes.
func TestWritingHoldsNoPlace(t *testing.T) {
	t.Parallel()
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	tcp, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	g := &gate{free: 1}
	l := &line{TCPConn: tcp}
	l.begin(t.Context(), g)
	if _, err := near.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Read(make([]byte, 5)); n != 5 || err != nil || !l.held {
		t.Fatalf("%d %v, has a place: %v", n, err, l.held)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := l.Write(make([]byte, 16<<20))
		wrote <- err
	}()
	if err := g.enter(soon(t), fresh); err != nil {
		t.Error(err)
	}
	select {
	case err := <-wrote:
		t.Errorf("all was written: %v", err)
	default:
	}
	_ = tcp.Close()
	if err := <-wrote; err == nil {
		t.Error("all was written")
	}
}

// mute is a connection over which a caller says one thing only.
type mute struct {
	net.Conn
	spoken bool
}

var errMute = errors.New("says no more")

func (m *mute) Write(b []byte) (int, error) {
	if m.spoken {
		return 0, errMute
	}
	m.spoken = true
	return m.Conn.Write(b)
}

// closeGate takes all places, until the function that it returns is called.
func (f *fixture) closeGate(t *testing.T) (open func()) {
	t.Helper()
	n := f.places()
	for range n {
		if err := f.gate.enter(t.Context(), begun); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for range n {
			f.gate.leave()
		}
	}
}

// TestWaitingEnds lets handshakes wait for longer than a handshake may take, while a connection of before is served.
func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, proto string) {
		f := start(t, allowAll(), func(_ *fixture, c *Config) { c.HandshakeTimeout = 3 * time.Second })
		kept := client(t, proto, f.clientTLS(t))
		do(t, kept, request(t, "POST", f.url("/"), reviewOf("a")))
		open := f.closeGate(t)
		ended := f.storm(t, 3)
		eventually(t, "three at the gate", func() bool { return f.Stats().HandshakesWaiting == 3 })
		if a := do(t, kept, request(t, "POST", f.url("/"), reviewOf("a"))); a.status != 200 {
			t.Errorf("a connection of before: %d", a.status)
		}
		for range 3 {
			if err := <-ended; err == nil {
				t.Error("came in through a closed gate")
			}
		}
		if st := f.Stats(); st.HandshakesWaiting != 0 || st.HandshakesFailed != 3 || st.Handshakes != 1 {
			t.Errorf("%d wait, %d failed, %d succeeded", st.HandshakesWaiting, st.HandshakesFailed, st.Handshakes)
		}
		open()
		if err := <-f.storm(t, 1); err != nil {
			t.Errorf("after that: %v", err)
		}
	})
}

// TestCloseEndsWaiting ends a server at whose gate there are callers.
func TestCloseEndsWaiting(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(_ *fixture, c *Config) { c.HandshakeTimeout = time.Hour })
	open := f.closeGate(t)
	defer open()
	ended := f.storm(t, 3)
	eventually(t, "three at the gate", func() bool { return f.Stats().HandshakesWaiting == 3 })
	f.Close()
	for range 3 {
		if err := <-ended; err == nil {
			t.Error("came in through a closed gate")
		}
	}
	eventually(t, "nobody left", func() bool { st := f.Stats(); return st.HandshakesWaiting == 0 && st.ConnectionsOpen["handshake"] == 0 })
}

// TestDrainDuringStorm drains while callers are at the gate. They have connected, so that each must get its answer.
func TestDrainDuringStorm(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(_ *fixture, c *Config) { c.IdleGrace = time.Hour })
	const callers = 40
	open := f.closeGate(t)
	ended := f.storm(t, callers)
	eventually(t, "everyone at the gate", func() bool { return f.Stats().HandshakesWaiting == callers })
	drained := make(chan error, 1)
	go func() { drained <- f.Drain(soon(t)) }()
	eventually(t, "the drain", f.closing.Load)
	open()
	for range callers {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
}

// TestStorm connects many callers at once, under the limits as they are by default.
func TestStorm(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll())
	const callers = 150
	ended := f.storm(t, callers)
	for range callers {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if n := f.Stats().Handshakes; n != callers {
		t.Errorf("%d handshakes", n)
	}
}
