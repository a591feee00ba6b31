package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
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
// to the next process first, if there is one. Then the queue is emptied.
//
// An error means that no one could be led away, and that a connection that arrived at the last moment was reset.
func sweep(ln *net.TCPListener, serve func(*net.TCPConn)) error {
	defer ln.Close()
	probe, err := leadAway(ln)
	quiet := time.Now().Add(sweepQuiet)
	for end := time.Now().Add(sweepLimit); time.Now().Before(quiet) && time.Now().Before(end); {
		if ln.SetDeadline(quiet) != nil {
			break // closed
		}
		c, failed := ln.AcceptTCP()
		switch {
		case failed == nil && probe.IsValid() && addrPort(c.RemoteAddr()) == probe:
			_ = c.Close()
			err = steer(ln, 1)
			quiet = time.Now().Add(sweepQuiet)
		case failed == nil:
			serve(c)
			quiet = time.Now().Add(sweepQuiet)
		case !errors.Is(failed, os.ErrDeadlineExceeded): // which need not be the deadline of here, see Server.leave
			return err
		}
	}
	return err
}

// leadAway leads all new connections to the first of the sockets that listen on ln's port. Which that is, only a
// connection can tell: it returns the address of one that it has made and ended. If that arrives at ln, ln is the first.
func leadAway(ln *net.TCPListener) (probe netip.AddrPort, err error) {
	if err := steer(ln, 0); err != nil {
		return probe, err
	}
	dialer := net.Dialer{Timeout: sweepLimit}
	dialer.SetMultipathTCP(false)
	c, err := dialer.Dial("tcp", ln.Addr().String()) // of an unspecified address, that is the local host
	if err != nil {
		return probe, err
	}
	return addrPort(c.LocalAddr()), c.Close()
}

// addrPort returns a TCP address that can be compared: a socket for IPv6 has its own way to write those of IPv4.
func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
