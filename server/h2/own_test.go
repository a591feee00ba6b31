package h2

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// mirror is a Handler whose answers say all of what it was asked. Its jobs answer from memory that others use after
// them, as a server's do, and end in an order that nobody chose.
type mirror struct {
	pool sync.Pool
	pair chan struct{} // a job that waits for another meets it here
	free chan struct{} // closed when none is to wait any more
}

// said is what answers begin with.
func said(dst []byte, r *Request, sum uint64) []byte {
	return fmt.Appendf(dst, "%s|%s|%s|%s|%x|", r.Method, r.Path, r.Authorization, r.TraceParent, sum)
}

// sum is that of a body.
func sum(body []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(body)
	return h.Sum64()
}

// times is how often the answer to a path repeats its body.
func times(path string) int {
	if strings.HasPrefix(path, "/much") {
		return 40
	}
	return 1
}

func (m *mirror) Head(r *Request) bool { return !strings.HasPrefix(r.Path, "/refused") }

func (m *mirror) Refuse(r *Request, dst []byte) Reply {
	return Reply{Status: 405, Body: said(dst, r, 0)}
}

func (m *mirror) Small(r *Request, body, dst []byte) (Reply, Job) {
	if !strings.HasPrefix(r.Path, "/job") {
		dst = said(dst, r, sum(body))
		for range times(r.Path) {
			dst = append(dst, body...)
		}
		return Reply{Status: 200, Body: dst}, nil
	}
	j := m.job(r)
	*j.memory = append((*j.memory)[:0], body...)
	return Reply{}, j
}

func (m *mirror) Large(r *Request) Job { return m.job(r) }

func (m *mirror) Fail(_ *Request, why Failure, dst []byte) Reply {
	return Reply{Status: 200, Body: fmt.Appendf(dst, "failed: %d", why)}
}

func (m *mirror) Active(bool) {}

func (m *mirror) job(r *Request) *mirrorJob {
	memory, ok := m.pool.Get().(*[]byte)
	if !ok {
		memory = new([]byte)
	}
	return &mirrorJob{m, *r, memory}
}

type mirrorJob struct {
	mirror  *mirror
	request Request
	memory  *[]byte
}

func (j *mirrorJob) Run(ctx context.Context, body io.Reader) Reply {
	b := *j.memory
	if body != nil {
		b = b[:0]
		for piece := make([]byte, 7000); ; {
			n, err := body.Read(piece[:1+rand.IntN(len(piece))])
			b = append(b, piece[:n]...)
			if err != nil {
				break
			}
		}
	}
	if len(b)%2 == 0 {
		select {
		case j.mirror.pair <- struct{}{}:
		case <-j.mirror.pair:
		case <-j.mirror.free:
		case <-ctx.Done():
		}
	}
	head := said(nil, &j.request, sum(b))
	*j.memory = append(append(b, head...), b...)
	return Reply{Status: 200, Body: (*j.memory)[len(b):]}
}

func (j *mirrorJob) Shed() Reply { return Reply{Status: 200, Body: []byte("shed")} }

func (j *mirrorJob) Close() {
	all := (*j.memory)[:cap(*j.memory)]
	for i := range all {
		all[i] = '#'
	}
	j.mirror.pool.Put(j.memory)
}

// waiting is a connection that has answers leave before each read.
type waiting struct {
	net.Conn
	pause func()
}

func (w *waiting) BeforeWait(f func()) { w.pause = f }

func (w *waiting) Read(b []byte) (int, error) {
	w.pause()
	return w.Conn.Read(b)
}

// asked is a request, as its client sees it.
type asked struct {
	id     uint32
	rest   [][]byte // frames that have not been sent
	want   string
	status string
	got    []byte
	fields int  // header blocks that have come
	reset  bool // by the client
	over   bool
	unused int64 // of the stream's window, as far as the server has opened it
	owed   int64 // of the other way
}

// crowd is a client with many requests under way, which does everything at random.
type crowd struct {
	t       *testing.T
	random  *rand.Rand
	encoder *hpack.Encoder
	block   bytes.Buffer

	mu     sync.Mutex // guards the following, of which the reader takes note
	all    map[uint32]*asked
	live   map[uint32]*asked // of these, about which there may be something to say
	under  int               // not over
	window int64             // the connection's, as far as the server has opened it
	owed   int64             // of the other way
	ended  bool
}

// ask makes up a request.
func (c *crowd) ask(id uint32) *asked {
	r := c.random
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	size := r.IntN(300)
	switch r.IntN(60) {
	case 0, 1:
		size = r.IntN(60_000)
	case 2:
		size = 65_000 + r.IntN(100_000)
	}
	path, status := pick("/", "/?timeout=30s", "/job", "/job/2", "/much", "/refused", "/"+fmt.Sprint(r.IntN(1000))), "200"
	if size > 1000 && path == "/much" {
		path = "/"
	}
	body := bytes.Repeat(fmt.Appendf(nil, "%08x,", r.Uint32()), size/9+1)[:size]
	request := Request{Method: "POST", Path: path, Authorization: pick("", "a", "b", fmt.Sprint(r.IntN(1000))), TraceParent: pick("", "", "t", "u")}
	want := string(said(nil, &request, sum(body))) + strings.Repeat(string(body), times(path))
	if path == "/refused" {
		want, status = string(said(nil, &request, 0)), "405"
	}
	c.block.Reset()
	field := func(name, value string) {
		if value != "" {
			_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: r.IntN(100) == 0})
		}
	}
	field(":method", "POST")
	field(":scheme", "https")
	field(":path", path)
	field("authorization", request.Authorization)
	field("traceparent", request.TraceParent)
	if r.IntN(2) == 0 {
		field("content-length", fmt.Sprint(size))
	}
	if r.IntN(100) == 0 {
		c.encoder.SetMaxDynamicTableSize(uint32(r.IntN(tableSize)))
	}
	end := byte(0)
	if size == 0 && r.IntN(2) == 0 {
		end = flagEndStream
	}
	block := c.block.Bytes()
	cut := len(block)
	if r.IntN(10) == 0 {
		cut = r.IntN(len(block) + 1)
	}
	head := frame(frameHeaders, end, id, block[:cut])
	if cut == len(block) {
		head[4] |= flagEndHeaders
	} else {
		head = append(head, frame(frameContinuation, flagEndHeaders, id, block[cut:])...)
	}
	a := &asked{id: id, want: want, status: status, unused: int64(limits().StreamWindow), rest: [][]byte{head}}
	for end == 0 {
		n := min(len(body), 1+r.IntN(1+r.IntN(maxFrame)))
		if n == len(body) && r.IntN(4) > 0 {
			end = flagEndStream
		}
		if pad := r.IntN(50); pad < 2 && n+3 < maxFrame {
			padded := append(append([]byte{byte(pad)}, body[:n]...), make([]byte, pad)...)
			a.rest = append(a.rest, frame(frameData, end|flagPadded, id, padded))
		} else {
			a.rest = append(a.rest, frame(frameData, end, id, body[:n]))
		}
		if body = body[n:]; len(body) == 0 && end == 0 {
			a.rest, end = append(a.rest, frame(frameData, flagEndStream, id, nil)), flagEndStream
		}
	}
	return a
}

// note takes up a frame of the server's.
func (c *crowd) note(e event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.all[e.id]
	switch e.kind {
	case frameWindowUpdate:
		if e.id == 0 {
			c.window += int64(e.number())
		} else if a != nil {
			a.unused += int64(e.number())
		}
		return
	case frameGoAway:
		c.t.Errorf("the server ends it: %v", e)
		c.ended = true
		return
	case frameData:
		c.owed += int64(len(e.payload))
	}
	if e.id == 0 {
		return
	}
	if a == nil {
		c.t.Errorf("an answer to nothing: %v", e)
		return
	}
	switch e.kind {
	case frameHeaders:
		if a.fields++; a.fields > 1 || e.fields[":status"] != a.status || e.fields["content-length"] != fmt.Sprint(len(a.want)) {
			c.t.Errorf("for %.100q: %v", a.want, e)
		}
	case frameData:
		if a.got, a.owed = append(a.got, e.payload...), a.owed+int64(len(e.payload)); !strings.HasPrefix(a.want, string(a.got)) {
			c.t.Errorf("for %.200q: %.200q", a.want, a.got)
		}
	case frameReset:
		switch whole := len(a.got) == len(a.want); {
		case a.fields == 0 && e.number() == codeRefused: // jobs whose stream was reset have its place still
			c.finish(a)
		case !a.reset && (!whole || e.number() != codeNone):
			c.t.Errorf("for %.200q: %v", a.want, e)
		}
		a.rest = nil
	}
	if e.flags&flagEndStream != 0 && e.kind != frameReset && !a.over {
		if len(a.got) != len(a.want) {
			c.t.Errorf("for %.200q: %.200q and no more", a.want, a.got)
		}
		c.finish(a)
	}
}

func (c *crowd) finish(a *asked) {
	if !a.over {
		a.over = true
		c.under--
	}
}

// say makes up what is said next. It returns nothing when there is nothing to be said for now.
func (c *crowd) say(next *uint32, last uint32, window *uint32) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.random
	switch n := r.IntN(200); {
	case n == 0:
		*window = uint32(r.IntN(3) * r.IntN(40_000))
		return appendSettings(nil, settingTableSize, uint32(r.IntN(2)*tableSize+tableSize), settingInitialWindow, *window)
	case n == 1:
		return appendPing(nil, 0, []byte("whatever"))
	case n < 30 && c.owed > 0:
		b := appendWindowUpdate(nil, 0, uint32(c.owed))
		c.owed = 0
		return b
	case *next < last && c.under < limits().MaxStreams*9/10 && n < 110:
		a := c.ask(*next)
		*next += 2
		c.all[a.id], c.live[a.id] = a, a
		c.under++
		b := a.rest[0]
		a.rest = a.rest[1:]
		return b
	}
	for id, a := range c.live {
		switch n := r.IntN(1000); {
		case a.over && len(a.rest) == 0:
			delete(c.live, id)
		case n < 3 && !a.over:
			a.reset, a.rest = true, nil
			c.finish(a)
			return appendReset(nil, id, codeCancel)
		case n < 20 && !a.over:
			return appendWindowUpdate(nil, id, 1+uint32(r.IntN(20_000)))
		case len(a.rest) > 0:
			size := int64(len(a.rest[0]) - frameHead)
			if a.unused < size || c.window < size {
				continue
			}
			a.unused, c.window = a.unused-size, c.window-size
			b := a.rest[0]
			a.rest = a.rest[1:]
			return b
		}
	}
	return nil
}

// TestOwnAnswers has requests of all kinds interleaved, reset and held up at random, and sees that every answer is that
// of its own request.
func TestOwnAnswers(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			ownAnswers(t, rand.New(rand.NewPCG(seed, 0)), 1000, i%2 == 1)
		})
	}
}

func ownAnswers(t *testing.T, random *rand.Rand, requests uint32, waits bool) {
	near, far := net.Pipe()
	defer near.Close()
	s, m := New(limits()), &mirror{pair: make(chan struct{}), free: make(chan struct{})}
	served := make(chan error, 1)
	if waits {
		go func() { served <- s.Serve(context.Background(), &waiting{Conn: far}, m) }()
	} else {
		go func() { served <- s.Serve(context.Background(), far, m) }()
	}
	c := &crowd{t: t, random: random, all: map[uint32]*asked{}, live: map[uint32]*asked{}, window: initialWindow}
	c.encoder = hpack.NewEncoder(&c.block)
	p := &peer{t: t, net: near, events: make(chan event, 1000)}
	p.listen()
	noted := make(chan struct{})
	go func() {
		defer close(noted)
		for e := range p.events {
			c.note(e)
		}
	}()
	p.send([]byte(preface), appendSettings(nil, settingInitialWindow, peerWindow), appendWindowUpdate(nil, 0, 100_000))
	next, last, window := uint32(1), 2*requests, uint32(peerWindow)
	for !t.Failed() {
		var b []byte
		for range 1 + random.IntN(30) {
			b = append(b, c.say(&next, last, &window)...)
		}
		c.mu.Lock()
		under, open := c.under, next < last
		for _, a := range c.live {
			open = open || len(a.rest) > 0
		}
		c.mu.Unlock()
		if !open && under == 0 {
			break
		}
		if !open { // what remains waits for windows, or for another job
			select {
			case <-m.free:
			default:
				close(m.free)
			}
			b = append(b, appendSettings(nil, settingInitialWindow, peerWindow)...)
			p.send(b)
			p.drained(c)
			continue
		}
		if len(b) > 0 {
			p.send(b)
		} else {
			runtime.Gosched()
		}
	}
	_ = near.Close()
	<-noted
	if err := <-served; err != nil && !t.Failed() {
		t.Errorf("served until %v", err)
	}
	if s.jobs.Load() != 0 || s.held.Load() != 0 || s.unsent.Load() != 0 {
		t.Errorf("%d jobs, %d held, %d unsent are left", s.jobs.Load(), s.held.Load(), s.unsent.Load())
	}
}

// drained waits until all is answered, opening the connection's window as answers come.
func (p *peer) drained(c *crowd) {
	for {
		c.mu.Lock()
		under, owed, ended := c.under, c.owed, c.ended
		c.owed = 0
		c.mu.Unlock()
		if under == 0 || ended || p.t.Failed() {
			return
		}
		if owed > 0 {
			p.send(binary.BigEndian.AppendUint32(appendHead(nil, 4, frameWindowUpdate, 0, 0), uint32(owed)))
		}
		runtime.Gosched()
	}
}
