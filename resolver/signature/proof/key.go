package proof

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	sigstore "github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// key is one public key and the ways in which cosign signs with its private half. It is immutable.
type key struct {
	id     string // hexadecimal SHA-256 of the DER SubjectPublicKeyInfo; empty for that of a certificate
	public crypto.PublicKey
	ways   []sigstore.Verifier // most usual first
}

// newKey prepares one of the keys that are trusted.
func newKey(public crypto.PublicKey) (*key, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	k, err := keyOf(public)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	k.id = hex.EncodeToString(sum[:])
	return k, nil
}

// keyOf finds the ways in which a key signs.
//
// cosign v2.6.5 signs with sigstore's default for the key: SHA-256 for P-256 and RSA (PKCS #1 v1.5), SHA-384 for
// P-384, SHA-512 for P-521, Ed25519ph for Ed25519 (LoadPrivateKey in its pkg/cosign). Versions before it, and keys
// that live in a KMS or a PKCS #11 token still, sign with SHA-256 whatever the curve, and with pure Ed25519; so do
// those that sign envelopes.
func keyOf(public crypto.PublicKey) (*key, error) {
	plain, err := sigstore.LoadVerifier(public, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	k := &key{public: public}
	switch p := public.(type) {
	case *rsa.PublicKey: // sigstore's default is the same, but knows three sizes only
		k.ways = []sigstore.Verifier{plain}
		return k, nil
	case *ecdsa.PublicKey:
		if p.Curve == elliptic.P256() {
			k.ways = []sigstore.Verifier{plain}
			return k, nil
		}
	case ed25519.PublicKey:
	default:
		return nil, fmt.Errorf("a key of type %T", public)
	}
	usual, err := sigstore.LoadDefaultVerifier(public, options.WithED25519ph())
	if err != nil {
		return nil, err
	}
	k.ways = []sigstore.Verifier{usual, plain}
	return k, nil
}

// signed returns which of its ways the key made signature in, over message; negative if it did not make it.
func (k *key) signed(signature, message []byte) int {
	for i, way := range k.ways {
		if way.VerifySignature(bytes.NewReader(signature), bytes.NewReader(message)) == nil {
			return i
		}
	}
	return -1
}

var errOtherKey = errors.New("the signature is by another key")

// PublicKey is part of [sigstore.Verifier].
func (k *key) PublicKey(...sigstore.PublicKeyOption) (crypto.PublicKey, error) { return k.public, nil }

// VerifySignature is part of [sigstore.Verifier]: any of the ways will do.
func (k *key) VerifySignature(signature, message io.Reader, opts ...sigstore.VerifyOption) error {
	s, err := io.ReadAll(signature)
	if err != nil {
		return err
	}
	m, err := io.ReadAll(message)
	if err != nil {
		return err
	}
	var digest []byte
	for _, o := range opts {
		o.ApplyDigest(&digest)
	}
	for _, way := range k.ways {
		// Pure Ed25519 signs no digest, and would take the message for what was signed, which is empty then.
		if _, pure := way.(*sigstore.ED25519Verifier); pure && digest != nil {
			continue
		}
		if way.VerifySignature(bytes.NewReader(s), bytes.NewReader(m), opts...) == nil {
			return nil
		}
	}
	return errOtherKey
}

// ValidAtTime is part of [root.TimeConstrainedVerifier]: a key is believed for as long as the policy names it.
func (k *key) ValidAtTime(time.Time) bool { return true }
