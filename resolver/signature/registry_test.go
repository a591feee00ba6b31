package signature

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"sluice/engine"
	"sluice/resolver"
	"sluice/resolver/registrytest"
)

var _ Fetcher = (*resolver.Resolver)(nil)

// house is a Verifier over a real Resolver over a registry on loopback, with one signed image in it.
type house struct {
	registry *registrytest.Registry
	key      registrytest.Key
	trusted  *engine.Authority
	image    engine.Reference
	resolver *resolver.Resolver
	verifier *Verifier
}

func newHouse(t testing.TB, kind registrytest.Kind) *house {
	t.Helper()
	h := newHouseWith(t, registrytest.Options{})
	h.key, h.trusted = newSigner(t, kind)
	return h
}

func newHouseWith(t testing.TB, o registrytest.Options) *house {
	t.Helper()
	r, err := registrytest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	res, err := resolver.New(resolver.Config{Registries: []resolver.Registry{{
		Host: r.Host(), PlainHTTP: true, Retries: -1, Timeout: 10 * time.Second,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(res.Close)
	h := &house{registry: r, resolver: res, verifier: newVerifier(t, res)}
	h.image = h.push(t)
	return h
}

func newSigner(t testing.TB, kind registrytest.Kind) (registrytest.Key, *engine.Authority) {
	t.Helper()
	k, err := registrytest.GenerateKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(k.PublicPEM)
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k, authorityOf(t, "release", pub)
}

// push puts another image into the registry.
func (h *house) push(t testing.TB) engine.Reference {
	t.Helper()
	d, err := h.registry.PushImage("team/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	return engine.Reference{Registry: h.registry.Host(), Repository: "team/app", Digest: engine.Digest(d)}
}

func (h *house) sign(t testing.TB, image engine.Reference, k registrytest.Key, o registrytest.SignOptions) {
	t.Helper()
	if err := h.registry.Sign("team/app", string(image.Digest), k, o); err != nil {
		t.Fatal(err)
	}
}

// reason verifies h.image.
func (h *house) reason(ctx context.Context) engine.Reason {
	_, err := h.verifier.Verify(ctx, h.image, h.trusted, engine.KnownFacts)
	if err != nil {
		return asFailure(err).Reason
	}
	return engine.ReasonPassed
}

func TestThroughARegistry(t *testing.T) {
	t.Parallel()
	for _, kind := range []registrytest.Kind{registrytest.P256, registrytest.P384, registrytest.RSA, registrytest.Ed25519} {
		h := newHouse(t, kind)
		if got := h.reason(t.Context()); got != engine.ReasonSignatureMissing {
			t.Errorf("unsigned: %s", got)
		}
		stranger, _ := newSigner(t, kind)
		h.image = h.push(t)
		h.sign(t, h.image, stranger, registrytest.SignOptions{})
		if got := h.reason(t.Context()); got != engine.ReasonSignatureInvalid {
			t.Errorf("signed by another: %s", got)
		}
		other := h.image
		h.image = h.push(t)
		h.sign(t, h.image, h.key, registrytest.SignOptions{Digest: string(other.Digest)})
		if got := h.reason(t.Context()); got != engine.ReasonClaimMismatch {
			t.Errorf("signed for another image: %s", got)
		}
		h.image = h.push(t)
		h.sign(t, h.image, stranger, registrytest.SignOptions{})
		h.sign(t, h.image, h.key, registrytest.SignOptions{Annotations: map[string]any{"env": "prod"}})
		h.registry.Reset()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				e, err := h.verifier.Verify(t.Context(), h.image, h.trusted, engine.KnownFacts)
				if err != nil || len(e.Signatures) != 1 || e.Signatures[0].Annotations["env"] != "prod" {
					t.Errorf("signed: %+v, %v", e, err)
				}
			})
		}
		wg.Wait()
		// The signatures' manifest, the list of referrers under its tag side by side with it, and two payloads.
		if c := h.registry.Counts(); c.ManifestByTag > 2 || c.Blob != 2 || c.Requests() > 4 {
			t.Errorf("50 verifications of two signatures made these requests: %+v", c)
		}
	}
}

func TestFaultsOfARegistry(t *testing.T) {
	t.Parallel()
	const tag, blob = registrytest.ManifestByTag, registrytest.Blob
	for _, c := range []struct {
		name  string
		where registrytest.Class
		fault registrytest.Fault
		want  engine.Reason
	}{
		{"500", tag, registrytest.Status(500), engine.ReasonRegistryUnavailable},
		{"500", blob, registrytest.Status(500), engine.ReasonRegistryUnavailable},
		{"403", tag, registrytest.Status(403), engine.ReasonRegistryDenied},
		{"403", blob, registrytest.Status(403), engine.ReasonRegistryDenied},
		{"404", tag, registrytest.Status(404), engine.ReasonSignatureMissing},
		{"404", blob, registrytest.Status(404), engine.ReasonRegistryMalformed},
		{"throttled", tag, registrytest.Throttle(60), engine.ReasonRegistryThrottled},
		{"throttled", blob, registrytest.Throttle(60), engine.ReasonRegistryThrottled},
		{"dropped", tag, registrytest.Drop(), engine.ReasonRegistryUnavailable},
		{"dropped", blob, registrytest.Drop(), engine.ReasonRegistryUnavailable},
		{"truncated", blob, registrytest.Truncate(), engine.ReasonRegistryUnavailable},
		{"wrong bytes", blob, registrytest.WrongBody(), engine.ReasonRegistryMalformed},
		{"gzip bomb", tag, registrytest.GzipBomb(8 << 20), engine.ReasonRegistryMalformed},
		{"gzip bomb", blob, registrytest.GzipBomb(8 << 20), engine.ReasonRegistryMalformed},
		{"endless", tag, registrytest.Oversize(64<<20, false, nil), engine.ReasonRegistryMalformed},
		{"endless", blob, registrytest.Oversize(64<<20, false, nil), engine.ReasonRegistryMalformed},
		{"elsewhere", blob, registrytest.Redirect("http://other.example.com"), engine.ReasonRegistryMalformed},
		{"a page to log in", tag, registrytest.Hook(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>"))
			return true
		}), engine.ReasonRegistryMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, registrytest.Ed25519)
			h.sign(t, h.image, h.key, registrytest.SignOptions{})
			h.registry.SetFault(c.where, c.fault)
			if got := h.reason(t.Context()); got != c.want {
				t.Errorf("%s, class %d: got %s, want %s", c.name, c.where, got, c.want)
			}
			h.registry.SetFault(c.where, nil)
			h.verifier.downloads.Invalidate() // of a missing signature, for downloadTTL
			if got := h.reason(t.Context()); got != engine.ReasonPassed {
				t.Errorf("%s, class %d: the registry is well again, and the answer is still %s", c.name, c.where, got)
			}
		})
	}
}

func TestRegistryThatNeverAnswers(t *testing.T) {
	t.Parallel()
	for _, where := range []registrytest.Class{registrytest.ManifestByTag, registrytest.Blob} {
		h := newHouse(t, registrytest.Ed25519)
		h.sign(t, h.image, h.key, registrytest.SignOptions{})
		reached := make(chan struct{})
		ctx, leave := context.WithCancel(t.Context())
		h.registry.SetFault(where, registrytest.Hook(func(_ http.ResponseWriter, r *http.Request) bool {
			close(reached)
			<-r.Context().Done()
			return true
		}))
		go func() {
			<-reached
			leave()
		}()
		if got := h.reason(ctx); got != engine.ReasonTimeout {
			t.Errorf("class %d: got %s, want %s", where, got, engine.ReasonTimeout)
		}
	}
}

// What made cosign panic, and the rest of what can stand in a layer's annotations, through the whole way.
func TestCraftedAnnotationsThroughARegistry(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.P256)
	stranger, _ := newSigner(t, registrytest.P256)
	crafted := []map[string]string{
		{"dev.sigstore.cosign/bundle": `{"SignedEntryTimestamp":"AA==","Payload":{"integratedTime":1,"logIndex":1,"logID":"x"}}`},
		{"dev.sigstore.cosign/bundle": `{"Payload":{"body":42}}`},
		{"dev.sigstore.cosign/bundle": `{"Payload":{"body":"eyJraW5kIjoiaGFzaGVkcmVrb3JkIn0="}}`},
		{"dev.sigstore.cosign/certificate": " "},
		{"dev.sigstore.cosign/certificate": "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "dev.sigstore.cosign/chain": "junk"},
		{"dev.sigstore.cosign/rfc3161timestamp": "{}"},
	}
	for _, annotations := range crafted {
		h.sign(t, h.image, stranger, registrytest.SignOptions{LayerAnnotations: annotations})
	}
	if got := h.reason(t.Context()); got != engine.ReasonSignatureInvalid {
		t.Errorf("without a valid signature: %s", got)
	}
	h.image = h.push(t)
	for _, annotations := range crafted {
		h.sign(t, h.image, h.key, registrytest.SignOptions{LayerAnnotations: annotations})
	}
	if got := h.reason(t.Context()); got != engine.ReasonPassed {
		t.Errorf("with valid ones: %s", got)
	}
	if n := h.verifier.Stats().Panics; n != 0 {
		t.Errorf("%d panics", n)
	}
}

func TestThousandJunkSignaturesInARegistry(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.P256)
	junk := make([]registrytest.SignatureLayer, 1000)
	for i := range junk {
		junk[i] = registrytest.SignatureLayer{
			Payload:     []byte(strings.Repeat("x", 100+i)),
			Annotations: map[string]string{registrytest.SignatureAnnotation: strings.Repeat("A", 96)},
		}
	}
	if err := h.registry.AppendSignatures("team/app", string(h.image.Digest), junk...); err != nil {
		t.Fatal(err)
	}
	if got := h.reason(t.Context()); got != engine.ReasonRegistryMalformed {
		t.Errorf("a thousand of junk: %s", got)
	}
	if c := h.registry.Counts(); c.Blob != maxItems {
		t.Errorf("%d payloads fetched, want %d", c.Blob, maxItems)
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Ed25519)
	h.sign(t, h.image, h.key, registrytest.SignOptions{})
	recorder := tracetest.NewSpanRecorder()
	ctx, review := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test").Start(t.Context(), "review")
	for range 2 { // the second is a fact, and no work
		if got := h.reason(ctx); got != engine.ReasonPassed {
			t.Fatal(got)
		}
	}
	review.End()
	var verify, below int
	for _, s := range recorder.Ended() {
		switch {
		case s.Name() == "verify":
			verify++
			attributes := make(map[string]string)
			for _, a := range s.Attributes() {
				attributes[string(a.Key)] = a.Value.AsString()
			}
			if attributes["sluice.outcome"] != "passed" || attributes["sluice.authority"] != "release" ||
				attributes["sluice.image"] != h.image.String() || s.Parent().SpanID() != review.SpanContext().SpanID() {
				t.Errorf("span %v below %v", attributes, s.Parent())
			}
		case strings.HasPrefix(s.Name(), "registry "):
			below++
		}
	}
	if verify != 1 || below < 2 {
		t.Errorf("%d spans verify and %d of registry requests, want 1 and 2 at least", verify, below)
	}
}
