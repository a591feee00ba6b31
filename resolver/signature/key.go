package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"

	sigstore "github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"sluice/engine"
)

// keyVerifiers returns the ways in which cosign signs with the private half of a key, most usual first.
//
// cosign v2.6.5 signs with sigstore's default for the key: SHA-256 for P-256 and RSA (PKCS #1 v1.5), SHA-384 for
// P-384, SHA-512 for P-521, Ed25519ph for Ed25519 (LoadPrivateKey in its pkg/cosign). Versions before it, and keys
// that live in a KMS or a PKCS #11 token still, sign with SHA-256 whatever the curve, and with pure Ed25519.
func keyVerifiers(pub crypto.PublicKey) ([]sigstore.Verifier, error) {
	plain, err := sigstore.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	switch k := pub.(type) {
	case *rsa.PublicKey: // sigstore's default is the same, but knows three sizes only
		return []sigstore.Verifier{plain}, nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return []sigstore.Verifier{plain}, nil
		}
	}
	usual, err := sigstore.LoadDefaultVerifier(pub, options.WithED25519ph())
	if err != nil {
		return nil, err
	}
	return []sigstore.Verifier{usual, plain}, nil
}

// errPanic marks what was recovered from while a signature was judged.
var errPanic = errors.New("recovered from a panic")

// errOtherClaim marks a signature that is by the key, over something else than this image.
var errOtherClaim = errors.New("signed by the key, but not for this image")

// judge tells what one signature says: it is by the key (any of its verifiers will do) and its payload claims the
// image. It runs on the caller's goroutine, and a panic below it is an error wrapping errPanic.
func judge(verifiers []sigstore.Verifier, s *candidate, digest engine.Digest) (out engine.Signature, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = engine.Signature{}, fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	if s.fault != nil {
		return engine.Signature{}, s.fault
	}
	for _, v := range verifiers {
		if err = v.VerifySignature(bytes.NewReader(s.signature), bytes.NewReader(s.payload)); err == nil {
			break
		}
	}
	if err != nil {
		return engine.Signature{}, err
	}
	c, err := parseClaim(s.payload)
	if err == nil {
		err = c.check(digest)
	}
	if err != nil {
		return engine.Signature{}, fmt.Errorf("%w: %w", errOtherClaim, err)
	}
	return engine.Signature{Annotations: c.annotations, Reference: c.reference}, nil
}
