package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// What kubectl shows for each kind that has images.
func TestAdmissionKinds(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	ns := w.namespace(t)
	w.kubectlFile(t, kinds(unsigned(t).tag("1")), "create", "-n", ns).refused(t).golden(t, "../admission/kinds-unsigned")
	for _, path := range allKinds(ns) {
		w.absent(t, path)
	}
	w.kubectlFile(t, kinds(signed(t).tag("1")), "create", "-n", ns).done(t).golden(t, "../admission/kinds-signed")
	for kind, path := range allKinds(ns) {
		w.read(t, path).has(t, signed(t).tag("1")) // no policy is to pin it
		// An image that comes by an update is seen as well, for all kinds.
		body := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":%q}]}}}}`, unsigned(t).tag("1"))
		switch kind {
		case "Job":
			continue // can't be changed
		case "Pod":
			body = fmt.Sprintf(`{"spec":{"containers":[{"name":"web","image":%q}]}}`, unsigned(t).tag("1"))
		case "PodTemplate":
			body = fmt.Sprintf(`{"template":{"spec":{"containers":[{"name":"web","image":%q}]}}}`, unsigned(t).tag("1"))
		case "CronJob":
			body = `{"spec":{"jobTemplate":` + body + `}}`
		}
		w.deny(t, http.MethodPatch, path, body, "403", `admission webhook "`+validateWebhook+`" denied the request`, "is not signed")
		w.read(t, path).has(t, signed(t).tag("1"))
	}
}

// Every place in a pod that names an image, image volumes with them: the plugin can't see those.
func TestAdmissionLists(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	good, bad := signed(t).tag("1"), unsigned(t).tag("1")
	ns := w.namespace(t)
	create := func(name, spec string) said {
		return w.kubectlFile(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: "+name+"}\nspec:\n"+spec, "create", "-n", ns)
	}
	f := func(name, spec string) {
		t.Helper()
		w.post(t, podsOf(ns), fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n", name)+fmt.Sprintf(spec, good, good))
		create(name+"-unsigned", fmt.Sprintf(spec, good, bad)).refused(t).golden(t, "../admission/"+name+"-unsigned")
	}
	f("init", "  containers: [{name: a, image: %q}]\n  initContainers: [{name: i, image: %q}]\n")
	f("sidecar", "  containers: [{name: a, image: %q}]\n  initContainers: [{name: s, image: %q, restartPolicy: Always}]\n")
	f("volume", "  containers: [{name: a, image: %q, volumeMounts: [{name: v, mountPath: /v}]}]\n"+
		"  volumes: [{name: v, image: {reference: %q}}]\n")
	const three = "  containers: [{name: a, image: %q}, {name: b, image: %q}, {name: c, image: 'nginx:latest'}]\n"
	create("three", fmt.Sprintf(three, good, bad)).refused(t).golden(t, "../admission/three-unsigned")

	debug := func(image string) said {
		return w.kubectl(t, "debug", "init", "-n", ns, "--image", image, "--container", "debugger", "--profile", "general")
	}
	debug(bad).refused(t).golden(t, "../admission/debug-unsigned")
	debug(good).done(t).golden(t, "../admission/debug-signed")
	w.read(t, podsOf(ns)+"/init").has(t, good, good, good)
}

// What is allowed with a word of warning, is shown as that by kubectl.
func TestAdmissionWarns(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	good, bad := w.signed[forWarn].tag("1"), w.unsigned[forWarn].tag("1")
	ns := w.namespace(t)
	w.kubectl(t, "create", "deployment", "signed", "-n", ns, "--image", good).done(t).golden(t, "../admission/warn-signed")
	w.kubectl(t, "create", "deployment", "unsigned", "-n", ns, "--image", bad).done(t).golden(t, "../admission/warn-unsigned")
	w.kubectlFile(t, fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: two}\nspec:\n"+
		"  containers: [{name: a, image: %q}, {name: b, image: %q}]\n", bad, shared.registry.host+"/"+forWarn+"/absent:1"), "create", "-n", ns).done(t).golden(t, "../admission/warn-two")
	event := w.audited(t, "deployments", ns, "unsigned")
	if got := event.Annotations[validateWebhook+"/verdict"]; event.ResponseStatus.Code != http.StatusCreated || got != "warn" {
		t.Errorf("the audit log says %d, and verdict %q: %v", event.ResponseStatus.Code, got, event.Annotations)
	}
}

// What was decided stands in the audit log, under the webhook's name.
func TestAdmissionAuditLog(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	good, bad := signed(t), unsigned(t)
	ns := w.namespace(t)
	check := func(name string, code int, want map[string]string) {
		t.Helper()
		event := w.audited(t, "deployments", ns, name)
		if event.ResponseStatus.Code != code {
			t.Errorf("%s: the audit log says %d, want %d", name, event.ResponseStatus.Code, code)
		}
		for key, value := range want {
			if got := event.Annotations[validateWebhook+"/"+key]; got != value {
				t.Errorf("%s: audit annotation %s is %q, want %q (all: %v)", name, key, got, value, event.Annotations)
			}
		}
	}
	w.post(t, appsOf(ns, "deployments"), deployment("signed", good.tag("1")))
	w.deny(t, http.MethodPost, appsOf(ns, "deployments"), deployment("unsigned", bad.tag("1")))
	// A request that creates has no name in the log unless it is granted; kubectl apply names it in both.
	check("signed", http.StatusCreated, map[string]string{
		"verdict": "allow", "reason": "passed", "digests": good.tag("1") + "@" + good.digest.String(),
	})
	w.kubectlFile(t, deployment("unsigned", bad.tag("1")), "apply", "--server-side", "-n", ns).
		refused(t).golden(t, "../admission/apply-unsigned")
	check("unsigned", http.StatusForbidden, map[string]string{
		"verdict": "deny", "reason": "signature_missing", "policy": "signed", "digests": bad.tag("1") + "@" + bad.digest.String(),
	})
}

// What is not asked about.
func TestAdmissionSkips(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	good, bad := signed(t).tag("1"), unsigned(t).tag("1")
	ns := w.namespace(t)

	// kube-system, as the webhooks' selector has it.
	w.post(t, podsOf("kube-system"), podManifest(ns, bad))
	w.post(t, appsOf("kube-system", "deployments"), deployment(ns, bad))

	// What has no template yet: it is the apiserver itself that says so, and not an expression that fails.
	w.kubectlFile(t, "{apiVersion: v1, kind: ReplicationController, metadata: {name: web}, spec: {replicas: 0, selector: {app: web}}}",
		"create", "-n", ns).refused(t).golden(t, "../admission/no-template")
	w.deny(t, http.MethodPost, "/api/v1/namespaces/"+ns+"/podtemplates", "{metadata: {name: web}}", "422")

	// A number of replicas, a status, an end.
	w.post(t, appsOf(ns, "deployments"), deployment("web", good))
	w.post(t, podsOf(ns), podManifest("web", good))
	w.patch(t, appsOf(ns, "deployments")+"/web/scale", `{"spec":{"replicas":3}}`)
	w.patch(t, podsOf(ns)+"/web/status", `{"status":{"message":"any"}}`)
	w.ask(t, http.MethodDelete, podsOf(ns)+"/web", "")
	w.absent(t, podsOf(ns)+"/web")
}

// An object that is only tried is judged as any.
func TestAdmissionDryRun(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	ns := w.namespace(t)
	w.kubectl(t, "create", "deployment", "web", "-n", ns, "--image", unsigned(t).tag("1"), "--dry-run=server").
		refused(t).golden(t, "../admission/dry-run-unsigned")
	pin := w.signed[forPin]
	w.kubectl(t, "create", "deployment", "web", "-n", ns, "--image", pin.tag("1"), "--dry-run=server",
		"-o", "jsonpath={.spec.template.spec.containers[0].image}").done(t, pin.tag("1")+"@"+pin.digest.String()).
		golden(t, "../admission/dry-run-pinned")
	w.absent(t, appsOf(ns, "deployments")+"/web")
}

// What can't be decided, since the registry does not answer, follows the policy's onError; where that does not say what
// is to be, the webhook's failurePolicy does, which is to refuse.
func TestAdmissionOnError(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	ns := w.namespace(t)
	for _, onError := range []string{"deny", "retry", "defer"} {
		for _, pin := range []string{"", "pin-"} {
			name := pin + onError
			w.kubectl(t, "create", "deployment", name, "-n", ns, "--image", w.dead+"/"+name+"/web:1").
				refused(t).golden(t, "../admission/dead-"+name)
		}
	}
	for _, name := range []string{"allow", "pin-allow"} {
		image := w.dead + "/" + name + "/web:1"
		w.kubectl(t, "create", "deployment", name, "-n", ns, "--image", image).done(t).golden(t, "../admission/dead-"+name)
		w.read(t, appsOf(ns, "deployments")+"/"+name).has(t, image)
	}
	// A registry that never answers costs what a review may take, which is less than the webhooks wait: it is our words
	// that the author reads, and not that a deadline is over.
	var waiting sync.WaitGroup
	for name, words := range map[string]string{"hanging": "could not be checked", "pin-hanging": "could not be pinned"} {
		waiting.Go(func() {
			w.deny(t, http.MethodPost, appsOf(ns, "deployments"), deployment(name, w.hanging+"/"+name+"/web:1"), "403", words)
		})
	}
	waiting.Wait()
}
