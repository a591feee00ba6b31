//go:build !race

package server

import (
	"bytes"
	"crypto/tls"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// TestHitAllocatesNothing goes from request bytes to reply bytes with the real engine.
func TestHitAllocatesNothing(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pool of exchanges
	f := prepare(t, newEngine(t))
	for name, body := range map[string][]byte{
		"allowed": []byte(reviewOf("good.example/a:1", "good.example/b:2")),
		"large":   []byte(padded(60_000, "good.example/a:1")),
	} {
		reader := bytes.NewReader(body)
		one := func() {
			x := f.door.acquire(imageReview)
			reader.Reset(body)
			if status, ended := f.receive(x, reader, int64(len(body))); status != 200 || !ended || !bytes.Contains(x.reply, []byte(`"allowed":true`)) {
				t.Fatalf("%d %s", status, x.reply)
			}
			f.door.release(x)
		}
		one() // a miss
		if n := testing.AllocsPerRun(500, one); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for _, review := range hitReviews() {
		for _, f := range []*fixture{f, prepare(t, allowAll())} {
			warm(t, f, review.body)
			if n := testing.AllocsPerRun(100, func() { decideHit(t, f, review.body) }); n != 0 {
				t.Errorf("%s: %v allocations", review.name, n)
			}
		}
	}
	if st := f.Stats(); st.Hits.Sum == 0 || !strings.Contains(string(st.Reviews[0].Outcome.String()), "deny") {
		t.Error("no hit")
	}
}

// TestHitAllocatesNothingOnH1 goes from request bytes to reply bytes through TLS and fasthttp. Whatever TLS allocates is
// left out: with Go 1.26, a few bytes a record.
func TestHitAllocatesNothingOnH1(t *testing.T) {
	f := prepare(t, newEngine(t))
	request := rawH1(reviewOf("good.example/a:1", "good.example/b:2"))
	var before, after runtime.MemStats
	const warm, measured = 200, 2000
	mallocs := func(serve func(*tls.Conn)) float64 {
		n := 0
		exchanges(t, f, request, serve, func(answer []byte) bool {
			if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 OK\r\n")) || !bytes.Contains(answer, []byte(`"allowed":true`)) {
				t.Errorf("%s", answer)
			}
			switch n++; n {
			case warm:
				runtime.ReadMemStats(&before)
			case warm + measured:
				runtime.ReadMemStats(&after)
			}
			return n < warm+measured && !t.Failed()
		})
		return float64(after.Mallocs-before.Mallocs) / measured
	}
	ofTLS, all := mallocs(echo([]byte("HTTP/1.1 200 OK\r\n{\"allowed\":true}"))), mallocs(f.serveH1On)
	if all-ofTLS > 0.05 { // the garbage collector empties pools
		t.Errorf("%.2f allocations a review, of which %.2f by TLS", all, ofTLS)
	}
}
