package registrytest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

// What cosign's classic format is made of (its specs/SIGNATURE_SPEC.md).
const (
	SimpleSigningMediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
	SignatureAnnotation    = "dev.cosignproject.cosign/signature"
)

// Kind is a kind of signing key.
type Kind int

// The kinds that cosign's command line can sign with.
const (
	P256    Kind = iota // ECDSA, SHA-256
	P384                // ECDSA, SHA-384
	RSA                 // 2048 bits, PKCS #1 v1.5, SHA-256
	Ed25519             // Ed25519ph
)

// Key is a signing key and its public half.
type Key struct {
	Private   crypto.Signer
	PublicPEM []byte // SubjectPublicKeyInfo
}

// GenerateKey makes a new key.
func GenerateKey(kind Kind) (Key, error) {
	var private crypto.Signer
	var err error
	switch kind {
	case P256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("no such kind of key: %d", kind)
	}
	if err != nil {
		return Key{}, err
	}
	public, err := cryptoutils.MarshalPublicKeyToPEM(private.Public())
	return Key{Private: private, PublicPEM: public}, err
}

// Sign returns the signature over a message that cosign would make with this key.
func (k Key) Sign(message []byte) ([]byte, error) {
	signer, err := signature.LoadDefaultSigner(k.Private, options.WithED25519ph())
	if err != nil {
		return nil, err
	}
	return signer.SignMessage(bytes.NewReader(message))
}

// SignOptions changes what is signed and what is written beside it. The zero value is what `cosign sign --key` does.
type SignOptions struct {
	Annotations map[string]any // "optional" of the payload: cosign's -a
	Reference   string         // critical.identity.docker-reference; empty means registry and repository
	Digest      string         // the digest that the payload is about; empty means the one that is signed

	PayloadMutator   func(payload []byte) []byte // changes the payload before it is signed
	LayerAnnotations map[string]string           // added to the layer's annotations, over the signature's own
}

// SignatureTag returns the tag under which cosign keeps the classic signatures of a digest.
func SignatureTag(digest string) string { return strings.Replace(digest, ":", "-", 1) + ".sig" }

// Payload returns the simple signing payload that Sign signs.
func (r *Registry) Payload(repository, digest string, o SignOptions) ([]byte, error) {
	if o.Digest != "" {
		digest = o.Digest
	}
	image, err := name.NewDigest(r.host + "/" + repository + "@" + digest)
	if err != nil {
		return nil, err
	}
	p, err := payload.Cosign{Image: image, ClaimedIdentity: o.Reference, Annotations: o.Annotations}.MarshalJSON()
	if err == nil && o.PayloadMutator != nil {
		p = o.PayloadMutator(p)
	}
	return p, err
}

// Sign appends a classic cosign signature of a digest, beside those that are there already.
func (r *Registry) Sign(repository, digest string, key Key, o SignOptions) error {
	p, err := r.Payload(repository, digest, o)
	if err != nil {
		return err
	}
	sig, err := key.Sign(p)
	if err != nil {
		return err
	}
	annotations := map[string]string{SignatureAnnotation: base64.StdEncoding.EncodeToString(sig)}
	maps.Copy(annotations, o.LayerAnnotations)
	return r.AppendSignatures(repository, digest, SignatureLayer{Payload: p, Annotations: annotations})
}

// SignatureLayer is one layer of a manifest of signatures, attestations or bundles.
type SignatureLayer struct {
	Payload     []byte
	MediaType   string // empty means the usual one of the place: SimpleSigningMediaType in a signature manifest
	Annotations map[string]string
}

// AppendSignatures appends layers, whatever they hold, to the signature manifest of a digest in one step.
func (r *Registry) AppendSignatures(repository, digest string, layers ...SignatureLayer) error {
	return r.appendLayers(repository, SignatureTag(digest), SimpleSigningMediaType, layers)
}

// AppendAttestations appends layers, DSSE envelopes unless they say otherwise, to the attestation manifest of a digest
// in one step.
func (r *Registry) AppendAttestations(repository, digest string, layers ...SignatureLayer) error {
	return r.appendLayers(repository, AttestationTag(digest), EnvelopeMediaType, layers)
}

func (r *Registry) appendLayers(repository, tag string, usual types.MediaType, layers []SignatureLayer) error {
	r.signing.Lock()
	defer r.signing.Unlock()
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
	config := v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
	if raw, _, err := r.manifest(repository, tag); err == nil {
		if err := json.Unmarshal(raw, &manifest); err != nil {
			return fmt.Errorf("the signature manifest that is there: %w", err)
		}
		for _, l := range manifest.Layers {
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest)
		}
	}
	for _, l := range layers {
		d, err := r.describe(repository, l.Payload, usual)
		if err != nil {
			return err
		}
		if l.MediaType != "" {
			d.MediaType = types.MediaType(l.MediaType)
		}
		d.Annotations = l.Annotations
		manifest.Layers = append(manifest.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d.Digest)
	}
	rawConfig, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if manifest.Config, err = r.describe(repository, rawConfig, types.OCIConfigJSON); err != nil {
		return err
	}
	raw, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	_, err = r.PutRaw(repository, tag, string(types.OCIManifestSchema1), raw)
	return err
}

func (r *Registry) describe(repository string, content []byte, mediaType types.MediaType) (v1.Descriptor, error) {
	digest, err := r.PutBlob(repository, content)
	if err != nil {
		return v1.Descriptor{}, err
	}
	hash, err := v1.NewHash(digest)
	return v1.Descriptor{MediaType: mediaType, Size: int64(len(content)), Digest: hash}, err
}
