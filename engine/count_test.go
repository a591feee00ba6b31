package engine

import (
	"crypto"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// named makes an authority of that name, whose trust has it too.
func named(name string, options ...func(*Authority)) *Authority {
	a := &Authority{Name: name, Trust: &Trust{ID: name}}
	for _, o := range options {
		o(a)
	}
	return a
}

func attesting(attestations ...Attestation) func(*Authority) {
	return func(a *Authority) { a.Attestations = attestations }
}

func identities(all ...Identity) func(*Authority) { return func(a *Authority) { a.Identities = all } }

// keys gives an authority some.
func keys(n int) func(*Authority) {
	return func(a *Authority) { a.Trust.Keys = make([]crypto.PublicKey, n) }
}

func static(s Static) *Authority { return &Authority{Name: "static", Static: s} }

// judged decides one image by one policy, and compares the whole message where one is given.
func judged(t *testing.T, ports *facts, what, image string, outcome Outcome, reason Reason, message string, options ...func(*Policy)) *Verdict {
	t.Helper()
	e, err := New(Config{Resolver: ports, Verifier: ports, MaxVerdicts: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	e.Load(NewSnapshot([]*Policy{policyFor(t, "p", "reg.test/**", options...)}, NoMatchDeny))
	var res Result
	e.Decide(t.Context(), &Request{Namespace: "default", Images: []string{image}}, &res)
	if res.Outcome != outcome || res.Reason != reason {
		t.Errorf("%s: %s (%s), want %s (%s): %s", what, res.Outcome, res.Reason, outcome, reason, res.Message())
	}
	if got := strings.TrimPrefix(string(res.Message()), `image "`+image+`" `); message != "" && got != message {
		t.Errorf("%s: it\n\t%s\nwant it\n\t%s", what, got, message)
	}
	return res.Images()[0]
}

// TestThreshold is how many authorities a policy requires, and which of them speaks when there are too few.
func TestThreshold(t *testing.T) {
	t.Parallel()
	const image = "reg.test/app:1"
	ports := &facts{verifyErr: map[string]error{
		"down":     &Failure{Reason: ReasonRegistryUnavailable, Public: "registry reg.test did not answer"},
		"rootless": &Failure{Reason: ReasonTrustRootMissing, Public: "the trusted root has not been fetched yet"},
		"bomber":   &Failure{Reason: ReasonRegistryMalformed, Public: "there are too many signatures"},
		"forger":   &Failure{Reason: ReasonSignatureInvalid, Public: "none of 1 signatures verifies", Err: errors.New("x509: broken")},
	}}
	d := ports.push(image)
	looked := "looked for " + strings.Replace(string(d), ":", "-", 1)
	for _, id := range []string{"a", "b", "c"} {
		ports.sign(d, id, nil)
	}
	// f also says which authorities may have been asked: none after those that settle it.
	f := func(what string, threshold, asked int, outcome Outcome, reason Reason, message string, all ...*Authority) {
		t.Helper()
		before := len(ports.verified)
		judged(t, ports, what, image, outcome, reason, message, authorities(threshold, all...), onError(OnErrorAllow))
		if got := len(ports.verified) - before; got != asked {
			t.Errorf("%s: %d authorities were asked, want %d", what, got, asked)
		}
	}
	f("one of two, by default", 0, 1, Allow, ReasonPassed, "", named("a"), named("x"))
	f("one of two", 1, 1, Allow, ReasonPassed, "", named("a"), named("x"))
	f("two of two", 2, 2, Allow, ReasonPassed, "", named("a"), named("b"))
	f("two of four", 2, 3, Allow, ReasonPassed, "", named("a"), named("x"), named("b"), named("c"))
	f("two of three, one down", 2, 3, Allow, ReasonPassed, "", named("a"), named("down"), named("b"))
	f("static pass is one", 2, 1, Allow, ReasonPassed, "", named("a"), static(StaticPass))
	f("static pass is not two", 2, 1, Deny, ReasonSignatureMissing, "", named("x"), static(StaticPass))
	f("static pass alone", 1, 0, Allow, ReasonPassed, "", named("x"), static(StaticPass))

	f("one of two satisfied", 2, 2, Deny, ReasonSignatureMissing,
		`needs 2 of policy "p"'s authorities and has 1: it is not signed by "scanner" (`+looked+`.sig in reg.test/app); have it signed`,
		named("a"), named("scanner"))
	f("one of three satisfied", 2, 3, Deny, ReasonSignatureInvalid,
		`needs 2 of policy "p"'s authorities and has 1: it is signed, but not by "forger"; have it signed with that key`,
		named("x"), named("a"), named("forger"))
	f("lost at once", 2, 1, Deny, ReasonSignatureInvalid,
		`needs 2 of policy "p"'s authorities and has 0: it is signed, but not by "forger"; have it signed with that key`,
		named("forger"), named("a"))
	f("one down, and could make it", 2, 2, Allow, ReasonRegistryUnavailable,
		`needs 2 of policy "p"'s authorities and has 1: it could not be checked for "down": registry reg.test did not answer; try again; if it lasts, tell the cluster's operators`,
		named("a"), named("down"))
	f("one down, and could not", 3, 2, Deny, ReasonSignatureMissing, "", named("down"), named("x"), named("a"))
	f("two down, and could make it", 2, 3, Allow, ReasonRegistryUnavailable, "", named("down"), named("x"), named("rootless"))
	f("no root", 1, 1, Allow, ReasonTrustRootMissing, `could not be checked for policy "p": the trusted root has not been fetched yet; try again; if it lasts, tell the cluster's operators`, named("rootless"))
	f("what was pushed does not hide behind an outage", 1, 2, Deny, ReasonRegistryMalformed, "", named("down"), named("bomber"))
	f("nor does an outage hide it", 1, 2, Deny, ReasonRegistryMalformed, "", named("bomber"), named("down"))
	f("static fail and too few others", 2, 0, Deny, ReasonStaticFail, `needs 2 of policy "p"'s authorities and has 0: it is refused; use another image`, named("a"), static(StaticFail))
	f("more than there are", 3, 0, Deny, ReasonStaticFail, `can't satisfy policy "p", which requires 3 authorities and has fewer; tell the cluster's operators`, named("a"), named("b"))

	v := judged(t, ports, "details", image, Deny, ReasonSignatureInvalid, "", authorities(1, named("forger"), named("x")))
	if want := `authority "forger": signature_invalid: none of 1 signatures verifies: x509: broken; authority "x": signature_missing: `; !strings.HasPrefix(v.Detail(), want) {
		t.Errorf("the detail is %s, want %s…", v.Detail(), want)
	}
	if strings.Contains(v.Message(), "x509") {
		t.Errorf("internals in the message: %s", v.Message())
	}
}

// reasonOf is the reason for which the authority of that name is not satisfied.
func reasonOf(ports *facts, id string) Reason {
	if f := (*Failure)(nil); errors.As(ports.verifyErr[id], &f) {
		return f.Reason
	}
	return ReasonPredicateRefused
}

// TestRefusals is every reason for which an authority is not satisfied, in the words of one policy.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const image = "reg.test/app:1"
	ports := &facts{verifyErr: make(map[string]error)}
	d := ports.push(image)
	hex := strings.Replace(string(d), ":", "-", 1)
	prov := Attestation{"prov", provenance, built}
	ports.add(d, "eve's", Signature{Signer: eve})
	ports.add(d, "old", Signature{Signer: ours, Reference: "reg.test/other", Time: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)})
	ports.add(d, "bad", Signature{Signer: ours, Statement: stating(provenance, `{"Builder":"eve's"}`)})
	ports.add(d, "broken", Signature{Signer: ours, Statement: stating(provenance, `{`)})
	ports.add(d, "bom", Signature{Signer: ours, Statement: stating(sbom, `{}`)})
	for _, r := range Reasons() {
		ports.verifyErr[r.String()] = &Failure{Reason: r, Public: "because"}
	}
	f := func(reason Reason, message string, all ...*Authority) {
		t.Helper()
		judged(t, ports, reason.String(), image, Deny, reason, message, authorities(1, all...))
	}
	maxAge := func(a *Authority) { a.MaxAge = time.Hour }
	match := func(a *Authority) { a.RequireReferenceMatch = true }

	f(ReasonSignatureMissing, `is not signed, and policy "p" requires a signature by "x" or "y" (looked for `+hex+`.sig in reg.test/app); have it signed`, named("x"), named("y"))
	f(ReasonAttestationMissing, `carries no attestation "prov" (`+provenance+`) and "`+sbom+`", which policy "p" requires by "z", or else a signature by "x" or "y" (looked for `+hex+`.att in reg.test/app); have it attested`,
		named("x"), named("z", attesting(prov, Attestation{"", sbom, nil})), named("y"))
	f(ReasonAttestationMissing, `carries no attestation "prov" (`+provenance+`), which policy "p" requires by "x" or "y" (looked for `+hex+`.att in reg.test/app); have it attested`,
		named("x", attesting(prov)), named("y", attesting(prov)))
	f(ReasonAttestationMissing, `carries no attestation "prov" (`+provenance+`) by "bom", as policy "p" requires; have it attested`, named("bom", attesting(prov), identities(team)))
	f(ReasonIdentityMismatch, `is signed by "eve@evil.test" (issuer "https://token.test"), not by "eve's", as policy "p" requires; have it signed by an identity that the policy names`, named("eve's", identities(team)))
	f(ReasonSignatureExpired, `is signed by "old", but at 2020-01-02T03:04:05Z, not within the last 1h, as policy "p" requires; have it signed again`, named("old", identities(team), maxAge))
	f(ReasonClaimMismatch, `is signed by "old", but for "reg.test/other", not for its own repository, as policy "p" requires; have it signed again where it is`, named("old", identities(team), match))
	f(ReasonPredicateRefused, `carries attestation "prov" (`+provenance+`) by "bad", but its predicate does not fulfil the condition of policy "p"; use a build whose attestation fulfils it`,
		named("bad", attesting(prov), identities(team)))
	f(ReasonPredicateRefused, `carries attestation "prov" (`+provenance+`) by "broken", but its predicate can't be judged by the condition of policy "p": unexpected end of JSON input; use a build whose attestation fulfils it`,
		named("broken", attesting(prov), identities(team)))
	v := judged(t, ports, "details", image, Deny, ReasonPredicateRefused, "", authorities(1, named("bad", attesting(prov), identities(team))))
	if want := `authority "bad": predicate_refused: "predicate.builder == 'ours'" does not hold`; v.Detail() != want {
		t.Errorf("the detail is %s, want %s", v.Detail(), want)
	}
	v = judged(t, ports, "details", image, Deny, ReasonPredicateRefused, "", authorities(1, named("broken", attesting(prov), identities(team))))
	if want := `authority "broken": predicate_refused: unexpected end of JSON input, in "predicate.builder == 'ours'"`; v.Detail() != want {
		t.Errorf("the detail is %s, want %s", v.Detail(), want)
	}

	f(ReasonSignatureInvalid, `is signed, but not by "signature_invalid" or "x", as policy "p" requires; have it signed by one of them`, named("signature_invalid"), named("x"), named("y", attesting(prov)))
	f(ReasonSignatureInvalid, `is signed, but not by "signature_invalid", as policy "p" requires; have it signed with one of its keys`, named("signature_invalid", keys(2)), named("y", attesting(prov)))
	unvouched := func(trust Trust) func(*Authority) {
		return func(a *Authority) { trust.ID = "unvouched"; a.Trust = &trust }
	}
	ports.verifyErr["unvouched"] = &Failure{Reason: ReasonSignatureInvalid, Public: "because", Unvouched: true}
	f(ReasonSignatureInvalid, `is signed, but without the log entry that policy "p" requires of "y"; have it signed again with one`, named("signature_invalid"), named("y", unvouched(Trust{Logs: 1})))
	f(ReasonSignatureInvalid, `is signed, but without the timestamp or certificate log's SCT that policy "p" requires of "x"; have it signed again with one`, named("x", unvouched(Trust{Timestamps: 1, SCTs: 1})), named("signature_invalid"))
	f(ReasonSignatureInvalid, `carries attestations, but none with the log entry or timestamp that policy "p" requires of "x"; have it attested again with one`, named("x", unvouched(Trust{Logs: 1, Timestamps: 1}), attesting(prov)))
	f(ReasonSignatureInvalid, `is signed, but not by "signature_invalid", as policy "p" requires; have it signed by an identity that the policy names`, named("signature_invalid", identities(team)))
	f(ReasonSignatureInvalid, `carries attestations, but none by "signature_invalid", as policy "p" requires; have it attested with that key`, named("x"), named("signature_invalid", attesting(prov)))
	f(ReasonClaimMismatch, `carries a signature that is valid, but not for this image, and policy "p" requires a signature by "claim_mismatch"; have this image signed`, named("claim_mismatch"))
	f(ReasonClaimMismatch, `carries an attestation that is valid, but not for this image, and policy "p" requires attestation "prov" (`+provenance+`) by "claim_mismatch"; have this image attested`, named("claim_mismatch", attesting(prov)))
	f(ReasonSignatureExpired, `carries a signature, but nothing vouches that its certificate was valid when it was made, and policy "p" requires a signature by "signature_expired"; have it signed again, with a timestamp or an entry in a transparency log`, named("signature_expired"))
	f(ReasonSignatureExpired, "", named("signature_expired", attesting(prov)))
	f(ReasonImageNotFound, `does not exist in its registry, so policy "p" cannot accept it; check its name and tag`, named("image_not_found"))
	f(ReasonRegistryNotListed, `is from a registry that sluice is not configured to contact, so policy "p" cannot accept it; use an image from another registry, or ask the cluster's operators to list this one`, named("registry_not_listed"))
	apart := func(a *Authority) { a.Repository = Repository{"sigs.test", "signatures"} }
	f(ReasonRegistryNotListed, `could not be checked for policy "p": its signatures are looked for in sigs.test, which sluice is not configured to contact; ask the cluster's operators to list that registry`, named("registry_not_listed", apart))
	f(ReasonRegistryNotListed, `could not be checked for policy "p": its attestations are looked for in sigs.test, which sluice is not configured to contact; ask the cluster's operators to list that registry`, named("registry_not_listed", apart, attesting(prov)))
	nowhere := &facts{resolveErr: &Failure{Reason: ReasonRegistryNotListed, Public: "because"}}
	judged(t, nowhere, "the image's own registry", image, Deny, ReasonRegistryNotListed,
		`is from a registry that sluice is not configured to contact, so policy "p" cannot accept it; use an image from another registry, or ask the cluster's operators to list this one`, authorities(1, named("x", apart)))

	// Where several are required, it is said of which one this is.
	for name, message := range map[string]string{
		"attestation_missing": `it carries no attestation "prov" (` + provenance + `) by "attestation_missing" (because); have it attested`,
		"bad":                 `it carries attestation "prov" (` + provenance + `) by "bad", but its predicate does not fulfil the condition; use a build whose attestation fulfils it`,
		"claim_mismatch":      `it carries an attestation that is valid, but not for this image, and "claim_mismatch" requires one; have this image attested`,
		"unvouched":           `it carries attestations, but none with the log entry that policy "p" requires of "unvouched"; have it attested again with one`,
		"registry_not_listed": `it could not be checked for "registry_not_listed": its attestations are looked for in sigs.test, which sluice is not configured to contact; ask the cluster's operators to list that registry`,
	} {
		a := named(name, attesting(prov), identities(team), func(a *Authority) { a.Trust.Logs = 1 })
		if name == "registry_not_listed" {
			apart(a)
		}
		v := judged(t, ports, name, image, Deny, reasonOf(ports, name), `needs 2 of policy "p"'s authorities and has 0: `+message, authorities(2, a, named("other")))
		if want := `; authority "other": not asked`; !strings.HasSuffix(v.Detail(), want) {
			t.Errorf("the detail is %s, want …%s", v.Detail(), want)
		}
	}

	// A port may not invent denials, nor anything else.
	for _, r := range Reasons() {
		want := ReasonInternal
		switch r {
		case ReasonSignatureMissing, ReasonAttestationMissing, ReasonSignatureInvalid, ReasonClaimMismatch,
			ReasonSignatureExpired, ReasonImageNotFound, ReasonRegistryNotListed:
			want = r
		default:
			if r.Transient() {
				want = r
			}
		}
		f(want, "", named(r.String()))
	}

	// Each definite reason has its rank, or else the first authority would speak in place of one that is closer.
	for r := ReasonStaticFail; !r.Transient(); r++ {
		if closeness[r] == 0 {
			t.Errorf("%s has no closeness", r)
		}
	}
}

// TestOldSignatures shows that no verdict outlives the age up to which a policy believes the signature that it rests on.
func TestOldSignatures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ports := &facts{}
		d := ports.push("reg.test/app:1")
		prov, bom := stating(provenance, `{"Builder":"ours"}`), stating(sbom, `{}`)
		young := time.Now()
		for _, s := range []Signature{{Time: young.Add(-time.Hour)}, {Time: young}, {Time: young.Add(-time.Minute)}} {
			ports.add(d, "signed", s)
			s.Statement = prov
			ports.add(d, "attested", s)
		}
		ports.add(d, "attested", Signature{Time: young.Add(-time.Minute), Statement: bom})
		aged := func(a *Authority) { a.MaxAge = 150 * time.Second }
		e := newEngine(t, ports, NoMatchDeny,
			policyFor(t, "s", "reg.test/**", authorities(1, named("signed", aged))),
			policyFor(t, "t", "reg.test/**", authorities(1, named("signed", aged), static(StaticPass))))
		f := newEngine(t, ports, NoMatchDeny, policyFor(t, "a", "reg.test/**",
			authorities(1, named("attested", aged, attesting(Attestation{"", provenance, built}, Attestation{"", sbom, nil})))))
		check := func(e *Engine, want Outcome, reason Reason, verifies int) {
			t.Helper()
			if got, why, message := decide(t, e, "default", "reg.test/app:1"); got != want || why != reason {
				t.Fatalf("%s (%s), want %s (%s): %s", got, why, want, reason, message)
			}
			if _, got := ports.counts(); got != verifies {
				t.Fatalf("%d verifications, want %d", got, verifies)
			}
		}
		check(e, Allow, ReasonPassed, 1)
		check(f, Allow, ReasonPassed, 2)
		time.Sleep(66 * time.Second) // not due to be refreshed yet
		check(f, Allow, ReasonPassed, 2)
		time.Sleep(25 * time.Second) // the younger attestation of two types is too old
		check(f, Deny, ReasonSignatureExpired, 3)
		check(e, Allow, ReasonPassed, 3)
		time.Sleep(20 * time.Second)
		check(e, Allow, ReasonPassed, 3)
		time.Sleep(40 * time.Second) // the youngest signature is, too
		check(e, Deny, ReasonSignatureExpired, 4)
	})
}
