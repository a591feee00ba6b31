package attached

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/engine"
	"sluice/resolver"
)

func digestOf(b []byte) engine.Digest {
	sum := sha256.Sum256(b)
	return engine.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

var image = engine.Reference{Registry: "registry.test", Repository: "team/app", Digest: digestOf([]byte("an image"))}

// registry is a Fetcher over maps, that counts.
type registry struct {
	mu        sync.Mutex
	tags      map[string][]byte
	manifests map[engine.Digest][]byte
	blobs     map[engine.Digest][]byte
	list      resolver.Referrers
	listErr   error
	panics    bool // below every request but for lists

	manifestTrips, blobTrips, bytes, inFlight, mostInFlight atomic.Int64
}

func newRegistry() *registry {
	return &registry{tags: map[string][]byte{}, manifests: map[engine.Digest][]byte{}, blobs: map[engine.Digest][]byte{}}
}

var errNotFound = &engine.Failure{Reason: engine.ReasonImageNotFound, Public: "no such image"}

func (r *registry) enter() func() {
	now := r.inFlight.Add(1)
	for most := r.mostInFlight.Load(); now > most && !r.mostInFlight.CompareAndSwap(most, now); {
		most = r.mostInFlight.Load()
	}
	runtime.Gosched()
	return func() { r.inFlight.Add(-1) }
}

func (r *registry) Manifest(_ context.Context, ref engine.Reference) (resolver.Manifest, error) {
	defer r.enter()()
	r.manifestTrips.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.panics {
		panic("below")
	}
	raw, ok := r.manifests[ref.Digest]
	if ref.Digest == "" {
		raw, ok = r.tags[ref.Tag]
	}
	if !ok || ref.Name() != image.Name() {
		return resolver.Manifest{}, errNotFound
	}
	if len(raw) > resolver.MaxManifest {
		r.bytes.Add(resolver.MaxManifest)
		return resolver.Manifest{}, &engine.Failure{Reason: engine.ReasonRegistryMalformed, Public: "too large"}
	}
	r.bytes.Add(int64(len(raw)))
	return resolver.Manifest{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: ref.Digest, Raw: raw}, nil
}

func (r *registry) Blob(_ context.Context, ref engine.Reference, d engine.Digest, limit int64) ([]byte, error) {
	defer r.enter()()
	r.blobTrips.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.panics {
		panic("below")
	}
	b, ok := r.blobs[d]
	if !ok || ref.Name() != image.Name() || ref.Tag != "" || ref.Digest != "" {
		return nil, errNotFound
	}
	r.bytes.Add(min(limit, int64(len(b))))
	if int64(len(b)) > limit {
		return nil, &engine.Failure{Reason: engine.ReasonRegistryMalformed, Public: "too large"}
	}
	return b, nil
}

func (r *registry) Referrers(_ context.Context, ref engine.Reference) (resolver.Referrers, error) {
	if ref.Digest != image.Digest || ref.Tag != "" || ref.Name() != image.Name() {
		return resolver.Referrers{}, errNotFound
	}
	return r.list, r.listErr
}

// layerOf is a descriptor as tests write it.
func layerOf(mediaType string, payload []byte) map[string]any {
	return map[string]any{
		"mediaType": mediaType, "digest": digestOf(payload), "size": len(payload),
		"annotations": map[string]any{signatureKey: "c2ln"},
	}
}

func manifestOf(layers ...map[string]any) []byte {
	b, err := json.Marshal(map[string]any{"schemaVersion": 2, "subject": map[string]any{"digest": image.Digest}, "layers": layers})
	if err != nil {
		panic(err)
	}
	return b
}

func (r *registry) blob(b []byte) []byte {
	r.blobs[digestOf(b)] = b
	return b
}

// refer lists a manifest as a referrer.
func (r *registry) refer(artifactType string, raw []byte) engine.Digest {
	d := digestOf(raw)
	r.manifests[d] = raw
	r.list.Descriptors = append(r.list.Descriptors, resolver.Descriptor{ArtifactType: artifactType, Digest: d, Size: int64(len(raw))})
	r.list.Total++
	return d
}

func (r *registry) find(t *testing.T, place Place) *Found {
	t.Helper()
	found, err := Find(t.Context(), r, place, image)
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Items) > maxItems || found.Total < len(found.Items) {
		t.Fatalf("%d items of %d", len(found.Items), found.Total)
	}
	if most := r.mostInFlight.Load(); most > maxFetches {
		t.Errorf("%d fetches side by side", most)
	}
	return found
}

// has tells whether an item with this content was found.
func (f *Found) has(s string) bool {
	for _, i := range f.Items {
		if string(i.Content) == s {
			return true
		}
	}
	return false
}
