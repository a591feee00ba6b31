package engine

import (
	"crypto"
	"time"
)

// Policy is one compiled policy document. It is immutable once it is part of a [Snapshot].
type Policy struct {
	Name        string
	Namespaces  Namespaces
	Images      []Glob // never empty: a policy that is for every image says so with **
	Tags        Tags
	Authorities []*Authority // any suffices; none means that the tags alone decide
	Mode        Mode
	OnError     OnError
	AllowTTL    time.Duration
	DenyTTL     time.Duration
	Message     string // the remedy in the operator's words; may be empty

	// Fingerprint is the SHA-256 of everything that can change a verdict of this policy: the document and the
	// bytes of its keys. It is part of every verdict's key.
	Fingerprint [32]byte
}

// Tags is what a policy says of tags. A reference with a digest passes: the digest decides what runs.
type Tags struct {
	Deny          []Glob // matched against the tag alone
	RequireDigest bool
}

// Authority is one party whose word suffices.
type Authority struct {
	Name   string
	Static Static
	Key    crypto.PublicKey // *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey; nil if Static is set

	// Annotations must all be carried, with these values, by one signature.
	Annotations map[string]string

	// ID identifies the trust material alone (hexadecimal SHA-256 of the key's DER SubjectPublicKeyInfo), so that
	// two policies with one key share their facts.
	ID string
}

// Static is the verdict of an authority that looks at nothing.
type Static uint8

// The actions of a static authority.
const (
	StaticNone Static = iota
	StaticPass
	StaticFail
)

// Mode says what a policy that does not pass does.
type Mode uint8

// The modes.
const (
	Enforce Mode = iota // the image is denied
	Warn                // the image is allowed, and the audit annotations say what was wrong
)

// OnError says what becomes of an image whose facts cannot be had.
type OnError uint8

// What can become of it.
const (
	OnErrorDeny  OnError = iota // denied, and the reason says what failed
	OnErrorRetry                // answered with a status that makes the plugin try again
	OnErrorDefer                // answered so that the plugin's own defaultAllow decides, and caches nothing
	OnErrorAllow                // allowed, and the audit annotations say so
)

// NoMatch says what becomes of an image that no policy matches.
type NoMatch uint8

// What can become of it.
const (
	NoMatchDeny NoMatch = iota
	NoMatchAllow
	NoMatchWarn
)
