package client

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sluice/bench"
)

func leanH2To(t testing.TB, f func(c *tls.Conn), streams int) bench.Sender {
	o := listen(t, f)
	o.Lean, o.Connections, o.Streams = true, 1, streams
	return open(t, o).(bench.Sender)
}

func wantAllowed(t testing.TB, n int, r *receiver) {
	t.Helper()
	for range n {
		if a, err := r.wait(t); err != nil || a != (bench.Answer{Status: 200, Allowed: true, Verdict: true}) {
			t.Errorf("%+v %v", a, err)
		}
	}
}

// TestManyStreams sends more reviews than the server lets in at a time, which answers them in reverse.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	var most atomic.Int64
	c := leanH2To(t, func(conn *tls.Conn) {
		s := newScript(t, conn, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 7})
		s.do(s.WriteWindowUpdate(0, 1<<20))
		var open []uint32
		for s.err == nil {
			if id := s.review(); id != 0 {
				open = append(open, id)
			}
			most.Store(max(most.Load(), int64(len(open))))
			if len(open) == 7 {
				for _, id := range slices.Backward(open) {
					s.answer(id)
				}
				open = open[:0]
			}
		}
	}, 50)
	r := newReceiver()
	const n = 7 * 100
	for range n {
		c.Send(review, time.Now().Add(20*time.Second), r)
	}
	wantAllowed(t, n, r)
	if most.Load() != 7 {
		t.Errorf("%d streams at a time", most.Load())
	}
	if n := c.Connections(); n.Opened != 1 || n.Unused != 0 {
		t.Errorf("%+v", n)
	}
}

// TestWindows sends large bodies to a server with small windows and frames.
func TestWindows(t *testing.T) {
	t.Parallel()
	const size = 30_000
	large := &bench.Review{Body: bytes.Repeat([]byte("0123456789"), size/10)}
	var whole atomic.Int64
	c := leanH2To(t, func(conn *tls.Conn) {
		s := newScript(t, conn, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
		got := make(map[uint32]int)
		for s.err == nil {
			before := len(s.bodies)
			id := s.step()
			for stream, body := range s.bodies { // give back what was read, and a little more
				if n := len(body) - got[stream]; n > 0 && id != stream {
					got[stream] = len(body)
					s.do(s.WriteWindowUpdate(stream, uint32(n)+500))
					s.do(s.WriteWindowUpdate(0, uint32(n)))
				} else if n > 0 {
					s.do(s.WriteWindowUpdate(0, uint32(n)))
				}
			}
			if len(s.bodies) > before && len(s.bodies) == 2 { // the first streams get more at once, or less
				s.do(s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3000}))
				s.do(s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}))
			}
			if id != 0 {
				if bytes.Equal(s.bodies[id], large.Body) || bytes.Equal(s.bodies[id], review.Body) {
					whole.Add(1)
				}
				delete(s.bodies, id)
				s.answer(id)
			}
		}
	}, 10)
	r := newReceiver()
	for i := range 20 {
		if i%4 == 3 {
			c.Send(review, time.Now().Add(20*time.Second), r)
		} else {
			c.Send(large, time.Now().Add(20*time.Second), r)
		}
	}
	wantAllowed(t, 20, r)
	if whole.Load() != 20 {
		t.Errorf("%d of 20 arrived whole", whole.Load())
	}
}

// TestSettingsWiden gives streams that are open already their windows by a change of the settings.
func TestSettingsWiden(t *testing.T) {
	t.Parallel()
	var early atomic.Int64
	c := leanH2To(t, func(conn *tls.Conn) {
		s := newScript(t, conn, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		for s.fields == nil && s.err == nil {
			s.step()
		}
		early.Store(int64(len(s.bodies[1])))
		s.do(s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000}))
		s.serveRest()
	}, 1)
	r := newReceiver()
	c.Send(review, time.Now().Add(20*time.Second), r)
	wantAllowed(t, 1, r)
	if early.Load() != 0 {
		t.Error("more was sent than a window of 0 allows")
	}
}

// TestConnectionWindow has streams that may send more than the connection may.
func TestConnectionWindow(t *testing.T) {
	t.Parallel()
	var early atomic.Int64
	c := leanH2To(t, func(conn *tls.Conn) {
		s := newScript(t, conn, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
		for len(s.bodies[1]) < 65535 && s.err == nil {
			s.step()
		}
		s.do(s.WritePing(false, [8]byte{}))
		for s.pings == 0 && s.err == nil {
			s.step()
		}
		early.Store(int64(len(s.bodies[1])))
		s.do(s.WriteWindowUpdate(0, 1<<20))
		s.serveRest()
	}, 1)
	r := newReceiver()
	c.Send(&bench.Review{Body: make([]byte, 100_000)}, time.Now().Add(20*time.Second), r)
	wantAllowed(t, 1, r)
	if early.Load() != 65535 {
		t.Errorf("%d bytes were sent, where 65535 were allowed", early.Load())
	}
}

// TestStrictServer sends more and larger reviews at a time than net/http lets in, which ends connections and streams that
// go beyond.
func TestStrictServer(t *testing.T) {
	t.Parallel()
	_, reach := serve(t, http.HandlerFunc(allow), func(s *httptest.Server) {
		s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 7, MaxReceiveBufferPerConnection: 65535, MaxReceiveBufferPerStream: 20_000}
	})
	c := open(t, Options{Lean: true, Connections: 1, Streams: 100}.to(reach)).(bench.Sender)
	large := &bench.Review{Body: make([]byte, 100_000)}
	r := newReceiver()
	for i := range 100 {
		if i%10 == 0 {
			c.Send(large, time.Now().Add(20*time.Second), r)
		} else {
			c.Send(review, time.Now().Add(20*time.Second), r)
		}
	}
	wantAllowed(t, 100, r)
	if n := c.Connections(); n.Opened != 1 {
		t.Errorf("%+v", n)
	}
}

// TestGoAway asks a server that leaves a connection in the middle of reviews: those that it did not look at are sent
// again, and no other.
func TestGoAway(t *testing.T) {
	t.Parallel()
	var connections, reviews atomic.Int64
	c := leanH2To(t, func(conn *tls.Conn) {
		s := newScript(t, conn)
		if connections.Add(1) > 1 {
			for id := s.review(); id != 0; id = s.review() {
				reviews.Add(1)
				s.answer(id)
			}
			return
		}
		for range 5 {
			s.review()
		}
		s.do(s.WriteGoAway(5, http2.ErrCodeNo, nil)) // 1, 3 and 5 are still answered
		for _, id := range []uint32{3, 1, 5} {
			s.answer(id)
		}
		s.review() // until the client closes
	}, 50)
	r := newReceiver()
	for range 5 {
		c.Send(review, time.Time{}, r)
	}
	wantAllowed(t, 5, r)
	if reviews.Load() != 2 {
		t.Errorf("%d reviews on the second connection", reviews.Load())
	}
	if n := c.Connections(); n.Opened != 2 {
		t.Errorf("%+v", n)
	}
}

// TestGoAwayAndGone asks a server that gives up on reviews that it has looked at.
func TestGoAwayAndGone(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]http2.ErrCode{"in order": http2.ErrCodeNo, "in anger": http2.ErrCodeEnhanceYourCalm} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := leanH2To(t, func(conn *tls.Conn) {
				s := newScript(t, conn)
				id := s.review()
				s.review()
				if code == http2.ErrCodeNo {
					id += 2
				}
				s.do(s.WriteGoAway(id, code, []byte("sorry")))
			}, 50)
			r := newReceiver()
			for range 2 {
				c.Send(review, time.Time{}, r)
			}
			for range 2 {
				if a, err := r.wait(t); c.Kind(err) != "goaway" {
					t.Errorf("%+v %v", a, err)
				}
			}
		})
	}
}

// TestStreamReset also has answers before the review was read, with and without a word about it.
func TestStreamReset(t *testing.T) {
	t.Parallel()
	large := &bench.Review{Body: make([]byte, 100_000)}
	var resets atomic.Int64
	c := leanH2To(t, func(conn *tls.Conn) {
		s := newScript(t, conn)
		s.do(s.WriteRSTStream(s.review(), http2.ErrCodeRefusedStream))
		for len(s.bodies[3]) == 0 && s.err == nil {
			s.step()
		}
		s.answer(3)
		for len(s.resets) == 0 && s.err == nil {
			s.step()
		}
		resets.Store(int64(len(s.resets)))
		s.do(s.WriteWindowUpdate(0, 1<<20))
		s.serveRest()
	}, 50)
	r := newReceiver()
	c.Send(review, time.Time{}, r)
	if a, err := r.wait(t); c.Kind(err) != "stream" {
		t.Errorf("%+v %v", a, err)
	}
	c.Send(large, time.Time{}, r)
	wantAllowed(t, 1, r)
	c.Send(review, time.Time{}, r)
	wantAllowed(t, 1, r)
	if resets.Load() != 1 {
		t.Error("the server was not told that the rest is not needed")
	}
}

// TestTable asks servers with other tables for headers than HTTP/2's default, and one that changes its mind.
func TestTable(t *testing.T) {
	t.Parallel()
	for name, sizes := range map[string][]uint32{"none": {0}, "small": {100}, "default": {}, "large": {65536}, "shrinks": {4096, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var wrong atomic.Int64
			c := leanH2To(t, func(conn *tls.Conn) {
				var first []http2.Setting
				if len(sizes) > 0 {
					first = append(first, http2.Setting{ID: http2.SettingHeaderTableSize, Val: sizes[0]})
				}
				s := newScript(t, conn, first...)
				if len(sizes) > 0 {
					s.ReadMetaHeaders.SetMaxDynamicTableSize(min(4096, sizes[0]))
				}
				for n := 0; s.err == nil; n++ {
					id := s.review()
					if id != 0 && (s.fields["content-length"] != "173" || s.fields[":path"] != "/?timeout=30s" || s.fields["user-agent"] != "Go-http-client/2.0") {
						wrong.Add(1)
					}
					if n == 2 && len(sizes) > 1 { // before the answer, so that the next request heeds it
						s.do(s.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: sizes[1]}))
						s.ReadMetaHeaders.SetMaxDynamicTableSize(sizes[1])
					}
					s.answer(id)
				}
			}, 1)
			r := newReceiver()
			for range 10 {
				c.Send(review, time.Time{}, r)
				wantAllowed(t, 1, r)
			}
			if wrong.Load() != 0 {
				t.Errorf("%d requests are garbled", wrong.Load())
			}
		})
	}
}

// TestHeadersTooLargeForTable has a token that no table holds.
func TestHeadersTooLargeForTable(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3000, 3900, 4100, 8000} {
		b := newHeaderBlock([]field{{"a", strings.Repeat("b", 1000)}, {"authorization", strings.Repeat("x", n)}, {":method", "POST"}}, true)
		d := hpack.NewDecoder(4096, nil)
		for i := range 5 {
			fields, err := d.DecodeFull(b.append(nil, i))
			if err != nil || len(fields) != 4 || len(fields[0].Value) != 1000 || len(fields[1].Value) != n || fields[3].Value != fmt.Sprint(i) {
				t.Fatalf("%d: %v %v", n, fields, err)
			}
		}
	}
}

// TestNoH2 asks a server that speaks something else.
func TestNoH2(t *testing.T) {
	t.Parallel()
	for _, protocols := range [][]string{{"http/1.1"}, {}} {
		o := listen(t, func(c *tls.Conn) { _, _ = io.Copy(io.Discard, c) }, protocols...)
		o.Lean = true
		wantKind(t, open(t, o), "tls")
	}
}
