package signature

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/proof"
	"sluice/resolver/signature/signaturetest"
)

// layerFrom is what signaturetest makes, as a layer.
func layerFrom(item *signaturetest.Item) descriptor {
	d := descriptor{MediaType: item.MediaType, Digest: string(digestOf(item.Content)), Size: len(item.Content)}
	for name, value := range item.Annotations {
		if d.Annotations == nil {
			d.Annotations = make(map[string]any)
		}
		d.Annotations[name] = value
	}
	return d
}

// putItems makes items the signatures of the image.
func (r *registry) putItems(t testing.TB, items ...*signaturetest.Item) {
	t.Helper()
	var layers []descriptor
	var contents [][]byte
	for _, i := range items {
		layers, contents = append(layers, layerFrom(i)), append(contents, i.Content)
	}
	r.put(manifestOf(t, layers...), contents...)
}

// referItem attaches an item to the image by a manifest of its own.
func (r *registry) referItem(t testing.TB, item *signaturetest.Item) {
	t.Helper()
	r.refer(manifestOf(t, layerFrom(item)), item.Content)
}

// reason verifies the image.
func (v *Verifier) reason(t testing.TB, a *engine.Authority) engine.Reason {
	t.Helper()
	e, err := v.Verify(t.Context(), image, a, engine.KnownFacts)
	if err != nil {
		return asFailure(err).Reason
	}
	if refusal := a.Weigh(image, e.Signatures, time.Now()); refusal != nil {
		return refusal.Reason
	}
	return engine.ReasonPassed
}

// Authorities with the same trust share facts, whatever identities they ask for.
func TestFactsAreSharedBetweenIdentities(t *testing.T) {
	t.Parallel()
	build, scan := keylessSigner(t, "build@example.com"), keylessSigner(t, "scan@example.com")
	nobody := keylessSigner(t, "nobody@example.com").authority
	either := *build.authority
	either.Identities = append(slices.Clone(either.Identities), scan.authority.Identities...)
	r := newRegistry()
	r.putItems(t, build.item(t, image, classic, ""), scan.item(t, image, classic, ""))
	v := newVerifier(t, r)
	for _, c := range []struct {
		asked  *engine.Authority
		want   engine.Reason
		judged uint64 // since the beginning
	}{
		{build.authority, engine.ReasonPassed, 1}, // and then there was no need to look at the other
		{build.authority, engine.ReasonPassed, 1},
		{&either, engine.ReasonPassed, 1},
		{scan.authority, engine.ReasonPassed, 3},
		{scan.authority, engine.ReasonPassed, 3},
		{&either, engine.ReasonPassed, 3},
		{build.authority, engine.ReasonPassed, 3},
		{nobody, engine.ReasonIdentityMismatch, 3},
	} {
		if got := v.reason(t, c.asked); got != c.want {
			t.Errorf("%s: %s, want %s", c.asked.Name, got, c.want)
		}
		if got := v.Stats().Judged; got != c.judged {
			t.Errorf("%d judged after %s asked, want %d", got, c.asked.Name, c.judged)
		}
	}
	if got := v.Stats().Judges; got != 1 {
		t.Errorf("%d judges for one trust, want 1", got)
	}
}

// A fact that suffices for one does not hide from another what was signed after it.
func TestFactsDoNotHideWhatCameLater(t *testing.T) {
	t.Parallel()
	build, scan := keylessSigner(t, "build@example.com"), keylessSigner(t, "scan@example.com")
	built, scanned := build.item(t, image, classic, ""), scan.item(t, image, bundled, "")
	synctest.Test(t, func(t *testing.T) {
		// Certificates are valid by the wall clock of the log's entry, whatever the bubble's.
		r := newRegistry()
		r.putItems(t, built)
		v, err := New(r, small)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		expect := func(a *engine.Authority, want engine.Reason) {
			t.Helper()
			if got := v.reason(t, a); got != want {
				t.Errorf("%s: %s, want %s", a.Name, got, want)
			}
		}
		expect(build.authority, engine.ReasonPassed)
		for range 2 * maxRounds { // tried again and again, before it is signed
			expect(scan.authority, engine.ReasonIdentityMismatch)
			time.Sleep(15 * time.Second)
		}
		expect(scan.authority, engine.ReasonIdentityMismatch)
		r.referItem(t, scanned)
		time.Sleep(downloadTTL + time.Millisecond)
		expect(scan.authority, engine.ReasonPassed)
		trips := r.manifestTrips.Load() + r.listTrips.Load()
		time.Sleep(DefaultFactTTL / 2)
		expect(build.authority, engine.ReasonPassed)
		expect(scan.authority, engine.ReasonPassed)
		if got := r.manifestTrips.Load() + r.listTrips.Load(); got != trips {
			t.Errorf("%d trips more for what was known", got-trips)
		}

		// A registry that does not answer makes no denial of a fact that does not suffice, and takes none away that does.
		r.fail(&engine.Failure{Reason: engine.ReasonRegistryUnavailable, Public: "the registry answered 503"})
		expect(scan.authority, engine.ReasonPassed)
		expect(keylessSigner(t, "third@example.com").authority, engine.ReasonRegistryUnavailable)
	})
}

// Two who join one search get what is true for each.
func TestJoinedSearchWithDifferentIdentities(t *testing.T) {
	t.Parallel()
	build, scan := keylessSigner(t, "build@example.com"), keylessSigner(t, "scan@example.com")
	built, scanned := build.item(t, image, classic, ""), scan.item(t, image, classic, "")
	nobody := keylessSigner(t, "nobody@example.com").authority
	for _, order := range [][]*engine.Authority{
		{build.authority, scan.authority, nobody},
		{nobody, scan.authority, build.authority},
		{scan.authority, nobody, build.authority},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRegistry()
			r.putItems(t, built, scanned)
			r.hold = make(chan struct{})
			v, err := New(r, small)
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			var wg sync.WaitGroup
			for _, a := range order {
				want := engine.ReasonPassed
				if a == nobody {
					want = engine.ReasonIdentityMismatch
				}
				wg.Go(func() {
					if got := v.reason(t, a); got != want {
						t.Errorf("%s: %s, want %s", a.Name, got, want)
					}
				})
				synctest.Wait()
			}
			close(r.hold)
			wg.Wait()
			if got := r.manifestTrips.Load(); got != 1 {
				t.Errorf("%d manifests fetched, want 1", got)
			}
		})
	}
}

// Places are looked at side by side, and what is still under way when one suffices is left.
func TestPlacesSideBySide(t *testing.T) {
	t.Parallel()
	k := newKey(t, "P-256")
	synctest.Test(t, func(t *testing.T) {
		r := signedRegistry(t, k)
		r.hold, r.holdList = make(chan struct{}), make(chan struct{})
		v, err := New(r, small)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, failure := verify(t, v, k)
			if failure != nil {
				t.Error(failure)
			}
		})
		synctest.Wait()
		if m, l := r.manifestTrips.Load(), r.listTrips.Load(); m != 1 || l != 1 {
			t.Errorf("%d manifests and %d lists are asked for at the same time, want one of each", m, l)
		}
		close(r.hold)
		wg.Wait() // and with it the wait for the list, or the bubble would never end
		v.facts.Invalidate()
		v.downloads.Invalidate()
		_, failure := verify(t, v, k)
		wantReason(t, failure, engine.ReasonPassed)
		if m, l := r.manifestTrips.Load(), r.listTrips.Load(); m != 2 || l != 1 {
			t.Errorf("%d manifests and %d lists asked for, want another manifest alone", m, l)
		}
	})
}

// A place that can't be looked at matters only as long as what is in the others does not suffice.
func TestOnePlaceFails(t *testing.T) {
	t.Parallel()
	k, other := newKey(t, "P-256"), newKey(t, "P-256")
	p, prod := claimFor(t, image.Digest, nil), claimFor(t, image.Digest, map[string]any{"env": "prod"})
	for _, reason := range []engine.Reason{engine.ReasonRegistryDenied, engine.ReasonRegistryUnavailable, engine.ReasonRegistryMalformed} {
		broken := &engine.Failure{Reason: reason, Public: "broken"}
		for name, c := range map[string]struct {
			tag  []byte // by whom the signature under the tag is
			key  key
			want engine.Reason
		}{
			"nothing":           {nil, k, reason},
			"another's":         {manifestOf(t, layerOf(p, sign(t, other.usual, p))), k, reason},
			"right":             {manifestOf(t, layerOf(p, sign(t, k.usual, p))), k, engine.ReasonPassed},
			"right key, no env": {manifestOf(t, layerOf(p, sign(t, k.usual, p))), k.asking(map[string]string{"env": "prod"}), reason},
			"right env":         {manifestOf(t, layerOf(prod, sign(t, k.usual, prod))), k.asking(map[string]string{"env": "prod"}), engine.ReasonPassed},
		} {
			r := newRegistry()
			r.listErr = broken
			r.put([]byte(`{}`), p, prod)
			if c.tag != nil {
				r.put(c.tag)
			}
			v := newVerifier(t, r)
			for range 2 {
				if got := v.reason(t, c.key.authority); got != c.want {
					t.Errorf("%s under the tag, list of referrers %s: %s, want %s", name, reason, got, c.want)
				}
			}
			if got := v.Stats().Facts.Stored; got > 0 != (c.want == engine.ReasonPassed) {
				t.Errorf("%s under the tag, list of referrers %s: %d facts stored", name, reason, got)
			}
		}
	}
}

// The same for attestations, which are looked for everywhere.
func TestOnePlaceOfAttestationsFails(t *testing.T) {
	t.Parallel()
	const provenance, scan = "https://slsa.dev/provenance/v1", "https://cosign.sigstore.dev/attestation/vuln/v1"
	s := keySigner(t)
	item := s.item(t, image, classic, provenance)
	broken := &engine.Failure{Reason: engine.ReasonRegistryUnavailable, Public: "broken"}
	r := newRegistry()
	r.listErr = broken
	r.manifests["registry.test/team/app:sha256-"+image.Digest.Hex()+".att"] = manifestOf(t, layerFrom(item))
	r.blobs[digestOf(item.Content)] = item.Content
	v := newVerifier(t, r)
	for range 2 {
		if got := v.reason(t, s.asking(provenance)); got != engine.ReasonPassed {
			t.Errorf("the one that is asked for is there: %s", got)
		}
		if got := v.reason(t, s.asking(provenance, scan)); got != engine.ReasonRegistryUnavailable {
			t.Errorf("one that is asked for may be where nobody could look: %s", got)
		}
	}
	r.listErr = nil
	if got := v.reason(t, s.asking(provenance, scan)); got != engine.ReasonAttestationMissing {
		t.Errorf("it is nowhere: %s", got)
	}
}

func TestRootThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	s := keylessSigner(t, "ci@example.com")
	r := newRegistry()
	r.putItems(t, s.item(t, image, classic, ""))
	root := &engine.TrustRoot{Name: "fetched"}
	trust, err := engine.NewTrust(engine.Trust{Roots: []*engine.TrustRoot{root}, Logs: 1})
	if err != nil {
		t.Fatal(err)
	}
	waiting := *s.authority
	waiting.Trust = trust
	v := newVerifier(t, r)
	for range 2 {
		_, err := v.Verify(t.Context(), image, &waiting, engine.KnownFacts)
		failure := asFailure(err)
		wantReason(t, failure, engine.ReasonTrustRootMissing)
		if !errors.Is(failure, proof.ErrNoRoot) {
			t.Errorf("the log reads %v", failure)
		}
	}
	if got := r.manifestTrips.Load() + r.listTrips.Load(); got != 0 {
		t.Errorf("%d requests for what can't be judged", got)
	}
	if got := v.Stats().Judges; got != 2 {
		t.Errorf("%d judges were tried to be built, want one each time", got)
	}
	if got := v.reason(t, s.authority); got != engine.ReasonPassed {
		t.Errorf("with a root: %s", got)
	}
}

func TestJudgesAreBounded(t *testing.T) {
	t.Parallel()
	var js judges
	for range maxJudges + 10 {
		if _, failure := js.of(authorityOf(t, "any", newKey(t, "Ed25519").authority.Trust.Keys[0]).Trust); failure != nil {
			t.Fatal(failure)
		}
	}
	if got := len(js.byTrust); got != maxJudges {
		t.Errorf("%d judges kept, want %d", got, maxJudges)
	}
}

// However much a place is said to have, one verification judges so many.
func TestJudgedAreBounded(t *testing.T) {
	t.Parallel()
	k, other := newKey(t, "Ed25519"), newKey(t, "Ed25519")
	p := claimFor(t, image.Digest, nil)
	r := newRegistry()
	r.put(manifestOf(t, layerOf(p, sign(t, other.usual, p))), p)
	one, err := attached.Find(t.Context(), r, attached.SignatureTag, image)
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, r)
	q := v.question(image, k.authority)
	_, err = v.downloads.Do(t.Context(), placeKey{q.repository(), image.Digest, "", attached.SignatureTag},
		func(context.Context) (*attached.Found, time.Duration, error) {
			many := slices.Repeat(one.Items, 1000)
			return &attached.Found{Items: many, Total: len(many)}, time.Hour, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	_, failure := verify(t, v, k)
	wantReason(t, failure, engine.ReasonRegistryMalformed)
	if want := fmt.Sprintf("too many signatures: there are %d signatures, none of them by this key, and %d more are not looked at",
		maxJudged, 1000-maxJudged); failure.Public != want {
		t.Errorf("public text %q, want %q", failure.Public, want)
	}
	if got := v.Stats().Judged; got != maxJudged {
		t.Errorf("%d judged, want %d", got, maxJudged)
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	k, other := newKey(t, "P-256"), newKey(t, "P-256")
	p, prod := claimFor(t, image.Digest, nil), claimFor(t, image.Digest, map[string]any{"env": "prod"})
	r := newRegistry()
	r.put(manifestOf(t, layerOf(p, sign(t, other.usual, p)), layerOf(p, ""), layerOf(prod, sign(t, k.usual, prod))), p, prod)
	var mu sync.Mutex
	var got []string
	options := small
	options.Observe = func(f Finding) {
		mu.Lock()
		defer mu.Unlock()
		if f.Authority == nil || f.Image != image || f.Ref.Name() != image.Name() || f.Ref.Digest != image.Digest || f.Took < 0 {
			t.Errorf("finding %+v", f)
		}
		line := f.Place.String()
		if f.Item != nil {
			line = f.Item.Found
		}
		var refusal *proof.Refusal
		var failure *engine.Failure
		switch {
		case errors.As(f.Err, &refusal):
			line += ": refused: " + refusal.Reason.String()
		case errors.As(f.Err, &failure):
			line += ": failed: " + failure.Reason.String()
		case f.Err != nil:
			line += ": unfit"
		default:
			line += ": env=" + f.Signature.Annotations["env"]
		}
		got = append(got, line)
	}
	v, err := New(r, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	wantReason(t, errOf(verify(t, v, k.asking(map[string]string{"env": "test"}))), engine.ReasonPassed)
	r.listErr = &engine.Failure{Reason: engine.ReasonRegistryDenied, Public: "denied"}
	v.downloads.Invalidate()
	verify(t, v, other.asking(map[string]string{"env": "test"}))
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(got)
	want := []string{
		"referrers: failed: registry_denied",
		"referrers: failed: signature_missing",
		layerName(0) + ": env=",
		layerName(0) + ": refused: signature_invalid",
		layerName(1) + ": unfit",
		layerName(1) + ": unfit",
		layerName(2) + ": env=prod",
		layerName(2) + ": refused: signature_invalid",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func errOf(_ engine.Evidence, failure *engine.Failure) *engine.Failure { return failure }

func TestTextsForMixtures(t *testing.T) {
	t.Parallel()
	k, other := newKey(t, "Ed25519"), newKey(t, "Ed25519")
	p, elsewhere := claimFor(t, image.Digest, nil), claimFor(t, digestOf([]byte("another image")), nil)
	mine, junk := layerOf(elsewhere, sign(t, k.usual, elsewhere)), layerOf(p, sign(t, other.usual, p))
	for _, c := range []struct {
		layers []descriptor
		want   string
	}{
		{[]descriptor{mine}, "there is one signature, and it is for another image (looked for "},
		{[]descriptor{mine, mine}, "there are 2 signatures, all of them for other images (looked for "},
		{[]descriptor{junk, mine, junk}, "there are 3 signatures: 1 for other images, 2 not by this key (looked for "},
	} {
		r := newRegistry()
		r.put(manifestOf(t, c.layers...), p, elsewhere)
		_, failure := outcome(t, r, k)
		wantReason(t, failure, engine.ReasonClaimMismatch)
		if !strings.HasPrefix(failure.Public, c.want) {
			t.Errorf("public text %q, want %s…", failure.Public, c.want)
		}
	}
}
