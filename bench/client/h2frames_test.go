package client

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestOddFrames has what a server may send beside answers.
func TestOddFrames(t *testing.T) {
	t.Parallel()
	var pings atomic.Int64
	c := leanH2To(t, func(conn *tls.Conn) {
		s := newScript(t, conn)
		id := s.review()
		s.do(s.WritePing(false, [8]byte{1, 2, 3}))
		s.do(s.WriteRawFrame(0xee, 0xff, id, []byte("unknown")))
		s.do(s.WritePriority(id, http2.PriorityParam{StreamDep: 7, Weight: 3}))
		s.headers(id, false, ":status", "103", "link", "</x>")
		s.block.Reset()
		_ = s.enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
		_ = s.enc.WriteField(hpack.HeaderField{Name: "x", Value: "y"})
		block := s.block.Bytes()
		s.do(s.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: block[:1], PadLength: 9, Priority: http2.PriorityParam{StreamDep: 1, Weight: 1},
		}))
		s.do(s.WriteContinuation(id, false, block[1:2]))
		s.do(s.WriteContinuation(id, true, block[2:]))
		s.do(s.WriteDataPadded(id, false, []byte(allowedReply[:20]), make([]byte, 255)))
		s.do(s.WriteData(id, false, nil))
		s.do(s.WriteDataPadded(id, false, []byte(allowedReply[20:]), make([]byte, 1)))
		s.headers(id, true, "grpc-status", "0") // trailers
		for s.pings == 0 && s.err == nil {
			s.step()
		}
		pings.Store(int64(s.pings))
		// Answers to a stream that nobody waits for, and to one that never was.
		s.do(s.WriteData(id, true, []byte("late")))
		s.headers(99, true, ":status", "200", "only", "now")
		s.do(s.WriteWindowUpdate(99, 5))
		s.do(s.WriteRSTStream(99, http2.ErrCodeCancel))
		s.serveRest()
	}, 50)
	r := newReceiver()
	c.Send(review, time.Time{}, r)
	wantAllowed(t, 1, r)
	for range 3 {
		c.Send(review, time.Time{}, r)
		wantAllowed(t, 1, r)
	}
	if pings.Load() != 1 {
		t.Error("no answer to a ping")
	}
}

// TestBrokenFrames has what breaks the protocol.
func TestBrokenFrames(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"a long frame":              "\x00\x40\x01\x00\x00\x00\x00\x00\x01",
		"data of no stream":         "\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"more padding than data":    "\x00\x00\x01\x00\x08\x00\x00\x00\x01\x05",
		"headers of no stream":      "\x00\x00\x01\x01\x04\x00\x00\x00\x00\x88",
		"headers without priority":  "\x00\x00\x01\x01\x24\x00\x00\x00\x01\x88",
		"headers that do not exist": "\x00\x00\x01\x01\x04\x00\x00\x00\x01\xfe",
		"headers cut off":           "\x00\x00\x02\x01\x04\x00\x00\x00\x01\x40\x05",
		"a lonely continuation":     "\x00\x00\x01\x09\x04\x00\x00\x00\x01\x88",
		"an interrupted block":      "\x00\x00\x01\x01\x00\x00\x00\x00\x01\x88\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678",
		"an empty continuation":     "\x00\x00\x01\x01\x00\x00\x00\x00\x01\x88\x00\x00\x00\x09\x00\x00\x00\x00\x01",
		"a short reset":             "\x00\x00\x03\x03\x00\x00\x00\x00\x01abc",
		"settings of a stream":      "\x00\x00\x00\x04\x00\x00\x00\x00\x01",
		"half a setting":            "\x00\x00\x03\x04\x00\x00\x00\x00\x00abc",
		"a huge initial window":     "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x80\x00\x00\x00",
		"tiny frames":               "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x01",
		"a short ping":              "\x00\x00\x01\x06\x00\x00\x00\x00\x00a",
		"a short goaway":            "\x00\x00\x04\x07\x00\x00\x00\x00\x00abcd",
		"a short window update":     "\x00\x00\x01\x08\x00\x00\x00\x00\x00a",
		"a window too wide":         "\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff",
		"a promise":                 "\x00\x00\x05\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02\x88",
		"an answer without status":  "\x00\x00\x00\x00\x01\x00\x00\x00\x01",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := leanH2To(t, func(conn *tls.Conn) {
				s := newScript(t, conn)
				s.review()
				_, _ = io.WriteString(conn, raw)
				s.review() // until the client closes
			}, 50)
			r := newReceiver()
			c.Send(review, time.Time{}, r)
			if a, err := r.wait(t); c.Kind(err) != "protocol" {
				t.Errorf("%+v %s: %v", a, c.Kind(err), err)
			}
		})
	}
}

// FuzzPlainStatus holds the short way through headers against hpack.
func FuzzPlainStatus(f *testing.F) {
	var out bytes.Buffer
	enc := hpack.NewEncoder(&out)
	for range 3 {
		out.Reset()
		for _, h := range []hpack.HeaderField{
			{Name: ":status", Value: "200"},
			{Name: "content-type", Value: "application/json"},
			{Name: "content-length", Value: "93"},
			{Name: "x", Value: strings.Repeat("y", 200), Sensitive: true},
		} {
			_ = enc.WriteField(h)
		}
		f.Add(bytes.Clone(out.Bytes()))
	}
	f.Add([]byte("\x88\x0f\x0d\x0293"))
	f.Add([]byte("\x8d\x00\x01a\x01b\x5f"))
	f.Add([]byte("\x88\x7f\x00\x20"))
	f.Fuzz(func(t *testing.T, block []byte) {
		status := plainStatus(block)
		if status == 0 {
			return
		}
		// What it takes changes no table, and what it does not check is whether entries and codes exist.
		first := ""
		d := hpack.NewDecoder(4096, func(h hpack.HeaderField) {
			if first == "" {
				first = h.Name + " " + h.Value
			}
		})
		if _, err := d.Write(block); err == nil && d.Close() == nil && first != fmt.Sprintf(":status %d", status) {
			t.Errorf("%x: %d, not %s", block, status, first)
		}
		if fields, err := d.DecodeFull([]byte{0xbe}); err == nil { // the newest entry of the dynamic table
			t.Errorf("%x: %v was added", block, fields)
		}
	})
}
