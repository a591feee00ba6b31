package engine

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"regexp"
	"time"
)

// Authority is one party whose word suffices. What it asks for comes in two parts: Trust says whose signatures are
// believed, and is what facts depend on; the rest says which of these are good enough, and is policy.
type Authority struct {
	Name   string
	Static Static
	Trust  *Trust // nil if Static is set

	// Repository is where signatures are looked for, registry and repository, in place of the image's own; may be
	// empty.
	Repository Repository

	// Identities are who may have signed, any of them. With certificates there is at least one; with keys there is
	// none.
	Identities []Identity

	// Annotations must all be carried, with these values, by one signature.
	Annotations map[string]string

	// RequireReferenceMatch asks that the reference that the signer claims to have signed names the image's own
	// repository. A signature that carries none does not pass.
	RequireReferenceMatch bool

	// MaxAge is how old a signature may be, by the earliest time that a log or a timestamp authority vouches for; 0
	// means any age.
	MaxAge time.Duration

	// Distinct is set where several authorities must be satisfied, each by another signer: then all signatures have to
	// be known, and not only the first that suffices.
	Distinct bool

	// Attestations must all be there, each made by one of the Identities. If there are any, they are what is asked
	// for, and a signature is not.
	Attestations []Attestation
}

// Repository is where things lie in a registry.
type Repository struct {
	Registry, Path string
}

// Identity says who may have signed, by what the certificate says. See [Pattern] for what matches.
type Identity struct {
	Issuer  Pattern // of the token that the certificate was issued for; with certificates of one's own, it may be empty
	Subject Pattern // the certificate's subject alternative name
}

// Pattern matches one text. The zero value matches any.
type Pattern struct {
	Exact  string
	Regexp *regexp.Regexp // anchored at both ends; used if Exact is empty
}

// Match tells whether s is what p says, as a whole.
func (p Pattern) Match(s string) bool {
	switch {
	case p.Exact != "":
		return p.Exact == s
	case p.Regexp != nil:
		at := p.Regexp.FindStringIndex(s)
		return at != nil && at[0] == 0 && at[1] == len(s)
	}
	return true
}

// String returns the pattern for people.
func (p Pattern) String() string {
	switch {
	case p.Exact != "":
		return p.Exact
	case p.Regexp != nil:
		return "/" + p.Regexp.String() + "/"
	}
	return "anything"
}

// Attestation is one statement about the image that must be there.
type Attestation struct {
	Name          string     // for people
	PredicateType string     // the URI that the statement's own must equal
	Expression    Expression // what the predicate must fulfil; nil if its being there suffices
}

// Expression is a condition on an attestation's statement. It is called concurrently and bounds its own cost.
type Expression interface {
	// Holds evaluates the condition. An error says that it could not be evaluated, because the predicate has not the
	// form that the condition expects, or because it would cost more than limit; the attestation is then refused. cost
	// is what it has cost, in the same units, of which one takes up to half a microsecond of CPU.
	Holds(s *Statement, limit uint64) (holds bool, cost uint64, err error)

	// String returns the condition as it was written.
	String() string
}

// Trust is what signatures are verified with. Facts depend on all of it and on nothing else, so that authorities with
// equal Trust share their facts. It is immutable; make it with [NewTrust].
type Trust struct {
	// ID identifies all of the below: hexadecimal SHA-256.
	ID string

	// Keys are *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey; any of them suffices. If there are none, signatures
	// are by certificates that chain up to the Roots.
	Keys []crypto.PublicKey

	// Roots are where certificates chain up to, and the logs and timestamp authorities that are believed. A signature
	// must be good by one of them alone.
	Roots []*TrustRoot

	// Logs is in how many transparency logs a signature must have been entered; 0 means that logs are not looked at.
	Logs int

	// Timestamps is from how many timestamp authorities (RFC 3161) a signature must carry a signed timestamp; 0 means
	// that one is used where it is needed to tell when a signature was made and no log's entry does, if the root has
	// such authorities.
	Timestamps int

	// SCTs is how many certificate transparency logs must vouch for the certificate (RFC 6962).
	SCTs int

	// CurrentTime believes certificates that are valid now, where neither logs nor timestamps are asked for: those of
	// one's own, that live long.
	CurrentTime bool

	// Intermediates lets a signature bring the certificates between its own and the root.
	Intermediates bool
}

// TrustRoot is a trusted root, as sigstore's trusted_root.json writes it down, of media type
// application/vnd.dev.sigstore.trustedroot+json;version=0.1 or 0.2.
type TrustRoot struct {
	ID   string // hexadecimal SHA-256 of JSON
	Name string // where it came from, for people
	JSON []byte // empty if it is not there yet: what depends on it can't be decided for now
}

// NewTrust returns t with its ID.
func NewTrust(t Trust) (*Trust, error) {
	w := trustHash{sha256.New()}
	w.text("sluice trust 1")
	w.number(len(t.Keys))
	for _, key := range t.Keys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return nil, fmt.Errorf("engine: a key of an authority: %w", err)
		}
		w.text(string(der))
	}
	w.number(len(t.Roots))
	for _, root := range t.Roots {
		w.text(string(root.JSON))
	}
	w.number(t.Logs)
	w.number(t.Timestamps)
	w.number(t.SCTs)
	w.flag(t.CurrentTime)
	w.flag(t.Intermediates)
	t.ID = hex.EncodeToString(w.h.Sum(nil))
	return &t, nil
}

// trustHash writes every part with its length, so that no two Trusts write the same bytes.
type trustHash struct{ h hash.Hash }

func (w trustHash) number(n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	w.h.Write(b[:])
}

func (w trustHash) text(s string) {
	w.number(len(s))
	w.h.Write([]byte(s))
}

func (w trustHash) flag(set bool) {
	if set {
		w.number(1)
		return
	}
	w.number(0)
}
