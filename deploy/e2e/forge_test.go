package e2e

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// What somebody can make of others' signatures who may push, and has no key.

// manifest is one in a registry, to be changed and pushed again.
type manifest struct {
	raw     map[string]any
	content []byte
}

func (m manifest) RawManifest() ([]byte, error) { return m.content, nil }

func (m manifest) MediaType() (types.MediaType, error) {
	kind, _ := m.raw["mediaType"].(string)
	return types.MediaType(kind), nil
}

// getManifest gets what a reference names.
func (s *signing) getManifest(reference string) manifest {
	s.Helper()
	ref, err := name.ParseReference(reference)
	must(s, err)
	got, err := remote.Get(ref, remote.WithContext(s.Context()))
	must(s, err)
	m := manifest{content: got.Manifest}
	must(s, json.Unmarshal(got.Manifest, &m.raw))
	return m
}

// putManifest pushes what m.raw says: under a tag, or under its digest if tag is empty.
func (s *signing) putManifest(m manifest, repository, tag string) {
	s.Helper()
	var err error
	m.content, err = json.Marshal(m.raw)
	must(s, err)
	digest, _, err := v1.SHA256(bytes.NewReader(m.content))
	must(s, err)
	reference := repository + "@" + digest.String()
	if tag != "" {
		reference = repository + ":" + tag
	}
	ref, err := name.ParseReference(reference)
	must(s, err)
	must(s, remote.Put(ref, m, remote.WithContext(s.Context())))
}

// layer is the one layer of a signature's manifest, as the manifest describes it.
func (s *signing) layer(m manifest) map[string]any {
	s.Helper()
	layers, _ := m.raw["layers"].([]any)
	if len(layers) != 1 {
		s.Fatalf("%d layers: %s", len(layers), m.content)
	}
	return layers[0].(map[string]any)
}

// blob gets a layer's content.
func (s *signing) blob(repository string, layer map[string]any) []byte {
	s.Helper()
	ref, err := name.NewDigest(repository + "@" + layer["digest"].(string))
	must(s, err)
	got, err := remote.Layer(ref, remote.WithContext(s.Context()))
	must(s, err)
	content, err := got.Compressed()
	must(s, err)
	defer content.Close()
	all, err := io.ReadAll(content)
	must(s, err)
	return all
}

// setBlob pushes another content, and has the layer's description name it.
func (s *signing) setBlob(repository string, layer map[string]any, content []byte) {
	s.Helper()
	blob := static.NewLayer(content, types.MediaType(layer["mediaType"].(string)))
	ref, err := name.NewRepository(repository)
	must(s, err)
	must(s, remote.WriteLayer(ref, blob, remote.WithContext(s.Context())))
	digest, err := blob.Digest()
	must(s, err)
	layer["digest"], layer["size"] = digest.String(), len(content)
}

// referrer is the one manifest that has an image as its subject.
func (s *signing) referrer(of image) manifest {
	s.Helper()
	ref, err := name.NewDigest(of.byDigest())
	must(s, err)
	index, err := remote.Referrers(ref, remote.WithContext(s.Context()))
	must(s, err)
	list, err := index.IndexManifest()
	must(s, err)
	if len(list.Manifests) != 1 {
		s.Fatalf("%s has %d referrers", of.byDigest(), len(list.Manifests))
	}
	return s.getManifest(of.repository + "@" + list.Manifests[0].Digest.String())
}

// setSubject makes a manifest one about another image.
func (s *signing) setSubject(m manifest, to image) {
	s.Helper()
	subject := m.raw["subject"].(map[string]any)
	content := s.getManifest(to.byDigest())
	subject["digest"], subject["size"] = to.digest.String(), len(content.content)
}

// copyBlobs has a repository hold what a manifest of another names.
func (s *signing) copyBlobs(m manifest, from, to string) {
	s.Helper()
	descriptors, _ := m.raw["layers"].([]any)
	for _, d := range append(descriptors, m.raw["config"]) {
		s.setBlob(to, map[string]any{"mediaType": "application/octet-stream"}, s.blob(from, d.(map[string]any)))
	}
}

// copyReferrer has what refers to one image refer to another.
func (s *signing) copyReferrer(from, to image) {
	s.Helper()
	m := s.referrer(from)
	s.copyBlobs(m, from.repository, to.repository)
	s.setSubject(m, to)
	s.putManifest(m, to.repository, "")
}

// another pushes one more image beside s.image.
func (s *signing) another() image {
	s.Helper()
	return s.registry.push(s, s.image.repository[len(s.registry.host)+1:]+"/other", "1")
}

// also pushes s.image to a repository beside its own.
func (s *signing) also() image {
	s.Helper()
	i := image{s.image.repository + "/also", s.image.digest}
	copyImage(s, s.image.byDigest(), i.tag("1"))
	return i
}

// copiedTag signs another image, and passes its classic signature or attestation for one of s.image.
func (s *signing) copiedTag(suffix string, sign func(i image)) {
	s.Helper()
	other := s.another()
	sign(other)
	tag := func(i image) string { return i.tag("sha256-" + i.digest.Hex + suffix) }
	copyImage(s, tag(other), tag(s.image))
}

// copiedReferrer is the same for what refers to an image.
func (s *signing) copiedReferrer(sign func(i image)) {
	s.Helper()
	other := s.another()
	sign(other)
	s.copyReferrer(other, s.image)
}

// entryOfAnother gives s.image a signature whose log entry is that of another image's.
func (s *signing) entryOfAnother(f form, w with) {
	s.Helper()
	other, same := s.another(), s.also()
	s.sign(f, w, same)
	s.sign(f, w, other) // later, so that the entry's time is one at which the certificate is valid
	if f.format == "classic" {
		const entry = "dev.sigstore.cosign/bundle"
		forged := s.getManifest(same.signatures())
		annotations := func(m manifest) map[string]any { return s.layer(m)["annotations"].(map[string]any) }
		annotations(forged)[entry] = annotations(s.getManifest(other.signatures()))[entry]
		s.copyBlobs(forged, same.repository, s.image.repository)
		s.putManifest(forged, s.image.repository, "sha256-"+s.image.digest.Hex+".sig")
		return
	}
	forged, from := s.referrer(same), s.referrer(other)
	content := func(i image, m manifest) (bundle, material map[string]any) {
		must(s, json.Unmarshal(s.blob(i.repository, s.layer(m)), &bundle))
		return bundle, bundle["verificationMaterial"].(map[string]any)
	}
	bundle, material := content(same, forged)
	_, others := content(other, from)
	material["tlogEntries"] = others["tlogEntries"]
	raw, err := json.Marshal(bundle)
	must(s, err)
	s.copyBlobs(forged, same.repository, s.image.repository)
	s.setBlob(s.image.repository, s.layer(forged), raw)
	s.putManifest(forged, s.image.repository, "")
}
