package server

import (
	"errors"
	"net"
	"testing"
	"time"
)

// TestTurnAway shows that the filter keeps new connections out, without a reset, and nothing else.
func TestTurnAway(t *testing.T) {
	t.Parallel()
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	before, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	if err := turnAway(ln); err != nil {
		t.Fatal(err)
	}
	if c, err := net.DialTimeout("tcp", ln.Addr().String(), 50*time.Millisecond); err == nil {
		_ = c.Close()
		t.Error("connected")
	} else if op := (*net.OpError)(nil); !errors.As(err, &op) || !op.Timeout() {
		t.Errorf("%v, so that the client would give up", err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := before.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 5)); err != nil {
		t.Errorf("a connection of before: %v", err)
	}
}
