package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/url"
	"os"
	"strings"

	"go.opentelemetry.io/otel/propagation"

	"sluice/server/h2"
)

const (
	// h2Streams is how many reviews one connection carries at once. client-go opens another connection, with another
	// handshake, when it would need more, and bursts of 500 pods are ordinary.
	h2Streams = 2048

	// h2Jobs is how many reviews of all connections may be decided at once that are not answered from the cache. Most
	// of them wait for others: what really works is bounded by the engine.
	h2Jobs = 8192

	// h2StreamWindow is how much of one body may be under way unread: a small body at once, and a large one at
	// 25 MB/s over 10 ms. h2ConnWindow is the same for all of a connection: more than the bodies that wait for room
	// can hold (see maxWaiting), so that they don't stop the others.
	h2StreamWindow = 256 << 10
	h2ConnWindow   = 2 * maxWaiting * h2StreamWindow

	// h2Held bounds small bodies that have begun to arrive, of all connections. The few that an honest caller has on
	// the way need none of it.
	h2Held = 64 << 20
)

// newH2 makes the HTTP/2 server. It is given one connection after another and listens to nothing itself.
func (s *Server) newH2() *h2.Server {
	return h2.New(h2.Config{
		MaxStreams: h2Streams, MaxJobs: h2Jobs, SmallBody: freeBody, MaxHeld: h2Held,
		StreamWindow: h2StreamWindow, ConnWindow: h2ConnWindow,
		PrefaceTimeout: s.config.HandshakeTimeout, BodyTimeout: s.config.ReadTimeout,
		WriteTimeout: s.config.ReadTimeout, IdleTimeout: s.config.IdleTimeout,
	})
}

func (s *Server) serveH2(c *conn) {
	err := s.h2.Serve(s.base, h2Conn{c.Conn, c.line}, &h2Door{server: s, conn: c})
	var fault *h2.Panic
	if errors.As(err, &fault) {
		s.recovered(fault.Value, fault.Stack)
	} else if err != nil {
		s.config.Logger.Debug("an HTTP/2 connection was given up", "remote", c.RemoteAddr().String(), "error", clip(err.Error(), maxDetail))
	}
}

// h2Conn tells when everything that has come in was read, so that the answers to all of it leave together.
type h2Conn struct {
	*tls.Conn
	line *line
}

var _ h2.Waiter = h2Conn{}

// BeforeWait has f called, by the goroutine that reads, before a read waits.
func (c h2Conn) BeforeWait(f func()) { c.line.waits = f }

// h2Door adapts the requests of one connection to the one way of all reviews.
type h2Door struct {
	server *Server
	conn   *conn

	// By door, the path at which a caller was last admitted whose token nobody looks at, with its query: nearly always the
	// next one, too.
	known [numKinds]string
}

var _ h2.Handler = (*h2Door)(nil)

// at finds the door that a request is for.
func (h *h2Door) at(r *h2.Request) (kind, bool) {
	for k := range h.known {
		if h.known[k] != "" && r.Path == h.known[k] {
			return kind(k), true
		}
	}
	path, _, _ := strings.Cut(r.Path, "?")
	if strings.IndexByte(path, '%') >= 0 {
		if plain, err := url.PathUnescape(path); err == nil {
			path = plain
		}
	}
	k, ok := h.server.doors[path]
	return k, ok
}

// why says whether a request may be a review.
func (h *h2Door) why(r *h2.Request) refusal {
	k, ok := h.at(r)
	return h.server.admit(h.conn, k, ok, r.Method == "POST", []byte(r.Authorization))
}

// Head admits a request.
func (h *h2Door) Head(r *h2.Request) bool {
	if r.Method == "POST" {
		for _, path := range h.known {
			if path != "" && r.Path == path {
				return true
			}
		}
	}
	if h.why(r) != admitted {
		return false
	}
	if k, _ := h.at(r); h.conn.certified || h.server.open(k) {
		h.known[k] = r.Path
	}
	return true
}

// Refuse answers a request that was not admitted.
func (h *h2Door) Refuse(r *h2.Request, _ []byte) h2.Reply {
	why := h.why(r)
	if why == admitted { // by a token that has just been read
		why = refusedCaller
	}
	reply := h2.Reply{Status: why.code(), Body: h.server.refusal(why)}
	if why == refusedMethod {
		reply.Allow = "POST"
	}
	return reply
}

// exchange begins one.
func (h *h2Door) exchange(k kind) *exchange {
	x := h.server.door.acquire(k)
	x.protocol, x.client = protocolH2, h.conn.client
	return x
}

// job makes an exchange a job, and notes what only jobs need.
func (h *h2Door) job(x *exchange, r *h2.Request, size int64) *h2Job {
	if _, query, ok := strings.Cut(r.Path, "?"); ok {
		x.query = []byte(query)
	}
	if r.TraceParent != "" {
		x.carrier = h2Trace{r.TraceParent, r.TraceState}
	}
	return &h2Job{server: h.server, x: x, size: size}
}

// answer takes the reply out of an exchange, which is then over.
func (h *h2Door) answer(x *exchange, status int, dst []byte) h2.Reply {
	reply := h2.Reply{Status: status, Body: append(dst, x.reply...)}
	h.server.door.release(x)
	return reply
}

// Small decides a review if that takes no waiting.
func (h *h2Door) Small(r *h2.Request, body, dst []byte) (h2.Reply, h2.Job) {
	k, _ := h.at(r)
	s, x := h.server, h.exchange(k)
	if int64(len(body)) > s.maxBody(k) {
		x.body = append(x.space(foretaste)[:0], body[:min(len(body), foretaste)]...)
		return h.answer(x, s.door.unusable(x, unusableTooLarge, s.tooLarge(k)), dst), nil
	}
	x.body = append(x.space(len(body))[:0], body...)
	status, ok := s.door.hit(x)
	if !ok {
		return h2.Reply{}, h.job(x, r, 0)
	}
	return h.answer(x, status, dst), nil
}

// Large reads a review as HTTP/1.1 does.
func (h *h2Door) Large(r *h2.Request) h2.Job {
	k, _ := h.at(r)
	return h.job(h.exchange(k), r, r.ContentLength)
}

// Fail denies a request that did not arrive whole.
func (h *h2Door) Fail(r *h2.Request, why h2.Failure, dst []byte) h2.Reply {
	if why == h2.HeadTooLarge && h.why(r) == refusedCaller { // the only failure that Head did not come before
		return h.Refuse(r, dst)
	}
	k, _ := h.at(r)
	d, x := &h.server.door, h.exchange(k)
	status := statusOK
	switch why {
	case h2.BodyTooLate:
		status = d.unusable(x, unusableIncomplete, incomplete(os.ErrDeadlineExceeded))
	case h2.NoRoom:
		status = d.noRoom(x)
	default:
		status = d.unusable(x, unusableHTTP, "the request's headers are too large")
	}
	return h.answer(x, status, dst)
}

// Active notes whether a drain may end the connection.
func (h *h2Door) Active(under bool) { h.conn.active.Store(under) }

// h2Job is a review that takes waiting: for the decision, or for its body.
type h2Job struct {
	server *Server
	x      *exchange
	size   int64 // of the body, if it is to be read; negative: not said
}

var _ h2.Job = (*h2Job)(nil)

// Run decides the review.
func (j *h2Job) Run(ctx context.Context, body io.Reader) h2.Reply {
	j.x.ctx = ctx
	var status int
	if body == nil {
		status = j.server.door.rest(j.x)
	} else {
		status, _ = j.server.receive(j.x, body, j.size)
	}
	return h2.Reply{Status: status, Body: j.x.reply}
}

// Shed denies the review: what a pod's author can bring about must not be a failure.
func (j *h2Job) Shed() h2.Reply { return h2.Reply{Status: j.server.door.noRoom(j.x), Body: j.x.reply} }

// Close gives back what the review has used.
func (j *h2Job) Close() { j.server.door.release(j.x) }

// h2Trace shows a request's trace to the propagator.
type h2Trace struct{ parent, state string }

var _ propagation.TextMapCarrier = h2Trace{}

// Get returns the value of a header, or nothing.
func (t h2Trace) Get(key string) string {
	switch key {
	case "traceparent":
		return t.parent
	case "tracestate":
		return t.state
	}
	return ""
}

// Set does nothing: the headers have been read.
func (h2Trace) Set(string, string) {}

// Keys returns nothing: nobody asks.
func (h2Trace) Keys() []string { return nil }
