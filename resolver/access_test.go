package resolver

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/engine"
	"sluice/resolver/registrytest"
)

// access makes an Access whose logins are for all.
func access(id string, logins ...engine.Login) *engine.Access {
	return &engine.Access{ID: id, Logins: func(string, string) []engine.Login { return logins }}
}

var (
	rightLogin = engine.NewLogin("robot", secretWord)
	wrongLogin = engine.NewLogin("robot", "wr0ng-word")
	oddLogin   = engine.NewLogin("ro:bot", secretWord)
	emptyLogin = engine.NewLogin("", "")
)

var bothAuths = map[string]registrytest.Auth{"basic": registrytest.BasicAuth, "bearer": registrytest.BearerAuth}

// private starts a registry that lets robot in.
func private(t *testing.T, auth registrytest.Auth) *registrytest.Registry {
	t.Helper()
	return startRegistry(t, registrytest.Options{Auth: auth, Username: "robot", Password: secretWord, Referrers: true})
}

// as returns a reference with an Access.
func as(r engine.Reference, a *engine.Access) engine.Reference {
	r.Access = a
	return r
}

// TestLoginsAreTriedInTurn: an Access's first, four at most, and then the configuration's.
func TestLoginsAreTriedInTurn(t *testing.T) {
	t.Parallel()
	for name, auth := range bothAuths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := private(t, auth)
			want := push(t, reg, "team/app:1")
			configured := func(password string) func(*Registry) {
				return func(e *Registry) { e.UsernameFile, e.PasswordFile = writeFile(t, "robot"), writeFile(t, password) }
			}
			f := func(what string, a *engine.Access, change func(*Registry), ok bool) {
				t.Helper()
				entry := Registry{Host: reg.Host(), PlainHTTP: true, Retries: -1}
				if change != nil {
					change(&entry)
				}
				r := newTest(t, nil, Config{Registries: []Registry{entry}, TagTTL: 1})
				image := as(ref(t, "%s/team/app:1", reg.Host()), a)
				for round := range 3 {
					reg.Reset()
					got, err := r.Resolve(wait(t), image, engine.KnownFacts)
					switch {
					case ok && (err != nil || got.Digest != want):
						t.Errorf("%s: %+v, %v", what, got, err)
					case !ok:
						wantFailure(t, err, engine.ReasonRegistryDenied, "refused access", secretWord, "wr0ng-word")
					case round > 0 && reg.Counts().Requests() != 1: // what was let in is remembered
						t.Errorf("%s: %+v", what, reg.Counts())
					}
					if n := reg.Counts().Requests(); n > 12 {
						t.Errorf("%s: %d requests", what, n)
					}
				}
			}
			f("first", access("a", rightLogin, wrongLogin), nil, true)
			f("second", access("a", wrongLogin, rightLogin), nil, true)
			f("fourth", access("a", wrongLogin, oddLogin, emptyLogin, rightLogin), nil, true)
			f("fifth", access("a", wrongLogin, wrongLogin, wrongLogin, wrongLogin, rightLogin), nil, false)
			f("configured", access("a", wrongLogin, wrongLogin), configured(secretWord), true)
			f("all wrong", access("a", wrongLogin), configured("wr0ng-word"), false)
			f("before a wrong one", access("a", rightLogin), configured("wr0ng-word"), true)
			f("none", access("a"), nil, false)
			f("nobody's", nil, nil, false)
			f("no ID", access("", rightLogin), nil, false)
			f("no logins", &engine.Access{ID: "a"}, nil, false)
		})
	}
}

// TestALoginThatCanNotBeSent: that a pod's own login makes a registry fail leaves nothing open. It is as good as none.
func TestALoginThatCanNotBeSent(t *testing.T) {
	t.Parallel()
	for name, auth := range bothAuths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := startRegistry(t, registrytest.Options{TLS: true, Auth: auth, Username: "robot", Password: secretWord})
			want := push(t, reg, "team/app:1")
			long := access("long", wrongLogin, engine.NewLogin("robot", strings.Repeat("x", 900_000)), rightLogin)
			entry := Registry{Host: reg.Host(), CAFile: caFile(t, reg), Retries: -1}
			image := as(ref(t, "%s/team/app:1", reg.Host()), long)
			r := newTest(t, nil, Config{Registries: []Registry{entry}, TagTTL: 1})
			for range 2 {
				_, err := r.Resolve(wait(t), image, engine.KnownFacts)
				wantFailure(t, err, engine.ReasonRegistryDenied, "refused access", secretWord)
			}
			entry.UsernameFile, entry.PasswordFile = writeFile(t, "robot"), writeFile(t, secretWord)
			r = newTest(t, nil, Config{Registries: []Registry{entry}, TagTTL: 1})
			for range 2 {
				if got, err := r.Resolve(wait(t), image, engine.KnownFacts); err != nil || got.Digest != want {
					t.Errorf("%+v, %v", got, err)
				}
			}
			reg.Close()
			_, err := r.Resolve(wait(t), image, engine.KnownFacts)
			wantFailure(t, err, engine.ReasonRegistryUnavailable, "could not be reached", secretWord)
		})
	}
}

// TestAccessReachesEverything that is asked of a registry.
func TestAccessReachesEverything(t *testing.T) {
	t.Parallel()
	for name, auth := range bothAuths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := private(t, auth)
			d := push(t, reg, "team/app:1")
			index, err := reg.PushIndex("team/app:all", 2)
			if err != nil {
				t.Fatal(err)
			}
			blob := pushBlob(t, reg, "team/app", "x")
			r := plain(t, reg)
			asks := map[string]func(*engine.Access) error{
				"tag": func(a *engine.Access) error {
					_, err := r.Resolve(wait(t), as(ref(t, "%s/team/app:1", reg.Host()), a), engine.KnownFacts)
					return err
				},
				"manifest": func(a *engine.Access) error {
					_, err := r.Manifest(wait(t), as(ref(t, "%s/team/app@%s", reg.Host(), d), a))
					return err
				},
				"blob": func(a *engine.Access) error {
					_, err := r.Blob(wait(t), as(ref(t, "%s/team/app:1", reg.Host()), a), blob, 1)
					return err
				},
				"children": func(a *engine.Access) error {
					_, err := r.Children(wait(t), as(ref(t, "%s/team/app@%s", reg.Host(), index), a))
					return err
				},
				"referrers": func(a *engine.Access) error {
					_, err := r.Referrers(wait(t), as(ref(t, "%s/team/app@%s", reg.Host(), d), a))
					return err
				},
			}
			// Whatever the first was told, nobody else is: from no cache, and by no token.
			for what, ask := range asks {
				for range 2 {
					if err := ask(access("good", rightLogin)); err != nil {
						t.Errorf("%s: %v", what, err)
					}
					for _, other := range []*engine.Access{nil, access("bad", wrongLogin), access("none"), access("", rightLogin)} {
						wantFailure(t, ask(other), engine.ReasonRegistryDenied, "refused access", secretWord, "wr0ng-word")
					}
				}
			}
			// Nor the other way round.
			if err := asks["tag"](access("other", wrongLogin, rightLogin)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNoReferrersAPIIsNotAnothers: where one is told that there is none, another may be told otherwise.
func TestNoReferrersAPIIsNotAnothers(t *testing.T) {
	t.Parallel()
	reg := private(t, registrytest.BasicAuth)
	d := push(t, reg, "team/app:1")
	if _, err := reg.PutReferrer("team/app", string(d), "application/x", "", registrytest.SignatureLayer{Payload: []byte("x"), MediaType: "text/plain"}); err != nil {
		t.Fatal(err)
	}
	reg.SetFault(registrytest.Referrers, registrytest.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		if user, _, _ := r.BasicAuth(); user == "stranger" {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	}))
	reg.SetFault(registrytest.ManifestByTag, registrytest.Status(404))
	r, image := plain(t, reg), ref(t, "%s/team/app@%s", reg.Host(), d)
	_, _ = r.Manifest(wait(t), as(image, access("a", rightLogin))) // so that the challenge is known
	list, err := r.Referrers(wait(t), as(image, access("s", engine.NewLogin("stranger", "x"))))
	if err != nil || !list.FallbackTag {
		t.Errorf("%+v, %v", list, err)
	}
	list, err = r.Referrers(wait(t), as(image, access("a", rightLogin)))
	if err != nil || list.Total != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestLoadsAreNotJoinedAcrossAccesses, however much they are alike.
func TestLoadsAreNotJoinedAcrossAccesses(t *testing.T) {
	t.Parallel()
	reg := private(t, registrytest.BearerAuth)
	want := push(t, reg, "team/app:1")
	gate := make(chan struct{})
	reg.SetFault(registrytest.ManifestByTag, registrytest.Until(gate))
	r, image := plain(t, reg), ref(t, "%s/team/app:1", reg.Host())
	type answer struct {
		d   engine.Digest
		err error
	}
	ask := func(a *engine.Access) <-chan answer {
		c := make(chan answer, 1)
		go func() {
			got, err := r.Resolve(wait(t), as(image, a), engine.KnownFacts)
			c <- answer{got.Digest, err}
		}()
		return c
	}
	good, also, bad, nobody := ask(access("a", rightLogin)), ask(access("a", rightLogin)), ask(access("b", wrongLogin)), ask(nil)
	until(t, "three loads", func() bool { return reg.Counts().ManifestByTag == 3 && r.TagStats().Joined == 1 })
	close(gate)
	for _, c := range []<-chan answer{good, also} {
		if got := <-c; got.err != nil || got.d != want {
			t.Error(got)
		}
	}
	for _, c := range []<-chan answer{bad, nobody} {
		wantFailure(t, (<-c).err, engine.ReasonRegistryDenied, "refused access", secretWord)
	}
}

// TestBadLoginAndPublicImage: then nobody's login is as good.
func TestBadLoginAndPublicImage(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{Auth: registrytest.BearerAuth, Username: "robot", Password: secretWord})
	want := push(t, reg, "team/app:1")
	reg.SetFault(registrytest.Token, registrytest.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "" {
			r.SetBasicAuth("robot", secretWord) // everybody gets a token
		}
		return false
	}))
	r := plain(t, reg)
	got, err := r.Resolve(wait(t), as(ref(t, "%s/team/app:1", reg.Host()), access("a", wrongLogin)), engine.KnownFacts)
	if err != nil || got.Digest != want {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestForbiddenLogin: one that is known, and not allowed, is followed by the next.
func TestForbiddenLogin(t *testing.T) {
	t.Parallel()
	reg := private(t, registrytest.BasicAuth)
	want := push(t, reg, "team/app:1")
	reg.SetFault(registrytest.ManifestByTag, registrytest.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		if user, _, _ := r.BasicAuth(); user == "guest" {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}))
	r, image := plain(t, reg), ref(t, "%s/team/app:1", reg.Host())
	guest := engine.NewLogin("guest", "x")
	got, err := r.Resolve(wait(t), as(image, access("a", guest, rightLogin)), engine.KnownFacts)
	if err != nil || got.Digest != want {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = r.Resolve(wait(t), as(image, access("b", guest)), engine.KnownFacts)
	wantFailure(t, err, engine.ReasonRegistryDenied, "refused access (40", secretWord)
}

// TestRejectedTokenIsRenewed once, for the login that it was given to, before another is tried.
func TestRejectedTokenIsRenewed(t *testing.T) {
	t.Parallel()
	reg := private(t, registrytest.BearerAuth)
	d := push(t, reg, "team/app:1")
	r, image := plain(t, reg), ref(t, "%s/team/app@%s", reg.Host(), d)
	a := access("a", rightLogin, wrongLogin)
	if _, err := r.Manifest(wait(t), as(image, a)); err != nil {
		t.Fatal(err)
	}
	reg.RevokeTokens()
	reg.Reset()
	if _, err := r.Manifest(wait(t), as(image, a)); err != nil {
		t.Fatal(err)
	}
	if c := reg.Counts(); c.ManifestByDigest != 2 || c.Token != 1 {
		t.Errorf("%+v", c)
	}
}

// TestHostileChallenges: a registry that says no in ever new ways gets a bounded number of requests.
func TestHostileChallenges(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{})
	push(t, reg, "team/app:1")
	var n atomic.Int64
	reg.SetFault(registrytest.ManifestByTag, registrytest.Hook(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+reg.URL()+`/token",service="`+strings.Repeat("x", int(n.Add(1)))+`"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}))
	keychain := &ring{logins: []engine.Login{rightLogin, wrongLogin, rightLogin, wrongLogin, rightLogin}}
	r := newTest(t, nil, Config{Registries: []Registry{{Host: reg.Host(), PlainHTTP: true, Retries: -1}}, Keychain: keychain})
	image := as(ref(t, "%s/team/app:1", reg.Host()), access("a", rightLogin, wrongLogin, rightLogin, wrongLogin, rightLogin))
	_, err := r.Resolve(wait(t), image, engine.KnownFacts)
	wantFailure(t, err, engine.ReasonRegistryDenied, "refused access", secretWord)
	if got := reg.Counts().ManifestByTag; got > 2*2*maxLogins+1 {
		t.Errorf("%d requests", got)
	}
}

// ring is a Keychain.
type ring struct {
	logins []engine.Login
	err    error
	asked  atomic.Int64

	mu    sync.Mutex
	about string
}

func (k *ring) Logins(ctx context.Context, registry, repository string) ([]engine.Login, error) {
	k.asked.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.about = registry + "/" + repository
	return k.logins, errors.Join(k.err, ctx.Err())
}

// TestKeychain: it is asked once a registry wants credentials, and none are configured for it.
func TestKeychain(t *testing.T) {
	t.Parallel()
	for name, auth := range bothAuths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := private(t, auth)
			want := push(t, reg, "team/app:1")
			f := func(what string, k *ring, a *engine.Access, password string, reason engine.Reason, public string, asked bool) {
				t.Helper()
				entry := Registry{Host: reg.Host(), PlainHTTP: true, Retries: -1}
				if password != "" {
					entry.UsernameFile, entry.PasswordFile = writeFile(t, "robot"), writeFile(t, password)
				}
				r := newTest(t, nil, Config{Registries: []Registry{entry}, Keychain: k, TagTTL: 1})
				for range 2 {
					got, err := r.Resolve(wait(t), as(ref(t, "%s/team/app:1", reg.Host()), a), engine.KnownFacts)
					if reason == engine.ReasonUnknown && (err != nil || got.Digest != want) {
						t.Errorf("%s: %+v, %v", what, got, err)
					}
					if reason != engine.ReasonUnknown {
						wantFailure(t, err, reason, public, secretWord, "wr0ng-word")
					}
				}
				if k.asked.Load() > 0 != asked || asked && k.about != reg.Host()+"/team/app" {
					t.Errorf("%s: asked %d times, about %q", what, k.asked.Load(), k.about)
				}
			}
			const passes = engine.ReasonUnknown
			denied := engine.ReasonRegistryDenied
			f("has it", &ring{logins: []engine.Login{rightLogin}}, nil, "", passes, "", true)
			f("has it second", &ring{logins: []engine.Login{wrongLogin, rightLogin}}, nil, "", passes, "", true)
			f("after the Access", &ring{logins: []engine.Login{rightLogin}}, access("a", wrongLogin), "", passes, "", true)
			f("not before it", &ring{logins: []engine.Login{wrongLogin}}, access("a", rightLogin), "", passes, "", false)
			f("not beside what is configured", &ring{logins: []engine.Login{rightLogin}}, nil, "wr0ng-word", denied, "refused access", false)
			f("has none", &ring{}, nil, "", denied, "refused access", true)
			f("fails", &ring{err: errors.New("exit status 1")}, nil, "", denied, "has credentials that could not be had", true)
			f("fails for now", &ring{err: &engine.Failure{Reason: engine.ReasonTimeout, Public: "p"}}, nil, "", engine.ReasonTimeout, "p", true)

			public := startRegistry(t, registrytest.Options{})
			push(t, public, "team/app:1")
			k := &ring{err: errors.New("x")}
			r := newTest(t, nil, Config{Registries: []Registry{{Host: public.Host(), PlainHTTP: true}}, Keychain: k})
			if _, err := r.Resolve(wait(t), ref(t, "%s/team/app:1", public.Host()), engine.KnownFacts); err != nil || k.asked.Load() != 0 {
				t.Errorf("%d, %v", k.asked.Load(), err)
			}
		})
	}
}

// TestKeychainIsGivenUpOn with the context.
func TestKeychainIsGivenUpOn(t *testing.T) {
	t.Parallel()
	reg := private(t, registrytest.BasicAuth)
	push(t, reg, "team/app:1")
	r := newTest(t, nil, Config{Registries: []Registry{{Host: reg.Host(), PlainHTTP: true}}, Keychain: slow{}})
	ctx, cancel := context.WithTimeout(wait(t), 50*time.Millisecond)
	defer cancel()
	_, err := r.Manifest(ctx, ref(t, "%s/team/app:1", reg.Host()))
	wantFailure(t, err, engine.ReasonTimeout, "did not answer in time")
}

type slow struct{}

func (slow) Logins(ctx context.Context, _, _ string) ([]engine.Login, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
