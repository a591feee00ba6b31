package h2

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs a test under a clock that moves when everybody waits.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, test)
}

// within tells whether something took as long as a limit, or up to a quarter more.
func within(t *testing.T, what string, took, limit time.Duration) {
	t.Helper()
	if took < limit || took > limit+limit/4 {
		t.Errorf("%s after %v, want %v", what, took, limit)
	}
}

// TestLateBody answers a request whose body does not come, and the connection goes on.
func TestLateBody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := meet(t)
		for _, length := range []string{"", "500", "500000"} {
			begin := time.Now()
			var more []string
			if length != "" {
				more = []string{"content-length", length}
			}
			id := p.open("/", more...)
			p.send(frame(frameData, 0, id, []byte("some")))
			want := "failed:1"
			if length == "500000" {
				want = "error:i/o timeout"
			}
			if _, body := p.answer(id); body != want {
				t.Errorf("%q bytes: answered %q", length, body)
			}
			within(t, "answered", time.Since(begin), 30*time.Second)
			p.send(frame(frameData, flagEndStream, id, []byte("late")))
			p.alive()
		}
		id := p.open("/refused")
		begin := time.Now()
		if fields, _ := p.answer(id); fields[":status"] != "405" {
			t.Errorf("answered %v", fields)
		}
		within(t, "refused", time.Since(begin), 30*time.Second)
		p.alive()
	})
}

// TestIdle ends a connection that carries nothing, but none with a job that takes as long.
func TestIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := meet(t)
		id := p.id()
		p.send(p.post(id, "/wait", "x"))
		time.Sleep(time.Hour)
		p.alive()
		close(p.kit.proceed)
		p.answer(id)
		begin := time.Now()
		p.dead(codeNone)
		within(t, "ended", time.Since(begin), 120*time.Second)

		p = connect(t) // says nothing at all
		begin = time.Now()
		p.listen()
		p.gone()
		within(t, "ended", time.Since(begin), 10*time.Second)
		<-p.served
	})
}

// take reads as many bytes as the server greets with, and what it answers SETTINGS with.
func (p *peer) take() {
	go p.send([]byte(preface), appendSettings(nil))
	if _, err := io.ReadFull(p.net, make([]byte, 40+frameHead)); err != nil {
		p.t.Fatal(err)
	}
}

// TestSlowReader ends a connection whose client takes nothing.
func TestSlowReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := connect(t)
		p.take()
		begin := time.Now()
		go p.send(p.post(1, "/long", "x"))
		err := <-p.served
		within(t, "ended", time.Since(begin), 30*time.Second)
		if err != errSlow {
			t.Errorf("served until %v", err)
		}
	})
}

// TestSlowReaderAtWork ends a connection whose client stops reading while jobs answer. Their places are free before.
func TestSlowReaderAtWork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := connect(t)
		p.take()
		for range 50 {
			p.send(p.post(p.id(), "/wait", "x"))
			<-p.kit.begun
		}
		close(p.kit.proceed)
		synctest.Wait()
		if n := p.server.jobs.Load(); n != 0 {
			t.Errorf("%d jobs wait for the client", n)
		}
		if err := <-p.served; err != errSlow {
			t.Errorf("served until %v", err)
		}
	})
}

// TestWindows makes answers wait for a client that takes them in small pieces, and ends them if it does not.
func TestWindows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := connect(t)
		p.listen()
		p.send([]byte(preface), appendSettings(nil, settingInitialWindow, 0))
		id := p.id()
		p.send(p.post(id, "/", "body"))
		if e := p.expect(frameHeaders, id); e.flags&flagEndStream != 0 {
			t.Errorf("no body: %v", e)
		}
		for _, want := range []string{"e", "ch"} {
			p.send(appendWindowUpdate(nil, id, uint32(len(want))))
			if e := p.expect(frameData, id); string(e.payload) != want {
				t.Errorf("got %v, want %q", e, want)
			}
		}
		// The initial window counts for what is under way: 3 were taken of what is now 5, then of 1, and then of 100.
		p.send(appendSettings(nil, settingInitialWindow, 2))
		if e := p.expect(frameData, id); string(e.payload) != "o:" {
			t.Errorf("got %v", e)
		}
		p.send(appendSettings(nil, settingInitialWindow, 0), appendWindowUpdate(nil, id, 1), appendPing(nil, 0, []byte("not yet!")))
		synctest.Wait()
		p.send(appendSettings(nil, settingInitialWindow, 100))
		if e := p.expect(frameData, id); string(e.payload) != "body" || e.flags&flagEndStream == 0 {
			t.Errorf("got %v", e)
		}

		// The connection's window is shared.
		first, second := p.id(), p.id()
		p.send(appendSettings(nil, settingInitialWindow, 90_000), p.post(first, "/long", ""), p.post(second, "/long", ""))
		synctest.Wait()
		got := map[uint32]int{}
		sum := func() {
			synctest.Wait()
			for len(p.events) > 0 {
				if e := <-p.events; e.kind == frameData {
					got[e.id] += len(e.payload)
				}
			}
		}
		sum()
		if total := got[first] + got[second]; total != initialWindow-len("echo:body") {
			t.Errorf("%v were sent, of a connection's window of %d", got, initialWindow)
		}
		p.send(appendWindowUpdate(nil, 0, 1<<20))
		sum()
		if got[first] != 90_000 || got[second] != 90_000 {
			t.Errorf("%v were sent, of windows of 90,000", got)
		}
		begin := time.Now()
		p.expect(frameReset, first)
		within(t, "reset", time.Since(begin), 30*time.Second)
		p.alive()
		if n := p.server.unsent.Load(); n != 0 {
			t.Errorf("%d bytes are left", n)
		}
	})
}

// TestRequestGoesOn goes on with requests whose answer waits for the client.
func TestRequestGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := connect(t)
		p.listen()
		p.send([]byte(preface), appendSettings(nil, settingInitialWindow, 0))
		for _, trailers := range []bool{false, true} {
			id := p.open("/refused")
			end := frame(frameData, flagEndStream, id, []byte("end"))
			if trailers {
				end = frame(frameHeaders, flagEndHeaders|flagEndStream, id, p.fields("x", "y"))
			}
			p.send(bytes.Repeat(frame(frameData, 0, id, make([]byte, maxFrame)), 5))
			p.expect(frameHeaders, id)
			p.send(frame(frameData, 0, id, []byte("more")), end)
			synctest.Wait()
			p.send(appendWindowUpdate(nil, id, 100))
			if e := p.expect(frameData, id); string(e.payload) != "refused" || e.flags&flagEndStream == 0 {
				t.Errorf("got %v", e)
			}
			synctest.Wait()
			for len(p.events) > 0 {
				if e := <-p.events; e.id == id {
					t.Errorf("answered again: %v", e)
				}
			}
		}
		p.send(appendSettings(nil, settingInitialWindow, 100))
		p.alive()
		if n := p.server.unsent.Load(); n != 0 {
			t.Errorf("%d bytes are left", n)
		}
	})
}

// TestUnsent ends a connection that asks for more than it takes.
func TestUnsent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := connect(t)
		p.listen()
		p.send([]byte(preface), appendSettings(nil, settingInitialWindow, 0))
		for range 60 {
			p.send(p.post(p.id(), "/long", ""))
		}
		p.gone()
		if err := <-p.served; err != errUnsent {
			t.Errorf("served until %v", err)
		}
		if n := p.server.unsent.Load(); n != 0 {
			t.Errorf("%d bytes are left", n)
		}
	})
}

// TestWaitingIsForgotten resets, again and again, answers that wait for the connection's window.
func TestWaitingIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := meet(t)
		p.send(p.post(p.id(), "/", strings.Repeat("x", 60_000)))
		p.send(appendSettings(nil, settingInitialWindow, 1<<20))
		var c *conn
		for c = range p.server.conns {
		}
		c.mu.Lock()
		c.sendWindow = 0
		c.mu.Unlock()
		for range 3000 {
			id := p.id()
			p.send(p.post(id, "/", "x"), appendReset(nil, id, codeCancel))
		}
		synctest.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := len(c.waiting); n > 100 {
			t.Errorf("%d streams that have ended wait", n)
		}
	})
}

// TestGoAway serves what was sent before the client could know, and then ends.
func TestGoAway(t *testing.T) {
	for _, answers := range []bool{true, false} {
		t.Run(map[bool]string{true: "answered", false: "unanswered"}[answers], func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := meet(t)
				p.alive()
				id := p.id()
				p.send(p.post(id, "/wait", "x"))
				<-p.kit.begun
				p.server.GoAway()
				p.server.GoAway()
				if e := p.expect(frameGoAway, 0); e.number() != maxID || binary.BigEndian.Uint32(e.payload[4:]) != codeNone {
					t.Errorf("first %v", e)
				}
				ping := p.expect(framePing, 0)
				meanwhile := p.id()
				p.send(p.post(meanwhile, "/", "meanwhile"))
				if _, body := p.answer(meanwhile); body != "echo:meanwhile" {
					t.Errorf("answered %q", body)
				}
				begin := time.Now()
				if answers {
					p.send(appendPing(nil, flagAck, ping.payload))
				}
				if e := p.expect(frameGoAway, 0); e.number() != meanwhile || binary.BigEndian.Uint32(e.payload[4:]) != codeNone {
					t.Errorf("then %v", e)
				}
				if took := time.Since(begin); answers == (took > 0) || took > callTime {
					t.Errorf("after %v", took)
				}
				late := p.id()
				p.send(p.post(late, "/", "late"), appendPing(nil, 0, make([]byte, 8)))
				synctest.Wait()
				close(p.kit.proceed)
				if _, body := p.answer(id); body != "job:x" {
					t.Errorf("answered %q", body)
				}
				for e := range p.events {
					if e.id == late {
						t.Errorf("served, although it was too late: %v", e)
					}
				}
				if err := <-p.served; err != nil {
					t.Errorf("served until %v", err)
				}
			})
		})
	}
}

// TestGoAwayIdle ends a connection without requests, also one that has not said anything.
func TestGoAwayIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, greeted := range []bool{true, false} {
			p := connect(t)
			p.listen()
			if greeted {
				p.send([]byte(preface), appendSettings(nil))
				p.alive()
			}
			synctest.Wait()
			p.server.GoAway()
			p.gone()
			if err := <-p.served; err != nil {
				t.Errorf("served until %v", err)
			}
		}
	})
}

// TestMemory gives the large buffer of a busy connection back when it is idle.
func TestMemory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := meet(t)
		if got := p.ask("/", strings.Repeat("x", 60_000)); len(got) != 60_005 {
			t.Errorf("answered %d bytes", len(got))
		}
		var c *conn
		for c = range p.server.conns {
		}
		roomy := func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.roomy
		}
		p.send(bytes.Repeat(appendPing(nil, 0, make([]byte, 8)), 1000))
		synctest.Wait()
		if !roomy() {
			t.Error("no large buffer while it is busy")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if roomy() || c.out != nil {
			t.Error("buffers are kept")
		}
		p.alive()
	})
}
