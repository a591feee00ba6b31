package h2

import (
	"bytes"
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2/hpack"
)

// TestTrailersTooLate has a request answered in the middle of its trailers.
func TestTrailersTooLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := meet(t)
		id := p.open("/")
		trailers := p.fields("x", "y")
		p.send(frame(frameHeaders, flagEndStream, id, trailers[:1]))
		if _, body := p.answer(id); body != "failed:1" {
			t.Errorf("answered %q", body)
		}
		p.send(frame(frameContinuation, flagEndHeaders, id, trailers[1:]))
		p.alive()
		if got := p.ask("/", "x", "x", "y"); got != "echo:x" { // by the entry that the trailers have made
			t.Errorf("answered %q", got)
		}
	})
}

// TestSlowReaderIdle ends a connection whose client does not take what only time has brought about.
func TestSlowReaderIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := connect(t)
		p.take()
		p.send(frame(frameHeaders, flagEndHeaders, 1, p.head("/")))
		begin := time.Now()
		if err := <-p.served; err != errSlow {
			t.Errorf("served until %v", err)
		}
		within(t, "ended", time.Since(begin), 60*time.Second)
	})
}

// TestWindowKept has bodies fail in each way there is, far more of them than the connection's window could hold.
func TestWindowKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := meet(t, func(c *Config) { c.ConnWindow = 1 << 20 })
		chunk := frame(frameData, 0, 0, make([]byte, 10_000))
		on := func(id uint32) []byte {
			b := bytes.Clone(chunk)
			b[7], b[8] = byte(id>>8), byte(id)
			return b
		}
		for range 12 {
			id := p.open("/wait", "content-length", "500000") // its job reads nothing for now
			<-p.kit.begun
			time.Sleep(35 * time.Second) // too late for more
			for range 10 {
				p.send(on(id))
			}
			p.send(appendReset(nil, id, codeCancel))
			<-p.kit.ended

			id = p.open("/", "content-length", "500000")
			<-p.kit.begun
			for range 10 {
				p.send(on(id))
			}
			p.send(appendReset(nil, id, codeCancel))
			for range 10 { // on a stream that has ended
				p.send(on(id))
			}
			id = p.open("/", "content-length", "5")
			for range 10 { // more than was announced, and then more for a stream that was reset
				p.send(on(id))
			}
		}
		synctest.Wait()
		p.alive()
	})
}

// TestAnsweredAlready sends more of requests that have been answered, while their answers wait for a window.
func TestAnsweredAlready(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := connect(t, func(c *Config) { c.WriteTimeout = time.Hour })
		p.listen()
		p.send([]byte(preface), appendSettings(nil, settingInitialWindow, 0))
		var ids []uint32
		for _, path := range []string{"/refused", "/refused", "/", "/"} {
			id := p.open(path)
			p.send(frame(frameData, 0, id, []byte("x")))
			ids = append(ids, id)
		}
		time.Sleep(40 * time.Second) // all of them are too late, and answered
		for i, id := range ids {
			p.send(frame(frameData, 0, id, make([]byte, 10_000)))
			if i%2 == 0 {
				p.send(frame(frameHeaders, flagEndHeaders|flagEndStream, id, p.fields("x", "y")))
			} else {
				p.send(frame(frameData, flagEndStream, id, []byte("x")))
			}
		}
		p.send(appendSettings(nil, settingInitialWindow, peerWindow))
		heads, bodies := map[uint32]int{}, map[uint32]string{}
		synctest.Wait()
		for len(p.events) > 0 {
			switch e := <-p.events; e.kind {
			case frameHeaders:
				heads[e.id]++
			case frameData:
				bodies[e.id] += string(e.payload)
			}
		}
		for i, id := range ids {
			if want := []string{"refused", "failed:1"}[i/2]; heads[id] != 1 || bodies[id] != want {
				t.Errorf("%d answers, %q, want one %q", heads[id], bodies[id], want)
			}
		}
		if n := p.server.unsent.Load(); n != 0 {
			t.Errorf("%d bytes are unsent", n)
		}
		p.alive()
	})
}

// TestTableBeforeContinue says that the table is smaller before anything else, as RFC 7541, section 4.2 has it.
func TestTableBeforeContinue(t *testing.T) {
	t.Parallel()
	p := meet(t)
	p.alive()
	p.send(appendSettings(nil, settingTableSize, 0))
	id := p.open("/", "expect", "100-continue")
	if e := p.expect(frameHeaders, id); e.fields[":status"] != "100" || e.payload[0] != 0x20 {
		t.Errorf("not asked: %v", e)
	}
	p.send(frame(frameData, flagEndStream, id, []byte("x")))
	if e := p.expect(frameHeaders, id); e.payload[0] == 0x20 {
		t.Errorf("said again: %v", e)
	}
	p.alive()
}

// TestLargeHeads has many requests with large headers under way, none of which may be kept without being counted.
func TestLargeHeads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := connect(t, func(c *Config) { c.MaxHeld = 200_000 })
		p.listen()
		p.send([]byte(preface), appendSettings(nil, settingInitialWindow, 0))
		large := strings.Repeat("x", 15_000)
		open := func(path string) {
			p.send(frame(frameHeaders, flagEndHeaders, p.id(), p.head(path, "authorization", large)))
		}
		for range 40 { // half of them are answered, and the answers not taken
			open("/refused")
			open("/")
		}
		synctest.Wait()
		var most int64
		for c := range p.server.conns {
			c.mu.Lock()
			for _, s := range c.streams {
				most += int64(s.request.size())
			}
			c.mu.Unlock()
		}
		if most > 200_000+freeHeld || most < 100_000 {
			t.Errorf("%d bytes of headers are kept", most)
		}
		time.Sleep(2 * time.Minute) // all of them are too late
		if n := p.server.held.Load(); n != 0 {
			t.Errorf("%d bytes are held by nobody", n)
		}
		p.send(appendSettings(nil, settingInitialWindow, peerWindow))
		p.alive()
	})
}

// TestSlidingWindows ends a connection that has the windows of many streams moved time and again.
func TestSlidingWindows(t *testing.T) {
	t.Parallel()
	p := meet(t, func(c *Config) { c.MaxStreams = 1000 })
	for range 1000 {
		p.open("/")
	}
	for i := range 90 { // a tenth of the frames that would be too many without streams
		p.send(appendSettings(nil, settingInitialWindow, uint32(peerWindow+i)))
	}
	p.dead(codeCalm)
}

// deaf is a connection to a client that stops reading.
type deaf struct {
	net.Conn
	stopped chan struct{}
	ended   context.Context
	end     context.CancelFunc
}

func (d *deaf) Write(b []byte) (int, error) {
	select {
	case <-d.stopped:
		<-d.ended.Done()
		return 0, os.ErrDeadlineExceeded
	default:
		return d.Conn.Write(b)
	}
}

func (d *deaf) SetDeadline(t time.Time) error {
	d.end()
	return d.Conn.SetDeadline(t)
}

// TestUnsentJobs ends a connection that does not take what its jobs have to say.
func TestUnsentJobs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := net.Pipe()
		d := &deaf{Conn: far, stopped: make(chan struct{})}
		d.ended, d.end = context.WithCancel(t.Context())
		p := &peer{t: t, net: near, kit: newKit(), served: make(chan error, 1), next: 1, events: make(chan event, 100_000)}
		p.encoder = hpack.NewEncoder(&p.block)
		go func() { p.served <- New(limits()).Serve(t.Context(), d, p.kit) }()
		p.listen()
		p.send([]byte(preface), appendSettings(nil, settingInitialWindow, peerWindow), appendWindowUpdate(nil, 0, 1<<30))
		for range 90 {
			p.send(p.post(p.id(), "/wait", strings.Repeat("x", 60_000)))
			<-p.kit.begun
		}
		begin := time.Now()
		close(d.stopped)
		close(p.kit.proceed)
		if err := <-p.served; err != errUnsent || time.Since(begin) > 0 {
			t.Errorf("served until %v, for %v", err, time.Since(begin))
		}
	})
}

// TestUnsentOfOthers lets a client take its time that has little waiting, whatever others have, and ends one with more.
func TestUnsentOfOthers(t *testing.T) {
	t.Parallel()
	p := connect(t)
	p.listen()
	p.send([]byte(preface), appendSettings(nil, settingInitialWindow, 0))
	p.server.unsent.Add(allUnsent)
	id := p.id()
	p.send(p.post(id, "/", "x"))
	p.expect(frameHeaders, id)
	p.send(appendWindowUpdate(nil, id, 100))
	if e := p.expect(frameData, id); string(e.payload) != "echo:x" {
		t.Errorf("got %v", e)
	}
	p.send(p.post(p.id(), "/long", "x"))
	if err := <-p.served; err != errUnsent {
		t.Errorf("served until %v", err)
	}
}
