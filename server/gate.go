package server

import (
	"container/list"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
)

// gate bounds how many handshakes compute at once. A handshake is 0.6 ms and more of a processor, fifty times what a
// remembered review takes, and Go gives every goroutine its turn: without the gate, a review that comes in while every
// apiserver of a cluster connects anew waits behind all of them. With it, the reviews have half of the processors to
// themselves, or with a single one every second turn.
//
// A handshake has a place only while it computes, so that a caller who is slow or silent holds nothing. What has begun
// comes before what has not, so that a storm's first connections are of use before its last ones are. A thousand
// handshakes at once take one or two seconds with one place, as many as MaxConns allows four to six: all are done within
// HandshakeTimeout, so that the server is never busy only with callers who have given up.
type gate struct {
	mu     sync.Mutex // guards the following
	free   int        // places; none while anyone waits
	queues [2]list.List

	waiting atomic.Int64
}

// The queues of a gate, of chan struct{}, the first one first.
const (
	begun = iota // handshakes that have had a place before
	fresh
)

// enter waits for a place, which leave gives back, unless ctx ends before there is one.
func (g *gate) enter(ctx context.Context, queue int) error {
	g.mu.Lock()
	if g.free > 0 {
		g.free--
		g.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	entry := g.queues[queue].PushBack(turn)
	g.mu.Unlock()
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-turn: // at the last moment
		g.pass()
	default:
		g.queues[queue].Remove(entry)
	}
	return ctx.Err()
}

// leave gives a place to the next, or back.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass()
}

// pass is leave for who holds the lock.
func (g *gate) pass() {
	for i := range g.queues {
		if first := g.queues[i].Front(); first != nil {
			close(g.queues[i].Remove(first).(chan struct{}))
			return
		}
	}
	g.free++
}

// line is the TCP connection under a TLS one. While it shakes hands it takes a place at the gate when bytes have come
// in, for what is computed from them, and leaves before it waits for more. It leaves before it writes, too: callers
// who read nothing could keep it there. Behind both kinds of writing in a handshake, a flight of messages and an
// alert, nothing costly follows but what begins with a read.
type line struct {
	*net.TCPConn
	gate *gate // nil once the handshake is over; set and used by the goroutine of the handshake

	ctx   context.Context // ends when the handshake must have
	queue int
	held  bool // a place

	identity *identity // that the handshake goes by; nil before it is known

	eager
}

// begin takes up a handshake, which end ends.
func (l *line) begin(ctx context.Context, g *gate) { l.gate, l.ctx, l.queue = g, ctx, fresh }

func (l *line) end() {
	l.leave()
	l.gate, l.ctx = nil, nil
}

func (l *line) leave() {
	if l.held {
		l.held = false
		l.gate.leave()
	}
}

func (l *line) Read(b []byte) (int, error) {
	switch {
	case l.waits != nil:
		return l.read(b)
	case l.gate == nil:
		return l.TCPConn.Read(b)
	}
	l.leave()
	n, err := l.TCPConn.Read(b)
	if err != nil {
		return n, err
	}
	if err := l.gate.enter(l.ctx, l.queue); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return n, os.ErrDeadlineExceeded
		}
		return n, net.ErrClosed
	}
	l.queue, l.held = begun, true
	return n, nil
}

func (l *line) Write(b []byte) (int, error) {
	if l.gate != nil {
		l.leave()
	}
	return l.TCPConn.Write(b)
}
