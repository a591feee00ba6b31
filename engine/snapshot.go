package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"
	"unique"

	"sluice/cache"
)

// Policy is one compiled policy document. It is immutable once it is part of a [Snapshot].
type Policy struct {
	Name        string
	Namespaces  Namespaces
	Images      []Glob // never empty: a policy that is for every image says so with **
	Tags        Tags
	Authorities []*Authority // none means that the tags alone decide
	Threshold   int          // how many of Authorities must be satisfied; 0 means 1
	Platforms   Platforms    // which manifests of an index they must be satisfied with
	Mode        Mode
	OnError     OnError
	AllowTTL    time.Duration
	DenyTTL     time.Duration
	Message     string // the remedy in the operator's words; may be empty

	Pin              bool // tags are replaced with digests, where whoever asks can do so; so a digest is needed to pass
	AlwaysPullImages bool // imagePullPolicy is made Always, where whoever asks can do so
	AllowUnchanged   bool // what stands in Request.Kept passes without a look

	// Fingerprint is the SHA-256 of everything that can change a verdict of this policy: the document and the
	// bytes of its keys. It is part of every verdict's key.
	Fingerprint [32]byte
}

// Tags is what a policy says of tags. A reference with a digest passes: the digest decides what runs.
type Tags struct {
	Deny          []Glob // matched against the tag alone
	RequireDigest bool
}

func (t Tags) denies(tag string) bool {
	return slices.ContainsFunc(t.Deny, func(g Glob) bool { return g.Match(tag) })
}

// Platforms says which manifests an authority must be satisfied with, where an image is an index of manifests. An image
// that is no index is judged by its own digest. The zero value judges an index by its own digest, too.
type Platforms struct {
	// OrEvery lets an index pass whose every platform's manifest passes, although the index itself does not.
	OrEvery bool

	// List names the platforms, as os/architecture or os/architecture/variant, whose manifests must pass, in place of
	// the index itself. There must be one of them at least.
	List []string
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

// Snapshot is a set of compiled policies, immutable and shared by all reviews.
type Snapshot struct {
	policies    []*Policy
	noMatch     NoMatch
	fingerprint string
	scopes      *cache.Memo[string, *scope] // by namespace
	views       *cache.Memo[viewKey, unique.Handle[[32]byte]]

	mu       sync.Mutex
	distinct map[[32]byte]*scope // by fingerprint
}

// maxScopes bounds how many namespaces a snapshot remembers the rules of, how many different rules, and how many views
// of them, of which namespaces can make as many as they have pull secrets. Beyond it they are found anew.
const maxScopes = 4096

// NewSnapshot makes a snapshot of policies, of which it keeps a copy sorted by name.
func NewSnapshot(policies []*Policy, noMatch NoMatch) *Snapshot {
	s := &Snapshot{
		policies: slices.SortedFunc(slices.Values(policies), func(a, b *Policy) int { return strings.Compare(a.Name, b.Name) }),
		noMatch:  noMatch,
		scopes:   cache.NewMemo[string, *scope](maxScopes),
		views:    cache.NewMemo[viewKey, unique.Handle[[32]byte]](maxScopes),
		distinct: make(map[[32]byte]*scope),
	}
	all := newScope(s.policies, noMatch)
	s.fingerprint = all.short
	return s
}

// Fingerprint identifies the policies and noMatch, in 12 hexadecimal digits, for people to compare.
func (s *Snapshot) Fingerprint() string { return s.fingerprint }

// Policies returns how many policies there are.
func (s *Snapshot) Policies() int { return len(s.policies) }

// scope is the rules that apply to a namespace. Namespaces with the same rules have scopes of the same fingerprint,
// and so share their verdicts.
type scope struct {
	policies    []*Policy
	noMatch     NoMatch
	keeps       bool // a policy says something else of what was there before
	fingerprint [32]byte
	rules       unique.Handle[[32]byte] // the fingerprint in one word
	short       string
	rulings     *cache.Memo[rulingKey, *Ruling]
}

// maxRulings is how many rulings a scope remembers. A policy has few, one for each reason that there ever was.
const maxRulings = 64

// ruling returns the ruling of a kind. It neither locks nor allocates for one that was there before.
func (sc *scope) ruling(k rulingKey) *Ruling {
	if r, ok := sc.rulings.Get(k); ok {
		return r
	}
	r := newRuling(k, sc.short)
	sc.rulings.Put(k, r)
	return r
}

func newScope(policies []*Policy, noMatch NoMatch) *scope {
	h := sha256.New()
	h.Write([]byte{'s', 'c', 'o', 'p', 'e', 1, byte(noMatch)})
	for _, p := range policies { // in order of their names, so that equal sets are equal
		h.Write(p.Fingerprint[:])
	}
	sc := &scope{policies: policies, noMatch: noMatch, rulings: cache.NewMemo[rulingKey, *Ruling](maxRulings)}
	sc.keeps = slices.ContainsFunc(policies, func(p *Policy) bool { return p.AllowUnchanged })
	h.Sum(sc.fingerprint[:0])
	sc.rules = unique.Make(sc.fingerprint)
	sc.short = hex.EncodeToString(sc.fingerprint[:6])
	return sc
}

// scope finds the rules of a namespace. It neither locks nor allocates for one that was seen before.
func (s *Snapshot) scope(namespace string) *scope {
	if sc, ok := s.scopes.Get(namespace); ok {
		return sc
	}
	var apply []*Policy
	for _, p := range s.policies {
		if p.Namespaces.Match(namespace) {
			apply = append(apply, p)
		}
	}
	sc := s.share(newScope(apply, s.noMatch))
	if len(namespace) <= maxNamespace {
		s.scopes.Put(strings.Clone(namespace), sc)
	}
	return sc
}

// share returns the scope that has the same rules, so that namespaces share what is remembered of it.
func (s *Snapshot) share(sc *scope) *scope {
	s.mu.Lock()
	defer s.mu.Unlock()
	if same, ok := s.distinct[sc.fingerprint]; ok {
		return same
	}
	if len(s.distinct) < maxScopes {
		s.distinct[sc.fingerprint] = sc
	}
	return sc
}

// maxNamespace is the length of a DNS label (RFC 1123), which a namespace's name is.
const maxNamespace = 63
