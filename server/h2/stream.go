package h2

import (
	"context"
	"io"
	"sync"
)

// stream is one request and its answer, while either is under way. It is guarded by the connection's lock.
type stream struct {
	id      uint32
	request Request
	born    uint32 // in ticks; later, when its answer began to wait
	ended   bool   // the client has said all
	unasked bool   // the body is not wanted
	tooMuch bool   // the header list was
	running bool   // a job is
	removed bool   // it is not in conn.streams any more

	got  int64  // bytes of the body that have come
	held []byte // the body, if it is small and incomplete
	head int    // bytes of the request's strings, if they are counted like held
	body *body  // the body, if a job reads it

	sendWindow    int64
	receiveWindow int64
	owed          int64 // see conn.owed

	pending []byte // of the answer: what the windows have not let through
	queued  bool   // in conn.waiting
	cancel  context.CancelFunc
}

// open begins a stream.
func (c *conn) open(id uint32) *stream {
	s := c.spare
	if s == nil {
		s = c.server.streams.Get().(*stream)
	}
	c.spare = nil
	s.id, s.born = id, c.now
	s.sendWindow, s.receiveWindow = c.initialWindow, int64(c.server.config.StreamWindow)
	c.streams[id] = s
	if !c.active {
		c.active = true
		c.handler.Active(true)
	}
	return s
}

// remove forgets a stream. If the client may not know yet that it has ended, what comes for it is forgiven.
func (c *conn) remove(s *stream, forgive bool) {
	delete(c.streams, s.id)
	c.gone[c.nextGone] = s.id
	if forgive {
		c.gone[c.nextGone] |= forgiven
	}
	c.nextGone = (c.nextGone + 1) % len(c.gone)
	s.removed = true
	c.release(s)
	if s.pending != nil {
		c.owe(s, -len(s.pending))
		s.pending = nil
	}
	if s.body != nil {
		c.received(int(s.body.fail(io.ErrUnexpectedEOF)))
	}
	if s.running {
		c.orphans++
		s.cancel()
		return
	}
	if s.body != nil || s.queued || s.cancel != nil {
		return // others may hold it
	}
	*s = stream{}
	if c.spare == nil {
		c.spare = s
	} else {
		c.server.streams.Put(s)
	}
}

// forgiven marks, in conn.gone, streams that the server has ended.
const forgiven = 1 << 31

// recall tells whether a stream is among the last that ended, and whether what comes for it is forgiven.
func (c *conn) recall(id uint32) (known, forgive bool) {
	for _, g := range c.gone {
		if g&^forgiven == id {
			return true, g&forgiven != 0
		}
	}
	return false, false
}

// abort ends a stream with RST_STREAM. That it is the client's doing makes it count like the client's own.
func (c *conn) abort(s *stream, code uint32) error {
	c.out = appendReset(c.out, s.id, code)
	c.remove(s, true)
	return c.reset()
}

// hold makes room for n more bytes of an unfinished small body, if the server has any.
func (c *conn) hold(s *stream, n int) bool {
	if len(s.held)+n <= cap(s.held) {
		return true
	}
	size := max(1024, 2*cap(s.held), len(s.held)+n)
	if !c.share(int64(size - cap(s.held))) {
		return false
	}
	s.held = append(make([]byte, 0, size), s.held...)
	return true
}

// size is how many bytes a request's strings have.
func (r *Request) size() int {
	return len(r.Path) + len(r.Authorization) + len(r.TraceParent) + len(r.TraceState)
}

// keep makes room for the strings of a request that has not ended, if they are more than usual.
func (c *conn) keep(s *stream) bool {
	n := s.request.size()
	if n <= freeHead {
		return true
	}
	if !c.share(int64(n)) {
		return false
	}
	s.head = n
	return true
}

// share counts memory of unfinished requests, and takes from the server what is beyond the connection's own.
func (c *conn) share(more int64) bool {
	held := c.held + more
	from := max(0, held-freeHeld) - c.heldShared
	if from > 0 && c.server.held.Add(from) > c.server.config.MaxHeld {
		c.server.held.Add(-from)
		return false
	}
	if from < 0 {
		c.server.held.Add(from)
	}
	c.held, c.heldShared = held, c.heldShared+from
	return true
}

// release gives back the memory of an unfinished request.
func (c *conn) release(s *stream) {
	if n := cap(s.held) + s.head; n > 0 {
		c.share(-int64(n))
		s.held, s.head = nil, 0
	}
}

// body is a large body on its way from the connection to the job that reads it.
type body struct {
	conn   *conn
	stream *stream

	mu   sync.Mutex // guards the following; may be taken under the connection's
	more sync.Cond
	buf  []byte // what was not read is in buf[off:]
	off  int
	free int // of that, how many bytes the client need not be told to send anew: it has been
	err  error
}

func newBody(c *conn, s *stream) *body {
	b := &body{conn: c, stream: s}
	b.more.L = &b.mu
	return b
}

// write adds to the body, unless that has ended.
func (b *body) write(p []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return false
	}
	if b.off > 0 && len(b.buf)+len(p) > cap(b.buf) {
		b.buf = b.buf[:copy(b.buf, b.buf[b.off:])]
		b.off = 0
	}
	b.buf = append(b.buf, p...)
	b.more.Signal()
	return true
}

// finish ends the body with an error, or io.EOF, behind what it has.
func (b *body) finish(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.more.Signal()
}

// fail ends the body at once, and returns how many bytes of it were not read and should be sent anew.
func (b *body) fail(err error) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := max(0, len(b.buf)-b.off-b.free)
	b.buf, b.off, b.free = nil, 0, 0
	if b.err == nil || b.err == io.EOF {
		b.err = err
	}
	b.more.Signal()
	return n
}

// Read waits for what comes next.
func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b.mu.Lock()
	for b.off == len(b.buf) && b.err == nil {
		b.more.Wait()
	}
	n := copy(p, b.buf[b.off:])
	b.off += n
	if b.off == len(b.buf) {
		b.buf, b.off = b.buf[:0], 0
	}
	free := min(n, b.free)
	b.free -= free
	err := b.err
	b.mu.Unlock()
	if n == 0 {
		return 0, err
	}
	b.conn.consumed(b.stream, n, n-free)
	return n, nil
}

// consumed lets the client send as much again as was read.
func (c *conn) consumed(s *stream, ofStream, ofConn int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.need()
	c.received(ofConn)
	if !s.removed && !s.ended {
		s.owed += int64(ofStream)
		if s.owed >= int64(c.server.config.StreamWindow)/4 {
			c.out = appendWindowUpdate(c.out, s.id, uint32(s.owed))
			s.receiveWindow += s.owed
			s.owed = 0
		}
	}
	c.flush()
}

// received lets the client send n bytes more on the connection, in good time.
func (c *conn) received(n int) {
	c.owed += int64(n)
	if c.owed >= int64(c.server.config.ConnWindow)/16 && !c.over {
		c.need()
		c.out = appendWindowUpdate(c.out, 0, uint32(c.owed))
		c.receiveWindow += c.owed
		c.owed = 0
	}
}
