package h2

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
)

// TestAnswers asks for each kind of answer.
func TestAnswers(t *testing.T) {
	t.Parallel()
	p := meet(t)
	for _, body := range []string{"", "a", strings.Repeat("b", 16<<10), strings.Repeat("c", 64<<10)} {
		if got := p.ask("/", body); got != "echo:"+body {
			t.Errorf("%d bytes: answered %.100q", len(body), got)
		}
		if got := p.ask("/job", body); got != "job:"+body {
			t.Errorf("%d bytes as a job: answered %.100q", len(body), got)
		}
	}
	if got := p.ask("/job", strings.Repeat("d", 200_000)); got != "read:200000" {
		t.Errorf("a large body: %q", got)
	}
	if got := p.ask("/empty", "x"); got != "" {
		t.Errorf("an empty answer: %q", got)
	}
	id := p.id()
	p.send(p.post(id, "/refused", "x"))
	if fields, body := p.answer(id); fields[":status"] != "405" || fields["allow"] != "POST" || body != "refused" {
		t.Errorf("refused with %v %q", fields, body)
	}
	id = p.id()
	p.send(frame(frameHeaders, flagEndHeaders|flagEndStream, id, p.fields(":method", "HEAD", ":scheme", "https", ":path", "/")))
	if fields, body := p.answer(id); fields[":status"] != "200" || body != "" || fields["content-length"] != "5" {
		t.Errorf("HEAD: %v %q", fields, body)
	}
	p.alive()
	p.kit.mu.Lock()
	defer p.kit.mu.Unlock()
	for i, under := range p.kit.active {
		if under != (i%2 == 0) {
			t.Errorf("was active %v", p.kit.active)
			break
		}
	}
}

// TestFraming sends one request in every way that the protocol allows.
func TestFraming(t *testing.T) {
	t.Parallel()
	p := meet(t)
	padded := func(payload string, n int) []byte {
		return []byte(string(rune(n)) + payload + strings.Repeat("\x00", n))
	}
	for name, send := range map[string]func(id uint32){
		"in bytes": func(id uint32) {
			for _, b := range p.post(id, "/", "body") {
				p.send([]byte{b})
			}
		},
		"with padding": func(id uint32) {
			p.send(frame(frameHeaders, flagEndHeaders|flagPadded, id, padded(string(p.head("/")), 100)),
				frame(frameData, flagPadded, id, padded("bo", 100)), frame(frameData, flagPadded|flagEndStream, id, padded("dy", 0)))
		},
		"with a priority": func(id uint32) {
			p.send(frame(frameHeaders, flagEndHeaders|flagPriority, id, append([]byte{0, 0, 0, 99, 1}, p.head("/")...)),
				frame(framePriority, 0, id, []byte{0, 0, 0, 99, 1}), frame(frameData, flagEndStream, id, []byte("body")))
		},
		"continued": func(id uint32) {
			b := p.head("/")
			p.send(frame(frameHeaders, 0, id, b[:1]), frame(frameContinuation, 0, id, nil), frame(frameContinuation, 0, id, b[1:2]),
				frame(frameContinuation, flagEndHeaders, id, b[2:]), frame(frameData, flagEndStream, id, []byte("body")))
		},
		"with trailers": func(id uint32) {
			p.send(frame(frameHeaders, flagEndHeaders, id, p.head("/")), frame(frameData, 0, id, []byte("body")),
				frame(frameHeaders, flagEndHeaders|flagEndStream, id, p.fields("x", "y")))
		},
		"with an empty end": func(id uint32) {
			p.send(frame(frameHeaders, flagEndHeaders, id, p.head("/", "content-length", "4")), frame(frameData, 0, id, []byte("body")),
				frame(frameData, flagEndStream, id, nil))
		},
		"with unknown frames": func(id uint32) {
			p.send(frame(99, 0xff, id, []byte("x")), p.post(id, "/", "body"), frame(98, 0, 0, nil))
		},
	} {
		id := p.id()
		send(id)
		if _, body := p.answer(id); body != "echo:body" {
			t.Errorf("%s: %q", name, body)
		}
	}
	// A client that waits to be asked for the body.
	id := p.open("/", "expect", "100-continue")
	if e := p.expect(frameHeaders, id); e.fields[":status"] != "100" || e.flags&flagEndStream != 0 {
		t.Errorf("not asked: %v", e)
	}
	p.send(frame(frameData, flagEndStream, id, []byte("x")))
	if _, body := p.answer(id); body != "echo:x" {
		t.Errorf("answered %q", body)
	}
}

// TestSameHeaders sends the same header block time and again, with others in between that change what it means.
func TestSameHeaders(t *testing.T) {
	t.Parallel()
	p := meet(t)
	for i := range 20 {
		p.alive()
		if got := p.ask("/", strings.Repeat("x", i)); got != "echo:"+strings.Repeat("x", i) {
			t.Errorf("answered %q", got)
		}
		if i%5 == 0 {
			id := p.id()
			p.send(p.post(id, "/refused/"+strconv.Itoa(i), ""))
			if fields, _ := p.answer(id); fields[":status"] != "405" {
				t.Errorf("answered %v", fields)
			}
		}
	}
}

// TestInterleaved has many requests under way at once, and their parts mixed.
func TestInterleaved(t *testing.T) {
	t.Parallel()
	p := meet(t)
	var ids []uint32
	for i := range 90 {
		ids = append(ids, p.open([]string{"/", "/job", "/wait"}[i%3]))
	}
	for round := range 4 {
		for _, id := range ids {
			end := byte(0)
			if round == 3 {
				end = flagEndStream
			}
			p.send(frame(frameData, end, id, []byte(strconv.Itoa(int(id))+",")))
		}
	}
	close(p.kit.proceed)
	got := map[uint32]string{}
	for ended := 0; ended < len(ids); {
		e := <-p.events
		if e.kind == frameData {
			got[e.id] += string(e.payload)
			ended += int(e.flags & flagEndStream)
		}
	}
	for i, id := range ids {
		want := []string{"echo:", "job:", "job:"}[i%3] + strings.Repeat(strconv.Itoa(int(id))+",", 4)
		if got[id] != want {
			t.Errorf("stream %d: %q, want %q", id, got[id], want)
		}
	}
}

// TestLargeBody lets 17 MB through windows of 256 KiB, which the server opens as they are read.
func TestLargeBody(t *testing.T) {
	t.Parallel()
	for _, announced := range []bool{true, false} {
		p := meet(t)
		const size = 17_000_000
		var more []string
		if announced {
			more = []string{"content-length", strconv.Itoa(size)}
		}
		id := p.open("/", more...)
		stream, conn := 256<<10, 8<<20
		for left := size; left > 0; {
			for min(stream, conn) < maxFrame {
				switch e := <-p.events; {
				case e.kind == frameWindowUpdate && e.id == id:
					stream += int(e.number())
				case e.kind == frameWindowUpdate && len(e.payload) == 4 && e.number() < 1<<22: // not the one that comes first
					conn += int(e.number())
				}
			}
			n, end := min(left, maxFrame), byte(0)
			if left -= n; left == 0 {
				end = flagEndStream
			}
			stream, conn = stream-n, conn-n
			p.send(frame(frameData, end, id, make([]byte, n)))
		}
		if _, body := p.answer(id); body != "read:17000000" {
			t.Errorf("answered %q", body)
		}
		p.alive()
	}
}

// TestCancelled ends the context of a job whose stream is reset, or whose connection ends.
func TestCancelled(t *testing.T) {
	t.Parallel()
	p := meet(t)
	id := p.id()
	p.send(p.post(id, "/wait", "x"))
	<-p.kit.begun
	p.send(appendReset(nil, id, codeCancel))
	if err := <-p.kit.ended; err == nil {
		t.Error("the job was not told")
	}
	p.alive()
	p.send(p.post(p.id(), "/wait", "x"))
	p.open("/", "content-length", "100000")
	<-p.kit.begun
	<-p.kit.begun
	_ = p.net.Close()
	if err := <-p.kit.ended; err == nil {
		t.Error("the job was not told")
	}
	if err := <-p.served; err != nil {
		t.Errorf("served until %v", err)
	}
	if s := p.server; s.jobs.Load() != 0 || s.held.Load() != 0 || s.unsent.Load() != 0 || len(s.conns) != 0 {
		t.Errorf("%d jobs, %d held, %d unsent, %d connections are left", s.jobs.Load(), s.held.Load(), s.unsent.Load(), len(s.conns))
	}
}

// TestPanic ends the connection, and nothing else.
func TestPanic(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/panic", "/job/panic"} {
		p := meet(t)
		p.send(p.post(p.id(), path, "x"))
		p.gone()
		var fault *Panic
		if err := <-p.served; !errors.As(err, &fault) || fault.Value != "a fault" || !strings.Contains(string(fault.Stack), "harness_test.go") {
			t.Errorf("%s: served until %v", path, err)
		}
		if n := p.server.jobs.Load(); n != 0 {
			t.Errorf("%d jobs are left", n)
		}
	}
}

// TestActive is under way from a request's first frame until its answer was written, and not a moment less: whoever ends
// idle connections must not lose it.
func TestActive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := connect(t)
		p.take()
		state := func() bool {
			synctest.Wait()
			p.kit.mu.Lock()
			defer p.kit.mu.Unlock()
			return len(p.kit.active) > 0 && p.kit.active[len(p.kit.active)-1]
		}
		if state() {
			t.Error("active without a request")
		}
		p.send(frame(frameHeaders, flagEndHeaders, 1, p.head("/")))
		if !state() {
			t.Error("idle with half a request")
		}
		p.send(frame(frameData, flagEndStream, 1, []byte("x")))
		if !state() {
			t.Error("idle before the answer was taken")
		}
		p.listen()
		if state() {
			t.Error("active after all")
		}
	})
}
