package cache

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// How says where a value came from.
type How uint8

// The ways to a value.
const (
	Missed How = iota // this caller's load was begun for it
	Joined            // a load that another caller had begun
	Hit               // the cache
)

// String returns the name in lower case.
func (h How) String() string {
	switch h {
	case Hit:
		return "hit"
	case Joined:
		return "joined"
	default:
		return "missed"
	}
}

// Loaded is the answer of [Cache.Do].
type Loaded[V any] struct {
	Value V
	TTL   time.Duration // what remains of the value's life at the moment of return; 0 if it is over or never began
	How   How
	Due   bool // a hit that the caller is to renew, as with [Cache.Use]
}

// PanicError is what a load that did not return becomes for everyone who waits for it. It does not unwrap: a panic is
// a fault of the program, whatever it carries.
type PanicError struct {
	Value any    // of the panic; nil if the load called runtime.Goexit
	Stack []byte // of the goroutine, for the log
}

// Error returns one line, without the stack.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "the load ended its goroutine"
	}
	return fmt.Sprintf("the load panicked: %v", e.Value)
}

// flight is a load under way, or just ended.
type flight[V any] struct {
	epoch   uint32
	cancel  context.CancelFunc
	waiters int           // under the lock of the shard
	done    chan struct{} // closed when what follows is final
	value   V
	expires Instant
	err     error
}

// Do returns the value of key from the cache, or from a load that is under way for it, or else from load. key is kept
// in the latter case: the caller must own what it points to.
//
// However many callers want a missing key, load runs once at a time for it, on a goroutine of its own. Its context has
// the values of the first caller's but neither its deadline nor its end: it is cancelled when the last of those who
// wait has left, and a caller who comes after that begins another load. A caller whose context ends gets ctx.Err() at
// once.
//
// load returns a value and how long that may be served, from the moment of its return. With a ttl of 0 or
// less, or with an error, what it returned is handed to those who wait and nothing is stored. A panic in load becomes
// a [*PanicError].
func (c *Cache[K, V]) Do(ctx context.Context, key K,
	load func(context.Context) (v V, ttl time.Duration, err error),
) (Loaded[V], error) {
	return c.Renew(ctx, key, 0, load)
}

// Renew is Do for a caller who wants a value with more than least of its life left: what is in the cache counts for it
// only then. Meanwhile everybody else goes on being served what is there, which the new value replaces. If the load
// ends in an error, or with a ttl of 0 or less, what is there stays until its own end; beside an error, it is returned.
func (c *Cache[K, V]) Renew(ctx context.Context, key K, least time.Duration,
	load func(context.Context) (v V, ttl time.Duration, err error),
) (Loaded[V], error) {
	hash, now := c.hashOf(key), c.Now()
	if v := c.lookUp(hash, key, now); v != nil && time.Duration(v.expires-now) > least {
		return Loaded[V]{Value: v.value, TTL: time.Duration(v.expires - now), How: Hit, Due: v.claim(now)}, nil
	}
	if err := ctx.Err(); err != nil {
		return Loaded[V]{}, err
	}
	s := c.shardOf(hash)
	f, v, how := c.board(ctx, s, hash, key, least, load)
	if f == nil {
		return Loaded[V]{Value: v.value, TTL: c.remains(v.expires), How: Hit}, nil
	}
	var err error
	select {
	case <-f.done:
		if f.err == nil {
			return Loaded[V]{Value: f.value, TTL: c.remains(f.expires), How: how}, nil
		}
		err = f.err
	case <-ctx.Done():
		c.alight(s, key, f)
		err = ctx.Err()
	}
	if least > 0 {
		if v := c.lookUp(hash, key, c.Now()); v != nil {
			return Loaded[V]{Value: v.value, TTL: c.remains(v.expires), How: how}, err
		}
	}
	return Loaded[V]{How: how}, err
}

// remains returns how much of a life is left, and never less than nothing.
func (c *Cache[K, V]) remains(expires Instant) time.Duration {
	return max(time.Duration(expires-c.Now()), 0)
}

// board makes the caller one of those who wait for key, beginning a load if there is none; or it returns the value that
// a load has stored since the caller looked. A load stores its value and leaves the shard's flights under one lock, so
// one or the other is there.
func (c *Cache[K, V]) board(ctx context.Context, s *shard[K, V], hash uint64, key K, least time.Duration,
	load func(context.Context) (V, time.Duration, error),
) (*flight[V], *value[V], How) {
	s.Lock()
	defer s.Unlock()
	if e := s.find(hash, key); e != nil {
		if v, now := e.value.Load(), c.Now(); c.fresh(v, now) && time.Duration(v.expires-now) > least {
			c.counts.hits.Add(1)
			return nil, v, Hit
		}
	}
	epoch := c.epoch.Load()
	if f := s.flights[key]; f != nil && f.epoch == epoch {
		f.waiters++
		c.counts.joined.Add(1)
		return f, nil, Joined
	}
	// A flight of an earlier epoch loses its place here: those who wait for it get its value, and it stores nothing.
	loadCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight[V]{epoch: epoch, cancel: cancel, waiters: 1, done: make(chan struct{})}
	s.flights[key] = f
	c.counts.loads.Add(1)
	go c.fly(loadCtx, s, hash, key, f, load)
	return f, nil, Missed
}

// alight takes away one of those who wait. The last one cancels the load, whose place is free from then on.
func (c *Cache[K, V]) alight(s *shard[K, V], key K, f *flight[V]) {
	s.Lock()
	defer s.Unlock()
	f.waiters--
	if f.waiters > 0 {
		return
	}
	if s.flights[key] == f {
		delete(s.flights, key)
		c.counts.abandoned.Add(1)
	}
	f.cancel()
}

// fly runs the load and hands out what it returned.
func (c *Cache[K, V]) fly(ctx context.Context, s *shard[K, V], hash uint64, key K, f *flight[V],
	load func(context.Context) (V, time.Duration, error),
) {
	var (
		v        V
		ttl      time.Duration
		err      error
		returned bool
	)
	defer func() {
		if !returned { // recover returns nil after runtime.Goexit, and only then
			err = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
		c.land(s, hash, key, f, v, ttl, err)
	}()
	v, ttl, err = load(ctx)
	returned = true
}

// land stores what a flight has loaded, if it may, and lets those go who wait for it.
func (c *Cache[K, V]) land(s *shard[K, V], hash uint64, key K, f *flight[V], v V, ttl time.Duration, err error) {
	defer f.cancel()
	defer close(f.done)
	now := c.Now()
	if err != nil {
		f.err = err
		c.counts.errors.Add(1)
	} else {
		f.value = v
		if ttl > 0 {
			ttl = min(ttl, forEver)
			f.expires = now + Instant(ttl)
		}
	}
	s.Lock()
	defer s.Unlock()
	if s.flights[key] != f { // abandoned, or of an earlier epoch
		return
	}
	delete(s.flights, key)
	if f.expires > 0 && f.epoch == c.epoch.Load() {
		c.store(s, hash, key, newValue(v, now, ttl, f.epoch))
	}
}
