package cache

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// These tests run in bubbles: the clock stands still until every goroutine waits, and a goroutine that is left over when
// a test ends fails it.

type answer = struct {
	Loaded[string]
	err error
}

// begin calls Do on a goroutine of its own, and waits until it waits.
func begin(ctx context.Context, c *Cache[string, string], key string,
	load func(context.Context) (string, time.Duration, error),
) <-chan answer {
	ch := make(chan answer, 1)
	go func() {
		l, err := c.Do(ctx, key, load)
		ch <- answer{l, err}
	}()
	synctest.Wait()
	return ch
}

// blocked is a load that returns v once release is closed, or its context's error before.
func blocked(release <-chan struct{}, v string) func(context.Context) (string, time.Duration, error) {
	return func(ctx context.Context) (string, time.Duration, error) {
		select {
		case <-release:
			return v, time.Hour, nil
		case <-ctx.Done():
			return "", 0, context.Cause(ctx)
		}
	}
}

func returns(v string, ttl time.Duration) func(context.Context) (string, time.Duration, error) {
	return func(context.Context) (string, time.Duration, error) { return v, ttl, nil }
}

func open(t *testing.T, o Options[string, string]) *Cache[string, string] {
	t.Helper()
	if o.MaxCost == 0 {
		o.MaxCost = 1000
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestThousandJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		defer c.Close()
		release := make(chan struct{})
		load := blocked(release, "v")
		var calls []<-chan answer
		for range 1000 {
			calls = append(calls, begin(t.Context(), c, "k", load))
		}
		time.Sleep(time.Minute)
		close(release)
		how := map[How]int{}
		for _, call := range calls {
			got := <-call
			if got.Value != "v" || got.err != nil || got.TTL != time.Hour {
				t.Fatalf("got %+v", got)
			}
			how[got.How]++
		}
		if how[Missed] != 1 || how[Joined] != 999 {
			t.Errorf("%v, want one missed and the others joined", how)
		}
		if s := c.Stats(); s.Loads != 1 || s.Joined != 999 || s.Stored != 1 {
			t.Errorf("%+v, want one load", s)
		}
		if got := <-begin(t.Context(), c, "k", load); got.How != Hit || got.Value != "v" {
			t.Errorf("afterwards %+v, want a hit", got)
		}
	})
}

// No caller may slip between a load's end and its value: with real threads, and loads that take no time.
func TestOneLoadWhateverTheMoment(t *testing.T) {
	t.Parallel()
	c, err := New(Options[int, int]{MaxCost: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for key := range 500 {
		var loads atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				l, err := c.Do(context.Background(), key, func(context.Context) (int, time.Duration, error) {
					loads.Add(1)
					return key, time.Hour, nil
				})
				if err != nil || l.Value != key {
					t.Errorf("%+v, %v", l, err)
				}
			})
		}
		wg.Wait()
		if n := loads.Load(); n != 1 {
			t.Fatalf("key %d: %d loads, want 1", key, n)
		}
	}
}

// between is a context that does something when Do, having found nothing, asks whether it may go on.
type between struct {
	context.Context
	do func()
}

func (b between) Err() error {
	b.do()
	return b.Context.Err()
}

// What another load has stored since the look-up is found, and not loaded again.
func TestStoredSinceTheLookUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		defer c.Close()
		ctx := between{t.Context(), func() { c.fill("k", "v", time.Hour) }}
		got := <-begin(ctx, c, "k", returns("again", time.Hour))
		if got.Value != "v" || got.How != Hit || got.TTL != time.Hour {
			t.Errorf("%+v, want what was stored", got)
		}
	})
}

func TestLastWaiterCancels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		defer c.Close()
		ended := make(chan error, 1)
		linger := make(chan struct{})
		load := func(ctx context.Context) (string, time.Duration, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			<-linger // a load that is slow to notice, and then succeeds all the same
			return "late", time.Hour, nil
		}
		first, cancelFirst := context.WithCancel(t.Context())
		second, cancelSecond := context.WithTimeout(t.Context(), time.Minute)
		defer cancelSecond()
		a := begin(first, c, "k", load)
		b := begin(second, c, "k", load)

		cancelFirst()
		if got := <-a; !errors.Is(got.err, context.Canceled) {
			t.Errorf("the first caller got %+v, want its own context's error", got)
		}
		synctest.Wait()
		if len(ended) != 0 {
			t.Fatal("the load was cancelled with a caller still waiting")
		}
		if got := <-b; !errors.Is(got.err, context.DeadlineExceeded) {
			t.Errorf("the second caller got %+v, want its own context's error", got)
		}
		synctest.Wait()
		if len(ended) != 1 {
			t.Fatal("the load was not cancelled when the last caller left")
		}

		// Who comes now doesn't get the dying load, which doesn't store over what the new one finds.
		got := <-begin(t.Context(), c, "k", returns("new", time.Hour))
		if got.Value != "new" || got.How != Missed {
			t.Errorf("after the cancelled load: %+v, want a load of its own", got)
		}
		close(linger)
		synctest.Wait()
		if v, ok := c.Get("k", c.Now()); !ok || v != "new" {
			t.Errorf("Get = %q, %t: the abandoned load stored its value", v, ok)
		}
		if s := c.Stats(); s.Abandoned != 1 || s.Loads != 2 {
			t.Errorf("%+v, want 2 loads, 1 of them abandoned", s)
		}
	})
}

type ctxKey struct{}

func TestLoadContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), ctxKey{}, "trace"), time.Minute)
		defer cancel()
		var kept context.Context
		got := <-begin(ctx, c, "k", func(ctx context.Context) (string, time.Duration, error) {
			kept = ctx
			if _, ok := ctx.Deadline(); ok {
				t.Error("the load has a caller's deadline")
			}
			return ctx.Value(ctxKey{}).(string), time.Hour, nil
		})
		if got.Value != "trace" {
			t.Errorf("%+v, want the values of the first caller's context", got)
		}
		synctest.Wait()
		if kept.Err() == nil {
			t.Error("the load's context outlives it")
		}
		cancel()
		if got := <-begin(ctx, c, "k", returns("", 0)); got.How != Hit {
			t.Errorf("%+v, want a hit, which needs no context", got)
		}
		if got := <-begin(ctx, c, "other", returns("", 0)); !errors.Is(got.err, context.Canceled) {
			t.Errorf("%+v, want the context's error and no load", got)
		}
		if s := c.Stats(); s.Loads != 1 {
			t.Errorf("%d loads, want none for a context that had ended", s.Loads)
		}
	})
}

func TestWhatIsNotStored(t *testing.T) {
	t.Parallel()
	wrong := errors.New("wrong")
	f := func(name string, load func(context.Context) (string, time.Duration, error), check func(answer) bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			c := open(t, Options[string, string]{})
			defer c.Close()
			time.Sleep(time.Minute)
			release := make(chan struct{})
			slow := func(ctx context.Context) (string, time.Duration, error) { <-release; return load(ctx) }
			a, b := begin(t.Context(), c, "k", slow), begin(t.Context(), c, "k", slow)
			close(release)
			for _, call := range []<-chan answer{a, b} {
				if got := <-call; !check(got) || got.TTL != 0 {
					t.Errorf("%s: got %+v", name, got)
				}
			}
			if _, ok := c.Get("k", c.Now()); ok || c.Stats().Stored != 0 {
				t.Errorf("%s: stored", name)
			}
			if got := <-begin(t.Context(), c, "k", returns("next", time.Hour)); got.How != Missed || got.Value != "next" {
				t.Errorf("%s: then %+v, want another load", name, got)
			}
		})
	}
	f("no ttl", returns("v", 0), func(a answer) bool { return a.Value == "v" && a.err == nil })
	f("negative ttl", returns("v", -time.Second), func(a answer) bool { return a.Value == "v" && a.err == nil })
	f("error", func(context.Context) (string, time.Duration, error) { return "v", time.Hour, wrong },
		func(a answer) bool { return a.Value == "" && a.err == wrong })
	f("panic", func(context.Context) (string, time.Duration, error) { panic(wrong) }, func(a answer) bool {
		var p *PanicError
		return errors.As(a.err, &p) && p.Value == wrong && !errors.Is(a.err, wrong) &&
			strings.Contains(string(p.Stack), "TestWhatIsNotStored") && a.err.Error() == "the load panicked: wrong"
	})
	f("Goexit", func(context.Context) (string, time.Duration, error) { runtime.Goexit(); return "v", time.Hour, nil },
		func(a answer) bool {
			var p *PanicError
			return errors.As(a.err, &p) && p.Value == nil && a.err.Error() == "the load ended its goroutine"
		})
}

func TestInvalidateFencesLoads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		defer c.Close()
		releaseOld, releaseNew := make(chan struct{}), make(chan struct{})
		before := begin(t.Context(), c, "k", blocked(releaseOld, "old"))
		alone := begin(t.Context(), c, "alone", blocked(releaseOld, "old"))
		c.Invalidate()
		after := begin(t.Context(), c, "k", blocked(releaseNew, "new"))
		joined := begin(t.Context(), c, "k", blocked(releaseOld, "wrong"))

		close(releaseOld)
		if got := <-before; got.Value != "old" || got.How != Missed {
			t.Errorf("who asked before Invalidate got %+v, want the old value", got)
		}
		if got := <-alone; got.Value != "old" {
			t.Errorf("who asked before Invalidate got %+v, want the old value", got)
		}
		synctest.Wait()
		for _, key := range []string{"k", "alone"} {
			if v, ok := c.Get(key, c.Now()); ok {
				t.Errorf("Get(%s) = %q, which was loaded for an earlier epoch", key, v)
			}
		}
		close(releaseNew)
		if got := <-after; got.Value != "new" || got.How != Missed {
			t.Errorf("who asked after Invalidate got %+v, want the new value", got)
		}
		if got := <-joined; got.Value != "new" || got.How != Joined {
			t.Errorf("who asked after Invalidate got %+v, want to join the new load", got)
		}
	})
}

// An old load that ends after a new one of the same key has stored does not undo it.
func TestOldLoadEndsLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		defer c.Close()
		release := make(chan struct{})
		old := begin(t.Context(), c, "k", blocked(release, "old"))
		c.Invalidate()
		<-begin(t.Context(), c, "k", returns("new", time.Hour))
		close(release)
		<-old
		synctest.Wait()
		if v, ok := c.Get("k", c.Now()); !ok || v != "new" {
			t.Errorf("Get = %q, %t, want the new value", v, ok)
		}
	})
}

func TestTTLIsWhatRemains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		defer c.Close()
		slow := func(context.Context) (string, time.Duration, error) {
			time.Sleep(3 * time.Second)
			return "v", 10 * time.Second, nil
		}
		if got := <-begin(t.Context(), c, "k", slow); got.TTL != 10*time.Second {
			t.Errorf("the loader has %v left, want all of 10 s", got.TTL)
		}
		time.Sleep(4 * time.Second)
		if got := <-begin(t.Context(), c, "k", slow); got.TTL != 6*time.Second || got.How != Hit {
			t.Errorf("after 4 s: %+v, want 6 s left", got)
		}
	})
}
