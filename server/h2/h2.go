// Package h2 is an HTTP/2 server (RFC 9113) for one job: short requests that are nearly always answered at once.
//
// One goroutine for each connection reads frames and asks a [Handler] for the answer while it has the request's bytes
// at hand. Answers pile up and leave together when what has arrived is dealt with. A request that cannot be answered
// at once becomes a [Job] on a goroutine of its own, and so does one whose body is large.
//
// It trusts nothing that arrives. Streams, jobs, header lists, unfinished bodies, unsent answers, resets and frames
// that bring nothing are bounded, and whoever goes beyond is refused the stream or loses the connection. Time limits
// are kept by a coarse tick, so that requests which are answered at once never look at the clock.
//
// It knows nothing of what it carries: which methods and paths there are, who may ask, and what is answered are the
// Handler's. It never pushes, and neither prioritizes nor upgrades.
package h2

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Config limits what all connections may take. Every field must be set.
type Config struct {
	MaxStreams int   // a connection; announced, and jobs whose stream was reset count until they have ended
	MaxJobs    int   // of all connections; beyond it a job is shed
	SmallBody  int   // bytes up to which a body is collected; a larger one becomes a job that reads it
	MaxHeld    int64 // bytes of small requests, of all connections, that have begun and not ended

	StreamWindow int32 // bytes of one body that may be under way unread; more than two frames beyond SmallBody
	ConnWindow   int32 // the same, of all bodies of a connection

	PrefaceTimeout time.Duration // until the client has said that it speaks HTTP/2
	BodyTimeout    time.Duration // from a request's head to its end
	WriteTimeout   time.Duration // of one write, and of an answer that waits for the client to take it
	IdleTimeout    time.Duration // without a request
}

// Limits that nobody needs to choose.
const (
	maxHeaderList = 64 << 10  // bytes as RFC 9113, 6.5.2 counts them; announced. Beyond: Handler.Fail.
	maxBlock      = 256 << 10 // bytes of a header block as it is sent; beyond, the connection ends
	maxFragments  = 128       // frames that one header block comes in; likewise

	freeHeld   = 64 << 10  // bytes of unfinished small requests that a connection may have before it asks for MaxHeld
	freeHead   = 1 << 10   // bytes of an unfinished request's strings that do not count
	maxUnsent  = 4 << 20   // bytes of answers that a connection may have waiting for the client
	allUnsent  = 128 << 20 // the same, of all connections, beyond which none may have more than the next
	freeUnsent = 64 << 10
	maxTrifles = 10_000 // frames that bring nothing, ahead of those that do; see conn.trifle
	maxResets  = 5_000  // streams that end without an answer, ahead of those with one

	perAnswer = 20  // trifles that an answer makes up for; a reset is made up for by one answer
	perSecond = 100 // trifles and resets that a second makes up for
)

// Request is what a Handler learns of a request's head. Its strings stay valid; the Request itself is valid during the
// call only.
type Request struct {
	Method        string
	Path          string // with the query, as it came; empty for CONNECT
	Authorization string // the first, if there are several; so do the others
	TraceParent   string
	TraceState    string
	ContentLength int64 // negative: not said
}

// Reply is an answer. Its content type is application/json.
type Reply struct {
	Status int
	Allow  string // if not empty, the header of that name
	Body   []byte
}

// Failure says why a request did not arrive whole.
type Failure uint8

// The failures there are.
const (
	HeadTooLarge Failure = iota // the header list is over its limit; the Request holds what came before that
	BodyTooLate                 // the body did not arrive in time
	NoRoom                      // too many small bodies are under way
)

// Handler answers the requests of one connection. Its methods are called by one goroutine at a time, and must not
// wait for anything. Those that take dst append the reply's body to it, or return other memory that the next call of a
// method may write to.
type Handler interface {
	// Head tells whether a request's body is wanted. If it is not, Refuse is asked for the answer when the request
	// has ended or taken too long, or at once if its headers are large, and its body, if any, is thrown away.
	Head(r *Request) bool

	// Refuse answers a request that Head did not want.
	Refuse(r *Request, dst []byte) Reply

	// Small answers a request with all of its body, which is valid during the call, or returns a Job that will.
	Small(r *Request, body, dst []byte) (Reply, Job)

	// Large returns the Job that reads the body of a request and answers it.
	Large(r *Request) Job

	// Fail answers a request that did not arrive whole.
	Fail(r *Request, why Failure, dst []byte) Reply

	// Active is told when the connection begins to have requests under way, and when it has none any more.
	Active(bool)
}

// Job answers one request, on a goroutine of its own.
type Job interface {
	// Run answers the request. body is nil unless the Job is of Handler.Large. The context ends when the client takes
	// the request back or hangs up; the answer then goes nowhere. The Reply stays valid until Close.
	Run(ctx context.Context, body io.Reader) Reply

	// Shed answers in place of Run when too many jobs are under way. It must not wait.
	Shed() Reply

	// Close is called last, and once.
	Close()
}

// Waiter is a connection that calls a function before one of its reads waits for the client, on the goroutine that
// reads. Answers are then sent at that time, together, and not after each read.
type Waiter interface {
	net.Conn
	BeforeWait(f func())
}

// Error is why the server ended a connection, in the words of RFC 9113, section 7.
type Error struct {
	Code   uint32
	Reason string
}

// Error names the reason.
func (e *Error) Error() string { return fmt.Sprintf("h2: %s (code %d)", e.Reason, e.Code) }

// Panic is what Serve returns when it recovered one, of the Handler, a Job, or its own.
type Panic struct {
	Value any
	Stack []byte
}

// Error returns the value that was panicked with.
func (p *Panic) Error() string { return fmt.Sprintf("h2: a panic: %v", p.Value) }

// Server serves connections, and holds what they share. Its methods may be called concurrently.
type Server struct {
	config  Config
	period  time.Duration // of the tick
	buffers sync.Pool     // of *[]byte, each of bufferSize
	streams sync.Pool     // of *stream

	jobs   atomic.Int64
	held   atomic.Int64 // bytes; see Config.MaxHeld
	unsent atomic.Int64 // bytes; see allUnsent

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// New makes a Server.
func New(config Config) *Server {
	s := &Server{config: config, conns: map[*conn]struct{}{}}
	s.period = min(config.PrefaceTimeout, config.BodyTimeout, config.WriteTimeout, config.IdleTimeout) / 8
	s.period = max(s.period, time.Millisecond)
	s.buffers.New = func() any { b := make([]byte, bufferSize); return &b }
	s.streams.New = func() any { return new(stream) }
	return s
}

// ticks is how many ticks after something began it has surely lasted for d.
func (s *Server) ticks(d time.Duration) uint32 {
	return uint32(min((d+s.period-1)/s.period+1, 1<<30))
}

// Serve carries one connection from its first byte to its last, closes it, and returns when its jobs have ended, too.
// All of them are done under ctx, whose end does not end the connection. The error tells what made the server give the
// connection up: an [*Error], a [*Panic], a failed write, or nil if the client left or nothing was left to do.
func (s *Server) Serve(ctx context.Context, nc net.Conn, h Handler) (err error) {
	c := s.newConn(ctx, nc, h)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		if v := recover(); v != nil {
			err = &Panic{v, debug.Stack()}
		}
		err = c.end(err)
	}()
	return c.serve()
}

// GoAway tells every connection to finish what it has begun and not to begin anything more: no request is lost by it.
// Each ends when its last stream does. It returns at once and may be called again, for connections that came since.
func (s *Server) GoAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.told.CompareAndSwap(false, true) {
			go c.goAway() // which may wait for one that is being written to
		}
	}
}
