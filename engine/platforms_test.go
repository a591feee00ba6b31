package engine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var unreachable = &Failure{Reason: ReasonRegistryUnavailable, Public: "registry reg.test did not answer"}

// index makes an index of manifests. Each is written as platform=mark, with the mark + for one that is signed by
// release, - for one that is not, ! for one that can't be checked, * for one with too many signatures, and i for an index.
func (f *facts) index(image string, manifests ...string) (Digest, []Child) {
	d := f.push(image)
	var children []Child
	f.down = make(map[Digest]error)
	for i, m := range manifests {
		platform, mark, _ := strings.Cut(m, "=")
		c := Child{Digest: digestOf(image, m, i), Platform: platform, Index: mark == "i"}
		switch mark {
		case "+", "i":
			f.sign(c.Digest, "release", nil)
		case "!":
			f.down[c.Digest] = unreachable
		case "*":
			f.down[c.Digest] = &Failure{Reason: ReasonRegistryMalformed, Public: "there are too many signatures"}
		}
		children = append(children, c)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.children == nil {
		f.children = make(map[Digest][]Child)
	}
	f.children[d] = children
	return d, children
}

func digestOf(parts ...any) Digest {
	return Digest(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(fmt.Sprint(parts...)))))
}

// TestPlatforms is which manifests of an index must be signed.
func TestPlatforms(t *testing.T) {
	t.Parallel()
	release := func(p *Policy) { p.Authorities = []*Authority{named("release")} }
	or := func(p *Policy) { p.Platforms.OrEvery = true }
	list := func(platforms ...string) func(*Policy) {
		return func(p *Policy) { p.Platforms.List = platforms }
	}
	zero := func(*Policy) {}
	const image, own = "reg.test/app:1", "itself"
	// f judges an index of manifests; own+"+" among them says that the index is signed itself.
	f := func(what string, platforms func(*Policy), reason Reason, message string, manifests ...string) {
		t.Helper()
		ports := &facts{}
		signed := slices.Contains(manifests, own+"+")
		manifests = slices.DeleteFunc(slices.Clone(manifests), func(m string) bool { return m == own+"+" })
		d, children := ports.index(image, manifests...)
		if signed {
			ports.sign(d, "release", nil)
		}
		for i, c := range children {
			message = strings.ReplaceAll(message, fmt.Sprintf("<%d>", i), string(c.Digest))
			message = strings.ReplaceAll(message, fmt.Sprintf("<%d tag>", i), strings.Replace(string(c.Digest), ":", "-", 1)+".sig in reg.test/app")
		}
		message = strings.ReplaceAll(message, "<tag>", strings.Replace(string(d), ":", "-", 1)+".sig in reg.test/app")
		outcome := Deny
		if reason == ReasonPassed || reason == ReasonRegistryUnavailable {
			outcome = Allow
		}
		judged(t, ports, what, image, outcome, reason, message, release, platforms, onError(OnErrorAllow))
		if ports.listings > 1 {
			t.Errorf("%s: the children were asked for %d times", what, ports.listings)
		}
		for i, d := range ports.verified {
			if slices.Contains(ports.verified[:i], d) {
				t.Errorf("%s: a manifest was asked about twice", what)
			}
		}
	}
	const pass, missing, absent = ReasonPassed, ReasonSignatureMissing, ReasonPlatformMissing

	f("the index, signed", zero, pass, "", own+"+", "linux/amd64=-")
	f("the index, not signed", zero, missing, "", "linux/amd64=+")

	f("or every: the index, signed", or, pass, "", own+"+", "linux/amd64=-")
	f("or every: all signed", or, pass, "", "linux/amd64=+", "linux/arm64/v8=+", "windows/amd64=+")
	f("or every: attestations of BuildKit", or, pass, "", "linux/amd64=+", "unknown/unknown=-")
	f("or every: nothing but them", or, missing, "", "unknown/unknown=+")
	f("or every: unknown system", or, missing, "", "linux/amd64=+", "unknown/amd64=-")
	f("or every: one not signed", or, missing, `has a manifest for "linux/arm64" that is not signed, and policy "p" requires a signature by "release" (looked for <1 tag>); have it signed`,
		"linux/amd64=+", "linux/arm64=-")
	f("or every: none signed", or, missing, `is not signed, and policy "p" requires a signature by "release" (looked for <tag>); have it signed`, "linux/amd64=-", "linux/arm64=-")
	f("or every: without a platform", or, missing, `has a manifest without a platform (<1>) that is not signed, and policy "p" requires a signature by "release" (looked for <1 tag>); have it signed`,
		"linux/amd64=+", "=-")
	f("or every: one that can't be checked", or, ReasonRegistryUnavailable, "", "linux/amd64=!", "linux/arm64=+")
	f("or every: one that can't be checked, one not signed", or, missing, "", "linux/amd64=+", "linux/386=!", "linux/arm64=-")
	f("or every: what is pushed does not hide behind an outage", or, ReasonRegistryMalformed, "", "linux/amd64=!", "linux/arm64=*")
	f("or every: nor does an outage hide it", or, ReasonRegistryMalformed, "", "linux/amd64=*", "linux/arm64=!")
	f("or every: too many in an outage", or, ReasonRegistryMalformed, "", many("linux/amd64=!", 65)...)
	f("or every: an index in an index", or, absent, `is an index that holds another index, and policy "p" judges the platforms of one only; build it as one index of manifests`, "linux/amd64=+", "=i")
	f("or every: an index in an index that is signed", or, pass, "", own+"+", "=i")
	f("or every: no index", or, missing, "")
	f("or every: as many as are checked", or, pass, "", many("linux/amd64=+", 64)...)
	f("or every: too many", or, ReasonRegistryMalformed, "", many("linux/amd64=+", 65)...)
	f("or every: a hostile platform", or, missing, `has a manifest for "`+strings.Repeat("x", 200)+`"… that is not signed, and policy "p" requires a signature by "release" (looked for <1 tag>); have it signed`,
		"linux/amd64=+", strings.Repeat("x", 5000)+"=-")

	f("list: no index, signed", list("linux/amd64"), pass, "", own+"+")
	f("list: no index, not signed", list("linux/amd64"), missing, `is not signed, and policy "p" requires a signature by "release" (looked for <tag>); have it signed`)
	f("list: signed", list("linux/amd64", "linux/arm64"), pass, "", "linux/amd64=+", "linux/arm64/v8=+", "linux/s390x=-", "unknown/unknown=-")
	f("list: the index alone", list("linux/amd64"), missing, "", own+"+", "linux/amd64=-")
	f("list: one of two not signed", list("linux/amd64", "linux/arm64"), missing, "", "linux/amd64=+", "linux/arm64=-")
	f("list: one of two is there", list("linux/amd64", "linux/s390x"), pass, "", "linux/amd64=+", "windows/s390x=-")
	f("list: none is there", list("linux/amd64", "linux/arm64/v8"), absent, `is an index without any of the platforms linux/amd64, linux/arm64/v8, of which policy "p" requires one; build it for one of them`,
		"windows/amd64=+", "linux/arm/v7=+")
	f("list: without a platform alone", list("linux/amd64"), absent, "", "=+")
	f("list: without a platform beside it", list("linux/amd64"), missing, "", "linux/amd64=+", "=-")
	f("list: half a platform beside it", list("linux/amd64"), missing, "", "linux/amd64=+", "linux/=-")
	f("list: every variant", list("linux/arm"), missing, "", "linux/arm/v7=+", "linux/arm/v6=-")
	f("list: one variant", list("linux/arm/v7"), pass, "", "linux/arm/v7=+", "linux/arm64=-")
	f("list: another variant", list("linux/amd64/v3"), absent, "", "linux/amd64=+")
	f("list: the usual variant, not written", list("linux/arm64/v8"), pass, "", "linux/arm64=+")
	f("list: the usual variant, written", list("linux/arm64"), missing, "", "linux/arm64=+", "linux/arm64/v8=-")
	f("list: an index in an index", list("linux/amd64"), absent, "", "linux/amd64=+", "linux/arm64=i")
	f("list: one that can't be checked", list("linux/amd64"), ReasonRegistryUnavailable, `has a manifest for "linux/amd64" that could not be checked for policy "p": registry reg.test did not answer; try again; if it lasts, tell the cluster's operators`,
		"linux/amd64=!")

	// What runtimes take for the platform is the platform, and so is what they fall back to where there is none.
	for _, spelling := range []string{"linux/x86_64", "Linux/AMD64", "linux/x86-64/v1", "linux/amd64/v2"} {
		f("list: "+spelling, list("linux/amd64"), missing, "", "linux/amd64=+", spelling+"=-")
	}
	for spelling, entry := range map[string]string{
		"linux/aarch64": "linux/arm64", "linux/arm64/8": "linux/arm64/v8", "linux/armhf": "linux/arm/v7", "linux/arm": "linux/arm/v7",
		"linux/armel": "linux/arm/v6", "linux/arm/7": "linux/arm/v7", "linux/i386": "linux/386", "macOS/arm64": "darwin/arm64",
	} {
		f("list: "+spelling, list(entry), missing, "", spelling+"=-")
		f("list: "+spelling, list(entry), pass, "", spelling+"=+")
	}
	f("list: a better one is there", list("linux/amd64"), pass, "", "linux/amd64=+", "linux/386=-")
	f("list: a fallback", list("linux/arm64", "linux/amd64"), missing, "", "linux/amd64=+", "linux/arm/v7=-")
	f("list: a fallback of some machines", list("linux/arm64"), missing, "", "linux/arm64/v9=+", "linux/arm/v7=-")
	f("list: a fallback of a variant", list("linux/amd64/v3", "linux/arm64"), missing, "", "linux/arm64=+", "linux/amd64=-")
	f("list: a fallback of amd64", list("linux/amd64", "linux/arm64"), missing, "", "linux/arm64=+", "linux/386=-")
	f("list: the very variant", list("linux/arm64/v9"), pass, "", "linux/arm64/v9=+", "linux/arm/v7=-", "linux/arm64=-")
	f("list: a fallback that is signed", list("linux/arm64", "linux/amd64"), pass, "", "linux/amd64=+", "linux/arm/v7=+")
}

func many(manifest string, n int) []string { return slices.Repeat([]string{manifest}, n) }

// TestChildren is what a judgement does with the port that lists an index.
func TestChildren(t *testing.T) {
	t.Parallel()
	or := func(p *Policy) { p.Platforms.OrEvery = true }
	list := func(p *Policy) { p.Platforms.List = []string{"linux/amd64"} }
	f := func(what string, err error, reason Reason, children []Child, options ...func(*Policy)) *facts {
		t.Helper()
		ports := &facts{childErr: err}
		d := ports.push("reg.test/app:1")
		ports.children = map[Digest][]Child{d: children}
		if children != nil {
			ports.sign(children[0].Digest, "a", nil)
		}
		outcome := Deny
		if reason == ReasonPassed {
			outcome = Allow
		}
		judged(t, ports, what, "reg.test/app:1", outcome, reason, "", options...)
		return ports
	}
	two := signedBy("a", "b")
	for _, platforms := range []func(*Policy){or, list} {
		ports := f("an index that can't be had", unreachable, ReasonRegistryUnavailable, nil, two, platforms)
		if ports.listings != 1 {
			t.Errorf("the children were asked for %d times", ports.listings)
		}
		f("an error that nobody expected", errors.New("oops"), ReasonInternal, nil, two, platforms)
		f("nonsense", nil, ReasonInternal, []Child{{Digest: "latest", Platform: "linux/amd64"}}, two, platforms)
		f("an index that is too large", &Failure{Reason: ReasonRegistryMalformed}, ReasonRegistryMalformed, nil, two, platforms, onError(OnErrorAllow))
	}
	child := []Child{{Digest: digestOf("x"), Platform: "linux/amd64"}}
	// An index that can't be checked may be signed itself, which is for another time to tell.
	ports := &facts{}
	d := ports.push("reg.test/app:1")
	ports.children, ports.down = map[Digest][]Child{d: child}, map[Digest]error{d: unreachable}
	ports.sign(child[0].Digest, "a", nil)
	judged(t, ports, "an index that can't be checked", "reg.test/app:1", Deny, ReasonRegistryUnavailable, "", signedBy("a"), or)
	// Each manifest must satisfy one and the same authority.
	children := append(child, Child{Digest: digestOf("y"), Platform: "linux/arm64"})
	ports = &facts{}
	ports.children = map[Digest][]Child{ports.push("reg.test/app:1"): children}
	ports.sign(children[0].Digest, "a", nil)
	ports.sign(children[1].Digest, "b", nil)
	judged(t, ports, "two authorities, each for one", "reg.test/app:1", Deny, ReasonSignatureMissing, "", two, or)
	ports.sign(children[1].Digest, "a", nil)
	judged(t, ports, "one for both", "reg.test/app:1", Allow, ReasonPassed, "", two, or)
	// A manifest that is there many times is asked about once.
	ports = &facts{}
	ports.children = map[Digest][]Child{ports.push("reg.test/app:1"): slices.Repeat(child, 100)}
	ports.sign(child[0].Digest, "a", nil)
	judged(t, ports, "one manifest many times", "reg.test/app:1", Allow, ReasonPassed, "", signedBy("a"), or)
	if _, verifies := ports.counts(); verifies != 2 {
		t.Errorf("%d verifications of an index and its manifest", verifies)
	}
	// The first that is refused decides.
	ports = &facts{}
	ports.index("reg.test/app:1", "linux/amd64=-", "linux/arm64=-")
	judged(t, ports, "two not signed", "reg.test/app:1", Deny, ReasonSignatureMissing, "", signedBy("a"), or)
	if _, verifies := ports.counts(); verifies != 2 {
		t.Errorf("%d verifications of an index and the first of its manifests", verifies)
	}
	// The signature closest to passing speaks, be it the index's or a manifest's.
	ports = &facts{verifyErr: map[string]error{"forger": &Failure{Reason: ReasonSignatureInvalid}}}
	ports.children = map[Digest][]Child{ports.push("reg.test/app:1"): child}
	judged(t, ports, "the index speaks", "reg.test/app:1", Deny, ReasonSignatureInvalid, `is signed, but not by "forger", as policy "p" requires; have it signed with that key`, signedBy("forger"), or)
	ports = &facts{}
	ports.children = map[Digest][]Child{ports.push("reg.test/app:1"): child}
	ports.sign(child[0].Digest, "a", nil)
	judged(t, ports, "the manifest speaks", "reg.test/app:1", Deny, ReasonAnnotationsMismatch,
		`has a manifest for "linux/amd64" that is signed by "a", but not with the annotations env=prod, as policy "p" requires; have it signed again with them`,
		authorities(1, named("a", func(a *Authority) { a.Annotations = map[string]string{"env": "prod"} })), or)
	// A policy that does not ask about platforms does not ask for them.
	if ports := f("no platforms", unreachable, ReasonSignatureMissing, nil, two); ports.listings != 0 {
		t.Error("the children were asked for although no policy wants them")
	}
}
