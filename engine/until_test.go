package engine

import (
	"strings"
	"testing"
	"time"
)

// TestUntil: a signature that ends by itself suffices until then, and no verdict that rests on it lives longer.
func TestUntil(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	signer := Signer{Subject: "build@example.com"}
	a := &Authority{Name: "own", Identities: []Identity{{Subject: Pattern{Exact: "build@example.com"}}}}
	soon := Signature{Signer: signer, Until: now.Add(time.Minute)}
	later := Signature{Signer: signer, Until: now.Add(time.Hour)}
	ever := Signature{Signer: signer}
	f := func(name string, have []Signature, at time.Time, left time.Duration, refused string) {
		t.Helper()
		got, refusal := a.weigh(Reference{}, have, at)
		switch {
		case refused == "" && (refusal != nil || got != left):
			t.Errorf("%s: %v, %+v; want %v", name, got, refusal, left)
		case refused != "" && (refusal == nil || refusal.Reason != ReasonSignatureExpired || !strings.Contains(refusal.What, refused)):
			t.Errorf("%s: %+v, want %s", name, refusal, refused)
		}
	}
	f("one", []Signature{soon}, now, time.Minute, "")
	f("the longest of two", []Signature{soon, later}, now, time.Hour, "")
	f("whatever their order", []Signature{later, soon}, now, time.Hour, "")
	f("one without an end", []Signature{later, ever, soon}, now, forever, "")
	f("at its end", []Signature{soon}, now.Add(time.Minute), 1, "")
	f("after it", []Signature{soon}, now.Add(time.Minute+1), 0, "with a certificate that ended at 2026-01-02T03:05:05Z")
	f("after one of two", []Signature{soon, later}, now.Add(2*time.Minute), 58*time.Minute, "")
}
