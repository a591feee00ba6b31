package engine

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unique"
	"weak"
)

func by(access *Access, images ...string) *Request {
	return &Request{Namespace: "default", Images: images, Access: access}
}

// TestAccess: what one has found out is nobody else's, and all three ports know whom they ask for.
func TestAccess(t *testing.T) {
	t.Parallel()
	ports := &facts{}
	d := ports.push("reg.test/app:1")
	ports.children = map[Digest][]Child{d: nil}
	e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "**", pins, signedBy("release"), func(p *Policy) { p.Platforms.OrEvery = true }))
	f := func(req *Request, want ...string) {
		t.Helper()
		ports.accesses = nil
		ask(t, e, req)
		if !slices.Equal(ports.accesses, want) {
			t.Errorf("asked with %q, want %q", ports.accesses, want)
		}
		if res := ask(t, e, req); !res.Hit {
			t.Errorf("what was found out with %q is not remembered", want)
		}
	}
	const image = "reg.test/app:1"
	// Pinning takes a resolution, and judging a verification and a look into the index, too.
	f(by(nil, image), "-", "-", "-")
	f(by(&Access{ID: "a"}, image), "a", "a", "a")
	f(by(&Access{ID: "b"}, image), "b", "b", "b")
	f(by(&Access{ID: "a"}, image)) // another Access, and the same credentials
	for _, id := range []string{"a", "b"} {
		req := pin(image)
		req.Access = &Access{ID: id}
		f(req, id)
	}
	f(pin(image), "-")
	// Without an ID, it can't be told from others.
	f(by(&Access{Logins: func(string, string) []Login { return nil }}, image))
	f(by(&Access{}, "reg.test/other:1"), "-")
}

// TestAccessIsNotJoined: of those who wait for the same, only those with the same credentials wait for one.
func TestAccessIsNotJoined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := make(chan struct{})
		ports := &facts{wait: func(context.Context) error { <-begin; return nil }}
		ports.push("reg.test/app:1")
		e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "**", pins))
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				req := by(&Access{ID: fmt.Sprint(i % 3)}, "reg.test/app:1")
				req.Pin = i%2 == 0
				if res := ask(t, e, req); res.Outcome != Allow || (res.Images()[0].Rewrite != "") != req.Pin {
					t.Errorf("%s: %s", res.Outcome, res.Message())
				}
			})
		}
		synctest.Wait()
		close(begin)
		wg.Wait()
		slices.Sort(ports.accesses)
		if want := []string{"0", "0", "1", "1", "2", "2"}; !slices.Equal(ports.accesses, want) {
			t.Errorf("resolved with %q, want %q", ports.accesses, want)
		}
	})
}

// TestAccessDecides: an image that only one may see exists for nobody else.
func TestAccessDecides(t *testing.T) {
	t.Parallel()
	ports := &private{facts: &facts{}}
	ports.push("reg.test/app:1")
	e, err := New(Config{Resolver: ports, Verifier: ports})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	e.Load(NewSnapshot([]*Policy{policyFor(t, "p", "**", pins)}, NoMatchDeny))
	owner := &Access{ID: "owner", Logins: func(string, string) []Login { return []Login{NewLogin("me", "secret")} }}
	for range 2 {
		for access, want := range map[*Access]Outcome{owner: Allow, {ID: "other"}: Deny, nil: Deny} {
			if res := ask(t, e, by(access, "reg.test/app:1")); res.Outcome != want {
				t.Errorf("%+v: %s (%s)", access, res.Outcome, res.Reason)
			}
		}
	}
}

// private is a registry that shows its images to who has a login alone.
type private struct{ *facts }

func (p *private) Resolve(ctx context.Context, ref Reference, known Known) (Resolution, error) {
	if ref.Access == nil || ref.Access.Logins == nil {
		return Resolution{}, &Failure{Reason: ReasonImageNotFound, Public: "there is no such image"}
	}
	return p.facts.Resolve(ctx, ref, known)
}

// TestLoginsAreNotPrinted, however they come into a text.
func TestLoginsAreNotPrinted(t *testing.T) {
	t.Parallel()
	l := NewLogin("me", "secret")
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(format, []any{l, &l, []Login{l}}); strings.Contains(got, "me") || strings.Contains(got, "secret") {
			t.Errorf("%s prints %s", format, got)
		}
	}
	if l.Username() != "me" || l.Password() != "secret" {
		t.Error("a login without its parts")
	}
}

// TestViewsAreTold apart, whatever an ID is made of.
func TestViewsAreTold(t *testing.T) {
	t.Parallel()
	a, b := newScope(nil, NoMatchDeny), newScope(nil, NoMatchAllow)
	seen := map[unique.Handle[[32]byte]]viewKey{}
	for _, sc := range []*scope{a, b} {
		seen[sc.rules] = viewKey{}
	}
	for _, sc := range []*scope{a, b} {
		for _, q := range []question{judging, pinning, keeping} {
			for _, id := range []string{"", "\x00", "\x01", "a", "ab", string(sc.fingerprint[:])} {
				k := viewKey{sc.rules, q, id}
				if other, ok := seen[k.fingerprint()]; ok {
					t.Errorf("%+v is %+v", k, other)
				}
				seen[k.fingerprint()] = k
			}
		}
	}
}

// TestRulingOfViews: audit annotations tell the rules, and neither the question nor whose credentials were used.
func TestRulingOfViews(t *testing.T) {
	t.Parallel()
	ports := &facts{}
	ports.push("reg.test/app:1")
	e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "**", keeps, denyTags("latest")))
	var rulings []*Ruling
	fingerprints := map[string]bool{}
	for _, req := range []*Request{
		by(nil, "reg.test/app:1"), by(&Access{ID: "a"}, "reg.test/app:1"), by(&Access{ID: "b"}, "reg.test/app:1"),
		pin("reg.test/app:1"),
		{Namespace: "default", Kept: []string{"reg.test/app:1"}},
	} {
		res := ask(t, e, req)
		rulings = append(rulings, res.Ruling())
		for _, a := range res.Audit() {
			if a.Key == "fingerprint" {
				fingerprints[string(a.Value)] = true
			}
		}
	}
	if got := slices.Collect(maps.Keys(fingerprints)); !slices.Equal(got, []string{e.Snapshot().Fingerprint()}) {
		t.Errorf("fingerprints %s, want %s", got, e.Snapshot().Fingerprint())
	}
	if rulings[0] != rulings[1] || rulings[0] != rulings[2] || rulings[0] == rulings[3] || rulings[0] == rulings[4] {
		t.Errorf("rulings are not shared as they should be: %v", rulings)
	}
}

// TestReloadOfViews: no answer to any question, with whatever access, is given by earlier rules.
func TestReloadOfViews(t *testing.T) {
	t.Parallel()
	ports := &facts{}
	ports.push("reg.test/app:1")
	before := policyFor(t, "p", "**", keeps, pins)
	after := policyFor(t, "p", "**", denyTags("1"))
	e := newEngine(t, ports, NoMatchDeny, before)
	requests := map[*Request][2]Reason{
		by(nil, "reg.test/app:1"):                                {ReasonPassed, ReasonTagDenied},
		by(&Access{ID: "a"}, "reg.test/app:1"):                   {ReasonPassed, ReasonTagDenied},
		pin("reg.test/app:1"):                                    {ReasonPinned, ReasonNotPinned},
		{Namespace: "default", Kept: []string{"reg.test/app:1"}}: {ReasonUnchanged, ReasonTagDenied},
	}
	for i, rules := range []*Policy{before, after, before} {
		e.Load(NewSnapshot([]*Policy{rules}, NoMatchDeny))
		for req, want := range requests {
			if res := ask(t, e, req); res.Reason != want[i%2] || i == 2 && !res.Hit {
				t.Errorf("load %d, %+v: %s, hit %v", i, req, res.Reason, res.Hit)
			}
		}
	}
}

// TestManyAccesses: a namespace with any number of pull secrets takes no more memory than any other number of verdicts,
// and each of its verdicts is its own.
func TestManyAccesses(t *testing.T) {
	e, err := New(Config{Resolver: everything{}, Verifier: everything{}, MaxVerdicts: 500})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	e.Load(NewSnapshot([]*Policy{policyFor(t, "p", "**", pins)}, NoMatchDeny))
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for i := range 2 * maxScopes {
		secret := make([]byte, 4096)
		req := by(&Access{
			ID:     fmt.Sprintf("%064d", i),
			Logins: func(string, string) []Login { return []Login{NewLogin("x", string(secret))} },
		}, "reg.test/app:1")
		if res := ask(t, e, req); res.Outcome != Allow || res.Hit {
			t.Fatalf("access %d: %s, hit %v", i, res.Outcome, res.Hit)
		}
		if res := ask(t, e, req); !res.Hit {
			t.Fatalf("access %d: no hit", i)
		}
	}
	// 4,096 keys and what finds them are under a MiB, and 500 verdicts a quarter.
	if grown, limit := heap()-before, int64(3<<20); grown > limit {
		t.Errorf("the heap has grown by %d KiB, want at most %d", grown>>10, limit>>10)
	}
}

// TestAccessIsLetGo: what is remembered of credentials is not the credentials.
func TestAccessIsLetGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ports := &facts{}
		ports.push("reg.test/app:1")
		e := newEngine(t, ports, NoMatchDeny, policyFor(t, "p", "**", keeps, pins, func(p *Policy) { p.AllowTTL = life }))
		var all []weak.Pointer[Access]
		for _, req := range []*Request{by(nil, "reg.test/app:1"), pin("reg.test/app:1"), {Namespace: "default", Kept: []string{"reg.test/app:1"}}} {
			req.Access = &Access{ID: "a"}
			all = append(all, weak.Make(req.Access))
			ask(t, e, req)
			time.Sleep(life * 91 / 100)
			if !ask(t, e, req).Hit {
				t.Fatal("no hit")
			}
			synctest.Wait() // until it is renewed
			*req = Request{}
		}
		if s := e.Stats().Refreshes; s.Renewed != 3 {
			t.Fatalf("%+v", s)
		}
		runtime.GC()
		for i, p := range all {
			if p.Value() != nil {
				t.Errorf("request %d: the credentials are still held", i)
			}
		}
	})
}
