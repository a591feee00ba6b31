package client

import (
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/net/http2"

	"sluice/bench"
)

// read reads frames until the connection fails, and passes answers on.
func (c *h2conn) read() {
	h := &c.in
	for {
		n, err := c.conn.Read(h.buf[h.w:])
		if n == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			c.fail(err)
			return
		}
		h.w += n
		c.slot.mu.Lock()
		c.reading = true // what is sent because of these frames is written together
		c.slot.mu.Unlock()
		err = c.frames()
		c.slot.mu.Lock()
		c.reading = false
		if len(c.out) > maxOut {
			err = fmt.Errorf("%w: too much to write back", errProtocol)
		}
		c.flush()
		if c.slot.conn == c {
			c.slot.pump()
		} else {
			c.slot.dialLocked()
		}
		c.wake()
		c.closeIfDone()
		c.slot.mu.Unlock()
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// frames handles the complete frames that are in the buffer.
func (c *h2conn) frames() error {
	h := &c.in
	for h.w-h.r >= frameHead {
		head := h.buf[h.r : h.r+frameHead]
		length := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		if length > maxFrame {
			return fmt.Errorf("%w: a frame of %d bytes", errProtocol, length)
		}
		if h.w-h.r < frameHead+length {
			break
		}
		payload := h.buf[h.r+frameHead : h.r+frameHead+length]
		h.r += frameHead + length
		stream := binary.BigEndian.Uint32(head[5:]) & (1<<31 - 1)
		if err := c.handle(http2.FrameType(head[3]), http2.Flags(head[4]), stream, payload); err != nil {
			return err
		}
	}
	h.w = copy(h.buf, h.buf[h.r:h.w])
	h.r = 0
	return nil
}

func (c *h2conn) handle(kind http2.FrameType, flags http2.Flags, stream uint32, payload []byte) error {
	if c.in.stream != 0 && (kind != http2.FrameContinuation || stream != c.in.stream) {
		return fmt.Errorf("%w: headers are interrupted", errProtocol)
	}
	bad := func() error { return fmt.Errorf("%w: a broken frame of type %s", errProtocol, kind) }
	switch kind {
	case http2.FrameData:
		body, ok := unpad(flags, payload)
		if !ok || stream == 0 {
			return bad()
		}
		c.data(stream, body, len(payload), flags.Has(http2.FlagDataEndStream))
	case http2.FrameHeaders:
		block, ok := unpad(flags, payload)
		if flags.Has(http2.FlagHeadersPriority) {
			if ok = ok && len(block) >= 5; ok {
				block = block[5:]
			}
		}
		if !ok || stream == 0 {
			return bad()
		}
		c.in.end = flags.Has(http2.FlagHeadersEndStream)
		if flags.Has(http2.FlagHeadersEndHeaders) {
			return c.headers(stream, block)
		}
		c.in.stream, c.in.block = stream, append(c.in.block[:0], block...)
	case http2.FrameContinuation:
		if c.in.stream == 0 || len(c.in.block)+len(payload) > maxBlock || len(payload) == 0 && !flags.Has(http2.FlagContinuationEndHeaders) {
			return bad()
		}
		c.in.block = append(c.in.block, payload...)
		if flags.Has(http2.FlagContinuationEndHeaders) {
			c.in.stream = 0
			return c.headers(stream, c.in.block)
		}
	case http2.FrameRSTStream:
		if len(payload) != 4 || stream == 0 {
			return bad()
		}
		c.lost(stream, fmt.Errorf("%w: %s", errStream, http2.ErrCode(binary.BigEndian.Uint32(payload))))
	case http2.FrameSettings:
		if stream != 0 || len(payload)%6 != 0 {
			return bad()
		}
		if !flags.Has(http2.FlagSettingsAck) {
			return c.set(payload)
		}
	case http2.FramePing:
		if len(payload) != 8 || stream != 0 {
			return bad()
		}
		if !flags.Has(http2.FlagPingAck) {
			c.slot.mu.Lock()
			c.appendHead(8, http2.FramePing, http2.FlagPingAck, 0)
			c.out = append(c.out, payload...)
			c.slot.mu.Unlock()
		}
	case http2.FrameGoAway:
		if len(payload) < 8 || stream != 0 {
			return bad()
		}
		c.goAway(binary.BigEndian.Uint32(payload)&(1<<31-1), http2.ErrCode(binary.BigEndian.Uint32(payload[4:])))
	case http2.FrameWindowUpdate:
		if len(payload) != 4 {
			return bad()
		}
		return c.widen(stream, int64(binary.BigEndian.Uint32(payload)&(1<<31-1)))
	case http2.FramePushPromise:
		return bad() // it was told not to
	}
	return nil
}

// unpad takes the padding off a frame.
func unpad(flags http2.Flags, payload []byte) ([]byte, bool) {
	if !flags.Has(http2.FlagDataPadded) { // the same bit for headers
		return payload, true
	}
	if len(payload) == 0 || int(payload[0]) > len(payload)-1 {
		return nil, false
	}
	return payload[1 : len(payload)-int(payload[0])], true
}

// headers handles a complete block of headers.
func (c *h2conn) headers(stream uint32, block []byte) error {
	status := plainStatus(block)
	if status == 0 {
		c.in.status = 0
		if _, err := c.in.decoder.Write(block); err != nil {
			return fmt.Errorf("%w: %w", errProtocol, err)
		}
		if err := c.in.decoder.Close(); err != nil {
			return fmt.Errorf("%w: %w", errProtocol, err)
		}
		status = c.in.status
	}
	c.slot.mu.Lock()
	st := c.streams[stream]
	if st == nil { // nobody waits for it any more
		c.slot.mu.Unlock()
		return nil
	}
	if status >= 200 && st.status == 0 {
		st.status = status
	}
	if !c.in.end {
		c.slot.mu.Unlock()
		return nil
	}
	c.finish(st, st.body) // unlocks
	return nil
}

// data handles a part of an answer's body; size is what it counts for in the windows.
func (c *h2conn) data(stream uint32, part []byte, size int, end bool) {
	c.slot.mu.Lock()
	if c.got += int64(size); c.got >= connWindow/4 {
		c.appendUint32(http2.FrameWindowUpdate, 0, uint32(c.got))
		c.got = 0
	}
	st := c.streams[stream]
	switch {
	case st == nil:
		c.slot.mu.Unlock()
	case end && len(st.body) == 0:
		c.finish(st, part)
	case len(st.body)+len(part) > maxReply:
		j, status := st.job, st.status
		c.reset(st)
		c.slot.mu.Unlock()
		j.done.Answered(bench.Answer{Status: status}, nil)
	default:
		st.body = append(st.body, part...)
		if end {
			c.finish(st, st.body)
		} else {
			c.slot.mu.Unlock()
		}
	}
}

// finish passes on an answer that is complete. It is called with the lock, which it gives back.
func (c *h2conn) finish(st *h2stream, body []byte) {
	done, status := st.job.done, st.status
	if st.rest != nil { // answered before it was read: the server need not read the rest
		c.appendUint32(http2.FrameRSTStream, st.id, uint32(http2.ErrCodeCancel))
	}
	if len(st.body) > 0 {
		st.body = nil // it is what is passed on; the next review on this stream may not overwrite it
	}
	c.remove(st)
	c.slot.mu.Unlock()
	if status == 0 {
		done.Answered(bench.Answer{}, fmt.Errorf("%w: an answer without a status", errProtocol))
		return
	}
	done.Answered(leanAnswer(status, body), nil)
}

// lost ends a review that the server refused to answer.
func (c *h2conn) lost(stream uint32, err error) {
	c.slot.mu.Lock()
	st := c.streams[stream]
	if st == nil {
		c.slot.mu.Unlock()
		return
	}
	done := st.job.done
	c.remove(st)
	c.slot.mu.Unlock()
	done.Answered(bench.Answer{}, err)
}

// set takes the server's settings over.
func (c *h2conn) set(payload []byte) error {
	c.slot.mu.Lock()
	defer c.slot.mu.Unlock()
	c.settings = true
	for ; len(payload) > 0; payload = payload[6:] {
		value := binary.BigEndian.Uint32(payload[2:])
		switch http2.SettingID(binary.BigEndian.Uint16(payload)) {
		case http2.SettingHeaderTableSize:
			if value < c.table {
				c.block = newHeaderBlock(c.slot.client.fields, false)
			}
			c.table = min(c.table, value)
		case http2.SettingMaxConcurrentStreams:
			c.limit = min(c.slot.client.streams, int(value))
		case http2.SettingInitialWindowSize:
			if value > 1<<31-1 {
				return fmt.Errorf("%w: a window of %d bytes", errProtocol, value)
			}
			for _, st := range c.streams {
				st.window += int64(value) - c.initial
			}
			c.initial = int64(value)
		case http2.SettingMaxFrameSize:
			if value < 1<<14 || value > 1<<24-1 {
				return fmt.Errorf("%w: frames of %d bytes", errProtocol, value)
			}
			c.frame = int64(min(value, 1<<20))
		}
	}
	c.appendHead(0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	return nil
}

// widen lets more be sent.
func (c *h2conn) widen(stream uint32, by int64) error {
	c.slot.mu.Lock()
	defer c.slot.mu.Unlock()
	window := &c.window
	if stream != 0 {
		st := c.streams[stream]
		if st == nil {
			return nil
		}
		window = &st.window
	}
	if *window += by; *window > 1<<31-1 {
		return fmt.Errorf("%w: a window of %d bytes", errProtocol, *window)
	}
	return nil
}

// goAway moves the reviews that the server did not look at to another connection, and leaves it the others.
func (c *h2conn) goAway(last uint32, code http2.ErrCode) {
	var failed []job
	c.slot.mu.Lock()
	c.leave()
	for id, st := range c.streams {
		if id <= last {
			continue
		}
		if j := st.job; code == http2.ErrCodeNo && j.tries < 4 {
			c.slot.line.push(j)
		} else {
			failed = append(failed, j)
		}
		c.remove(st)
	}
	c.slot.mu.Unlock()
	fail(failed, fmt.Errorf("%w: %s", errGoAway, code))
}
