package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sluice/bench"
	"sluice/bench/client"
)

// Reviews sends one review again and again, which has to be allowed: by sluice-bench's lean clients, which cost little.
// There are so many connections with so many reviews under way on each: one over HTTP/1.1.
func Reviews(ctx context.Context, o client.Options, body []byte, connections, streams int, w Window) (Result, error) {
	clients := make([]bench.Client, connections)
	o.Lean, o.Connections, o.Streams = true, 1, streams // a client each, so that all connections are always in use
	for i := range clients {
		c, err := client.New(o)
		if err != nil {
			return Result{}, err
		}
		defer c.Close()
		clients[i] = c
	}
	workers := make([]Worker, connections)
	for i, c := range clients {
		workers[i] = func(ctx context.Context, m *Meter) error {
			defer context.AfterFunc(ctx, c.Close)()
			return keep(c.(bench.Sender), m, &bench.Review{Body: body}, streams)
		}
	}
	opened := func() (n int64) {
		for _, c := range clients {
			n += c.Connections().Opened
		}
		return n
	}
	return Run(ctx, w, opened, workers)
}

// keep has so many reviews under way until the meter says stopped.
func keep(sender bench.Sender, m *Meter, review *bench.Review, streams int) error {
	k := &keeper{sender: sender, meter: m, review: review}
	k.open.Add(streams)
	for range streams {
		sender.Send(review, time.Time{}, &flight{keeper: k, begin: time.Now()})
	}
	k.open.Wait()
	return k.err
}

type keeper struct {
	sender bench.Sender
	meter  *Meter
	review *bench.Review
	open   sync.WaitGroup

	mu  sync.Mutex // answers are given on several goroutines when a connection fails
	err error
}

// flight is one of the reviews that are under way.
type flight struct {
	keeper *keeper
	begin  time.Time
}

// Answered counts an answer and sends the next review.
func (f *flight) Answered(a bench.Answer, err error) {
	k := f.keeper
	k.mu.Lock()
	switch {
	case err != nil:
		k.err = errors.Join(k.err, err)
	case a.Status != 200 || !a.Allowed:
		k.err = errors.Join(k.err, fmt.Errorf("a review was answered with status %d, allowed %v", a.Status, a.Allowed))
	default:
		k.meter.Answered(f.begin)
	}
	stop := k.err != nil || k.meter.Stopped()
	k.mu.Unlock()
	if stop {
		k.open.Done()
		return
	}
	f.begin = time.Now()
	k.sender.Send(k.review, time.Time{}, f)
}
