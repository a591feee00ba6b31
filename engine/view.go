package engine

import (
	"crypto/sha256"
	"unique"
)

// question is what is asked about an image.
type question uint8

const (
	judging question = iota // may it run?
	pinning                 // what is it to be replaced with?
	keeping                 // may it go on, in an object that had it before?
)

// view is the rules of a scope, as one question is asked of them, with somebody's access to registries. It is made for
// a review and passed by value: what is remembered of it is its key, and never the credentials.
type view struct {
	*scope
	key      unique.Handle[[32]byte] // in place of the scope's rules in the keys of verdicts
	question question
	access   *Access // nil if it is nobody's
}

// plain is what most reviews ask: may it run, for all that is known with the configuration's own credentials?
func (sc *scope) plain() view { return view{scope: sc, key: sc.rules} }

// viewKey is what tells the views of a snapshot apart.
type viewKey struct {
	rules    unique.Handle[[32]byte]
	question question
	access   string
}

// view returns the view of a question and an access. It neither locks nor allocates for one that was seen before.
//
// An Access without an ID could not be told from another: it is not used at all.
func (s *Snapshot) view(sc *scope, q question, a *Access) view {
	if q == keeping && !sc.keeps { // then nothing tells it from a judgement, and both share what is remembered
		q = judging
	}
	v := sc.plain()
	v.question = q
	if a.id() != "" {
		v.access = a
	}
	if q == judging && v.access == nil {
		return v
	}
	k := viewKey{sc.rules, q, v.access.id()}
	key, ok := s.views.Get(k)
	if !ok {
		key = k.fingerprint()
		s.views.Put(k, key)
	}
	v.key = key
	return v
}

// fingerprint is the SHA-256 of k, whose last part alone varies in length. Its first bytes set it apart from a scope's.
func (k viewKey) fingerprint() unique.Handle[[32]byte] {
	rules := k.rules.Value()
	b := append([]byte{'v', 'i', 'e', 'w', 1, byte(k.question)}, rules[:]...)
	return unique.Make(sha256.Sum256(append(b, k.access...)))
}
