// Package proof judges single signatures: by whom, when, over what.
//
// It decides whether an [attached.Item] was made with the material of an [engine.Trust], over a claim for one digest.
// It trusts that material, and nothing in the item: what a certificate, a log entry or a payload says counts once a
// signature that chains up to the material covers it. It never contacts anything, reads no environment and no clock
// but the system's, and a panic in a parser below it is an error here.
package proof

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/trustroot"
)

// Judge judges items by one [engine.Trust]. It is immutable, and safe for concurrent use.
type Judge struct {
	trust *engine.Trust
	keys  []*key
	roots []*rooted
}

// rooted is one root, and the verifiers that rest on it.
type rooted struct {
	name      string
	root      *trustroot.Root
	verifiers map[*key][]*verify.Verifier // tried in this order; of certificates under nil
}

// New prepares the keys and roots of t, once for all that is judged by it. The error is [ErrNoRoot] if one of the roots
// is not there yet, and otherwise that the material is of no use.
func New(t *engine.Trust) (_ *Judge, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("proof: preparing keys and roots: %v", p)
		}
	}()
	j := &Judge{trust: t}
	for i, public := range t.Keys {
		k, err := newKey(public)
		if err != nil {
			return nil, fmt.Errorf("proof: key %d: %w", i+1, err)
		}
		j.keys = append(j.keys, k)
	}
	if len(t.Keys) == 0 && len(t.Roots) == 0 {
		return nil, errors.New("proof: there are neither keys nor roots")
	}
	if len(t.Roots) == 0 && (t.Logs > 0 || t.Timestamps > 0) {
		return nil, errors.New("proof: logs or timestamps are asked for, and there is no root that names those that are believed")
	}
	for _, r := range t.Roots {
		if len(r.JSON) == 0 {
			return nil, fmt.Errorf("%w: %s", ErrNoRoot, r.Name)
		}
		parsed, err := trustroot.Parse(r.JSON)
		if err != nil {
			return nil, fmt.Errorf("proof: root %s: %w", r.Name, err)
		}
		under := &rooted{name: r.Name, root: parsed}
		if err := under.prepare(t, j.keys); err != nil {
			return nil, fmt.Errorf("proof: root %s: %w", r.Name, err)
		}
		j.roots = append(j.roots, under)
	}
	return j, nil
}

// asksLogs tells whether entries of transparency logs are looked at.
func (j *Judge) asksLogs() bool { return j.trust.Logs > 0 }

// asksTime tells whether a time is looked for beside the current one.
func (j *Judge) asksTime() bool { return len(j.roots) > 0 && !onlyNow(j.trust) }

// onlyNow tells whether certificates must be valid now, whatever else is known.
func onlyNow(t *engine.Trust) bool {
	return t.CurrentTime && t.Logs == 0 && t.Timestamps == 0 && len(t.Keys) == 0
}

// prepare makes the verifiers.
func (r *rooted) prepare(t *engine.Trust, keys []*key) error {
	var asked []verify.VerifierOption
	if t.Logs > 0 {
		asked = append(asked, verify.WithTransparencyLog(t.Logs))
	}
	timed := append(asked[:len(asked):len(asked)], verify.WithObserverTimestamps(1), verify.WithoutStatementPredicate())
	if t.Timestamps > 0 {
		timed = append(timed, verify.WithSignedTimestamps(t.Timestamps))
	}
	r.verifiers = make(map[*key][]*verify.Verifier)
	add := func(k *key, options []verify.VerifierOption) error {
		material := r.root.Material()
		if k != nil {
			material = keyed{material, k}
		}
		v, err := verify.NewVerifier(material, options...)
		r.verifiers[k] = append(r.verifiers[k], v)
		return err
	}
	for _, k := range keys {
		if err := add(k, timed); err != nil {
			return err
		}
		if t.Timestamps > 0 {
			continue
		}
		// A key is believed at any time, so that none need be known. It is used where one is.
		if err := add(k, append(asked[:len(asked):len(asked)], verify.WithNoObserverTimestamps(), verify.WithoutStatementPredicate())); err != nil {
			return err
		}
	}
	if len(keys) > 0 {
		return nil
	}
	if onlyNow(t) {
		timed = []verify.VerifierOption{verify.WithCurrentTime(), verify.WithoutStatementPredicate()}
	}
	if t.SCTs > 0 {
		timed = append(timed, verify.WithSignedCertificateTimestamps(t.SCTs))
	}
	return add(nil, timed)
}

// Judge tells who signed item, over a claim for the image with this digest. Every error is a [*Refusal].
//
// A simple signing signature, or a bundle with a statement of the predicate type https://sigstore.dev/cosign/sign/v1, is
// a signature; any other statement is an attestation, and has a Statement. What is returned has no bytes in common
// with item.
func (j *Judge) Judge(item *attached.Item, digest engine.Digest) (_ engine.Signature, err error) {
	defer recovered(&err)
	if _, err := engine.ParseDigest(string(digest)); err != nil {
		return engine.Signature{}, invalid("%w", err)
	}
	s, err := j.read(item)
	if err != nil {
		return engine.Signature{}, invalid("%w", err)
	}
	if s.file {
		return engine.Signature{}, invalid("it is a signature over a file, and not of an image")
	}
	out, refusal := j.judge(s, func() (engine.Signature, error) { return s.claim(digest) }, func() verify.ArtifactPolicyOption {
		if s.envelope { // whose claim is checked here
			return verify.WithoutArtifactUnsafe()
		}
		return verify.WithArtifact(bytes.NewReader(s.message))
	})
	if refusal != nil {
		return engine.Signature{}, refusal
	}
	out.Found = item.Found
	return out, nil
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

// claim reads what s says, and tells whether it says it of the image with this digest.
func (s *signed) claim(digest engine.Digest) (engine.Signature, error) {
	if !s.envelope {
		c, err := parseClaim(s.payload)
		if err == nil {
			err = c.check(digest)
		}
		return engine.Signature{Annotations: c.annotations, Reference: c.reference}, err
	}
	st, err := parseStatement(s.payload)
	if err != nil {
		return engine.Signature{}, err
	}
	about, err := st.about(digest)
	if err != nil {
		return engine.Signature{}, err
	}
	return engine.Signature{Annotations: about.annotations, Statement: st.asEngine()}, nil
}

// judge is the whole way: the cheap checks first, so that junk costs little.
func (j *Judge) judge(s *signed, claim func() (engine.Signature, error), artifact func() verify.ArtifactPolicyOption) (engine.Signature, *Refusal) {
	if len(j.keys) > 0 {
		return j.byKey(s, claim, artifact)
	}
	return j.byCertificate(s, claim, artifact)
}

// byKey judges by the keys, and what the roots add to them.
func (j *Judge) byKey(s *signed, claim func() (engine.Signature, error), artifact func() verify.ArtifactPolicyOption) (engine.Signature, *Refusal) {
	by, signature := j.whichKey(s)
	if by == nil {
		return engine.Signature{}, invalid("%w", errOtherKey)
	}
	out, err := claim()
	if err != nil {
		return engine.Signature{}, mismatch("signed by the key, but not for this image: %w", err)
	}
	out.Signer.Key = by.id
	if len(j.roots) == 0 {
		return out, nil
	}
	e := s.entity(signature, &bundle.PublicKey{}, "")
	var refusal *Refusal
	for _, r := range j.roots {
		result, err := r.verify(by, e, artifact, verify.WithKey())
		if err == nil {
			out.Time = earliest(result)
			return out, nil
		}
		if why := j.whyNotByKey(r, by, e, err); refusal.worse(why) {
			refusal = why
		}
	}
	return engine.Signature{}, refusal
}

// whichKey finds the key that made one of the signatures of s.
func (j *Judge) whichKey(s *signed) (*key, []byte) {
	for _, k := range j.keys {
		for _, signature := range s.signatures {
			if k.signed(signature, s.message) >= 0 {
				return k, signature
			}
		}
	}
	return nil, nil
}

// byCertificate judges by the roots.
func (j *Judge) byCertificate(s *signed, claim func() (engine.Signature, error), artifact func() verify.ArtifactPolicyOption) (engine.Signature, *Refusal) {
	if s.certificate == nil {
		return engine.Signature{}, invalid("it was made with a key, and has no certificate")
	}
	if n := len(s.signatures); n != 1 {
		return engine.Signature{}, invalid("it has %d signatures and one certificate", n)
	}
	leaf, err := keyOf(s.certificate.PublicKey)
	if err != nil {
		return engine.Signature{}, invalid("its certificate's key: %w", err)
	}
	way := leaf.signed(s.signatures[0], s.message)
	if way < 0 {
		return engine.Signature{}, invalid("the signature is not by its certificate's key")
	}
	out, err := claim()
	if err != nil {
		return engine.Signature{}, j.otherClaim(s, err)
	}
	version := ""
	if way > 0 { // SHA-256 with a larger curve, which sigstore-go believes of known versions of bundles only
		version = "v0.3"
	}
	e := s.entity(s.signatures[0], chained{bundle.NewCertificate(s.certificate), s.intermediates}, version)
	var refusal *Refusal
	for _, r := range j.roots {
		result, err := r.verify(nil, e, artifact, verify.WithoutIdentitiesUnsafe())
		if err == nil {
			out.Signer, out.Time = signer(result.Signature.Certificate), earliest(result)
			return out, nil
		}
		if why := j.whyNot(r, s, e, err); refusal.worse(why) {
			refusal = why
		}
	}
	return engine.Signature{}, refusal
}

// verify lets sigstore-go verify e, by what is asked of a signature by k; nil stands for a certificate.
func (r *rooted) verify(k *key, e *entity, artifact func() verify.ArtifactPolicyOption, who verify.PolicyOption) (result *verify.VerificationResult, err error) {
	for _, v := range r.verifiers[k] {
		if result, err = v.Verify(e, verify.NewPolicy(artifact(), who)); err == nil {
			return result, nil
		}
	}
	return nil, err
}

// signer says whose certificate it was. Only call it for one that has been verified.
func signer(c *certificate.Summary) engine.Signer {
	return engine.Signer{Issuer: c.Issuer, Subject: c.SubjectAlternativeName}
}

// earliest returns the earliest time that a log or an authority vouches for; zero if none does.
func earliest(result *verify.VerificationResult) time.Time {
	var first time.Time
	for _, t := range result.VerifiedTimestamps {
		if t.Type != "CurrentTime" && (first.IsZero() || t.Timestamp.Before(first)) {
			first = t.Timestamp
		}
	}
	return first
}
