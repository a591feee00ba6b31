package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/trace"

	"sluice/server/h2"
	"sluice/server/wire"
)

// Config is what a Server is made of. Zero values mean the defaults.
type Config struct {
	Addr    string // host:port to listen on; port 0 takes a free one
	TLS     TLS
	Decider Decider
	Paths   []string // further doors for ImageReview beside /v1/imagereview, /, /policy and /image_policy; each begins with /

	// Of the doors for AdmissionReview, /v1/admission/validate and /v1/admission/mutate. A review there may be twice as
	// large as MaxBody: of an update it holds the object twice.
	Admission Admission

	Budget    time.Duration // what a review may take, if its ?timeout= does not say less; default 8 s
	MaxBody   int64         // bytes; default 20 MiB, and no pod the apiserver accepts makes a larger ImageReview
	MaxBodies int64         // bytes of all large bodies in flight; default 128 MiB, at least MaxBody
	MaxConns  int           // connections, from one address or from many; beyond it they wait; default 4,096, at least 1,024

	IdleTimeout      time.Duration // of a connection; default 120 s, which must be above the client's 90 s
	ReadTimeout      time.Duration // of one request, body and all, and of writing its answer; default 30 s
	HandshakeTimeout time.Duration // default 10 s
	IdleGrace        time.Duration // how long a drain leaves idle connections open; default 3 s

	Logger *slog.Logger // default: nothing is written
	Tracer trace.Tracer // for a span a review that is not answered from the cache; nil: none
}

func (c *Config) complete() error {
	duration := func(v *time.Duration, otherwise time.Duration) {
		if *v == 0 {
			*v = otherwise
		}
	}
	duration(&c.Budget, 8*time.Second)
	duration(&c.IdleTimeout, 120*time.Second)
	duration(&c.ReadTimeout, 30*time.Second)
	duration(&c.HandshakeTimeout, 10*time.Second)
	duration(&c.IdleGrace, 3*time.Second)
	if c.MaxBody == 0 {
		c.MaxBody = 20 << 20
	}
	if c.MaxBodies == 0 {
		c.MaxBodies = max(128<<20, c.MaxBody)
	}
	if c.MaxConns == 0 {
		c.MaxConns = 4096
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Decider == nil:
		return errors.New("a decider is needed")
	case c.Budget < 0, c.IdleTimeout < 0, c.ReadTimeout < 0, c.HandshakeTimeout < 0, c.IdleGrace < 0:
		return errors.New("a time limit is below zero")
	case c.MaxBody < 0 || c.MaxBody > 1<<30:
		return fmt.Errorf("the limit on a body is %d bytes; it must be between 1 and 1 GiB", c.MaxBody)
	case c.MaxBodies < c.MaxBody:
		return fmt.Errorf("the limit on all bodies (%d bytes) is below that on one (%d bytes), which could then never be read", c.MaxBodies, c.MaxBody)
	case c.MaxConns < 1024:
		return fmt.Errorf("the limit on connections is %d; one apiserver alone may need 1024", c.MaxConns)
	}
	for _, p := range c.Paths {
		if !strings.HasPrefix(p, "/") {
			return fmt.Errorf("path %q does not begin with a slash", p)
		}
		if p == validatePath || p == mutatePath {
			return fmt.Errorf("path %q is that of a door for AdmissionReview", p)
		}
	}
	return nil
}

// Server answers reviews on one port. Make it with New; then Listen, Serve, and Shutdown or Drain. Its methods may be
// called concurrently.
type Server struct {
	config      Config
	credentials *credentials
	tlsConfig   *tls.Config
	doors       map[string]kind // by path
	door        door
	bodies      *budget
	counters    counters
	complaints  seldom
	gate        gate
	h1          *fasthttp.Server
	h2          *h2.Server

	base context.Context // ends with Close; all work is done under it
	end  context.CancelFunc

	leaving atomic.Bool   // Draining
	closing atomic.Bool   // answers carry Connection: close
	stop    chan struct{} // closed when no more is to be accepted
	stopped chan struct{} // closed when nothing more is
	slots   chan struct{} // one for each connection

	mu       sync.Mutex // guards the following
	listener *net.TCPListener
	serving  bool
	closed   bool
	conns    map[*conn]struct{}
	freed    chan struct{} // has room for one; told when a connection is gone
}

// New makes a Server, which reads the files of config.TLS and binds nothing yet.
func New(config Config) (*Server, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	credentials, err := newCredentials(config.TLS, config.Admission.Anonymous)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s := &Server{
		config: config, credentials: credentials, tlsConfig: credentials.config(),
		bodies: newBudget(config.MaxBodies), doors: doorways(config.Paths),
		stop: make(chan struct{}), stopped: make(chan struct{}), slots: make(chan struct{}, config.MaxConns),
		conns: map[*conn]struct{}{}, freed: make(chan struct{}, 1),
	}
	s.gate.free = max(1, runtime.GOMAXPROCS(0)/2)
	s.base, s.end = context.WithCancel(context.Background())
	s.door.decider, s.door.budget, s.door.base = config.Decider, config.Budget, s.base
	s.door.secrets = config.Admission.PullSecrets
	s.door.logger, s.door.tracer, s.door.counters, s.door.epoch = config.Logger, config.Tracer, &s.counters, time.Now()
	said := chatter(config.Logger)
	s.h1 = s.newH1(said)
	s.h2 = s.newH2()
	return s, nil
}

// Listen binds the port. From then on the kernel accepts connections; Serve takes them up.
func (s *Server) Listen() error {
	ln, err := listen(s.config.Addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil || s.closed {
		_ = ln.Close()
		return errors.New("server: has been listening before")
	}
	s.listener = ln
	return nil
}

// Addr returns the address that is listened on, or nil before Listen.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Reload reads certificate, key, client authorities and tokens again. On an error, what was last read stays in force.
// Connections that are open stay open.
func (s *Server) Reload() error { return s.credentials.reload() }

// Hash is the hexadecimal SHA-256 of what Reload has last accepted.
func (s *Server) Hash() string { return s.credentials.current.Load().hash }

// Files are the paths of what Reload reads.
func (s *Server) Files() []string { return s.credentials.paths() }

// Draining tells whether the server is about to leave, and no traffic should be sent its way any more.
func (s *Server) Draining() bool { return s.leaving.Load() }

// contentType is that of every answer.
const contentType = "application/json"

// refusal says why a request is none of the doors' business.
type refusal uint8

const (
	admitted refusal = iota
	refusedPath
	refusedMethod
	refusedCaller

	numRefusals
)

var refusals = [numRefusals]struct {
	name, word, message string
	code                int
}{
	refusedPath: {"not_found", "NotFound", "there is nothing here; reviews are taken at /v1/imagereview, " +
		validatePath + " and " + mutatePath, 404},
	refusedMethod: {"method_not_allowed", "MethodNotAllowed", "reviews are sent with POST", 405},
	refusedCaller: {"unauthorized", "Unauthorized", "neither a client certificate nor a valid bearer token was presented", 401},
}

func (r refusal) String() string { return refusals[r].name }
func (r refusal) code() int      { return refusals[r].code }

// admit tells whether a request may be a review. k is the door that its path leads to, if it is known at all. Who asks comes
// first: strangers are told nothing of the doors, but for those that are open to them.
func (s *Server) admit(c *conn, k kind, known, post bool, authorization []byte) refusal {
	switch {
	case !c.certified && !(known && s.open(k)) && !s.credentials.bearer(authorization):
		return refusedCaller
	case !known:
		return refusedPath
	case !post:
		return refusedMethod
	}
	return admitted
}

// refusal counts a request that is turned away and returns what to answer.
func (s *Server) refusal(r refusal) []byte {
	s.counters.refused[r].Add(1)
	return wire.AppendStatus(nil, r.code(), refusals[r].word, refusals[r].message)
}
