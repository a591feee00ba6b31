package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"
)

// protocol is what a connection speaks.
type protocol uint8

const (
	protocolNone protocol = iota // the handshake is not over
	protocolH1
	protocolH2

	numProtocols
)

var protocolNames = [numProtocols]string{protocolNone: "handshake", protocolH1: "h1", protocolH2: "h2"}

func (p protocol) String() string { return protocolNames[p] }

// conn is one connection. It is served by one goroutine, which owns what is not atomic.
type conn struct {
	*tls.Conn
	line *line

	certified bool   // the caller proved a client certificate
	client    string // the name in it
	linger    bool   // see Close

	active atomic.Bool // carries a request now, or several
}

// Limits of lingering.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20
)

// Close ends the connection. If the caller may be sending still, what it sends is read for a while: closing a socket
// with bytes unread resets the connection, and the caller could lose the answer that it was given.
func (c *conn) Close() error {
	if c.linger && c.CloseWrite() == nil {
		if c.line.CloseWrite() == nil && c.line.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
			_, _ = io.CopyN(io.Discard, c.line, lingerBytes)
		}
	}
	return c.Conn.Close()
}

// accept takes up a connection, which serve must then be called for.
func (s *Server) accept(tcp *net.TCPConn) *conn {
	l := &line{TCPConn: tcp}
	c := &conn{Conn: tls.Server(l, s.tlsConfig), line: l}
	s.counters.accepted.Add(1)
	s.counters.open[protocolNone].Add(1)
	if !s.track(c) {
		_ = tcp.Close()
	}
	return c
}

// serve carries one connection from its first byte to its last.
func (s *Server) serve(c *conn) {
	proto := protocolNone
	defer func() {
		if v := recover(); v != nil { // the libraries', or ours outside of a review
			s.recovered(v, debug.Stack())
		}
		_ = c.Close()
		s.counters.open[proto].Add(-1)
		s.untrack(c)
	}()
	if err := s.handshake(c); err != nil {
		return
	}
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		proto = protocolH2
	} else {
		proto = protocolH1
	}
	s.counters.open[protocolNone].Add(-1)
	s.counters.open[proto].Add(1)
	s.counters.served[proto].Add(1)
	if proto == protocolH2 {
		s.serveH2(c)
	} else {
		_ = s.h1.ServeConn(s.newH1Conn(c)) // what it returns is about callers that hung up
	}
}

// recovered notes a panic outside of a review.
func (s *Server) recovered(v any, stack []byte) {
	s.counters.panics.Add(1)
	s.config.Logger.Error("a panic was recovered, and a connection closed", "panic", v, "stack", string(stack))
}

// handshake finds out who calls. A caller that hangs up before it has said anything is no failure: load balancers
// probe like that, and clients give up connections that they turn out not to need.
func (s *Server) handshake(c *conn) error {
	ctx, cancel := context.WithTimeout(s.base, s.config.HandshakeTimeout)
	defer cancel()
	_ = c.line.SetDeadline(time.Now().Add(s.config.HandshakeTimeout))
	c.line.begin(ctx, &s.gate)
	defer c.line.end()
	if err := c.Handshake(); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) {
			s.counters.handshakesAbandoned.Add(1)
			return err
		}
		s.counters.handshakesFailed.Add(1)
		level := slog.LevelDebug
		if !errors.Is(err, os.ErrDeadlineExceeded) && s.complaints.now() {
			level = slog.LevelWarn
		}
		s.config.Logger.Log(s.base, level, "TLS handshake failed", "remote", c.line.RemoteAddr().String(), "error", clip(err.Error(), maxDetail))
		return err
	}
	s.counters.handshakes.Add(1)
	state := c.ConnectionState()
	certified, err := s.credentials.certify(c.line.identity, state)
	switch {
	case certified:
		c.certified, c.client = true, clientName(state)
	case err != nil && s.complaints.now():
		s.config.Logger.Warn("a client certificate is not accepted, and its caller is answered as anyone is",
			"remote", c.line.RemoteAddr().String(), "error", clip(err.Error(), maxDetail))
	}
	return c.line.SetDeadline(time.Time{})
}

// clientName is the name by which the log speaks of a caller.
func clientName(state tls.ConnectionState) string {
	leaf := state.PeerCertificates[0]
	switch {
	case leaf.Subject.CommonName != "":
		return leaf.Subject.CommonName
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames[0]
	case len(leaf.URIs) > 0:
		return leaf.URIs[0].String()
	}
	return ""
}
