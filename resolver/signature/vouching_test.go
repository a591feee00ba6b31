package signature

import (
	"errors"
	"strings"
	"testing"

	"sluice/engine"
	"sluice/resolver/signature/proof"
	"sluice/resolver/signature/signaturetest"
)

// TestOneRootThatIsNotThereYet has what another root accepts be valid meanwhile, and what it refuses open.
func TestOneRootThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	s, other := keylessSigner(t, "ci@example.com"), sigstoreElsewhere(t)
	trusting := func(json []byte) *engine.Authority {
		roots := []*engine.TrustRoot{{Name: "fetched"}, {Name: "file", JSON: json}}
		trust, err := engine.NewTrust(engine.Trust{Roots: roots, Logs: 1, SCTs: 1})
		if err != nil {
			t.Fatal(err)
		}
		a := *s.authority
		a.Trust = trust
		return &a
	}
	r := newRegistry()
	v := newVerifier(t, r)
	if got := v.reason(t, trusting(s.authority.Trust.Roots[0].JSON)); got != engine.ReasonSignatureMissing {
		t.Errorf("not signed: %s", got)
	}
	v.downloads.Invalidate()
	r.putItems(t, s.item(t, image, classic, ""))
	if got := v.reason(t, trusting(s.authority.Trust.Roots[0].JSON)); got != engine.ReasonPassed {
		t.Errorf("signed by the root that is there: %s", got)
	}
	_, err := v.Verify(t.Context(), image, trusting(other), engine.KnownFacts)
	failure := asFailure(err)
	wantReason(t, failure, engine.ReasonTrustRootMissing)
	if !errors.Is(failure, proof.ErrNoRoot) {
		t.Errorf("the log reads %v", failure)
	}
}

// sigstoreElsewhere is the trusted root of another instance.
func sigstoreElsewhere(t *testing.T) []byte {
	t.Helper()
	s, err := signaturetest.NewSigstore()
	if err != nil {
		t.Fatal(err)
	}
	return s.TrustedRoot()
}

// TestUnvouched has signatures by the right key be told from those by another where a log entry is asked for.
func TestUnvouched(t *testing.T) {
	t.Parallel()
	mine, stranger, keyless := keySigner(t), keySigner(t), keylessSigner(t, "ci@example.com")
	root := keyless.authority.Trust.Roots
	trust, err := engine.NewTrust(engine.Trust{Keys: mine.authority.Trust.Keys, Roots: root, Logs: 1, Timestamps: 1})
	if err != nil {
		t.Fatal(err)
	}
	logged := *mine.authority
	logged.Trust = trust
	stamped := keyless
	stamped.evidence = signaturetest.Evidence{Timestamp: true}
	for _, c := range []struct {
		authority *engine.Authority
		signers   []signer
		public    string
		unvouched bool
	}{
		{&logged, []signer{mine}, "there is one signature, and it lacks an entry in a trusted log or a trusted timestamp (", true},
		{&logged, []signer{mine, mine}, "there are 2 signatures, all of them without an entry in a trusted log or a trusted timestamp (", true},
		{&logged, []signer{mine, stranger}, "there are 2 signatures: 1 without an entry in a trusted log or a trusted timestamp, 1 not by this key (", true},
		{&logged, []signer{stranger}, "there is one signature, and it is not by this key (", false},
		{keyless.authority, []signer{stamped}, "there is one signature, and it lacks an entry in a trusted log or a trusted SCT (", true},
	} {
		r := newRegistry()
		var items []*signaturetest.Item
		for _, s := range c.signers {
			items = append(items, s.item(t, image, classic, ""))
		}
		r.putItems(t, items...)
		_, err := newVerifier(t, r).Verify(t.Context(), image, c.authority, engine.KnownFacts)
		failure := asFailure(err)
		wantReason(t, failure, engine.ReasonSignatureInvalid)
		if failure.Unvouched != c.unvouched || !strings.HasPrefix(failure.Public, c.public) {
			t.Errorf("unvouched: %t, public text %q, want %q", failure.Unvouched, failure.Public, c.public)
		}
	}
}
