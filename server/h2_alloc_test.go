//go:build !race

package server

import (
	"bytes"
	"runtime/debug"
	"testing"

	"sluice/server/h2"
)

// TestHitAllocatesNothingOnH2 goes through everything that HTTP/2 asks for one review. What the frames around it cost
// is looked at where they are read.
func TestHitAllocatesNothingOnH2(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pool of exchanges
	f := prepare(t, newEngine(t))
	door := &h2Door{server: f.Server, conn: &conn{certified: true, client: "kube-apiserver"}}
	for name, body := range map[string][]byte{
		"two containers": []byte(reviewOf("good.example/a:1", "good.example/b:2")),
		"large":          []byte(padded(60_000, "good.example/a:1")),
	} {
		r := &h2.Request{Method: "POST", Path: "/v1/imagereview?timeout=30s", ContentLength: int64(len(body))}
		if _, job := door.Small(r, body, nil); job != nil { // a miss
			job.Run(t.Context(), nil)
			job.Close()
		}
		dst := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(500, func() {
			if !door.Head(r) {
				t.Fatal("not admitted")
			}
			if reply, job := door.Small(r, body, dst); job != nil || reply.Status != 200 || !bytes.Contains(reply.Body, []byte(`"allowed":true`)) {
				t.Fatalf("%d %s", reply.Status, reply.Body)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
