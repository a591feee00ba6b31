package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// maxManifests bounds how many manifests of one index are checked. Official images have about ten for platforms. An
// index is what somebody has pushed: without a bound, one of many could use up the time of a review.
const maxManifests = 64

// authority asks one authority of a policy about the image: about its own digest, or about those of an index's
// platforms, as the policy has it. It returns nil if the authority is satisfied.
func (j *judgement) authority(ctx context.Context, p *Policy, a *Authority) *finding {
	if f := j.resolve(ctx); f != nil {
		return failed(p, a, f)
	}
	if len(p.Platforms.List) > 0 {
		return j.listed(ctx, p, a)
	}
	own := j.satisfies(ctx, p, a, j.ref.Digest)
	if own == nil || own.reason.Transient() || !p.Platforms.OrEvery {
		return own
	}
	return j.every(ctx, p, a, own)
}

// satisfies asks an authority about one digest.
func (j *judgement) satisfies(ctx context.Context, p *Policy, a *Authority, d Digest) *finding {
	ref := j.ref
	ref.Digest = d
	known := j.known
	if j.fresh && a.Distinct {
		known = KnownNow
	}
	evidence, err := j.engine.verifier.Verify(ctx, ref, a, known)
	if err != nil {
		f := asFailure(err)
		if f.Reason == ReasonRegistryNotListed && a.Repository != (Repository{}) {
			return unlisted(p, a, f)
		}
		return failed(p, a, f)
	}
	j.rests(evidence.TTL)
	left, refusal := a.weigh(ref, evidence.Signatures, time.Now())
	if refusal != nil {
		return refused(p, a, refusal)
	}
	if left < forever {
		j.rests(left)
	}
	if a.Distinct {
		j.by(a, a.parties(ref, evidence.Signatures, time.Now()))
	}
	return nil
}

// by notes who satisfied an authority for one digest. Where it has several, those count who did for each of them: else two
// parties could vouch for half an image each, and count as two for the whole.
func (j *judgement) by(a *Authority, parties []Signer) {
	if before, ok := j.signers[a]; ok {
		parties = slices.DeleteFunc(parties, func(s Signer) bool { return !slices.Contains(before, s) })
	}
	if j.signers == nil {
		j.signers = map[*Authority][]Signer{}
	}
	j.signers[a] = parties
}

// children finds what the index is made of, once; none if the image is no index.
func (j *judgement) children(ctx context.Context) ([]Child, *Failure) {
	if j.asked {
		return j.manifests, j.noManifests
	}
	j.asked = true
	children, err := j.engine.resolver.Children(ctx, j.ref)
	for _, c := range children {
		if _, wrong := ParseDigest(string(c.Digest)); wrong != nil && err == nil {
			err = wrong
		}
	}
	if err != nil {
		j.noManifests = asFailure(err)
		return nil, j.noManifests
	}
	j.manifests = children
	return children, nil
}

// every asks about each manifest of an index that can run, after the index itself has been refused with own. An image
// without any keeps its own refusal.
func (j *judgement) every(ctx context.Context, p *Policy, a *Authority, own *finding) *finding {
	children, f := j.children(ctx)
	if f != nil {
		return failed(p, a, f)
	}
	if f := nested(p, a, children); f != nil {
		return f
	}
	children = slices.DeleteFunc(slices.Clone(children), func(c Child) bool {
		// This is how BuildKit labels the attestations that it puts in an index. No runtime takes it for its platform.
		return c.Platform == "unknown/unknown"
	})
	if len(children) == 0 { // or no index at all
		return own
	}
	wrong, passed := j.each(ctx, p, a, children)
	if wrong == nil || wrong.reason.Transient() || passed > 0 || wrong.closerThan(own, p) {
		return wrong
	}
	return own
}

// listed asks about each manifest of an index that is for a platform which the policy names.
func (j *judgement) listed(ctx context.Context, p *Policy, a *Authority) *finding {
	children, f := j.children(ctx)
	if f != nil {
		return failed(p, a, f)
	}
	if len(children) == 0 {
		return j.satisfies(ctx, p, a, j.ref.Digest)
	}
	if f := nested(p, a, children); f != nil {
		return f
	}
	chosen, found := choose(p.Platforms.List, children)
	if !found {
		return &finding{
			authority: a, reason: ReasonPlatformMissing,
			is:     "is an index without any of the platforms " + strings.Join(p.Platforms.List, ", "),
			policy: ", of which policy " + quote(p.Name) + " requires one", remedy: "build it for one of them",
			detail: "authority " + quote(a.Name) + ": " + ReasonPlatformMissing.String(),
		}
	}
	wrong, _ := j.each(ctx, p, a, chosen)
	return wrong
}

// nested refuses an index that holds another: which manifest of it runs can't be told from here.
func nested(p *Policy, a *Authority, children []Child) *finding {
	if !slices.ContainsFunc(children, func(c Child) bool { return c.Index }) {
		return nil
	}
	return &finding{
		authority: a, reason: ReasonPlatformMissing,
		is:     "is an index that holds another index",
		policy: ", and policy " + quote(p.Name) + " judges the platforms of one only",
		remedy: "build it as one index of manifests",
		detail: "authority " + quote(a.Name) + ": " + ReasonPlatformMissing.String() + ": nested index",
	}
}

// each asks about manifests until one is refused, and says how many passed before. One that could not be checked leaves
// it open only if no other is refused.
func (j *judgement) each(ctx context.Context, p *Policy, a *Authority, children []Child) (worst *finding, passed int) {
	seen := make(map[Digest]bool, len(children))
	for _, c := range children {
		if seen[c.Digest] {
			continue
		}
		if seen[c.Digest] = true; len(seen) > maxManifests {
			return failed(p, a, &Failure{
				Reason: ReasonRegistryMalformed, Public: "the index has too many manifests that could run",
				Err: errors.New("more than 64"),
			}), passed
		}
		wrong := j.satisfies(ctx, p, a, c.Digest)
		if wrong == nil {
			passed++
			continue
		}
		wrong.is = "has a manifest " + c.label() + " that " + wrong.is
		if !wrong.reason.Transient() {
			return wrong, passed
		}
		if worst == nil || wrong.closerThan(worst, p) {
			worst = wrong
		}
	}
	return worst, passed
}

// label names the child for people.
func (c Child) label() string {
	if c.Platform == "" {
		return "without a platform (" + string(c.Digest) + ")"
	}
	return "for " + quoteUpTo(c.Platform, maxQuotedSigner)
}

// choose picks the children that run on a platform of the list, and those that don't say what they run on. Where a
// platform has no child that all its machines run, what they would fall back to is picked, too. found tells whether one
// of the platforms has a child of its own.
func choose(list []string, children []Child) (chosen []Child, found bool) {
	picked := make([]bool, len(children))
	for _, entry := range list {
		want, settled := parsePlatform(entry), false
		for i, c := range children {
			if have := c.platform(); want.is(have) {
				picked[i], found = true, true
				settled = settled || want.variant != "" || have.variant == baseline(have.arch)
			}
		}
		for i, c := range children {
			picked[i] = picked[i] || !settled && want.runs(c.platform())
		}
	}
	for i, c := range children {
		if have := c.platform(); picked[i] || have.os == "" || have.arch == "" {
			chosen = append(chosen, c)
		}
	}
	return chosen, found
}

// platform is what a manifest runs on. Runtimes take several spellings for one (containerd/platforms, database.go), so
// they are one here: a spelling that we took for another platform would go unchecked and run all the same.
type platform struct {
	os, arch, variant string // variant may be empty
}

// baseline is the variant of an architecture that runtimes take for granted; empty where it has none.
func baseline(arch string) string {
	switch arch {
	case "amd64":
		return "v1"
	case "arm64":
		return "v8"
	case "arm":
		return "v7"
	}
	return ""
}

// platform is what the child runs on, never without a variant where there are some.
func (c Child) platform() platform {
	p := parsePlatform(c.Platform)
	if p.variant == "" {
		p.variant = baseline(p.arch)
	}
	return p
}

// parsePlatform reads os/architecture or os/architecture/variant.
func parsePlatform(s string) platform {
	system, rest, _ := strings.Cut(strings.ToLower(s), "/")
	arch, variant, _ := strings.Cut(rest, "/")
	if system == "macos" {
		system = "darwin"
	}
	switch arch {
	case "i386":
		arch, variant = "386", ""
	case "x86_64", "x86-64":
		arch = "amd64"
	case "aarch64":
		arch = "arm64"
	case "armhf":
		arch, variant = "arm", "v7"
	case "armel":
		arch, variant = "arm", "v6"
	}
	switch {
	case arch == "arm64" && variant == "8", arch == "arm" && slices.Contains([]string{"5", "6", "7", "8"}, variant):
		variant = "v" + variant
	}
	return platform{system, arch, variant}
}

// is tells whether a child for have is what p names: any variant, if p names none.
func (p platform) is(have platform) bool {
	return p.os == have.os && p.arch == have.arch && (p.variant == "" || p.variant == have.variant)
}

// runs tells whether a machine that p names may run a child for have, if it has none that suits it better.
func (p platform) runs(have platform) bool {
	return p.os == have.os &&
		(p.arch == have.arch || p.arch == "amd64" && have.arch == "386" || p.arch == "arm64" && have.arch == "arm")
}
