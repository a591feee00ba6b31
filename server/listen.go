package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"
)

// sweepQuiet is how long the queue of a listening socket must have been empty before the socket is closed: longer
// than a round trip between nodes, so that handshakes that had begun come to an end. sweepLimit bounds the sweep.
const (
	sweepQuiet = 50 * time.Millisecond
	sweepLimit = time.Second
)

// listen binds addr. Where the system can, it does so with SO_REUSEPORT, so that the next process listens on the
// port before this one has left it.
func listen(addr string) (*net.TCPListener, error) {
	config := net.ListenConfig{Control: ReusePort}
	config.SetMultipathTCP(false) // whose sockets take no program, see steer
	ln, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return ln.(*net.TCPListener), nil
}

// sweep accepts what the kernel has already accepted on ln's behalf, and closes ln.
//
// Closing a listening socket resets every connection in its queue, other sockets on the same port notwithstanding,
// and whoever waits there holds an established connection and has no reason to try again. So new connections are led
// to another process first, and then the queue is emptied. Where no other listens, whoever comes in the moment of the end
// is reset; a moment later they would be refused.
//
// An error means that nobody could be led away.
func sweep(ln *net.TCPListener, serve func(*net.TCPConn)) error {
	defer ln.Close()
	g := guide{ln: ln}
	g.lead()
	for begun := time.Now(); time.Since(begun) < sweepLimit; {
		c := next(ln)
		if c == nil {
			return g.err
		}
		wrong := g.took()
		if g.sent(c) {
			_ = c.Close()
		} else {
			serve(c)
		}
		if wrong {
			g.lead()
		}
	}
	return g.err
}

// next accepts a connection. It returns nil if none comes within sweepQuiet, or if ln was closed.
func next(ln *net.TCPListener) *net.TCPConn {
	for until := time.Now().Add(sweepQuiet); ; {
		if ln.SetDeadline(until) != nil {
			return nil
		}
		c, err := ln.AcceptTCP()
		switch {
		case err == nil:
			return c
		case !errors.Is(err, os.ErrDeadlineExceeded), !time.Now().Before(until): // or else it is another's, see Server.leave
			return nil
		}
	}
}

// guide leads new connections away from ln, to another of the sockets that listen on its port. Which of them ln is, and
// which of the others is about to leave as well, only connections can tell: one that it makes, or another's. What still
// arrives at ln was led to the wrong one.
type guide struct {
	ln     *net.TCPListener
	index  uint32
	queued int // arrived before anyone was led there
	probes int // connections made, or given up
	made   []netip.AddrPort
	err    error
}

// Sockets that are looked for, more than two of which are there by mistake; and how often each is tried by a connection
// of one's own.
const (
	maxShared = 4
	maxProbes = 2 * maxShared
)

// lead has the next of the sockets get all new connections.
func (g *guide) lead() {
	if g.err != nil {
		return
	}
	if g.err = steer(g.ln, g.index); g.err != nil {
		return
	}
	g.index, g.queued = (g.index+1)%maxShared, queued(g.ln)
	if g.probes == maxProbes { // they all came back: there is no other socket
		return
	}
	g.probes++
	dialer := net.Dialer{Timeout: sweepQuiet}
	dialer.SetMultipathTCP(false)
	c, err := dialer.Dial("tcp", g.ln.Addr().String()) // of an unspecified address, that is the local host
	if err != nil {
		g.probes = maxProbes // a busy process, or a full queue: others come in any case, and tell the same
		return
	}
	g.made = append(g.made, addrPort(c.LocalAddr()))
	_ = c.Close()
}

// took notes that a connection was accepted, and tells whether it should have been led elsewhere.
func (g *guide) took() bool {
	if g.queued > 0 {
		g.queued--
		return false
	}
	return true
}

// sent tells whether c is a connection that lead has made.
func (g *guide) sent(c *net.TCPConn) bool { return slices.Contains(g.made, addrPort(c.RemoteAddr())) }

// addrPort returns a TCP address that can be compared: a socket for IPv6 has its own way to write those of IPv4.
func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
