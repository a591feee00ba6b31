package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The registry is stopped: what each onError makes of that, under each defaultAllow of the apiserver.
func TestRegistryStopped(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	k := releaseKey(t)
	settings := settings{registries: []string{r.host}, registry: "  retries: 0\n"}
	images := map[string]image{}
	for _, onError := range []string{"deny", "retry", "defer", "allow"} {
		images[onError] = r.push(t, onError, "1", "2", "3")
		sign(t, images[onError], k)
		settings.rules = append(settings.rules, rule{
			name: "on-error-" + onError, images: r.host + "/" + onError, key: k, onError: onError,
		})
	}
	s := newService(t, settings)
	closed, open := s.failClosed(t), s.failOpen(t)
	for _, i := range images {
		closed.create(t, pod(i.tag("1"))).allowed(t)
		open.create(t, pod(i.tag("1"))).allowed(t)
	}
	r.process.kill()

	// What was decided before stays decided: the verdict's allowTTL is five minutes.
	for _, i := range images {
		closed.create(t, anew(pod(i.tag("1")))).allowed(t)
	}
	// calls returns how many calls a pod took, and how they were answered.
	calls := func(verdict string, apiserver *apiserver, image string) (answer, float64) {
		t.Helper()
		before := s.metric(t, "sluice_reviews_total", `verdict="`+verdict+`"`)
		got := apiserver.create(t, anew(pod(image)))
		return got, s.metric(t, "sluice_reviews_total", `verdict="`+verdict+`"`) - before
	}
	const why = "could not be checked for policy"
	for _, apiserver := range []*apiserver{closed, open} {
		isOpen := apiserver == open
		for onError, verdict := range map[string]string{"deny": "deny", "retry": "retry", "defer": "defer", "allow": "allow"} {
			tag := "2"
			if isOpen {
				tag = "3"
			}
			image := images[onError].tag(tag)
			got, n := calls(verdict, apiserver, image)
			where := fmt.Sprintf("onError %s, defaultAllow %t: %s", onError, isOpen, got)
			want := 1.0
			switch onError {
			case "deny":
				if got.err == nil || got.audit["reason"] != "registry_unavailable" || !strings.Contains(got.err.Error(), why) {
					t.Errorf("%s; want a denial that says why", where)
				}
			case "allow":
				if got.err != nil || got.audit["verdict"] != "warn" || got.audit["reason"] != "registry_unavailable" ||
					!strings.Contains(got.audit["warnings"], why) || got.audit["failed-open"] != "" {
					t.Errorf("%s; want an admission with a warning", where)
				}
			default:
				if onError == "retry" {
					want = 5 // all the plugin makes
				}
				switch {
				case isOpen && (got.err != nil || got.audit["failed-open"] != "true"):
					t.Errorf("%s; want the plugin to fail open", where)
				case !isOpen && (got.err == nil || !strings.Contains(got.err.Error(), image)):
					t.Errorf("%s; want the plugin to refuse, with the image's name", where)
				case !isOpen && strings.Contains(got.err.Error(), "denied one or more images"):
					t.Errorf("%s; want no denial, which the plugin would remember", where)
				}
			}
			if n != want {
				t.Errorf("%s; it took %v calls answered by %s, want %v", where, n, verdict, want)
			}
		}
	}
	if got := s.metric(t, "sluice_registry_requests_total", `outcome="registry_unavailable"`); got == 0 {
		t.Error("no registry request is counted as unavailable")
	}
	s.lives(t)
}

// The registry comes back: so does the verdict, within the moment that a failure is remembered.
func TestRegistryComesBack(t *testing.T) {
	t.Parallel()
	i := signed(t)
	var down atomic.Bool
	down.Store(true)
	f := newFront(t, shared.registry, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
	s := newService(t, settings{
		registries: []string{f.host}, registry: "  retries: 0\n",
		rules: []rule{{name: "signed", images: f.host + "/**", key: releaseKey(t)}},
	})
	apiserver := s.failClosed(t)
	image := f.host + "/fixture/signed@" + i.digest.String()
	apiserver.create(t, pod(image)).denied(t, "registry_unavailable", image)
	down.Store(false)
	eventually(t, func() error { return apiserver.create(t, anew(pod(image))).err })
}

// SIGTERM while the registry takes its time: the review that waits for it is finished.
func TestTermination(t *testing.T) {
	t.Parallel()
	signed(t)
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	f := newFront(t, shared.registry, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/manifests/1") {
			arrived <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		next.ServeHTTP(w, r)
	})
	s := newService(t, settings{
		registries: []string{f.host}, registry: "  timeout: 7s\n",
		rules: []rule{{name: "signed", images: f.host + "/**", key: releaseKey(t)}},
	})
	apiserver := s.failClosed(t)
	done := make(chan answer, 1)
	go func() { done <- apiserver.create(t, pod(f.host+"/fixture/signed:1")) }()
	select {
	case <-arrived:
	case got := <-done:
		t.Fatalf("answered before the registry was asked: %s", got)
	case <-time.After(patience):
		t.Fatal("the registry is not asked")
	}
	s.process.signal(t, syscall.SIGTERM)
	eventually(t, func() error {
		if !strings.Contains(s.process.stderr.String(), `"draining"`) {
			return fmt.Errorf("it does not say that it drains")
		}
		if status, body, err := s.get("/readyz"); err == nil && status == http.StatusOK {
			return fmt.Errorf("/readyz is still %s", body)
		}
		return nil
	})
	if s.process.ended() {
		t.Error("it has ended before the review")
	}
	close(release)
	(<-done).allowed(t)
	if code := s.process.exit(t, patience); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
