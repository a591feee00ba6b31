package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// webhooks is a control plane that asks a service by the webhooks that sluice init wrote, and not by the plugin. One
// service does all that there is: tests differ in repositories, for which it has different policies.
type webhooks struct {
	*cluster
	service *service

	closed   *registry // has what the shared one has, for those who log in
	provided *registry // likewise
	dead     string    // the host of a registry that is not there
	hanging  string    // the host of one that never answers

	signed, unsigned map[string]image // by the repositories below
	before           string           // the namespace of what was made before there were webhooks
}

// Repositories below the shared registry, each with a policy of its name that wants signatures by the release key.
const (
	forPin       = "admission/pin"       // pin: true
	forDigest    = "admission/digest"    // pin: true, and tags: {requireDigest: true}
	forAlways    = "admission/always"    // alwaysPullImages: true
	forBoth      = "admission/both"      // both
	forWarn      = "admission/warn"      // mode: warn
	forUnchanged = "admission/unchanged" // unchangedImages: allow
	forCheck     = "admission/check"     // and no more
)

// Registries whose names nobody resolves: hosts.toml has mirrors for them.
const (
	mirrored = "registry.e2e.invalid"
	replaced = "replaced.e2e.invalid" // by the shared registry
	forged   = "forged.e2e.invalid"   // by a mirror that lies
)

const (
	validateWebhook = "validate.sluice.internal"
	mutateWebhook   = "mutate.sluice.internal"
)

var commonWebhooks struct {
	sync.Mutex
	tried bool
	made  *webhooks
}

// sharedWebhooks is for tests that change nothing but objects in namespaces of their own.
func sharedWebhooks(t testing.TB) *webhooks {
	t.Helper()
	commonWebhooks.Lock()
	defer commonWebhooks.Unlock()
	if !commonWebhooks.tried {
		commonWebhooks.tried = true
		commonWebhooks.made = newWebhooks(common.lasting.of(t))
	}
	if commonWebhooks.made == nil {
		t.Fatal("the shared control plane with webhooks has not started: see the test that was first to need it")
	}
	return commonWebhooks.made
}

func newWebhooks(t testing.TB) *webhooks {
	t.Helper()
	w := &webhooks{cluster: newCluster(t, clusterSettings{}), dead: freePort(t)}
	w.closed, w.provided = newClosedRegistry(t), newClosedRegistry(t)
	w.hanging = newFront(t, shared.registry, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		<-r.Context().Done()
	}).host
	w.push(t)
	w.makeBefore(t)

	w.service = initService(t, settings{
		registries: []string{shared.registry.host, w.closed.host, w.provided.host, w.dead, w.hanging, mirrored, replaced, forged},
		edits: append([][]string{
			{"#admission: {anonymous: true}", "admission: {anonymous: true}"},
			{"#hostsDirs: [/etc/containerd/certs.d]", fmt.Sprintf("hostsDirs: [%q]", w.certsDirectory(t))},
		}, append(w.credentialProviders(t), w.pullSecrets(t)...)...),
	})
	w.policies(t)
	w.service.start(t)
	w.install(t, w.service)
	return w
}

// push puts a signed and an unsigned image where each policy is about them.
func (w *webhooks) push(t testing.TB) {
	t.Helper()
	w.signed, w.unsigned = map[string]image{}, map[string]image{}
	good, bad := signed(t), unsigned(t)
	for _, repository := range []string{forPin, forDigest, forAlways, forBoth, forWarn, forUnchanged, forCheck} {
		w.signed[repository] = image{shared.registry.host + "/" + repository + "/signed", good.digest}
		w.unsigned[repository] = image{shared.registry.host + "/" + repository + "/unsigned", bad.digest}
		copyImage(t, good.tag("1"), w.signed[repository].tag("1"))
		copyImage(t, good.signatures(), w.signed[repository].signatures())
		copyImage(t, bad.tag("1"), w.unsigned[repository].tag("1"))
	}
}

// policies writes those that the tests need.
func (w *webhooks) policies(t testing.TB) {
	t.Helper()
	policy := func(name, spec string, globs ...string) {
		text := fmt.Sprintf("apiVersion: sluice/v1\nkind: ImagePolicy\nmetadata: {name: %s}\nspec:\n  images:\n", name)
		for _, glob := range globs {
			text += fmt.Sprintf("  - glob: %q\n", glob)
		}
		text += fmt.Sprintf("  authorities:\n  - name: release\n    key: {file: %q}\n", releaseKey(t).public)
		text += "  cache: {allowTTL: 5m, denyTTL: 1s}\n"
		writeWhole(t, w.service.file("policies/50-"+name+".yaml"), text+spec)
	}
	host := shared.registry.host + "/"
	policy("signed", "", host+"fixture/**", host+"testadmission**", w.closed.host+"/**", w.provided.host+"/**",
		mirrored+"/**", replaced+"/**", forged+"/**")
	policy("closed-pin", "  pin: true\n", w.closed.host+"/"+forPin+"/**")
	for repository, spec := range map[string]string{
		forPin:       "  pin: true\n",
		forDigest:    "  pin: true\n  tags: {requireDigest: true}\n",
		forAlways:    "  alwaysPullImages: true\n",
		forBoth:      "  pin: true\n  alwaysPullImages: true\n",
		forWarn:      "  mode: warn\n",
		forUnchanged: "  unchangedImages: allow\n",
		forCheck:     "",
	} {
		policy(filepath.Base(repository), spec, host+repository+"/**")
	}
	policy("hanging", "", w.hanging+"/hanging/**")
	policy("pin-hanging", "  pin: true\n", w.hanging+"/pin-hanging/**")
	for _, onError := range []string{"deny", "retry", "defer", "allow"} {
		policy("dead-"+onError, "  onError: "+onError+"\n", w.dead+"/"+onError+"/**")
		policy("dead-pin-"+onError, "  pin: true\n  onError: "+onError+"\n", w.dead+"/pin-"+onError+"/**")
	}
}

// install applies the webhooks as sluice init wrote them, and returns when the apiserver asks them.
func (c *cluster) install(t testing.TB, s *service) {
	t.Helper()
	c.command(t, s.dir, programs.kubectl, "apply", "-f", "webhooks.yaml").done(t).golden(t, "../admission/install")
	asked := func(door string) error {
		_, err := c.do(t.Context(), c.client, http.MethodPost, appsOf("default", "deployments")+"?dryRun=All",
			deployment("asked", "nginx:latest"))
		var r *refusal
		if err == nil || !errors.As(err, &r) {
			return fmt.Errorf("what is to be denied: %v", err)
		}
		if s.metric(t, "sluice_door_reviews_total", `door="`+door+`"`) == 0 {
			return fmt.Errorf("the apiserver does not ask for %s: %w", door, err)
		}
		return nil
	}
	for _, door := range []string{"mutate", "validate"} {
		eventually(t, func() error { return asked(door) })
	}
}

// newClosedRegistry starts a registry with the content of the shared one, which answers nobody but e2e with the
// password e2e.
func newClosedRegistry(t testing.TB) *registry {
	t.Helper()
	dir, addr := t.TempDir(), freePort(t)
	// Of "e2e", by bcrypt, the one method that this registry knows.
	const line = "e2e:$2y$04$abcdefghijklmnopqrstuut636btJdvaJpVy2PJ.hJG2wFbpVymR6\n"
	must(t, os.WriteFile(filepath.Join(dir, "htpasswd"), []byte(line), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "config.yml"), fmt.Appendf(nil, `version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: %s}}
http: {addr: "%s", secret: e2e}
auth: {htpasswd: {realm: e2e, path: htpasswd}}
`, filepath.Join(shared.dir, "registry", "storage"), addr), 0o644))
	p, err := startProcess(dir, nil, programs.registry, "serve", "config.yml")
	must(t, err)
	t.Cleanup(p.kill)
	must(t, poll(func() error {
		response, err := http.Get("http://" + addr + "/v2/")
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusUnauthorized {
			err = fmt.Errorf("a stranger gets %s", response.Status)
		}
		return errors.Join(err, response.Body.Close())
	}))
	return &registry{addr, p}
}

// at is the same image in another registry.
func (i image) at(host string) image {
	_, path, _ := strings.Cut(i.repository, "/")
	return image{host + "/" + path, i.digest}
}

// Where each kind is.
func podsOf(namespace string) string { return "/api/v1/namespaces/" + namespace + "/pods" }

func appsOf(namespace, kinds string) string {
	return "/apis/apps/v1/namespaces/" + namespace + "/" + kinds
}

func jobsOf(namespace string) string { return "/apis/batch/v1/namespaces/" + namespace + "/jobs" }
