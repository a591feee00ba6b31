package resolver

import (
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/resolver/registrytest"
)

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "none")
	user, password, empty := writeFile(t, "u"), writeFile(t, "p4ssword"), writeFile(t, "\n")
	config := func(s string) string { return writeFile(t, s) }
	f := func(want string, c Config) {
		t.Helper()
		r, err := New(c)
		if err == nil {
			r.Close()
			t.Errorf("no error, want one with %q", want)
			return
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "p4ssword") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	one := func(want string, r Registry) {
		t.Helper()
		if r.Host == "" {
			r.Host = "registry.example.com"
		}
		f("registries[0] ("+r.Host+"): ", Config{Registries: []Registry{r}})
		f(want, Config{Registries: []Registry{r}})
	}
	f("tagTTL", Config{TagTTL: -1})
	f("maxTags", Config{MaxTags: -1})
	f("userAgent", Config{UserAgent: "a\r\nB: c"})
	f("host: it is empty", Config{Registries: []Registry{{}}})
	for _, s := range []string{
		"https://x.example", "x.example/y", "x..example", ".x.example", "x.example.", "x_y!.example", "x.example:0", "x.example:99999",
		"x.example:http", "[::1", "[x]:5000", "::1", "a b", "**.example.com", "u@x.example", "ex\u00e4mple.com",
	} {
		one("host: ", Registry{Host: s})
	}
	one("redirects \"a/b\"", Registry{Redirects: []string{"a/b"}})
	one("tokenHosts \"*.example.com\"", Registry{TokenHosts: []string{"*.example.com"}})
	one("concurrency", Registry{Concurrency: -1})
	one("timeout", Registry{Timeout: -time.Second})
	one("retries", Registry{Retries: 11})
	one("caFile: open "+missing, Registry{CAFile: missing})
	one("no certificate", Registry{CAFile: user})
	one("exclude each other", Registry{CAFile: user, PlainHTTP: true})
	one("needed together", Registry{UsernameFile: user})
	one("give either", Registry{UsernameFile: user, PasswordFile: password, DockerConfigFile: user})
	one("usernameFile: open", Registry{UsernameFile: missing, PasswordFile: password})
	one("passwordFile: open", Registry{UsernameFile: user, PasswordFile: missing})
	one("must not be empty", Registry{UsernameFile: user, PasswordFile: empty})
	one("colon", Registry{UsernameFile: writeFile(t, "a:b"), PasswordFile: password})
	one("are for one host", Registry{Host: "*.example.com", UsernameFile: user, PasswordFile: password})
	one("dockerConfigFile: open", Registry{DockerConfigFile: missing})
	one("not valid JSON", Registry{DockerConfigFile: config(`{"auths":`)})
	one("not valid JSON", Registry{DockerConfigFile: config(`{"auths":{"registry.example.com":{"password":["p4ssword"]}}}`)})
	one("no entry for registry.example.com", Registry{DockerConfigFile: config(`{"auths":{"example.com":{"auth":"dTpw"}}}`)})
	one("no entry for", Registry{DockerConfigFile: config(`{"auths":{"registry.example.com/team":{"auth":"dTpw"}}}`)})
	one("no entry for", Registry{DockerConfigFile: config(`{"auths":{"*.example.com":{"auth":"dTpw"}}}`)})
	one("credHelpers", Registry{DockerConfigFile: config(`{"credHelpers":{"x":"y"},"auths":{"registry.example.com":{"auth":"dTpw"}}}`)})
	one("credsStore", Registry{DockerConfigFile: config(`{"credsStore":"x","auths":{"registry.example.com":{"auth":"dTpw"}}}`)})
	one("not base64", Registry{DockerConfigFile: config(`{"auths":{"registry.example.com":{"auth":"p4ssword"}}}`)})
	one("identitytoken", Registry{DockerConfigFile: config(`{"auths":{"registry.example.com":{"identitytoken":"p4ssword"}}}`)})
	one("must not be empty", Registry{DockerConfigFile: config(`{"auths":{"registry.example.com":{}}}`)})
	one("two entries", Registry{DockerConfigFile: config(
		`{"auths":{"registry.example.com":{"auth":"dTpw"},"https://registry.example.com/v2/":{"auth":"dTpx"}}}`)})
	f("registries[1] (docker.io): it is never used, because index.docker.io before it",
		Config{Registries: []Registry{{Host: "registry-1.docker.io"}, {Host: "docker.io"}}})
	f("registries[1] (a.example.com): it is never used, because *.example.com before it",
		Config{Registries: []Registry{{Host: "*.example.com"}, {Host: "a.example.com"}}})

	reg := startRegistry(t, registrytest.Options{TLS: true})
	r, err := New(Config{Registries: []Registry{
		{Host: "A.example.com", CAFile: caFile(t, reg), UsernameFile: user, PasswordFile: password},
		{Host: "*.example.com:5000", DockerConfigFile: config(`{"auths":{"b.example.com:5000":{"auth":"dTpw"}}}`)},
		{Host: "[::1]:5000", PlainHTTP: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if reg.Counts().Connections != 0 {
		t.Error("New connected to a registry")
	}
}

func TestDockerConfig(t *testing.T) {
	t.Parallel()
	auth := base64.StdEncoding.EncodeToString([]byte("hub:pass:word"))
	path := writeFile(t, `{"auths":{
		"https://index.docker.io/v1/": {"auth": "`+auth+`"},
		"https://EU.example.com": {"username": "eu", "password": "x"},
		"us.example.com:5000": {"username": "us", "password": "y"},
		"eu.example.com.evil.test": {"username": "no", "password": "z"}
	}, "HttpHeaders": {"User-Agent": "x"}}`)
	f := func(host string, want map[string]credential) {
		t.Helper()
		p, err := parseHostPattern(host)
		if err != nil {
			t.Fatal(err)
		}
		got, err := loadDockerConfig(path, p)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(credential{})); diff != "" {
			t.Errorf("%s: %s", host, diff)
		}
	}
	f("docker.io", map[string]credential{"index.docker.io": {"hub", "pass:word"}})
	f("*.example.com", map[string]credential{"eu.example.com": {"eu", "x"}})
	f("*.example.com:5000", map[string]credential{"us.example.com:5000": {"us", "y"}})
}

func TestHostPattern(t *testing.T) {
	t.Parallel()
	f := func(pattern string, matches, others string) {
		t.Helper()
		p, err := parseHostPattern(pattern)
		if err != nil {
			t.Fatal(pattern, err)
		}
		for _, s := range strings.Fields(matches) {
			if !p.match(canonicalHost(s)) {
				t.Errorf("%s does not match %s", pattern, s)
			}
		}
		for _, s := range strings.Fields(others) {
			if p.match(canonicalHost(s)) {
				t.Errorf("%s matches %s", pattern, s)
			}
		}
	}
	f("Registry.Example.com", "registry.example.com REGISTRY.example.com",
		"registry.example.com:443 registryxexample.com xregistry.example.com registry.example.com.evil.test")
	f("*.example.com", "a.example.com a-b.example.com", "example.com .example.com a.b.example.com a.example.com:5000 aexample.com")
	f("*.dkr.ecr.*.amazonaws.com", "123.dkr.ecr.eu-west-1.amazonaws.com", "123.dkr.ecr.eu.west.amazonaws.com dkr.ecr.x.amazonaws.com")
	f("eu-*.example.com:5000", "eu-1.example.com:5000", "eu-.example.com:5000 eu-1.example.com eu-1.example.com:50000")
	f("localhost:5000", "localhost:5000", "localhost 127.0.0.1:5000")
	f("[::1]:5000", "[::1]:5000", "[::2]:5000")
	f("docker.io", "docker.io index.docker.io registry-1.docker.io", "hub.docker.io docker.io.evil.test")
}

func TestParseChallenge(t *testing.T) {
	t.Parallel()
	f := func(want challenge, ok bool, values ...string) {
		t.Helper()
		got, gotOK := parseChallenges(map[string][]string{"Www-Authenticate": values})
		if got != want || gotOK != ok {
			t.Errorf("%q: %+v, %v", values, got, gotOK)
		}
	}
	hub := challenge{bearer: true, realm: "https://auth.docker.io/token", service: "registry.docker.io"}
	f(hub, true, `Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull"`)
	f(hub, true, `bearer  service=registry.docker.io , REALM="https://auth.docker.io/\token"`)
	f(hub, true, `Basic realm="x"`, `Negotiate`, `Bearer realm="https://auth.docker.io/token",service="registry.docker.io"`)
	f(challenge{}, true, `Basic realm="x"`)
	f(challenge{}, true, `Bearer service="x"`, `BASIC`)
	f(challenge{}, false, `Bearer`)
	f(challenge{}, false, `Bearer realm="https://auth`)
	f(challenge{}, false, `Bearer realm=""`)
	f(challenge{}, false, `Negotiate`)
	f(challenge{}, false, ``)
	f(challenge{}, false)
	f(challenge{}, false, `Bearer realm="`+strings.Repeat("x", 9000)+`"`)
}

func FuzzParseChallenge(f *testing.F) {
	for _, s := range []string{`Bearer realm="https://x/y",service="z"`, `Basic`, `Bearer a=b,`, `Bearer ="\`, "Bearer a=\"\\\"", ",,,=", "0 \xdb\xdb=0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		scheme, params := parseChallenge(s)
		if strings.ContainsAny(scheme, " ") || len(params) > len(s) {
			t.Errorf("%q: %q %q", s, scheme, params)
		}
		for k, v := range params {
			if len(k)+len(v) > len(s) {
				t.Errorf("%q: %q=%q came from nowhere", s, k, v)
			}
		}
	})
}
