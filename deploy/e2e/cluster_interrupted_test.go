package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Everything that interrupts the service, one after the other, on a control plane that refuses pods which it can't ask
// about, and on one that lets them in.
func TestClusterFailClosed(t *testing.T) {
	t.Parallel()
	newInterrupted(t, false).run(t)
}

func TestClusterFailOpen(t *testing.T) {
	t.Parallel()
	newInterrupted(t, true).run(t)
}

// interrupted is a control plane whose service is interrupted.
type interrupted struct {
	*cluster
	all     testing.TB // what all of it is part of: processes that one step starts, the next ones use
	open    bool       // defaultAllow
	images  image
	rule    rule
	held    *front        // a registry that holds its answers
	release chan struct{} // until this is closed
}

func newInterrupted(t *testing.T, open bool) *interrupted {
	i := &interrupted{all: t, open: open, release: make(chan struct{})}
	i.images = shared.registry.push(t, repositoryOf(t), "1", "2", "3")
	sign(t, i.images, releaseKey(t))
	i.held = newFront(t, shared.registry, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-i.release:
		case <-r.Context().Done():
		}
		next.ServeHTTP(w, r)
	})
	i.rule = rule{name: "signed", images: shared.registry.host + "/**", key: releaseKey(t), allowTTL: "1s"}
	settings := settings{
		registries: []string{shared.registry.host, i.held.host}, registry: "  timeout: 7s\n",
		rules: []rule{i.rule, {name: "held", images: i.held.host + "/**", key: releaseKey(t), onError: "defer"}},
		edits: [][]string{{"#maxChecks: 256", "maxChecks: 1"}, {"#maxWaiting: 4096", "maxWaiting: 1"}},
	}
	if open {
		settings.flags = []string{"--default-allow"}
	}
	i.cluster = newCluster(t, clusterSettings{sluice: newService(t, settings)})
	return i
}

func (i *interrupted) run(t *testing.T) {
	t.Run("handover", i.handover)
	t.Run("rotation", i.rotation)
	t.Run("policy", i.policy)
	t.Run("overload", i.overload)
	t.Run("down", i.down)
}

// golden is said.golden for one of the two control planes: the other shows the same.
func (i *interrupted) golden(t *testing.T, s said, name string) {
	t.Helper()
	if !i.open {
		s.golden(t, name)
	}
}

// creates begins to create pods, one after the other in each of so many clients, until it is stopped.
func (i *interrupted) creates(t *testing.T, namespace string, clients int) *load {
	return startLoad(t, clients, func() error { return i.dryRun(t.Context(), i.client, namespace, i.images.tag("1")) })
}

// failedOpen counts the pods that were let in for want of an answer, by the audit log.
func (i *interrupted) failedOpen(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(i.dir, auditLog))
	must(t, err)
	return bytes.Count(content, []byte(`"`+auditPrefix+`failed-open":"true"`))
}

// The restart of README.md, under load: a new process beside the old one, which is then told to end.
func (i *interrupted) handover(t *testing.T) {
	before := i.failedOpen(t)
	load := i.creates(t, i.namespace(t), 8)
	for range 3 {
		load.more(t, 30)
		i.replace(t, load)
	}
	load.more(t, 30)
	load.flawless(t)
	if n := i.failedOpen(t) - before; n != 0 {
		t.Errorf("%d pods were let in without an answer", n)
	}
}

// replace hands the service over to a new process.
func (i *interrupted) replace(t *testing.T, load *load) {
	t.Helper()
	next := i.sluice.successor(i.all)
	load.more(t, 30)
	i.sluice.terminate(t)
	i.sluice = next
}

// New certificates of the same authority, under load. For the service's own, no pod is refused. When the apiserver finds
// that its certificate has changed, which it looks for at handshakes, it cuts all its connections: the reviews that are
// under way at this one moment fail.
func (i *interrupted) rotation(t *testing.T) {
	ns := i.namespace(t)
	renewed := filepath.Join(t.TempDir(), "renewed")
	i.sluice.init(t, renewed, "--ca-cert", i.sluice.file("pki/ca.crt"), "--ca-key", i.sluice.file("pki/ca.key"),
		"--client-name", "renewed")
	const clients = 4
	f := func(who string, cut int) {
		before, load := i.failedOpen(t), i.creates(t, ns, clients)
		load.more(t, 30)
		for _, suffix := range []string{".key", ".crt"} {
			must(t, os.Rename(filepath.Join(renewed, "pki", who+suffix), i.sluice.file("pki/"+who+suffix)))
		}
		i.sluice.reload(t)
		load.more(t, 30)
		// The apiserver's connection lasts as long as both sides want. With another process it has to make one anew.
		i.replace(t, load)
		load.more(t, 30)
		load.end()
		refused, open := len(load.failed), i.failedOpen(t)-before
		if refused+open > cut {
			t.Errorf("%s: of %d pods, %d were refused and %d let in without an answer, want at most %d in all: %v",
				who, load.done.Load(), refused, open, cut, errors.Join(load.failed[:min(refused, 3)]...))
		}
		t.Logf("%s: %d pods, %d refused and %d let in without an answer", who, load.done.Load(), refused, open)
	}
	before := i.sluice.served(t)
	f("server", 0)
	if bytes.Equal(before, i.sluice.served(t)) {
		t.Error("the new certificate is not served")
	}
	f("client", clients) // one for each that waits for an answer
	i.kubectl(t, "run", "latest", "-n", ns, "--image", "nginx:latest").refused(t)
	eventually(t, func() error {
		if !strings.Contains(i.sluice.process.stderr.String(), `"client":"renewed"`) {
			return errors.New("the apiserver still shows its old certificate")
		}
		return nil
	})
}

// Rules that change are seen by pods that the plugin has an answer for, once that has ended. And a pod whose images may
// no longer run can't be changed any more, not even so that it can go.
func (i *interrupted) policy(t *testing.T) {
	ns := i.namespace(t)
	kubectl := func(args ...string) said { return i.kubectl(t, append([]string{"-n", ns}, args...)...) }
	label := func(value string) said { return kubectl("label", "pod", "web", "--overwrite", "tier="+value) }
	kubectl("run", "web", "--image", i.images.tag("1")).done(t)
	kubectl("patch", "pod", "web", "-p", `{"metadata":{"finalizers":["example.com/held"]}}`).done(t)
	label("front").done(t)

	denying := i.rule
	denying.key = otherKey(t)
	i.sluice.setRule(t, denying)
	i.sluice.reload(t)
	round := 0
	eventually(t, func() error {
		if round++; label(fmt.Sprint(round)).code == 0 {
			return fmt.Errorf("labels are still accepted")
		}
		return nil
	})
	i.golden(t, label("back").refused(t), "label-since-denied")
	kubectl("delete", "pod", "web", "--wait=false").done(t)
	i.golden(t, kubectl("patch", "pod", "web", "-p", `{"metadata":{"finalizers":null}}`).refused(t), "finalizer-since-denied")
	kubectl("get", "pod", "web", "-o", "name").done(t, "pod/web")

	i.sluice.setRule(t, i.rule)
	i.sluice.reload(t)
	eventually(t, func() error {
		if s := kubectl("patch", "pod", "web", "-p", `{"metadata":{"finalizers":null}}`); s.code != 0 {
			return fmt.Errorf("%s", s)
		}
		return nil
	})
	kubectl("get", "pod", "web").refused(t, "not found")
}

// A registry that doesn't answer while images wait for it: what cannot even wait is for defaultAllow to decide, and other
// images don't notice.
func (i *interrupted) overload(t *testing.T) {
	ns := i.namespace(t)
	image := func(tag string) string {
		return i.held.host + strings.TrimPrefix(i.images.tag(tag), shared.registry.host)
	}
	must(t, i.dryRun(t.Context(), i.client, ns, i.images.tag("1"))) // no check will be needed
	var waiting sync.WaitGroup
	errs := make([]error, 2)
	for n := range errs {
		waiting.Go(func() { errs[n] = i.dryRun(t.Context(), i.client, ns, image(fmt.Sprint(n+1))) })
		metric := []string{"sluice_checks_in_flight", "sluice_checks_waiting"}[n]
		eventually(t, func() error {
			if got := i.sluice.metric(t, metric); got != 1 {
				return fmt.Errorf("%s is %v", metric, got)
			}
			return nil
		})
	}
	i.deferred(t, i.kubectl(t, "run", "shed", "-n", ns, "--image", image("3")), ns, "shed", "overloaded")
	if i.sluice.metric(t, "sluice_checks_shed_total") == 0 {
		t.Error("nothing was shed")
	}
	close(i.release)
	waiting.Wait()
	for n, err := range errs {
		if err != nil {
			t.Errorf("image %d: %v", n+1, err)
		}
	}
	must(t, i.dryRun(t.Context(), i.client, ns, image("3")))
}

// deferred checks what became of a pod that was left to defaultAllow.
func (i *interrupted) deferred(t *testing.T, s said, namespace, name, golden string) {
	t.Helper()
	if i.open {
		s.done(t)
		eventually(t, func() error { // the log is written after the answer
			if got := i.audited(t, "pods", namespace, name).Annotations["failed-open"]; got != "true" {
				return fmt.Errorf("the audit log says failed-open %q of what was let in without an answer", got)
			}
			return nil
		})
		return
	}
	i.golden(t, s.refused(t), golden)
}

// The service is gone, and comes back.
func (i *interrupted) down(t *testing.T) {
	ns := i.namespace(t)
	kubectl := func(args ...string) said { return i.kubectl(t, append([]string{"-n", ns}, args...)...) }
	kubectl("run", "before", "--image", i.images.tag("1")).done(t)
	i.sluice.terminate(t)
	i.deferred(t, kubectl("run", "meanwhile", "--image", "nginx:latest"), ns, "meanwhile", "down")
	// An annotation that is part of the review, so that the plugin does not remember it.
	i.deferred(t, kubectl("annotate", "pod", "before", "note.image-policy.k8s.io/note=any"), ns, "before", "down-update")
	kubectl("delete", "pod", "before").done(t) // nobody is asked

	i.sluice.start(i.all, "--admin-listen", i.sluice.admin)
	kubectl("run", "after", "--image", i.images.tag("1")).done(t)
	if got := i.audited(t, "pods", ns, "after").Annotations; got["verdict"] != "allow" || got["failed-open"] != "" {
		t.Errorf("after the return, the audit log says %v", got)
	}
	kubectl("run", "latest", "--image", "nginx:latest").refused(t, `image "nginx:latest"`)
	i.sluice.lives(t)
}
