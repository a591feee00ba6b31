package proof

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"sluice/engine"
)

// ErrNoRoot is that a trusted root is not there yet, so that nothing can be said of what it would prove.
var ErrNoRoot = errors.New("proof: a trusted root has not been had yet")

// Refusal is why an item is no proof.
type Refusal struct {
	// Reason is engine.ReasonSignatureInvalid, engine.ReasonClaimMismatch or engine.ReasonSignatureExpired; or
	// engine.ReasonTrustRootMissing, if a root that is not there yet might accept it, and then Err is an ErrNoRoot.
	Reason engine.Reason

	// Unvouched is that the key or the certificate is a trusted one, and that it lacks log entries, timestamps or SCTs
	// only, or has none that are good. Reason is then engine.ReasonSignatureInvalid.
	Unvouched bool

	Err      error // why, for the log
	Panicked bool  // a parser panicked, and was recovered from
}

// Error returns the text for the log: one line of at most maxText bytes, but for a panic's, which has a stack.
func (r *Refusal) Error() string {
	if r.Panicked {
		return r.Err.Error()
	}
	// Much of it is what somebody has pushed, such as the name of an authority of their own making.
	line := strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, strings.Join(strings.Fields(r.Err.Error()), " "))
	if len(line) > maxText {
		line = strings.ToValidUTF8(line[:maxText], "") + "…"
	}
	return line
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

func invalid(format string, args ...any) *Refusal {
	return &Refusal{Reason: engine.ReasonSignatureInvalid, Err: fmt.Errorf(format, args...)}
}

func unvouched(format string, args ...any) *Refusal {
	r := invalid(format, args...)
	r.Unvouched = true
	return r
}

func mismatch(format string, args ...any) *Refusal {
	return &Refusal{Reason: engine.ReasonClaimMismatch, Err: fmt.Errorf(format, args...)}
}

func expired(format string, args ...any) *Refusal {
	return &Refusal{Reason: engine.ReasonSignatureExpired, Err: fmt.Errorf(format, args...)}
}

// worse tells whether r says less than other: of the refusals by several roots, the one that came furthest counts.
func (r *Refusal) worse(other *Refusal) bool {
	return r == nil || r.came() < other.came()
}

// came is how far it came.
func (r *Refusal) came() int {
	switch {
	case r.Reason != engine.ReasonSignatureInvalid:
		return 2
	case r.Unvouched:
		return 1
	}
	return 0
}
