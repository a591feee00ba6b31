package resolver

import (
	"testing"
	"time"

	"sluice/engine"
	"sluice/resolver/registrytest"
)

// TestRenewTag: a fact that will not do lately is asked for anew, and stays if that fails for now; but what is known to
// be over is over for everybody.
func TestRenewTag(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{})
	first, second := push(t, reg, "app:1"), push(t, reg, "app:2")
	r := newTest(t, nil, Config{Registries: []Registry{{Host: reg.Host(), PlainHTTP: true, Retries: -1}}, TagTTL: time.Hour})
	f := func(known engine.Known, want engine.Digest, reason engine.Reason) {
		t.Helper()
		got, err := r.Resolve(wait(t), ref(t, "%s/app:1", reg.Host()), known)
		if got.Digest != want || reasonOf(err) != reason || err == nil && (got.TTL <= 0 || got.TTL > r.tagTTL) {
			t.Errorf("%+v, %v, want %s (%s)", got, err, want, reason)
		}
	}
	f(engine.KnownFacts, first, engine.ReasonUnknown)
	if err := reg.Retag("app", "1", string(second)); err != nil {
		t.Fatal(err)
	}
	f(engine.KnownLately, first, engine.ReasonUnknown) // almost all of its life is left
	r.tagTTL *= 3                                      // so that a third is
	reg.SetFault(registrytest.ManifestByTag, registrytest.Status(503))
	f(engine.KnownLately, first, engine.ReasonUnknown)
	f(engine.KnownNow, "", engine.ReasonRegistryUnavailable)
	f(engine.KnownFacts, first, engine.ReasonUnknown)
	reg.SetFault(registrytest.ManifestByTag, nil)
	f(engine.KnownLately, second, engine.ReasonUnknown)
	f(engine.KnownFacts, second, engine.ReasonUnknown)
	if err := reg.Delete("app", "1"); err != nil {
		t.Fatal(err)
	}
	f(engine.KnownFacts, second, engine.ReasonUnknown)
	r.tagTTL *= 3
	f(engine.KnownLately, "", engine.ReasonImageNotFound)
	f(engine.KnownFacts, "", engine.ReasonImageNotFound)
}
