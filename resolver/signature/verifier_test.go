package signature

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"sluice/engine"
	"sluice/resolver"
	"sluice/resolver/signature/proof"
)

var _ engine.Verifier = (*Verifier)(nil)

func TestEveryKindOfKey(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"P-256", "P-384", "P-521", "RSA-2048", "Ed25519"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			k, stranger := newKey(t, kind), newKey(t, kind)
			p := claimFor(t, image.Digest, nil)
			r := newRegistry()
			for _, way := range []string{sign(t, k.usual, p), sign(t, k.old, p)} {
				r.put(manifestOf(t, layerOf(p, way)), p)
				e, failure := outcome(t, r, k)
				wantReason(t, failure, engine.ReasonPassed)
				want := []engine.Signature{{Reference: "registry.test/team/app", Signer: engine.Signer{Key: k.id}, Found: layerName(0)}}
				if diff := cmp.Diff(want, e.Signatures); diff != "" {
					t.Errorf("evidence: %s", diff)
				}
				_, failure = outcome(t, r, stranger)
				wantReason(t, failure, engine.ReasonSignatureInvalid)
			}
		})
	}
}

// layerName is what evidence calls a layer of the signature manifest.
func layerName(i int) string { return layerNameOf(image, i) }

func layerNameOf(image engine.Reference, i int) string {
	return fmt.Sprintf("sha256-%.12s….sig, layer %d", image.Digest.Hex(), i)
}

// RSA with 4096 bits takes seconds to make a key for. The private half of this one is gone.
func TestRSA4096(t *testing.T) {
	t.Parallel()
	pub, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(rsa4096Key))
	if err != nil {
		t.Fatal(err)
	}
	p := claimFor(t, image.Digest, nil)
	r := newRegistry()
	r.put(manifestOf(t, layerOf(p, rsa4096Signature)), p)
	_, failure := outcome(t, r, key{authority: authorityOf(t, "RSA-4096", pub)})
	wantReason(t, failure, engine.ReasonPassed)
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	k, other := newKey(t, "P-256"), newKey(t, "Ed25519")
	mine := claimFor(t, image.Digest, nil)
	annotated := claimFor(t, image.Digest, map[string]any{"env": "prod", "count": 3, "list": []int{1, 2}})
	elsewhere := claimFor(t, digestOf([]byte("another image")), nil)
	broken := &engine.Failure{Reason: engine.ReasonRegistryUnavailable, Public: "the registry answered 503"}
	by := func(k key, p []byte) descriptor { return layerOf(p, sign(t, k.usual, p)) }
	valid := by(k, mine)
	junk := by(other, mine)
	attestation := layerOf(annotated, "")
	attestation.MediaType = "application/vnd.dsse.envelope.v1+json"
	otherType := valid
	otherType.MediaType = "application/vnd.oci.image.layer.v1.tar+gzip"

	for _, c := range []struct {
		name   string
		layers []descriptor
		lost   []byte // a payload that answers broken
		absent []byte // a payload that answers 404
		want   engine.Reason
		public string
	}{
		{name: "valid", layers: []descriptor{valid}, want: engine.ReasonPassed},
		{name: "valid after others", layers: []descriptor{junk, by(k, elsewhere), valid}, want: engine.ReasonPassed},
		{name: "valid before others", layers: []descriptor{valid, by(k, elsewhere), junk}, want: engine.ReasonPassed},
		{name: "no layers", want: engine.ReasonSignatureMissing, public: "looked for sha256-"},
		{name: "layers of other types", layers: []descriptor{otherType}, want: engine.ReasonSignatureMissing},
		{name: "a lost attestation", layers: []descriptor{attestation}, lost: annotated, want: engine.ReasonSignatureMissing},
		{name: "another's", layers: []descriptor{junk}, want: engine.ReasonSignatureInvalid, public: "there is one signature, and it is not by this key"},
		{name: "two of another's", layers: []descriptor{junk, junk}, want: engine.ReasonSignatureInvalid, public: "there are 2 signatures, none of them by this key"},
		{name: "for another image", layers: []descriptor{by(k, elsewhere)}, want: engine.ReasonClaimMismatch},
		{name: "another's, for another image", layers: []descriptor{by(other, elsewhere)}, want: engine.ReasonSignatureInvalid},
		{name: "for another image, and junk", layers: []descriptor{by(k, elsewhere), junk}, want: engine.ReasonClaimMismatch},
		{name: "payload lost", layers: []descriptor{valid}, lost: mine, want: engine.ReasonRegistryUnavailable, public: broken.Public},
		{name: "one lost, one valid", layers: []descriptor{by(k, annotated), valid}, lost: annotated, want: engine.ReasonPassed},
		{name: "one valid, one lost", layers: []descriptor{valid, by(k, annotated)}, lost: annotated, want: engine.ReasonPassed},
		{name: "one lost, one another's", layers: []descriptor{junk, by(k, annotated)}, lost: annotated, want: engine.ReasonRegistryUnavailable},
		{name: "one lost, one for another image", layers: []descriptor{by(k, elsewhere), valid}, lost: mine, want: engine.ReasonRegistryUnavailable},
		{name: "payload not there", layers: []descriptor{valid}, absent: mine, want: engine.ReasonRegistryMalformed},
		{name: "payload swapped", layers: []descriptor{layerOf(mine, sign(t, k.usual, annotated))}, want: engine.ReasonSignatureInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry()
			r.put(manifestOf(t, c.layers...), mine, annotated, elsewhere)
			if c.lost != nil {
				r.blobErr[digestOf(c.lost)] = broken
			}
			if c.absent != nil {
				delete(r.blobs, digestOf(c.absent))
			}
			_, failure := outcome(t, r, k)
			wantReason(t, failure, c.want)
			if failure != nil && !strings.HasPrefix(failure.Public, c.public) {
				t.Errorf("public text %q, want %q", failure.Public, c.public)
			}
		})
	}
}

func TestAnnotationsOfEverySignature(t *testing.T) {
	t.Parallel()
	k := newKey(t, "P-256")
	plain := claimFor(t, image.Digest, nil)
	prod := claimFor(t, image.Digest, map[string]any{"env": "prod", "count": 3, "nested": map[string]any{"a": []any{nil, true}}})
	r := newRegistry()
	r.put(manifestOf(t,
		layerOf(plain, sign(t, k.usual, plain)),
		layerOf(prod, sign(t, k.usual, prod)),
		layerOf(prod, sign(t, k.usual, prod)), // signed again
	), plain, prod)
	v := newVerifier(t, r)
	signer := engine.Signer{Key: k.id}
	want := []engine.Signature{
		{Reference: "registry.test/team/app", Signer: signer, Found: layerName(0)},
		{
			Reference: "registry.test/team/app", Signer: signer, Found: layerName(1),
			Annotations: map[string]string{"env": "prod", "count": "3", "nested": `{"a":[null,true]}`},
		},
		{
			Reference: "registry.test/team/app", Signer: signer, Found: layerName(2),
			Annotations: map[string]string{"env": "prod", "count": "3", "nested": `{"a":[null,true]}`},
		},
	}
	for _, c := range []struct {
		asked  map[string]string
		want   []engine.Signature
		judged uint64 // since the beginning
	}{
		{nil, want[:1], 1},
		{map[string]string{"env": "prod"}, want, 4}, // the fact is there, and does not suffice: now all are judged
		{map[string]string{"count": "3"}, want, 4},  // the new fact suffices
		{map[string]string{"env": "test"}, want, 4}, // and tells what there is just now, if it doesn't
		{nil, want, 4},
	} {
		e, failure := verify(t, v, k.asking(c.asked))
		wantReason(t, failure, engine.ReasonPassed)
		if diff := cmp.Diff(c.want, e.Signatures); diff != "" {
			t.Errorf("evidence for %v: %s", c.asked, diff)
		}
		if got := v.Stats().Judged; got != c.judged {
			t.Errorf("%d signatures judged after %v was asked for, want %d", got, c.asked, c.judged)
		}
	}
	if got := r.blobTrips.Load(); got != 2 {
		t.Errorf("%d payloads fetched, want each once: 2", got)
	}
}

func TestFailuresOfTheRegistryPassThrough(t *testing.T) {
	t.Parallel()
	k := newKey(t, "Ed25519")
	for _, reason := range []engine.Reason{
		engine.ReasonRegistryDenied, engine.ReasonRegistryThrottled, engine.ReasonRegistryUnavailable,
		engine.ReasonRegistryMalformed, engine.ReasonTimeout, engine.ReasonRegistryNotListed, engine.ReasonOverloaded,
	} {
		r := newRegistry()
		want := &engine.Failure{Reason: reason, Public: "as it is", Err: errors.New("cause")}
		r.fail(want)
		if _, got := outcome(t, r, k); got != want {
			t.Errorf("got %v, want the Fetcher's own %v", got, want)
		}
	}
	r := newRegistry()
	r.fail(errors.New("untyped"))
	_, failure := outcome(t, r, k)
	wantReason(t, failure, engine.ReasonInternal)

	_, failure = outcome(t, newRegistry(), k)
	wantReason(t, failure, engine.ReasonSignatureMissing)
}

func TestWhatCannotBeVerifiedIsOurFault(t *testing.T) {
	t.Parallel()
	k := newKey(t, "Ed25519")
	v := newVerifier(t, newRegistry())
	noID, noTrust, noKey, oddKey := *k.authority, *k.authority, *k.authority, *k.authority
	noID.Trust, noTrust.Trust = &engine.Trust{Keys: k.authority.Trust.Keys}, nil
	noKey.Trust, oddKey.Trust = &engine.Trust{ID: "none"}, &engine.Trust{ID: "odd", Keys: []crypto.PublicKey{"a string"}}
	badDigest := image
	badDigest.Digest = "sha256:../../x"
	for _, c := range []struct {
		ref engine.Reference
		a   *engine.Authority
	}{{image, &noID}, {image, &noTrust}, {image, &noKey}, {image, &oddKey}, {badDigest, k.authority}, {engine.Reference{}, k.authority}} {
		_, err := v.Verify(t.Context(), c.ref, c.a, engine.KnownFacts)
		var f *engine.Failure
		if !errors.As(err, &f) || f.Reason != engine.ReasonInternal {
			t.Errorf("%v by %+v: got %v, want %s", c.ref, c.a, err, engine.ReasonInternal)
		}
	}
}

func TestSignatureOfAnotherRepositoryIsAnotherFact(t *testing.T) {
	t.Parallel()
	k := newKey(t, "Ed25519")
	p := claimFor(t, image.Digest, nil)
	r := newRegistry()
	r.put(manifestOf(t, layerOf(p, sign(t, k.usual, p))), p)
	v := newVerifier(t, r)
	_, failure := verify(t, v, k)
	wantReason(t, failure, engine.ReasonPassed)
	elsewhere := image
	elsewhere.Repository = "team/other"
	_, err := v.Verify(t.Context(), elsewhere, k.authority, engine.KnownFacts)
	if failure = asFailure(err); failure.Reason != engine.ReasonSignatureMissing {
		t.Errorf("got %v, want %s", failure, engine.ReasonSignatureMissing)
	}
}

// crypto/ed25519 panics on a key of a wrong length. A panic while a signature is judged must stay with it.
func TestPanicIsOneInvalidSignature(t *testing.T) {
	t.Parallel()
	k := newKey(t, "Ed25519")
	p := claimFor(t, image.Digest, nil)
	r := newRegistry()
	r.put(manifestOf(t, layerOf(p, sign(t, k.usual, p))), p)
	short := authorityOf(t, "short", ed25519.PublicKey("short"))
	v := newVerifier(t, r)
	_, err := v.Verify(t.Context(), image, short, engine.KnownFacts)
	failure := asFailure(err)
	wantReason(t, failure, engine.ReasonSignatureInvalid)
	if r := (*proof.Refusal)(nil); !errors.As(failure, &r) || !r.Panicked {
		t.Errorf("the failure does not report the panic: %v", failure)
	}
	if got := v.Stats().Panics; got != 1 {
		t.Errorf("%d panics counted, want 1", got)
	}
	_, failure = verify(t, v, k)
	wantReason(t, failure, engine.ReasonPassed)
}

type panicking struct{ *registry }

func (p panicking) Blob(ctx context.Context, ref engine.Reference, d engine.Digest, limit int64) ([]byte, error) {
	if bytes.Contains(p.blobs[d], []byte(`"boom"`)) {
		panic("boom")
	}
	return p.registry.Blob(ctx, ref, d, limit)
}

func TestPanicOfAFetcherIsAFailure(t *testing.T) {
	t.Parallel()
	k := newKey(t, "Ed25519")
	r := newRegistry()
	var layers []descriptor
	var payloads [][]byte
	for i := range 20 {
		p := claimFor(t, image.Digest, map[string]any{"boom": "boom", "i": i})
		payloads, layers = append(payloads, p), append(layers, layerOf(p, sign(t, k.usual, p)))
	}
	r.put(manifestOf(t, layers...), payloads...)
	_, failure := outcome(t, panicking{r}, k)
	wantReason(t, failure, engine.ReasonInternal)
	good := claimFor(t, image.Digest, nil)
	r.put(manifestOf(t, append(layers, layerOf(good, sign(t, k.usual, good)))...), good)
	_, failure = outcome(t, panicking{r}, k)
	wantReason(t, failure, engine.ReasonPassed)
}

type panickingLists struct{ *registry }

func (p panickingLists) Referrers(context.Context, engine.Reference) (resolver.Referrers, error) {
	panic("boom")
}

func TestPanicOfAListIsAFailure(t *testing.T) {
	t.Parallel()
	k := newKey(t, "Ed25519")
	r := newRegistry()
	_, failure := outcome(t, panickingLists{r}, k)
	wantReason(t, failure, engine.ReasonInternal)
	_, failure = outcome(t, panickingLists{signedRegistry(t, k)}, k)
	wantReason(t, failure, engine.ReasonPassed)
}

func TestLogSaysWhyAndStaysShort(t *testing.T) {
	t.Parallel()
	k, other := newKey(t, "P-256"), newKey(t, "P-256")
	p := claimFor(t, image.Digest, nil)
	var layers []descriptor
	for range 50 {
		layers = append(layers, layerOf(p, sign(t, other.usual, p)))
	}
	layers[1] = layerOf(p, "")
	r := newRegistry()
	r.put(manifestOf(t, layers...), p)
	_, failure := outcome(t, r, k)
	wantReason(t, failure, engine.ReasonSignatureInvalid)
	if text := failure.Error(); len(text) > 1000 || !strings.Contains(text, layerName(0)+": ") ||
		!strings.Contains(text, layerName(1)+": it has no annotation "+signatureKey) || !strings.Contains(text, "46 more") {
		t.Errorf("text for the log: %s", text)
	}
}

func TestStatsCountOutcomes(t *testing.T) {
	t.Parallel()
	k, other := newKey(t, "P-256"), newKey(t, "P-256")
	p := claimFor(t, image.Digest, nil)
	r := newRegistry()
	r.put(manifestOf(t, layerOf(p, sign(t, k.usual, p))), p)
	v := newVerifier(t, r)
	for range 3 {
		verify(t, v, k)
		verify(t, v, other)
	}
	want := map[engine.Reason]uint64{engine.ReasonPassed: 1, engine.ReasonSignatureInvalid: 3}
	if diff := cmp.Diff(want, v.Stats().Verifications); diff != "" {
		t.Error(diff)
	}
	if got := r.manifestTrips.Load(); got != 1 {
		t.Errorf("%d downloads for two authorities, want 1", got)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	if _, err := New(nil, Options{}); err == nil {
		t.Error("a Verifier without a Fetcher")
	}
	for _, o := range []Options{{FactTTL: -1}, {MaxFacts: -1}, {MaxDownloads: -1}} {
		if _, err := New(newRegistry(), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestPayloadsAreFetchedSideBySideInBounds(t *testing.T) {
	t.Parallel()
	k := newKey(t, "Ed25519")
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		var layers []descriptor
		var payloads [][]byte
		for i := range maxItems {
			p := claimFor(t, image.Digest, map[string]any{"i": fmt.Sprint(i)})
			payloads, layers = append(payloads, p), append(layers, layerOf(p, sign(t, k.usual, p)))
		}
		r.put(manifestOf(t, layers...), payloads...)
		v, err := New(slow{r}, small)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		e, failure := verify(t, v, k.asking(map[string]string{"i": fmt.Sprint(maxItems - 1)}))
		wantReason(t, failure, engine.ReasonPassed)
		if len(e.Signatures) != maxItems {
			t.Fatalf("%d signatures in evidence, want %d", len(e.Signatures), maxItems)
		}
		for i, s := range e.Signatures {
			if s.Annotations["i"] != fmt.Sprint(i) {
				t.Fatalf("at %d is signature %s: results are not in the manifest's order", i, s.Annotations["i"])
			}
		}
		if most := r.mostInFlight.Load(); most != maxFetches {
			t.Errorf("%d fetches side by side, want %d", most, maxFetches)
		}
	})
}

// slow takes a second for each blob.
type slow struct{ *registry }

func (s slow) Blob(ctx context.Context, ref engine.Reference, d engine.Digest, limit int64) ([]byte, error) {
	s.enter()
	defer s.leave()
	time.Sleep(time.Second)
	return s.registry.Blob(ctx, ref, d, limit)
}

func TestBase64IsStrictEnough(t *testing.T) {
	t.Parallel()
	k := newKey(t, "RSA-2048")
	p := claimFor(t, image.Digest, nil)
	s := sign(t, k.usual, p)
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"", " ", "====", "not base64!", base64.RawStdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw[:len(raw)-1]) + "_",
		s + s, s[:len(s)-4], strings.Repeat("A", maxSignatureText+4), strings.Repeat("A", 1<<20),
	} {
		r := newRegistry()
		r.put(manifestOf(t, layerOf(p, text)), p)
		_, failure := outcome(t, r, k)
		wantReason(t, failure, engine.ReasonSignatureInvalid)
	}
}
