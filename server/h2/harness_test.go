package h2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// kit is a Handler for tests. What a path begins with says how it is answered.
type kit struct {
	long int // bytes of an answer at /long

	mu     sync.Mutex // guards the following
	active []bool
	failed []Failure

	begun   chan string   // told the path of a job that has begun
	proceed chan struct{} // jobs at /wait return when it is closed, or their context ends
	ended   chan error    // told what ended the context of such a job, or nil
}

func newKit() *kit {
	return &kit{long: 100_000, begun: make(chan string, 10_000), proceed: make(chan struct{}), ended: make(chan error, 10_000)}
}

func (k *kit) Head(r *Request) bool { return !strings.HasPrefix(r.Path, "/refused") }

func (k *kit) Refuse(*Request, []byte) Reply {
	return Reply{Status: 405, Allow: "POST", Body: []byte("refused")}
}

func (k *kit) Small(r *Request, body, dst []byte) (Reply, Job) {
	switch {
	case strings.HasPrefix(r.Path, "/panic"):
		panic("a fault")
	case strings.HasPrefix(r.Path, "/wait"), strings.HasPrefix(r.Path, "/job"):
		return Reply{}, &kitJob{k, *r, bytes.Clone(body)}
	case strings.HasPrefix(r.Path, "/long"):
		return Reply{Status: 200, Body: bytes.Repeat([]byte("x"), k.long)}, nil
	case strings.HasPrefix(r.Path, "/empty"):
		return Reply{Status: 200}, nil
	}
	return Reply{Status: 200, Body: append(append(dst, "echo:"...), body...)}, nil
}

func (k *kit) Large(r *Request) Job { return &kitJob{k, *r, nil} }

func (k *kit) Fail(_ *Request, why Failure, dst []byte) Reply {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = append(k.failed, why)
	return Reply{Status: 200, Body: append(append(dst, "failed:"...), '0'+byte(why))}
}

func (k *kit) Active(under bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.active = append(k.active, under)
}

type kitJob struct {
	kit     *kit
	request Request
	body    []byte
}

func (j *kitJob) Run(ctx context.Context, body io.Reader) Reply {
	j.kit.begun <- j.request.Path
	if strings.HasPrefix(j.request.Path, "/job/panic") {
		panic("a fault")
	}
	if strings.HasPrefix(j.request.Path, "/job/stubborn") {
		<-j.kit.proceed
	}
	if strings.HasPrefix(j.request.Path, "/wait") {
		select {
		case <-j.kit.proceed:
			j.kit.ended <- nil
		case <-ctx.Done():
			j.kit.ended <- ctx.Err()
		}
	}
	if body != nil {
		n, err := io.Copy(io.Discard, body)
		if err != nil {
			return Reply{Status: 200, Body: []byte("error:" + err.Error())}
		}
		return Reply{Status: 200, Body: []byte("read:" + strconv.FormatInt(n, 10))}
	}
	return Reply{Status: 200, Body: append([]byte("job:"), j.body...)}
}

func (j *kitJob) Shed() Reply { return Reply{Status: 200, Body: []byte("shed")} }

func (j *kitJob) Close() {}

// limits are those of the tests, unless they say otherwise.
func limits() Config {
	return Config{
		MaxStreams: 100, MaxJobs: 1000, SmallBody: 64 << 10, MaxHeld: 1 << 20, StreamWindow: 256 << 10, ConnWindow: 8 << 20,
		PrefaceTimeout: 10 * time.Second, BodyTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 120 * time.Second,
	}
}

// event is a frame that the server sent.
type event struct {
	kind, flags byte
	id          uint32
	payload     []byte
	fields      map[string]string // of HEADERS
}

func (e event) String() string {
	return fmt.Sprintf("frame %d, flags %#x, stream %d, %q %v", e.kind, e.flags, e.id, e.payload[:min(len(e.payload), 200)], e.fields)
}

func (e event) number() uint32 { return binary.BigEndian.Uint32(e.payload) }

// peer is a client that can say anything.
type peer struct {
	t      testing.TB
	net    net.Conn
	server *Server
	kit    *kit
	served chan error

	encoder *hpack.Encoder
	block   bytes.Buffer
	next    uint32
	events  chan event // closed when the server has hung up
}

// connect serves a connection, and leaves it to the test to say anything.
func connect(t testing.TB, adapt ...func(*Config)) *peer {
	t.Helper()
	config := limits()
	for _, f := range adapt {
		f(&config)
	}
	p := &peer{t: t, server: New(config), kit: newKit(), served: make(chan error, 1), next: 1, events: make(chan event, 100_000)}
	var far net.Conn
	p.net, far = net.Pipe()
	p.encoder = hpack.NewEncoder(&p.block)
	go func() { p.served <- p.server.Serve(context.Background(), far, p.kit) }()
	t.Cleanup(func() { _ = p.net.Close() })
	return p
}

// peerWindow is how much of an answer a peer takes at once, if it has met the server.
const peerWindow = 1 << 20

// meet is connect, and all that comes before the first request.
func meet(t testing.TB, adapt ...func(*Config)) *peer {
	t.Helper()
	p := connect(t, adapt...)
	p.listen()
	p.send([]byte(preface), appendSettings(nil, settingInitialWindow, peerWindow), appendWindowUpdate(nil, 0, 1<<30))
	return p
}

// listen takes note of what the server sends. To begin later is to be a slow reader.
func (p *peer) listen() {
	go func() {
		defer close(p.events)
		decoder := hpack.NewDecoder(tableSize, nil)
		for {
			head := make([]byte, frameHead)
			if _, err := io.ReadFull(p.net, head); err != nil {
				return
			}
			e := event{kind: head[3], flags: head[4], id: binary.BigEndian.Uint32(head[5:])}
			e.payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
			if _, err := io.ReadFull(p.net, e.payload); err != nil {
				return
			}
			if e.kind == frameHeaders {
				fields, err := decoder.DecodeFull(e.payload)
				if err != nil {
					p.t.Errorf("a header block: %v", err)
				}
				e.fields = map[string]string{}
				for _, f := range fields {
					e.fields[f.Name] = f.Value
				}
			}
			p.events <- e
		}
	}()
}

// send writes all of it at once, in a read of the server's or several. The server may have hung up.
func (p *peer) send(parts ...[]byte) {
	_, _ = p.net.Write(bytes.Join(parts, nil))
}

func frame(kind, flags byte, id uint32, payload []byte) []byte {
	return append(appendHead(nil, len(payload), kind, flags, id), payload...)
}

// fields encodes a header block.
func (p *peer) fields(pairs ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = p.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return bytes.Clone(p.block.Bytes())
}

// head is the header block of a POST.
func (p *peer) head(path string, more ...string) []byte {
	return p.fields(append([]string{":method", "POST", ":scheme", "https", ":authority", "x", ":path", path}, more...)...)
}

// open sends a request without an end, and returns its stream.
func (p *peer) open(path string, more ...string) uint32 {
	id := p.id()
	p.send(frame(frameHeaders, flagEndHeaders, id, p.head(path, more...)))
	return id
}

func (p *peer) id() uint32 {
	p.next += 2
	return p.next - 2
}

// post is the bytes of a whole request.
func (p *peer) post(id uint32, path, body string, more ...string) []byte {
	b := frame(frameHeaders, flagEndHeaders, id, p.head(path, append([]string{"content-length", strconv.Itoa(len(body))}, more...)...))
	for len(body) > maxFrame {
		b = append(b, frame(frameData, 0, id, []byte(body[:maxFrame]))...)
		body = body[maxFrame:]
	}
	return append(b, frame(frameData, flagEndStream, id, []byte(body))...)
}

// expect returns the next frame of a kind, for a stream, and skips the others.
func (p *peer) expect(kind byte, id uint32) event {
	p.t.Helper()
	late := time.After(time.Hour / 2) // in a bubble; elsewhere the test's own limit is sooner
	for {
		select {
		case e, ok := <-p.events:
			switch {
			case !ok:
				p.t.Fatalf("the server has hung up; expected frame %d on stream %d", kind, id)
			case e.kind == kind && e.id == id && (e.flags&flagAck == 0 || kind != frameSettings && kind != framePing):
				return e
			case e.kind == frameGoAway && kind != frameGoAway:
				p.t.Fatalf("expected frame %d on stream %d, got %v", kind, id, e)
			case e.kind == frameReset && e.id == id && kind != frameReset:
				p.t.Fatalf("expected frame %d on stream %d, got %v", kind, id, e)
			}
		case <-late:
			p.t.Fatalf("never: frame %d on stream %d", kind, id)
		}
	}
}

// answer is all of what a stream gets.
func (p *peer) answer(id uint32) (fields map[string]string, body string) {
	p.t.Helper()
	e := p.expect(frameHeaders, id)
	for fields = e.fields; e.flags&flagEndStream == 0; {
		e = p.expect(frameData, id)
		body += string(e.payload)
	}
	if n := fields["content-length"]; n != strconv.Itoa(len(body)) && len(body) > 0 || fields["content-type"] != "application/json" {
		p.t.Errorf("a body of %d bytes is announced as %v", len(body), fields)
	}
	return fields, body
}

// ask sends a request and returns the body of its answer.
func (p *peer) ask(path, body string, more ...string) string {
	p.t.Helper()
	id := p.id()
	p.send(p.post(id, path, body, more...))
	_, got := p.answer(id)
	return got
}

// alive tells that the connection still serves.
func (p *peer) alive() {
	p.t.Helper()
	if got := p.ask("/", "alive"); got != "echo:alive" {
		p.t.Errorf("answered %q", got)
	}
}

// dead expects GOAWAY with a code, and the end.
func (p *peer) dead(code uint32) {
	p.t.Helper()
	if got := binary.BigEndian.Uint32(p.expect(frameGoAway, 0).payload[4:]); got != code {
		p.t.Errorf("gone away with code %d, want %d", got, code)
	}
	p.gone()
	err := <-p.served
	var ours *Error
	if code != codeInternal && code != codeNone && (!errors.As(err, &ours) || ours.Code != code) {
		p.t.Errorf("served until %v", err)
	}
}

// gone expects that the server hangs up.
func (p *peer) gone() {
	for range p.events {
	}
}
