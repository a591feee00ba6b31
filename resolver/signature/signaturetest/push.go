package signaturetest

import (
	"fmt"
	"time"

	"sluice/resolver/registrytest"
)

// Place is where an item is put.
type Place uint8

// The places.
const (
	// Tag is sha256-<hex>.att for envelopes and sha256-<hex>.sig for all else, as cosign v2 has it.
	Tag Place = iota

	// Referrer is a manifest of its own whose subject is the digest, as cosign v3 has it. A registry without a referrers
	// API lists it under the tag sha256-<hex>.
	Referrer

	// ExperimentalOCI11 is cosign v2's experimental mode: one manifest for all items, whose subject is the digest and
	// whose configuration has a type of cosign's.
	ExperimentalOCI11
)

// What cosign's experimental mode writes as the type of the artifact and of its configuration.
const (
	experimentalSignature   = "application/vnd.dev.cosign.artifact.sig.v1+json"
	experimentalAttestation = "application/vnd.dev.cosign.artifact.att.v1+json"
)

// Push puts items for a digest into a repository, beside what is there. The digest itself need not be there.
func Push(reg *registrytest.Registry, repository, digest string, where Place, items ...*Item) error {
	switch where {
	case Tag:
		for _, item := range items {
			appendTo := reg.AppendSignatures
			if item.MediaType == EnvelopeMediaType {
				appendTo = reg.AppendAttestations
			}
			if err := appendTo(repository, digest, item.layer()); err != nil {
				return err
			}
		}
		return nil
	case Referrer:
		for _, item := range items {
			if _, err := reg.PutArtifacts(repository, item.artifact(digest)); err != nil {
				return err
			}
		}
		return nil
	case ExperimentalOCI11:
		a := registrytest.Artifact{Subject: digest, ArtifactType: experimentalSignature}
		for _, item := range items {
			a.Layers = append(a.Layers, item.layer())
			if item.MediaType == EnvelopeMediaType {
				a.ArtifactType = experimentalAttestation
			}
		}
		a.ConfigType = a.ArtifactType
		_, err := reg.PutArtifacts(repository, a)
		return err
	}
	return fmt.Errorf("signaturetest: no such place: %d", where)
}

func (i *Item) layer() registrytest.SignatureLayer {
	return registrytest.SignatureLayer{Payload: i.Content, MediaType: i.MediaType, Annotations: i.Annotations}
}

// artifact is the manifest that cosign v3 makes for a bundle.
func (i *Item) artifact(digest string) registrytest.Artifact {
	annotations := map[string]string{
		"org.opencontainers.image.created": time.Now().UTC().Format(time.RFC3339),
		"dev.sigstore.bundle.content":      "message-signature",
	}
	if i.PredicateType != "" {
		annotations["dev.sigstore.bundle.content"] = "dsse-envelope"
		annotations["dev.sigstore.bundle.predicateType"] = i.PredicateType
	}
	return registrytest.Artifact{
		Subject: digest, ArtifactType: i.MediaType, Annotations: annotations,
		Layers: []registrytest.SignatureLayer{i.layer()},
	}
}
