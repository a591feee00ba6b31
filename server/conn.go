package server

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
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
	first   time.Duration // how long the first byte of the first request may take
	written time.Duration // how long one write may take

	certified bool   // the caller proved a client certificate
	client    string // the name in it
	linger    bool   // see Close

	used   atomic.Bool // has carried a request
	active atomic.Bool // carries one now, or several
}

// SetReadDeadline stretches the deadline of the first request to the idle timeout. A client opens more connections
// than it comes to need and keeps the others for later, for 90 s in client-go's case. fasthttp would close them after
// ReadTimeout, and a review that is sent at that moment is lost.
func (c *conn) SetReadDeadline(t time.Time) error {
	if !c.used.Load() && !t.IsZero() {
		t = time.Now().Add(c.first)
	}
	return c.Conn.SetReadDeadline(t)
}

// Write gives each write its own deadline. fasthttp's WriteTimeout is set for answers of the handler alone: what else is
// written, such as 100 Continue or the answer to a head that cannot be read, would meet the deadline of the answer
// before it, be lost, and leave the TLS stream broken.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.written)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
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
		raw := c.NetConn()
		if tcp, ok := raw.(*net.TCPConn); ok && tcp.CloseWrite() == nil && raw.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
			_, _ = io.CopyN(io.Discard, raw, lingerBytes)
		}
	}
	return c.Conn.Close()
}

// trackPhase is told by both libraries when a connection begins and ends to carry requests. fasthttp's states have
// the values of net/http's.
func trackPhase[S http.ConnState | fasthttp.ConnState](nc net.Conn, state S) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch http.ConnState(state) {
	case http.StateActive:
		c.used.Store(true)
		c.active.Store(true)
	case http.StateIdle, http.StateClosed, http.StateHijacked:
		c.active.Store(false)
	}
}

// accept takes up a connection, which serve must then be called for.
func (s *Server) accept(tcp *net.TCPConn) *conn {
	c := &conn{Conn: tls.Server(tcp, s.tlsConfig), first: s.config.IdleTimeout, written: s.config.ReadTimeout}
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
			s.counters.panics.Add(1)
			s.config.Logger.Error("a panic was recovered, and a connection closed", "panic", v, "stack", string(debug.Stack()))
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
		_ = s.h1.ServeConn(c) // what it returns is about callers that hung up
	}
}

// handshake finds out who calls. A caller that hangs up before it has said anything is no failure: load balancers
// probe like that, and clients give up connections that they turn out not to need.
func (s *Server) handshake(c *conn) error {
	tcp := c.NetConn()
	_ = tcp.SetDeadline(time.Now().Add(s.config.HandshakeTimeout))
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
		s.config.Logger.Log(s.base, level, "TLS handshake failed", "remote", tcp.RemoteAddr().String(), "error", clip(err.Error(), maxDetail))
		return err
	}
	s.counters.handshakes.Add(1)
	if state := c.ConnectionState(); len(state.VerifiedChains) > 0 {
		c.certified, c.client = true, clientName(state)
	}
	return tcp.SetDeadline(time.Time{})
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
