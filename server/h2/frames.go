package h2

import (
	"encoding/binary"
)

// frames deals with every whole frame that was read.
func (c *conn) frames() error {
	for {
		b := c.in[c.r:c.w]
		if len(b) < frameHead {
			return nil
		}
		length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if length > maxFrame {
			return &Error{codeFrameSize, "a frame is larger than was agreed"}
		}
		if len(b) < frameHead+length {
			return nil
		}
		c.r += frameHead + length
		if err := c.frame(b[3], b[4], binary.BigEndian.Uint32(b[5:])&maxID, b[frameHead:frameHead+length]); err != nil {
			return err
		}
		c.press()
		if c.failure != nil || c.leaving == left {
			return c.failure
		}
	}
}

// frame deals with one frame. An error is one of the connection.
func (c *conn) frame(kind, flags byte, id uint32, payload []byte) error {
	if !c.greeted {
		if kind != frameSettings || flags&flagAck != 0 {
			return &Error{codeProtocol, "the client did not begin with SETTINGS"}
		}
		c.greeted = true
	}
	if c.block.open != (kind == frameContinuation) {
		return &Error{codeProtocol, "a header block is not continued where it should be"}
	}
	switch kind {
	case frameData:
		return c.data(flags, id, payload)
	case frameHeaders:
		return c.headers(flags, id, payload)
	case frameContinuation:
		return c.continuation(flags, id, payload)
	case frameReset:
		return c.resetFrame(id, payload)
	case frameWindowUpdate:
		return c.windowUpdate(id, payload)
	case frameSettings:
		return c.settings(flags, id, payload)
	case framePing:
		return c.ping(flags, id, payload)
	case framePriority:
		return c.priority(id, payload)
	case framePushPromise:
		return &Error{codeProtocol, "clients push nothing"}
	case frameGoAway:
		switch {
		case id != 0:
			return &Error{codeProtocol, "GOAWAY on a stream"}
		case len(payload) < 8:
			return &Error{codeFrameSize, "GOAWAY is too short"}
		}
	}
	return c.trifle(1)
}

// trifle counts a frame that brings nothing by itself. Answers, and time, make up for it.
func (c *conn) trifle(cost int) error {
	if c.trifles -= cost; c.trifles < 0 {
		return &Error{codeCalm, "too many frames that bring nothing"}
	}
	return nil
}

// reset counts a stream that ended without an answer.
func (c *conn) reset() error {
	if c.resets--; c.resets < 0 {
		return &Error{codeCalm, "too many streams that end without an answer"}
	}
	return nil
}

// idle tells whether a stream has not begun.
func (c *conn) idle(id uint32) bool { return id > c.last || id&1 == 0 }

func (c *conn) data(flags byte, id uint32, payload []byte) error {
	size := len(payload)
	switch {
	case id == 0:
		return &Error{codeProtocol, "DATA without a stream"}
	case c.idle(id):
		return &Error{codeProtocol, "DATA on a stream that has not begun"}
	}
	if c.receiveWindow -= int64(size); c.receiveWindow < 0 {
		return &Error{codeFlowControl, "the connection's window is overdrawn"}
	}
	p, ok := unpad(flags, payload)
	if !ok {
		return &Error{codeProtocol, "DATA is all padding and more"}
	}
	s := c.streams[id]
	if s == nil || s.ended {
		c.received(size)
		return c.closed(s, id)
	}
	end := flags&flagEndStream != 0
	if s.pending != nil { // answered already, and the client has only to take that
		s.ended = end
		c.received(size)
		return c.trifle(1)
	}
	s.got += int64(len(p))
	s.receiveWindow -= int64(size)
	switch announced := s.request.ContentLength; {
	case s.receiveWindow < 0:
		c.received(size)
		return c.abort(s, codeFlowControl)
	case announced >= 0 && (s.got > announced || end && s.got != announced):
		c.received(size)
		return c.abort(s, codeProtocol)
	}
	s.ended = end
	if s.body != nil {
		c.received(size - len(p)) // the padding; the rest when it has been read
		s.owed += int64(size - len(p))
		if !s.body.write(p) {
			c.received(len(p))
		}
		if end {
			s.body.finish(errEnd)
		}
	} else {
		c.received(size)
		c.collect(s, p)
	}
	if len(p) == 0 && !end {
		return c.trifle(1)
	}
	return nil
}

// closed deals with a frame on a stream that has ended, or whose request has.
func (c *conn) closed(s *stream, id uint32) error {
	if s != nil {
		return c.abort(s, codeClosed)
	}
	if _, forgive := c.recall(id); !forgive {
		c.out = appendReset(c.out, id, codeClosed)
	}
	return c.trifle(1)
}

// collect adds to the body of a request that no job has yet, and answers if it is all there.
func (c *conn) collect(s *stream, p []byte) {
	size := len(s.held) + len(p)
	switch {
	case s.unasked || s.tooMuch:
		if !s.ended && s.got <= int64(c.server.config.SmallBody) {
			return
		}
		c.complete(s, nil)
	case s.ended && len(s.held) == 0:
		c.complete(s, p)
	case size > c.server.config.SmallBody && !s.ended:
		c.pour(s, p)
	case !c.hold(s, len(p)):
		c.reply(s, c.handler.Fail(&s.request, NoRoom, c.scratch[:0]))
	default:
		s.held = append(s.held, p...)
		if s.ended {
			c.complete(s, s.held)
		}
	}
}

// complete answers a request that is all there, or no more of which is wanted.
func (c *conn) complete(s *stream, all []byte) {
	var r Reply
	switch {
	case s.tooMuch:
		r = c.handler.Fail(&s.request, HeadTooLarge, c.scratch[:0])
	case s.unasked:
		r = c.handler.Refuse(&s.request, c.scratch[:0])
	default:
		var job Job
		if r, job = c.handler.Small(&s.request, all, c.scratch[:0]); job != nil {
			c.release(s)
			c.start(s, job, nil)
			return
		}
	}
	c.reply(s, r)
	if cap(r.Body) <= keptScratch {
		c.scratch = r.Body
	}
}

// keptScratch is how large the memory for replies may be that a connection keeps.
const keptScratch = 4 << 10

// pour makes a job of a body that has turned out not to be small.
func (c *conn) pour(s *stream, p []byte) {
	in := newBody(c, s)
	in.write(s.held)
	in.write(p)
	in.free = len(s.held) + len(p)
	c.release(s)
	c.start(s, c.handler.Large(&s.request), in)
}

func (c *conn) resetFrame(id uint32, payload []byte) error {
	switch {
	case len(payload) != 4:
		return &Error{codeFrameSize, "RST_STREAM is not of 4 bytes"}
	case id == 0 || c.idle(id):
		return &Error{codeProtocol, "RST_STREAM on no stream that has begun"}
	}
	if s := c.streams[id]; s != nil {
		c.remove(s, false)
		return c.reset()
	}
	return c.trifle(1)
}

func (c *conn) windowUpdate(id uint32, payload []byte) error {
	if len(payload) != 4 {
		return &Error{codeFrameSize, "WINDOW_UPDATE is not of 4 bytes"}
	}
	n := int64(binary.BigEndian.Uint32(payload) & maxWindow)
	if id == 0 {
		c.sendWindow += n
		switch {
		case n == 0:
			return &Error{codeProtocol, "a window is opened by nothing"}
		case c.sendWindow > maxWindow:
			return &Error{codeFlowControl, "a window is too large"}
		}
		c.resumeAll()
		return c.trifle(1)
	}
	if c.idle(id) {
		return &Error{codeProtocol, "WINDOW_UPDATE on a stream that has not begun"}
	}
	if s := c.streams[id]; s != nil {
		s.sendWindow += n
		switch {
		case n == 0:
			return c.abort(s, codeProtocol)
		case s.sendWindow > maxWindow:
			return c.abort(s, codeFlowControl)
		}
		c.resume(s)
	}
	return c.trifle(1)
}

func (c *conn) settings(flags byte, id uint32, payload []byte) error {
	switch {
	case id != 0:
		return &Error{codeProtocol, "SETTINGS on a stream"}
	case flags&flagAck != 0 && len(payload) != 0, len(payload)%6 != 0:
		return &Error{codeFrameSize, "SETTINGS has no length of SETTINGS"}
	case flags&flagAck != 0:
		return c.trifle(1)
	}
	window := c.initialWindow
	for p := payload; len(p) > 0; p = p[6:] {
		value := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingTableSize:
			c.encoder.shrink(value)
		case settingPush:
			if value > 1 {
				return &Error{codeProtocol, "a setting is neither 0 nor 1"}
			}
		case settingInitialWindow:
			if value > maxWindow {
				return &Error{codeFlowControl, "a window is too large"}
			}
			window = int64(value)
		case settingMaxFrame: // all of ours are as small as everyone must accept
			if value < maxFrame || value > 1<<24-1 {
				return &Error{codeProtocol, "a limit on frames is out of range"}
			}
		}
	}
	c.out = appendHead(c.out, 0, frameSettings, flagAck, 0)
	if err := c.trifle(10); err != nil {
		return err
	}
	by := window - c.initialWindow
	if by == 0 {
		return nil
	}
	if err := c.trifle(len(c.streams) / 8); err != nil { // each is looked at
		return err
	}
	c.initialWindow = window
	return c.slide(by)
}

// slide opens, or closes, the windows of all streams. They can be negative afterwards.
func (c *conn) slide(by int64) error {
	for _, s := range c.streams {
		if s.sendWindow += by; s.sendWindow > maxWindow {
			return &Error{codeFlowControl, "a window is too large"}
		}
		c.resume(s)
	}
	return nil
}

func (c *conn) ping(flags byte, id uint32, payload []byte) error {
	switch {
	case id != 0:
		return &Error{codeProtocol, "PING on a stream"}
	case len(payload) != 8:
		return &Error{codeFrameSize, "PING is not of 8 bytes"}
	case flags&flagAck == 0:
		c.out = appendPing(c.out, flagAck, payload)
	case string(payload) == farewellPing:
		c.lastCall()
	}
	return c.trifle(1)
}

func (c *conn) priority(id uint32, payload []byte) error {
	switch {
	case id == 0:
		return &Error{codeProtocol, "PRIORITY without a stream"}
	case len(payload) != 5:
		return c.wrong(id, codeFrameSize)
	case binary.BigEndian.Uint32(payload)&maxID == id:
		return c.wrong(id, codeProtocol)
	}
	return c.trifle(1)
}

// wrong is an error of a stream that may have ended, or not begun.
func (c *conn) wrong(id, code uint32) error {
	if s := c.streams[id]; s != nil {
		return c.abort(s, code)
	}
	c.out = appendReset(c.out, id, code)
	return c.reset()
}
