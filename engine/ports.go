package engine

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Resolver finds the digest that a tag names at this moment, and the manifests that an index is made of.
//
// Both methods are called concurrently, return within ctx and keep nothing of ref. Every error is a [*Failure]; another
// error is taken for [ReasonInternal].
type Resolver interface {
	// Resolve is called once per joined miss, and only for references without a digest.
	Resolve(ctx context.Context, ref Reference, known Known) (Resolution, error)

	// Children returns what the index ref.Digest is made of, in its order; none if it is no index. The bytes of the
	// index have been hashed. It is called only where a policy asks about platforms.
	Children(ctx context.Context, ref Reference) ([]Child, error)
}

// Known says which facts will do that are known already, where there is a choice.
type Known uint8

// What will do.
const (
	// KnownFacts do as long as they live.
	KnownFacts Known = iota

	// KnownLately is for what is decided anew before its time: else it would rest on facts that end with what was decided
	// before. A fact does with more than half of its life left. Another is asked for anew, once for all who do so, while
	// it goes on serving those for whom it will do; and it does after all if for now nothing newer can be had.
	KnownLately

	// KnownNow is for where what was known was too little: nothing does that is older than a few seconds.
	KnownNow
)

// Resolution is the fact *this tag points at this digest*, and for how much longer it may be relied on.
type Resolution struct {
	Digest Digest
	TTL    time.Duration // what remains of the fact's life, > 0
}

// Child is one manifest of an index.
type Child struct {
	Digest   Digest
	Platform string // os/architecture or os/architecture/variant; empty if the index does not say
	Index    bool   // it is an index itself
}

// Verifier tells who signed a digest, and what they state about it.
//
// Verify is called concurrently. ref always carries a Digest; its Registry and Repository are the image's, and
// a.Repository says where to look if that is elsewhere. It returns what was made by the material of a.Trust: the
// attestations if a.Attestations asks for some, or else the signatures. There is at least one when the error is nil.
//
// What a asks for beside Trust is the engine's to decide with [Authority.Weigh], so that the facts outlive a change of
// policy; Verify uses it for one thing only, to stop looking for more signatures when those found suffice. If they don't,
// a nil error says that there are no more.
//
// Every error is a [*Failure]; another error is taken for [ReasonInternal]. Its definite reasons are
// [ReasonSignatureMissing] and [ReasonAttestationMissing], whose Public says what was looked for and where, such as
// "looked for sha256-1a2b….sig and referrers in registry.example.com/team/app"; [ReasonSignatureInvalid],
// [ReasonClaimMismatch] and [ReasonSignatureExpired], where there is something and nothing of it is valid; and those of a
// [Resolver], [ReasonImageNotFound] and [ReasonRegistryNotListed].
type Verifier interface {
	Verify(ctx context.Context, ref Reference, a *Authority, known Known) (Evidence, error)
}

// Evidence is the fact *this digest carries these valid signatures, or attestations, by this trust material*. It is
// shared between reviews and must not be changed.
type Evidence struct {
	Signatures []Signature
	TTL        time.Duration // what remains of the fact's life, > 0
}

// Signature is what one valid signature says beside the digest it is for, and what is known of its maker.
type Signature struct {
	Annotations map[string]string // the signer's own claims, such as env=prod; nil where there are none
	Reference   string            // the image reference the signer claims to have signed; may be empty, proves nothing
	Signer      Signer
	Time        time.Time  // the earliest time that a log or a timestamp authority vouches for; zero if none does
	Until       time.Time  // when it ceases to be valid, as by a certificate that must be valid now; zero if never
	Statement   *Statement // what an attestation states; nil for a signature
	Found       string     // where and in which format, for people, such as "sha256-1a2b….sig (classic), layer 0"
}

// Signer is whose signature it is: that of a key, or of a certificate's holder.
type Signer struct {
	Key     string // hexadecimal SHA-256 of the key's DER SubjectPublicKeyInfo; empty if it was by a certificate
	Issuer  string // of the token that the certificate was issued for; empty if the certificate doesn't say
	Subject string // the certificate's subject alternative name
}

// Statement is what an attestation says of the image: an in-toto statement whose subject has been checked.
type Statement struct {
	PredicateType string // a URI
	Predicate     []byte // JSON; nil if there is none
}

// Failure is the error of the ports: why a fact could not be had, or that it is against the image.
type Failure struct {
	Reason Reason
	Public string // one clause for the pod's author, without hosts' internals or secrets, such as "the registry did not answer in time"
	Err    error  // the cause, for the log only; may be nil

	// Unvouched goes with [ReasonSignatureInvalid]: of what there is, something is by a trusted key or certificate, and
	// lacks only the log entries, timestamps or SCTs that the authority's Trust asks for.
	Unvouched bool

	// Crowded says that it was other images of the same review that took the time. Set by the engine alone: how many there are
	// is a pod's author to choose, so that it denies whatever onError says.
	Crowded bool
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
