package policy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
)

// parseKey accepts one PEM block of type PUBLIC KEY with nothing around it, and in it a key that the verifier of
// signatures can use.
func parseKey(text []byte) (crypto.PublicKey, error) {
	if bytes.Contains(text, []byte("PRIVATE KEY-----")) {
		return nil, errors.New("this is a private key; give its public key (cosign public-key, openssl pkey -pubout) and keep this one where nobody else can read it")
	}
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("this is no PEM: it must be one block from -----BEGIN PUBLIC KEY----- to -----END PUBLIC KEY-----")
	case bytes.Contains(rest, []byte("-----BEGIN")), bytes.Count(text, []byte("-----BEGIN")) > 1:
		return nil, errors.New("there are several PEM blocks; an authority has one key, so make one authority of each")
	case len(bytes.TrimSpace(rest)) > 0, !bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN")):
		return nil, errors.New("there is text around the PEM block; leave the block alone")
	}
	switch block.Type {
	case "PUBLIC KEY":
	case "CERTIFICATE", "TRUSTED CERTIFICATE":
		return nil, errors.New("this is a certificate; give its public key (openssl x509 -in FILE -noout -pubkey)")
	case "RSA PUBLIC KEY":
		return nil, errors.New("this key is in PKCS #1 form; convert it (openssl rsa -RSAPublicKey_in -in FILE -pubout)")
	default:
		return nil, fmt.Errorf("the PEM block must be of type PUBLIC KEY; this is %q", block.Type)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		var structure asn1.StructuralError
		var syntax asn1.SyntaxError
		if errors.As(err, &structure) || errors.As(err, &syntax) { // whose texts are for programmers
			return nil, errors.New("the key does not parse: what is inside the PEM block is damaged")
		}
		return nil, fmt.Errorf("the key does not parse: %w", err)
	}
	const accepted = "accepted are ECDSA P-256 and P-384, RSA of 2048, 3072 or 4096 bits, and Ed25519"
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return nil, fmt.Errorf("this is a key on %s; %s", key.Curve.Params().Name, accepted)
		}
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits != 2048 && bits != 3072 && bits != 4096 { // what sigstore's verifiers know
			return nil, fmt.Errorf("this is an RSA key of %d bits; %s", bits, accepted)
		}
		if key.E < 3 || key.E%2 == 0 {
			return nil, fmt.Errorf("this RSA key has the exponent %d, which proves nothing", key.E)
		}
	case ed25519.PublicKey:
	default:
		return nil, fmt.Errorf("this is a key of another kind; %s", accepted)
	}
	return key, nil
}
