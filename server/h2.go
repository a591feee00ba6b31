package server

//lint:file-ignore SA1019 net/http serves only connections that it shook hands with itself; ServeConn takes ours.

import (
	"log"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/propagation"
	"golang.org/x/net/http2"
)

const (
	// h2Streams is how many reviews one connection carries at once. client-go opens another connection, with another
	// handshake, when it would need more, and bursts of 500 pods are ordinary.
	h2Streams = 2048

	// h2StreamWindow is how much of one body may be under way unread: a small body at once, and a large one at
	// 25 MB/s over 10 ms. h2ConnWindow is the same for all of a connection: more than the bodies that wait for room
	// can hold (see maxWaiting), so that they don't stop the others.
	h2StreamWindow = 256 << 10
	h2ConnWindow   = 2 * maxWaiting * h2StreamWindow
)

// h2 is the HTTP/2 server, and the configuration that its connections take from net/http, whose Shutdown sends GOAWAY
// to all of them. It is given one connection after another and listens to nothing itself.
type h2 struct {
	server http2.Server
	base   http.Server
}

func (s *Server) newH2(logger *log.Logger) (*h2, error) {
	h := &h2{
		base: http.Server{
			ReadTimeout:       s.config.ReadTimeout, // of one request's body
			ReadHeaderTimeout: s.config.ReadTimeout,
			IdleTimeout:       s.config.IdleTimeout,
			// A head over this limit is answered 431 by the library, which nothing here can prevent; heads are the
			// apiserver's own words, and a pod's author has no way into them.
			MaxHeaderBytes: 64 << 10,
			ConnState:      trackH2,
			ErrorLog:       logger,
		},
		server: http2.Server{
			MaxConcurrentStreams:         h2Streams,
			MaxUploadBufferPerStream:     h2StreamWindow,
			MaxUploadBufferPerConnection: h2ConnWindow,
			IdleTimeout:                  s.config.IdleTimeout,
		},
	}
	return h, http2.ConfigureServer(&h.base, &h.server)
}

func (s *Server) serveH2(c *conn) {
	s.h2.server.ServeConn(c, &http2.ServeConnOpts{
		Context:    s.base,
		BaseConfig: &s.h2.base,
		Handler:    &h2Door{s, c},
	})
}

// goAway tells every HTTP/2 connection to finish what it has begun and not to begin anything more. It returns at once
// and may be called again, for connections that came to be since.
func (s *Server) goAway() { _ = s.h2.base.Shutdown(s.base) }

// h2Door adapts the requests of one connection to [Server.receive].
type h2Door struct {
	server *Server
	conn   *conn
}

// The values of headers that are always the same. They must not be changed.
var (
	jsonHeader = []string{contentType}
	noHeader   []string // makes the library leave out Date, which costs a microsecond
)

// ServeHTTP answers one request.
func (h *h2Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s, header := h.server, w.Header()
	header["Content-Type"], header["Date"] = jsonHeader, noHeader
	if why := s.admit(h.conn, r.Method == http.MethodPost, []byte(r.URL.Path), []byte(r.Header.Get("Authorization"))); why != admitted {
		if why == refusedMethod {
			header.Set("Allow", "POST")
		}
		w.WriteHeader(why.code())
		_, _ = w.Write(s.refusal(why)) // an error means that the caller has gone
		return
	}
	x := s.door.acquire()
	defer s.door.release(x)
	x.protocol, x.client, x.query = protocolH2, h.conn.client, []byte(r.URL.RawQuery)
	x.ctx, x.carrier = r.Context(), propagation.HeaderCarrier(r.Header)
	status, _ := s.receive(x, r.Body, r.ContentLength)
	header["Content-Length"] = []string{strconv.Itoa(len(x.reply))}
	w.WriteHeader(status)
	_, _ = w.Write(x.reply)
}
