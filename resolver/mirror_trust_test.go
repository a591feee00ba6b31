package resolver

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"sluice/engine"
	"sluice/resolver/registrytest"
)

// TestNoCredentialsForMirrors: whatever a mirror asks for, it gets what its own file says and nothing else.
func TestNoCredentialsForMirrors(t *testing.T) {
	t.Parallel()
	for _, auth := range []registrytest.Auth{registrytest.BasicAuth, registrytest.BearerAuth} {
		for name, realm := range map[string]string{
			"own": "http://" + mirrorHost + "/token", "the registry's": "http://" + registryHost + "/token", "a listed one": "http://" + otherHost + "/token",
		} {
			h := newHouse(t, registrytest.Options{Auth: auth, Username: "robot", Password: secretWord, Realm: "http://" + registryHost + "/token"},
				registrytest.Options{Auth: auth, Username: "mirror", Password: "x", Realm: realm})
			want := h.same(t, "team/app:1")
			h.note(nil)
			h.net.add(otherHost+":80", h.mirror)
			r := h.resolver(t, plainMirror+"[host.\"http://"+mirrorHost+"\".header]\nX-Mine = [\"a\", \"b\"]\nuser-agent = \"node\"", func(e *Registry) {
				e.UsernameFile, e.PasswordFile = writeFile(t, "robot"), writeFile(t, secretWord)
				e.TokenHosts = []string{otherHost}
			})
			image := ref(t, "%s/team/app:1", registryHost)
			image.Access = access("a", engine.NewLogin("access", secretWord))
			for range 2 {
				if got, err := r.Resolve(wait(t), image, engine.KnownFacts); err != nil || got.Digest != want {
					t.Errorf("%s: %+v, %v", name, got, err)
				}
			}
			for _, req := range h.requests() {
				if a := req.Header.Get("Authorization"); a != "" {
					t.Errorf("%s: %s was sent to %s", name, a, req.Host)
				}
				if req.Host == mirrorHost && (strings.Join(req.Header["X-Mine"], ",") != "a,b" || req.UserAgent() != "node") {
					t.Errorf("%s: the headers are %v", name, req.Header)
				}
				if req.Host != mirrorHost && req.Header["X-Mine"] != nil {
					t.Errorf("%s: the mirror's header was sent to %s", name, req.Host)
				}
			}
			if len(h.requests()) == 0 {
				t.Error("the mirror was not asked")
			}
		}
	}
}

// TestMirrorsOwnLogin is what its file says, and goes nowhere else.
func TestMirrorsOwnLogin(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Options{}, registrytest.Options{Auth: registrytest.BasicAuth, Username: "m", Password: "p"})
	want := push(t, h.mirror, "team/app:1")
	r := h.resolver(t, plainMirror+"[host.\"http://"+mirrorHost+"\".header]\nauthorization = \"Basic bTpw\"", nil)
	if got, err := r.Resolve(wait(t), ref(t, "%s/team/app:1", registryHost), engine.KnownFacts); err != nil || got.Digest != want {
		t.Errorf("%+v, %v", got, err)
	}
	var seen []string
	var mu sync.Mutex
	h.origin.SetFaultEverywhere(registrytest.Hook(func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Header.Get("Authorization"))
		return false
	}))
	h.mirror.SetFaultEverywhere(registrytest.Redirect("http://" + registryHost))
	_, _ = r.Manifest(wait(t), ref(t, "%s/team/app@%s", registryHost, want))
	if len(seen) == 0 || strings.Join(seen, "") != "" {
		t.Errorf("the registry was sent %q", seen)
	}
}

// TestInsecureOwnServer: a registry that is only said to be itself gets no credentials.
func TestInsecureOwnServer(t *testing.T) {
	t.Parallel()
	f := func(toml string, plain, trusted bool) {
		t.Helper()
		h := newHouse(t, registrytest.Options{
			TLS: strings.Contains(toml, "skip_verify") || strings.Contains(toml, "ca ="), Auth: registrytest.BasicAuth, Username: "robot", Password: secretWord,
		}, registrytest.Options{})
		want := push(t, h.origin, "team/app:1")
		toml = strings.Replace(toml, "CA", caFile(t, h.origin), 1)
		r := h.resolver(t, toml, func(e *Registry) {
			e.PlainHTTP = plain
			e.UsernameFile, e.PasswordFile = writeFile(t, "robot"), writeFile(t, secretWord)
		})
		got, err := r.Resolve(wait(t), ref(t, "%s/team/app:1", registryHost), engine.KnownFacts)
		if trusted && (err != nil || got.Digest != want) || !trusted && reasonOf(err) != engine.ReasonRegistryDenied {
			t.Errorf("%s: %+v, %v", toml, got, err)
		}
	}
	f("skip_verify = true", false, false)
	f("server = \"https://"+registryHost+"\"\nskip_verify = true", false, false)
	f("server = \"http://"+registryHost+"\"", false, false)
	f("server = \"http://"+registryHost+"\"", true, true)
	f("server = \"https://"+registryHost+":443\"\nca = \"CA\"", false, true)
	f("ca = [\"CA\"]", false, true)
	f("", true, true)
}

// TestMirrorTLS: the file's authorities and no others are believed beside the system's, or what it says is not checked.
func TestMirrorTLS(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Options{TLS: true}, registrytest.Options{TLS: true})
	want := push(t, h.mirror, "team/app:1")
	ours := caFile(t, h.origin, h.mirror)
	f := func(table string, entry func(*Registry), ok bool) {
		t.Helper()
		r := h.resolver(t, table, func(e *Registry) {
			e.PlainHTTP = false
			if entry != nil {
				entry(e)
			}
		})
		got, err := r.Resolve(wait(t), ref(t, "%s/team/app:1", registryHost), engine.KnownFacts)
		if (err == nil && got.Digest == want) != ok {
			t.Errorf("%s: %+v, %v", table, got, err)
		}
	}
	secure := "[host.\"https://" + mirrorHost + "\"]\n"
	f(secure, nil, false)
	f(secure, func(e *Registry) { e.CAFile = ours }, false) // that is for the registry
	f(secure+"ca = \""+caFile(t, h.origin)+"\"", nil, false)
	f(secure+"ca = \""+caFile(t, h.mirror)+"\"", nil, true)
	f(secure+"skip_verify = true", nil, true)
	f(secure+"skip_verify = false", nil, false)
	f(plainMirror, nil, false)
	f(plainMirror+"skip_verify = true\ndial_timeout = \"9s\"", nil, true) // https is tried first where it says anything of TLS
	f("[host.\"http://"+mirrorHost+":80\"]\nskip_verify = true", nil, false)

	plain := newHouse(t, registrytest.Options{}, registrytest.Options{})
	want = push(t, plain.mirror, "team/app:1")
	r := plain.resolver(t, plainMirror+"skip_verify = true", nil)
	for range 2 {
		if got, err := r.Resolve(wait(t), ref(t, "%s/team/app:1", registryHost), engine.KnownFacts); err != nil || got.Digest != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
}
