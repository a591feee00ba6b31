package signature

import (
	"time"
	"unsafe"

	"sluice/cache"
	"sluice/engine"
	"sluice/resolver/signature/attached"
)

// placeKey names a digest where it lies: the same digest in another repository has other signatures.
type placeKey struct {
	at     engine.Repository
	digest engine.Digest
	access string // engine.Access.ID
	place  attached.Place
}

// factKey is the whole of what a fact depends on. An authority's identities and the rest of its policy are not part of
// it, so that authorities with equal trust share it.
type factKey struct {
	at           engine.Repository
	digest       engine.Digest
	access       string // engine.Access.ID
	attestations bool   // are what is asked for, rather than signatures
	trust        string // engine.Trust.ID

	// generation tells apart what was found when. A fact that does not suffice for an authority is still true, and
	// may suffice for others, so it is not replaced but followed by another that has all of it and more.
	generation uint32
}

// maxRounds is how many generations a caller goes through after the first. More than one can be needed only where
// others begin verifications between its own.
const maxRounds = 3

// fact is what one verification found. It is shared and not changed.
type fact struct {
	signatures []engine.Signature // valid by the trust, all of the kind that is asked for, in the order of the places
	partial    bool               // the search ended when they sufficed for the authority it was made for
	failure    *engine.Failure    // why they are not all that there are, or why there is none

	at  cache.Instant // when the search ended
	ttl time.Duration // for how long it was remembered; 0 if it was not
}

// remains returns how long f may be relied on, of whose life left is left. A fact whose life ends while it is handed
// over is still one, and the contract of evidence knows no lifetime of 0.
func (f *fact) remains(left, otherwise time.Duration) time.Duration {
	if f.ttl == 0 { // it suffices for one who joined, though not for the one who began
		return otherwise
	}
	return max(left, 1)
}

// factOptions is how many facts are kept.
func factOptions(o Options) cache.Options[factKey, *fact] {
	if o.MaxBytes == 0 {
		return cache.Options[factKey, *fact]{
			MaxCost: o.MaxFacts,
			Cost:    func(_ factKey, f *fact) int64 { return max(1, f.size()>>10) },
			Entries: o.MaxFacts,
		}
	}
	overhead := cache.Overhead[factKey, *fact]()
	return cache.Options[factKey, *fact]{
		MaxCost: o.MaxBytes,
		Cost: func(k factKey, f *fact) int64 {
			n := int64(unsafe.Sizeof(*f)) + int64(len(f.signatures))*int64(unsafe.Sizeof(engine.Signature{})) + f.size()
			return overhead + n + int64(len(k.at.Registry)+len(k.at.Path)+len(k.digest)+len(k.access)) // the trust's ID is the policy's
		},
		Entries: max(o.MaxBytes/usualFact, 1),
	}
}

// usualFact is about what a fact takes, in bytes, of one signature by a key.
const usualFact = 1 << 10

// size is about the bytes that f holds.
func (f *fact) size() int64 {
	var n int
	for i := range f.signatures {
		s := &f.signatures[i]
		n += len(s.Reference) + len(s.Found) + len(s.Signer.Key) + len(s.Signer.Issuer) + len(s.Signer.Subject)
		for name, value := range s.Annotations {
			n += len(name) + len(value)
		}
		if s.Statement != nil {
			n += len(s.Statement.PredicateType) + len(s.Statement.Predicate)
		}
	}
	return int64(n)
}
