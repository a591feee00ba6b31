package server

import (
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// h1Conn is a connection as fasthttp sees it. It keeps the time limits itself, and fasthttp is told of none: fasthttp
// sets two deadlines a request, and this as good as none.
//
// The limit on waiting for a request is that of an idle connection from the first request on. A client opens more
// connections than it comes to need and keeps the others for later, for 90 s in client-go's case; under a shorter limit
// a review that is sent at the end of it would be lost. Once a request has begun, the rest of it has its own limit, and
// so has each write, what is no answer of the handler included: 100 Continue, or the answer to a head that cannot be
// read.
//
// It is used by one goroutine.
type h1Conn struct {
	*conn
	server              *Server
	idle, rest, written time.Duration
	epoch               time.Time // the distances below are from here: to read the clock like that is half the work

	now     time.Duration // when this was made, or last wrote
	timed   bool          // the request that is being read has its deadline
	readBy  time.Duration // the deadlines that are set; 0: none
	writeBy time.Duration

	raw   []byte // what the first read of a request has brought, until it is looked at
	again again
}

func (s *Server) newH1Conn(c *conn) *h1Conn {
	return &h1Conn{
		conn: c, server: s, idle: s.config.IdleTimeout, rest: s.config.ReadTimeout, written: s.config.ReadTimeout,
		epoch: s.door.epoch, now: time.Since(s.door.epoch),
	}
}

// far tells whether the deadline that is set will do for a limit from now on, and otherwise which to set. To move a
// deadline costs more than a look at it, and a late end harms nobody, so that it is moved only every so often: it is
// never before the limit, and behind it by an eighth at most.
func far(set, now, limit time.Duration) (time.Duration, bool) {
	if over := set - now - limit; over >= 0 && over <= limit/8 {
		return set, true
	}
	return now + limit + limit/8, false
}

// Read reads for fasthttp. What comes while no request is under way begins one, of which fasthttp has nothing yet: if it
// is like one before, it is answered here, and the next is waited for.
func (c *h1Conn) Read(b []byte) (int, error) {
	for first := !c.active.Load(); ; {
		n, err := c.read(b)
		if !first {
			return n, err
		}
		c.raw = b[:n]
		if err != nil {
			return n, err
		}
		switch done, err := c.repeat(c.raw); {
		case !done:
			return n, nil
		case err != nil:
			return 0, err
		}
	}
}

func (c *h1Conn) read(b []byte) (int, error) {
	by := c.readBy
	switch ok := false; {
	case !c.active.Load():
		if by, ok = far(by, c.now, c.idle); ok {
			return c.Conn.Read(b)
		}
	case c.timed:
		return c.Conn.Read(b)
	default:
		by, c.timed = time.Since(c.epoch)+c.rest, true
	}
	if err := c.SetReadDeadline(c.epoch.Add(by)); err != nil {
		return 0, err
	}
	c.readBy = by
	return c.Conn.Read(b)
}

func (c *h1Conn) Write(b []byte) (int, error) {
	c.now = time.Since(c.epoch)
	if by, ok := far(c.writeBy, c.now, c.written); !ok {
		if err := c.SetWriteDeadline(c.epoch.Add(by)); err != nil {
			return 0, err
		}
		c.writeBy = by
	}
	return c.Conn.Write(b)
}

// track is told when a request begins, which is when its first byte has been read, and when it has been answered.
func (c *h1Conn) track(state fasthttp.ConnState) {
	switch state {
	case fasthttp.StateActive:
		c.timed = false
		c.active.Store(true)
	case fasthttp.StateIdle, fasthttp.StateClosed, fasthttp.StateHijacked:
		c.active.Store(false)
	}
}

func trackH1(nc net.Conn, state fasthttp.ConnState) { nc.(*h1Conn).track(state) }
