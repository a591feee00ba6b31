//go:build !race

package server

import (
	"bytes"
	"runtime/debug"
	"strings"
	"testing"

	"sluice/engine"
	"sluice/server/h2"
)

// admissionHit is a review at one of the doors for AdmissionReview whose answer can be remembered.
type admissionHit struct {
	kind kind
	body string
}

func admissionHits() map[string]admissionHit {
	return map[string]admissionHit{
		"validate":                 {validate, asked{object: pod("good.example/a:1", "good.example/b:2")}.String()},
		"validate a deployment":    {validate, asked{kind: "Deployment", group: "apps", object: deployment("good.example/a:1")}.String()},
		"validate an update":       {validate, asked{operation: "UPDATE", object: pod("kept.example/b", "good.example/a:1"), old: pod("kept.example/b")}.String()},
		"validate with a warning":  {validate, asked{object: pod("warned.example/a:1")}.String()},
		"validate a deletion":      {validate, asked{operation: "DELETE", old: pod("good.example/a:1")}.String()},
		"mutate":                   {mutate, asked{object: pod("both.example/a:1", "pinned.example/b")}.String()},
		"mutate what needs none":   {mutate, asked{object: pod("good.example/a:1")}.String()},
		"mutate an update":         {mutate, asked{operation: "UPDATE", object: pod("both.example/a:1"), old: pod("both.example/a:1")}.String()},
		"mutate with a long patch": {mutate, asked{object: pod(strings.Fields(strings.Repeat("pinned.example/b ", 40))...)}.String()},
	}
}

// TestAdmissionHitAllocatesNothing goes from request bytes to reply bytes with the real engine, with and without
// somebody's credentials, and through what HTTP/2 asks for.
func TestAdmissionHitAllocatesNothing(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pool of exchanges
	access := &engine.Access{ID: strings.Repeat("2", 64), Logins: func(string, string) []engine.Login { return nil }}
	for name, secrets := range map[string]PullSecrets{"": nil, " with pull secrets": knownSecrets{access}} {
		f := prepare(t, newAdmissionEngine(t), func(_ *fixture, c *Config) { c.Admission.PullSecrets = secrets })
		door := &h2Door{server: f.Server, conn: &conn{certified: true}}
		for what, test := range admissionHits() {
			body := []byte(test.body)
			path := map[kind]string{validate: validatePath, mutate: mutatePath}[test.kind]
			r := &h2.Request{Method: "POST", Path: path + "?timeout=10s", ContentLength: int64(len(body))}
			if _, job := door.Small(r, body, nil); job != nil { // a miss
				job.Run(t.Context(), nil)
				job.Close()
			}
			dst := make([]byte, 0, 64<<10)
			if n := testing.AllocsPerRun(200, func() {
				if !door.Head(r) {
					t.Fatal("not admitted")
				}
				if reply, job := door.Small(r, body, dst); job != nil || reply.Status != 200 || !bytes.Contains(reply.Body, []byte(`"allowed":true`)) {
					t.Fatalf("%d %s", reply.Status, reply.Body)
				}
			}); n != 0 {
				t.Errorf("%s%s: %v allocations", what, name, n)
			}
		}
	}
}
