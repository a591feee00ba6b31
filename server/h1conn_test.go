package server

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// TestH1Deadlines follows the deadlines of a connection through its requests: none may end before the time that is
// promised, nor long after it, and they are not moved with each request.
func TestH1Deadlines(t *testing.T) {
	t.Parallel()
	for _, idle := range []time.Duration{80 * time.Second, 15 * time.Second} {
		testH1Deadlines(t, idle, 24*time.Second)
	}
}

func testH1Deadlines(t *testing.T, idle, rest time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		f := prepare(t, allowAll(), func(_ *fixture, c *Config) { c.IdleTimeout, c.ReadTimeout = idle, rest })
		raw, _, server, client := shakeHands(t, f)
		c := f.newH1Conn(&conn{Conn: server})
		random := rand.New(rand.NewPCG(1, 2))
		read := func() {
			t.Helper()
			if _, err := client.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		within := func(what string, by time.Time, atLeast, atMost time.Duration) {
			t.Helper()
			if left := time.Until(by); left < atLeast || left > atMost {
				t.Fatalf("%s ends in %v, which should be between %v and %v", what, left, atLeast, atMost)
			}
		}
		pause := func() { time.Sleep(time.Duration(random.Int64N(int64(time.Second)))) }
		const requests = 500
		for i := range requests {
			read() // the first bytes
			within("an idle connection", raw.readBy, idle, idle+idle/8)
			pause()
			c.track(fasthttp.StateActive)
			if i%50 == 0 { // a request that comes in pieces
				begin := time.Now()
				for range 3 {
					read()
					within("a request", raw.readBy.Add(time.Since(begin)), rest, rest)
					time.Sleep(time.Second)
				}
			}
			pause()
			for range 2 {
				if _, err := c.Write([]byte("y")); err != nil {
					t.Fatal(err)
				}
				within("a write", raw.writeBy, rest, rest+rest/8)
			}
			c.track(fasthttp.StateIdle)
		}
		if raw.moved > requests {
			t.Errorf("deadlines were moved %d times in %d requests", raw.moved, requests)
		}
	})
}
