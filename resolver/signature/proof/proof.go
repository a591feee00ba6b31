// Package proof judges single signatures: by whom, when, over what.
//
// It decides whether an [attached.Item] was made with the material of an [engine.Trust], over a claim for one digest.
// It trusts that material, and nothing in the item: what a certificate, a log entry or a payload says counts once a
// signature that chains up to the material covers it. It never contacts anything, reads no environment and no clock
// but the system's, and a panic in a parser below it is an error here.
package proof

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/trustroot"
)

// Judge judges items by one [engine.Trust]. It is immutable, and safe for concurrent use.
type Judge struct {
	trust *engine.Trust
	keys  []*key
	roots []*trustroot.Root

	// pending is the [ErrNoRoot] of a root that is not there yet, beside those that are; nil if all are there.
	pending error

	// stampCost is what a key in a timestamp may cost: no more than the costliest of the trusted authorities'.
	stampCost int

	// options are what sigstore-go is asked to see to, in the order that they are tried: any will do.
	options [][]verify.VerifierOption
}

// New prepares the keys and roots of t, once for all that is judged by it. The error is [ErrNoRoot] if none of the
// roots is there yet, and otherwise that the material is of no use.
func New(t *engine.Trust) (_ *Judge, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("proof: preparing keys and roots: %v", p)
		}
	}()
	j := &Judge{trust: t, options: askedFor(t)}
	for i, public := range t.Keys {
		k, err := newKey(public)
		if err != nil {
			return nil, fmt.Errorf("proof: key %d: %w", i+1, err)
		}
		j.keys = append(j.keys, k)
	}
	switch {
	case len(t.Keys) == 0 && len(t.Roots) == 0:
		return nil, errors.New("proof: there are neither keys nor roots")
	case len(t.Roots) == 0 && (t.Logs > 0 || t.Timestamps > 0):
		return nil, errors.New("proof: logs or timestamps are asked for, and there is no root that names those that are believed")
	}
	for _, r := range t.Roots {
		if len(r.JSON) == 0 {
			j.pending = fmt.Errorf("%w: %s", ErrNoRoot, r.Name)
			continue
		}
		parsed, err := trustroot.Parse(r.JSON)
		if err != nil {
			return nil, fmt.Errorf("proof: root %s: %w", r.Name, err)
		}
		j.roots = append(j.roots, parsed)
		j.stampCost = max(j.stampCost, stampCost(parsed.Material()))
	}
	if j.pending != nil && len(j.roots) == 0 {
		return nil, j.pending
	}
	for _, o := range j.options {
		if _, err := verify.NewVerifier(&root.BaseTrustedMaterial{}, o...); err != nil {
			return nil, fmt.Errorf("proof: %w", err)
		}
	}
	return j, nil
}

// askedFor returns what sigstore-go is asked to see to.
func askedFor(t *engine.Trust) [][]verify.VerifierOption {
	asked := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if t.Logs > 0 {
		asked = append(asked, verify.WithTransparencyLog(t.Logs))
	}
	if t.Timestamps > 0 {
		asked = append(asked, verify.WithSignedTimestamps(t.Timestamps))
	}
	timed := append(asked[:len(asked):len(asked)], verify.WithObserverTimestamps(1))
	switch {
	case len(t.Keys) > 0 && t.Timestamps > 0:
		return [][]verify.VerifierOption{timed}
	case len(t.Keys) > 0:
		// A key is believed at any time, so that none need be known. It is used where one is.
		return [][]verify.VerifierOption{timed, append(asked, verify.WithNoObserverTimestamps())}
	case onlyNow(t):
		timed = append(asked, verify.WithCurrentTime())
	}
	if t.SCTs > 0 {
		timed = append(timed, verify.WithSignedCertificateTimestamps(t.SCTs))
	}
	return [][]verify.VerifierOption{timed}
}

// onlyNow tells whether certificates must be valid now, whatever else is known.
func onlyNow(t *engine.Trust) bool {
	return t.CurrentTime && t.Logs == 0 && t.Timestamps == 0 && len(t.Keys) == 0
}

// asksLogs tells whether entries of transparency logs are looked at.
func (j *Judge) asksLogs() bool { return j.trust.Logs > 0 }

// asksTime tells whether a time is looked for beside the current one.
func (j *Judge) asksTime() bool { return len(j.roots) > 0 && !onlyNow(j.trust) }

// Judge tells who signed item, over a claim for the image with this digest. Every error is a [*Refusal].
//
// A simple signing signature, or a bundle with a statement of the predicate type https://sigstore.dev/cosign/sign/v1, is
// a signature; any other statement is an attestation, and has a Statement. What is returned has no bytes in common
// with item.
func (j *Judge) Judge(item *attached.Item, digest engine.Digest) (engine.Signature, error) {
	out, _, err := j.JudgeWithin(item, digest, MaxCost)
	return out, err
}

// JudgeWithin is Judge for those who have so much to spend, and tells what it cost: 1 to [MaxCost]. If that is more
// than most then item has not been judged, and err is that.
func (j *Judge) JudgeWithin(item *attached.Item, digest engine.Digest, most int) (_ engine.Signature, cost int, err error) {
	defer recovered(&err)
	cost = 1
	if _, err := engine.ParseDigest(string(digest)); err != nil {
		return engine.Signature{}, cost, invalid("%w", err)
	}
	s, err := j.read(item)
	if err != nil {
		return engine.Signature{}, cost, invalid("%w", err)
	}
	if s.file {
		return engine.Signature{}, cost, invalid("it is a signature over a file, and not of an image")
	}
	s.most, s.cost = most, cost
	defer func() { cost = s.cost }() // even if it panics
	s.claim = func() (engine.Signature, error) { return s.imageClaim(digest) }
	s.artifact = func() verify.ArtifactPolicyOption {
		if s.envelope { // whose subject claim checks
			return verify.WithoutArtifactUnsafe()
		}
		return verify.WithArtifact(bytes.NewReader(s.message))
	}
	out, refusal := j.judge(s)
	if refusal != nil {
		return engine.Signature{}, s.cost, refusal
	}
	out.Found = item.Found
	return out, s.cost, nil
}

// stampCost is what the costliest key of the material's timestamp authorities costs.
func stampCost(material root.TrustedMaterial) (most int) {
	for _, authority := range material.TimestampingAuthorities() {
		a, ok := authority.(*root.SigstoreTimestampingAuthority)
		if !ok {
			return MaxCost
		}
		if a.Leaf == nil { // it comes with the timestamp
			most = max(most, costP384)
		}
		for _, c := range append([]*x509.Certificate{a.Root, a.Leaf}, a.Intermediates...) {
			if c != nil {
				most = max(most, cost(c.PublicKey))
			}
		}
	}
	return most
}

// recovered makes an error of a panic.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = &Refusal{
			Reason:   engine.ReasonSignatureInvalid,
			Err:      fmt.Errorf("recovered from a panic: %v\n%.2000s", p, debug.Stack()),
			Panicked: true,
		}
	}
}
