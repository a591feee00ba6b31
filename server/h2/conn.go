package h2

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"
)

const (
	bufferSize = 32 << 10 // what is read to and written from while a connection is busy
	smallRead  = 2 << 10  // what an idle connection reads to; the reviews of quiet clusters fit
	leanReads  = 8        // reads in a row that would have fitted there, after which a large buffer is given back
)

// conn is one connection.
type conn struct {
	server  *Server
	net     net.Conn
	handler Handler
	ctx     context.Context
	cancel  context.CancelFunc
	jobs    sync.WaitGroup
	told    atomic.Bool // to go away
	waiter  bool        // net is a Waiter, and calls pause

	// Of the goroutine that reads.
	in    []byte  // what was read is in[r:w]
	large *[]byte // in's memory, if it is the server's
	small []byte  // in's memory otherwise
	r, w  int
	lean  int // reads in a row that brought little

	mu sync.Mutex // guards the following; frames are dealt with, and the Handler is called, under it

	decoder  *hpack.Decoder
	block    block
	memo     memo
	streams  map[uint32]*stream
	spare    *stream // to be used for the next one
	last     uint32  // the highest stream that the client has begun
	gone     [256]uint32
	nextGone int // index into gone, whose entries are streams that ended, with forgiven added
	orphans  int // jobs whose stream has ended
	active   bool
	greeted  bool // the client's SETTINGS have come

	out     []byte  // what is to be written
	outBuf  *[]byte // out's memory, if it is the server's
	writing bool    // someone is, without the lock
	writes  uint32
	free    sync.Cond // writing has ended
	scratch []byte    // where the Handler puts replies
	encoder encoder

	sendWindow    int64 // of the connection; so does the next for new streams
	initialWindow int64
	waiting       []*stream // that have something to send, and a window of their own, and wait for the connection's
	unsent        int64     // bytes of streams' pending
	receiveWindow int64     // what the client may still send
	owed          int64     // what it may send once it is told
	held          int64     // bytes of unfinished small bodies
	heldShared    int64     // of these, what was taken from the server's

	trifles, resets int // see trifle and reset; how many are left
	answers         uint32

	reads   uint32
	readsAt uint32 // at the last tick
	roomy   bool   // the reader has a large buffer

	timer      *time.Timer
	now        uint32 // ticks
	idleSince  uint32
	idleAt     uint32 // answers at the last tick
	stuckSince uint32
	stuckAt    uint32 // writes at the last tick
	leaving    leaving
	over       bool  // nothing is to be done any more
	failure    error // the first
}

// leaving says how far the end of a connection is.
type leaving uint8

const (
	staying  leaving = iota
	leavingA         // GOAWAY was sent, with all streams there may be; what is under way meanwhile is served
	leavingB         // GOAWAY was sent, with the last stream that is served
	left             // the connection is to end
)

func (s *Server) newConn(ctx context.Context, nc net.Conn, h Handler) *conn {
	c := &conn{
		server: s, net: nc, handler: h, streams: map[uint32]*stream{},
		sendWindow: initialWindow, initialWindow: initialWindow, receiveWindow: int64(s.config.ConnWindow),
		trifles: maxTrifles, resets: maxResets,
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.free.L = &c.mu
	c.decoder = hpack.NewDecoder(tableSize, c.field)
	c.small = make([]byte, smallRead)
	c.in = c.small
	if w, ok := nc.(Waiter); ok {
		c.waiter = true
		w.BeforeWait(c.pause)
	}
	c.greet()
	return c
}

// serve reads and answers until the connection ends.
func (c *conn) serve() error {
	c.begun()
	if err := c.readPreface(); err != nil {
		return err
	}
	for {
		if err := c.read(); err != nil {
			return err
		}
		if err := c.step(); err != nil {
			return err
		}
	}
}

// greet says what the client may do. It comes before anything else is said.
func (c *conn) greet() {
	config := &c.server.config
	c.need()
	c.out = appendSettings(c.out, settingMaxStreams, uint32(config.MaxStreams), settingInitialWindow, uint32(config.StreamWindow),
		settingMaxHeaderList, maxHeaderList)
	c.out = appendWindowUpdate(c.out, 0, uint32(config.ConnWindow)-initialWindow)
}

// begun sends the greeting and starts the clock.
func (c *conn) begun() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(c.server.period, c.tick)
	c.flush()
}

func (c *conn) readPreface() error {
	for c.w < len(preface) {
		if err := c.read(); err != nil {
			return err
		}
		if n := min(c.w, len(preface)); string(c.in[:n]) != preface[:n] {
			return &Error{codeProtocol, "the client does not speak HTTP/2"}
		}
		if err := c.ending(); err != nil {
			return err
		}
	}
	c.r = len(preface)
	return c.step()
}

// read adds to what was read. There is room for the rest of a frame.
func (c *conn) read() error {
	if c.r > 0 {
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
	}
	if c.large == nil && c.w == len(c.in) {
		c.large = c.server.buffers.Get().(*[]byte)
		copy(*c.large, c.in)
		c.in, c.lean = *c.large, 0
	}
	n, err := c.net.Read(c.in[c.w:])
	if c.large != nil && n < smallRead {
		c.lean++
	} else {
		c.lean = 0
	}
	c.w += n
	if n > 0 {
		return nil // the next read says so again
	}
	if errors.Is(err, os.ErrDeadlineExceeded) { // wake: step sees why
		c.lean = leanReads
		return c.net.SetReadDeadline(time.Time{})
	}
	return err
}

// step deals with the frames that were read, and sends what there is to say.
func (c *conn) step() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.frames()
	if err == nil {
		c.settle()
		if !c.waiter {
			c.flush()
		}
	}
	if c.failure != nil {
		return c.failure
	}
	if err == nil && c.leaving == left {
		return io.EOF
	}
	if c.large != nil && c.lean >= leanReads && c.w-c.r < smallRead {
		c.w = copy(c.small, c.in[c.r:c.w])
		c.r, c.in = 0, c.small
		c.server.buffers.Put(c.large)
		c.large = nil
	}
	c.reads, c.roomy = c.reads+1, c.large != nil
	return err
}

// pause sends what there is to say before a read waits.
func (c *conn) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
}

// settle notes what follows from streams that have begun or ended. A request is under way until its answer was written.
func (c *conn) settle() {
	under := len(c.streams)+c.orphans > 0 || len(c.out) > 0 || c.writing
	if c.active != under {
		c.active = under
		c.handler.Active(under)
	}
	if c.leaving == leavingB && len(c.streams) == 0 {
		c.leaving = left
		c.wake()
	}
}

// ending tells whether someone else has ended the connection.
func (c *conn) ending() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil && c.leaving == left {
		return io.EOF
	}
	return c.failure
}

// wake makes a read return that is under way or to come.
func (c *conn) wake() { _ = c.net.SetReadDeadline(time.Unix(1, 0)) }

// kill ends the connection without a word. What reads and writes returns at once, and the reader sees why. To close it
// here could wait for the reader, who may be the one that calls.
func (c *conn) kill(err error) {
	if c.failure == nil {
		c.failure = err
	}
	if !c.over {
		_ = c.inner().SetDeadline(time.Unix(1, 0))
	}
}

// inner is the connection without TLS, which says goodbye, and waits for whoever does not listen.
func (c *conn) inner() net.Conn {
	if outer, ok := c.net.(interface{ NetConn() net.Conn }); ok {
		return outer.NetConn()
	}
	return c.net
}

// Limits of lingering.
const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// end ends the connection, and waits for its jobs.
func (c *conn) end(err error) error {
	heard, failed := c.farewell(err)
	if heard {
		c.linger()
	}
	if failed {
		_ = c.inner().Close()
	}
	_ = c.net.Close()
	c.jobs.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.large != nil {
		c.server.buffers.Put(c.large)
		c.large, c.in = nil, nil
	}
	c.give()
	if c.active {
		c.handler.Active(false)
	}
	if c.failure != nil {
		return c.failure
	}
	if ours := (*Error)(nil); errors.As(err, &ours) {
		return err
	}
	if p := (*Panic)(nil); errors.As(err, &p) {
		return err
	}
	return nil
}

// farewell says why the connection ends, if that is the server's doing, and ends all that is under way. It tells
// whether the client should have the time to hear it, or whether nothing can be said any more.
func (c *conn) farewell(err error) (heard, failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ours *Error
	var p *Panic
	code, told := uint32(codeNone), c.leaving == left
	switch {
	case errors.As(err, &p):
		code = codeInternal
	case errors.As(err, &ours):
		code = ours.Code
	}
	if code != codeNone && c.failure == nil {
		c.need()
		c.out = appendGoAway(c.out, c.last, code)
		told = true
	}
	if told && c.failure == nil {
		c.flush()
		for c.writing && c.failure == nil {
			c.free.Wait()
		}
	}
	c.over = true
	c.cancel()
	for _, s := range c.streams {
		c.remove(s, false)
	}
	c.drop()
	if c.timer != nil {
		c.timer.Stop()
	}
	return told && c.failure == nil, c.failure != nil
}

// linger reads what the client is still sending. To close a socket with bytes unread resets the connection, and the
// client could lose what it was told last.
func (c *conn) linger() {
	half, ok := c.net.(interface{ CloseWrite() error })
	if !ok || c.net.SetReadDeadline(time.Now().Add(lingerTime)) != nil || half.CloseWrite() != nil {
		return
	}
	b := make([]byte, smallRead)
	for total := 0; total < lingerBytes; {
		n, err := c.net.Read(b)
		if err != nil {
			return
		}
		total += n
	}
}

// guard is deferred where no other goroutine would recover a panic.
func (c *conn) guard() {
	if v := recover(); v != nil {
		p := &Panic{v, debug.Stack()}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.kill(p)
	}
}
