package signature

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/engine"
	"sluice/resolver/registrytest"
	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/signaturetest"
)

// instance is a sigstore of the tests' own. It is not changed.
var instance = sync.OnceValues(signaturetest.NewSigstore)

func sigstoreOf(t testing.TB) *signaturetest.Sigstore {
	t.Helper()
	s, err := instance()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signer is one who signs, and the authority that believes them.
type signer struct {
	*signaturetest.Signer
	evidence  signaturetest.Evidence
	authority *engine.Authority
}

func keySigner(t testing.TB) signer {
	t.Helper()
	s, err := signaturetest.NewKeySigner(signaturetest.P256)
	if err != nil {
		t.Fatal(err)
	}
	return signer{Signer: s, authority: authorityOf(t, "key", s.Public())}
}

const issuer = "https://token.example.com"

func keylessSigner(t testing.TB, subject string) signer {
	t.Helper()
	s, err := sigstoreOf(t).Keyless(signaturetest.Identity{Issuer: issuer, Subject: subject})
	if err != nil {
		t.Fatal(err)
	}
	root := &engine.TrustRoot{ID: "test", Name: "test", JSON: sigstoreOf(t).TrustedRoot()}
	trust, err := engine.NewTrust(engine.Trust{Roots: []*engine.TrustRoot{root}, Logs: 1, SCTs: 1})
	if err != nil {
		t.Fatal(err)
	}
	return signer{Signer: s, evidence: signaturetest.Evidence{Log: signaturetest.Rekor}, authority: &engine.Authority{
		Name: subject, Trust: trust,
		Identities: []engine.Identity{{Issuer: engine.Pattern{Exact: issuer}, Subject: engine.Pattern{Exact: subject}}},
	}}
}

// asking returns the authority, asking for attestations of these types.
func (s signer) asking(predicateTypes ...string) *engine.Authority {
	a := *s.authority
	for _, p := range predicateTypes {
		a.Attestations = append(a.Attestations, engine.Attestation{PredicateType: p})
	}
	return &a
}

// format is how a signature is written.
type format string

const (
	classic format = "classic"
	bundled format = "bundle"
)

// item signs, or attests if there is a predicate type.
func (s signer) item(t testing.TB, image engine.Reference, how format, predicateType string) *signaturetest.Item {
	t.Helper()
	c := signaturetest.Content{Digest: string(image.Digest), Reference: image.Name(), PredicateType: predicateType}
	var item *signaturetest.Item
	var err error
	if how == classic {
		item, err = sigstoreOf(t).Classic(s.Signer, c, s.evidence)
	} else {
		item, err = sigstoreOf(t).Bundle("0.3", s.Signer, c, s.evidence)
	}
	if err != nil {
		t.Fatal(err)
	}
	return item
}

// put signs h.image in one of the formats, or attests it, and puts that where it belongs.
func (h *house) put(t testing.TB, s signer, how format, predicateType string) {
	t.Helper()
	h.putAt(t, s, how, predicateType, "team/app")
}

func (h *house) putAt(t testing.TB, s signer, how format, predicateType, repository string) {
	t.Helper()
	where := signaturetest.Tag
	if how == bundled {
		where = signaturetest.Referrer
	}
	item := s.item(t, h.image, how, predicateType)
	if err := signaturetest.Push(h.registry, repository, string(h.image.Digest), where, item); err != nil {
		t.Fatal(err)
	}
}

func (h *house) verify(t testing.TB, a *engine.Authority) ([]engine.Signature, *engine.Failure) {
	t.Helper()
	e, err := h.verifier.Verify(t.Context(), h.image, a, engine.KnownFacts)
	if err != nil {
		return nil, asFailure(err)
	}
	return e.Signatures, nil
}

// A signature is found wherever it is, in registries with and without a referrers API.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for name, referrers := range map[string]bool{"referrers API": true, "fallback tag": false} {
		for kind, s := range map[string]signer{"key": keySigner(t), "keyless": keylessSigner(t, "ci@example.com")} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				h := newHouseWith(t, registrytest.Options{Referrers: referrers})
				stranger, none := keylessSigner(t, "stranger@example.com"), newVerifier(t, h.resolver)
				if kind == "key" {
					stranger = keySigner(t)
				}
				_, failure := h.verify(t, s.authority)
				wantReason(t, failure, engine.ReasonSignatureMissing)
				want := "looked for " + strings.TrimSuffix(layerNameOf(h.image, 0), ", layer 0") + " and referrers in " + h.image.Name()
				if failure.Public != want {
					t.Errorf("public text %q, want %q", failure.Public, want)
				}
				for _, formats := range [][]format{{classic}, {bundled}, {classic, bundled}} {
					h.image = h.push(t)
					for _, how := range formats {
						h.put(t, stranger, how, "")
					}
					found, failure := h.verify(t, s.authority)
					switch {
					case kind == "key":
						wantReason(t, failure, engine.ReasonSignatureInvalid)
						if want := "by this key (looked for sha256-"; !strings.Contains(failure.Public, want) {
							t.Errorf("public text %q, want …%s…", failure.Public, want)
						}
					case failure != nil || s.authority.Weigh(h.image, found, time.Now()).Reason != engine.ReasonIdentityMismatch:
						t.Errorf("%v by a stranger: %v, %v", formats, found, failure)
					}
					h.image = h.push(t)
					for _, how := range formats {
						h.put(t, s, how, "")
					}
					for _, v := range []*Verifier{h.verifier, none} { // with a hint and without
						e, err := v.Verify(t.Context(), h.image, s.authority, engine.KnownFacts)
						if err != nil || s.authority.Weigh(h.image, e.Signatures, time.Now()) != nil {
							t.Errorf("%v: %+v, %v", formats, e, err)
						}
					}
				}
			})
		}
	}
}

func TestExperimentalReferrers(t *testing.T) {
	t.Parallel()
	h, s := newHouseWith(t, registrytest.Options{Referrers: true}), keySigner(t)
	item := s.item(t, h.image, classic, "")
	if err := signaturetest.Push(h.registry, "team/app", string(h.image.Digest), signaturetest.ExperimentalOCI11, item); err != nil {
		t.Fatal(err)
	}
	found, failure := h.verify(t, s.authority)
	wantReason(t, failure, engine.ReasonPassed)
	if len(found) != 1 || !strings.HasPrefix(found[0].Found, "referrer ") {
		t.Errorf("found %+v", found)
	}
}

// Where the last signature of a repository was is where the next one is looked for first, and alone.
func TestHints(t *testing.T) {
	t.Parallel()
	h, s := newHouseWith(t, registrytest.Options{Referrers: true}), keySigner(t)
	requests := func(how ...format) registrytest.Counts {
		t.Helper()
		h.image = h.push(t)
		for _, f := range how {
			h.put(t, s, f, "")
		}
		h.registry.Reset()
		_, failure := h.verify(t, s.authority)
		wantReason(t, failure, engine.ReasonPassed)
		c := h.registry.Counts()
		c.Connections = 0
		return c
	}
	byReferrers := registrytest.Counts{Referrers: 1, ManifestByDigest: 1, Blob: 1}
	first := requests(bundled)
	if first.ManifestByTag > 1 { // side by side, so that it may be over before it has begun
		t.Errorf("without a hint: %+v", first)
	}
	if first.ManifestByTag = 0; first != byReferrers {
		t.Errorf("without a hint: %+v, want %+v and the tag", first, byReferrers)
	}
	if got := requests(bundled, classic); got != byReferrers {
		t.Errorf("with a hint at referrers: %+v, want %+v", got, byReferrers)
	}
	byTag := registrytest.Counts{Referrers: 1, ManifestByTag: 1, Blob: 1}
	if got := requests(classic); got != byTag {
		t.Errorf("with a hint that leads nowhere: %+v, want %+v", got, byTag)
	}
	byTag.Referrers = 0
	if got := requests(classic, bundled); got != byTag {
		t.Errorf("with a hint at the tag: %+v, want %+v", got, byTag)
	}
	if got := h.verifier.Stats().Places; got[attached.SignatureTag] < 2 || got[attached.Referrers] != 3 || got[attached.AttestationTag] != 0 {
		t.Errorf("looked at %v", got)
	}
}

func TestSignatureRepository(t *testing.T) {
	t.Parallel()
	h, s := newHouseWith(t, registrytest.Options{Referrers: true}), keySigner(t)
	elsewhere := *s.authority
	elsewhere.Repository = engine.Repository{Registry: h.registry.Host(), Path: "security/signatures"}
	elsewhere.RequireReferenceMatch = true
	h.put(t, s, classic, "")
	_, failure := h.verify(t, &elsewhere)
	wantReason(t, failure, engine.ReasonSignatureMissing)
	if want := " in " + h.registry.Host() + "/security/signatures"; !strings.HasSuffix(failure.Public, want) {
		t.Errorf("public text %q, want …%s", failure.Public, want)
	}
	for _, how := range []format{classic, bundled} {
		h.image = h.push(t)
		h.putAt(t, s, how, "", "security/signatures")
		found, failure := h.verify(t, &elsewhere)
		wantReason(t, failure, engine.ReasonPassed)
		refusal := elsewhere.Weigh(h.image, found, time.Now())
		if how == classic && refusal != nil {
			t.Errorf("the reference that was signed is the image's, and it is refused: %+v", refusal)
		}
		if hint, ok := h.verifier.hints.Get(elsewhere.Repository); !ok || hint != attached.SignatureTag { // the only one that sufficed
			t.Errorf("%s: hint %v, %v", how, hint, ok)
		}
		_, failure = h.verify(t, s.authority)
		wantReason(t, failure, engine.ReasonSignatureMissing)
	}
}

func TestSeveralKeys(t *testing.T) {
	t.Parallel()
	h, a, b := newHouseWith(t, registrytest.Options{}), keySigner(t), keySigner(t)
	either := authorityOf(t, "either", a.Public(), b.Public())
	ids := make(map[string]bool)
	for _, s := range []signer{a, b} {
		h.image = h.push(t)
		h.put(t, s, classic, "")
		found, failure := h.verify(t, either)
		wantReason(t, failure, engine.ReasonPassed)
		ids[found[0].Signer.Key] = true
	}
	if len(ids) != 2 {
		t.Errorf("signed by two keys, and evidence names %v", ids)
	}
	h.image = h.push(t)
	h.put(t, keySigner(t), classic, "")
	_, failure := h.verify(t, either)
	wantReason(t, failure, engine.ReasonSignatureInvalid)
	if want := "there is one signature, and it is not by any of these keys"; !strings.HasPrefix(failure.Public, want) {
		t.Errorf("public text %q, want %s…", failure.Public, want)
	}
	if got := h.verifier.Stats().Judges; got != 1 {
		t.Errorf("%d judges built for one trust, want 1", got)
	}
}

func TestTrustsShareDownloads(t *testing.T) {
	t.Parallel()
	h, a, b := newHouseWith(t, registrytest.Options{Referrers: true}), keySigner(t), keylessSigner(t, "ci@example.com")
	h.put(t, a, classic, "")
	h.put(t, b, bundled, "")
	h.registry.Reset()
	var wg sync.WaitGroup
	for _, s := range []signer{a, b, a, b} {
		wg.Go(func() {
			_, failure := h.verify(t, s.authority)
			if failure != nil {
				t.Error(failure)
			}
		})
	}
	wg.Wait()
	_, failure := h.verify(t, keySigner(t).authority)
	wantReason(t, failure, engine.ReasonSignatureInvalid)
	want := registrytest.Counts{ManifestByTag: 1, Referrers: 1, ManifestByDigest: 1, Blob: 2}
	got := h.registry.Counts()
	if got.Connections = 0; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestAttestationsOfAllPlaces(t *testing.T) {
	t.Parallel()
	const provenance, vulnerabilities, list = "https://slsa.dev/provenance/v1", "https://cosign.sigstore.dev/attestation/vuln/v1", "https://spdx.dev/Document"
	for kind, s := range map[string]signer{"key": keySigner(t), "keyless": keylessSigner(t, "ci@example.com")} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := newHouseWith(t, registrytest.Options{Referrers: true})
			both := s.asking(provenance, vulnerabilities)
			_, failure := h.verify(t, both)
			wantReason(t, failure, engine.ReasonAttestationMissing)
			want := "looked for " + strings.Replace(strings.TrimSuffix(layerNameOf(h.image, 0), ", layer 0"), ".sig", ".att", 1) +
				" and referrers in " + h.image.Name()
			if failure.Public != want {
				t.Errorf("public text %q, want %q", failure.Public, want)
			}
			h.put(t, s, classic, "")
			h.put(t, s, bundled, "")
			h.verifier.downloads.Invalidate()
			_, failure = h.verify(t, both)
			wantReason(t, failure, engine.ReasonAttestationMissing)
			if !strings.HasSuffix(failure.Public, ", where there are signatures only") {
				t.Errorf("public text %q", failure.Public)
			}
			h.put(t, s, bundled, list)
			h.put(t, s, bundled, vulnerabilities)
			h.put(t, s, classic, provenance)
			h.verifier.downloads.Invalidate()
			found, failure := h.verify(t, both)
			wantReason(t, failure, engine.ReasonPassed)
			types := make(map[string]int)
			for _, f := range found {
				types[f.Statement.PredicateType]++
			}
			if !maps.Equal(types, map[string]int{provenance: 1, vulnerabilities: 1, list: 1}) {
				t.Errorf("found %v", types)
			}
			if refusal := both.Weigh(h.image, found, time.Now()); refusal != nil {
				t.Error(refusal)
			}

			// What is known of attestations says nothing about signatures.
			found, failure = h.verify(t, s.authority)
			wantReason(t, failure, engine.ReasonPassed)
			if refusal := s.authority.Weigh(h.image, found, time.Now()); refusal != nil {
				t.Error(refusal)
			}

			// Another policy over the same trust takes no request.
			h.registry.Reset()
			_, failure = h.verify(t, s.asking(list))
			wantReason(t, failure, engine.ReasonPassed)
			if c := h.registry.Counts(); c.Requests() != 0 {
				t.Errorf("the facts are there, and yet: %+v", c)
			}

			h.image = h.push(t)
			h.put(t, s, bundled, provenance)
			_, failure = h.verify(t, s.authority)
			wantReason(t, failure, engine.ReasonSignatureMissing)
			if !strings.HasSuffix(failure.Public, ", where there are attestations only") {
				t.Errorf("public text %q", failure.Public)
			}
		})
	}
}

func TestJunkReferrers(t *testing.T) {
	t.Parallel()
	for name, referrers := range map[string]bool{"referrers API": true, "fallback tag": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, s := newHouseWith(t, registrytest.Options{Referrers: referrers}), keySigner(t)
			if err := h.registry.PutJunk("team/app", string(h.image.Digest), "application/x-junk", bundleType, 200); err != nil {
				t.Fatal(err)
			}
			_, failure := h.verify(t, s.authority)
			wantReason(t, failure, engine.ReasonRegistryMalformed)
			if !strings.HasPrefix(failure.Public, "too many signatures: ") {
				t.Errorf("public text %q", failure.Public)
			}
			h.put(t, s, bundled, "")
			h.verifier.downloads.Invalidate()
			_, failure = h.verify(t, s.authority)
			wantReason(t, failure, engine.ReasonPassed)
			if got := h.verifier.Stats().Judged; got > maxJudged {
				t.Errorf("%d judged", got)
			}
		})
	}
}

func TestSmallBundlesAreJudgedFirst(t *testing.T) {
	t.Parallel()
	item := func(form attached.Form, size int) *attached.Item {
		return &attached.Item{Form: form, Content: make([]byte, size)}
	}
	items := []*attached.Item{
		item(attached.Bundle, 300), item(attached.Bundle, 100), item(attached.SimpleSigning, 900), item(attached.Bundle, 200),
		item(attached.SimpleSigning, 1), item(attached.Bundle, 100),
	}
	before := slices.Clone(items)
	got := smallestFirst(items)
	if want := []*attached.Item{before[2], before[4], before[1], before[5], before[3], before[0]}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !slices.Equal(items, before) {
		t.Error("what is shared was changed")
	}
}
