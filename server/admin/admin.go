// Package admin is the admin plane: an HTTP port for the people and machines that run the service, apart from the one
// that answers reviews. It shows whether the process lives and is ready, its figures and its profiles, and takes two
// orders: reload, and change the log level.
//
// It decides nothing about images. There is no authentication, so it trusts whoever can reach its port, which is why
// that is a loopback address unless the operator says otherwise. It does not trust web pages: a request that a browser
// sends on behalf of some site is refused where it would change or cost something.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits of the port. It is for a handful of clients, all of them close.
const (
	headerTimeout  = 5 * time.Second   // to send a request's header
	requestTimeout = 10 * time.Second  // to send the whole request
	writeTimeout   = 30 * time.Second  // to take the answer; profiles and reloads have what they need on top
	idleTimeout    = 120 * time.Second // between requests of a connection, above the intervals of scrapes and probes
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 64 << 10
)

// Config is what the admin plane shows and does. Listen is all it needs: what is nil has no endpoint.
type Config struct {
	// Listen is host:port. On a loopback address, only requests that name this machine as their host are answered.
	Listen string
	// Control sets options of the listening socket before it is bound, SO_REUSEPORT for one; see [net.ListenConfig].
	Control func(network, address string, c syscall.RawConn) error
	// Checks tells the state of what /readyz reports, in the order to be shown. It is called for each request, by
	// several goroutines at once, and answers from what is known: it does not wait. Nil: nothing to check.
	Checks func() []Check
	// Metrics answers /metrics.
	Metrics http.Handler
	// Reload reads the configuration again and returns what is loaded now, for people, or why the last good state
	// stays. It is never called while another call is running. ctx ends when the client has left.
	Reload func(ctx context.Context) (string, error)
	// Level can be read and changed at /-/loglevel.
	Level *slog.LevelVar
	// Logger takes the changes made through this port, and its faults. Nil discards them.
	Logger *slog.Logger
}

// Server is the admin plane of one process. Call [Server.Listen] first; the other methods may be called concurrently.
type Server struct {
	cfg      Config
	host     string // of cfg.Listen
	http     http.Server
	draining atomic.Bool
	reload   chan struct{} // holds one token while a reload runs

	// Set by Listen, only read afterwards.
	listener net.Listener
	loopback bool // only this machine can reach the listener
}

// New checks cfg. It opens nothing.
func New(cfg Config) (*Server, error) {
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin address: %w (write host:port, such as 127.0.0.1:9090)", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, host: host, reload: make(chan struct{}, 1)}
	s.http = http.Server{
		Handler:           s.guard(s.routes()),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.With(slog.String("plane", "admin")).Handler(), slog.LevelWarn),
	}
	return s, nil
}

// Listen opens the port.
func (s *Server) Listen() error {
	config := net.ListenConfig{Control: s.cfg.Control}
	listener, err := config.Listen(context.Background(), "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("admin address: %w", err)
	}
	s.listener = listener
	if address, ok := listener.Addr().(*net.TCPAddr); ok {
		s.loopback = address.IP.IsLoopback()
	}
	return nil
}

// Addr is where the port is open, with the port that was given out where port 0 was asked for. It is nil before
// [Server.Listen].
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Serve answers requests until [Server.Shutdown], and returns nil then.
func (s *Server) Serve() error {
	if s.listener == nil {
		return errors.New("admin: Serve before Listen")
	}
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// Drain makes /readyz fail from now on, so that nobody sends new work here. Everything else is still answered.
func (s *Server) Drain() { s.draining.Store(true) }

// Shutdown closes the port, lets running requests finish until ctx ends, and breaks off those that have not by then,
// such as a profile of half a minute; the error is ctx's in that case.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	if s.listener != nil {
		_ = s.listener.Close() // where Serve was never called, nobody else does
	}
	return err
}
