package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sluice/engine"
	"sluice/server/h2"
)

// framer speaks HTTP/2 frame by frame.
func (f *fixture) framer(t *testing.T) (*http2.Framer, net.Conn) {
	t.Helper()
	c := f.rawDial(t, "h2")
	if _, err := c.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(c, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return fr, c.NetConn()
}

// post is a request without its body.
func post(t *testing.T, fr *http2.Framer, id uint32, headers ...string) {
	t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encoder.SetMaxDynamicTableSize(0)
	headers = append([]string{":method", "POST", ":scheme", "https", ":path", "/?timeout=30s"}, headers...)
	for i := 0; i < len(headers); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: headers[i], Value: headers[i+1]})
	}
	first := min(block.Len(), 16000)
	err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Next(first), EndHeaders: block.Len() == 0})
	for err == nil && block.Len() > 0 {
		part := block.Next(16000)
		err = fr.WriteContinuation(id, block.Len() == 0, part)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// replied is what a stream was answered.
func replied(t *testing.T, fr *http2.Framer, id uint32) (status, body string) {
	t.Helper()
	for {
		frame, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			if frame.StreamID == id {
				status = frame.PseudoValue("status")
			}
		case *http2.DataFrame:
			if frame.StreamID != id {
				continue
			}
			if body += string(frame.Data()); frame.StreamEnded() {
				return status, body
			}
		}
	}
}

// TestRawH2 sends what no client library would.
func TestRawH2(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(_ *fixture, c *Config) { c.ReadTimeout = 2 * time.Second })
	fr, _ := f.framer(t)
	for i, test := range []struct {
		headers []string
		body    string
		open    bool // the body does not end
		want    string
	}{
		{nil, reviewOf("a"), false, `"allowed":true`},
		{[]string{"x", strings.Repeat("x", 80_000)}, reviewOf("a"), false, denial("the request's headers are too large")},
		{nil, reviewOf("a"), true, denial("the review did not arrive in time")},
		{[]string{"content-length", "500000"}, reviewOf("a"), true, denial("the review did not arrive in time")},
		{nil, "", false, denial("the request is no ImageReview: the body is empty")},
		{nil, reviewOf("a"), false, `"allowed":true`},
	} {
		id := uint32(2*i + 1)
		post(t, fr, id, test.headers...)
		if err := fr.WriteData(id, !test.open, []byte(test.body)); err != nil {
			t.Fatal(err)
		}
		if status, body := replied(t, fr, id); status != "200" || !strings.Contains(body, test.want) {
			t.Errorf("%d: %s %s, want %s", i, status, body, test.want)
		}
	}
	if n := f.Stats().Unusable; n["malformed_http"] != 1 || n["incomplete"] != 2 {
		t.Errorf("%v", n)
	}
	// A connection outlives that its large buffer was taken back in between.
	if err := fr.WritePing(false, [8]byte{}); err != nil {
		t.Fatal(err)
	}
	pause(t.Context(), time.Second)
	post(t, fr, 99)
	if err := fr.WriteData(99, true, []byte(reviewOf("a"))); err != nil {
		t.Fatal(err)
	}
	if status, body := replied(t, fr, 99); status != "200" || !strings.Contains(body, `"allowed":true`) {
		t.Errorf("%s %s", status, body)
	}
}

// TestPathsH2 takes paths as they are meant.
func TestPathsH2(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(_ *fixture, c *Config) { c.Paths = []string{"/a b"} })
	c := client(t, "h2", f.clientTLS(t))
	for path, want := range map[string]int{"/v1%2Fimagereview?x=/y": 200, "/a%20b": 200, "/a+b": 404, "/%76%31/x": 404, "/?": 200, "/v1/imagereview/": 404} {
		for range 2 {
			if a := do(t, c, request(t, "POST", f.url(path), reviewOf("a"))); a.status != want {
				t.Errorf("%s: %d, want %d", path, a.status, want)
			}
		}
		if a := do(t, c, request(t, "GET", f.url(path), "")); a.status != max(want, 400) && a.status != 405 {
			t.Errorf("GET %s: %d", path, a.status)
		}
	}
	if a := do(t, c, request(t, "GET", f.url("/"), "")); a.status != 405 || a.header.Get("Allow") != "POST" {
		t.Errorf("%d %v", a.status, a.header)
	}
}

// TestTokenTakenAwayH2 refuses a token from the next request on, on a connection that was served before.
func TestTokenTakenAwayH2(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(f *fixture, c *Config) {
		c.TLS.ClientCAFile, c.TLS.TokenFile = "", write(t, f.path("tokens"), []byte(strings.Repeat("a", 40)+"\n"))
	})
	c := client(t, "h2", f.clientTLS(t))
	ask := func() int {
		r := request(t, "POST", f.url("/"), reviewOf("a"))
		r.Header.Set("Authorization", "Bearer "+strings.Repeat("a", 40))
		return do(t, c, r).status
	}
	for range 3 {
		if status := ask(); status != 200 {
			t.Errorf("status %d", status)
		}
	}
	write(t, f.path("tokens"), []byte(strings.Repeat("b", 40)+"\n"))
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if status := ask(); status != 401 {
		t.Errorf("status %d with a token that was taken away", status)
	}
}

// TestShedH2 denies what there are too many jobs for.
func TestShedH2(t *testing.T) {
	t.Parallel()
	f := prepare(t, &stub{})
	door := &h2Door{server: f.Server, conn: &conn{certified: true}}
	_, job := door.Small(&h2.Request{Method: "POST", Path: "/", ContentLength: -1}, []byte(reviewOf("a")), nil)
	if job == nil {
		t.Fatal("a miss was answered at once")
	}
	defer job.Close()
	if r := job.Shed(); r.Status != 200 || !strings.Contains(string(r.Body), `"reason":"overloaded"`) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

// TestHangUpH2 has callers hang up in the middle of everything, so that answers cannot be written.
func TestHangUpH2(t *testing.T) {
	t.Parallel()
	f := start(t, &stub{
		hit: func(req *engine.Request, res *engine.Result) bool {
			res.Outcome, res.Reason, res.Hit = engine.Allow, engine.ReasonPassed, true
			return req.Images[0] == "hit"
		},
		decide: func(ctx context.Context, _ *engine.Request, _ *engine.Result) { <-ctx.Done() },
	})
	for range 40 {
		fr, tcp := f.framer(t)
		for id := uint32(1); id < 100; id += 2 {
			image := "hit"
			if id%10 == 1 {
				image = "miss"
			}
			post(t, fr, id)
			if err := fr.WriteData(id, true, []byte(reviewOf(image))); err != nil && !errors.Is(err, net.ErrClosed) {
				break
			}
		}
		_ = tcp.(*net.TCPConn).SetLinger(0)
		_ = tcp.Close()
	}
	eventually(t, "all are gone", func() bool {
		st := f.Stats()
		return st.ConnectionsOpen["h2"] == 0 && st.ConnectionsOpen["handshake"] == 0 && st.InFlight == 0
	})
}

// TestSlowReaderH2 ends the connection of a caller who sends reviews and takes no answers.
func TestSlowReaderH2(t *testing.T) {
	t.Parallel()
	f := start(t, newEngine(t), func(_ *fixture, c *Config) { c.ReadTimeout = 100 * time.Millisecond })
	fr, _ := f.framer(t)
	if err := fr.WriteWindowUpdate(0, 1<<30); err != nil {
		t.Fatal(err)
	}
	images := make([]string, 300) // each is named in the answer
	for i := range images {
		images[i] = fmt.Sprintf("bad.example/%0100d", i)
	}
	body := []byte(reviewOf(images...))
	for id := uint32(1); ; id += 2 { // until the server hangs up
		if id > 1<<15 {
			t.Fatal("all answers were taken, by nobody")
		}
		err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x83, 0x84, 0x87}, EndHeaders: true})
		for rest := body; err == nil && len(rest) > 0; {
			part := rest[:min(len(rest), 16<<10)]
			rest = rest[len(part):]
			err = fr.WriteData(id, len(rest) == 0, part)
		}
		if err != nil {
			break
		}
	}
	eventually(t, "the server has hung up", func() bool { return f.Stats().ConnectionsOpen["h2"] == 0 })
}

// TestNoDateH2 has only the headers that are needed.
func TestNoDateH2(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll())
	a := do(t, client(t, "h2", f.clientTLS(t)), request(t, http.MethodPost, f.url("/"), reviewOf("a")))
	if len(a.header) != 2 || a.header.Get("Content-Length") == "" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("%v", a.header)
	}
}
