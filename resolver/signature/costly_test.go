package signature

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/engine"
	"sluice/resolver/registrytest"
	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/proof"
	"sluice/resolver/signature/signaturetest"
)

// TestCostlyAreBounded has trusted certificates with keys of a large curve count as several, and wait for the others.
func TestCostlyAreBounded(t *testing.T) {
	t.Parallel()
	s, h := keylessSigner(t, "ci@example.com"), newHouseWith(t, registrytest.Options{Referrers: true})
	item := func(kind signaturetest.Kind, subject string) *attached.Item {
		by, err := sigstoreOf(t).Keyless(signaturetest.Identity{Issuer: issuer, Subject: subject, Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		h.put(t, signer{Signer: by, evidence: s.evidence, authority: s.authority}, classic, "")
		found, err := attached.Find(t.Context(), h.resolver, attached.SignatureTag, h.image)
		if err != nil || len(found.Items) == 0 {
			t.Fatal(found, err)
		}
		return found.Items[len(found.Items)-1]
	}
	costly, good := item(signaturetest.P521, "stranger@example.com"), item(signaturetest.P256, "ci@example.com")
	goodP384 := item(signaturetest.P384, "ci@example.com")
	const seen = maxJudged / proof.MaxCost
	all := slices.Repeat([]*attached.Item{costly}, 63)
	for name, c := range map[string]struct {
		items  []*attached.Item
		judged uint64
		reason engine.Reason
	}{
		"all costly":             {all, seen, engine.ReasonRegistryMalformed},
		"as many as are seen":    {all[:seen], seen, engine.ReasonPassed}, // by whom is for the policy to weigh
		"a good one last":        {slices.Concat(all, []*attached.Item{good}), 1, engine.ReasonPassed},
		"a good one first":       {slices.Concat([]*attached.Item{good}, all), 1, engine.ReasonPassed},
		"a less costly one last": {slices.Concat(all, []*attached.Item{goodP384}), 1, engine.ReasonPassed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVerifier(t, h.resolver)
			q := v.question(h.image, s.authority)
			_, err := v.downloads.Do(t.Context(), placeKey{q.repository(), h.image.Digest, "", attached.SignatureTag},
				func(context.Context) (*attached.Found, time.Duration, error) {
					return &attached.Found{Items: c.items, Total: len(c.items)}, time.Hour, nil
				})
			if err != nil {
				t.Fatal(err)
			}
			h := house{registry: h.registry, image: h.image, verifier: v}
			_, failure := h.verify(t, s.authority)
			wantReason(t, failure, c.reason)
			if got := v.Stats().Judged; got != c.judged {
				t.Errorf("%d judged, want %d", got, c.judged)
			}
			if failure != nil && c.reason == engine.ReasonRegistryMalformed && !strings.Contains(failure.Public, "31 more are not looked at") {
				t.Errorf("public text %q", failure.Public)
			}
		})
	}
}
