package signaturetest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// Kind is a kind of signing key.
type Kind uint8

// The kinds.
const (
	P256      Kind = iota // ECDSA, SHA-256
	P384                  // ECDSA, SHA-384
	P521                  // ECDSA, SHA-512
	RSA2048               // PKCS #1 v1.5, SHA-256
	RSA3072               // the same
	RSA4096               // the same; takes seconds to make
	Ed25519               // over the message itself
	Ed25519ph             // over its SHA-512, which is what cosign's classic signatures are
)

// Signer is a key, and perhaps the certificate that says whose it is. It is immutable.
type Signer struct {
	kind   Kind
	key    crypto.Signer
	leaf   *x509.Certificate // nil for a bare key
	chain  []*x509.Certificate
	fulcio bool
}

// NewKeySigner makes a new key.
func NewKeySigner(kind Kind) (*Signer, error) {
	var key crypto.Signer
	var err error
	switch kind {
	case P256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case P521:
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case RSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		key, err = rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		key, err = rsa.GenerateKey(rand.Reader, 4096)
	case Ed25519, Ed25519ph:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("no such kind of key: %d", kind)
	}
	if err != nil {
		return nil, err
	}
	return &Signer{kind: kind, key: key}, nil
}

// Public returns the public key.
func (s *Signer) Public() crypto.PublicKey { return s.key.Public() }

// PublicPEM returns the public key as a PUBLIC KEY block.
func (s *Signer) PublicPEM() ([]byte, error) {
	return cryptoutils.MarshalPublicKeyToPEM(s.key.Public())
}

// CertificatePEM returns the certificate; nothing for a bare key.
func (s *Signer) CertificatePEM() ([]byte, error) {
	if s.leaf == nil {
		return nil, nil
	}
	return cryptoutils.MarshalCertificateToPEM(s.leaf)
}

// Hint returns what cosign writes into bundles to tell keys apart: the SHA-256 of the SubjectPublicKeyInfo, in base64.
func (s *Signer) Hint() (string, error) {
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:]), err
}

// Sign signs a message.
func (s *Signer) Sign(message []byte) ([]byte, error) {
	switch s.kind {
	case Ed25519:
		return s.key.Sign(rand.Reader, message, crypto.Hash(0))
	case Ed25519ph:
		return s.key.Sign(rand.Reader, s.sum(message), &ed25519.Options{Hash: crypto.SHA512})
	}
	return s.key.Sign(rand.Reader, s.sum(message), s.hash())
}

func (s *Signer) hash() crypto.Hash {
	switch s.kind {
	case P384:
		return crypto.SHA384
	case P521, Ed25519ph, Ed25519:
		return crypto.SHA512
	}
	return crypto.SHA256
}

func (s *Signer) sum(message []byte) []byte {
	h := s.hash().New()
	h.Write(message)
	return h.Sum(nil)
}

// material is the certificate or else the key as PEM, as Rekor v1's entries have it.
func (s *Signer) material() ([]byte, error) {
	if s.leaf != nil {
		return s.CertificatePEM()
	}
	return s.PublicPEM()
}

// details is the name that protobuf-specs has for the key and its hash.
func (s *Signer) details() protocommon.PublicKeyDetails {
	return map[Kind]protocommon.PublicKeyDetails{
		P256:      protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256,
		P384:      protocommon.PublicKeyDetails_PKIX_ECDSA_P384_SHA_384,
		P521:      protocommon.PublicKeyDetails_PKIX_ECDSA_P521_SHA_512,
		RSA2048:   protocommon.PublicKeyDetails_PKIX_RSA_PKCS1V15_2048_SHA256,
		RSA3072:   protocommon.PublicKeyDetails_PKIX_RSA_PKCS1V15_3072_SHA256,
		RSA4096:   protocommon.PublicKeyDetails_PKIX_RSA_PKCS1V15_4096_SHA256,
		Ed25519:   protocommon.PublicKeyDetails_PKIX_ED25519,
		Ed25519ph: protocommon.PublicKeyDetails_PKIX_ED25519_PH,
	}[s.kind]
}

// chainPEM is what issued the certificate, root last, as cosign's annotation has it.
func (s *Signer) chainPEM() ([]byte, error) {
	pem, err := cryptoutils.MarshalCertificatesToPEM(s.chain)
	return bytes.TrimRight(pem, "\n"), err
}

// protoHash is the name that protobuf-specs has for the hash.
func (s *Signer) protoHash() protocommon.HashAlgorithm {
	switch s.hash() {
	case crypto.SHA384:
		return protocommon.HashAlgorithm_SHA2_384
	case crypto.SHA512:
		return protocommon.HashAlgorithm_SHA2_512
	}
	return protocommon.HashAlgorithm_SHA2_256
}
