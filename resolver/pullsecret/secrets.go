package pullsecret

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"sluice/cache"
	"sluice/engine"
)

const (
	failureTTL  = time.Second
	sparseTTL   = 5 * time.Second // a secret is often made right after the pod that names it
	maxKept     = 32 << 20        // bytes
	maxLoads    = 16              // at a time; each makes one request at a time
	maxRenewals = 4               // in the background at a time
	renewal     = 10 * time.Second
	logEvery    = time.Second
)

// Secrets are the pull secrets of pods. They are safe for concurrent use, made by [New], and hold a goroutine until
// Close.
type Secrets struct {
	client *client
	ttl    time.Duration
	caFile string
	known  *cache.Cache[key, found]

	done     context.Context // ends with Close
	close    context.CancelFunc
	turns    turns         // of namespaces
	slots    chan struct{} // one for each load under way
	renewals chan struct{} // one for each load under way or waiting that is for nobody yet
	running  sync.WaitGroup

	log      *slog.Logger
	lastLog  atomic.Int64  // when, in nanoseconds since begun
	begun    time.Time     // of the log's clock
	unlogged atomic.Uint64 // since then

	loads, failures, unusable atomic.Uint64
}

// New reads the token and the certificate authorities. It asks nothing.
func New(c Config) (*Secrets, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Secrets{
		ttl: c.TTL, caFile: c.CAFile, log: c.Log,
		slots: make(chan struct{}, maxLoads), renewals: make(chan struct{}, maxRenewals),
		begun: time.Now().Add(-logEvery),
	}
	if s.client, err = newClient(c); err != nil {
		return nil, err
	}
	s.known, err = cache.New(cache.Options[key, found]{
		MaxCost: maxKept,
		Entries: 1 << 14,
		Cost: func(k key, f found) int64 {
			return cache.Overhead[key, found]() + int64(k.size()+f.size)
		},
	})
	if err != nil {
		return nil, err
	}
	s.done, s.close = context.WithCancel(context.Background())
	return s, nil
}

// Known returns the access of a pod if it is known, nil for a pod without any: names are those of its imagePullSecrets,
// and account is its serviceAccountName, empty for the default one. It waits for nothing, keeps none of the strings, and
// allocates nothing for up to four names. Steady use renews what is known before it ends.
func (s *Secrets) Known(namespace, account string, names []string) (*engine.Access, bool) {
	k, ok := keyOf(namespace, account, names)
	if !ok {
		return nil, true
	}
	f, due, ok := s.known.Use(k, s.known.Now())
	if due {
		s.renew(&k)
	}
	return f.access, ok
}

// Load is Known for those who can wait, as long as ctx lasts. If the secrets can't be read there is no access; that is
// counted, logged, and asked again after a second.
func (s *Secrets) Load(ctx context.Context, namespace, account string, names []string) *engine.Access {
	k, ok := keyOf(namespace, account, names)
	if !ok {
		return nil
	}
	k = k.clone()
	loaded, err := s.known.Do(ctx, k, func(ctx context.Context) (found, time.Duration, error) {
		f, err := s.load(ctx, &k)
		switch {
		case err != nil && ctx.Err() != nil: // nobody waits
			return found{}, 0, ctx.Err()
		case err != nil:
			return f, failureTTL, nil
		}
		return f, s.life(f), nil
	})
	if err != nil {
		return nil
	}
	if loaded.Due {
		s.renew(&k)
	}
	return loaded.Value.access
}

// load reads when it is its turn, and keeps book.
func (s *Secrets) load(ctx context.Context, k *key) (found, error) {
	defer s.turns.take(ctx, k.namespace)()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return found{}, err
	}
	s.loads.Add(1)
	f, err := s.fetch(ctx, k)
	if err != nil && ctx.Err() == nil {
		s.failures.Add(1)
	}
	return f, err
}

// life is for how long what was found is good.
func (s *Secrets) life(f found) time.Duration {
	if f.sparse {
		return min(s.ttl, sparseTTL)
	}
	return s.ttl
}

// renew reads again in the background, unless too many do already. If that fails, what is known stays to its end.
func (s *Secrets) renew(borrowed *key) {
	select {
	case s.renewals <- struct{}{}:
	default:
		return
	}
	k := borrowed.clone()
	s.running.Go(func() {
		defer func() { <-s.renewals }()
		ctx, cancel := context.WithTimeout(s.done, renewal)
		defer cancel()
		// The error has been logged, or nobody waits for it.
		_, _ = s.known.Renew(ctx, k, math.MaxInt64, func(ctx context.Context) (found, time.Duration, error) {
			f, err := s.load(ctx, &k)
			return f, s.life(f), err
		})
	})
}

// say logs what is wrong, once in a while: there may be as many things wrong as there are pods.
func (s *Secrets) say(ctx context.Context, resource, namespace, name string, err error) {
	if ctx.Err() != nil {
		return // nobody waits any more, which is all that is wrong
	}
	now, last := int64(time.Since(s.begun)), s.lastLog.Load()
	if now-last < int64(logEvery) || !s.lastLog.CompareAndSwap(last, now) {
		s.unlogged.Add(1)
		return
	}
	s.log.WarnContext(ctx, "pull secrets can't be used", "resource", resource, "namespace", namespace, "name", name,
		"error", err.Error(), "unlogged", s.unlogged.Swap(0))
}

// Close ends what is read in the background, and waits for that. After it nothing is known any more.
func (s *Secrets) Close() {
	s.close()
	s.running.Wait()
	s.known.Close()
	s.client.http.CloseIdleConnections()
}

// Files returns what New has read and does not read again: the certificate authorities.
func (s *Secrets) Files() []string { return []string{s.caFile} }

// Wrong tells why the last request to the API server failed, for people; it is empty if that did not fail, or if there
// was none.
func (s *Secrets) Wrong() string {
	if text := s.client.wrong.Load(); text != nil {
		return *text
	}
	return ""
}

// Stats are counts since New.
type Stats struct {
	Loads    uint64 // times that the secrets of a pod, or of many like it, were read
	Failures uint64 // of those: without an answer about everything
	Unusable uint64 // secrets of another type, malformed or too long

	Requests  uint64        // to the API server
	NotFound  uint64        // answered by 404
	Forbidden uint64        // answered by 403
	Failed    uint64        // without the object or one of these two answers
	Took      time.Duration // by all requests together

	Cache cache.Stats
}

// Stats reads the counts.
func (s *Secrets) Stats() Stats {
	c := s.client
	return Stats{
		Loads: s.loads.Load(), Failures: s.failures.Load(), Unusable: s.unusable.Load(),
		Requests: c.requests.Load(), NotFound: c.missing.Load(), Forbidden: c.forbidden.Load(), Failed: c.failed.Load(),
		Took:  time.Duration(c.took.Load()),
		Cache: s.known.Stats(),
	}
}
