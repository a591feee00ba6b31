// Package signaturetest makes signatures, attestations and bundles for tests, without servers: keyless ones with an
// instance of sigstore of its own, key ones, and those by certificates of one's own, in every format that cosign writes.
//
// A [Sigstore] is the certificate authority, the logs and the timestamp authority. A [Signer] is a key with or without
// a certificate. [Content] is what is signed, and [Evidence] what vouches for the signature; together they make an
// [Item], which [Push] puts into a registry. What is made is valid unless a field asks for a near twin that is not.
//
// It decides nothing and verifies nothing. Its keys are made anew for every instance and are worth nothing elsewhere.
package signaturetest

import "time"

// Item is one signature or attestation, as it lies in a registry.
type Item struct {
	MediaType     string            // of the layer
	Content       []byte            // the layer: a simple signing payload, a DSSE envelope or a bundle
	Annotations   map[string]string // of the layer; nil for bundles
	PredicateType string            // of the statement; empty for a simple signing payload and for a file's signature
}

// The media types of layers.
const (
	SimpleSigningMediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
	EnvelopeMediaType      = "application/vnd.dsse.envelope.v1+json"
	BundleMediaType        = "application/vnd.dev.sigstore.bundle.v0.3+json" // of bundles v0.3
)

// SignaturePredicateType is what makes a bundle's statement a signature of an image.
const SignaturePredicateType = "https://sigstore.dev/cosign/sign/v1"

// The annotations of classic layers (cosign's specs/SIGNATURE_SPEC.md).
const (
	SignatureAnnotation   = "dev.cosignproject.cosign/signature"
	CertificateAnnotation = "dev.sigstore.cosign/certificate"
	ChainAnnotation       = "dev.sigstore.cosign/chain"
	LogEntryAnnotation    = "dev.sigstore.cosign/bundle"
	TimestampAnnotation   = "dev.sigstore.cosign/rfc3161timestamp"
)

// Content is what is signed.
type Content struct {
	Digest      string            // of the image: sha256:…
	Reference   string            // the image's name as the signer has it, without tag; cosign's bundles of signatures have none
	Annotations map[string]string // the signer's own claims, cosign's -a

	// PredicateType makes it an attestation. Empty means a signature.
	PredicateType string
	Predicate     any // marshalled to JSON; nil means {}

	// Payload is signed as it is, in place of all of the above but PredicateType, which says what the item is.
	Payload []byte

	// File makes a bundle with the signature over a file, which is none of an image.
	File []byte
}

// Log says how a signature is entered into a transparency log.
type Log uint8

// The ways.
const (
	NoLog        Log = iota
	RekorPromise     // Rekor v1's signed entry timestamp alone, as classic annotations and bundles v0.1 have it
	Rekor            // Rekor v1's signed entry timestamp and inclusion proof
	RekorTiles       // Rekor v2's inclusion proof, which tells no time
)

// Evidence is what vouches for a signature. The zero value is none.
type Evidence struct {
	Log           Log
	InToto        bool      // Rekor v1 has the envelope as an intoto v0.0.2 entry, as older versions of cosign entered it
	LogTime       time.Time // the log's integrated time; zero means now
	Timestamp     bool      // by the timestamp authority
	TimestampTime time.Time // what it says; zero means now

	// What follows makes near twins that must be refused.

	OtherEntry     bool      // the log entry is true, and of another payload that the signer signed
	OtherTimestamp bool      // the timestamp is true, and of another signature
	PromiseBy      *Sigstore // whose Rekor v1 signed the entry timestamp, with the log still said to be ours
	CheckpointBy   *Sigstore // whose log signed the checkpoint, with the log still said to be ours
	TimestampBy    *Sigstore // whose timestamp authority signed
}
