package h2

import (
	"errors"
	"slices"
	"strconv"
)

// need makes sure that c.out can be appended to.
func (c *conn) need() {
	if c.out == nil {
		c.outBuf = c.server.buffers.Get().(*[]byte)
		c.out = (*c.outBuf)[:0]
	}
}

// drop gives up what is to be written.
func (c *conn) drop() {
	if !c.writing {
		c.give()
	}
}

// give gives the memory of c.out back.
func (c *conn) give() {
	if c.outBuf != nil {
		c.server.buffers.Put(c.outBuf)
	}
	c.out, c.outBuf = nil, nil
}

// flush writes what there is to say, unless someone is writing: they will see to it. The lock is free meanwhile.
func (c *conn) flush() {
	for len(c.out) > 0 && !c.writing && c.failure == nil && !c.over {
		b, buf := c.out, c.outBuf
		c.out, c.outBuf = nil, nil
		c.writing = true
		err := c.write(b)
		c.writing = false
		c.writes++
		if buf != nil {
			c.server.buffers.Put(buf)
		}
		if err != nil {
			c.kill(err)
		}
		c.free.Broadcast()
		c.settle()
	}
}

func (c *conn) write(b []byte) error {
	c.mu.Unlock()
	defer c.mu.Lock()
	_, err := c.net.Write(b)
	return err
}

// press is called between two frames. It writes what has become one TLS record, and keeps the client from saying more
// when it does not listen.
func (c *conn) press() {
	if len(c.out) >= 16<<10 {
		c.flush()
		for len(c.out) >= 256<<10 && c.writing && c.failure == nil && !c.over {
			c.free.Wait()
		}
	}
}

// encoder keeps the client's dynamic table: nothing, or one entry, which is the content type.
type encoder struct {
	known  bool // the entry is there
	forgo  bool // the client wants a smaller table than the default, so there is none
	unsaid bool // it was not told yet
}

// shrink has the encoder obey SETTINGS_HEADER_TABLE_SIZE.
func (e *encoder) shrink(size uint32) {
	if size < tableSize && !e.forgo {
		e.forgo, e.known, e.unsaid = true, false, true
	}
}

// appendUpdate appends what a header block begins with.
func (e *encoder) appendUpdate(b []byte) []byte {
	if e.unsaid {
		b = append(b, 0x20) // the table has no bytes from here on
		e.unsaid = false
	}
	return b
}

// appendHead appends an answer's header block. The bytes are those of RFC 7541, section 6 and appendix A.
func (e *encoder) appendHead(b []byte, r *Reply) []byte {
	b = e.appendUpdate(b)
	switch r.Status {
	case 200:
		b = append(b, 0x88)
	case 404:
		b = append(b, 0x8d)
	default:
		b = append(b, 0x08, 3) // :status, literal
		b = strconv.AppendInt(b, int64(r.Status), 10)
	}
	switch {
	case e.known:
		b = append(b, 0x80|62)
	case e.forgo:
		b = append(b, 0x0f, 31-15, byte(len(contentType)))
		b = append(b, contentType...)
	default:
		b = append(b, 0x40|31, byte(len(contentType)))
		b = append(b, contentType...)
		e.known = true
	}
	var digits [20]byte
	length := strconv.AppendInt(digits[:0], int64(len(r.Body)), 10)
	b = append(b, 0x0f, 28-15, byte(len(length)))
	b = append(b, length...)
	if r.Allow != "" {
		b = append(b, 0x0f, 22-15, byte(len(r.Allow)))
		b = append(b, r.Allow...)
	}
	return b
}

const contentType = "application/json"

// informed appends a 100 (Continue).
func (c *conn) informed(id uint32) {
	at := len(c.out)
	c.out = c.encoder.appendUpdate(appendHead(c.out, 0, frameHeaders, flagEndHeaders, id))
	c.out = append(c.out, 0x08, 3, '1', '0', '0')
	c.out[at+2] = byte(len(c.out) - at - frameHead)
}

// reply answers a stream, and ends it if the client has the windows for that.
func (c *conn) reply(s *stream, r Reply) {
	c.answers++
	c.trifles = min(c.trifles+perAnswer, maxTrifles)
	c.resets = min(c.resets+1, maxResets)
	c.release(s)
	c.need()
	at := len(c.out)
	c.out = appendHead(c.out, 0, frameHeaders, flagEndHeaders, s.id)
	c.out = c.encoder.appendHead(c.out, &r)
	c.out[at+2] = byte(len(c.out) - at - frameHead)
	body := r.Body
	if len(body) == 0 || s.request.Method == "HEAD" {
		c.out[at+4] |= flagEndStream
		c.done(s)
		return
	}
	if rest := c.send(s, body); len(rest) > 0 {
		s.pending = append([]byte(nil), rest...)
		s.born = c.now
		s.request = Request{} // which can be large
		c.owe(s, len(rest))
		c.await(s)
		return
	}
	c.done(s)
}

// send appends as much of an answer's body as the windows let through and returns the rest. A body of no bytes is none.
func (c *conn) send(s *stream, body []byte) []byte {
	for len(body) > 0 {
		n := int(min(int64(len(body)), maxFrame, s.sendWindow, c.sendWindow))
		if n <= 0 {
			break
		}
		flags := byte(0)
		if n == len(body) {
			flags = flagEndStream
		}
		c.out = append(appendHead(c.out, n, frameData, flags, s.id), body[:n]...)
		s.sendWindow -= int64(n)
		c.sendWindow -= int64(n)
		body = body[n:]
	}
	return body
}

// done ends a stream whose answer is on its way.
func (c *conn) done(s *stream) {
	if !s.ended {
		c.out = appendReset(c.out, s.id, codeNone) // the rest of the request is not needed
	}
	c.remove(s, !s.ended)
}

// owe counts bytes that wait for the client, who has to take what it asks for.
func (c *conn) owe(s *stream, n int) {
	c.unsent += int64(n)
	all := c.server.unsent.Add(int64(n))
	if n > 0 && (c.unsent > maxUnsent || all > allUnsent && c.unsent > freeUnsent) {
		c.kill(errUnsent)
	}
}

var (
	errUnsent = errors.New("h2: the client does not take its answers")
	errSlow   = errors.New("h2: the client did not read in time")
)

// await puts a stream that has something to send where the connection's window finds it. If it is its own window that
// is closed, that one finds it.
func (c *conn) await(s *stream) {
	if s.sendWindow > 0 && !s.queued {
		s.queued = true
		if len(c.waiting) > 2*len(c.streams)+64 { // most of them have been reset
			c.waiting = slices.DeleteFunc(c.waiting, func(s *stream) bool { return s.removed })
		}
		c.waiting = append(c.waiting, s)
	}
}

// resume goes on with an answer after its stream's window has opened.
func (c *conn) resume(s *stream) {
	if len(s.pending) == 0 || s.sendWindow <= 0 {
		return
	}
	rest := c.send(s, s.pending)
	c.owe(s, len(rest)-len(s.pending))
	s.pending = rest
	if len(rest) == 0 {
		s.pending = nil
		c.done(s)
		return
	}
	c.await(s)
}

// resumeAll goes on with all answers after the connection's window has opened.
func (c *conn) resumeAll() {
	for len(c.waiting) > 0 && c.sendWindow > 0 {
		s := c.waiting[0]
		c.waiting[0] = nil
		c.waiting = c.waiting[1:]
		s.queued = false
		if !s.removed {
			c.resume(s)
		}
	}
	if len(c.waiting) == 0 {
		c.waiting = nil
	}
}
