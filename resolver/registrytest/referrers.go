package registrytest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// What is attached to images beside classic signatures.
const (
	EnvelopeMediaType = "application/vnd.dsse.envelope.v1+json"
	BundleMediaType   = "application/vnd.dev.sigstore.bundle.v0.3+json"
	EmptyMediaType    = "application/vnd.oci.empty.v1+json" // of the configuration of an artifact that has none
)

// AttestationTag returns the tag under which cosign keeps the classic attestations of a digest.
func AttestationTag(digest string) string { return strings.Replace(digest, ":", "-", 1) + ".att" }

// FallbackTag returns the tag in which clients list the referrers of a digest if the registry has no API for it.
func FallbackTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }

// Artifact is a manifest that is about another.
type Artifact struct {
	Subject      string // digest
	ArtifactType string
	ConfigType   string // media type of the configuration; empty means EmptyMediaType
	Annotations  map[string]string
	Layers       []SignatureLayer
}

// artifactManifest is a v1.Manifest with the member that it lacks.
type artifactManifest struct {
	v1.Manifest
	ArtifactType string `json:"artifactType,omitempty"`
}

// PutReferrer puts a manifest that is about subject, as cosign does for bundles and OCI 1.1 signatures, and returns its
// digest. If the registry has no referrers API, it is listed in the fallback tag.
func (r *Registry) PutReferrer(repository, subject, artifactType, configType string, layers ...SignatureLayer) (digest string, err error) {
	digests, err := r.PutArtifacts(repository, Artifact{
		Subject: subject, ArtifactType: artifactType, ConfigType: configType, Layers: layers,
	})
	if err != nil {
		return "", err
	}
	return digests[0], nil
}

// PutArtifacts puts several such manifests, in one step as far as the fallback tag goes.
func (r *Registry) PutArtifacts(repository string, artifacts ...Artifact) (digests []string, err error) {
	r.signing.Lock()
	defer r.signing.Unlock()
	bySubject := map[string][]v1.Descriptor{}
	for _, a := range artifacts {
		d, err := r.putArtifact(repository, a)
		if err != nil {
			return nil, err
		}
		digests = append(digests, d.Digest.String())
		bySubject[a.Subject] = append(bySubject[a.Subject], d)
	}
	if r.opts.Referrers {
		return digests, nil
	}
	for subject, added := range bySubject {
		if err := r.appendFallback(repository, subject, added); err != nil {
			return nil, err
		}
	}
	return digests, nil
}

// PutJunk puts n manifests that are about subject, no two the same, with an empty layer of a media type each.
func (r *Registry) PutJunk(repository, subject, artifactType, layerType string, n int) error {
	junk := make([]Artifact, n)
	for i := range junk {
		junk[i] = Artifact{
			Subject: subject, ArtifactType: artifactType,
			Annotations: map[string]string{"junk": strconv.Itoa(i)},
			Layers:      []SignatureLayer{{Payload: []byte("{}"), MediaType: layerType}},
		}
	}
	_, err := r.PutArtifacts(repository, junk...)
	return err
}

func (r *Registry) putArtifact(repository string, a Artifact) (v1.Descriptor, error) {
	m := artifactManifest{ArtifactType: a.ArtifactType, Manifest: v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}, Annotations: a.Annotations,
	}}
	subject, err := v1.NewHash(a.Subject)
	if err != nil {
		return v1.Descriptor{}, err
	}
	m.Subject = &v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: subject}
	if raw, mediaType, err := r.manifest(repository, a.Subject); err == nil {
		m.Subject.MediaType, m.Subject.Size = types.MediaType(mediaType), int64(len(raw))
	}
	if m.Config, err = r.describe(repository, []byte("{}"), types.MediaType(cmp.Or(a.ConfigType, EmptyMediaType))); err != nil {
		return v1.Descriptor{}, err
	}
	for _, l := range a.Layers {
		d, err := r.describe(repository, l.Payload, types.MediaType(cmp.Or(l.MediaType, BundleMediaType)))
		if err != nil {
			return v1.Descriptor{}, err
		}
		d.Annotations = l.Annotations
		m.Layers = append(m.Layers, d)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return v1.Descriptor{}, err
	}
	digest, err := r.PutRaw(repository, digestOf(raw), string(types.OCIManifestSchema1), raw)
	if err != nil {
		return v1.Descriptor{}, err
	}
	hash, err := v1.NewHash(digest)
	return v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Size: int64(len(raw)), Digest: hash,
		ArtifactType: a.ArtifactType, Annotations: a.Annotations,
	}, err
}

// appendFallback does what clients do on registries without the API.
func (r *Registry) appendFallback(repository, subject string, added []v1.Descriptor) error {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if raw, _, err := r.manifest(repository, FallbackTag(subject)); err == nil {
		if err := json.Unmarshal(raw, &index); err != nil {
			return fmt.Errorf("the list of referrers that is there: %w", err)
		}
	}
	index.Manifests = append(index.Manifests, added...)
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	_, err = r.PutRaw(repository, FallbackTag(subject), string(types.OCIImageIndex), raw)
	return err
}

// listReferrers answers by the referrers API, ordered by digest and in pages if the options ask for them.
func (r *Registry) listReferrers(w http.ResponseWriter, req *http.Request) {
	if !r.opts.Referrers {
		http.NotFound(w, req) // as registries do that have never heard of it
		return
	}
	c := newCapture()
	r.content.ServeHTTP(c, req)
	var index v1.IndexManifest
	if c.status != http.StatusOK || json.Unmarshal(c.body.Bytes(), &index) != nil {
		c.writeAll(w)
		return
	}
	slices.SortFunc(index.Manifests, func(a, b v1.Descriptor) int { return cmp.Compare(a.Digest.Hex, b.Digest.Hex) })
	if size := r.opts.ReferrersPage; size > 0 {
		last := req.URL.Query().Get("last")
		index.Manifests = slices.DeleteFunc(index.Manifests, func(d v1.Descriptor) bool { return d.Digest.Hex <= last })
		if len(index.Manifests) > size {
			index.Manifests = index.Manifests[:size]
			next := url.URL{Path: req.URL.Path, RawQuery: url.Values{"last": {index.Manifests[size-1].Digest.Hex}}.Encode()}
			w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
		}
	}
	raw, err := json.Marshal(index)
	if err != nil {
		writeError(w, http.StatusInternalServerError, "UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", string(types.OCIImageIndex))
	_, _ = w.Write(raw)
}
