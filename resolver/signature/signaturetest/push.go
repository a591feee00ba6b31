package signaturetest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sluice/resolver/registrytest"
)

// Place is where an item is put.
type Place uint8

// The places.
const (
	// Tag is sha256-<hex>.att for envelopes and sha256-<hex>.sig for all else, as cosign v2 has it.
	Tag Place = iota

	// Referrer is a manifest of its own whose subject is the digest, as cosign v3 has it.
	Referrer

	// FallbackTag is Referrer, listed under the tag sha256-<hex> besides, as for registries without a referrers API.
	FallbackTag

	// ExperimentalOCI11 is cosign v2's experimental mode: one manifest for all items, whose subject is the digest and
	// whose configuration has a type of cosign's.
	ExperimentalOCI11
)

// What cosign's experimental mode writes as the type of the artifact and of its configuration.
const (
	experimentalSignature   = "application/vnd.dev.cosign.artifact.sig.v1+json"
	experimentalAttestation = "application/vnd.dev.cosign.artifact.att.v1+json"
)

// Push puts items for a digest into a repository, beside what is there. The digest itself need not be there. Two calls
// for one digest must not run at once.
func Push(reg *registrytest.Registry, repository, digest string, where Place, items ...*Item) error {
	p := pusher{reg: reg, repository: repository, digest: digest}
	switch where {
	case Tag:
		for _, item := range items {
			if err := p.tag(item); err != nil {
				return err
			}
		}
		return nil
	case ExperimentalOCI11:
		return p.experimental(items)
	}
	for _, item := range items {
		if err := p.referrer(item, where == FallbackTag); err != nil {
			return err
		}
	}
	return nil
}

// AttestationTag returns the tag under which cosign v2 keeps the attestations of a digest; see
// [registrytest.SignatureTag].
func AttestationTag(digest string) string { return strings.Replace(digest, ":", "-", 1) + ".att" }

type pusher struct {
	reg                *registrytest.Registry
	repository, digest string
}

// manifest is an image manifest of the OCI image specification 1.1.
type manifest struct {
	v1.Manifest
	ArtifactType string `json:"artifactType,omitempty"`
}

func (p pusher) layer(item *Item) (v1.Descriptor, error) {
	d, err := p.blob(item.MediaType, item.Content)
	d.Annotations = item.Annotations
	return d, err
}

func (p pusher) blob(mediaType string, content []byte) (v1.Descriptor, error) {
	digest, err := p.reg.PutBlob(p.repository, content)
	if err != nil {
		return v1.Descriptor{}, err
	}
	hash, err := v1.NewHash(digest)
	return v1.Descriptor{MediaType: types.MediaType(mediaType), Size: int64(len(content)), Digest: hash}, err
}

// put writes a manifest, under its own digest if there is no tag.
func (p pusher) put(tag string, mediaType types.MediaType, m any) (raw []byte, hash v1.Hash, err error) {
	if raw, err = json.Marshal(m); err != nil {
		return nil, hash, err
	}
	if hash, _, err = v1.SHA256(strings.NewReader(string(raw))); err != nil {
		return nil, hash, err
	}
	if tag == "" {
		tag = hash.String()
	}
	_, err = p.reg.PutRaw(p.repository, tag, string(mediaType), raw)
	return raw, hash, err
}

// config is an image's configuration, which cosign v2 writes for its signatures.
func (p pusher) config(layers []v1.Descriptor) (v1.Descriptor, error) {
	config := v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return p.blob(string(types.OCIConfigJSON), raw)
}

func (p pusher) tag(item *Item) error {
	tag := registrytest.SignatureTag(p.digest)
	if item.MediaType == EnvelopeMediaType {
		tag = AttestationTag(p.digest)
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	if raw, err := p.reg.Raw(p.repository, tag); err == nil {
		if err := json.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("the manifest %s that is there: %w", tag, err)
		}
	}
	layer, err := p.layer(item)
	if err != nil {
		return err
	}
	m.Layers = append(m.Layers, layer)
	if m.Config, err = p.config(m.Layers); err != nil {
		return err
	}
	_, _, err = p.put(tag, m.MediaType, m)
	return err
}

// subject describes what the items are about, by name alone if it lies elsewhere.
func (p pusher) subject() (*v1.Descriptor, error) {
	hash, err := v1.NewHash(p.digest)
	if err != nil {
		return nil, err
	}
	d := &v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: hash}
	raw, err := p.reg.Raw(p.repository, p.digest)
	if err != nil {
		return d, nil //nolint:nilerr // it need not be there
	}
	var m struct {
		MediaType types.MediaType `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("the manifest %s that is there: %w", p.digest, err)
	}
	d.MediaType, d.Size = m.MediaType, int64(len(raw))
	return d, nil
}

func (p pusher) experimental(items []*Item) error {
	m := manifest{Manifest: v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}, ArtifactType: experimentalSignature}
	for _, item := range items {
		layer, err := p.layer(item)
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, layer)
		if item.MediaType == EnvelopeMediaType {
			m.ArtifactType = experimentalAttestation
		}
	}
	var err error
	if m.Config, err = p.config(m.Layers); err != nil {
		return err
	}
	m.Config.MediaType = types.MediaType(m.ArtifactType)
	if m.Subject, err = p.subject(); err != nil {
		return err
	}
	_, _, err = p.put("", m.MediaType, m)
	return err
}

func (p pusher) referrer(item *Item, fallback bool) error {
	layer, err := p.layer(item)
	if err != nil {
		return err
	}
	config, err := p.blob("application/vnd.oci.empty.v1+json", []byte("{}"))
	if err != nil {
		return err
	}
	config.ArtifactType = item.MediaType
	subject, err := p.subject()
	if err != nil {
		return err
	}
	m := manifest{
		Manifest: v1.Manifest{
			SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: []v1.Descriptor{layer},
			Subject: subject,
			Annotations: map[string]string{
				"org.opencontainers.image.created": time.Now().UTC().Format(time.RFC3339),
				"dev.sigstore.bundle.content":      "dsse-envelope",
			},
		},
		ArtifactType: item.MediaType,
	}
	if item.PredicateType != "" {
		m.Annotations["dev.sigstore.bundle.predicateType"] = item.PredicateType
	} else {
		m.Annotations["dev.sigstore.bundle.content"] = "message-signature"
	}
	raw, hash, err := p.put("", m.MediaType, m)
	if err != nil || !fallback {
		return err
	}
	return p.list(v1.Descriptor{
		MediaType: m.MediaType, Size: int64(len(raw)), Digest: hash, ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	})
}

// list adds a referrer to the index under the fallback tag (OCI distribution specification 1.1, "Referrers Tag Schema").
func (p pusher) list(d v1.Descriptor) error {
	tag := strings.Replace(p.digest, ":", "-", 1)
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if raw, err := p.reg.Raw(p.repository, tag); err == nil {
		if err := json.Unmarshal(raw, &index); err != nil {
			return fmt.Errorf("the index %s that is there: %w", tag, err)
		}
	}
	index.Manifests = append(index.Manifests, d)
	_, _, err := p.put(tag, index.MediaType, index)
	return err
}
