package signature

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	sigstore "github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"sluice/engine"
	"sluice/resolver"
)

// What the package attached looks for and how much of it, and what the package proof reads: the tests here go through
// both.
const (
	payloadType      = "application/vnd.dev.cosign.simplesigning.v1+json"
	bundleType       = "application/vnd.dev.sigstore.bundle.v0.3+json"
	signatureKey     = "dev.cosignproject.cosign/signature"
	claimType        = "cosign container image signature"
	maxLayers        = 1000
	maxItems         = 64
	maxPayload       = 1 << 20
	maxContent       = 6 << 20
	maxSignatureText = 4 << 10
	maxFetches       = 8
)

// classicTag is the tag under which the signatures of a digest are.
func classicTag(d engine.Digest) string { return "sha256-" + d.Hex() + ".sig" }

// image is what the tests verify.
var image = engine.Reference{
	Registry: "registry.test", Repository: "team/app", Tag: "v1", Digest: digestOf([]byte("an image")),
}

func digestOf(b []byte) engine.Digest {
	sum := sha256.Sum256(b)
	return engine.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// key is a key pair, and both of the ways in which cosign may sign with it.
type key struct {
	usual, old sigstore.Signer
	id         string // as evidence names it
	authority  *engine.Authority
}

// authorityOf believes any of the keys.
func authorityOf(t testing.TB, name string, keys ...crypto.PublicKey) *engine.Authority {
	t.Helper()
	trust, err := engine.NewTrust(engine.Trust{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return &engine.Authority{Name: name, Trust: trust}
}

// asking returns k with an authority that asks for annotations besides.
func (k key) asking(annotations map[string]string) key {
	a := *k.authority
	a.Annotations = annotations
	k.authority = &a
	return k
}

func newKey(t testing.TB, kind string) key {
	t.Helper()
	var private crypto.Signer
	var err error
	switch kind {
	case "P-256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "P-384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "P-521":
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "RSA-2048":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "Ed25519":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("no such kind of key: %s", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	k := key{authority: authorityOf(t, kind, private.Public())}
	if k.usual, err = sigstore.LoadDefaultSigner(private, options.WithED25519ph()); err != nil {
		t.Fatal(err)
	}
	if k.old, err = sigstore.LoadSigner(private, crypto.SHA256); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	k.id = digestOf(der).Hex()
	return k
}

// claimFor is the payload that cosign writes, by the same code.
func claimFor(t testing.TB, d engine.Digest, annotations map[string]any) []byte {
	t.Helper()
	ref, err := name.NewDigest("registry.test/team/app@" + string(d))
	if err != nil {
		t.Fatal(err)
	}
	b, err := payload.Cosign{Image: ref, ClaimedIdentity: "registry.test/team/app", Annotations: annotations}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sign(t testing.TB, s sigstore.Signer, payload []byte) string {
	t.Helper()
	b, err := s.SignMessage(bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// descriptor is a layer as tests write it.
type descriptor struct {
	MediaType   string         `json:"mediaType"`
	Digest      string         `json:"digest"`
	Size        any            `json:"size"`
	Annotations map[string]any `json:"annotations,omitempty"`
}

func layerOf(payload []byte, signature string) descriptor {
	return descriptor{
		MediaType:   payloadType,
		Digest:      string(digestOf(payload)),
		Size:        len(payload),
		Annotations: map[string]any{signatureKey: signature},
	}
}

func manifestOf(t testing.TB, layers ...descriptor) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"subject": descriptor{ // counts in referrers alone
			MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: string(image.Digest), Size: 1,
		},
		"mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": descriptor{
			MediaType: "application/vnd.oci.image.config.v1+json", Digest: string(digestOf(nil)), Size: 0,
		},
		"layers": layers,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// registry is a Fetcher over maps.
type registry struct {
	mu        sync.Mutex
	manifests map[string][]byte     // by reference with tag or digest
	referrers []resolver.Descriptor // of the image
	blobs     map[engine.Digest][]byte
	blobErr   map[engine.Digest]error
	err       error
	listErr   error         // of the list of referrers alone
	hold      chan struct{} // if not nil, manifests and lists wait for it
	holdList  chan struct{} // the same, for lists alone

	manifestTrips, listTrips, blobTrips, inFlight, mostInFlight atomic.Int64
}

func newRegistry() *registry {
	return &registry{
		manifests: make(map[string][]byte),
		blobs:     make(map[engine.Digest][]byte),
		blobErr:   make(map[engine.Digest]error),
	}
}

// put stores a signature manifest for the image, and payloads.
func (r *registry) put(manifest []byte, payloads ...[]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manifests["registry.test/team/app:"+classicTag(image.Digest)] = manifest
	for _, p := range payloads {
		r.blobs[digestOf(p)] = p
	}
}

// refer adds a manifest that names the image as its subject.
func (r *registry) refer(manifest []byte, payloads ...[]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := digestOf(manifest)
	r.manifests["registry.test/team/app@"+string(d)] = manifest
	r.referrers = append(r.referrers, resolver.Descriptor{
		MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: d, Size: int64(len(manifest)),
	})
	for _, p := range payloads {
		r.blobs[digestOf(p)] = p
	}
}

func (r *registry) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

var errNotFound = &engine.Failure{Reason: engine.ReasonImageNotFound, Public: "no such image"}

// wait waits for hold, and returns the registry's failure if it has one.
func (r *registry) wait(ctx context.Context, hold chan struct{}) error {
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return &engine.Failure{Reason: engine.ReasonTimeout, Public: "too late", Err: ctx.Err()}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *registry) Manifest(ctx context.Context, ref engine.Reference) (resolver.Manifest, error) {
	r.manifestTrips.Add(1)
	if err := r.wait(ctx, r.hold); err != nil {
		return resolver.Manifest{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	raw, ok := r.manifests[ref.String()]
	if !ok {
		return resolver.Manifest{}, errNotFound
	}
	return resolver.Manifest{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: digestOf(raw), Raw: raw}, nil
}

func (r *registry) Referrers(ctx context.Context, ref engine.Reference) (resolver.Referrers, error) {
	r.listTrips.Add(1)
	if err := r.wait(ctx, cmp.Or(r.holdList, r.hold)); err != nil {
		return resolver.Referrers{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listErr != nil || ref.Name() != image.Name() || ref.Digest != image.Digest {
		return resolver.Referrers{}, r.listErr
	}
	return resolver.Referrers{Descriptors: r.referrers, Total: len(r.referrers)}, nil
}

func (r *registry) Blob(_ context.Context, ref engine.Reference, d engine.Digest, limit int64) ([]byte, error) {
	r.blobTrips.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if ref.Name() != image.Name() || ref.Tag != "" || ref.Digest != "" {
		return nil, errors.New("asked elsewhere: " + ref.String())
	}
	if err := r.blobErr[d]; err != nil {
		return nil, err
	}
	b, ok := r.blobs[d]
	if !ok {
		return nil, errNotFound
	}
	if int64(len(b)) > limit {
		return nil, &engine.Failure{Reason: engine.ReasonRegistryMalformed, Public: "too large"}
	}
	return b, nil
}

// enter and leave note how many are between them at most.
func (r *registry) enter() {
	now := r.inFlight.Add(1)
	for most := r.mostInFlight.Load(); now > most && !r.mostInFlight.CompareAndSwap(most, now); {
		most = r.mostInFlight.Load()
	}
}

func (r *registry) leave() { r.inFlight.Add(-1) }

// small spares the tests, which make hundreds of Verifiers, most of the memory.
var small = Options{MaxFacts: 100, MaxDownloads: 1 << 20}

func newVerifier(t testing.TB, f Fetcher) *Verifier {
	t.Helper()
	v, err := New(f, small)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// outcome verifies image once, by a Verifier of its own.
func outcome(t testing.TB, f Fetcher, k key) (engine.Evidence, *engine.Failure) {
	t.Helper()
	return verify(t, newVerifier(t, f), k)
}

func verify(t testing.TB, v *Verifier, k key) (engine.Evidence, *engine.Failure) {
	t.Helper()
	e, err := v.Verify(t.Context(), image, k.authority, engine.KnownFacts)
	if err == nil {
		if len(e.Signatures) == 0 || e.TTL <= 0 {
			t.Fatalf("evidence without substance: %+v", e)
		}
		return e, nil
	}
	f, ok := err.(*engine.Failure)
	if !ok {
		t.Fatalf("error %T is no *engine.Failure: %v", err, err)
	}
	if f.Public == "" || strings.Contains(f.Public, "\n") {
		t.Fatalf("not a clause for people: %q", f.Public)
	}
	return e, f
}

// wantReason fails the test unless f has this reason; ReasonPassed wants no failure.
func wantReason(t testing.TB, f *engine.Failure, want engine.Reason) {
	t.Helper()
	switch {
	case f == nil && want != engine.ReasonPassed:
		t.Fatalf("verified, want %s", want)
	case f != nil && f.Reason != want:
		t.Fatalf("got %v, want %s", f, want)
	}
}
