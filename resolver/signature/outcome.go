package signature

import (
	"errors"
	"fmt"

	"sluice/engine"
)

// tally adds up what is known of the signatures of one digest under one key.
type tally struct {
	found  *found
	digest engine.Digest

	valid      []engine.Signature     // one for each payload: signing it again says nothing new
	passed     map[engine.Digest]bool // the payloads of valid
	failure    *engine.Failure        // the first signature that could not be had
	otherClaim bool                   // one is by the key, for something else
	causes     []error                // of those that are not valid, for the log
	invalid    int
}

// undecided notes a signature of which nothing is known.
func (t *tally) undecided(f *engine.Failure) {
	if t.failure == nil {
		t.failure = f
	}
}

// judged notes what judge said of c.
func (t *tally) judged(c *candidate, s engine.Signature, err error) {
	switch {
	case err == nil:
		if t.passed == nil {
			t.passed = make(map[engine.Digest]bool)
		}
		t.passed[c.blob] = true
		t.valid = append(t.valid, s)
		return
	case errors.Is(err, errOtherClaim):
		t.otherClaim = true
	}
	if t.invalid++; len(t.causes) < maxCauses {
		t.causes = append(t.causes, fmt.Errorf("signature %d: %w", c.layer, err))
	}
}

// outcome decides. One valid signature suffices, whatever else is there. Otherwise, as long as one has not been seen,
// it might have been the valid one, so nothing definite can be said.
func (t *tally) outcome() ([]engine.Signature, *engine.Failure) {
	cause := errors.Join(t.causes...)
	if more := t.invalid - len(t.causes); more > 0 {
		cause = fmt.Errorf("%w\nand %d more", cause, more)
	}
	n := t.found.total
	switch {
	case len(t.valid) > 0:
		return t.valid, nil
	case t.failure != nil:
		return nil, t.failure
	case n > len(t.found.candidates):
		return nil, &engine.Failure{
			Reason: engine.ReasonRegistryMalformed,
			Public: fmt.Sprintf("too many signatures: there are %d, and none of the %d looked at is by this key", n, len(t.found.candidates)),
			Err:    cause,
		}
	case t.otherClaim:
		return nil, &engine.Failure{
			Reason: engine.ReasonClaimMismatch,
			Public: "the signature by this key is for another image",
			Err:    cause,
		}
	case n == 1:
		return nil, &engine.Failure{
			Reason: engine.ReasonSignatureInvalid,
			Public: "there is one signature, and it is not by this key",
			Err:    cause,
		}
	case n > 1:
		return nil, &engine.Failure{
			Reason: engine.ReasonSignatureInvalid,
			Public: fmt.Sprintf("there are %d signatures, none of them by this key", n),
			Err:    cause,
		}
	}
	return nil, &engine.Failure{
		Reason: engine.ReasonSignatureMissing,
		Public: fmt.Sprintf("no signature was found (looked for tag sha256-%.12s….sig)", t.digest.Hex()),
	}
}
