package resolver

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/cache"
	"sluice/engine"
	"sluice/resolver/registrytest"
)

// TestHiddenFromLogin: some registries say 404 of what a login may not see. Another is tried, until one was let in to the
// repository; and what was missing for one is missing, whatever the others are told.
func TestHiddenFromLogin(t *testing.T) {
	t.Parallel()
	guest, banned, other := engine.NewLogin("guest", "x"), engine.NewLogin("banned", "x"), engine.NewLogin("other", "x")
	told := map[string]int{"guest": http.StatusNotFound, "banned": http.StatusForbidden}
	for name, auth := range bothAuths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := private(t, auth)
			want := push(t, reg, "team/app:1")
			hide := registrytest.Hook(func(w http.ResponseWriter, r *http.Request) bool {
				user, _, _ := r.BasicAuth()
				if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer of-"); ok {
					user = token
				}
				status := told[user]
				if status != 0 {
					w.WriteHeader(status)
				}
				return status != 0
			})
			for _, kind := range []registrytest.Class{registrytest.ManifestByTag, registrytest.ManifestByDigest, registrytest.Referrers} {
				reg.SetFault(kind, hide)
			}
			reg.SetFault(registrytest.Token, registrytest.Hook(func(w http.ResponseWriter, r *http.Request) bool {
				user, _, _ := r.BasicAuth()
				if told[user] != 0 {
					_, _ = w.Write([]byte(`{"token":"of-` + user + `"}`))
				}
				return told[user] != 0
			}))
			r := plain(t, reg)
			tag, digest := ref(t, "%s/team/app:1", reg.Host()), ref(t, "%s/team/app@%s", reg.Host(), want)
			both := access("both", guest, rightLogin)
			if got, err := r.Resolve(wait(t), as(tag, both), engine.KnownFacts); err != nil || got.Digest != want {
				t.Errorf("%+v, %v", got, err)
			}
			reg.Reset()
			_, err := r.Resolve(wait(t), as(ref(t, "%s/team/app:2", reg.Host()), both), engine.KnownFacts)
			wantFailure(t, err, engine.ReasonImageNotFound, "has no such image")
			if got := reg.Counts().ManifestByTag; got != 1 {
				t.Errorf("%d requests where it is known who may see the repository", got)
			}
			if _, err := r.Manifest(wait(t), as(digest, access("digest", guest, rightLogin))); err != nil {
				t.Error(err)
			}
			if list, err := r.Referrers(wait(t), as(digest, access("referrers", guest, rightLogin))); err != nil || list.FallbackTag {
				t.Errorf("%+v, %v", list, err)
			}
			for _, a := range []*engine.Access{access("a", guest), access("b", guest, banned, other), access("c", other, guest)} {
				_, err := r.Resolve(wait(t), as(tag, a), engine.KnownFacts)
				wantFailure(t, err, engine.ReasonImageNotFound, "has no such image")
			}
		})
	}
}

// seeing starts a registry that is told by status who may see what; it sees everybody else as robot.
func seeing(t *testing.T, status func(user string) int) *registrytest.Registry {
	t.Helper()
	reg := private(t, registrytest.BasicAuth)
	hook := registrytest.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		user, _, ok := r.BasicAuth()
		if !ok {
			return false
		}
		if s := status(user); s != 0 {
			if s == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			}
			w.WriteHeader(s)
			return true
		}
		r.SetBasicAuth("robot", secretWord)
		return false
	})
	for _, class := range []registrytest.Class{registrytest.ManifestByTag, registrytest.ManifestByDigest} {
		reg.SetFault(class, hook)
	}
	return reg
}

// TestHiddenFromTheNext: whom a registry no longer lets in is followed by one who is told 404, and that one by the next.
func TestHiddenFromTheNext(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		var revoked atomic.Bool
		reg := seeing(t, func(user string) int {
			switch {
			case user == "guest":
				return http.StatusNotFound
			case user == "first" && revoked.Load():
				return status
			}
			return 0
		})
		want := push(t, reg, "team/app:1")
		r := newTest(t, nil, Config{Registries: []Registry{{Host: reg.Host(), PlainHTTP: true, Retries: -1}}, TagTTL: 1})
		all := access("a", engine.NewLogin("first", "x"), engine.NewLogin("guest", "x"), engine.NewLogin("second", "x"))
		for range 2 {
			got, err := r.Resolve(wait(t), as(ref(t, "%s/team/app:1", reg.Host()), all), engine.KnownFacts)
			if err != nil || got.Digest != want {
				t.Errorf("%d, revoked %v: %+v, %v", status, revoked.Load(), got, err)
			}
			revoked.Store(true)
		}
	}
}

// TestChoiceEnds: who was let in to a repository is believed for a while, and not for ever.
func TestChoiceEnds(t *testing.T) {
	t.Parallel()
	var moved atomic.Bool
	reg := seeing(t, func(user string) int {
		if (user == "old") == moved.Load() {
			return http.StatusNotFound
		}
		return 0
	})
	want := push(t, reg, "team/app:1")
	r := newTest(t, nil, Config{Registries: []Registry{{Host: reg.Host(), PlainHTTP: true, Retries: -1}}, TagTTL: 1})
	image := as(ref(t, "%s/team/app:1", reg.Host()), access("a", engine.NewLogin("old", "x"), engine.NewLogin("new", "x")))
	f := func(what string, ok bool) {
		t.Helper()
		if got, err := r.Resolve(wait(t), image, engine.KnownFacts); ok != (err == nil) || ok && got.Digest != want {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	f("at first", true)
	moved.Store(true)
	f("believed", false)
	key := choiceKey{reg.Host(), "team/app", "a"}
	c, ok := r.choices.Get(key)
	if left := c.until - r.grants.Now(); !ok || left <= 0 || left > cache.Instant(choiceTTL) {
		t.Fatalf("%v: %+v", ok, c)
	}
	c.until = r.grants.Now()
	r.choices.Put(key, c)
	f("when that has ended", true)
	f("and from then on", true)
}

// TestRedirectOfAnother: where one login is led, another is not sent.
func TestRedirectOfAnother(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusNotFound, http.StatusForbidden} {
		reg := private(t, registrytest.BasicAuth)
		d := push(t, reg, "team/app:1")
		reg.SetFault(registrytest.ManifestByDigest, registrytest.Hook(func(w http.ResponseWriter, r *http.Request) bool {
			user, _, _ := r.BasicAuth()
			switch {
			case strings.Contains(r.URL.Path, "/for-guest/"):
				w.WriteHeader(status)
			case user == "guest":
				http.Redirect(w, r, "/v2/for-guest/manifests/"+string(d), http.StatusTemporaryRedirect)
			default:
				return false
			}
			return true
		}))
		both := access("a", engine.NewLogin("guest", "x"), rightLogin)
		if _, err := plain(t, reg).Manifest(wait(t), as(ref(t, "%s/team/app@%s", reg.Host(), d), both)); err != nil {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// TestMissingBesideUnusableLogin: a login that can't even be sent does not make undecided what another found missing.
func TestMissingBesideUnusableLogin(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{TLS: true, Auth: registrytest.BasicAuth, Username: "robot", Password: secretWord})
	reg.SetFault(registrytest.ManifestByTag, registrytest.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		user, _, _ := r.BasicAuth()
		if user == "guest" {
			w.WriteHeader(http.StatusNotFound)
		}
		return user == "guest"
	}))
	r := newTest(t, nil, Config{Registries: []Registry{{Host: reg.Host(), CAFile: caFile(t, reg), Retries: -1}}})
	logins := access("a", engine.NewLogin("guest", "x"), engine.NewLogin("robot", strings.Repeat("x", 900_000)))
	_, err := r.Resolve(wait(t), as(ref(t, "%s/team/app:none", reg.Host()), logins), engine.KnownFacts)
	wantFailure(t, err, engine.ReasonImageNotFound, "has no such image")
}
