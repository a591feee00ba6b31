package server

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

const (
	// freeBody is the size up to which a body is read without asking for room. Reviews are a few hundred bytes, and
	// what bounds small ones is the number of connections and streams.
	freeBody = 64 << 10

	// maxWaiting bounds how many large bodies wait for room. On HTTP/2 each holds up to one stream window of its
	// connection's window while it waits: the connection's must be the larger by this factor, or the waiting ones
	// would keep the small ones from being read.
	maxWaiting = 64
)

// budget is the memory for all large bodies in flight. Its methods may be called concurrently.
type budget struct {
	room    *semaphore.Weighted // first come, first served
	used    atomic.Int64        // bytes
	waiting atomic.Int64
}

func newBudget(size int64) *budget { return &budget{room: semaphore.NewWeighted(size)} }

// acquire takes room for n bytes, which must be no more than the budget's size, waiting until ctx ends. It tells
// whether there was room.
func (b *budget) acquire(ctx context.Context, n int64) bool {
	if !b.room.TryAcquire(n) {
		if b.waiting.Add(1) > maxWaiting {
			b.waiting.Add(-1)
			return false
		}
		err := b.room.Acquire(ctx, n)
		b.waiting.Add(-1)
		if err != nil {
			return false
		}
	}
	b.used.Add(n)
	return true
}

func (b *budget) release(n int64) {
	b.used.Add(-n)
	b.room.Release(n)
}
