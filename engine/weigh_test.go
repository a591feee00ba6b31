package engine

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	provenance = "https://slsa.dev/provenance/v1"
	sbom       = "https://spdx.dev/Document"
)

var (
	ours     = Signer{Issuer: "https://token.test", Subject: "https://git.test/team/app/.ci@refs/heads/main"}
	eve      = Signer{Issuer: "https://token.test", Subject: "eve@evil.test"}
	abroad   = Signer{Issuer: "https://other.test", Subject: ours.Subject}
	someKey  = Signer{Key: strings.Repeat("0123456789abcdef", 4)}
	team     = Identity{Pattern{Exact: "https://token.test"}, Pattern{Regexp: regexp.MustCompile(`^https://git\.test/team/.+$`)}}
	weighNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

func stating(predicateType, predicate string) *Statement {
	return &Statement{predicateType, []byte(predicate)}
}

// TestWeigh is what an authority asks for beside its trust, and how a refusal reads.
func TestWeigh(t *testing.T) {
	t.Parallel()
	image, err := ParseReference("reg.test/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	f := func(what string, a Authority, have []Signature, reason Reason, text ...string) {
		t.Helper()
		a.Name = "ci"
		refusal := a.Weigh(image, have, weighNow)
		if refusal == nil {
			refusal = new(Refusal)
		} else if refusal.What == "" || refusal.Remedy == "" {
			t.Errorf("%s: the refusal is %+v", what, refusal)
		}
		if refusal.Reason != reason {
			t.Errorf("%s: %s %q, want %s", what, refusal.Reason, refusal.What, reason)
		}
		if len(text) > 0 && refusal.What != text[0] {
			t.Errorf("%s: it\n\t%s\nwant it\n\t%s", what, refusal.What, text[0])
		}
		if len(have) != 1 {
			return
		}
		alone := a.Refuses(image, have[0], weighNow)
		if (alone == nil) != (reason == 0) && len(a.Attestations) < 2 || alone != nil && reason != 0 && alone.Reason != reason {
			t.Errorf("%s: alone, the signature is refused with %+v", what, alone)
		}
	}
	const pass = ReasonUnknown
	by := func(signers ...Signer) (have []Signature) {
		for _, s := range signers {
			have = append(have, Signature{Signer: s})
		}
		return have
	}
	keyless := Authority{Identities: []Identity{team}}

	f("a key's", Authority{}, by(someKey), pass)
	f("nothing", Authority{}, nil, ReasonSignatureMissing, `carries no signature by "ci"`)
	f("an attestation where a signature is asked for", Authority{}, []Signature{{Signer: someKey, Statement: stating(sbom, `{}`)}}, ReasonSignatureMissing)
	f("a certificate's where nobody is named", Authority{}, by(eve), ReasonIdentityMismatch, `is signed by "eve@evil.test" (issuer "https://token.test"), not by "ci"`)
	f("a certificate's without an issuer, too", Authority{}, by(Signer{Subject: "eve"}), ReasonIdentityMismatch, `is signed by "eve", not by "ci"`)

	f("an identity", keyless, by(ours), pass)
	f("one of two identities", Authority{Identities: []Identity{{Subject: Pattern{Exact: "x"}}, team}}, by(ours), pass)
	f("another's beside it", keyless, by(eve, ours), pass)
	f("of another issuer", keyless, by(abroad), ReasonIdentityMismatch, `is signed by "https://git.test/team/app/.ci@refs/heads/main" (issuer "https://other.test"), not by "ci"`)
	f("halves of two identities", Authority{Identities: []Identity{{team.Issuer, Pattern{Exact: "x"}}, {Pattern{Exact: "y"}, team.Subject}}}, by(ours), ReasonIdentityMismatch)
	f("a key where identities are named", Authority{Identities: []Identity{{}}}, by(someKey), ReasonIdentityMismatch, `is signed by key 0123456789ab, not by "ci"`)
	f("a look-alike", keyless, by(Signer{Issuer: ours.Issuer, Subject: "https://gitXtest/team/app"}), ReasonIdentityMismatch)
	f("a second line", Authority{Identities: []Identity{{team.Issuer, Pattern{Regexp: regexp.MustCompile(`(?m)^ours$`)}}}}, by(Signer{Issuer: ours.Issuer, Subject: "ours\neve"}), ReasonIdentityMismatch)
	f("a certificate that names nobody", keyless, by(Signer{}), ReasonIdentityMismatch, `is signed by a certificate without a name, not by "ci"`)
	f("two others", keyless, by(eve, eve, abroad), ReasonIdentityMismatch,
		`is signed by "eve@evil.test" (issuer "https://token.test") and "https://git.test/team/app/.ci@refs/heads/main" (issuer "https://other.test"), not by "ci"`)
	var crowd []Signer
	for i := range 5 {
		crowd = append(crowd, Signer{Subject: fmt.Sprint("x", i)}, Signer{Subject: "x0"})
	}
	f("many others", keyless, by(crowd...), ReasonIdentityMismatch, `is signed by "x0", "x1", "x2" and 2 more, not by "ci"`)
	f("an endless name", keyless, by(Signer{Subject: strings.Repeat("x", 5000)}), ReasonIdentityMismatch, `is signed by "`+strings.Repeat("x", 200)+`"…, not by "ci"`)
	f("a name of other characters", keyless, by(Signer{Subject: "\x1b[2J\n\xff"}), ReasonIdentityMismatch, `is signed by "\x1b[2J\n\xff", not by "ci"`)

	annotated := Authority{Annotations: map[string]string{"env": "prod", "by": ""}}
	note := func(kv ...string) Signature {
		s := Signature{Signer: someKey, Annotations: map[string]string{}}
		for i := 0; i < len(kv); i += 2 {
			s.Annotations[kv[i]] = kv[i+1]
		}
		return s
	}
	f("annotations", annotated, []Signature{note("env", "prod", "by", "", "more", "x")}, pass)
	f("an annotation missing", annotated, []Signature{note("env", "prod")}, ReasonAnnotationsMismatch, `is signed by "ci", but not with the annotations by=, env=prod`)
	f("annotations on two signatures", annotated, []Signature{note("env", "prod"), note("by", "")}, ReasonAnnotationsMismatch)

	referenced := Authority{RequireReferenceMatch: true}
	claim := func(references ...string) (have []Signature) {
		for _, r := range references {
			have = append(have, Signature{Signer: someKey, Reference: r})
		}
		return have
	}
	f("its own reference", referenced, claim("reg.test/team/app"), pass)
	f("with another tag and digest", referenced, claim("reg.test/team/app:2@"+someDigest), pass)
	f("another beside it", referenced, claim("reg.test/team/x", "", "reg.test/team/app"), pass)
	f("no reference", referenced, claim(""), ReasonClaimMismatch, `is signed by "ci", but the signature does not say for which repository`)
	f("no such reference", referenced, claim("REG.test/ /"), ReasonClaimMismatch, `is signed by "ci", but the signature does not say for which repository`)
	f("another repository", referenced, claim("reg.test/team/app2"), ReasonClaimMismatch, `is signed by "ci", but for "reg.test/team/app2", not for its own repository`)
	f("another registry", referenced, claim("reg.test:5000/team/app"), ReasonClaimMismatch)
	f("the path alone", referenced, claim("team/app"), ReasonClaimMismatch, `is signed by "ci", but for "team/app", not for its own repository`)
	elsewhere := Authority{RequireReferenceMatch: true, Repository: Repository{"reg.test", "signatures"}}
	f("the place of signatures", elsewhere, claim("reg.test/signatures"), ReasonClaimMismatch)
	f("the image's, found elsewhere", elsewhere, claim("reg.test/team/app"), pass)

	aged := Authority{MaxAge: 720 * time.Hour}
	made := func(ages ...time.Duration) (have []Signature) {
		for _, age := range ages {
			have = append(have, Signature{Signer: someKey, Time: weighNow.Add(-age)})
		}
		return have
	}
	f("young enough", aged, made(720*time.Hour), pass)
	f("too old", aged, made(720*time.Hour+1), ReasonSignatureExpired)
	f("two too old", aged, made(900*time.Hour, 800*time.Hour, 1000*time.Hour), ReasonSignatureExpired, `is signed by "ci", but at 2026-10-20T04:00:00Z, not within the last 720h`)
	f("one too old", aged, made(900*time.Hour, 0), pass)
	f("without a time", aged, by(someKey), ReasonSignatureExpired, `is signed by "ci", but no log and no timestamp authority vouches for when, so that its age can't be told`)
	f("minutes", Authority{MaxAge: 90 * time.Minute}, made(2*time.Hour), ReasonSignatureExpired, `is signed by "ci", but at 2026-11-22T10:00:00Z, not within the last 90m`)
	f("seconds", Authority{MaxAge: 90 * time.Second}, made(2*time.Hour), ReasonSignatureExpired, `is signed by "ci", but at 2026-11-22T10:00:00Z, not within the last 1m30s`)

	attested := Authority{Identities: []Identity{team}, Attestations: []Attestation{{"prov", provenance, built}}}
	state := func(signer Signer, statements ...*Statement) (have []Signature) {
		for _, s := range statements {
			have = append(have, Signature{Signer: signer, Statement: s})
		}
		return have
	}
	good, bad, broken := stating(provenance, `{"Builder":"ours"}`), stating(provenance, `{"Builder":"eve's"}`), stating(provenance, `{`)
	f("attested", attested, state(ours, good), pass)
	f("any that holds", attested, state(ours, bad, broken, good), pass)
	f("a signature where an attestation is asked for", attested, by(ours), ReasonAttestationMissing, `carries no attestation "prov" (https://slsa.dev/provenance/v1) by "ci"`)
	f("another type", attested, state(ours, stating(sbom, `{"Builder":"ours"}`)), ReasonAttestationMissing)
	f("another's attestation", attested, state(eve, good), ReasonIdentityMismatch,
		`carries attestation "prov" (https://slsa.dev/provenance/v1) by "eve@evil.test" (issuer "https://token.test"), not by "ci"`)
	f("the expression does not hold", attested, state(ours, bad), ReasonPredicateRefused,
		`carries attestation "prov" (https://slsa.dev/provenance/v1) by "ci", but its predicate does not fulfil the condition`)
	f("the expression can't be evaluated", attested, state(ours, broken), ReasonPredicateRefused,
		`carries attestation "prov" (https://slsa.dev/provenance/v1) by "ci", but its predicate can't be judged by the condition: unexpected end of JSON input`)
	f("one holds, by another, and ours does not", attested, slices.Concat(state(eve, good), state(ours, bad)), ReasonPredicateRefused)
	f("an expression that holds and fails", Authority{Attestations: []Attestation{{"", provenance, condition(func(*Statement) (bool, error) {
		return true, fmt.Errorf("not evaluated: %w", fmt.Errorf("too\n\x1b%q %s", "much", strings.Repeat("costly ", 1000)))
	})}}}, state(someKey, good), ReasonPredicateRefused,
		`carries attestation "https://slsa.dev/provenance/v1" by "ci", but its predicate can't be judged by the condition: too \x1b"much" `+strings.Repeat("costly ", 41)+`c…`)
	f("being there suffices", Authority{Attestations: []Attestation{{"prov", provenance, nil}}}, state(someKey, broken), pass)
	f("annotations of attestations", Authority{Annotations: annotated.Annotations, Attestations: attested.Attestations}, state(someKey, good), ReasonAnnotationsMismatch,
		`carries attestation "prov" (https://slsa.dev/provenance/v1) by "ci", but not with the annotations by=, env=prod`)
	f("age of attestations", Authority{MaxAge: time.Hour, Attestations: attested.Attestations}, state(someKey, good), ReasonSignatureExpired)
	f("reference of attestations", Authority{RequireReferenceMatch: true, Attestations: attested.Attestations}, state(someKey, good), ReasonClaimMismatch)
	two := Authority{Attestations: []Attestation{{"prov", provenance, built}, {"bom", sbom, nil}}}
	f("both of two", two, state(someKey, stating(sbom, ``), good), pass)
	f("one of two", two, state(someKey, good), ReasonAttestationMissing, `carries no attestation "bom" (https://spdx.dev/Document) by "ci"`)
	f("the other of two", two, state(someKey, stating(sbom, ``)), ReasonAttestationMissing, `carries no attestation "prov" (https://slsa.dev/provenance/v1) by "ci"`)
	if two.Refuses(image, state(someKey, good)[0], weighNow) != nil || two.Refuses(image, state(someKey, stating(sbom, ``))[0], weighNow) != nil {
		t.Error("being one of the attestations asked for does not suffice")
	}
	if r := two.Refuses(image, state(someKey, bad)[0], weighNow); r == nil || r.Reason != ReasonPredicateRefused {
		t.Errorf("an attestation that does not fulfil its expression, and is not the other one either: %+v", r)
	}

	evaluated := 0
	costly := condition(func(*Statement) (bool, error) { evaluated++; return true, nil })
	attested = Authority{MaxAge: time.Hour, Attestations: []Attestation{{"", provenance, costly}}}
	f("several of one type", attested, []Signature{
		{Signer: someKey, Statement: good, Time: weighNow},
		{Signer: someKey, Statement: good, Time: weighNow.Add(-1)},
		{Signer: eve, Statement: good, Time: weighNow.Add(1)},
	}, pass)
	if evaluated != 1 {
		t.Errorf("%d evaluations, want that of the youngest alone", evaluated)
	}

	all := Authority{
		Identities: []Identity{team}, RequireReferenceMatch: true,
		Annotations: map[string]string{"env": "prod"}, MaxAge: time.Hour,
	}
	have := []Signature{ // each the closest of those before it
		{Statement: stating(sbom, `{}`)},
		{Signer: eve},
		{Signer: ours},
		{Signer: ours, Reference: "reg.test/team/app"},
		{Signer: ours, Reference: "reg.test/team/app", Annotations: map[string]string{"env": "prod"}},
		{Signer: ours, Reference: "reg.test/team/app", Annotations: map[string]string{"env": "prod"}, Time: weighNow},
	}
	for i, reason := range []Reason{
		ReasonSignatureMissing, ReasonSignatureMissing, ReasonIdentityMismatch, ReasonClaimMismatch,
		ReasonAnnotationsMismatch, ReasonSignatureExpired, pass,
	} {
		f(fmt.Sprintf("the closest of %d", i), all, have[:i], reason)
		reversed := slices.Clone(have[:i])
		slices.Reverse(reversed)
		f(fmt.Sprintf("the closest of %d, the first of them", i), all, reversed, reason)
	}
}

// TestWeighRandomly holds Weigh against what makes it pass, written down the other way round: without the signatures
// that satisfy an authority, it never passes; with one of them it does, whatever lies beside it in whichever order.
func TestWeighRandomly(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 1))
	pick := func(chance int) bool { return r.IntN(100) < chance }
	image := Reference{Registry: "reg.test", Repository: "team/app", Tag: "1"}
	holds := func(s *Statement) bool { return string(s.Predicate) == `{"Builder":"ours"}` }
	signers := []Signer{ours, eve, abroad, someKey}
	signature := func() Signature {
		s := Signature{Signer: signers[r.IntN(len(signers))], Time: weighNow.Add(-time.Duration(r.IntN(4)) * time.Hour)}
		s.Reference = []string{"reg.test/team/app", "reg.test/team/app:1", "reg.test/x", ""}[r.IntN(4)]
		if pick(10) {
			s.Time = time.Time{}
		}
		if pick(70) {
			s.Annotations = map[string]string{"env": []string{"prod", "dev"}[r.IntN(2)]}
		}
		if pick(60) {
			s.Statement = stating([]string{provenance, sbom}[r.IntN(2)], []string{`{"Builder":"ours"}`, `{}`, `{`}[r.IntN(3)])
		}
		return s
	}
	authority := func() *Authority {
		a := &Authority{Name: "ci"}
		if pick(60) {
			a.Identities = []Identity{team}
		}
		if pick(30) {
			a.Annotations = map[string]string{"env": "prod"}
		}
		a.RequireReferenceMatch = pick(30)
		if pick(40) {
			a.MaxAge = 2 * time.Hour
		}
		for _, t := range []string{provenance, sbom} {
			if pick(30) {
				a.Attestations = append(a.Attestations, Attestation{"", t, []Expression{built, nil}[r.IntN(2)]})
			}
		}
		return a
	}
	// satisfies is the other way round: want is nil for a signature.
	satisfies := func(a *Authority, want *Attestation, s Signature) bool {
		named := s.Signer == someKey
		if len(a.Identities) > 0 {
			named = s.Signer == ours
		}
		kind := s.Statement == nil
		if want != nil {
			kind = s.Statement != nil && s.Statement.PredicateType == want.PredicateType && (want.Expression == nil || holds(s.Statement))
		}
		return named && kind && (len(a.Annotations) == 0 || s.Annotations["env"] == "prod") &&
			(!a.RequireReferenceMatch || strings.HasPrefix(s.Reference, "reg.test/team/app")) &&
			(a.MaxAge == 0 || !s.Time.IsZero() && !s.Time.Before(weighNow.Add(-2*time.Hour)))
	}
	passes := 0
	for range 5_000 {
		a, have := authority(), make([]Signature, r.IntN(12))
		for i := range have {
			have[i] = signature()
		}
		wants := []*Attestation{nil}
		if len(a.Attestations) > 0 {
			wants = nil
			for i := range a.Attestations {
				wants = append(wants, &a.Attestations[i])
			}
		}
		should := true
		for _, want := range wants {
			good := func(s Signature) bool { return satisfies(a, want, s) }
			should = should && slices.ContainsFunc(have, good)
			rest := slices.DeleteFunc(slices.Clone(have), good)
			if refusal := a.Weigh(image, rest, weighNow); refusal == nil {
				t.Fatalf("%+v passes without what satisfies it: %+v", a, rest)
			} else if closeness[refusal.Reason] == 0 || refusal.What == "" || refusal.Remedy == "" {
				t.Fatalf("%+v: %+v", a, refusal)
			}
		}
		refusal := a.Weigh(image, have, weighNow)
		if (refusal == nil) != should {
			t.Fatalf("%+v with %+v: %+v, and passing should be %t", a, have, refusal, should)
		}
		r.Shuffle(len(have), func(i, j int) { have[i], have[j] = have[j], have[i] })
		if again := a.Weigh(image, have, weighNow); (again == nil) != should || again != nil && again.Reason != refusal.Reason {
			t.Fatalf("%+v: in another order %+v, not %+v", a, again, refusal)
		}
		if should {
			passes++
			if a.Weigh(image, append(have, signature()), weighNow) != nil {
				t.Fatalf("%+v is refused for one signature more", a)
			}
		}
	}
	if passes < 500 {
		t.Errorf("%d of 5,000 pass: too few to say anything", passes)
	}
}
