package server

import (
	"context"
	"errors"
	"net"
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
	config.SetMultipathTCP(false) // whose sockets take no filter, see turnAway
	ln, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return ln.(*net.TCPListener), nil
}

// sweep accepts what the kernel has already accepted on ln's behalf, and closes ln.
//
// Closing a listening socket resets every connection in its queue, other sockets on the same port notwithstanding,
// and whoever waits there holds an established connection and has no reason to try again. So new connections are
// turned away first, in a way that the client's kernel repeats after a second without anyone noticing; by then they
// reach the next process. Then the queue is emptied.
//
// An error means that no one could be turned away, and that a connection that arrived at the last moment was reset.
func sweep(ln *net.TCPListener, serve func(*net.TCPConn)) error {
	defer ln.Close()
	err := turnAway(ln)
	quiet := time.Now().Add(sweepQuiet)
	for end := time.Now().Add(sweepLimit); time.Now().Before(quiet) && time.Now().Before(end); {
		if ln.SetDeadline(quiet) != nil {
			break // closed
		}
		c, failed := ln.AcceptTCP()
		switch {
		case failed == nil:
			serve(c)
			quiet = time.Now().Add(sweepQuiet)
		case !errors.Is(failed, os.ErrDeadlineExceeded): // which need not be the deadline of here, see Server.leave
			return err
		}
	}
	return err
}
