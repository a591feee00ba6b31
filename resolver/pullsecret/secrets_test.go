package pullsecret

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

func TestAPodsOwnSecretsComeBeforeItsServiceAccounts(t *testing.T) {
	t.Parallel()
	a := newAPI()
	a.account("shop", "default", "of-default")
	a.account("shop", "builder", "of-builder", "second", "", "../x", "of-builder")
	a.account("bare", "default")
	for _, name := range []string{"of-default", "of-builder", "second", "own"} {
		a.secret("shop", name, name)
	}
	l := start(t, a, nil)
	f := func(want, namespace, account string, names []string, requests ...string) {
		t.Helper()
		if got := who(l.load(t, namespace, account, names...)); got != want {
			t.Errorf("%s %s %v: %s, want %s", namespace, account, names, got, want)
		}
		a.wantRequests(t, requests...)
		access, known := l.Known(namespace, account, names)
		if got := who(access); !known || got != want {
			t.Errorf("%s %s %v: known %v: %s, want %s", namespace, account, names, known, got, want)
		}
	}
	f("of-default", "shop", "", nil, "shop/serviceaccounts/default", "shop/secrets/of-default")
	f("of-default", "shop", "default", nil) // the same
	f("of-builder second", "shop", "builder", nil,
		"shop/serviceaccounts/builder", "shop/secrets/of-builder", "shop/secrets/second")
	f("own", "shop", "builder", []string{"own"}, "shop/secrets/own")
	f("own", "shop", "default", []string{"own"}) // whoever runs it
	f("own", "shop", "", []string{"own", "own", ""})
	f("second own", "shop", "", []string{"second", "own"}, "shop/secrets/second", "shop/secrets/own")
	f("nobody", "bare", "", nil, "bare/serviceaccounts/default")
	f("nobody", "shop", "builder", []string{""}) // it names some, so its account's do not count: as the API server has it
	f("nobody", "none", "", nil, "none/serviceaccounts/default")
	f("nobody", "shop", "", []string{"none"}, "shop/secrets/none")
	f("own", "shop", "", []string{"none", "own"}, "shop/secrets/none", "shop/secrets/own") // what is missing is left out
	if s := l.Stats(); s.Requests != 13 || s.NotFound != 3 || s.Failed+s.Failures+s.Unusable+s.Forbidden != 0 || s.Loads != 8 || s.Took <= 0 {
		t.Errorf("stats %+v", s)
	}
	if _, known := l.Known("other", "", nil); known {
		t.Error("what nobody has asked for is known")
	}
}

func TestNamesThatAreNoneAreNeverAskedFor(t *testing.T) {
	t.Parallel()
	l := start(t, newAPI(), nil)
	for _, name := range []string{
		"", ".", "..", "../x", "a/b", "a%2fb", "a?b", "a#b", "A", "a_b", "-a", "a-", ".a", "a.", "a..b", "a-.b", "a.-b",
		"a b", "a\x00", "a\n", "é", strings.Repeat("a", 254),
	} {
		if l.load(t, "shop", "", name) != nil {
			t.Errorf("secret %q", name)
		}
		if access, known := l.Known("shop", "", []string{name}); access != nil || !known {
			t.Errorf("secret %q: waited for", name)
		}
		if name != "" {
			l.load(t, "shop", name)
		}
		l.load(t, name, "")
	}
	for _, namespace := range []string{"a.b", strings.Repeat("a", 64)} {
		l.load(t, namespace, "", "x")
	}
	l.wantRequests(t)
	long := strings.Repeat("a", 253)
	l.load(t, strings.Repeat("a", 63), "", "0", "a.b-c.d", long)
	n := strings.Repeat("a", 63)
	l.wantRequests(t, n+"/secrets/0", n+"/secrets/a.b-c.d", n+"/secrets/"+long)
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprint("s", i)
	}
	l.load(t, "shop", "", many...)
	if n := len(l.requests()); n != maxNames {
		t.Errorf("%d secrets of one pod were asked for, want %d", n, maxNames)
	}
	l.account("shop", "many", many...)
	l.load(t, "shop", "many")
	if n := len(l.requests()); n != 1+maxNames {
		t.Errorf("%d requests for one service account, want %d", n, 1+maxNames)
	}
}

func TestSecretsOfOtherKindsAreLeftOut(t *testing.T) {
	t.Parallel()
	a := newAPI()
	const auths = `{"*.example":{"username":"u","password":"hunter2"}}`
	a.raw("shop", "good", "kubernetes.io/dockerconfigjson", ".dockerconfigjson", `{"auths":`+auths+`}`)
	a.raw("shop", "old", "kubernetes.io/dockercfg", ".dockercfg", strings.Replace(auths, `"u"`, `"old"`, 1))
	a.raw("shop", "opaque", "Opaque", ".dockerconfigjson", `{"auths":`+auths+`}`)
	a.raw("shop", "crossed", "kubernetes.io/dockercfg", ".dockerconfigjson", `{"auths":`+auths+`}`)
	a.raw("shop", "malformed", "kubernetes.io/dockerconfigjson", ".dockerconfigjson", `{"auths":{"*.example":"hunter2"}}`)
	a.raw("shop", "huge", "kubernetes.io/dockerconfigjson", ".dockerconfigjson", `{"auths":`+auths+`}`+strings.Repeat(" ", 1<<20))
	long := `{"auths":` + auths + `}` + strings.Repeat(" ", 900<<10)
	for _, name := range []string{"long1", "long2", "long3"} {
		a.raw("shop", name, "kubernetes.io/dockerconfigjson", ".dockerconfigjson", strings.Replace(long, `"u"`, `"`+name+`"`, 1))
	}
	l := offline(t, a, authority(t))
	f := func(want string, unusable uint64, names ...string) {
		t.Helper()
		before := l.Stats().Unusable
		if got := who(l.load(t, "shop", "", names...)); got != want {
			t.Errorf("%v: %s, want %s", names, got, want)
		}
		if got := l.Stats().Unusable - before; got != unusable {
			t.Errorf("%v: %d no use, want %d", names, got, unusable)
		}
	}
	f("old u", 0, "old", "good")
	for _, name := range []string{"opaque", "crossed", "malformed", "huge"} {
		f("nobody", 1, name)
		f("u", 1, name, "good")
	}
	f("long1 long2", 1, "long1", "long2", "long3") // 2 MiB a pod
	var many [2]strings.Builder
	for i := range 600 {
		fmt.Fprintf(&many[0], `,"*.example/%d":{"username":"u","password":"hunter2"}`, i)
		fmt.Fprintf(&many[1], `,"*.example/none%d":{}`, i)
	}
	for i, entries := range []string{many[0].String(), strings.ReplaceAll(many[0].String(), "/", "/more"), many[1].String()} {
		name := fmt.Sprint("many", i)
		a.raw("shop", name, "kubernetes.io/dockerconfigjson", ".dockerconfigjson",
			`{"auths":{"*.example":{"username":"`+name+`","password":"hunter2"}`+entries+`}}`)
	}
	f("many0 many2", 0, "many0", "many2") // what is no login counts for nothing
	asked := l.Stats().Requests
	f("many0", 1, "many0", "many1", "good", "many2") // 1024 logins a pod
	if n := l.Stats().Requests - asked; n != 2 {
		t.Errorf("%d requests, and from the second on there was too much", n)
	}
	if n := strings.Count(l.logged.String(), "\n"); n == 0 || strings.Contains(l.logged.String(), "hunter2") {
		t.Errorf("%d records: %s", n, l.logged)
	}
	if l.Stats().Failures != 0 {
		t.Errorf("stats %+v", l.Stats())
	}
}

func TestEqualSecretsHaveOneID(t *testing.T) {
	t.Parallel()
	a := newAPI()
	a.secret("one", "x", "u")
	a.raw("two", "y", "kubernetes.io/dockercfg", ".dockercfg", `{"*.example":{"auth":"dTpodW50ZXIy","email":"a@b"}}`)
	a.secret("three", "x", "v")
	l := start(t, a, nil)
	one, two, three := l.load(t, "one", "", "x"), l.load(t, "two", "", "y"), l.load(t, "three", "", "x")
	if one == nil || two == nil || three == nil || one.ID != two.ID || one.ID == three.ID || len(one.ID) != 64 {
		t.Errorf("%v %v %v", one, two, three)
	}
	if text := fmt.Sprintf("%v %+v %#v", one, *one, one.Logins("r.example", "x")); strings.Contains(text, "hunter2") {
		t.Error("a login was printed")
	}
}

func TestATokenIsReadAgainWhenItIsNotTaken(t *testing.T) {
	t.Parallel()
	a := newAPI()
	a.token = "first-token"
	for i := range 5 {
		a.secret("shop", fmt.Sprint("s", i), "u")
	}
	l := start(t, a, nil)
	if got := who(l.load(t, "shop", "", "s0")); got != "u" {
		t.Error(got)
	}
	a.set(func() { a.token = "second-token" })
	if got := who(l.load(t, "shop", "", "s1")); got != "nobody" { // read again, and the same: not tried twice
		t.Error(got)
	}
	if err := os.WriteFile(l.tokenFile, []byte("second-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := who(l.load(t, "shop", "", "s2")); got != "u" {
		t.Error(got)
	}
	if err := os.WriteFile(l.tokenFile, []byte("bad\r\nHost: evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.set(func() { a.token = "third-token" })
	if got := who(l.load(t, "shop", "", "s3")); got != "nobody" {
		t.Error(got)
	}
	a.set(func() { a.token = "second-token" })
	if got := who(l.load(t, "shop", "", "s4")); got != "u" { // the last good one
		t.Error(got)
	}
	s := l.Stats()
	if s.Requests != 6 || s.Failed != 2 || s.Failures != 2 || s.Loads != 5 {
		t.Errorf("stats %+v", s)
	}
	if strings.Contains(l.logged.String(), "-token") {
		t.Errorf("a token was logged: %s", l.logged)
	}
}

func TestFailuresAreNoAccess(t *testing.T) {
	t.Parallel()
	a := newAPI()
	a.secret("shop", "good", "u")
	a.account("shop", "default", "good")
	l := start(t, a, func(c *Config) { c.Timeout = time.Minute })
	f := func(namespace string, change func(path string), wantLog string) {
		t.Helper()
		account := "/api/v1/namespaces/" + namespace + "/serviceaccounts/default"
		secret := "/api/v1/namespaces/" + namespace + "/secrets/good"
		for _, path := range []string{account, secret} {
			a.account(namespace, "default", "good")
			a.secret(namespace, "good", "u")
			change(path)
			l.lastLog.Store(-int64(logEvery))
			l.logged.Reset()
			if access := l.load(t, namespace, ""); access != nil {
				t.Errorf("%s: %v", path, access)
			}
			if got := l.logged.String(); !strings.Contains(got, wantLog) || strings.Contains(got, "hunter2") ||
				strings.Contains(got, "-token") || !strings.Contains(got, `"namespace":"`+namespace+`"`) {
				t.Errorf("%s: logged %s, want %s", path, got, wantLog)
			}
			a.set(func() { clear(a.status) })
			l.known.Invalidate()
		}
	}
	for _, status := range []int{302, 400, 401, 403, 429, 500, 503} {
		f(fmt.Sprint("status-", status), func(path string) { a.set(func() { a.status[path] = status }) }, fmt.Sprint("answers ", status))
	}
	object := func(text string) func(string) {
		return func(path string) { a.set(func() { a.objects[path] = text }) }
	}
	f("huge", object(strings.Repeat("hunter2 ", maxAnswer/8+1)), "longer than 2 MiB")
	f("text", object("hunter2"), "not the JSON")
	f("types", object(`{"imagePullSecrets":"hunter2","type":["hunter2"]}`), "not the JSON")
	f("base64", object(`{"imagePullSecrets":["hunter2"],"type":"kubernetes.io/dockercfg","data":{".dockercfg":"hunter2!"}}`), "not the JSON")
	release := make(chan struct{})
	defer close(release)
	l.client.timeout = 50 * time.Millisecond
	f("slow", func(path string) {
		a.set(func() {
			a.hook = func(asked string) {
				if asked == path {
					<-release
				}
			}
		})
	}, "deadline exceeded")
	s := l.Stats()
	if s.Forbidden != 2 || s.Failed != 22 || s.Failures != 22 {
		t.Errorf("stats %+v", s)
	}
}

// TestBorrowedNamesAreNotKept: those of a request are in a buffer that the next one is read into.
func TestBorrowedNamesAreNotKept(t *testing.T) {
	t.Parallel()
	a := newAPI()
	names := []string{"one", "two", "three", "four", "five", "six"}
	for _, name := range names {
		a.secret("shop", name, name)
	}
	a.account("shop", "robot", "one")
	l := start(t, a, nil)
	buffer := []byte("shop robot one two three four five six")
	text := unsafe.String(&buffer[0], len(buffer))
	words := strings.Fields(text)
	l.load(t, words[0], words[1])
	l.load(t, words[0], "", words[2])
	l.load(t, words[0], "", words[2:]...)
	copy(buffer, strings.Repeat("x", len(buffer)))
	for _, own := range [][]string{nil, names[:1], names} {
		if access, known := l.Known("shop", "robot", own); !known || access == nil {
			t.Errorf("%v: not known", own)
		}
	}
}

// authority is a certificate, for tests that need no more of it.
func authority(t *testing.T) []byte {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	server.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func TestLifetimes(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	f := func(t *testing.T, want time.Duration, name string, change func(a *api)) {
		synctest.Test(t, func(t *testing.T) {
			a := newAPI()
			a.secret("shop", "x", "u")
			change(a)
			l := offline(t, a, ca)
			l.load(t, "shop", "", "x")
			time.Sleep(want - time.Nanosecond)
			if _, ok := l.known.Get(keyFor("shop", "x"), l.known.Now()); !ok {
				t.Errorf("%s: forgotten before %v", name, want)
			}
			time.Sleep(time.Nanosecond)
			if _, ok := l.known.Get(keyFor("shop", "x"), l.known.Now()); ok {
				t.Errorf("%s: known after %v", name, want)
			}
		})
	}
	f(t, time.Minute, "a secret", func(*api) {})
	f(t, sparseTTL, "a missing secret", func(a *api) { clear(a.objects) })
	f(t, sparseTTL, "403", func(a *api) { a.status[""] = http.StatusForbidden })
	f(t, failureTTL, "500", func(a *api) { a.status[""] = http.StatusInternalServerError })

	// Steady use renews in the background, and a failure then takes nothing away before its end.
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		a.secret("shop", "x", "u")
		l := offline(t, a, ca)
		l.load(t, "shop", "", "x")
		names := []string{"x"}
		use := func(want string, steps int) {
			t.Helper()
			for range steps {
				time.Sleep(time.Second)
				access, known := l.Known("shop", "", names)
				if got := who(access); got != want || !known {
					t.Fatalf("%s, known %v; want %s", got, known, want)
				}
				synctest.Wait()
			}
		}
		use("u", 300)
		if n := len(a.requests()); n < 5 || n > 8 {
			t.Errorf("%d requests in 300 s, want one in 45 to 54 s", n)
		}
		a.secret("shop", "x", "v")
		for seconds, now := 0, "u"; now != "v"; seconds++ {
			time.Sleep(time.Second)
			access, known := l.Known("shop", "", names)
			synctest.Wait()
			if now = who(access); !known || seconds > 61 {
				t.Fatalf("%s, known %v, after %d s", now, known, seconds)
			}
		}
		a.set(func() { a.status[""] = http.StatusInternalServerError })
		use("v", 58)
		time.Sleep(time.Second)
		if _, known := l.Known("shop", "", names); known {
			t.Error("known after its end")
		}
		if got := who(l.load(t, "shop", "", "x")); got != "nobody" {
			t.Error(got)
		}
		a.set(func() { a.status[""] = 0 })
		time.Sleep(failureTTL)
		if got := who(l.load(t, "shop", "", "x")); got != "v" {
			t.Error(got)
		}
		// A rotated token is read without a 401, too.
		if err := os.WriteFile(l.tokenFile, []byte("second-token"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(tokenTTL)
		l.load(t, "shop", "", "x")
		if got := a.auth[len(a.auth)-1]; got != "Bearer second-token" {
			t.Error("the token was not read again")
		}
	})
}

func keyFor(namespace string, names ...string) key {
	k, _ := keyOf(namespace, "", names)
	return k
}

func TestLogsAreFew(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		a.status[""] = http.StatusInternalServerError
		l := offline(t, a, ca)
		for i := range 100 {
			l.load(t, fmt.Sprint("ns-", i), "")
		}
		if n := strings.Count(l.logged.String(), "\n"); n != 1 {
			t.Errorf("%d records, want 1", n)
		}
		time.Sleep(logEvery)
		l.load(t, "last", "")
		if got := l.logged.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, `"unlogged":99`) {
			t.Error(got)
		}
	})
}

func TestConfiguration(t *testing.T) {
	good := newAPI()
	l := start(t, good, nil)
	caFile := l.Files()[0]
	f := func(want string, c Config) {
		t.Helper()
		s, err := New(c)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
		if s != nil {
			s.Close()
		}
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	f("server is needed", Config{TokenFile: l.tokenFile, CAFile: caFile})
	for _, server := range []string{"http://a.example", "a.example", "https://", "https://u:p@a.example", "https://a.example?x", "https://a%zz"} {
		f("server must be", Config{Server: server, TokenFile: l.tokenFile, CAFile: caFile})
	}
	f("caFile: ", Config{Server: "https://a.example", TokenFile: l.tokenFile, CAFile: caFile + "x"})
	f("holds no certificate", Config{Server: "https://a.example", TokenFile: l.tokenFile, CAFile: l.tokenFile})
	f("tokenFile: ", Config{Server: "https://a.example", TokenFile: l.tokenFile + "x", CAFile: caFile})
	f("ttl", Config{Server: "https://a.example", TTL: -1})
	f("timeout", Config{Server: "https://a.example", Timeout: -1})
	t.Setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	c, err := Config{}.withDefaults()
	if err != nil || c.Server != "https://[fd00::1]:443" || c.TokenFile != podToken || c.CAFile != podCA || c.TTL != time.Minute {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestOnlyTheAPIServerThatTheCAVouchesForIsAsked: another one never sees the token.
func TestOnlyTheAPIServerThatTheCAVouchesForIsAsked(t *testing.T) {
	t.Parallel()
	a := newAPI()
	a.secret("shop", "x", "u")
	l := start(t, a, nil)
	l.client.server = strings.Replace(l.client.server, "127.0.0.1", "localhost", 1) // not in the certificate
	if got := who(l.load(t, "shop", "", "x")); got != "nobody" {
		t.Error(got)
	}
	a.wantRequests(t)
	if !strings.Contains(l.logged.String(), "certificate") {
		t.Error(l.logged)
	}
}
