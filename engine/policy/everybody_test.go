package policy

import (
	"encoding/json"
	"regexp"
	"testing"
)

// TestMatchesAll: an expression that says nothing does so in many spellings.
func TestMatchesAll(t *testing.T) {
	t.Parallel()
	f := func(want bool, expressions ...string) {
		t.Helper()
		for _, e := range expressions {
			if got := matchesAll(regexp.MustCompile(e)); got != want {
				t.Errorf("%s: %v, want %v", e, got, want)
			}
		}
	}
	f(true, `^.*$`, `^.+$`, `^(?:.*)$`, `^.{0,}$`, `^[^\n]*$`, `^(?s:.*)$`, `^.*@?.*$`, `^(.+|https://x)$`, `^.{3,}$`)
	f(false, `^https://.*$`, `^.*@.*$`, `^.+@example\.com$`, `^https?://.+$`, `^[a-z0-9:/.-]+$`, `^$`)
	if matchesAll(nil) {
		t.Error("no expression is none that matches all")
	}
}

// TestDifferentLogs: one log under two IDs is one.
func TestDifferentLogs(t *testing.T) {
	t.Parallel()
	logs := func(texts ...string) (all []json.RawMessage) {
		for _, text := range texts {
			all = append(all, json.RawMessage(text))
		}
		return all
	}
	for want, all := range map[int][]json.RawMessage{
		0: nil,
		1: logs(`{"publicKey": {"rawBytes": "a"}, "logId": {"keyId": "1"}}`, `{"publicKey": {"rawBytes": "a"}, "logId": {"keyId": "2"}}`, `{"public_key": {"raw_bytes": "a"}}`),
		2: logs(`{"publicKey": {"rawBytes": "a"}}`, `{"publicKey": {"rawBytes": "b"}}`, `[]`),
	} {
		if got := differentLogs(all); got != want {
			t.Errorf("%s: %d, want %d", all, got, want)
		}
	}
}
