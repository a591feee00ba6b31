package server

import (
	"errors"
	"log"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/propagation"
)

// maxHead bounds the request line and headers on HTTP/1.1. They are the apiserver's own words; a bearer token is the
// only long one.
const maxHead = 8 << 10

// newH1 makes the HTTP/1.1 server. It is given one connection after another, which keep the time limits, and listens to
// nothing itself.
//
// Left to itself it would answer some requests with a 4xx without asking anyone, which lets pods in: a body over its
// limit (so it is made to hand over every body as a stream, after one byte, and the limit is ours), multipart bodies
// (not parsed) and heads that it cannot read (the error handler). The price of streams is that an idle connection keeps
// its reader of maxHead bytes.
func (s *Server) newH1(logger *log.Logger) *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      s.serveH1,
		ErrorHandler:                 s.failH1,
		StreamRequestBody:            true,
		MaxRequestBodySize:           1,
		DisablePreParseMultipartForm: true,
		ReadBufferSize:               maxHead,
		ReduceMemoryUsage:            true,
		Concurrency:                  s.config.MaxConns + 1, // the accept loop has its own limit
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true,
		ConnState:                    trackH1,
		Logger:                       logger,
	}
}

// serveH1 adapts a request to [Server.receive].
func (s *Server) serveH1(ctx *fasthttp.RequestCtx) {
	hc := ctx.Conn().(*h1Conn)
	c, raw := hc.conn, hc.raw
	hc.raw = nil // the next request may be in there, too
	body, size := ctx.RequestBodyStream(), int64(ctx.Request.Header.ContentLength())
	if body == nil {
		size = 0
	}
	var authorization []byte
	if !c.certified { // else nobody looks at it
		authorization = ctx.Request.Header.Peek("Authorization")
	}
	k, known := s.doors[string(ctx.Path())]
	if r := s.admit(c, k, known, ctx.IsPost(), authorization); r != admitted {
		if size != 0 {
			s.hangUpH1(ctx, c)
		}
		ctx.Response.SetBodyRaw(s.refusal(r))
		respondH1(ctx, r.code())
		if r == refusedMethod {
			ctx.Response.Header.Set("Allow", "POST")
		}
	} else {
		x := s.door.acquire(k)
		x.protocol, x.client, x.query = protocolH1, c.client, ctx.URI().QueryString()
		x.carrier = (*h1Headers)(&ctx.Request.Header)
		if (c.certified || s.open(k)) && 0 < size && size <= freeBody {
			hc.again.learn(raw, ctx, k)
		}
		status, ended := s.receive(x, body, size)
		ctx.Response.SetBody(x.reply)
		respondH1(ctx, status)
		if !ended {
			s.hangUpH1(ctx, c)
		}
		s.door.release(x)
	}
	if s.closing.Load() {
		ctx.SetConnectionClose()
	}
}

// hangUpH1 ends the connection behind the answer, because the request's body was not read to its end.
func (s *Server) hangUpH1(ctx *fasthttp.RequestCtx, c *conn) {
	c.linger = true
	ctx.SetConnectionClose()
}

func respondH1(ctx *fasthttp.RequestCtx, status int) {
	ctx.Response.SetStatusCode(status)
	ctx.Response.Header.SetContentType(contentType)
}

// failH1 answers requests whose head cannot be read. Nobody knows what was asked, so that it may have been a review. If it
// was an AdmissionReview, the answer is none to it, and the webhook's failurePolicy decides.
func (s *Server) failH1(ctx *fasthttp.RequestCtx, err error) {
	x := s.door.acquire(imageReview)
	defer s.door.release(x)
	x.protocol = protocolH1
	if c, ok := ctx.Conn().(*h1Conn); ok {
		c.linger, x.client = true, c.client
	}
	reason := "the request is no HTTP that can be understood"
	var small *fasthttp.ErrSmallBuffer
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &small):
		reason = "the request's headers are too large"
	case errors.As(err, &timeout) && timeout.Timeout():
		reason = "the request did not arrive in time"
	}
	status := s.door.unusable(x, unusableHTTP, reason)
	ctx.Response.Reset()
	ctx.Response.SetBody(x.reply)
	respondH1(ctx, status)
}

// h1Headers shows a request's headers to the propagator of traces.
type h1Headers fasthttp.RequestHeader

var _ propagation.TextMapCarrier = (*h1Headers)(nil)

// Get returns the value of a header, or nothing.
func (h *h1Headers) Get(key string) string { return string((*fasthttp.RequestHeader)(h).Peek(key)) }

// Set does nothing: the headers have been read.
func (h *h1Headers) Set(string, string) {}

// Keys returns nothing: nobody asks.
func (h *h1Headers) Keys() []string { return nil }
