//go:build !race

package engine

import (
	"fmt"
	"runtime"
	"testing"
)

// TestVerdictBytes compares what a verdict is said to take with how the heap grows. Not parallel: the heap is
// everybody's.
func TestVerdictBytes(t *testing.T) {
	const verdicts = 20_000
	live := func() int64 {
		runtime.GC()
		runtime.GC() // what has waited for a first, such as pools
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	f := func(name string, most int64, pin bool, options ...func(*Policy)) {
		t.Helper()
		ports := everything{}
		before := live()
		e, err := New(Config{Resolver: ports, Verifier: ports, MaxVerdictBytes: verdicts * most})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		e.Load(NewSnapshot([]*Policy{policyFor(t, "signed", "**", options...)}, NoMatchDeny))
		var res Result
		req := &Request{Namespace: "default", Images: []string{""}, Pin: pin}
		for i := range verdicts {
			req.Images[0] = imageOf60(i)
			e.Decide(t.Context(), req, &res)
		}
		res = Result{}
		taken := (live() - before) / verdicts
		said := e.Stats().Verdicts.Cost / verdicts
		t.Logf("%s: %d bytes each, and %d are said", name, taken, said)
		if taken < said*3/4 || taken > said*5/4 {
			t.Errorf("%s: a verdict takes %d bytes, and is said to take %d", name, taken, said)
		}
	}
	f("allowed", usualVerdict, false, signedBy("release"))
	f("denied", 680, false, denyTags("*"))
	f("pinned", 700, true, pins)
}

func imageOf60(i int) string {
	return fmt.Sprintf("registry.example.com/team-%04d/service-%08d:v1.2.3-release", i%10_000, i)
}
