package proof

import (
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"sluice/engine"
)

// judge is the whole way: the cheap checks first, so that junk costs little.
func (j *Judge) judge(s *signed) (engine.Signature, *Refusal) {
	if len(j.keys) > 0 {
		return j.byKey(s)
	}
	return j.byCertificate(s)
}

// imageClaim reads what s says, and tells whether it says it of the image with this digest.
func (s *signed) imageClaim(digest engine.Digest) (engine.Signature, error) {
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

// byKey judges by the keys, and what the roots add to them.
func (j *Judge) byKey(s *signed) (engine.Signature, *Refusal) {
	by, signature := j.whichKey(s)
	if by == nil {
		return engine.Signature{}, invalid("%w", errOtherKey)
	}
	out, err := s.claim()
	if err != nil {
		return engine.Signature{}, mismatch("signed by the key, but not for this: %w", err)
	}
	out.Signer.Key = by.id
	if len(j.roots) == 0 {
		return out, nil
	}
	if err := s.evidence(cost(by.public)); err != nil {
		return engine.Signature{}, invalid("%w", err)
	}
	e := s.entity(signature, &bundle.PublicKey{}, "")
	var refusal *Refusal
	for i := range j.roots {
		result, why := j.verify(s, e, j.material(i, s, by), by)
		if why == nil {
			out.Time = earliest(result)
			return out, nil
		}
		if refusal.worse(why) {
			refusal = why
		}
	}
	return engine.Signature{}, j.soFar(refusal)
}

// whichKey finds the key that made one of the signatures of s.
func (j *Judge) whichKey(s *signed) (*key, []byte) {
	for _, k := range j.keys {
		for _, signature := range s.signatures {
			if s.by(k, signature) >= 0 {
				return k, signature
			}
		}
	}
	return nil, nil
}

// byCertificate judges by the roots.
func (j *Judge) byCertificate(s *signed) (engine.Signature, *Refusal) {
	if s.certificate == nil {
		return engine.Signature{}, invalid("it was made with a key, and has no certificate")
	}
	if n := len(s.signatures); n != 1 {
		return engine.Signature{}, invalid("it has %d signatures and one certificate", n)
	}
	if err := j.anyChain(s); err != nil {
		return engine.Signature{}, j.soFar(invalid("%w", err))
	}
	if s.cost = cost(s.certificate.PublicKey); s.cost > s.most {
		return engine.Signature{}, invalid("it costs %d to judge, and %d may be spent", s.cost, s.most)
	}
	leaf, err := keyOf(s.certificate.PublicKey)
	if err != nil {
		return engine.Signature{}, invalid("its certificate's key: %w", err)
	}
	way := s.by(leaf, s.signatures[0])
	if way < 0 {
		return engine.Signature{}, invalid("the signature is not by its certificate's key")
	}
	out, err := s.claim()
	if err != nil {
		return engine.Signature{}, mismatch("signed with a trusted certificate, but not for this: %w", err)
	}
	if err := s.evidence(s.cost); err != nil {
		return engine.Signature{}, invalid("%w", err)
	}
	version := ""
	if way > 0 { // SHA-256 with a larger curve, which sigstore-go believes of known versions of bundles only
		version = "v0.3"
	}
	e := s.entity(s.signatures[0], chained{bundle.NewCertificate(s.certificate), s.intermediates}, version)
	var refusal *Refusal
	for i := range j.roots {
		result, why := j.verify(s, e, j.material(i, s, nil), nil)
		if why == nil {
			out.Signer, out.Time = signer(result.Signature.Certificate), earliest(result)
			if onlyNow(j.trust) {
				out.Until = chainsUntil(j.material(i, s, nil), s, time.Now())
			}
			return out, nil
		}
		if refusal.worse(why) {
			refusal = why
		}
	}
	return engine.Signature{}, j.soFar(refusal)
}

// soFar is the refusal by all the roots that are there. It is no last word while one is not.
func (j *Judge) soFar(r *Refusal) *Refusal {
	if j.pending == nil {
		return r
	}
	return &Refusal{Reason: engine.ReasonTrustRootMissing, Err: fmt.Errorf("%w; by the others: %w", j.pending, r)}
}

// material is what the root i adds to the key k, or vouches for alone if that is nil.
func (j *Judge) material(i int, s *signed, k *key) root.TrustedMaterial {
	m := j.roots[i].Material()
	if k != nil {
		m = keyed{m, k}
	}
	if s.stamped != nil {
		m = stamped{m, s.stamped}
	}
	return m
}

// verify lets sigstore-go verify e, which is s, by what the trust asks for: with the key k, or nil for a certificate.
func (j *Judge) verify(s *signed, e *entity, material root.TrustedMaterial, k *key) (*verify.VerificationResult, *Refusal) {
	if s.old != nil {
		return j.verifyOld(s, e, material, k)
	}
	if j.trust.Logs > 1 {
		if err := differentLogs(s.entries, material); err != nil {
			return nil, invalid("%w", err)
		}
	}
	who := verify.WithoutIdentitiesUnsafe() // which are the policy's to weigh
	if k != nil {
		who = verify.WithKey()
	}
	var err error
	for _, options := range j.options {
		var v *verify.Verifier
		if v, err = verify.NewVerifier(material, options...); err != nil {
			break
		}
		var result *verify.VerificationResult
		if result, err = v.Verify(e, verify.NewPolicy(s.artifact(), who)); err == nil {
			return result, nil
		}
	}
	if k != nil {
		return nil, j.whyNotByKey(e, material, err)
	}
	return nil, j.whyNot(s, e, material, err)
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
