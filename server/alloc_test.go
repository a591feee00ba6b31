//go:build !race

package server

import (
	"bytes"
	"strings"
	"testing"
)

// TestHitAllocatesNothing goes from request bytes to reply bytes with the real engine.
func TestHitAllocatesNothing(t *testing.T) {
	f := prepare(t, newEngine(t))
	for name, body := range map[string][]byte{
		"allowed": []byte(reviewOf("good.example/a:1", "good.example/b:2")),
		"large":   []byte(padded(60_000, "good.example/a:1")),
	} {
		reader := bytes.NewReader(body)
		one := func() {
			x := f.door.acquire()
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
	if st := f.Stats(); st.Hits.Sum == 0 || !strings.Contains(string(st.Reviews[0].Outcome.String()), "deny") {
		t.Error("no hit")
	}
}
