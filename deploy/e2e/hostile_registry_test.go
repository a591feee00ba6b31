package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// elsewhere is a server that nobody was configured to speak to. It counts who comes.
func elsewhere(t testing.TB) (addr string, visits *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	visits = new(atomic.Int64)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			visits.Add(1)
			c.Close()
		}
	})
	t.Cleanup(func() {
		listener.Close()
		wg.Wait()
	})
	return listener.Addr().String(), visits
}

// The things that are asked about an image. Bundles are looked for by the referrers API, and then by the fallback tag.
func isTag(path string) bool {
	return strings.Contains(path, "/manifests/") && !strings.Contains(path, "/manifests/sha256-")
}
func isSignatures(path string) bool { return strings.HasSuffix(path, ".sig") }
func isReferrers(path string) bool {
	return strings.Contains(path, "/referrers/") || strings.Contains(path, "/manifests/sha256-") && !isSignatures(path)
}
func isPayload(path string) bool { return strings.Contains(path, "/blobs/") }
func isAny(string) bool          { return true }

// A registry that does what none should. Whatever it does, the pod is denied for a reason that says what was wrong,
// within the review's time, the process lives, and it does not grow.
func TestHostileRegistry(t *testing.T) {
	t.Parallel()
	other, visits := elsewhere(t)
	type behaviour struct {
		name    string
		to      func(path string) bool
		do      http.HandlerFunc
		reasons string // any of them; empty: allowed
	}
	const manifest = "application/vnd.oci.image.manifest.v1+json"
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	redirect := func(code int, to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", to+r.URL.Path)
			w.WriteHeader(code)
		}
	}
	body := func(header map[string]string, content func() []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for k, v := range header {
				w.Header().Set(k, v)
			}
			_, _ = w.Write(content())
		}
	}
	bombed := map[string]string{"Content-Type": manifest, "Content-Encoding": "gzip"}
	text := func(s string) func() []byte { return func() []byte { return []byte(s) } }
	never := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	drip := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", manifest)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			_, _ = w.Write([]byte(" "))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", manifest)
		junk := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(junk); err != nil {
				return
			}
		}
	}
	hangUp := func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			c.Close()
		}
	}
	behaviours := []behaviour{
		{"honest", func(string) bool { return false }, nil, ""},

		{"lies about the digest of a tag", isTag, body(map[string]string{
			"Content-Type": manifest, "Docker-Content-Digest": "sha256:" + strings.Repeat("0", 64),
		}, text("{}")), "registry_malformed"},
		{"lies about the digest of signatures", isSignatures, body(map[string]string{
			"Content-Type": manifest, "Docker-Content-Digest": "sha256:" + strings.Repeat("0", 64),
		}, text("{}")), "registry_malformed"},
		{"sends another payload", isPayload, body(nil, text("{}")), "registry_malformed"},
		{"sends another image", isTag, body(map[string]string{"Content-Type": manifest}, text("{}")), "signature_missing"},

		{"never answers for a tag", isTag, never, "timeout"},
		{"never answers for signatures", isSignatures, never, "timeout"},
		{"never answers for a payload", isPayload, never, "timeout"},
		{"one byte a second of a tag", isTag, drip, "timeout"},
		{"one byte a second of signatures", isSignatures, drip, "timeout"},
		{"one byte a second of a payload", isPayload, drip, "timeout registry_malformed"},
		{"endless tag", isTag, endless, "registry_malformed"},
		{"endless signatures", isSignatures, endless, "registry_malformed"},
		{"endless payload", isPayload, endless, "registry_malformed"},
		{"hangs up", isAny, hangUp, "registry_unavailable"},

		{"gzip bomb for a tag", isTag, body(bombed, bomb), "registry_malformed signature_missing"},
		{"gzip bomb for signatures", isSignatures, body(bombed, bomb), "registry_malformed"},
		{"gzip bomb for a payload", isPayload, body(bombed, bomb), "registry_malformed"},

		{"redirects a tag elsewhere", isTag, redirect(http.StatusTemporaryRedirect, "http://"+other), "registry_malformed"},
		{"redirects signatures elsewhere", isSignatures, redirect(http.StatusFound, "http://"+other), "registry_malformed"},
		{"redirects a payload elsewhere", isPayload, redirect(http.StatusTemporaryRedirect, "http://"+other), "registry_malformed"},
		{"redirects a payload by name", isPayload, redirect(http.StatusPermanentRedirect, "http://localhost"+other[strings.IndexByte(other, ':'):]), "registry_malformed"},
		{"redirects with another user", isPayload, redirect(http.StatusSeeOther, "http://a:b@"+other), "registry_malformed"},
		{"redirects in circles", isTag, redirect(http.StatusMovedPermanently, ""), "registry_malformed"},
		{"sends elsewhere for a token", isAny, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+other+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}, "registry_malformed registry_denied"},

		{"refuses", isAny, status(http.StatusUnauthorized), "registry_denied"},
		{"forbids", isAny, status(http.StatusForbidden), "registry_denied"},
		{"throttles", isAny, status(http.StatusTooManyRequests), "registry_throttled"},
		{"is broken", isAny, status(http.StatusInternalServerError), "registry_unavailable"},
		{"has nothing", isTag, status(http.StatusNotFound), "image_not_found"},
		{"has no signatures", isSignatures, status(http.StatusNotFound), "signature_missing"},
		{"has lost the payload", isPayload, status(http.StatusNotFound), "registry_malformed"},
		{"speaks HTML", isTag, body(map[string]string{"Content-Type": "text/html"}, text("<html>")), "registry_malformed"},
		{"signatures in HTML", isSignatures, body(map[string]string{"Content-Type": "text/html"}, text("<html>")), "registry_malformed"},
		{"signatures that are no JSON", isSignatures, body(map[string]string{"Content-Type": manifest}, text("garbage")), "registry_malformed"},
		{"signatures nested deeply", isSignatures, body(map[string]string{"Content-Type": manifest},
			text(`{"layers":`+strings.Repeat("[", 1<<20))), "registry_malformed"},
		{"never answers for referrers", isReferrers, never, ""}, // a signature that suffices is found without
		{"endless referrers", isReferrers, endless, ""},
		{"referrers in HTML", isReferrers, body(map[string]string{"Content-Type": "text/html"}, text("<html>")), ""},
		{"gzip bomb for referrers", isReferrers, body(bombed, bomb), ""},
		{"redirects referrers elsewhere", isReferrers, redirect(http.StatusFound, "http://"+other), ""},
		{
			"is broken for referrers, has no signatures", func(path string) bool { return isReferrers(path) || isSignatures(path) },
			func(w http.ResponseWriter, r *http.Request) {
				if isReferrers(r.URL.Path) {
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				w.WriteHeader(http.StatusNotFound)
			}, "registry_unavailable",
		},
		{
			"endless referrers, and no signatures", func(path string) bool { return isReferrers(path) || isSignatures(path) },
			func(w http.ResponseWriter, r *http.Request) {
				if isReferrers(r.URL.Path) {
					endless(w, r)
					return
				}
				w.WriteHeader(http.StatusNotFound)
			}, "registry_malformed",
		},
		{"a header of a megabyte", isTag, body(map[string]string{"Content-Type": manifest, "X": strings.Repeat("x", 1<<20)}, text("{}")), "registry_malformed registry_unavailable"},
	}

	const user, password = "robot", "hunter2"
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "username"), []byte(user), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "password"), []byte(password), 0o600))
	settings := settings{
		registry: fmt.Sprintf("  timeout: 3s\n  retries: 0\n  usernameFile: %q\n  passwordFile: %q\n",
			filepath.Join(dir, "username"), filepath.Join(dir, "password")),
		rules: []rule{{name: "signed", images: "**", key: releaseKey(t)}},
	}
	signed(t)
	fronts := make([]*front, len(behaviours))
	for n, b := range behaviours {
		fronts[n] = newFront(t, shared.registry, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			// All want credentials, so that there are some to be lost.
			if u, p, ok := r.BasicAuth(); !strings.HasPrefix(b.name, "sends elsewhere") && (!ok || u != user || p != password) {
				w.Header().Set("WWW-Authenticate", `Basic realm="e2e"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			if b.to(r.URL.Path) {
				b.do(w, r)
				return
			}
			if isTag(r.URL.Path) {
				r.URL.Path = "/v2/fixture/signed/manifests/1" // whatever the tag
			}
			next.ServeHTTP(w, r)
		})
		settings.registries = append(settings.registries, fronts[n].host)
	}
	s := newService(t, settings)
	apiserver := s.failClosed(t)
	t.Run("all", func(t *testing.T) {
		for n, b := range behaviours {
			t.Run(strings.ReplaceAll(b.name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				const tags = 8 // at once, each a review of its own
				answers := make([]answer, tags)
				var wg sync.WaitGroup
				for tag := range tags {
					wg.Go(func() {
						answers[tag] = apiserver.create(t, pod(fmt.Sprintf("%s/fixture/signed:t%d", fronts[n].host, tag)))
					})
				}
				wg.Wait()
				for _, got := range answers {
					if b.reasons == "" {
						got.allowed(t)
						continue
					}
					want := strings.Fields(b.reasons)[0]
					for _, r := range strings.Fields(b.reasons) {
						if got.audit["reason"] == r {
							want = r
						}
					}
					got.denied(t, want, fronts[n].host)
					if strings.Contains(got.err.Error(), password) {
						t.Errorf("the denial has the password: %s", got.err)
					}
				}
			})
		}
	})
	if n := visits.Load(); n != 0 {
		t.Errorf("somebody was %d times where a registry led to", n)
	}
	apiserver.create(t, anew(pod(fronts[0].host+"/fixture/signed:again"))).allowed(t)
	s.lives(t)
	if peak := s.process.residentPeak(t); peak > residentLimit {
		t.Errorf("%d MiB were resident, and %d MiB are the limit", peak>>20, residentLimit>>20)
	} else {
		t.Logf("%d MiB resident at most", peak>>20)
	}
	if strings.Contains(s.process.stderr.String(), password) {
		t.Error("the log has the password")
	}
}
