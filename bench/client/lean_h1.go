package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sluice/bench"
)

// leanH1 keeps some connections, with one review at a time on each. A connection is opened when a review needs it.
type leanH1 struct {
	kinder
	dialer     *dialer
	config     *tls.Config
	head, foot string // of a request, around the number behind Content-Length
	words      string
	ctx        context.Context // ends with the client
	cancel     context.CancelFunc

	free chan *h1conn // the one that was not used for longest comes first
	all  []*h1conn

	workers sync.Once // that serve Send, one a connection
	mu      sync.Mutex
	more    sync.Cond
	line    queue
	closed  bool
}

func newLeanH1(o *Options, d *dialer) *leanH1 {
	u := d.target.request()
	l := &leanH1{
		dialer: d, config: d.config.Clone(), free: make(chan *h1conn, o.Connections),
		head:  "POST " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: ",
		foot:  "\r\nAccept: application/json, */*\r\n",
		words: fmt.Sprintf("lean, %s, %s", o.describe(), plural(o.Connections, "connection")),
	}
	if o.Token != "" {
		l.foot += "Authorization: Bearer " + o.Token + "\r\n"
	}
	l.foot += "Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
	l.config.DynamicRecordSizingDisabled = true
	l.more.L = &l.mu
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for range o.Connections {
		c := &h1conn{client: l}
		c.interrupt = func() {
			if t := c.current.Load(); t != nil {
				_ = t.SetDeadline(time.Unix(1, 0)) // it fails if the connection has failed already
			}
		}
		l.all = append(l.all, c)
		l.free <- c
	}
	return l
}

// Do implements bench.Client. It waits for a connection if all are busy.
func (l *leanH1) Do(ctx context.Context, r *bench.Review) (bench.Answer, error) {
	var c *h1conn
	select {
	case c = <-l.free:
	default:
		select {
		case c = <-l.free:
		case <-ctx.Done():
			return bench.Answer{}, ctx.Err()
		}
	}
	defer func() { l.free <- c }()
	if ctx.Done() == nil {
		return c.ask(l.ctx, r, time.Time{})
	} else if err := ctx.Err(); err != nil {
		return bench.Answer{}, err
	}
	deadline, _ := ctx.Deadline()
	stop := context.AfterFunc(ctx, c.interrupt)
	a, err := c.ask(ctx, r, deadline)
	if !stop() {
		c.shut() // it was interrupted, or is about to be
		if err != nil {
			err = ctx.Err()
		}
	}
	return a, err
}

// Send implements bench.Sender. If reviews have deadlines that lie further apart than they are in line, one of them may
// learn only from the end of another that it is late.
func (l *leanH1) Send(r *bench.Review, deadline time.Time, done bench.Receiver) {
	l.workers.Do(func() {
		for range l.all {
			go l.work()
		}
	})
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.line.push(job{review: r, deadline: deadline, done: done})
		l.more.Signal()
	}
	l.mu.Unlock()
	if closed {
		done.Answered(bench.Answer{}, errClosed)
	}
}

func (l *leanH1) work() {
	for {
		l.mu.Lock()
		for l.line.len() == 0 && !l.closed {
			l.more.Wait()
		}
		if l.line.len() == 0 {
			l.mu.Unlock()
			return
		}
		j, closed := l.line.pop(), l.closed
		l.mu.Unlock()
		switch {
		case closed:
			j.done.Answered(bench.Answer{}, errClosed)
		case j.late(time.Now()):
			j.done.Answered(bench.Answer{}, errTimeout)
		default:
			c := <-l.free
			a, err := c.ask(l.ctx, j.review, j.deadline)
			l.free <- c
			j.done.Answered(a, err)
		}
	}
}

// Connections implements bench.Client.
func (l *leanH1) Connections() bench.Connections { return l.dialer.connections() }

// String implements bench.Client.
func (l *leanH1) String() string { return l.words }

// Close closes the connections. Reviews that are under way fail.
func (l *leanH1) Close() {
	l.mu.Lock()
	l.closed = true
	l.more.Broadcast()
	l.mu.Unlock()
	l.cancel()
	for _, c := range l.all {
		if t := c.current.Load(); t != nil {
			_ = t.NetConn().Close() // whoever uses it sees it fail
		}
	}
}

// h1conn is a connection and what is kept of it between reviews. It belongs to whoever took it from leanH1.free.
type h1conn struct {
	client    *leanH1
	conn      *tls.Conn // nil: to be opened
	deadline  bool      // whether it has one
	out       []byte
	in        h1reader
	interrupt func()

	current atomic.Pointer[tls.Conn] // is conn, for others to interrupt it
}

// ask sends a review and reads the answer. While a connection is being opened, ctx can end that; afterwards, interrupt can.
func (c *h1conn) ask(ctx context.Context, r *bench.Review, deadline time.Time) (bench.Answer, error) {
	if c.conn == nil {
		if err := c.open(ctx, deadline); err != nil {
			return bench.Answer{}, err
		}
	}
	if c.deadline || !deadline.IsZero() {
		c.deadline = !deadline.IsZero()
		if err := c.conn.SetDeadline(deadline); err != nil {
			c.shut()
			return bench.Answer{}, err
		}
	}
	c.out = append(c.out[:0], c.client.head...)
	c.out = strconv.AppendInt(c.out, int64(len(r.Body)), 10)
	c.out = append(c.out, c.client.foot...)
	c.out = append(c.out, r.Body...)
	if _, err := c.conn.Write(c.out); err != nil {
		c.shut()
		return bench.Answer{}, err
	}
	status, body, keep, err := c.in.reply()
	var a bench.Answer
	if err == nil {
		a = leanAnswer(status, body)
	}
	if !keep {
		c.shut()
	}
	return a, err
}

func (c *h1conn) open(ctx context.Context, deadline time.Time) (err error) {
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	if c.conn, err = c.client.dialer.dial(ctx, c.client.config); err != nil {
		return err
	}
	c.client.dialer.carries(c.conn)
	c.deadline = false
	c.in.start(c.conn)
	c.current.Store(c.conn)
	if err := ctx.Err(); err != nil { // before current was there to be interrupted
		c.shut()
		return err
	}
	if c.client.ctx.Err() != nil {
		c.shut()
		return errClosed
	}
	return nil
}

func (c *h1conn) shut() {
	if c.conn != nil {
		_ = c.conn.NetConn().Close() // without a farewell, which could block
		c.conn = nil
		c.current.Store(nil)
	}
}
