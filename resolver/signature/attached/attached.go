// Package attached finds what has been attached to a digest in a registry: signatures, attestations and sigstore
// bundles, in every place where cosign puts them.
//
// It decides where to look and how much to read. It trusts the [Fetcher] for one thing: that bytes are those of the
// digest that was asked for. Everything else is the word of whoever may push: it is bounded before it is read, and
// nothing is believed about it. It never verifies anything, and never takes a failure to look for the absence of
// what it looks for.
package attached

import (
	"context"

	"sluice/engine"
	"sluice/resolver"
)

// Fetcher gets what lies in a registry. *resolver.Resolver is one.
//
// Its methods are called concurrently, return within ctx and keep nothing of ref. Every error is a
// [*engine.Failure]; of these, [engine.ReasonImageNotFound] says that the registry answered, and has it not. The bytes
// returned are not changed by anyone.
type Fetcher interface {
	// Manifest gets the manifest that ref.Digest names, or else ref.Tag, of at most 4 MiB.
	Manifest(ctx context.Context, ref engine.Reference) (resolver.Manifest, error)

	// Blob gets the content of d from ref's repository. It has been hashed, and is no longer than limit bytes.
	Blob(ctx context.Context, ref engine.Reference, d engine.Digest, limit int64) ([]byte, error)

	// Referrers lists the manifests whose subject is ref.Digest: by the referrers API of the OCI distribution
	// specification 1.1, or where the registry has none by the fallback tag. None is no error.
	Referrers(ctx context.Context, ref engine.Reference) (resolver.Referrers, error)
}

// Place is where things may be attached. Each is looked at on its own.
type Place uint8

// The places.
const (
	SignatureTag   Place = iota // the tag sha256-<hex>.sig, where cosign v2 puts signatures
	AttestationTag              // the tag sha256-<hex>.att, where cosign v2 puts attestations
	Referrers                   // manifests that name the digest as their subject: bundles, and cosign's OCI 1.1 signatures
)

// Form is what an Item is made of.
type Form uint8

// The forms.
const (
	SimpleSigning Form = iota + 1 // a signature over a simple signing payload, with the rest in annotations
	Envelope                      // a DSSE envelope, with the rest in annotations
	Bundle                        // a sigstore bundle, v0.1 to v0.3, as JSON
)

// Item is one thing that someone has attached. Nothing about it is known to be true but that Blob is its hash.
type Item struct {
	Form    Form          // 0 if that could not be had either
	Found   string        // where, for people and logs, such as "sha256-1a2b….sig, layer 0" or "referrer sha256:1a2b…, layer 0"
	Blob    engine.Digest // of Content
	Content []byte        // the simple signing payload, the DSSE envelope or the bundle

	// The annotations of a SimpleSigning or Envelope item's layer, as they were pushed. Absent ones are empty.
	Signature   []byte // decoded; of SimpleSigning alone
	Certificate []byte // PEM: dev.sigstore.cosign/certificate
	Chain       []byte // PEM: dev.sigstore.cosign/chain
	LogEntry    []byte // JSON: dev.sigstore.cosign/bundle, what Rekor v1 answered
	Timestamp   []byte // JSON: dev.sigstore.cosign/rfc3161timestamp

	Fault   error           // why it can be no signature, whatever one verifies it with; Content may then be nil
	Failure *engine.Failure // why Content could not be had, so that nothing is known of it
}

// Found is what one place has. It is shared and not changed.
type Found struct {
	Items []*Item // those that are looked at: a tag's in their order, of referrers the likeliest first
	Total int     // how many there are, looked at or not; a referrer that was not looked at counts as one
	Size  int64   // bytes held
	Where string  // what was looked for, for people, such as "sha256-1a2b….sig" or "referrers"
}
