//go:build !race

package h2

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// sink is a connection that takes everything.
type sink struct {
	net.Conn
	bytes int
}

func (s *sink) Write(b []byte) (int, error) {
	s.bytes += len(b)
	return len(b), nil
}

// fed is a connection whose frames a test puts where they would have been read to.
func fed(t testing.TB, h Handler) (*conn, *sink) {
	t.Helper()
	to := &sink{}
	c := New(limits()).newConn(context.Background(), to, h)
	c.greeted, c.sendWindow = true, 1<<40
	return c, to
}

func (c *conn) feed(t testing.TB, b []byte) {
	c.r, c.w = 0, copy(c.in, b)
	if err := c.step(); err != nil {
		t.Fatal(err)
	}
}

// TestAllocNothing answers requests whose headers the client has sent before.
func TestAllocNothing(t *testing.T) {
	c, to := fed(t, newKit())
	p := &peer{t: t, next: 1}
	p.encoder = hpack.NewEncoder(&p.block)
	post := func(path string) []byte {
		return p.post(p.id(), path, "a body", "accept", "application/json, */*", "content-type", "application/json", "user-agent", "x")
	}
	c.feed(t, append(post("/"), post("/other")...))
	one, other := post("/"), post("/other")
	split := bytes.Index(one, []byte("a body")) - frameHead
	id := uint32(1001)
	number := func(b []byte, at ...int) []byte {
		for _, i := range at {
			binary.BigEndian.PutUint32(b[i+5:], id)
		}
		return b
	}
	for name, run := range map[string]func(){
		"same headers": func() { c.feed(t, number(one, 0, split)) },
		"other headers each time": func() {
			c.feed(t, number(one, 0, split))
			id += 2
			c.feed(t, number(other, 0, split))
		},
		"body apart": func() {
			c.feed(t, number(one, 0, split)[:split])
			c.feed(t, one[split:])
		},
	} {
		before := to.bytes
		if n := testing.AllocsPerRun(500, func() { run(); id += 2 }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		if to.bytes-before < 500*20 || len(c.streams) != 0 {
			t.Errorf("%s: %d bytes were sent, %d streams are left", name, to.bytes-before, len(c.streams))
		}
	}
}
