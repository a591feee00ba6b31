package signaturetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sluice/resolver/registrytest"
)

// TestPush puts items into every place and reads them back as a client finds them.
func TestPush(t *testing.T) {
	t.Parallel()
	ours := must[*Sigstore](t)(NewSigstore())
	key := must[*Signer](t)(NewKeySigner(P256))
	const predicateType = "https://spdx.dev/Document"
	for _, api := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers API %v", api), func(t *testing.T) {
			t.Parallel()
			reg := must[*registrytest.Registry](t)(registrytest.New(registrytest.Options{Referrers: api}))
			t.Cleanup(reg.Close)
			digest := must[string](t)(reg.PushImage("team/app:v1"))
			about, attested := Content{Digest: digest}, Content{Digest: digest, PredicateType: predicateType}
			signature := must[*Item](t)(ours.Classic(key, about, Evidence{}))
			attestation := must[*Item](t)(ours.Classic(key, attested, Evidence{}))
			signed := must[*Item](t)(ours.Bundle("0.3", key, about, Evidence{}))
			stated := must[*Item](t)(ours.Bundle("0.3", key, attested, Evidence{}))
			for where, items := range map[Place][]*Item{
				Tag: {signature, signature, attestation}, Referrer: {signed, stated}, ExperimentalOCI11: {signature},
			} {
				if err := Push(reg, "team/app", digest, where, items...); err != nil {
					t.Fatalf("place %d: %v", where, err)
				}
			}
			type manifest struct {
				v1.Manifest
				ArtifactType string `json:"artifactType"`
			}
			get := func(digestOrTag string) (m manifest) {
				t.Helper()
				if err := json.Unmarshal(must[[]byte](t)(reg.Raw("team/app", digestOrTag)), &m); err != nil {
					t.Fatal(err)
				}
				return m
			}
			if l := get(registrytest.SignatureTag(digest)).Layers; len(l) != 2 || l[1].Annotations[SignatureAnnotation] == "" {
				t.Errorf("under the tag for signatures: %+v", l)
			}
			if l := get(registrytest.AttestationTag(digest)).Layers; len(l) != 1 || l[0].MediaType != EnvelopeMediaType {
				t.Errorf("under the tag for attestations: %+v", l)
			}
			ref := must[name.Digest](t)(name.NewDigest(reg.Host() + "/team/app@" + digest))
			index := must[*v1.IndexManifest](t)(must[v1.ImageIndex](t)(remote.Referrers(ref)).IndexManifest())
			found := map[string]string{}
			for _, d := range index.Manifests {
				m := get(d.Digest.String()) // ggcr lists the configuration's type as the artifact's
				if len(m.Layers) != 1 {
					t.Fatalf("a referrer has %d layers", len(m.Layers))
				}
				found[m.Annotations["dev.sigstore.bundle.predicateType"]] = m.ArtifactType + " with " + string(m.Layers[0].MediaType)
			}
			if want := map[string]string{
				"":                     experimentalSignature + " with " + SimpleSigningMediaType,
				SignaturePredicateType: BundleMediaType + " with " + BundleMediaType,
				predicateType:          BundleMediaType + " with " + BundleMediaType,
			}; !maps.Equal(found, want) {
				t.Errorf("referrers: %v", found)
			}
		})
	}
}

// TestPushElsewhere puts items into a repository that has not what they are about.
func TestPushElsewhere(t *testing.T) {
	t.Parallel()
	ours := must[*Sigstore](t)(NewSigstore())
	key := must[*Signer](t)(NewKeySigner(P256))
	reg := must[*registrytest.Registry](t)(registrytest.New(registrytest.Options{Referrers: true}))
	t.Cleanup(reg.Close)
	item := must[*Item](t)(ours.Bundle("0.1", key, Content{Digest: digest}, Evidence{}))
	if err := Push(reg, "signatures", digest, Referrer, item); err != nil {
		t.Fatal(err)
	}
	ref := must[name.Digest](t)(name.NewDigest(reg.Host() + "/signatures@" + digest))
	index := must[*v1.IndexManifest](t)(must[v1.ImageIndex](t)(remote.Referrers(ref)).IndexManifest())
	if len(index.Manifests) != 1 || index.Manifests[0].Annotations["dev.sigstore.bundle.predicateType"] != SignaturePredicateType {
		t.Errorf("referrers: %+v", index.Manifests)
	}
}
