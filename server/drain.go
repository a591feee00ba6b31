package server

import (
	"context"
	"errors"
	"net"
	"time"
)

// Serve takes up connections until Drain or Close ends that, and then returns nil; what was taken up may go on. When
// ctx ends before that, everything ends at once, as with Close: it is not the place for a signal that asks to drain.
func (s *Server) Serve(ctx context.Context) error {
	s.mu.Lock()
	ln := s.listener
	if ln == nil || s.serving || s.closed {
		s.mu.Unlock()
		return errors.New("server: Serve comes after Listen, and once")
	}
	s.serving = true
	s.mu.Unlock()
	defer close(s.stopped)
	defer context.AfterFunc(ctx, s.Close)()
	for {
		select {
		case <-s.stop:
			// The few that remain need no slot.
			if err := sweep(ln, func(tcp *net.TCPConn) { go s.serve(s.accept(tcp)) }); err != nil {
				s.config.Logger.Warn("left the port without leading new connections to the next process", "error", err)
			}
			return nil
		case s.slots <- struct{}{}:
		}
		tcp, err := ln.AcceptTCP()
		if err != nil {
			<-s.slots
			select {
			case <-s.stop: // which has interrupted the accept
				continue
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of file descriptors, or of memory: nothing that leaving the port would mend.
			s.config.Logger.Error("cannot accept a connection", "error", err)
			select {
			case <-s.stop:
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		c := s.accept(tcp)
		go func() {
			defer func() { <-s.slots }()
			s.serve(c)
		}()
	}
}

// Shutdown makes Draining true, waits delay so that whoever watches can send traffic elsewhere, and drains.
func (s *Server) Shutdown(ctx context.Context, delay time.Duration) error {
	s.leaving.Store(true)
	select {
	case <-time.After(delay):
	case <-ctx.Done():
	}
	return s.Drain(ctx)
}

// Drain leaves the port, without resetting anyone who was about to connect, and sees every review answered that was
// sent on a connection. It returns nil when the last connection is gone; when ctx ends first it closes the others and
// returns ctx's error.
//
// HTTP/2 connections get GOAWAY, which says how far their reviews will be answered: the client sends the others
// again, elsewhere. HTTP/1.1 has nothing like it. There, a busy connection ends with its answer's Connection: close.
// An idle one is kept for IdleGrace, in the hope of one more review to say that on, because a review that is sent
// while the connection is being closed is lost: the client does not know whether it was decided, and does not repeat
// a POST.
func (s *Server) Drain(ctx context.Context) error {
	s.leaving.Store(true)
	s.leave()
	s.closing.Store(true)
	grace := time.After(s.config.IdleGrace)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for patient := true; ; {
		s.h2.GoAway() // time and again: a connection whose handshake was under way has not been told
		if s.closeConns(func(c *conn) bool { return !patient && !c.active.Load() }) == 0 {
			s.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			s.Close()
			return ctx.Err()
		case <-grace:
			patient = false
		case <-s.freed:
		case <-tick.C:
		}
	}
}

// leave ends accepting and returns when it has ended.
func (s *Server) leave() {
	s.mu.Lock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	ln, serving := s.listener, s.serving
	s.mu.Unlock()
	if ln == nil {
		return
	}
	if !serving {
		_ = ln.Close()
		return
	}
	_ = ln.SetDeadline(time.Now()) // interrupts the accept
	<-s.stopped
}

// Close ends everything at once, reviews in flight included. It does not wait for their goroutines.
func (s *Server) Close() {
	s.leaving.Store(true)
	s.mu.Lock()
	s.closed = true
	ln := s.listener
	s.mu.Unlock()
	s.end()
	if ln != nil {
		_ = ln.Close()
	}
	s.closeConns(func(*conn) bool { return true })
}

// closeConns closes the connections that which picks, and returns how many there were before.
func (s *Server) closeConns(which func(*conn) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if which(c) {
			_ = c.NetConn().Close() // not the TLS way, which may wait for the other side
		}
	}
	return len(s.conns)
}

// track notes a connection, unless everything has ended.
func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	return !s.closed
}

func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	select {
	case s.freed <- struct{}{}:
	default:
	}
}
