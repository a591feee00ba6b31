package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// 50 apiserver requests for the same image that nobody has seen, at once: the registry is asked once for the tag,
// once for the signatures and once for the payload, and one signature is verified.
func TestColdReviewsAreOne(t *testing.T) {
	t.Parallel()
	repository := repositoryOf(t)
	i := shared.registry.push(t, repository, "1")
	sign(t, i, releaseKey(t))
	s := newService(t, usual(t))
	apiserver := s.failClosed(t)
	apiserver.create(t, pod("nginx:1")).allowed(t) // a connection, so that the 50 come at once

	const reviews = 50
	before := s.metric(t, "sluice_cache_loads_total", `cache="verdicts"`)
	var wg sync.WaitGroup
	begin := make(chan struct{})
	answers := make([]answer, reviews)
	for n := range answers {
		p := anew(pod(i.tag("1")))
		wg.Go(func() {
			<-begin
			answers[n] = apiserver.create(t, p)
		})
	}
	close(begin)
	wg.Wait()
	for _, a := range answers {
		a.allowed(t)
	}
	hash := "sha256-" + i.digest.Hex
	want := []string{ // this registry has no referrers API, so that their tag is looked at too
		"GET manifests/1 200", "GET manifests/" + hash + ".sig 200", "GET manifests/" + hash + " 404",
		"GET referrers/" + i.digest.String() + " 404", "GET blobs/sha256:… 200",
	}
	var got []string
	eventually(t, func() error { // the log is written after the answer
		if got = shared.registry.requests(repository); len(got) < len(want) {
			return fmt.Errorf("the registry was asked %q", got)
		}
		return nil
	})
	for n, request := range got {
		if strings.HasPrefix(request, "GET blobs/") {
			got[n] = "GET blobs/sha256:…" + request[strings.LastIndexByte(request, ' '):]
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the registry was asked %q, want %q", got, want)
	}
	if n := s.metric(t, "sluice_cache_loads_total", `cache="verdicts"`) - before; n != 1 {
		t.Errorf("%v verdicts were made, want 1", n)
	}
	for name, want := range map[string]float64{"sluice_verifications_total": 1, "sluice_registry_requests_total": 5} {
		if n := s.metric(t, name); n != want {
			t.Errorf("%s is %v, want %v", name, n, want)
		}
	}
	if n := s.metric(t, "sluice_reviews_total", `verdict="allow"`); n < reviews {
		t.Errorf("%v reviews are counted, want %d", n, reviews)
	}
}

// Bursts of 200 over the plugin's transport: that is what it has HTTP/2 for.
func TestConnections(t *testing.T) {
	t.Parallel()
	i := signed(t)
	s := newService(t, usual(t))
	apiserver := s.failClosed(t)
	apiserver.create(t, pod(i.tag("1"))).allowed(t)
	const bursts, burst = 10, 200
	for range bursts {
		var wg sync.WaitGroup
		answers := make([]answer, burst)
		for n := range answers {
			p := anew(pod(i.tag("1")))
			wg.Go(func() { answers[n] = apiserver.create(t, p) })
		}
		wg.Wait()
		for _, a := range answers {
			a.allowed(t)
		}
	}
	if n := s.metric(t, "sluice_reviews_total", `verdict="allow"`); n != bursts*burst+1 {
		t.Errorf("%v reviews, want %d", n, bursts*burst+1)
	}
	if n := s.metric(t, "sluice_connections_total", `protocol="h1"`); n != 0 {
		t.Errorf("%v connections speak HTTP/1.1", n)
	}
	if n := s.metric(t, "sluice_connections_total", `protocol="h2"`); n < 1 || n > 5 {
		t.Errorf("%v connections for %d reviews, want a handful", n, bursts*burst)
	}
}

// load is reviews that go on until it is stopped.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	done   atomic.Int64

	mu     sync.Mutex
	failed []error
}

// startLoad runs review in so many goroutines, again and again.
func startLoad(t testing.TB, workers int, review func() error) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel}
	for range workers {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				err := review()
				if err != nil {
					l.mu.Lock()
					l.failed = append(l.failed, err)
					l.mu.Unlock()
				}
				l.done.Add(1)
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

// more waits until so many more reviews have been answered.
func (l *load) more(t testing.TB, n int64) {
	t.Helper()
	from := l.done.Load()
	eventually(t, func() error {
		if done := l.done.Load() - from; done < n {
			return fmt.Errorf("%d of %d reviews were answered", done, n)
		}
		return nil
	})
}

func (l *load) end() {
	l.cancel()
	l.wg.Wait()
}

// flawless ends the load, and fails the test if one review did.
func (l *load) flawless(t testing.TB) {
	t.Helper()
	l.end()
	for n, err := range l.failed {
		if t.Errorf("%v", err); n == 4 {
			break
		}
	}
	if len(l.failed) > 0 {
		t.Errorf("%d of %d reviews failed", len(l.failed), l.done.Load())
	}
	if l.done.Load() == 0 {
		t.Error("there was no load")
	}
	t.Logf("%d reviews", l.done.Load())
}

// ask sends one review past the plugin, over whatever the client is.
func (s *service) review(client *http.Client, image string) error {
	body := `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","spec":{"containers":[{"image":"` + image + `"}],"namespace":"team"}}`
	response, err := client.Post("https://"+s.addr+"/v1/imagereview?timeout=30s", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var reply struct{ Status struct{ Allowed bool } }
	if err := json.Unmarshal(content, &reply); err != nil || response.StatusCode != http.StatusOK || !reply.Status.Allowed {
		return fmt.Errorf("%s: %s", response.Status, content)
	}
	return nil
}

// A new process takes over from the old one, several times, while pods are created: none is refused.
func TestRestartUnderLoad(t *testing.T) {
	t.Parallel()
	restart := func(t *testing.T, s *service, load *load) {
		const rounds = 4
		for range rounds {
			load.more(t, 50)
			next := s.successor(t)
			load.more(t, 50)
			s.terminate(t)
			s = next
		}
		load.more(t, 50)
		load.flawless(t)
	}
	t.Run("plugin", func(t *testing.T) {
		t.Parallel()
		i := signed(t)
		s := newService(t, usual(t))
		apiserver := s.failClosed(t)
		restart(t, s, startLoad(t, 8, func() error { return apiserver.create(t, anew(pod(i.tag("1")))).err }))
	})
	// Each review on a connection of its own, so that there is always one that is just being made.
	t.Run("new-connections", func(t *testing.T) {
		t.Parallel()
		i := signed(t)
		s := newService(t, usual(t))
		client := s.client(t, false)
		client.Transport.(*http.Transport).DisableKeepAlives = true
		restart(t, s, startLoad(t, 8, func() error { return s.review(client, i.tag("1")) }))
	})
}

// Certificates of the same authority take the place of the old ones while pods are created: none is refused, and new
// connections see the new one.
func TestCertificateRotationUnderLoad(t *testing.T) {
	t.Parallel()
	i := signed(t)
	s := newService(t, usual(t))
	apiserver := s.failClosed(t)
	client := s.client(t, false)
	client.Transport.(*http.Transport).DisableKeepAlives = true
	viaPlugin := startLoad(t, 4, func() error { return apiserver.create(t, anew(pod(i.tag("1")))).err })
	viaNewConnections := startLoad(t, 2, func() error { return s.review(client, i.tag("1")) })
	served := func() []byte {
		c, err := tls.Dial("tcp", s.addr, clientTLS(t, s.dir))
		must(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Raw
	}
	onDisk := func() []byte {
		content, err := os.ReadFile(s.file("pki/server.crt"))
		must(t, err)
		block, _ := pem.Decode(content)
		return block.Bytes
	}
	first := onDisk()
	if !bytes.Equal(served(), first) {
		t.Error("the certificate of sluice init is not the one that is served")
	}
	for range 3 {
		renewed := filepath.Join(t.TempDir(), "renewed")
		s.init(t, renewed, "--ca-cert", s.file("pki/ca.crt"), "--ca-key", s.file("pki/ca.key"))
		before := served()
		for _, name := range []string{"pki/server.key", "pki/server.crt"} {
			must(t, os.Rename(filepath.Join(renewed, name), s.file(name)))
		}
		s.reload(t)
		if now := served(); bytes.Equal(now, before) || !bytes.Equal(now, onDisk()) {
			t.Error("the new certificate is not served")
		}
		// A client with the new certificate is known, and so is one with the old.
		must(t, s.review((&service{dir: renewed, addr: s.addr}).client(t, true), i.tag("1")))
		viaPlugin.more(t, 50)
		viaNewConnections.more(t, 10)
	}
	viaPlugin.flawless(t)
	viaNewConnections.flawless(t)
	if bytes.Equal(onDisk(), first) {
		t.Error("nothing was rotated")
	}
}

// Once a reload has been confirmed, no review that begins afterwards sees a verdict of the rules before.
func TestPolicyReloadUnderLoad(t *testing.T) {
	t.Parallel()
	i := signed(t)
	settings := usual(t)
	s := newService(t, settings)
	apiserver := s.failClosed(t)
	pass, fail := settings.rules[0], settings.rules[0]
	fail.key = otherKey(t)

	// The phase is even while the rules are changing, and odd while they stand: 1 and 5 allow, 3 and 7 deny, and so on.
	var phase, stable atomic.Int64
	phase.Store(1)
	allows := func(phase int64) bool { return phase%4 == 1 }
	review := func() error {
		before := phase.Load()
		got := apiserver.create(t, anew(pod(i.tag("1"))))
		if got.err != nil && got.audit["verdict"] != "deny" {
			return got.err
		}
		if before%2 == 0 || phase.Load() != before {
			return nil
		}
		stable.Add(1)
		if (got.err == nil) != allows(before) {
			return fmt.Errorf("a verdict of earlier rules in phase %d: %s", before, got)
		}
		return nil
	}
	load := startLoad(t, 8, review)
	const rounds = 12
	for range rounds {
		from := stable.Load()
		eventually(t, func() error {
			if n := stable.Load() - from; n < 40 {
				return fmt.Errorf("%d reviews under the same rules", n)
			}
			return nil
		})
		if allows(phase.Add(1) - 1) {
			s.setRule(t, fail)
		} else {
			s.setRule(t, pass)
		}
		s.reload(t)
		phase.Add(1)
	}
	load.flawless(t)
}
