package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSweepLeadsAway has one who listens leave while others connect all the time: nobody is reset, nobody is refused, and
// in the end all of them reach the one who stays. Neither it nor the one who leaves has any capability.
func TestSweepLeadsAway(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, addr string
		leaves     int
	}{
		{"the older leaves", "127.0.0.1:0", 0},
		{"the newer leaves", "127.0.0.1:0", 1},
		{"the older leaves all addresses", ":0", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			runtime.LockOSThread() // for good: the thread ends with the goroutine
			dropCapabilities(t)
			both := make([]*net.TCPListener, 2)
			for i := range both {
				addr := test.addr
				if i > 0 {
					addr = both[0].Addr().String()
				}
				var err error
				if both[i], err = listen(addr); err != nil {
					t.Fatal(err)
				}
				defer both[i].Close()
			}
			leaving, staying := both[test.leaves], both[1-test.leaves]

			answer := func(c *net.TCPConn, by byte) {
				_, _ = c.Write([]byte{by})
				_ = c.Close()
			}
			var end atomic.Bool
			accepted := make(chan struct{})
			go func() {
				defer close(accepted)
				for {
					c, err := staying.AcceptTCP()
					if err != nil {
						return
					}
					answer(c, 's')
				}
			}()
			callers := make(chan map[byte]int)
			const concurrent = 4
			for range concurrent {
				go func() {
					by := map[byte]int{}
					defer func() { callers <- by }()
					for !end.Load() {
						who, err := ask(both[0].Addr().String())
						if err != nil {
							t.Error(err)
							return
						}
						by[who]++
					}
				}()
			}
			served := 0
			for ; served < 100; served++ {
				c, err := leaving.AcceptTCP()
				if err != nil {
					t.Fatal(err)
				}
				answer(c, 'l')
			}
			if err := sweep(leaving, func(c *net.TCPConn) { served++; answer(c, 'l') }); err != nil {
				t.Error(err)
			}
			for range 100 {
				if who, err := ask(both[0].Addr().String()); err != nil || who != 's' {
					t.Fatalf("after it: %q, %v", who, err)
				}
			}
			end.Store(true)
			byLeaving := 0
			for range concurrent {
				byLeaving += (<-callers)['l']
			}
			if byLeaving != served {
				t.Errorf("the one who left had %d connections, and the callers know of %d", served, byLeaving)
			}
			_ = staying.Close()
			<-accepted
		})
	}
}

// TestSweepTwoOfThree: two leave at once, and each leads to where the other has been, until both have found the third. That
// it is not the newest: who is takes the place of the first that ends, and what comes in that moment may be reset.
func TestSweepTwoOfThree(t *testing.T) {
	t.Parallel()
	for stays := range 2 {
		t.Run(fmt.Sprint(stays, " stays"), func(t *testing.T) {
			t.Parallel()
			addr := "127.0.0.1:0"
			var all []*net.TCPListener
			for range 3 {
				ln, err := listen(addr)
				if err != nil {
					t.Fatal(err)
				}
				defer ln.Close()
				addr, all = ln.Addr().String(), append(all, ln)
			}
			answer := func(c *net.TCPConn) {
				_, _ = c.Write([]byte{'x'})
				_ = c.Close()
			}
			var accepting, calling, leaving sync.WaitGroup
			accepting.Go(func() {
				for {
					c, err := all[stays].AcceptTCP()
					if err != nil {
						return
					}
					answer(c)
				}
			})
			var end atomic.Bool
			for range 4 {
				calling.Go(func() {
					for !end.Load() {
						if _, err := ask(addr); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			for i, ln := range all {
				if i != stays {
					leaving.Go(func() {
						if err := sweep(ln, answer); err != nil {
							t.Error(err)
						}
					})
				}
			}
			leaving.Wait()
			end.Store(true)
			calling.Wait()
			_ = all[stays].Close()
			accepting.Wait()
		})
	}
}

// TestGuideAsks: where nobody else connects, its own connection tells where it leads to.
func TestGuideAsks(t *testing.T) {
	t.Parallel()
	first, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := listen(first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for _, ln := range []*net.TCPListener{second, first} {
		g := guide{ln: ln}
		if g.lead(); g.err != nil {
			t.Fatal(g.err)
		}
		if c := next(first); c == nil || !g.sent(c) || !g.took() {
			t.Errorf("%v has come", c)
		}
		if g.lead(); g.err != nil {
			t.Fatal(g.err)
		}
		if c := next(second); c == nil || !g.sent(c) {
			t.Errorf("%v has come after that", c)
		}
	}
}

// TestSweepAlone: where no other listens, whoever connects before the end is served.
func TestSweepAlone(t *testing.T) {
	t.Parallel()
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	clients := []net.Conn{}
	connect := func() {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	connect()
	served := 0
	err = sweep(ln, func(c *net.TCPConn) {
		if served++; served < 10 {
			connect()
		}
		_, _ = c.Write([]byte{'l'})
		_ = c.Close()
	})
	if err != nil {
		t.Error(err)
	}
	for _, c := range clients {
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		_ = c.Close()
	}
	if served != len(clients) {
		t.Errorf("%d of %d were served", served, len(clients))
	}
	if _, err := ask(ln.Addr().String()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after it: %v", err)
	}
}

// ask connects, and returns the byte that the one who answers says.
func ask(addr string) (byte, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	said := make([]byte, 1)
	_, err = io.ReadFull(c, said)
	return said[0], err
}

// dropCapabilities takes all of them from the current thread.
func dropCapabilities(t *testing.T) {
	t.Helper()
	none := [2]unix.CapUserData{}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP); !errors.Is(err, unix.EPERM) {
		t.Fatalf("it still has some: %v", err)
	}
}
