package engine

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Resolver finds the digest that a tag names at this moment.
//
// Resolve is called concurrently, once per joined miss, and only for references without a digest. It returns within
// ctx and keeps nothing of ref. Every error is a [*Failure]; another error is taken for [ReasonInternal].
type Resolver interface {
	Resolve(ctx context.Context, ref Reference) (Resolution, error)
}

// Resolution is the fact *this tag points at this digest*, and for how much longer it may be relied on.
type Resolution struct {
	Digest Digest
	TTL    time.Duration // what remains of the fact's life, > 0
}

// Verifier tells who signed a digest.
//
// Verify is called concurrently. ref always carries a Digest; its Registry and Repository say where to look. It
// returns the signatures that were made by the trust material of a, of which there is at least one when the error is
// nil. It does not look at a.Annotations: whether what a signature says is enough is the engine's to decide, so that
// the fact outlives a change of policy. Every error is a [*Failure]; another error is taken for [ReasonInternal].
type Verifier interface {
	Verify(ctx context.Context, ref Reference, a *Authority) (Evidence, error)
}

// Evidence is the fact *this digest carries these valid signatures by this authority*. It is shared between reviews
// and must not be changed.
type Evidence struct {
	Signatures []Signature
	TTL        time.Duration // what remains of the fact's life, > 0
}

// Signature is what one valid signature says beside the digest it is for.
type Signature struct {
	Annotations map[string]string // the signer's own claims, such as env=prod; nil where there are none
	Reference   string            // the image reference the signer claims to have signed; may be empty, proves nothing
}

// Failure is the error of the ports: why a fact could not be had, or that it is against the image.
type Failure struct {
	Reason Reason
	Public string // one clause for the pod's author, without hosts' internals or secrets, such as "the registry did not answer in time"
	Err    error  // the cause, for the log only; may be nil
}

// Error returns the text for the log.
func (f *Failure) Error() string {
	if f.Err == nil {
		return fmt.Sprintf("%s: %s", f.Reason, f.Public)
	}
	return fmt.Sprintf("%s: %s: %v", f.Reason, f.Public, f.Err)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// asFailure makes a Failure of whatever a port returned: unknown errors are ours to mend, and never a denial.
func asFailure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &Failure{Reason: ReasonTimeout, Public: "the check did not finish in time", Err: err}
	}
	return &Failure{Reason: ReasonInternal, Public: "the check failed", Err: err}
}
