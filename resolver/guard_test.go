package resolver

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/engine"
	"sluice/resolver/mirror"
	"sluice/resolver/registrytest"
)

const secretWord = "s3cret-word"

// cast is a registry with credentials, another host that it may point at, and the network between them.
type cast struct {
	net             network
	registry, other *registrytest.Registry

	mu   sync.Mutex
	seen []string // Authorization headers that the other host got
}

const (
	registryHost = "registry.example.test"
	otherHost    = "other.example.test"
)

func newCast(t *testing.T, auth registrytest.Auth, realm string) *cast {
	t.Helper()
	c := &cast{}
	names := []string{
		registryHost, otherHost, "evil-registry.example.test", registryHost + ".evil.test", "registry.example.test.", "a.b.example.test",
	}
	c.registry = startRegistry(t, registrytest.Options{
		TLS: true, Names: names, Auth: auth, Username: "robot", Password: secretWord, Realm: realm,
	})
	c.other = startRegistry(t, registrytest.Options{TLS: true, Names: names})
	c.other.SetFaultEverywhere(registrytest.Hook(func(_ http.ResponseWriter, r *http.Request) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen = append(c.seen, strings.Join(r.Header.Values("Authorization"), ","))
		return false
	}))
	c.net.add(registryHost+":443", c.registry)
	for _, host := range []string{
		otherHost + ":443", otherHost + ":80", "evil-registry.example.test:443", registryHost + ".evil.test:443", registryHost + ":8443",
		registryHost + ":80", "registry.example.test.:443", "a.b.example.test:443", "evil.test:443",
	} {
		c.net.add(host, c.other)
	}
	return c
}

func (c *cast) resolver(t *testing.T, change func(*Registry)) *Resolver {
	t.Helper()
	entry := Registry{
		Host: registryHost, CAFile: caFile(t, c.registry, c.other), Retries: -1,
		UsernameFile: writeFile(t, "robot\n"), PasswordFile: writeFile(t, secretWord+"\n"),
	}
	if change != nil {
		change(&entry)
	}
	return newTest(t, &c.net, Config{Registries: []Registry{entry}})
}

// untouched checks that the other host got no connection.
func (c *cast) untouched(t *testing.T) {
	t.Helper()
	if n := c.other.Counts(); n.Connections != 0 || n.Requests() != 0 {
		t.Errorf("the other host was contacted: %+v", n)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	allow := func(r *Registry) { r.Redirects = []string{otherHost} }
	for _, auth := range []registrytest.Auth{registrytest.BasicAuth, registrytest.BearerAuth} {
		f := func(name, base string, change func(*Registry), public string) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := newCast(t, auth, "https://"+registryHost+"/token")
				image := push(t, c.registry, "app:1")
				raw, err := c.registry.Raw("app", "1")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.other.PutRaw("app", "1", "application/vnd.docker.distribution.manifest.v2+json", raw); err != nil {
					t.Fatal(err)
				}
				blob := pushBlob(t, c.registry, "app", "hello")
				pushBlob(t, c.other, "app", "hello")
				after := func(next http.Handler) http.Handler { // once the client has proven who it is
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if r.Header.Get("Authorization") == "" {
							next.ServeHTTP(w, r)
							return
						}
						registrytest.Redirect(base)(next).ServeHTTP(w, r)
					})
				}
				for _, class := range []registrytest.Class{registrytest.Blob, registrytest.ManifestByDigest, registrytest.ManifestByTag} {
					c.registry.SetFault(class, after)
				}
				r := c.resolver(t, change)
				ctx := wait(t)
				_, blobErr := r.Blob(ctx, ref(t, "%s/app", registryHost), blob, 100)
				_, manifestErr := r.Manifest(ctx, ref(t, "%s/app@%s", registryHost, image))
				requests := c.other.Counts().Requests()
				_, tagErr := r.Resolve(ctx, ref(t, "%s/app:1", registryHost), engine.KnownFacts)
				if c.other.Counts().Requests() != requests {
					t.Error("a tag was asked for elsewhere")
				}
				for _, err := range []error{blobErr, manifestErr} {
					if public != "" {
						wantFailure(t, err, engine.ReasonRegistryMalformed, public, secretWord)
					} else if err != nil {
						t.Error(err)
					}
				}
				wantFailure(t, tagErr, engine.ReasonRegistryMalformed, "redirects", secretWord)
				if public != "" {
					c.untouched(t)
				} else if requests != 2 {
					t.Errorf("%d requests to the other host", requests)
				}
				if n := c.registry.Counts().Blob; n > 2+maxRedirects {
					t.Errorf("%d requests for one blob", n)
				}
				for _, authorization := range c.seen {
					if authorization != "" {
						t.Errorf("the other host got %q", authorization)
					}
				}
			})
		}
		notListed := "redirects to a host that its redirects do not list"
		f("allowed", "https://"+otherHost, allow, "")
		f("allowed, port written out", "https://"+otherHost+":443", allow, "")
		f("allowed by pattern", "https://"+otherHost, func(r *Registry) { r.Redirects = []string{"*.example.test"} }, "")
		f("not allowed", "https://"+otherHost, nil, notListed)
		f("deeper than the pattern", "https://a.b.example.test", func(r *Registry) { r.Redirects = []string{"*.example.test"} }, notListed)
		f("look-alike, longer", "https://"+registryHost+".evil.test", allow, notListed)
		f("look-alike, prefixed", "https://evil-"+registryHost, allow, notListed)
		f("look-alike, rooted", "https://"+registryHost+".", allow, notListed)
		f("look-alike, user", "https://"+registryHost+"@evil.test", allow, "redirects to an address with a user name in it")
		f("own name, another port", "https://"+registryHost+":8443", allow, notListed)
		f("own name, http", "http://"+registryHost, allow, "redirects to an address that is not https")
		f("allowed, but http", "http://"+otherHost, allow, "redirects to an address that is not https")
		f("no host", "https://", allow, "redirects to nowhere")
		f("no scheme that we know", "ftp://"+otherHost, allow, "redirects to an address that is not https")
		f("around in circles", "", allow, "redirects more than 3 times")
	}
}

func TestTokenServices(t *testing.T) {
	t.Parallel()
	allow := func(r *Registry) { r.TokenHosts = []string{otherHost} }
	f := func(name, realm string, change func(*Registry), public string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCast(t, registrytest.BearerAuth, realm)
			push(t, c.registry, "app:1")
			_, err := c.resolver(t, change).Resolve(wait(t), ref(t, "%s/app:1", registryHost), engine.KnownFacts)
			if public == "" {
				// The other host is a token service of its own, whose tokens the registry doesn't know.
				wantFailure(t, err, engine.ReasonRegistryDenied, "refused access (401)", secretWord)
				if len(c.seen) != 1 || !strings.HasPrefix(c.seen[0], "Basic ") {
					t.Errorf("the token service got %q", c.seen)
				}
				return
			}
			wantFailure(t, err, engine.ReasonRegistryMalformed, public, secretWord)
			c.untouched(t)
		})
	}
	notListed := "sends for a token to a host that its tokenHosts do not list"
	anonymous := func(r *Registry) { r.UsernameFile, r.PasswordFile = "", "" }
	f("allowed", "https://"+otherHost+"/token", allow, "")
	f("not allowed", "https://"+otherHost+"/token", nil, notListed)
	f("not allowed, even without credentials", "https://"+otherHost+"/token", anonymous, notListed)
	f("allowed to redirect only", "https://"+otherHost+"/token",
		func(r *Registry) { r.Redirects = []string{otherHost} }, notListed)
	f("look-alike, longer", "https://"+registryHost+".evil.test/token", allow, notListed)
	f("look-alike, prefixed", "https://evil-"+registryHost+"/token", allow, notListed)
	f("look-alike, user", "https://"+registryHost+"@evil.test/token", allow, "sends for a token to an address with a user name in it")
	f("own name, another port", "https://"+registryHost+":8443/token", allow, notListed)
	f("own name, http", "http://"+registryHost+"/token", allow, "sends for a token to an address that is not https")
	f("allowed, but http", "http://"+otherHost+"/token", allow, "sends for a token to an address that is not https")
	f("no address", "token", allow, "names a token service that is no address")
	f("no URL", "https://%zz", allow, "names a token service that is no address")
}

func TestOnlyListedHostsAreContacted(t *testing.T) {
	t.Parallel()
	for _, host := range []string{registryHost, "*.example.test"} {
		c := newCast(t, registrytest.NoAuth, "")
		push(t, c.registry, "app:1")
		r := c.resolver(t, func(e *Registry) { e.Host, e.UsernameFile, e.PasswordFile = host, "", "" })
		if _, err := r.Resolve(wait(t), ref(t, "%s/app:1", registryHost), engine.KnownFacts); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		for _, other := range []string{
			registryHost + ".evil.test", registryHost + ":8443", "a.b.example.test", "evil.test", "example.test", "index.docker.io",
		} {
			image := ref(t, "%s/app:1", other)
			_, err := r.Resolve(wait(t), image, engine.KnownFacts)
			wantFailure(t, err, engine.ReasonRegistryNotListed, "registry "+other+" is not listed in the configuration")
			_, err = r.Manifest(wait(t), image)
			wantFailure(t, err, engine.ReasonRegistryNotListed, "not listed")
			_, err = r.Blob(wait(t), image, digestOf(nil), 1)
			wantFailure(t, err, engine.ReasonRegistryNotListed, "not listed")
		}
		c.untouched(t)
		if n := len(c.net.dialled); n != 1 {
			t.Errorf("%s: connections to %q", host, c.net.dialled)
		}
	}
}

func TestCredentialsAreForOneHost(t *testing.T) {
	t.Parallel()
	c := newCast(t, registrytest.BasicAuth, "")
	push(t, c.registry, "app:1")
	c.other.SetFaultEverywhere(registrytest.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen = append(c.seen, r.Header.Get("Authorization"))
		w.Header().Set("WWW-Authenticate", `Basic realm="give"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}))
	r := c.resolver(t, func(e *Registry) {
		e.Host, e.UsernameFile, e.PasswordFile = "*.example.test", "", ""
		e.DockerConfigFile = writeFile(t, `{"auths":{"registry.example.test":{"username":"robot","password":"`+secretWord+`"}}}`)
	})
	if _, err := r.Resolve(wait(t), ref(t, "%s/app:1", registryHost), engine.KnownFacts); err != nil {
		t.Error(err)
	}
	for _, host := range []string{otherHost, "evil-registry.example.test"} {
		_, err := r.Resolve(wait(t), ref(t, "%s/app:1", host), engine.KnownFacts)
		wantFailure(t, err, engine.ReasonRegistryDenied, "refused access (401)", secretWord)
	}
	if len(c.seen) != 2 || c.seen[0] != "" || c.seen[1] != "" {
		t.Errorf("other hosts of the same entry got %q", c.seen)
	}
}

func TestEchoedCredentialsAreNotLogged(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{Auth: registrytest.BasicAuth, Username: "robot", Password: secretWord})
	push(t, reg, "app:1")
	var secret atomic.Pointer[string]
	reg.SetFault(registrytest.ManifestByTag, registrytest.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		authorization := r.Header.Get("Authorization")
		if authorization == "" {
			return false
		}
		_, word, _ := strings.Cut(authorization, " ")
		secret.Store(&word)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return true
		}
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n" + word + "\r\n\r\n"))
		_ = conn.Close()
		return true
	}))
	r := newTest(t, nil, Config{Registries: []Registry{{
		Host: reg.Host(), PlainHTTP: true, UsernameFile: writeFile(t, "robot"), PasswordFile: writeFile(t, secretWord),
	}}})
	_, err := r.Resolve(wait(t), ref(t, "%s/app:1", reg.Host()), engine.KnownFacts)
	if secret.Load() == nil {
		t.Fatal("the registry got no credentials")
	}
	wantFailure(t, err, engine.ReasonRegistryUnavailable, "could not be reached", *secret.Load(), secretWord)
}

func TestDockerHubIsOneRegistry(t *testing.T) {
	t.Parallel()
	names := []string{"index.docker.io", "auth.docker.io"}
	hub := startRegistry(t, registrytest.Options{
		TLS: true, Names: names, Auth: registrytest.BearerAuth, Realm: "https://auth.docker.io/token?client=x",
	})
	want := push(t, hub, "library/nginx:1")
	for _, host := range []string{"docker.io", "index.docker.io", "registry-1.docker.io"} {
		var n network
		for _, name := range names {
			n.add(name+":443", hub)
		}
		r := newTest(t, &n, Config{Registries: []Registry{{Host: host, CAFile: caFile(t, hub)}}})
		for _, image := range []string{"nginx:1", "docker.io/nginx:1", "registry-1.docker.io/library/nginx:1"} {
			if got, err := r.Resolve(wait(t), ref(t, "%s", image), engine.KnownFacts); err != nil || got.Digest != want {
				t.Errorf("%s by %s: %+v, %v", image, host, got, err)
			}
		}
		if !n.wasDialled("auth.docker.io:443") {
			t.Errorf("%s: connections to %q", host, n.dialled)
		}
	}
}

func TestNoFallbackToPlainHTTP(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{}) // on localhost, where ggcr would try http
	push(t, reg, "app:1")
	r := newTest(t, nil, Config{Registries: []Registry{{Host: reg.Host(), Retries: -1}}})
	_, err := r.Resolve(wait(t), ref(t, "%s/app:1", reg.Host()), engine.KnownFacts)
	wantFailure(t, err, engine.ReasonRegistryUnavailable, "could not be reached")
	if n := reg.Counts().Requests(); n != 0 {
		t.Errorf("%d requests over http", n)
	}
}

func TestTLSIsChecked(t *testing.T) {
	t.Parallel()
	reg, stranger := startRegistry(t, registrytest.Options{TLS: true}), startRegistry(t, registrytest.Options{TLS: true})
	push(t, reg, "app:1")
	f := func(hostPort, ca string) {
		t.Helper()
		var n network
		n.add(hostPort, reg)
		r := newTest(t, &n, Config{Registries: []Registry{{Host: hostPort, CAFile: ca}}})
		_, err := r.Resolve(wait(t), ref(t, "%s/app:1", hostPort), engine.KnownFacts)
		wantFailure(t, err, engine.ReasonRegistryUnavailable, "has a certificate that is not trusted")
		if c := reg.Counts(); c.Requests() != 0 {
			t.Errorf("requests: %+v", c)
		}
	}
	f(reg.Host(), "")                                // the system's authorities
	f(reg.Host(), caFile(t, stranger))               // another authority
	f("another.example.test:443", caFile(t, reg))    // another name
	f("[2001:db8::1]:443", caFile(t, reg, stranger)) // an address
}

func TestSilentListenerIsTimedOut(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	r := newTest(t, nil, Config{Registries: []Registry{{Host: "localhost:" + port, Timeout: 100 * time.Millisecond}}})
	_, err = r.Resolve(wait(t), ref(t, "localhost:%s/app:1", port), engine.KnownFacts)
	wantFailure(t, err, engine.ReasonTimeout, "did not answer in time")
}

func TestUnusableReferences(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	reg := startRegistry(t, registrytest.Options{})
	reg.SetFaultEverywhere(registrytest.Hook(func(http.ResponseWriter, *http.Request) bool { calls.Add(1); return false }))
	r := plain(t, reg)
	for _, bad := range []engine.Reference{
		{},
		{Registry: reg.Host()},
		{Registry: reg.Host(), Repository: "app"},
		{Registry: "internal", Repository: "app", Tag: "1"}, // would be read as Docker Hub's internal/app
		{Registry: reg.Host(), Repository: "app", Tag: "1@" + string(digestOf(nil))},
		{Registry: reg.Host(), Repository: "a/../b", Tag: "1"},
		{Registry: reg.Host(), Repository: "../b", Tag: "1"},
		{Registry: reg.Host(), Repository: "A", Tag: "1"},
		{Registry: reg.Host(), Repository: "app?x", Tag: "1"},
		{Registry: reg.Host(), Repository: "app", Tag: "a/b"},
		{Registry: reg.Host(), Repository: "app:1", Tag: "2"},
		{Registry: reg.Host(), Repository: "app", Digest: "sha256:../../x"},
		{Registry: reg.Host() + "/app", Repository: "b@", Tag: "1"},
	} {
		_, err := r.Manifest(wait(t), bad)
		wantFailure(t, err, engine.ReasonInvalidReference, "not valid")
		if bad.Digest == "" {
			_, err = r.Resolve(wait(t), bad, engine.KnownFacts)
			wantFailure(t, err, engine.ReasonInvalidReference, "not valid")
		}
	}
	if calls.Load() != 0 {
		t.Errorf("%d requests", calls.Load())
	}
}

func TestGuard(t *testing.T) {
	t.Parallel()
	r := newTest(t, nil, Config{Registries: []Registry{
		{Host: registryHost, Redirects: []string{otherHost}, TokenHosts: []string{"token.example.test:8443"}},
	}})
	e := endpoint{registry: r.registries[0], host: registryHost}
	f := func(to where, method, address, authorization string, ok bool) {
		t.Helper()
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		req := &http.Request{Method: method, URL: u, Header: http.Header{}}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		if got := (guard{e: e, where: to}).refuse(req); (got == nil) != ok {
			t.Errorf("%d %s %s %q: %v", to, method, address, authorization, got)
		}
	}
	f(toRegistry, "GET", "https://registry.example.test/v2/", "Bearer x", true)
	f(toRegistry, "GET", "https://REGISTRY.example.test:443/v2/", "Bearer x", true)
	f(toRegistry, "POST", "https://registry.example.test/v2/", "", false)
	f(toRegistry, "GET", "https://other.example.test/", "", false)
	f(toContent, "GET", "https://other.example.test/", "", true)
	f(toContent, "GET", "https://other.example.test:444/", "", false)
	f(toContent, "GET", "https://other.example.test/", "Bearer x", false)
	f(toContent, "GET", "https://token.example.test:8443/", "", false)
	f(toToken, "GET", "https://token.example.test:8443/", "Basic x", true)
	f(toToken, "GET", "https://token.example.test/", "Basic x", false)
	f(toToken, "GET", "https://other.example.test/", "Basic x", false)
	f(toToken, "GET", "http://registry.example.test/", "Basic x", false)

	// The same in the place of a mirror.
	e.servers = []*server{{name: "m", spec: mirror.Host{Scheme: "http", Host: mirrorHost + ":5000"}, header: http.Header{"Authorization": {"Basic own"}}}}
	e = e.turn(e.servers[0])
	f(toRegistry, "GET", "http://mirror.example.test:5000/v2/", "", true)
	f(toRegistry, "GET", "http://mirror.example.test:5000/v2/", "Bearer x", true)
	f(toRegistry, "GET", "http://mirror.example.test:5000/v2/", "Basic own", true)
	f(toRegistry, "GET", "http://mirror.example.test:5000/v2/", "Basic x", false)
	f(toToken, "GET", "http://mirror.example.test:5000/token", "Basic x", false)
	f(toToken, "GET", "http://mirror.example.test:5000/token", "", true)
	f(toToken, "GET", "https://token.example.test:8443/", "Basic x", false)
	f(toToken, "GET", "https://token.example.test:8443/", "", true)
	f(toRegistry, "GET", "http://mirror.example.test/v2/", "", false)
	f(toRegistry, "GET", "http://mirror.example.test:5001/v2/", "", false)
	f(toRegistry, "GET", "https://registry.example.test/v2/", "", false) // it has its own turn
	f(toContent, "GET", "https://registry.example.test/v2/", "", false)
	f(toContent, "GET", "https://other.example.test/", "", true)
	f(toContent, "GET", "https://other.example.test/", "Basic own", false)
	f(toContent, "GET", "https://other.example.test/", "Bearer x", false)
}
