package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/bench"
)

// leanH2 keeps some HTTP/2 connections, with many reviews at a time on each.
//
// It costs little because a review in flight is an entry in a map, not a goroutine: whoever sends one appends its frames
// to what is to be written, a goroutine a connection writes what has piled up in one go, and another one reads and
// calls whoever waits. What was sent because of the answers of one read is written together.
type leanH2 struct {
	kinder
	waiters
	dialer  *dialer
	config  *tls.Config
	fields  []field // of all requests
	streams int     // at most, on a connection
	words   string
	ctx     context.Context // ends with the client
	cancel  context.CancelFunc

	slots    []*h2slot
	turn     atomic.Uint64
	sweeping sync.Once
}

// sweepEvery is how often reviews are looked for whose time is over.
const sweepEvery = 10 * time.Millisecond

func newLeanH2(o *Options, d *dialer) *leanH2 {
	u := d.target.request()
	l := &leanH2{
		dialer: d, config: d.config.Clone(), streams: o.Streams,
		// In the order of golang.org/x/net/http2, as are the settings below.
		fields: []field{
			{":authority", u.Host},
			{":method", "POST"},
			{":path", u.RequestURI()},
			{":scheme", "https"},
			{"accept", "application/json, */*"},
			{"content-type", "application/json"},
			{"accept-encoding", "gzip"},
			{"user-agent", "Go-http-client/2.0"},
		},
		words: fmt.Sprintf("lean, %s, %s of %s", o.describe(), plural(o.Connections, "connection"), plural(o.Streams, "stream")),
	}
	if o.Token != "" {
		l.fields = append(l.fields, field{"authorization", "Bearer " + o.Token})
	}
	l.config.NextProtos = []string{"h2"}
	l.config.DynamicRecordSizingDisabled = true
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for range o.Connections {
		l.slots = append(l.slots, &h2slot{client: l})
	}
	return l
}

// Do implements bench.Client.
func (l *leanH2) Do(ctx context.Context, r *bench.Review) (bench.Answer, error) {
	return l.do(ctx, l, r)
}

// Send implements bench.Sender. The reviews go to the connections in turn.
func (l *leanH2) Send(r *bench.Review, deadline time.Time, done bench.Receiver) {
	l.sweeping.Do(func() { go l.sweep() })
	s := l.slots[l.turn.Add(1)%uint64(len(l.slots))]
	s.send(job{review: r, deadline: deadline, done: done})
}

func (l *leanH2) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			for _, s := range l.slots {
				s.expire(now)
			}
		case <-l.ctx.Done():
			return
		}
	}
}

// Connections implements bench.Client.
func (l *leanH2) Connections() bench.Connections { return l.dialer.connections() }

// String implements bench.Client.
func (l *leanH2) String() string { return l.words }

// Close closes the connections. Reviews that are under way fail.
func (l *leanH2) Close() {
	l.cancel()
	for _, s := range l.slots {
		s.close()
	}
}

// h2slot is the place of a connection: one that takes reviews, if there is one, and those before it that are still
// answering some because the server sent GOAWAY.
type h2slot struct {
	client *leanH2

	mu       sync.Mutex // guards all below, and most of each h2conn
	conn     *h2conn    // that takes reviews; nil if there is none
	conns    []*h2conn  // all that are not closed
	dialing  bool
	closed   bool
	line     queue     // of reviews that are on no connection yet
	earliest time.Time // no deadline is before it; zero if there is none
}

func (s *h2slot) send(j job) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		j.done.Answered(bench.Answer{}, errClosed)
		return
	}
	if !j.deadline.IsZero() && (s.earliest.IsZero() || j.deadline.Before(s.earliest)) {
		s.earliest = j.deadline
	}
	if s.line.len() == 0 && s.conn != nil && s.conn.ready() {
		s.conn.begin(j)
		s.conn.wake()
	} else {
		s.line.push(j)
		s.dialLocked()
	}
	s.mu.Unlock()
}

// dialLocked opens a connection if one is needed and none is being opened.
func (s *h2slot) dialLocked() {
	if s.conn == nil && !s.dialing && !s.closed && s.line.len() > 0 {
		s.dialing = true
		go s.dial()
	}
}

func (s *h2slot) dial() {
	l := s.client
	secure, err := l.dialer.dial(l.ctx, l.config)
	if err == nil && secure.ConnectionState().NegotiatedProtocol != "h2" {
		_ = secure.Close() // of no use
		err = &dialError{handshaking, fmt.Errorf("%w: the server does not speak h2", errProtocol)}
	}
	s.mu.Lock()
	s.dialing = false
	if err == nil && s.closed {
		_ = secure.Close() // nobody needs it any more
		err = errClosed
	}
	if err != nil {
		failed := s.takeLine(nil)
		s.mu.Unlock()
		fail(failed, err)
		return
	}
	c := newH2conn(s, secure)
	s.conn = c
	s.conns = append(s.conns, c)
	s.mu.Unlock()
	go c.write()
	c.read()
}

// takeLine empties the line.
func (s *h2slot) takeLine(to []job) []job {
	for s.line.len() > 0 {
		to = append(to, s.line.pop())
	}
	return to
}

func fail(jobs []job, err error) {
	for _, j := range jobs {
		j.done.Answered(bench.Answer{}, err)
	}
}

// pump starts reviews that are in line, as many as the connection takes.
func (s *h2slot) pump() {
	if s.conn == nil {
		s.dialLocked()
		return
	}
	for s.line.len() > 0 && s.conn.ready() {
		s.conn.begin(s.line.pop())
	}
	s.conn.wake()
}

// expire ends the reviews whose time is over.
func (s *h2slot) expire(now time.Time) {
	s.mu.Lock()
	if s.earliest.IsZero() || now.Before(s.earliest) {
		s.mu.Unlock()
		return
	}
	s.earliest = time.Time{}
	var late []job
	keep := func(j *job) {
		if !j.deadline.IsZero() && (s.earliest.IsZero() || j.deadline.Before(s.earliest)) {
			s.earliest = j.deadline
		}
	}
	for range s.line.len() {
		if j := s.line.pop(); j.late(now) {
			late = append(late, j)
		} else {
			keep(&j)
			s.line.push(j)
		}
	}
	for _, c := range slices.Clone(s.conns) {
		for _, st := range c.streams {
			if !st.job.late(now) {
				keep(&st.job)
				continue
			}
			late = append(late, st.job)
			c.reset(st)
		}
		c.wake()
		c.closeIfDone()
	}
	s.pump()
	s.mu.Unlock()
	fail(late, errTimeout)
}

func (s *h2slot) close() {
	s.mu.Lock()
	s.closed = true
	failed := s.takeLine(nil)
	conns := slices.Clone(s.conns)
	s.mu.Unlock()
	fail(failed, errClosed)
	for _, c := range conns {
		c.fail(errClosed)
	}
}
