package credential

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/engine"
)

// names are what tests call logins by.
func names(logins []engine.Login) string {
	var all []string
	for _, l := range logins {
		all = append(all, l.Username())
	}
	return strings.Join(all, " ")
}

// The cases of the kubelet's own TestURLsMatch, and hosts that look alike.
func TestPatternsMatchAsTheKubeletsDo(t *testing.T) {
	t.Parallel()
	f := func(glob, registry, repository string, want bool) {
		t.Helper()
		p, err := parsePattern(glob)
		if err != nil {
			t.Fatalf("%s: %v", glob, err)
		}
		target := parseTarget(registry, repository)
		if got := p.match(&target); got != want {
			t.Errorf("%s matches %s/%s: %v, want %v", glob, registry, repository, got, want)
		}
	}
	f("*.kubernetes.io", "prefix.kubernetes.io", "x", true)
	f("prefix.*.io", "prefix.kubernetes.io", "x", true)
	f("prefix.kubernetes.*", "prefix.kubernetes.io", "x", true)
	f("*-good.kubernetes.io", "prefix-good.kubernetes.io", "x", true)
	f("*.kubernetes.io/blah", "prefix.kubernetes.io", "blah", true)
	f("prefix.*.io/foo", "prefix.kubernetes.io", "foo/bar", true)
	f("*.kubernetes.io:1111/blah", "prefix.kubernetes.io:1111", "blah", true)
	f("prefix.*.io:1111/foo", "prefix.kubernetes.io:1111", "foo/bar", true)
	f("*.kubernetes.io", "kubernetes.io", "x", false)
	f("*.*.kubernetes.io", "prefix.kubernetes.io", "x", false)
	f("*kubernetes.io", "a.kubernetes.io", "x", false)
	f("*kubernetes.io", "kubernetes.io", "x", true)
	f("*.*.*.kubernetes.io", "a.b.c.kubernetes.io", "x", true)
	f("kubernetes.io", "kubernetes.com", "x", false)
	f("k*.io", "quay.io", "x", false)
	f("*.kubernetes.io:1234/blah", "prefix.kubernetes.io:1111", "blah", false)
	f("prefix.*.io/foo", "prefix.kubernetes.io:1111", "foo/bar", false)
	f("registry.io/team", "registry.io", "teamwork", true) // a prefix, not a component
	f("registry.io/team/", "registry.io", "teamwork", false)
	f("[::1]:5000", "[::1]:5000", "x", true)
	f("[::1]:5000", "[::1]:5001", "x", false)

	const ecr = "*.dkr.ecr.*.amazonaws.com"
	f(ecr, "123.dkr.ecr.eu-west-1.amazonaws.com", "x", true)
	f(ecr, "123.dkr.ecr.eu.amazonaws.com.evil.example", "x", false)
	f(ecr, "evil.example.dkr.ecr.eu.amazonaws.com", "x", false)
	f(ecr, "evil.example", "123.dkr.ecr.eu.amazonaws.com", false)
	f(ecr, "123.dkr.ecr.eu.amazonaws.com:8443", "x", false)
	f(ecr, "123.dkr.ecr.eu.amazonawsxcom", "x", false)
	f(ecr, "dkr.ecr.eu.amazonaws.com", "x", false)
	f("*.azurecr.io", "a.azurecr.io.evil.example", "x", false)
	f("*.azurecr.io", "aazurecr.io", "x", false)

	f("docker.io", engine.DockerHub, "library/nginx", true)
	f(engine.DockerHub, engine.DockerHub, "library/nginx", false) // the kubelet calls it docker.io
}

func config(auths string) []byte { return []byte(`{"auths":` + auths + `}`) }

func TestLoginsAreThoseOfTheMostSpecificEntryFirst(t *testing.T) {
	t.Parallel()
	k, err := ParseDockerConfig(config(`{
		"*.example.com": {"username": "glob", "password": "p"},
		"eu.example.com": {"username": "host", "password": "p"},
		"https://eu.example.com/v2/": {"username": "url", "password": "p"},
		"eu.example.com/team": {"username": "path", "password": "p"},
		"eu.example.com/team/app": {"auth": "` + base64.StdEncoding.EncodeToString([]byte("deep:p:q")) + `"},
		"eu.example.com/other": {"username": "other", "password": "p"},
		"eu.example.com:5000": {"username": "port", "password": "p"},
		"anonymous.example.com": {},
		"%zz": {"username": "unreadable", "password": "p"},
		"us.example.com": {"username": "", "password": "token only"}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	f := func(registry, repository, want string) {
		t.Helper()
		if got := names(k.Logins(registry, repository)); got != want {
			t.Errorf("%s/%s: %q, want %q", registry, repository, got, want)
		}
	}
	f("eu.example.com", "team/app", "deep path host url glob")
	f("eu.example.com", "team/web", "path host url glob")
	f("eu.example.com", "x", "host url glob")
	f("eu.example.com:5000", "x", "port")
	f("ap.example.com", "x", "glob")
	f("anonymous.example.com", "x", "glob")
	f("example.com", "x", "")
	f("eu.example.com.evil.example", "x", "")
	if logins := k.Logins("eu.example.com", "team/app"); logins[0].Password() != "p:q" {
		t.Error("a password was cut at its colon")
	}
	if logins := k.Logins("us.example.com", "x"); len(logins) != 2 || logins[0].Password() != "token only" {
		t.Error("a password without a name was lost")
	}
	if n := k.Len(); n != 8 {
		t.Errorf("%d logins, want 8", n)
	}
	var none *Keyring
	if none.Logins("eu.example.com", "x") != nil || none.Len() != 0 {
		t.Error("a nil keyring holds something")
	}
}

func TestDockerHubHasTheNamesOfTheKubelet(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]bool{
		"https://index.docker.io/v1/": true,
		"http://index.docker.io/v1/":  true,
		"https://index.docker.io/v2/": true,
		"https://index.docker.io/":    true,
		"index.docker.io":             true,
		"docker.io":                   true,
		"docker.io/library":           true,
		"*.io":                        true,
		"https://index.docker.io/v1":  false, // not /v1/: the kubelet takes it for a path
		"registry-1.docker.io":        false,
		"*.docker.io":                 false,
		"docker.io/other":             false,
	} {
		k, err := ParseDockerConfig(config(fmt.Sprintf(`{%q: {"username": "u", "password": "p"}}`, location)))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(k.Logins(engine.DockerHub, "library/nginx")) == 1; got != want {
			t.Errorf("%s is for Docker Hub: %v, want %v", location, got, want)
		}
		if len(k.Logins("registry.example.com", "library/nginx")) > 0 {
			t.Errorf("%s is for another registry", location)
		}
	}
}

func TestDockercfgIsAuthsWithoutTheName(t *testing.T) {
	t.Parallel()
	k, err := ParseDockercfg([]byte(`{"https://index.docker.io/v1/": {"auth": "dTpwcQ", "email": "x"}}`)) // unpadded
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Logins(engine.DockerHub, "library/nginx"); len(got) != 1 || got[0] != engine.NewLogin("u", "pq") {
		t.Error("the login was not found")
	}
	if k, err := ParseDockerConfig(config(`null`)); err != nil || k.Len() != 0 {
		t.Errorf("no auths at all: %v", err)
	}
}

func TestHelpersAreNeverLookedAt(t *testing.T) {
	t.Parallel()
	k, err := ParseDockerConfig([]byte(`{"credsStore": "evil", "credHelpers": {"a.example": "evil"}, "auths": {"a.example": {}}}`))
	if err != nil || k.Len() != 0 {
		t.Errorf("%d logins, %v", k.Len(), err)
	}
}

func TestMergeKeepsTheOrderOfItsParts(t *testing.T) {
	t.Parallel()
	parse := func(auths string) *Keyring {
		k, err := ParseDockerConfig(config(auths))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	a := parse(`{"r.example": {"username": "a", "password": "p"}}`)
	b := parse(`{"r.example": {"username": "b", "password": "p"}, "r.example/x": {"username": "deep", "password": "p"}}`)
	if got := names(Merge(a, nil, b, a).Logins("r.example", "x")); got != "deep a b" {
		t.Errorf("got %q", got)
	}
	if got := names(Merge(b, a).Logins("r.example", "x")); got != "deep b a" {
		t.Errorf("got %q", got)
	}
	if Merge(a, b).ID() == Merge(b, a).ID() {
		t.Error("another order, and the same ID")
	}
}

// TestIDIsOfTheContentAlone: namespaces with the same logins share what is found out with them, and no others do.
func TestIDIsOfTheContentAlone(t *testing.T) {
	t.Parallel()
	id := func(parse func([]byte) (*Keyring, error), text string) string {
		k, err := parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return k.ID()
	}
	same := id(ParseDockerConfig, `{"auths":{"r.example":{"username":"u","password":"p"},"q.example":{"auth":"dTpw"}}}`)
	for _, text := range []string{
		`{"q.example":{"username":"u","password":"p","email":"x@y"},"https://r.example/":{"auth":"dTpw"}}`,
		`{"q.example":{"username":"u","password":"p"},"r.example":{"auth":"dTpw"},"https://r.example":{"auth":"dTpw"},"s.example":{}}`,
	} {
		if id(ParseDockercfg, text) != same {
			t.Errorf("%s has another ID", text)
		}
	}
	for _, text := range []string{
		`{}`,
		`{"q.example":{"auth":"dTpw"}}`,
		`{"q.example":{"auth":"dTpw"},"r.example":{"username":"u","password":"pp"}}`,
		`{"q.example":{"auth":"dTpw"},"r.example":{"username":"up","password":""}}`,
		`{"q.example":{"auth":"dTpw"},"r.example/x":{"username":"u","password":"p"}}`,
	} {
		if id(ParseDockercfg, text) == same {
			t.Errorf("%s has the same ID", text)
		}
	}
}

func TestHostileDockerConfigsAreRefused(t *testing.T) {
	t.Parallel()
	const secret = "hunter2hunter2"
	var many strings.Builder
	for i := range maxEntries + 1 {
		fmt.Fprintf(&many, `"r%d.example":{},`, i)
	}
	for _, text := range []string{
		``, `[]`, `"x"`, `{`, `{"auths":[]}`, `{"auths":{"r.example":"` + secret + `"}}`,
		`{"auths":{"r.example":{"auth":"` + secret + `!"}}}`,
		`{"auths":{"r.example":{"auth":"` + base64.StdEncoding.EncodeToString([]byte(secret)) + `"}}}`,
		`{"auths":{"r.example":{"password":["` + secret + `"]}}}`,
		`{"auths":{"r.example":{"password":20261122}}}`,
		`{"auths":{"r.example":{"username":"u","password":"` + secret + `"}}} ` + secret,
		`{"auths":` + strings.Repeat(`{"a":`, 20000) + strings.Repeat(`}`, 20000) + `}`,
		`{"auths":{` + many.String() + `"x.example":{}}}`,
		`{"auths":{"r.example":{"password":"` + strings.Repeat("a", maxDockerConfig) + `"}}}`,
	} {
		k, err := ParseDockerConfig([]byte(text))
		if err == nil {
			t.Errorf("%.40s: it was read", text)
			continue
		}
		if k != nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "aHVudGVyM") || strings.Contains(err.Error(), "20261122") {
			t.Errorf("%.40s: %v", text, err)
		}
	}
	for n, want := range map[int]int{maxLogin - 1: 1, maxLogin: 0} {
		k, err := ParseDockerConfig([]byte(`{"auths":{"r.example":{"username":"u","password":"` + strings.Repeat("a", n) + `"}}}`))
		if err != nil || len(k.Logins("r.example", "x")) != want {
			t.Errorf("%d logins of %d bytes, %v", k.Len(), n, err)
		}
	}
	// Many names of one host, and many globs for it: what is found stays short.
	auths := map[string]dockerEntry{}
	for i := range maxEntries / 2 {
		auths[fmt.Sprintf("https://user%d@r.example", i)] = dockerEntry{Username: fmt.Sprint(i), Password: "p"}
		auths[fmt.Sprintf("r.[e%c]xample", rune('f'+i))] = dockerEntry{Username: fmt.Sprint("g", i), Password: "p"}
	}
	auths[strings.Repeat("a*", maxLocation)+".example"] = dockerEntry{Username: "long", Password: "p"}
	delete(auths, "https://user0@r.example")
	text, _ := json.Marshal(auths)
	k, err := ParseDockercfg(text)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(k.Logins("r.example", "x")); n != maxLogins {
		t.Errorf("%d logins for one image, want %d", n, maxLogins)
	}
}

func TestNothingPrintsALogin(t *testing.T) {
	t.Parallel()
	k, err := ParseDockercfg([]byte(`{"r.example":{"username":"somebody","password":"hunter2"}}`))
	if err != nil {
		t.Fatal(err)
	}
	logins := k.Logins("r.example", "x")
	text := fmt.Sprintf("%v %+v %#v %s %v %+v %#v %s", logins, logins, logins, logins, k, k, k, *k)
	if strings.Contains(text, "hunter2") || strings.Contains(text, "somebody") {
		t.Error("a login was printed")
	}
}
