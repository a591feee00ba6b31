package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func pin(images ...string) *Request {
	return &Request{Namespace: "default", Images: images, Pin: true}
}

// TestPin: what an image is to be replaced with, and that nothing is judged, nor asked for in vain.
func TestPin(t *testing.T) {
	t.Parallel()
	ports := &facts{}
	app, nginx := string(ports.push("reg.test/app:1")), string(ports.push("nginx"))
	ports.push("strict.test/app:latest")
	strict := string(ports.push("strict.test/app:1"))
	pull := func(p *Policy) { p.AlwaysPullImages = true }
	e := newEngine(
		t, ports, NoMatchDeny,
		policyFor(t, "a", "reg.test/**", pins, signedBy("nobody")),
		policyFor(t, "b", "reg.test/**", pull, denyTags("never"), mode(Warn)),
		policyFor(t, "hub", "index.docker.io/**", pins, mode(Warn)),
		policyFor(t, "strict", "strict.test/**", pins, denyTags("latest"), func(p *Policy) { p.Tags.RequireDigest = true }),
		policyFor(t, "trial", "trial.test/**", mode(Warn), denyTags("latest")), policyFor(t, "trial-pin", "trial.test/**", pins),
		policyFor(t, "signed", "signed.test/**", signedBy("nobody")),
		policyFor(t, "fails", "fails.test/**", pins, authorities(1, static(StaticFail))),
	)
	f := func(image, digest string, reason Reason, alwaysPull bool, asked int) {
		t.Helper()
		before, _ := ports.counts()
		want := image + "@" + digest
		if digest == "" {
			want = ""
		}
		for range 2 {
			v := ask(t, e, pin(image)).Find(image)
			if v.Outcome != Allow || v.Warning || v.Message() != "" || v.Reason != reason || v.Rewrite != want || v.AlwaysPull != alwaysPull {
				t.Errorf("%s: %s (%s) %q, always pull %v: %s", image, v.Outcome, v.Reason, v.Rewrite, v.AlwaysPull, v.Message())
			}
			if want != "" && v.Digest != Digest(digest) {
				t.Errorf("%s: digest %s", image, v.Digest)
			}
		}
		if now, _ := ports.counts(); now-before != asked {
			t.Errorf("%s: %d resolutions, want %d", image, now-before, asked)
		}
	}
	f("reg.test/app:1", app, ReasonPinned, true, 1)
	f("reg.test/app:1@"+app, "", ReasonNotPinned, true, 0)
	f("reg.test/app:never", "", ReasonImageNotFound, true, 1) // a warning denies nothing
	f("nginx", nginx, ReasonPinned, false, 1)
	f("docker.io/library/nginx:latest", nginx, ReasonPinned, false, 1)
	f("strict.test/app:1", strict, ReasonPinned, false, 1)
	f("strict.test/app", "", ReasonNotPinned, false, 0) // with a digest, nobody would deny its tag any more
	f("strict.test/app:latest", "", ReasonNotPinned, false, 0)
	f("trial.test/app", "", ReasonImageNotFound, false, 1)
	f("signed.test/app:1", "", ReasonNotPinned, false, 0)
	f("fails.test/app:1", "", ReasonImageNotFound, false, 1)
	f("other.test/app:1", "", ReasonNoMatch, false, 0)
	f("NO REFERENCE", "", ReasonInvalidReference, false, 0)
	if _, verifies := ports.counts(); verifies != 0 {
		t.Errorf("%d verifications", verifies)
	}
	ports.resolveErr = &Failure{Reason: ReasonRegistryNotListed, Public: "registry reg.test is not listed"}
	f("reg.test/other:1", "", ReasonRegistryNotListed, true, 1)

	res := ask(t, e, pin("reg.test/app:1", "other.test/app:1", "nginx"))
	if res.Outcome != Allow || res.Reason != ReasonPinned || len(res.Images()) != 3 || !res.Hit {
		t.Errorf("%s (%s) on %d images", res.Outcome, res.Reason, len(res.Images()))
	}
	if res := ask(t, e, &Request{Namespace: "default", Kept: []string{"nginx"}, Pin: true}); res.Hit || res.Reason != ReasonInvalidRequest {
		t.Errorf("what is kept is asked about: %s", res.Reason)
	}
}

// TestPinWarnsOfTag: a digest hides a tag from the policies that only warn of it, so that who pins it says so.
func TestPinWarnsOfTag(t *testing.T) {
	t.Parallel()
	ports := &facts{}
	d := string(ports.push("reg.test/app:latest"))
	e := newEngine(
		t, ports, NoMatchDeny, policyFor(t, "pins", "reg.test/**", pins),
		policyFor(t, "a", "reg.test/**", mode(Warn), denyTags("latest"), func(p *Policy) { p.Tags.RequireDigest = true }),
		policyFor(t, "b", "reg.test/**", mode(Warn), denyTags("latest")), policyFor(t, "c", "reg.test/**", mode(Warn), denyTags("other")),
	)
	const what, remedy = `image "reg.test/app" has no tag, which means latest, and policy "`, `" denies that tag; give it a version tag or a digest`
	for range 2 {
		res := ask(t, e, pin("reg.test/app"))
		v := res.Images()[0]
		if want := what + "a" + remedy + "; " + what + "b" + remedy; res.Outcome != Allow || !v.Warning || v.Message() != want {
			t.Errorf("%s, says\n%s\nwant\n%s", res.Outcome, v.Message(), want)
		}
		if v.Reason != ReasonPinned || v.Rewrite != "reg.test/app@"+d {
			t.Errorf("%s: %s", v.Reason, v.Rewrite)
		}
	}
}

// TestPinOnError: what becomes of an image whose digest can't be had for now.
func TestPinOnError(t *testing.T) {
	t.Parallel()
	down := &Failure{Reason: ReasonRegistryUnavailable, Public: "registry reg.test did not answer"}
	f := func(cause error, want Outcome, message string, policies ...*Policy) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ports := &facts{resolveErr: cause}
			d := ports.push("reg.test/app:1")
			e := newEngine(t, ports, NoMatchDeny, policies...)
			res := ask(t, e, pin("reg.test/app:1"))
			v := res.Images()[0]
			if res.Outcome != want || v.Rewrite != "" || v.Warning != (want == Allow) || !v.AlwaysPull {
				t.Errorf("%s, rewrite %q, want %s", res.Outcome, v.Rewrite, want)
			}
			if string(res.Message()) != message {
				t.Errorf("says\n%s\nwant\n%s", res.Message(), message)
			}
			time.Sleep(2 * failureTTL) // it is not remembered for longer
			ports.resolveErr = nil
			if v := ask(t, e, pin("reg.test/app:1")).Images()[0]; v.Rewrite != "reg.test/app:1@"+string(d) {
				t.Errorf("%s (%s) after the registry came back", v.Outcome, v.Reason)
			}
		})
	}
	pull := func(p *Policy) { p.AlwaysPullImages = true }
	said := func(policy string) string {
		return `image "reg.test/app:1" could not be pinned for policy "` + policy +
			`": registry reg.test did not answer; try again; if it lasts, tell the cluster's operators`
	}
	for o, want := range map[OnError]Outcome{OnErrorDeny: Deny, OnErrorRetry: Retry, OnErrorDefer: Defer, OnErrorAllow: Allow} {
		f(down, want, said("p"), policyFor(t, "p", "**", pins, pull, onError(o)))
		f(down, Allow, said("p"), policyFor(t, "p", "**", pins, pull, onError(o), mode(Warn)))
		// Only of those who pin.
		f(down, Allow, said("p"), policyFor(t, "p", "**", pins, pull, onError(OnErrorAllow)), policyFor(t, "q", "**", signedBy("a"), onError(o)))
	}
	f(down, Deny, said("q"), policyFor(t, "p", "**", pins, pull, onError(OnErrorRetry)), policyFor(t, "q", "**", pins))
	f(down, Allow, said("p")+"; "+said("q"), policyFor(t, "p", "**", pins, pull, mode(Warn)), policyFor(t, "q", "**", pins, mode(Warn)))
	f(errors.New("secret"), Deny, strings.Replace(said("p"), "registry reg.test did not answer", "the check failed", 1),
		policyFor(t, "p", "**", pins, pull))
	f(down, Deny, strings.Replace(said("p"), "; try again; if it lasts, tell the cluster's operators", ": Ask us.", 1),
		policyFor(t, "p", "**", pins, pull, func(p *Policy) { p.Message = "Ask us." }))
	// What a registry sends may be what somebody has pushed there, so it is no outage.
	malformed := &Failure{Reason: ReasonRegistryMalformed, Public: "registry reg.test did not answer"}
	f(malformed, Deny, said("p"), policyFor(t, "p", "**", pins, pull, onError(OnErrorAllow)))
}

// TestPinWithoutTime and without room: as much is said as can be, and a panic denies.
func TestPinWithoutTime(t *testing.T) {
	t.Parallel()
	ports := &facts{wait: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	ports.push("reg.test/app:1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var res Result
	f := func(image string, want Outcome, reason Reason, options ...func(*Policy)) {
		t.Helper()
		e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "reg.test/**", append(options, pins)...))
		e.Decide(ctx, pin(image), &res)
		if v := res.Images()[0]; v.Outcome != want || v.Reason != reason || v.Rewrite != "" {
			t.Errorf("%s: %s (%s) %q", image, v.Outcome, v.Reason, v.Rewrite)
		}
	}
	f("reg.test/app:1", Retry, ReasonTimeout, onError(OnErrorRetry))
	f("reg.test/app:1", Deny, ReasonTimeout, denyTags("latest"))
	f("reg.test/app", Allow, ReasonNotPinned, denyTags("latest"))
	f("other.test/app:1", Allow, ReasonNoMatch)
	ports.wait = func(context.Context) error { panic("a parser met its match") }
	ctx = t.Context()
	f("reg.test/app:1", Deny, ReasonInternal)
}

// TestPinOverload: what there is no room for is shed as a judgement is, and not remembered.
func TestPinOverload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ports := &facts{wait: func(context.Context) error { <-release; return nil }}
		for _, image := range []string{"reg.test/a:1", "reg.test/b:1", "reg.test/c:1"} {
			ports.push(image)
		}
		e, err := New(Config{Resolver: ports, Verifier: ports, MaxChecks: 1, MaxWaiting: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		e.Load(NewSnapshot([]*Policy{policyFor(t, "p", "**", pins, onError(OnErrorRetry))}, NoMatchDeny))
		for _, image := range []string{"reg.test/a:1", "reg.test/b:1"} {
			go ask(t, e, pin(image))
		}
		synctest.Wait()
		if res := ask(t, e, pin("reg.test/c:1")); res.Outcome != Shed || res.Reason != ReasonOverloaded {
			t.Errorf("%s (%s)", res.Outcome, res.Reason)
		}
		close(release)
		synctest.Wait()
		if res := ask(t, e, pin("reg.test/c:1")); res.Images()[0].Rewrite == "" {
			t.Errorf("%s (%s) when there is room", res.Outcome, res.Reason)
		}
	})
}

// TestPinIsNoJudgement: neither answer stands for the other, whichever comes first, and facts serve both.
func TestPinIsNoJudgement(t *testing.T) {
	t.Parallel()
	judge := &Request{Namespace: "default", Images: []string{"reg.test/app:1"}}
	for _, first := range []*Request{judge, pin("reg.test/app:1")} {
		ports := &facts{}
		ports.push("reg.test/app:1")
		e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "**", pins, denyTags("2"), signedBy("release")))
		ask(t, e, first)
		for range 2 {
			if res := ask(t, e, judge); res.Outcome != Deny || res.Reason != ReasonSignatureMissing || res.Images()[0].Rewrite != "" {
				t.Errorf("judged: %s (%s)", res.Outcome, res.Reason)
			}
			if res := ask(t, e, pin("reg.test/app:1")); res.Outcome != Allow || res.Images()[0].Rewrite == "" {
				t.Errorf("pinned: %s (%s)", res.Outcome, res.Reason)
			}
		}
	}
}

// TestPinRefresh: what is in use is renewed, by the same access, and a tag that moved is seen within the life of a fact.
func TestPinRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ports := &aging{facts: &facts{}, tagLife: 20 * time.Second}
		ports.push(hotImage)
		e, err := New(Config{Resolver: ports, Verifier: ports})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		e.Load(NewSnapshot([]*Policy{policyFor(t, "p", "**", pins)}, NoMatchDeny))
		h := &hot{facts: ports.facts, e: e, req: pin(hotImage)}
		h.req.Access = &Access{ID: "team"}
		e.Decide(t.Context(), h.req, &h.res)
		h.during(t, 40*ports.tagLife, Allow)
		if s := h.refreshes(); s.Renewed != s.Begun || s.Renewed < 40 || s.Renewed > 56 {
			t.Errorf("%+v over 40 lives", s)
		}
		moved := Digest("sha256:" + strings.Repeat("1", 64))
		ports.digests[hotImage] = moved
		h.during(t, ports.tagLife, Allow)
		if got := h.res.Find(hotImage).Rewrite; got != hotImage+"@"+string(moved) {
			t.Errorf("still %s a life after the tag was moved", got)
		}
		for _, id := range ports.accesses {
			if id != "team" {
				t.Fatalf("asked with access %q", id)
			}
		}
		// While the registry is down, what was found holds to its end, and then onError applies.
		ports.resolveErr = &Failure{Reason: ReasonRegistryUnavailable, Public: "registry reg.test did not answer"}
		h.during(t, time.Until(ports.tagBorn.Add(ports.tagLife-3*time.Second)), Allow)
		time.Sleep(4 * time.Second)
		if res := ask(t, e, h.req); res.Outcome != Deny || res.Reason != ReasonRegistryUnavailable {
			t.Errorf("%s (%s) beyond the end of a fact", res.Outcome, res.Reason)
		}
	})
}

// TestPinOfMissing: an image that is pushed at last is pinned as soon as a judgement would allow it.
func TestPinOfMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ports := &facts{}
		ttl := func(p *Policy) { p.DenyTTL = time.Minute }
		e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "**", pins), policyFor(t, "q", "**", pins, ttl))
		f := func(want Reason) {
			t.Helper()
			if res := ask(t, e, pin(hotImage)); res.Outcome != Allow || res.Reason != want {
				t.Errorf("%s (%s), want %s", res.Outcome, res.Reason, want)
			}
		}
		f(ReasonImageNotFound)
		ports.push(hotImage)
		time.Sleep(10 * time.Second)
		f(ReasonImageNotFound)
		time.Sleep(6 * time.Second)
		f(ReasonPinned)
	})
}

// TestPinFailingRefresh leaves the verdict to its own end.
func TestPinFailingRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ports := &facts{}
		d := ports.push(hotImage)
		e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "**", pins, func(p *Policy) { p.AllowTTL = life }))
		h := &hot{facts: ports, e: e, req: pin(hotImage)}
		e.Decide(t.Context(), h.req, &h.res)
		h.resolveErr = &Failure{Reason: ReasonRegistryUnavailable, Public: "registry reg.test did not answer"}
		h.during(t, life, Allow)
		if s := h.refreshes(); s.Failed == 0 || s.Failed != s.Begun || h.res.Images()[0].Rewrite != hotImage+"@"+string(d) {
			t.Errorf("%+v, %+v", s, h.res.Images()[0])
		}
		if h.e.Hit(h.req, &h.res) {
			t.Error("a failure has prolonged it")
		}
	})
}

// TestJudgedByPin: a policy that pins lets pass what has a digest, or a tag that points at one.
func TestJudgedByPin(t *testing.T) {
	t.Parallel()
	down := &Failure{Reason: ReasonRegistryUnavailable, Public: "registry reg.test did not answer"}
	f := func(image string, cause error, want Outcome, reason Reason, asked int, message string, options ...func(*Policy)) {
		t.Helper()
		ports := &facts{resolveErr: cause}
		ports.push("reg.test/app:1")
		e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "reg.test/**", append(options, pins)...))
		outcome, why, said := decide(t, e, "default", image)
		if outcome != want || why != reason || said != message {
			t.Errorf("%s: %s (%s) %s\nwant %s (%s) %s", image, outcome, why, said, want, reason, message)
		}
		if resolves, _ := ports.counts(); resolves != asked {
			t.Errorf("%s: %d resolutions, want %d", image, resolves, asked)
		}
	}
	digest := "@sha256:" + strings.Repeat("1", 64)
	const missing = `image "reg.test/no:1" does not exist in its registry, so policy "p" cannot accept it; check its name and tag`
	const unchecked = `image "reg.test/app:1" could not be checked for policy "p": registry reg.test did not answer; ` +
		"try again; if it lasts, tell the cluster's operators"
	passes, fails := authorities(1, static(StaticPass)), authorities(1, static(StaticFail))
	for _, option := range []func(*Policy){denyTags("latest"), passes} {
		f("reg.test/app:1", nil, Allow, ReasonPassed, 1, "", option)
		f("reg.test/app:1"+digest, nil, Allow, ReasonPassed, 0, "", option)
		f("reg.test/no:1", nil, Deny, ReasonImageNotFound, 1, missing, option)
		f("reg.test/no:1", nil, Allow, ReasonImageNotFound, 1, missing, option, mode(Warn))
		f("reg.test/app:1", down, Deny, ReasonRegistryUnavailable, 1, unchecked, option)
		f("reg.test/app:1", down, Retry, ReasonRegistryUnavailable, 1, unchecked, option, onError(OnErrorRetry))
		f("reg.test/app:1", down, Allow, ReasonRegistryUnavailable, 1, unchecked, option, onError(OnErrorAllow))
		f("reg.test/app:1", &Failure{Reason: ReasonRegistryNotListed}, Deny, ReasonRegistryNotListed, 1, `image "reg.test/app:1" is from a `+
			`registry that sluice is not configured to contact, so policy "p" cannot accept it; use an image from another registry, `+
			"or ask the cluster's operators to list this one", option)
	}
	f("reg.test/app:1", nil, Deny, ReasonStaticFail, 0, `image "reg.test/app:1" is refused by policy "p"; use another image`, fails)
	f("reg.test/app", nil, Deny, ReasonTagDenied, 0, `image "reg.test/app" has no tag, which means latest, and policy "p" denies that tag; `+
		"give it a version tag or a digest", denyTags("latest"))
	f("reg.test/no:1", nil, Deny, ReasonImageNotFound, 1, missing, signedBy("release"))
}

// TestJudgedByPinWithoutTime: nothing is remembered of it, and the policy's onError applies.
func TestJudgedByPinWithoutTime(t *testing.T) {
	t.Parallel()
	ports := &facts{wait: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	ports.push("reg.test/app:1")
	e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "**", pins, onError(OnErrorDefer)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var res Result
	req := &Request{Namespace: "default", Images: []string{"reg.test/app:1"}}
	if e.Decide(ctx, req, &res); res.Outcome != Defer || res.Reason != ReasonTimeout || e.Hit(req, &res) {
		t.Errorf("%s (%s)", res.Outcome, res.Reason)
	}
	req.Images[0] += "@sha256:" + strings.Repeat("1", 64)
	if e.Decide(ctx, req, &res); res.Outcome != Allow {
		t.Errorf("with a digest: %s (%s)", res.Outcome, res.Reason)
	}
}
