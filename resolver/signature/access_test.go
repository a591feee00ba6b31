package signature

import (
	"testing"

	"sluice/engine"
	"sluice/resolver/registrytest"
)

// accessTo makes an Access with a login for one registry.
func accessTo(id, registry, password string) *engine.Access {
	return &engine.Access{ID: id, Logins: func(host, _ string) []engine.Login {
		if host != registry {
			return nil
		}
		return []engine.Login{engine.NewLogin("robot", password)}
	}}
}

// TestAccessReachesEveryPlace, and what is found with one is not told to another, whoever asks first.
func TestAccessReachesEveryPlace(t *testing.T) {
	t.Parallel()
	for _, auth := range []registrytest.Auth{registrytest.BasicAuth, registrytest.BearerAuth} {
		for _, referrers := range []bool{false, true} {
			h := newHouseWith(t, registrytest.Options{Auth: auth, Username: "robot", Password: "s3cret", Referrers: referrers})
			h.key, h.trusted = newSigner(t, registrytest.P256)
			h.sign(t, h.image, h.key, registrytest.SignOptions{})
			good := accessTo("good", h.registry.Host(), "s3cret")
			for range 2 {
				for _, c := range []struct {
					access *engine.Access
					want   engine.Reason
				}{
					{nil, engine.ReasonRegistryDenied},
					{accessTo("bad", h.registry.Host(), "wrong"), engine.ReasonRegistryDenied},
					{good, engine.ReasonPassed},
					{accessTo("bad", h.registry.Host(), "wrong"), engine.ReasonRegistryDenied},
					{accessTo("elsewhere", "other.test", "s3cret"), engine.ReasonRegistryDenied},
					{nil, engine.ReasonRegistryDenied},
				} {
					h.image.Access = c.access
					if got := h.reason(t.Context()); got != c.want {
						t.Errorf("%v: %v: %s", auth, c.access, got)
					}
				}
			}
			if n := h.verifier.Stats().Verifications[engine.ReasonPassed]; n != 1 {
				t.Errorf("%d verifications for one who has the login", n)
			}
		}
	}
}

// TestPlacesAreNotJoinedAcrossAccesses, also where what is asked is the same but for who asks.
func TestPlacesAreNotJoinedAcrossAccesses(t *testing.T) {
	t.Parallel()
	h := newHouseWith(t, registrytest.Options{Auth: registrytest.BasicAuth, Username: "robot", Password: "s3cret"})
	h.key, h.trusted = newSigner(t, registrytest.P256)
	h.sign(t, h.image, h.key, registrytest.SignOptions{})
	gate := make(chan struct{})
	h.registry.SetFaultEverywhere(registrytest.Until(gate))
	verify := func(a *engine.Access) <-chan engine.Reason {
		asked := *h
		asked.image.Access = a
		c := make(chan engine.Reason, 1)
		go func() { c <- asked.reason(t.Context()) }()
		return c
	}
	good, bad := verify(accessTo("good", h.registry.Host(), "s3cret")), verify(accessTo("bad", h.registry.Host(), "wrong"))
	nobody := verify(nil)
	for h.registry.Counts().Requests() < 6 && t.Context().Err() == nil { // two places each
		select {
		case r := <-good:
			t.Fatalf("answered before the registry: %s", r)
		default:
		}
	}
	close(gate)
	if r := <-good; r != engine.ReasonPassed {
		t.Error(r)
	}
	for _, c := range []<-chan engine.Reason{bad, nobody} {
		if r := <-c; r != engine.ReasonRegistryDenied {
			t.Error(r)
		}
	}
}

// TestAccessThatMakesNoDifference shares what everybody has.
func TestAccessThatMakesNoDifference(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.P256)
	h.sign(t, h.image, h.key, registrytest.SignOptions{})
	for i, a := range []*engine.Access{
		nil, accessTo("a", "other.test", "x"), accessTo("b", "other.test", "y"), {ID: "c"}, accessTo("d", h.registry.Host(), "x"),
	} {
		h.image.Access = a
		if got := h.reason(t.Context()); got != engine.ReasonPassed {
			t.Errorf("%d: %s", i, got)
		}
		if n, want := h.verifier.Stats().Verifications[engine.ReasonPassed], uint64(1+i/4); n != want {
			t.Errorf("%d: %d verifications, want %d", i, n, want)
		}
	}
}
