package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestDecide is what policies mean: which outcome, for which reason, in which words.
func TestDecide(t *testing.T) {
	t.Parallel()
	ports := &facts{verifyErr: map[string]error{
		"down":      &Failure{Reason: ReasonRegistryUnavailable, Public: "registry reg.test did not answer"},
		"forger":    &Failure{Reason: ReasonSignatureInvalid, Public: "none of 1 signatures verifies"},
		"otherdoor": &Failure{Reason: ReasonClaimMismatch, Public: "the signature is for another image"},
		"liar":      errors.New("something nobody expected"),
		"bomber":    &Failure{Reason: ReasonRegistryMalformed, Public: "there are too many signatures"},
	}}
	ports.sign(ports.push("reg.test/app:signed"), "release", map[string]string{"env": "prod"})
	ports.push("reg.test/app:unsigned")
	ports.push("reg.test/app:latest")

	f := func(what string, p []*Policy, noMatch NoMatch, image string, outcome Outcome, reason Reason, words ...string) {
		t.Helper()
		e := newEngine(t, ports, noMatch, p...)
		gotOutcome, gotReason, message := decide(t, e, "default", image)
		if gotOutcome != outcome || gotReason != reason {
			t.Errorf("%s: %s is %s (%s), want %s (%s): %s", what, image, gotOutcome, gotReason, outcome, reason, message)
		}
		for _, w := range words {
			if !strings.Contains(message, w) {
				t.Errorf("%s: the message lacks %q: %s", what, w, message)
			}
		}
		if outcome == Allow && len(words) == 0 && message != "" {
			t.Errorf("%s: allowed with a message: %s", what, message)
		}
	}
	one := func(options ...func(*Policy)) []*Policy {
		return []*Policy{policyFor(t, "p", "reg.test/**", options...)}
	}

	f("no policy", nil, NoMatchDeny, "nginx:1", Deny, ReasonNoMatch, `image "nginx:1"`, "matched by no policy")
	f("no policy", nil, NoMatchAllow, "nginx:1", Allow, ReasonNoMatch)
	f("no policy", nil, NoMatchWarn, "nginx:1", Allow, ReasonNoMatch, "matched by no policy")
	f("not a reference", one(denyTags("latest")), NoMatchAllow, "NGINX::::@@ //", Deny, ReasonInvalidReference, "is no image reference", "correct it")
	f("latest", one(denyTags("latest")), NoMatchDeny, "reg.test/app:latest", Deny, ReasonTagDenied, `tag "latest"`, `policy "p"`, "another tag or a digest")
	f("absent tag", one(denyTags("latest")), NoMatchDeny, "reg.test/app", Deny, ReasonTagDenied, "has no tag, which means latest")
	f("digest beside a denied tag", one(denyTags("latest")), NoMatchDeny, "reg.test/app:latest@"+someDigest, Allow, ReasonPassed)
	f("tag pattern", one(denyTags("dev-*")), NoMatchDeny, "reg.test/app:dev-1", Deny, ReasonTagDenied)
	f("tag pattern", one(denyTags("dev-*")), NoMatchDeny, "reg.test/app:v1", Allow, ReasonPassed)
	f("digest required", one(func(p *Policy) { p.Tags.RequireDigest = true }), NoMatchDeny, "reg.test/app:v1", Deny, ReasonDigestRequired, "requires one", "write it as name@sha256:")
	f("digest required", one(func(p *Policy) { p.Tags.RequireDigest = true }), NoMatchDeny, "reg.test/app@"+someDigest, Allow, ReasonPassed)

	f("signed", one(signedBy("release")), NoMatchDeny, "reg.test/app:signed", Allow, ReasonPassed)
	f("unsigned", one(signedBy("release")), NoMatchDeny, "reg.test/app:unsigned", Deny, ReasonSignatureMissing, "is not signed", `"release"`, "have it signed")
	f("wrong key", one(signedBy("forger")), NoMatchDeny, "reg.test/app:signed", Deny, ReasonSignatureInvalid, "not by")
	f("copied signature", one(signedBy("otherdoor")), NoMatchDeny, "reg.test/app:signed", Deny, ReasonClaimMismatch, "not for this image")
	f("no such image", one(signedBy("release")), NoMatchDeny, "reg.test/app:gone", Deny, ReasonImageNotFound, "does not exist")
	f("operator's words", one(signedBy("release"), func(p *Policy) { p.Message = "Ask the release team." }), NoMatchDeny, "reg.test/app:unsigned", Deny, ReasonSignatureMissing, `by "release" (looked for sha256-`, `.sig in reg.test/app): Ask the release team.`)
	f("any authority", one(signedBy("forger", "release")), NoMatchDeny, "reg.test/app:signed", Allow, ReasonPassed)
	f("any authority, one down", one(signedBy("down", "release")), NoMatchDeny, "reg.test/app:signed", Allow, ReasonPassed)
	f("closest authority speaks", one(signedBy("release", "forger", "otherdoor")), NoMatchDeny, "reg.test/app:unsigned", Deny, ReasonClaimMismatch)
	f("one down, one against", one(signedBy("release", "down"), onError(OnErrorAllow)), NoMatchDeny, "reg.test/app:unsigned", Allow, ReasonRegistryUnavailable, "could not be checked")
	f("annotations", one(signedBy("release"), func(p *Policy) { p.Authorities[0].Annotations = map[string]string{"env": "prod"} }), NoMatchDeny, "reg.test/app:signed", Allow, ReasonPassed)
	f("annotations", one(signedBy("release"), func(p *Policy) { p.Authorities[0].Annotations = map[string]string{"env": "dev"} }), NoMatchDeny, "reg.test/app:signed", Deny, ReasonAnnotationsMismatch, "env=dev")
	f("annotations", one(signedBy("release"), func(p *Policy) { p.Authorities[0].Annotations = map[string]string{"env": "prod", "by": ""} }), NoMatchDeny, "reg.test/app:signed", Deny, ReasonAnnotationsMismatch, "by=, env=prod")
	f("static pass", one(func(p *Policy) { p.Authorities = []*Authority{{Static: StaticFail}, {Static: StaticPass}} }), NoMatchDeny, "reg.test/app:gone", Allow, ReasonPassed)
	f("static fail", one(func(p *Policy) { p.Authorities = []*Authority{{Static: StaticFail}} }), NoMatchDeny, "reg.test/app:gone", Deny, ReasonStaticFail, `refused by policy "p"`)

	f("down, deny", one(signedBy("down")), NoMatchDeny, "reg.test/app:signed", Deny, ReasonRegistryUnavailable, "could not be checked", "reg.test did not answer", "try again")
	f("down, retry", one(signedBy("down"), onError(OnErrorRetry)), NoMatchDeny, "reg.test/app:signed", Retry, ReasonRegistryUnavailable, "could not be checked")
	f("down, defer", one(signedBy("down"), onError(OnErrorDefer)), NoMatchDeny, "reg.test/app:signed", Defer, ReasonRegistryUnavailable, "could not be checked")
	f("down, allow", one(signedBy("down"), onError(OnErrorAllow)), NoMatchDeny, "reg.test/app:signed", Allow, ReasonRegistryUnavailable, "could not be checked")
	for _, o := range []OnError{OnErrorDeny, OnErrorRetry, OnErrorDefer, OnErrorAllow} {
		f("malformed", one(signedBy("bomber"), onError(o)), NoMatchDeny, "reg.test/app:signed", Deny, ReasonRegistryMalformed, "too many signatures")
	}
	f("unknown error", one(signedBy("liar")), NoMatchDeny, "reg.test/app:signed", Deny, ReasonInternal, "could not be checked")

	f("warn", one(signedBy("release"), mode(Warn)), NoMatchDeny, "reg.test/app:unsigned", Allow, ReasonSignatureMissing, "is not signed")
	both := []*Policy{policyFor(t, "a", "reg.test/**", signedBy("release")), policyFor(t, "b", "**", denyTags("signed"))}
	f("all policies must pass", both, NoMatchDeny, "reg.test/app:signed", Deny, ReasonTagDenied, `policy "b"`)
	warnAndDeny := []*Policy{policyFor(t, "a", "**", denyTags("latest"), mode(Warn)), policyFor(t, "b", "**", signedBy("release"))}
	f("a denial outranks a warning", warnAndDeny, NoMatchDeny, "reg.test/app:latest", Deny, ReasonSignatureMissing, `policy "b"`)
	deferAndDeny := []*Policy{policyFor(t, "a", "**", signedBy("down"), onError(OnErrorAllow)), policyFor(t, "b", "**", signedBy("forger"))}
	f("a denial outranks an error", deferAndDeny, NoMatchDeny, "reg.test/app:signed", Deny, ReasonSignatureInvalid, `policy "b"`)
}

// TestReview is how the verdicts on several images make one answer.
func TestReview(t *testing.T) {
	t.Parallel()
	ports := &facts{}
	good := ports.push("reg.test/good:1")
	ports.sign(good, "release", nil)
	bad := ports.push("reg.test/bad:1")
	e := newEngine(t, ports, NoMatchDeny, policyFor(t, "signed", "reg.test/**", signedBy("release")),
		policyFor(t, "no-latest", "other.test/**", denyTags("latest")))

	var res Result
	req := &Request{Namespace: "default", Images: []string{"reg.test/good:1", "reg.test/bad:1", "other.test/x", "reg.test/bad:1", "BAD"}}
	e.Decide(t.Context(), req, &res)
	want := `image "reg.test/bad:1" is not signed, and policy "signed" requires a signature by "release" (looked for ` +
		strings.Replace(string(bad), ":", "-", 1) + `.sig in reg.test/bad); have it signed; ` +
		`image "other.test/x" has no tag, which means latest, and policy "no-latest" denies that tag; give it a version tag or a digest; ` +
		`image "BAD" is no image reference: its name must be lower-case letters and digits, separated by single . _ - or /; correct it`
	if got := string(res.Message()); got != want {
		t.Errorf("the message is\n%s\nwant\n%s", got, want)
	}
	if len(res.Images()) != 4 {
		t.Errorf("%d verdicts, want one for each of 4 distinct images", len(res.Images()))
	}
	wantAudit := "verdict=deny\nreason=signature_missing\npolicy=signed\nfingerprint=" + e.Snapshot().Fingerprint() +
		"\ndigests=reg.test/good:1@" + string(good) + " reg.test/bad:1@" + string(bad) + "\n"
	if got := auditText(&res); got != wantAudit {
		t.Errorf("the audit annotations are\n%swant\n%s", got, wantAudit)
	}

	e.Decide(t.Context(), &Request{Namespace: "default", Images: nil}, &res)
	if res.Outcome != Deny || res.Reason != ReasonInvalidRequest || len(res.Message()) == 0 {
		t.Errorf("a review without images is %s (%s) %q", res.Outcome, res.Reason, res.Message())
	}
	for _, warm := range []bool{false, true} {
		req := &Request{Namespace: "default", Images: []string{"reg.test/good:1"}}
		if !warm {
			e.Decide(t.Context(), req, &res)
		} else if !e.Hit(req, &res) || !res.Hit {
			t.Error("the second time is no hit")
		}
		wantAudit = "verdict=allow\nreason=passed\npolicy=signed\nfingerprint=" + e.Snapshot().Fingerprint() +
			"\ndigests=reg.test/good:1@" + string(good) + "\n"
		if got := auditText(&res); res.Outcome != Allow || got != wantAudit {
			t.Errorf("%s, and the audit annotations are\n%swant\n%s", res.Outcome, got, wantAudit)
		}
	}
}

// TestReviewOfMany bounds what a pod of 3,000 failing containers makes us say.
func TestReviewOfMany(t *testing.T) {
	t.Parallel()
	e := newEngine(t, &facts{}, NoMatchDeny, policyFor(t, "no-latest", "**", denyTags("latest"), func(p *Policy) {
		p.Message = strings.Repeat("Please read the manual. ", 10)
	}))
	req := &Request{Namespace: "default"}
	for i := range 3000 {
		req.Images = append(req.Images, fmt.Sprintf("reg.test/app-%d", i))
	}
	for range 2 {
		var res Result
		e.Decide(t.Context(), req, &res)
		message := string(res.Message())
		if res.Outcome != Deny || len(message) > maxMessage+100 || !strings.Contains(message, "app-0") ||
			!strings.HasSuffix(message, " more images") || len(res.Images()) != 3000 {
			t.Fatalf("%s, %d bytes, %d verdicts, ends %q", res.Outcome, len(message), len(res.Images()), message[len(message)-40:])
		}
	}
}

// TestNamespaces shows that scopes decide which policies apply, and that equal scopes share verdicts.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	ports := &facts{}
	ports.push("reg.test/app:1")
	prod, _, err := ParseNamespaces([]string{"prod-*", "!prod-test"})
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, ports, NoMatchAllow, policyFor(t, "p", "reg.test/**", signedBy("release"), func(p *Policy) { p.Namespaces = prod }))
	f := func(namespace string, want Outcome) {
		t.Helper()
		if got, _, message := decide(t, e, namespace, "reg.test/app:1"); got != want {
			t.Errorf("in %q: %s, want %s: %s", namespace, got, want, message)
		}
	}
	f("prod-a", Deny)
	f("prod-b", Deny)
	f("prod-test", Allow)
	f("dev", Allow)
	f("", Allow)
	f(strings.Repeat("prod-", 2000), Deny) // too long to be remembered, decided all the same
	if resolves, _ := ports.counts(); resolves != 1 {
		t.Errorf("%d resolutions for namespaces of the same rules, want 1", resolves)
	}
}

// TestTTL walks the clock: a verdict holds for its policy's TTL, or as long as the facts under it. Nothing is asked for
// when it is due to be refreshed.
func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ports := &facts{}
		d := ports.push("reg.test/app:1")
		e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "reg.test/**", signedBy("release")))
		check := func(want Outcome, resolves int) {
			t.Helper()
			got, _, message := decide(t, e, "default", "reg.test/app:1")
			if n, _ := ports.counts(); got != want || n != resolves {
				t.Fatalf("%s after %d resolutions, want %s after %d: %s", got, n, want, resolves, message)
			}
		}
		check(Deny, 1)
		ports.sign(d, "release", nil)
		time.Sleep(11 * time.Second)
		check(Deny, 1)
		time.Sleep(5 * time.Second) // past denyTTL
		check(Allow, 2)
		ports.push("reg.test/app:1")
		time.Sleep(3 * time.Minute)
		check(Allow, 2)
		ports.ttl = 10 * time.Second // the tag's fact now holds less long than allowTTL
		time.Sleep(3 * time.Minute)
		check(Allow, 3)
		time.Sleep(7 * time.Second)
		check(Allow, 3)
		time.Sleep(4 * time.Second)
		check(Allow, 4)
		// A failure is answered for a moment, and is no denial that lasts.
		ports.resolveErr = &Failure{Reason: ReasonRegistryUnavailable, Public: "registry reg.test did not answer"}
		time.Sleep(11 * time.Second)
		check(Deny, 5)
		check(Deny, 5)
		ports.resolveErr = nil
		time.Sleep(failureTTL + time.Millisecond)
		check(Allow, 6)
		// So does a fact about signatures.
		ports.signedTTL = 5 * time.Second
		ports.ttl = 0
		time.Sleep(10 * time.Second)
		check(Allow, 7)
		time.Sleep(3 * time.Second)
		check(Allow, 7)
		time.Sleep(3 * time.Second)
		check(Allow, 8)
	})
}

// TestStrictestOutcome shows which of several images' outcomes a review has.
func TestStrictestOutcome(t *testing.T) {
	t.Parallel()
	down := &facts{resolveErr: &Failure{Reason: ReasonRegistryUnavailable, Public: "it did not answer"}}
	e := newEngine(t, down, NoMatchAllow,
		policyFor(t, "allow", "a.test/**", signedBy("x"), onError(OnErrorAllow)), policyFor(t, "defer", "b.test/**", signedBy("x"), onError(OnErrorDefer)),
		policyFor(t, "retry", "c.test/**", signedBy("x"), onError(OnErrorRetry)), policyFor(t, "deny", "d.test/**", signedBy("x")))
	images := []string{"a.test/x", "b.test/x", "c.test/x", "d.test/x"}
	for _, some := range [][]string{{"other.test/x", "a.test/x"}, {"a.test/x", "other.test/x"}} {
		if _, reason, _ := decide(t, e, "default", some...); reason != ReasonRegistryUnavailable {
			t.Errorf("%q: the reason is %s, want that of the warning", some, reason)
		}
	}
	for i, want := range []Outcome{Allow, Defer, Retry, Deny} {
		for j := range i + 1 { // wherever in the pod the strictest stands
			some := slices.Concat(images[i-j:i+1], images[:i-j])
			if got, _, _ := decide(t, e, "default", some...); got != want {
				t.Errorf("%q: %s, want %s", some, got, want)
			}
		}
	}
}

// TestOneResolution shows that a tag is resolved once in a decision, also if that fails, and that what a resolver
// returns is held to be a digest.
func TestOneResolution(t *testing.T) {
	t.Parallel()
	ports := &facts{digests: map[string]Digest{"reg.test/liar:1": "latest"}}
	e := newEngine(t, ports, NoMatchDeny, policyFor(t, "a", "**", signedBy("x", "y"), mode(Warn)), policyFor(t, "b", "**", signedBy("z")))
	if _, reason, message := decide(t, e, "default", "reg.test/gone:1"); reason != ReasonImageNotFound {
		t.Errorf("%s: %s", reason, message)
	}
	if resolves, _ := ports.counts(); resolves != 1 {
		t.Errorf("%d resolutions in one decision, want 1", resolves)
	}
	if got, reason, _ := decide(t, e, "default", "reg.test/liar:1"); got != Deny || reason != ReasonInternal {
		t.Errorf("a resolver's nonsense is %s (%s)", got, reason)
	}
	if _, verifies := ports.counts(); verifies != 0 {
		t.Errorf("%d verifications of no digest", verifies)
	}
	if s := e.Stats(); s.Checking != 0 {
		t.Errorf("%d checks are still counted", s.Checking)
	}
}
