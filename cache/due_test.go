package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestDueOnce: of all who use a value past its moment one is told, and another later if nobody has renewed it; and
// nobody else's look-up says so.
func TestDueOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		defer c.Close()
		<-begin(t.Context(), c, "k", returns("v", 100*time.Second))
		told := func() int {
			var mu sync.Mutex
			var wg sync.WaitGroup
			n := 0
			for range 20 {
				wg.Go(func() {
					v, due, ok := c.Use("k", c.Now())
					if !ok || v != "v" {
						t.Errorf("Use = %q, %t", v, ok)
					}
					mu.Lock()
					defer mu.Unlock()
					if due {
						n++
					}
				})
			}
			wg.Wait()
			return n
		}
		time.Sleep(75*time.Second - 1)
		if n := told(); n != 0 {
			t.Errorf("%d are told before three quarters of its life are over", n)
		}
		time.Sleep(15*time.Second + 1)
		if n := told(); n != 1 {
			t.Errorf("%d are told of 20, want one", n)
		}
		if n := told(); n != 0 {
			t.Errorf("%d are told again at once", n)
		}
		most := 0
		for c.Now() < Instant(100*time.Second)-1 {
			time.Sleep(10 * time.Millisecond)
			if _, due, _ := c.Use("k", c.Now()); due {
				most++
			}
		}
		if most < 3 || most > 40 {
			t.Errorf("%d are told again in its last ten seconds", most)
		}
		if _, due, ok := c.Use("k", c.Now()+1); due || ok {
			t.Error("it is used after its end")
		}
		<-begin(t.Context(), c, "short", returns("v", shortLife))
		time.Sleep(shortLife - 1)
		if _, due, ok := c.Use("short", c.Now()); due || !ok {
			t.Errorf("a short life: due %t, there %t", due, ok)
		}
	})
}

// TestDueIsSpread: what was stored at one moment is not due at one moment.
func TestDueIsSpread(t *testing.T) {
	t.Parallel()
	const keys, slices = 1000, 10
	var in [slices]int
	for range keys {
		v := newValue("v", 0, 1000*time.Second, 0)
		due := 1000*time.Second - time.Duration(v.due.Load())*time.Millisecond
		if due <= 750*time.Second || due > 900*time.Second {
			t.Fatalf("due after %v of 1,000 s", due)
		}
		in[(due-750*time.Second-1)/(15*time.Second)]++
	}
	for i, n := range in {
		if n < keys/slices/2 || n > keys/slices*2 {
			t.Errorf("slice %d of %d has %d of %d", i, slices, n, keys)
		}
	}
}

// TestRenew walks through what becomes of a value that is renewed.
func TestRenew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		defer c.Close()
		boom := errors.New("boom")
		now := func(want string) {
			t.Helper()
			if v, ok := c.Get("k", c.Now()); v != want || ok != (want != "") {
				t.Errorf("at %v: %q, %t, want %q", time.Duration(c.Now()), v, ok, want)
			}
		}
		<-begin(t.Context(), c, "k", returns("1", time.Minute))
		time.Sleep(29 * time.Second)
		l, err := c.Renew(t.Context(), "k", 30*time.Second, returns("x", time.Minute))
		if l != (Loaded[string]{Value: "1", TTL: 31 * time.Second, How: Hit}) || err != nil {
			t.Errorf("with enough of its life left: %+v, %v", l, err)
		}
		time.Sleep(time.Second)
		l, err = c.Renew(t.Context(), "k", 30*time.Second, func(context.Context) (string, time.Duration, error) { return "x", 0, boom })
		if l != (Loaded[string]{Value: "1", TTL: 30 * time.Second}) || !errors.Is(err, boom) {
			t.Errorf("an error: %+v, %v, want what was there beside it", l, err)
		}
		l, err = c.Renew(t.Context(), "k", 30*time.Second, returns("unsure", 0))
		if l != (Loaded[string]{Value: "unsure"}) || err != nil {
			t.Errorf("nothing to be kept: %+v, %v", l, err)
		}
		now("1")

		// Renewed while it is used, once for all who do so.
		release := make(chan struct{})
		loads := 0
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				l, err := c.Renew(t.Context(), "k", 30*time.Second, func(ctx context.Context) (string, time.Duration, error) {
					loads++
					return blocked(release, "2")(ctx)
				})
				if l.Value != "2" || err != nil {
					t.Errorf("%+v, %v", l, err)
				}
			})
		}
		synctest.Wait()
		now("1")
		if got := <-begin(t.Context(), c, "k", returns("x", time.Hour)); got.Value != "1" || got.How != Hit {
			t.Errorf("Do meanwhile: %+v", got)
		}
		close(release)
		wg.Wait()
		if now("2"); loads != 1 {
			t.Errorf("%d loads, want 1", loads)
		}

		// Whoever gives up leaves what is there.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		l, err = c.Renew(ctx, "k", 2*time.Hour, blocked(nil, ""))
		if l.Value != "2" || l.TTL != time.Hour-time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("given up: %+v, %v", l, err)
		}
		now("2")

		// What begins before Invalidate is not stored after it.
		release = make(chan struct{})
		wg.Go(func() { _, _ = c.Renew(t.Context(), "k", 2*time.Hour, blocked(release, "3")) })
		synctest.Wait()
		c.Invalidate()
		close(release)
		wg.Wait()
		now("")
	})
}

// TestDrop ends a value, in whichever level it is.
func TestDrop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options[string, string]{})
		for i, before := range []func(key string){func(string) {}, func(string) { synctest.Wait() }, c.forget} {
			key := fmt.Sprint(i)
			<-begin(t.Context(), c, key, returns("v", time.Hour))
			synctest.Wait()
			before(key)
			c.Drop(key)
			if v, ok := c.Get(key, c.Now()); ok {
				t.Errorf("%d: %q after Drop", i, v)
			}
			if got := <-begin(t.Context(), c, key, returns("new", time.Hour)); got.Value != "new" {
				t.Errorf("%d: %+v", i, got)
			}
			synctest.Wait()
			if v, _ := c.Get(key, c.Now()); v != "new" {
				t.Errorf("%d: %q, want what was stored after Drop", i, v)
			}
		}
		c.Drop("never there")
		c.Close()
		c.Drop("0")
	})
}
