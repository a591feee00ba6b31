package client

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"sync"
	"time"

	"sluice/bench"
)

// job is a review that somebody waits for.
type job struct {
	review   *bench.Review
	deadline time.Time // none if zero
	done     bench.Receiver
	tries    int // connections that it was on
}

func (j *job) late(now time.Time) bool { return !j.deadline.IsZero() && now.After(j.deadline) }

// queue is jobs in line, first in, first out.
type queue struct {
	jobs []job
	head int
}

func (q *queue) len() int { return len(q.jobs) - q.head }

func (q *queue) push(j job) {
	if q.head > len(q.jobs)/2 && len(q.jobs) == cap(q.jobs) {
		n := copy(q.jobs, q.jobs[q.head:])
		clear(q.jobs[n:])
		q.jobs, q.head = q.jobs[:n], 0
	}
	q.jobs = append(q.jobs, j)
}

func (q *queue) pop() job {
	j := q.jobs[q.head]
	q.jobs[q.head] = job{}
	if q.head++; q.head == len(q.jobs) {
		q.jobs, q.head = q.jobs[:0], 0
	}
	return j
}

// waiter turns Send into a call that waits.
type waiter struct {
	answer bench.Answer
	err    error
	done   chan struct{}
}

func (w *waiter) Answered(a bench.Answer, err error) {
	w.answer, w.err = a, err
	w.done <- struct{}{} // has room for one
}

// waiters are kept for the next call.
type waiters struct{ pool sync.Pool }

// do sends a review and waits. If ctx is cancelled, the review stays under way until its deadline or the client's end.
func (p *waiters) do(ctx context.Context, s bench.Sender, r *bench.Review) (bench.Answer, error) {
	w, ok := p.pool.Get().(*waiter)
	if !ok {
		w = &waiter{done: make(chan struct{}, 1)}
	}
	deadline, _ := ctx.Deadline()
	s.Send(r, deadline, w)
	select {
	case <-w.done:
		a, err := w.answer, w.err
		p.pool.Put(w)
		return a, err
	case <-ctx.Done():
		return bench.Answer{}, ctx.Err()
	}
}

// leanAnswer is answerOf for clients that do not look at Content-Encoding: no JSON begins as gzip does.
func leanAnswer(status int, body []byte) bench.Answer {
	if len(body) > 2 && body[0] == 0x1f && body[1] == 0x8b {
		return answerOf(status, gunzip(body))
	}
	return answerOf(status, body)
}

// gunzip returns nothing, which is no verdict, where it fails.
func gunzip(body []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(r, maxReply+1))
	if err != nil || len(text) > maxReply {
		return nil
	}
	return text
}
