package client

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Sizes of a connection, in bytes. The windows are those of golang.org/x/net/http2.
const (
	frameHead    = 9
	maxFrame     = 16 << 10 // of frames that arrive: HTTP/2's default, which is not changed
	streamWindow = 4 << 20
	connWindow   = 1 << 30
	maxBlock     = 256 << 10 // headers of one answer, encoded
	enoughOut    = 1 << 20   // no body is added to what is to be written beyond it
	maxOut       = 16 << 20  // a server that makes so much be written back, and does not read it, is left
	lastStream   = 1 << 30   // the connection is replaced before stream numbers run out
)

// h2conn is one HTTP/2 connection. All but what belongs to a goroutine is guarded by slot.mu.
type h2conn struct {
	slot *h2slot
	conn *tls.Conn

	streams  map[uint32]*h2stream
	spare    []*h2stream
	next     uint32
	unsent   []*h2stream // with a body that the windows did not let through, in order
	settings bool        // the server's have arrived
	leaving  bool        // the server sent GOAWAY, or numbers have run out: no more reviews
	failed   error

	limit   int   // streams at a time
	window  int64 // bytes that may be sent
	initial int64 // of a stream
	frame   int64 // largest, of frames to the server
	table   uint32
	block   headerBlock
	got     int64 // bytes of bodies that the server was not told yet that they were read

	out     []byte // to be written
	written sync.Cond
	writing bool // the writer will look at out again
	reading bool // the reader will wake the writer

	in      h2reader
	carried bool
}

// h2stream is a review on a connection.
type h2stream struct {
	id     uint32
	job    job
	rest   []byte // of the review, yet to be sent
	window int64  // for it
	status int
	body   []byte // of the answer, if it comes in several frames
}

func newH2conn(s *h2slot, secure *tls.Conn) *h2conn {
	c := &h2conn{
		slot: s, conn: secure, streams: make(map[uint32]*h2stream), next: 1,
		limit: s.client.streams, window: 65535, initial: 65535, frame: maxFrame, table: 4096,
		block: newHeaderBlock(s.client.fields, true),
	}
	c.written.L = &s.mu
	c.in.init()
	c.out = append(c.out, http2.ClientPreface...)
	c.appendHead(18, http2.FrameSettings, 0, 0)
	for _, setting := range []http2.Setting{
		{ID: http2.SettingEnablePush, Val: 0},
		{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		{ID: http2.SettingMaxHeaderListSize, Val: 10 << 20},
	} {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(setting.ID))
		c.out = binary.BigEndian.AppendUint32(c.out, setting.Val)
	}
	c.appendUint32(http2.FrameWindowUpdate, 0, connWindow)
	return c
}

func (c *h2conn) appendHead(length int, kind http2.FrameType, flags http2.Flags, stream uint32) {
	c.out = append(c.out, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags))
	c.out = binary.BigEndian.AppendUint32(c.out, stream)
}

func (c *h2conn) appendUint32(kind http2.FrameType, stream, value uint32) {
	c.appendHead(4, kind, 0, stream)
	c.out = binary.BigEndian.AppendUint32(c.out, value)
}

// ready is whether the connection takes another review now.
func (c *h2conn) ready() bool {
	return c.settings && !c.leaving && c.failed == nil && len(c.streams) < c.limit && c.window > 0 && len(c.out) < enoughOut
}

// begin sends a review. The connection is ready.
func (c *h2conn) begin(j job) {
	if !c.carried {
		c.carried = true
		c.slot.client.dialer.carries(c.conn)
	}
	var st *h2stream
	if n := len(c.spare); n > 0 {
		st, c.spare = c.spare[n-1], c.spare[:n-1]
	} else {
		st = new(h2stream)
	}
	body := j.review.Body
	*st = h2stream{id: c.next, job: j, rest: body, window: c.initial, body: st.body[:0]}
	st.job.tries++
	c.streams[st.id] = st
	if c.next += 2; c.next > lastStream {
		c.leave()
	}

	at := len(c.out)
	c.appendHead(0, http2.FrameHeaders, http2.FlagHeadersEndHeaders, st.id)
	c.out = c.block.append(c.out, len(body))
	n := len(c.out) - at - frameHead
	c.out[at], c.out[at+1], c.out[at+2] = byte(n>>16), byte(n>>8), byte(n)
	// Reviews whose bodies wait for the connection's window come first.
	if len(c.unsent) > 0 && c.unsent[0].window > 0 || !c.send(st) {
		c.unsent = append(c.unsent, st)
	}
}

// send sends as much of a stream's body as may be sent, and returns whether that was all.
func (c *h2conn) send(st *h2stream) bool {
	for {
		n := min(int64(len(st.rest)), c.frame, st.window, c.window)
		last := n == int64(len(st.rest))
		if !last && (n <= 0 || len(c.out) >= enoughOut) || n < 0 {
			return false
		}
		flags := http2.Flags(0)
		if last {
			flags = http2.FlagDataEndStream
		}
		c.appendHead(int(n), http2.FrameData, flags, st.id)
		c.out = append(c.out, st.rest[:n]...)
		st.rest = st.rest[n:]
		st.window -= n
		c.window -= n
		if last {
			st.rest = nil
			return true
		}
	}
}

// flush sends of the waiting bodies what may be sent.
func (c *h2conn) flush() {
	if len(c.unsent) > 0 {
		c.unsent = slices.DeleteFunc(c.unsent, c.send)
	}
}

// remove forgets a stream, which may then be used for another review.
func (c *h2conn) remove(st *h2stream) {
	delete(c.streams, st.id)
	if st.rest != nil {
		c.unsent = slices.DeleteFunc(c.unsent, func(u *h2stream) bool { return u == st })
	}
	st.job, st.rest = job{}, nil
	if cap(st.body) > maxFrame {
		st.body = nil
	}
	c.spare = append(c.spare, st)
}

// reset tells the server that nobody waits for a stream any more.
func (c *h2conn) reset(st *h2stream) {
	c.appendUint32(http2.FrameRSTStream, st.id, uint32(http2.ErrCodeCancel))
	c.remove(st)
}

// leave makes room for another connection.
func (c *h2conn) leave() {
	c.leaving = true
	if c.slot.conn == c {
		c.slot.conn = nil
	}
}

// closeIfDone closes a connection that takes no more reviews when the last was answered.
func (c *h2conn) closeIfDone() {
	if c.leaving && len(c.streams) == 0 && c.failed == nil {
		c.end(errGoAway)
	}
}

// end closes the connection. It leaves the streams.
func (c *h2conn) end(err error) {
	c.failed = err
	c.leave()
	c.slot.conns = slices.DeleteFunc(c.slot.conns, func(other *h2conn) bool { return other == c })
	c.written.Broadcast()
	_ = c.conn.NetConn().Close() // without a farewell, which could block; the reader and the writer see it
}

// fail ends the connection, and the reviews on it: those in line too if it was of no use at all.
func (c *h2conn) fail(err error) {
	c.slot.mu.Lock()
	if c.failed != nil {
		c.slot.mu.Unlock()
		return
	}
	if c.leaving && err != errClosed { //nolint:errorlint // our own
		err = fmt.Errorf("%w: %w", errGoAway, err)
	}
	jobs := make([]job, 0, len(c.streams))
	for _, st := range c.streams {
		jobs = append(jobs, st.job)
	}
	clear(c.streams)
	useless := !c.carried
	c.end(err)
	if useless {
		jobs = c.slot.takeLine(jobs)
	}
	c.slot.pump()
	c.slot.mu.Unlock()
	fail(jobs, err)
}

// wake makes the writer write.
func (c *h2conn) wake() {
	if len(c.out) > 0 && !c.writing && !c.reading {
		c.writing = true
		c.written.Signal()
	}
}

// write is the goroutine that writes what has piled up.
func (c *h2conn) write() {
	var out []byte
	c.slot.mu.Lock()
	for {
		for len(c.out) == 0 && c.failed == nil {
			c.writing = false
			c.written.Wait()
		}
		if c.failed != nil {
			c.slot.mu.Unlock()
			return
		}
		c.writing = true
		out, c.out = c.out, out[:0]
		c.flush()
		c.slot.mu.Unlock()
		_, err := c.conn.Write(out)
		if err != nil {
			c.fail(err)
		}
		if cap(out) > enoughOut {
			out = nil
		}
		c.slot.mu.Lock()
		if c.slot.conn == c && c.slot.line.len() > 0 {
			c.slot.pump()
		}
	}
}

// h2reader is what the goroutine that reads needs.
type h2reader struct {
	buf     []byte
	r, w    int
	decoder *hpack.Decoder
	status  int    // of the headers that are being decoded
	block   []byte // headers that go on in CONTINUATION
	stream  uint32 // whose they are; 0 if none are expected
	end     bool   // whether they end the stream
}

func (h *h2reader) init() {
	h.buf = make([]byte, 2*(frameHead+maxFrame))
	h.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" && len(f.Value) == 3 {
			h.status = int(f.Value[0]-'0')*100 + int(f.Value[1]-'0')*10 + int(f.Value[2]-'0')
		}
	})
	h.decoder.SetMaxStringLength(maxBlock)
}
