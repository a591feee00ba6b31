package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"time"
)

// discardLimit is how much of a body beyond the limit is read and thrown away. A caller that is still writing when
// the connection is closed may never see the answer, and the answer is the denial.
const discardLimit = 64 << 20

// maxEmptyReads bounds reads that bring nothing, in case a reader does that for ever.
const maxEmptyReads = 100

// receive reads a body and has it decided. size is what the caller announced, or negative. It returns the status to
// answer with, and whether the body was read to its end, so that the connection can carry another request.
//
// It has one return, and the rest is another function's, because only where defers and returns are few does a defer cost
// nothing.
func (s *Server) receive(x *exchange, body io.Reader, size int64) (status int, ended bool) {
	defer s.door.finish(x, &status)
	return s.take(x, body, size)
}

// take is receive without its safety net.
func (s *Server) take(x *exchange, body io.Reader, size int64) (status int, ended bool) {
	d, limit := &s.door, s.maxBody(x.kind)
	switch {
	case body == nil:
		x.body = nil
	case size > limit:
		begun := x.taste(body)
		n, err := io.Copy(io.Discard, io.LimitReader(body, min(size, limit+discardLimit)-begun))
		return d.unusable(x, unusableTooLarge, s.tooLarge(x.kind)), err == nil && begun+n == size
	case size > freeBody:
		if !s.room(x, size) {
			x.taste(body)
			return d.noRoom(x), false
		}
		defer s.bodies.release(size)
		x.body = make([]byte, size)
		if n, err := io.ReadFull(body, x.body); err != nil {
			x.body = x.body[:n]
			return d.unusable(x, unusableIncomplete, incomplete(err)), false
		}
	case size >= 0:
		x.body = x.space(int(size))
		if n, err := io.ReadFull(body, x.body); err != nil {
			x.body = x.body[:n]
			return d.unusable(x, unusableIncomplete, incomplete(err)), false
		}
	default:
		return s.receiveUnknown(x, body)
	}
	return d.decide(x), true
}

// receiveUnknown reads a body that does not say how long it is. The plugin sends none of those. Beyond what is free,
// such a body takes the room of the largest one.
func (s *Server) receiveUnknown(x *exchange, body io.Reader) (status int, ended bool) {
	d, limit := &s.door, s.maxBody(x.kind)
	first := x.space(int(min(freeBody, limit)))
	n, err := fill(body, first)
	if err == nil && int64(n) < limit {
		if !s.room(x, limit) {
			x.body = first[:n]
			return d.noRoom(x), false
		}
		defer s.bodies.release(limit)
		all := make([]byte, limit)
		copy(all, first)
		first = all
		var more int
		more, err = fill(body, all[n:])
		n += more
	}
	x.body = first[:n]
	switch {
	case err == nil: // full to the limit, so whatever follows is beyond it
		over, err := io.Copy(io.Discard, io.LimitReader(body, discardLimit))
		if err != nil || over > 0 {
			return d.unusable(x, unusableTooLarge, s.tooLarge(x.kind)), err == nil && over < discardLimit
		}
	case !errors.Is(err, io.EOF):
		return d.unusable(x, unusableIncomplete, incomplete(err)), false
	}
	return d.decide(x), true
}

// fill reads until b is full, and then returns no error, or until r ends, and then returns io.EOF.
func fill(r io.Reader, b []byte) (n int, err error) {
	for idle := 0; n < len(b) && err == nil; {
		var m int
		if m, err = r.Read(b[n:]); m > 0 {
			n, idle = n+m, 0
		} else if idle++; idle == maxEmptyReads && err == nil {
			err = io.ErrNoProgress
		}
	}
	if n == len(b) && errors.Is(err, io.EOF) {
		err = nil // the next read says so again
	}
	return n, err
}

// taste reads the beginning of a body that is not going to be read, for what the answer has to repeat of it, and returns
// how much that was.
func (x *exchange) taste(body io.Reader) int64 {
	if x.kind == imageReview {
		return 0
	}
	x.body = x.space(foretaste)
	n, _ := fill(body, x.body)
	x.body = x.body[:n]
	return int64(n)
}

// space returns n bytes to read a small body into, which belong to x.
func (x *exchange) space(n int) []byte {
	if n > cap(x.small) {
		x.small = make([]byte, max(1024, 1<<bits.Len(uint(n-1))))
	}
	return x.small[:n]
}

// room waits for memory for a large body, for as long as the review may take. What it waits is taken from that time.
func (s *Server) room(x *exchange, n int64) bool {
	ctx := x.ctx
	if ctx == nil {
		ctx = s.base
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.door.within(x.query))
	defer cancel()
	ok := s.bodies.acquire(ctx, n)
	x.waited = time.Since(begin)
	return ok
}

func (s *Server) tooLarge(k kind) string {
	return fmt.Sprintf("the review is larger than the %d bytes that are read; a smaller pod passes, or the operators raise the limit on bodies",
		s.maxBody(k))
}

func incomplete(err error) string {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "the review did not arrive in time"
	}
	return "the review ended before its end"
}
