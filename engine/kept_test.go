package engine

import (
	"slices"
	"strings"
	"testing"
)

// TestKept: a policy that lets what was there before stay does not look at it; the others for the same image do.
func TestKept(t *testing.T) {
	t.Parallel()
	ports := &facts{}
	for _, image := range []string{"stays.test/app:1", "both.test/app:1", "checked.test/app:1"} {
		ports.push(image)
	}
	ports.sign(ports.push("checked.test/good:1"), "release", nil)
	e := newEngine(
		t, ports, NoMatchWarn,
		policyFor(t, "stays", "stays.test/**", keeps, pins, signedBy("release"), denyTags("latest")),
		policyFor(t, "both-1", "both.test/**", keeps), policyFor(t, "both-2", "both.test/**", signedBy("release")),
		policyFor(t, "mixed-1", "mixed.test/**", keeps, signedBy("release")), policyFor(t, "mixed-2", "mixed.test/**", denyTags("latest")),
		policyFor(t, "checked", "checked.test/**", signedBy("release")),
	)
	f := func(image string, want Outcome, reason Reason, policy string, asked int) {
		t.Helper()
		before, _ := ports.counts()
		for range 2 {
			res := ask(t, e, &Request{Namespace: "default", Kept: []string{image}})
			v := res.Find(image)
			if res.Outcome != want || v.Reason != reason || v.Policy != policy || (v.Message() == "") != (want == Allow && reason != ReasonNoMatch) {
				t.Errorf("%s: %s (%s) by %q: %s", image, res.Outcome, v.Reason, v.Policy, res.Message())
			}
			if v.Rewrite != "" || v.AlwaysPull {
				t.Errorf("%s: %+v", image, v)
			}
		}
		if now, _ := ports.counts(); now-before != asked {
			t.Errorf("%s: %d resolutions, want %d", image, now-before, asked)
		}
	}
	f("stays.test/app:1", Allow, ReasonUnchanged, "stays", 0)
	f("stays.test/no", Allow, ReasonUnchanged, "stays", 0)
	f("both.test/app:1", Deny, ReasonSignatureMissing, "both-2", 1)
	f("mixed.test/app:1", Allow, ReasonPassed, "", 0)
	f("mixed.test/app", Deny, ReasonTagDenied, "mixed-2", 0)
	f("checked.test/app:1", Deny, ReasonSignatureMissing, "checked", 1)
	f("checked.test/good:1", Allow, ReasonPassed, "checked", 1)
	f("other.test/app:1", Allow, ReasonNoMatch, "", 0)
	f("NO REFERENCE", Deny, ReasonInvalidReference, "", 0)
	f("stays.test/app:1@sha256:"+strings.Repeat("1", 64), Allow, ReasonUnchanged, "stays", 0)

	// It never stands for a judgement, and an image that is both is judged.
	const image = "stays.test/app:1"
	requests := map[*Request]Reason{
		{Namespace: "default", Kept: []string{image, image}}:                                   ReasonUnchanged,
		{Namespace: "default", Images: []string{image}}:                                        ReasonSignatureMissing,
		{Namespace: "default", Images: []string{image}, Kept: []string{image, "x.test/x:1"}}:   ReasonSignatureMissing,
		{Namespace: "default", Kept: []string{image}, Access: &Access{ID: "a"}}:                ReasonUnchanged,
		{Namespace: "default", Images: []string{image}, Access: &Access{ID: "a"}}:              ReasonSignatureMissing,
		{Namespace: "default", Images: []string{image, "x.test/x:1"}, Kept: []string{image}}:   ReasonSignatureMissing,
		{Namespace: "default", Images: []string{image, image}, Kept: []string{"x.test/x:1"}}:   ReasonSignatureMissing,
		{Namespace: "default", Images: []string{"x.test/x:1"}, Kept: []string{image}}:          ReasonUnchanged,
		{Namespace: "default", Images: []string{"x.test/x:1"}, Kept: []string{image, "y", ""}}: ReasonUnchanged,
	}
	for range 3 {
		for req, reason := range requests {
			res := ask(t, e, req)
			var of []*Verdict
			for _, v := range res.Images() {
				if v.Image == image {
					of = append(of, v)
				}
			}
			if len(of) != 1 || of[0].Reason != reason {
				t.Errorf("%+v, hit %v: %d verdicts on the image, %+v", req, res.Hit, len(of), of)
			}
		}
	}

	// Those that were kept come after the others, and weigh as much.
	req := &Request{Namespace: "default", Images: []string{"checked.test/good:1", "checked.test/app:1"}}
	req.Kept = []string{"both.test/app:1", "checked.test/app:1", image}
	for range 2 {
		res := ask(t, e, req)
		var got []string
		for _, v := range res.Images() {
			got = append(got, v.Image)
		}
		want := []string{"checked.test/good:1", "checked.test/app:1", "both.test/app:1", image}
		if !slices.Equal(got, want) || res.Outcome != Deny || strings.Count(string(res.Message()), "image ") != 2 {
			t.Errorf("%s on %s: %s", res.Outcome, got, res.Message())
		}
	}
	if res := ask(t, e, &Request{Namespace: "default"}); res.Outcome != Deny || res.Reason != ReasonInvalidRequest {
		t.Errorf("nothing at all: %s (%s)", res.Outcome, res.Reason)
	}
}

// TestKeptAsJudged: where no policy tells the two apart, what was found out of one serves the other.
func TestKeptAsJudged(t *testing.T) {
	t.Parallel()
	ports := &facts{}
	ports.sign(ports.push("reg.test/app:1"), "release", nil)
	e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "**", signedBy("release")))
	for _, access := range []*Access{nil, {ID: "a"}} {
		images := []string{"reg.test/app:1"}
		ask(t, e, &Request{Namespace: "default", Images: images, Access: access})
		for _, req := range []*Request{{Kept: images}, {Images: images, Kept: images}} {
			req.Namespace, req.Access = "default", access
			if res := ask(t, e, req); !res.Hit || len(res.Images()) != 1 {
				t.Errorf("hit %v, %d verdicts", res.Hit, len(res.Images()))
			}
		}
	}
}
