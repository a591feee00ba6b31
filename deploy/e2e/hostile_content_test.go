package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	payloadType     = types.MediaType("application/vnd.dev.cosign.simplesigning.v1+json")
	signatureKey    = "dev.cosignproject.cosign/signature"
	bundleKey       = "dev.sigstore.cosign/bundle"
	certificateKey  = "dev.sigstore.cosign/certificate"
	junkSignature   = "MEUCIQDxmEoJmjSTgHUZdMMZtbWLNZnZQzJVnmwjvhe1hmUYNQIgfQTLJkLrKlcnhXQZsYmGYRXHEVv8mnEmsMRqcKjY8vM="
	residentLimit   = 256 << 20
	manifestLayers  = 1000 // as many as cosign itself reads
	signatureLayers = 64   // as many as are looked at
)

// layer is one signature of a signature manifest, genuine or not.
type layer struct {
	mediaType   types.MediaType
	payload     []byte
	annotations map[string]string
}

// with returns the layer with further annotations.
func (l layer) with(annotations map[string]string) layer {
	l.annotations = maps.Clone(l.annotations)
	maps.Copy(l.annotations, annotations)
	return l
}

// attach puts a signature manifest of these layers beside an image, as whoever may push to the repository can.
func attach(t testing.TB, i image, layers ...layer) {
	t.Helper()
	addenda := make([]mutate.Addendum, len(layers))
	for n, l := range layers {
		mediaType := l.mediaType
		if mediaType == "" {
			mediaType = payloadType
		}
		addenda[n] = mutate.Addendum{Layer: static.NewLayer(l.payload, mediaType), Annotations: l.annotations, MediaType: mediaType}
	}
	manifest, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), addenda...)
	must(t, err)
	write(t, i.signatures(), manifest)
}

// genuine reads back the signature that cosign made for the signed fixture.
func genuine(t testing.TB) layer {
	t.Helper()
	content := read(t, signed(t).signatures())
	manifest, err := content.Manifest()
	must(t, err)
	layers, err := content.Layers()
	must(t, err)
	reader, err := layers[0].Compressed()
	must(t, err)
	defer reader.Close()
	payload, err := io.ReadAll(reader)
	must(t, err)
	return layer{payload: payload, annotations: manifest.Layers[0].Annotations}
}

// copied is the signed fixture, without signatures, in a repository of its own.
func copied(t testing.TB, repository string) image {
	t.Helper()
	from := signed(t)
	i := image{shared.registry.host + "/" + repository, from.digest}
	copyImage(t, from.tag("1"), i.tag("1"))
	return i
}

// bomb is a MiB of gzip that inflates to a GiB.
var bomb = sync.OnceValue(func() []byte {
	var one bytes.Buffer
	w := gzip.NewWriter(&one)
	_, _ = w.Write(make([]byte, 1<<20))
	_ = w.Close()
	return bytes.Repeat(one.Bytes(), (1<<20)/one.Len()) // members may follow each other
})

// Signature manifests that anyone who may push can write, without any key. What is no signature is no reason to fail,
// to grow, or to overlook the one that is.
func TestHostileSignatureManifests(t *testing.T) {
	t.Parallel()
	s := newService(t, usual(t))
	apiserver := s.failClosed(t)
	real := genuine(t)
	junk := layer{payload: real.payload, annotations: map[string]string{signatureKey: junkSignature}}
	many := func(n int, last ...layer) []layer {
		layers := make([]layer, 0, n)
		for n := range n - len(last) {
			l := junk.with(map[string]string{"n": fmt.Sprint(n)})
			l.payload = fmt.Appendf(nil, `{"critical":{},"optional":{"n":%d}}`, n%8)
			layers = append(layers, l)
		}
		return append(layers, last...)
	}
	t.Cleanup(func() {
		s.lives(t)
		if peak := s.process.residentPeak(t); peak > residentLimit {
			t.Errorf("%d MiB were resident, and %d MiB are the limit", peak>>20, residentLimit>>20)
		} else {
			t.Logf("%d MiB resident at most", peak>>20)
		}
	})
	f := func(name, want string, layers ...layer) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := copied(t, repositoryOf(t))
			attach(t, i, layers...)
			got := apiserver.create(t, pod(i.tag("1")))
			if want == "" {
				got.allowed(t)
				return
			}
			got.denied(t, want, i.tag("1"))
		})
	}
	crafted := map[string]map[string]string{
		"bundle-without-body":            {bundleKey: `{"SignedEntryTimestamp":"MEUCIQ==","Payload":{"integratedTime":1,"logIndex":1,"logID":"c0d2"}}`},
		"bundle-whose-body-is-a-number":  {bundleKey: `{"SignedEntryTimestamp":"MEUCIQ==","Payload":{"body":7,"integratedTime":1,"logIndex":1,"logID":"c0d2"}}`},
		"bundle-whose-body-is-an-object": {bundleKey: `{"SignedEntryTimestamp":"MEUCIQ==","Payload":{"body":{"a":[]},"integratedTime":1,"logIndex":1,"logID":"c0d2"}}`},
		"bundle-entry-without-api-version": {bundleKey: `{"SignedEntryTimestamp":"MEUCIQ==","Payload":{"body":"` +
			base64.StdEncoding.EncodeToString([]byte(`{"kind":"hashedrekord","spec":{}}`)) + `","integratedTime":1,"logIndex":1,"logID":"c0d2"}}`},
		"bundle-null":              {bundleKey: "null"},
		"certificate-of-one-blank": {certificateKey: " "},
		"chain-of-one-blank":       {certificateKey: " ", "dev.sigstore.cosign/chain": " "},
		"timestamp-of-junk":        {"dev.sigstore.cosign/rfc3161timestamp": `{"SignedRFC3161Timestamp":7}`},
		"annotation-of-a-megabyte": {"note": strings.Repeat("x", 1<<20)},
	}
	for name, annotations := range crafted {
		f(name+"/alone", "signature_invalid", junk.with(annotations))
		f(name+"/beside-a-signature", "", junk.with(annotations), real)
		f(name+"/on-a-signature", "", real.with(annotations))
	}
	f("signature/none", "signature_invalid", layer{payload: real.payload})
	f("signature/no-base64", "signature_invalid", junk.with(map[string]string{signatureKey: "%%%"}))
	f("signature/of-a-megabyte", "signature_invalid", junk.with(map[string]string{signatureKey: strings.Repeat("A", 1<<20)}))
	f("signature/over-another-payload", "signature_invalid", layer{payload: junkPayload, annotations: real.annotations})
	f("layers/none", "signature_missing")
	f("layers/1000-of-junk", "registry_malformed", many(manifestLayers)...)
	f("layers/1000-and-one-signature-last", "", many(manifestLayers, real)...)
	f("layers/64-and-one-signature", "", append([]layer{real}, many(signatureLayers-1)...)...)
	f("layers/1001", "registry_malformed", many(manifestLayers+1, real)...)
	f("bomb/payload", "signature_invalid", layer{payload: bomb(), annotations: junk.annotations})
	f("bomb/payload-said-to-be-gzip", "signature_missing",
		layer{mediaType: payloadType + "+gzip", payload: bomb(), annotations: junk.annotations})
	f("bomb/payload-of-two-megabytes", "registry_malformed", layer{payload: bytes.Repeat([]byte("{"), 2<<20), annotations: junk.annotations})

	t.Run("index-in-place-of-signatures", func(t *testing.T) {
		t.Parallel()
		i := copied(t, repositoryOf(t))
		writeIndex(t, i.signatures(), mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: read(t, i.tag("1"))}))
		apiserver.create(t, pod(i.tag("1"))).denied(t, "signature_missing", i.tag("1"))
	})
}

var junkPayload = []byte(`{"critical":null}`)

// Payloads that the release key has really signed, as a signing pipeline that can be talked into signing anything
// would: the signature is good, and none is a claim about the image.
func TestHostilePayloads(t *testing.T) {
	t.Parallel()
	s := newService(t, usual(t))
	apiserver := s.failClosed(t)
	digest := signed(t).digest.String()
	const frame = `{"critical":{"identity":{"docker-reference":"x"},"image":{"docker-manifest-digest":%s},"type":"cosign container image signature"},"optional":%s}`
	good := fmt.Sprintf(frame, `"`+digest+`"`, "null")
	other := fmt.Sprintf(frame, `"sha256:`+strings.Repeat("0", 64)+`"`, "null")
	t.Cleanup(func() { s.lives(t) })
	f := func(name, payload string, allowed bool) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file, signature := filepath.Join(dir, "payload"), filepath.Join(dir, "signature")
			must(t, os.WriteFile(file, []byte(payload), 0o644))
			cosign(t, "sign-blob", "--key", releaseKey(t).private, "--tlog-upload=false", "--yes", "--output-signature", signature, file)
			text, err := os.ReadFile(signature)
			must(t, err)
			i := copied(t, repositoryOf(t))
			attach(t, i, layer{payload: []byte(payload), annotations: map[string]string{signatureKey: strings.TrimSpace(string(text))}})
			got := apiserver.create(t, pod(i.tag("1")))
			if allowed {
				got.allowed(t)
				return
			}
			got.denied(t, "claim_mismatch", i.tag("1"))
		})
	}
	f("good", good, true)
	f("for-another-image", other, false)
	f("no-json", "garbage", false)
	f("empty-object", "{}", false)
	f("critical-null", `{"critical":null,"optional":null}`, false)
	f("digest-a-number", fmt.Sprintf(frame, "7", "null"), false)
	f("another-type", strings.Replace(good, "cosign container image signature", "atomic container signature", 1), false)
	f("two-digests", strings.Replace(good, `"docker-manifest-digest"`, `"docker-manifest-digest":"sha256:0","docker-manifest-digest"`, 1), false)
	f("deep", fmt.Sprintf(frame, `"`+digest+`"`, `{"a":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`}`), false)
	f("1000-annotations", fmt.Sprintf(frame, `"`+digest+`"`, "{"+strings.Join(numbered(1000), ",")+"}"), true)
	f("30000-annotations", fmt.Sprintf(frame, `"`+digest+`"`, "{"+strings.Join(numbered(30_000), ",")+"}"), false)
}

func numbered(n int) []string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"annotation-%d":"value"`, i)
	}
	return members
}
