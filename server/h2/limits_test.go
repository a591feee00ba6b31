package h2

import (
	"bytes"
	"strings"
	"testing"
)

// TestStreams refuses what is beyond the limit, jobs whose stream has ended included.
func TestStreams(t *testing.T) {
	t.Parallel()
	p := meet(t)
	var ids []uint32
	for range 60 { // unfinished
		ids = append(ids, p.open("/"))
	}
	for range 40 { // reset, and at work all the same
		id := p.id()
		p.send(p.post(id, "/job/stubborn", "x"))
		<-p.kit.begun
		p.send(appendReset(nil, id, codeCancel))
	}
	id := p.id()
	p.send(p.post(id, "/", "x"))
	if code := p.expect(frameReset, id).number(); code != codeRefused {
		t.Errorf("refused with code %d", code)
	}
	p.send(frame(frameData, flagEndStream, ids[0], []byte("x")))
	if _, body := p.answer(ids[0]); body != "echo:x" {
		t.Errorf("answered %q", body)
	}
	p.alive()
	close(p.kit.proceed)
	for _, id := range ids[1:] {
		p.send(frame(frameData, flagEndStream, id, []byte("x")))
		p.answer(id)
	}
	p.alive()
}

// TestJobs sheds what is beyond the limit of all connections.
func TestJobs(t *testing.T) {
	t.Parallel()
	p := meet(t, func(c *Config) { c.MaxJobs = 3 })
	for range 3 {
		p.send(p.post(p.id(), "/wait", "x"))
		<-p.kit.begun
	}
	if got := p.ask("/job", "x"); got != "shed" {
		t.Errorf("answered %q", got)
	}
	id := p.open("/", "content-length", "100000")
	if _, body := p.answer(id); body != "shed" {
		t.Errorf("answered %q", body)
	}
	p.send(frame(frameData, 0, id, []byte("the rest")))
	p.alive()
	close(p.kit.proceed)
	for range 3 {
		<-p.kit.ended
	}
	eventually(t, "the places are free", func() bool { return p.server.jobs.Load() == 0 })
	if got := p.ask("/job", "x"); got != "job:x" {
		t.Errorf("answered %q", got)
	}
}

// TestHeaderList answers a request whose list is too long, and goes on with the table that it has left behind.
func TestHeaderList(t *testing.T) {
	t.Parallel()
	p := meet(t)
	for _, more := range [][]string{
		{"x", strings.Repeat("x", 70_000)},
		{"authorization", strings.Repeat("\x01y", 50_000)}, // longer as it is sent
	} {
		id := p.id()
		b := p.head("/", append(more, "last", id2s(id))...)
		send := frame(frameHeaders, 0, id, b[:100])
		for b = b[100:]; len(b) > maxFrame; b = b[maxFrame:] {
			send = append(send, frame(frameContinuation, 0, id, b[:maxFrame])...)
		}
		p.send(send, frame(frameContinuation, flagEndHeaders, id, b), frame(frameData, flagEndStream, id, nil))
		if fields, body := p.answer(id); fields[":status"] != "200" || body != "failed:0" {
			t.Errorf("answered %v %q", fields, body)
		}
		if got := p.ask("/", "x", "last", id2s(id)); got != "echo:x" { // by its place in the table
			t.Errorf("answered %q", got)
		}
	}
}

func id2s(id uint32) string { return strings.Repeat("z", int(id)) }

// TestDead sends what no connection survives.
func TestDead(t *testing.T) {
	t.Parallel()
	type sent func(p *peer) []byte
	repeated := func(n int, b []byte) sent { return func(*peer) []byte { return bytes.Repeat(b, n) } }
	opened := func(b func(p *peer, id uint32) []byte) sent {
		return func(p *peer) []byte { return b(p, p.open("/")) }
	}
	for name, test := range map[string]struct {
		send sent
		code uint32
	}{
		"flood of SETTINGS":      {repeated(2000, appendSettings(nil, settingPush, 0)), codeCalm},
		"flood of empty PING":    {repeated(maxTrifles+100, appendPing(nil, 0, make([]byte, 8))), codeCalm},
		"flood of PING acks":     {repeated(maxTrifles+100, appendPing(nil, flagAck, make([]byte, 8))), codeCalm},
		"flood of PRIORITY":      {repeated(maxTrifles+100, frame(framePriority, 0, 1, make([]byte, 5))), codeCalm},
		"flood of WINDOW_UPDATE": {repeated(maxTrifles+100, appendWindowUpdate(nil, 0, 1)), codeCalm},
		"flood of unknown":       {repeated(maxTrifles+100, frame(77, 0, 0, nil)), codeCalm},
		"flood of GOAWAY":        {repeated(maxTrifles+100, appendGoAway(nil, 0, 0)), codeCalm},
		"flood of empty DATA": {opened(func(_ *peer, id uint32) []byte {
			return bytes.Repeat(frame(frameData, 0, id, nil), maxTrifles+100)
		}), codeCalm},
		"flood of DATA for what has ended": {func(p *peer) []byte {
			p.alive()
			return bytes.Repeat(frame(frameData, 0, 1, []byte("x")), maxTrifles+100)
		}, codeCalm},
		"rapid reset": {func(p *peer) (b []byte) {
			for range maxResets + 100 {
				id := p.id()
				b = append(append(b, frame(frameHeaders, flagEndHeaders, id, p.head("/"))...), appendReset(nil, id, codeCancel)...)
			}
			return b
		}, codeCalm},
		"resets that the client brings about": {func(p *peer) (b []byte) {
			for range maxResets + 100 {
				id := p.id()
				b = append(append(b, frame(frameHeaders, flagEndHeaders, id, p.head("/"))...), appendWindowUpdate(nil, id, 0)...)
			}
			return b
		}, codeCalm},
		"flood of malformed requests": {func(p *peer) (b []byte) {
			for range maxResets + 100 {
				b = append(b, frame(frameHeaders, flagEndHeaders, p.id(), p.fields(":method", "POST"))...)
			}
			return b
		}, codeCalm},
		"flood of CONTINUATION": {func(p *peer) []byte {
			return append(frame(frameHeaders, 0, 1, p.head("/")), bytes.Repeat(frame(frameContinuation, 0, 1, nil), maxFragments)...)
		}, codeCalm},
		"endless CONTINUATION": {func(p *peer) []byte {
			part := frame(frameContinuation, 0, 1, bytes.Repeat(p.fields(":method", "POST"), maxFrame))
			return append(frame(frameHeaders, 0, 1, p.head("/")), bytes.Repeat(part, maxBlock/maxFrame)...)
		}, codeCalm},
		"frame beyond the limit": {func(*peer) []byte { return appendHead(nil, maxFrame+1, frameData, 0, 1) }, codeFrameSize},
		"connection's window overdrawn": {func(p *peer) (b []byte) {
			for range 2 + (8<<20)/(maxFrame*8) {
				id := p.id()
				b = append(b, frame(frameHeaders, flagEndHeaders, id, p.head("/wait", "content-length", "200000"))...)
				b = append(b, bytes.Repeat(frame(frameData, 0, id, make([]byte, maxFrame)), 8)...)
			}
			return b
		}, codeFlowControl},
		"window beyond all windows":  {repeated(2, appendWindowUpdate(nil, 0, maxWindow)), codeFlowControl},
		"setting beyond all windows": {repeated(1, appendSettings(nil, settingInitialWindow, maxWindow+1)), codeFlowControl},
		"setting that opens one beyond all": {opened(func(_ *peer, id uint32) []byte {
			return append(appendWindowUpdate(nil, id, maxWindow-peerWindow), appendSettings(nil, settingInitialWindow, maxWindow)...)
		}), codeFlowControl},
		"table too large":                     {func(*peer) []byte { return frame(frameHeaders, flagEndHeaders, 1, []byte{0x3f, 0xff, 0xff, 0x03}) }, codeCompression},
		"HEADERS on a stream of the server's": {func(p *peer) []byte { return frame(frameHeaders, flagEndHeaders, 2, p.head("/")) }, codeProtocol},
		"a push":                              {repeated(1, frame(framePushPromise, flagEndHeaders, 1, make([]byte, 4))), codeProtocol},
		"padding beyond the frame":            {opened(func(_ *peer, id uint32) []byte { return frame(frameData, flagPadded, id, []byte{9, 1}) }), codeProtocol},
		"block that is not continued": {func(p *peer) []byte {
			return append(frame(frameHeaders, 0, 1, p.head("/")), appendPing(nil, 0, make([]byte, 8))...)
		}, codeProtocol},
		"block that another stream continues": {func(p *peer) []byte {
			return append(frame(frameHeaders, 0, 1, p.head("/")), frame(frameContinuation, 4, 3, nil)...)
		}, codeProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := meet(t)
			p.send(test.send(p))
			p.dead(test.code)
		})
	}
}

// TestPatience has the same frames, and many more of them, in between requests that are answered.
func TestPatience(t *testing.T) {
	t.Parallel()
	p := meet(t)
	for range 1500 {
		id := p.id()
		p.send(bytes.Repeat(appendPing(nil, 0, make([]byte, 8)), 10), p.post(id, "/", "x"), appendWindowUpdate(nil, 0, 1))
		p.answer(id)
		id = p.open("/")
		p.send(appendReset(nil, id, codeCancel))
	}
	p.alive()
}

// TestWrong sends what costs a stream, and the stream alone.
func TestWrong(t *testing.T) {
	t.Parallel()
	p := meet(t)
	for name, test := range map[string]struct {
		head []string // after those of a POST
		flag byte
		then func(id uint32) []byte
		code uint32
	}{
		"body too short":  {[]string{"content-length", "5"}, 0, func(id uint32) []byte { return frame(frameData, flagEndStream, id, []byte("four")) }, codeProtocol},
		"body too long":   {[]string{"content-length", "5"}, 0, func(id uint32) []byte { return frame(frameData, 0, id, []byte("sixsix")) }, codeProtocol},
		"no body":         {[]string{"content-length", "5"}, flagEndStream, nil, codeProtocol},
		"trailers' body":  {[]string{"content-length", "5"}, 0, func(id uint32) []byte { return frame(frameHeaders, flagEndHeaders|flagEndStream, id, nil) }, codeProtocol},
		"endless trailer": {nil, 0, func(id uint32) []byte { return frame(frameHeaders, flagEndHeaders, id, nil) }, codeProtocol},
		"pseudo trailer": {nil, 0, func(id uint32) []byte {
			return frame(frameHeaders, flagEndHeaders|flagEndStream, id, p.fields(":path", "/"))
		}, codeProtocol},
		"large body too short": {[]string{"content-length", "100000"}, 0, func(id uint32) []byte { return frame(frameData, flagEndStream, id, []byte("four")) }, codeProtocol},
		"two lengths":          {[]string{"content-length", "5", "content-length", "6"}, 0, nil, codeProtocol},
		"no length":            {[]string{"content-length", "five"}, 0, nil, codeProtocol},
		"huge length":          {[]string{"content-length", "99999999999999999999"}, 0, nil, codeProtocol},
		"connection":           {[]string{"connection", "close"}, 0, nil, codeProtocol},
		"te":                   {[]string{"te", "gzip"}, 0, nil, codeProtocol},
		"capital":              {[]string{"Accept", "x"}, 0, nil, codeProtocol},
		"line feed":            {[]string{"x", "a\nb"}, 0, nil, codeProtocol},
		"space in a name":      {[]string{"x y", "a"}, 0, nil, codeProtocol},
		"second path":          {[]string{":path", "/x"}, 0, nil, codeProtocol},
		"late pseudo":          {[]string{"x", "y", ":authority", "y"}, 0, nil, codeProtocol},
		"window of nothing":    {nil, 0, func(id uint32) []byte { return appendWindowUpdate(nil, id, 0) }, codeProtocol},
		"window too large":     {nil, 0, func(id uint32) []byte { return appendWindowUpdate(nil, id, maxWindow) }, codeFlowControl},
		"window overdrawn": {[]string{"content-length", "1000000"}, 0, func(id uint32) []byte {
			return bytes.Repeat(frame(frameData, 0, id, make([]byte, maxFrame)), 100)
		}, codeFlowControl},
		"more than all": {nil, flagEndStream, nil, codeClosed},
	} {
		path := "/"
		if name == "more than all" || name == "window overdrawn" {
			path = "/wait"
		}
		id := p.id()
		b := frame(frameHeaders, flagEndHeaders|test.flag, id, p.head(path, test.head...))
		if test.then != nil {
			b = append(b, test.then(id)...)
		}
		if name == "more than all" {
			b = append(b, frame(frameData, 0, id, []byte("x"))...)
		}
		p.send(b)
		if code := p.expect(frameReset, id).number(); code != test.code {
			t.Errorf("%s: reset with code %d, want %d", name, code, test.code)
		}
		p.alive()
	}
}

// TestHeld bounds small bodies that have begun and do not end.
func TestHeld(t *testing.T) {
	t.Parallel()
	p := meet(t)
	part, refused := make([]byte, 16_000), 0
	for range 99 {
		id := p.open("/")
		p.send(frame(frameData, 0, id, part))
	}
	p.send(appendPing(nil, 0, []byte("all done")))
	for {
		e := <-p.events
		if e.kind == framePing {
			break
		}
		if e.kind == frameData && string(e.payload) == "failed:2" {
			refused++
		}
	}
	if held := p.server.held.Load(); refused < 10 || held > 1<<20 || held < 1<<19 {
		t.Errorf("%d were refused, %d bytes are held", refused, held)
	}
	p.alive()
	_ = p.net.Close()
	<-p.served
	if held := p.server.held.Load(); held != 0 {
		t.Errorf("%d bytes are held by nobody", held)
	}
}

// TestPreface hangs up on who speaks something else.
func TestPreface(t *testing.T) {
	t.Parallel()
	for _, send := range []string{
		"GET / HTTP/1.1\r\n\r\n", preface[:10] + "xxxxxxxxxxxxxxxxxxxxx",
		preface + string(appendPing(nil, 0, make([]byte, 8))), preface + string(appendHead(nil, 0, frameSettings, flagAck, 0)),
	} {
		p := connect(t)
		p.listen()
		p.send([]byte(send))
		p.dead(codeProtocol)
	}
}

// TestTables obeys a client that wants a smaller table, or none.
func TestTables(t *testing.T) {
	t.Parallel()
	p := meet(t)
	p.alive()
	p.send(appendSettings(nil, settingTableSize, 0, settingTableSize, tableSize))
	for range 3 {
		id := p.id()
		p.send(p.post(id, "/", "x"))
		e := p.expect(frameHeaders, id)
		if e.fields["content-type"] != "application/json" || bytes.Contains(e.payload, []byte{0x80 | 62}) {
			t.Errorf("the table is used: %v", e)
		}
	}
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for range 1_000_000 {
		if holds() {
			return
		}
	}
	t.Errorf("never: %s", what)
}
