package signature

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sluice/engine"
	"sluice/resolver/registrytest"
)

// TestFresh: who signs after a fact was had is seen where it is asked for, although what is known suffices.
func TestFresh(t *testing.T) {
	t.Parallel()
	dev, boss := keylessSigner(t, "dev@example.com"), keylessSigner(t, "boss@example.com")
	first, second := dev.item(t, image, classic, ""), boss.item(t, image, bundled, "")
	either := *dev.authority
	either.Identities = append(slices.Clone(either.Identities), boss.authority.Identities...)
	either.Distinct = true
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.putItems(t, first)
		v, err := New(r, small)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		expect := func(known engine.Known, want int) {
			t.Helper()
			e, err := v.Verify(t.Context(), image, &either, known)
			if err != nil || len(e.Signatures) != want {
				t.Errorf("known %d: %d signatures, %v; want %d", known, len(e.Signatures), err, want)
			}
		}
		expect(engine.KnownFacts, 1)
		r.referItem(t, second)
		time.Sleep(downloadTTL + time.Millisecond)
		expect(engine.KnownFacts, 1)
		expect(engine.KnownNow, 2)
		expect(engine.KnownFacts, 2)
	})
}

// TestDistinct: an authority for which it counts who signed is told of all who did, wherever that is, and whatever was
// found for others before.
func TestDistinct(t *testing.T) {
	t.Parallel()
	dev, boss := keylessSigner(t, "dev@example.com"), keylessSigner(t, "boss@example.com")
	either := *dev.authority
	either.Identities = append(slices.Clone(either.Identities), boss.authority.Identities...)
	distinct := either
	distinct.Distinct = true

	subjects := func(found []engine.Signature) (all []string) {
		for _, s := range found {
			all = append(all, s.Signer.Subject)
		}
		slices.Sort(all)
		return all
	}
	for _, warm := range []bool{false, true} {
		h := newHouseWith(t, registrytest.Options{Referrers: true})
		h.put(t, dev, classic, "")
		h.put(t, boss, bundled, "")
		if warm { // by one to whom the first suffices
			if _, failure := h.verify(t, &either); failure != nil {
				t.Fatal(failure)
			}
		}
		found, failure := h.verify(t, &distinct)
		if failure != nil || !slices.Equal(subjects(found), []string{"boss@example.com", "dev@example.com"}) {
			t.Errorf("warm %v: %v, %v", warm, subjects(found), failure)
		}
	}

	// What can't be looked at may be what counts.
	h := newHouseWith(t, registrytest.Options{Referrers: true})
	h.put(t, dev, classic, "")
	h.registry.SetFault(registrytest.Referrers, registrytest.Status(503))
	if _, failure := h.verify(t, &distinct); failure == nil || !failure.Reason.Transient() {
		t.Errorf("with a place that fails: %v", failure)
	}
	if _, failure := h.verify(t, &either); failure != nil {
		t.Errorf("where one suffices: %v", failure)
	}
}
