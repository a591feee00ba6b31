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
	"maps"
	"slices"
	"strings"
)

// maxKeys bounds the keys of one authority: each is tried with each signature.
const maxKeys = 32

// Advice says how a key gets here that is elsewhere. See [strictyaml.Adviser].
func (Key) Advice(field, text string) string {
	switch {
	case field == "kms" && strings.Contains(text, "://"):
		return "give the public key: cosign public-key --key " + text
	case field == "kms", field == "secretRef":
		return "give the public key, in a file or as data"
	}
	return ""
}

// keys reads the public keys of one authority, each once, in an order of their own.
func (c *compiler) keys(path string, w *Authority) []crypto.PublicKey {
	sources, paths := w.Keys, c.items(path+".keys", len(w.Keys))
	if w.Key != nil {
		sources, paths = []Key{*w.Key}, []string{path + ".key"}
	}
	if len(sources) == 0 {
		c.fail(path+".keys", "the list is empty; name a key")
	}
	byDER := map[string]crypto.PublicKey{}
	for i, source := range sources {
		text, at, ok := c.source(paths[i], Source(source), keyMaterial())
		if !ok {
			continue
		}
		found, err := parseKeys(text)
		if err != nil {
			c.fail(at, "%v", err)
			continue
		}
		for der, key := range found {
			byDER[der] = key
		}
		if len(byDER) > maxKeys {
			c.fail(at, "an authority has at most %d keys; make several of it", maxKeys)
			break
		}
	}
	keys := make([]crypto.PublicKey, 0, len(byDER))
	for _, der := range slices.Sorted(maps.Keys(byDER)) {
		keys = append(keys, byDER[der])
	}
	return keys
}

// parseKeys accepts PEM blocks of type PUBLIC KEY with nothing around them, and in each a key that the verifier of
// signatures can use. It returns them by their DER.
func parseKeys(text []byte) (map[string]crypto.PublicKey, error) {
	if bytes.Contains(text, []byte("PRIVATE KEY-----")) {
		return nil, errors.New("this is a private key; give its public key (cosign public-key, openssl pkey -pubout) and keep this one where nobody else can read it")
	}
	blocks, err := pemBlocks(text, "PUBLIC KEY")
	if err != nil {
		return nil, err
	}
	keys := map[string]crypto.PublicKey{}
	for i, block := range blocks {
		key, err := parseKey(block)
		if err != nil && len(blocks) > 1 {
			return nil, fmt.Errorf("PEM block %d: %w", i+1, err)
		}
		if err != nil {
			return nil, err
		}
		keys[string(block.Bytes)] = key
	}
	return keys, nil
}

// pemBlocks splits text into its PEM blocks, of which there is one at least, and which have nothing but blanks around them.
func pemBlocks(text []byte, kind string) ([]*pem.Block, error) {
	var blocks []*pem.Block
	for rest := bytes.TrimSpace(text); len(rest) > 0 || len(blocks) == 0; rest = bytes.TrimSpace(rest) {
		before := bytes.Count(rest, []byte("-----BEGIN"))
		whole := bytes.HasPrefix(rest, []byte("-----BEGIN"))
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil && len(blocks) == 0:
			return nil, fmt.Errorf("this is no PEM: it must be one or more blocks from -----BEGIN %s----- to -----END %s-----", kind, kind)
		case block == nil, !whole:
			return nil, errors.New("there is text around the PEM block; leave the block alone")
		case before-bytes.Count(rest, []byte("-----BEGIN")) > 1:
			return nil, errors.New("a PEM block is damaged, so that it would be passed over")
		}
		blocks = append(blocks, block)
	}
	return blocks, nil
}

func parseKey(block *pem.Block) (crypto.PublicKey, error) {
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
