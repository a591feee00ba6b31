package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// What kubectl shows for pods that are created, word for word.
func TestClusterPods(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	good, bad := signed(t).tag("1"), unsigned(t).tag("1")
	ns := c.namespace(t)

	c.kubectl(t, "run", "signed", "-n", ns, "--image", good).done(t).golden(t, "signed")
	c.kubectl(t, "run", "unsigned", "-n", ns, "--image", bad).refused(t).golden(t, "unsigned")
	c.kubectl(t, "run", "latest", "-n", ns, "--image", "nginx").refused(t).golden(t, "latest")

	create := func(name, manifest string) said {
		return c.kubectlFile(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: "+name+"}\nspec:\n"+manifest, "create", "-n", ns)
	}
	create("two", fmt.Sprintf("  containers: [{name: a, image: %q}, {name: b, image: %q}]\n", good, good)).done(t)
	create("two-unsigned", fmt.Sprintf("  containers: [{name: a, image: %q}, {name: b, image: %q}, {name: c, image: nginx}]\n",
		good, bad)).refused(t).golden(t, "two-unsigned")

	create("init", fmt.Sprintf("  containers: [{name: a, image: %q}]\n  initContainers: [{name: i, image: %[1]q}]\n", good)).done(t)
	create("init-unsigned", fmt.Sprintf("  containers: [{name: a, image: %q}]\n  initContainers: [{name: i, image: %q}]\n",
		good, bad)).refused(t).golden(t, "init-unsigned")

	const sidecar = "  containers: [{name: a, image: %q}]\n  initContainers: [{name: s, image: %q, restartPolicy: Always}]\n"
	create("sidecar", fmt.Sprintf(sidecar, good, good)).done(t)
	create("sidecar-unsigned", fmt.Sprintf(sidecar, good, bad)).refused(t).golden(t, "sidecar-unsigned")

	// The plugin's review has no image volumes, so that nobody can judge them: see SECURITY.md.
	const volume = "  containers: [{name: a, image: %q, volumeMounts: [{name: v, mountPath: /v}]}]\n" +
		"  volumes: [{name: v, image: {reference: %q}}]\n"
	create("volume-unsigned", fmt.Sprintf(volume, good, bad)).done(t)

	c.kubectl(t, "get", "pods", "-n", ns, "-o", "name").done(t).golden(t, "pods")
}

// What is asked of whom when a pod is only tried: kubectl by itself asks nobody, the server asks as ever and keeps nothing.
func TestClusterDryRun(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	good, bad := signed(t).tag("1"), unsigned(t).tag("1")
	ns := c.namespace(t)
	c.kubectl(t, "run", "web", "-n", ns, "--image", bad, "--dry-run=client").done(t).golden(t, "dry-run-client")
	c.kubectl(t, "run", "web", "-n", ns, "--image", bad, "--dry-run=server").refused(t).golden(t, "dry-run-server")
	c.kubectl(t, "run", "web", "-n", ns, "--image", good, "--dry-run=server").done(t)
	c.kubectl(t, "get", "pods", "-n", ns, "-o", "name").done(t).golden(t, "dry-run-pods")
}

// The plugin is not asked about what makes pods, only about the pods: a Deployment of an unsigned image is accepted, and
// its ReplicaSet's events will say why there are no pods.
func TestClusterDeploymentIsNotReviewed(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	ns := c.namespace(t)
	c.kubectl(t, "create", "deployment", "web", "-n", ns, "--image", unsigned(t).tag("1")).done(t).golden(t, "deployment")
}

// Updates of pods that are there: the plugin asks about each, whatever is changed.
func TestClusterUpdates(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	good, bad := signed(t), unsigned(t)
	ns := c.namespace(t)
	kubectl := func(args ...string) said { return c.kubectl(t, append([]string{"-n", ns}, args...)...) }
	kubectl("run", "web", "--image", good.tag("1")).done(t)

	kubectl("set", "image", "pod/web", "web="+bad.tag("1")).refused(t).golden(t, "set-image-unsigned")
	kubectl("set", "image", "pod/web", "web="+good.byDigest()).done(t).golden(t, "set-image-signed")

	debug := func(image string) said {
		return kubectl("debug", "web", "--image", image, "--container", "debugger", "--profile", "general")
	}
	debug(bad.tag("1")).refused(t).golden(t, "debug-unsigned")
	debug(good.tag("1")).done(t).golden(t, "debug-signed")
	kubectl("get", "pod", "web", "-o", "jsonpath={.spec.ephemeralContainers[*].image}").done(t, good.tag("1"))

	kubectl("label", "pod", "web", "tier=front").done(t)
	kubectl("annotate", "pod", "web", "note=any").done(t)
	kubectl("patch", "pod", "web", "-p", `{"metadata":{"finalizers":["example.com/held"]}}`).done(t)
	kubectl("delete", "pod", "web", "--wait=false").done(t)
	kubectl("get", "pod", "web", "-o", "name").done(t, "pod/web") // the finalizer holds it
	kubectl("patch", "pod", "web", "-p", `{"metadata":{"finalizers":null}}`).done(t)
	kubectl("get", "pod", "web").refused(t, "not found")
}

// What was decided, by which rule and about which digest, stands in the apiserver's audit log.
func TestClusterAuditLog(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	good, bad := signed(t), unsigned(t)
	ns := c.namespace(t)
	check := func(name string, code int, want map[string]string) {
		t.Helper()
		event := c.audited(t, "pods", ns, name)
		if event.ResponseStatus.Code != code {
			t.Errorf("%s: the audit log says %d, want %d", name, event.ResponseStatus.Code, code)
		}
		for key, value := range want {
			if event.Annotations[key] != value {
				t.Errorf("%s: audit annotation %s is %q, want %q (all: %v)", name, key, event.Annotations[key], value, event.Annotations)
			}
		}
	}
	for _, name := range []string{"signed", "again"} { // the second from the plugin's cache, or from ours
		c.kubectl(t, "run", name, "-n", ns, "--image", good.tag("1")).done(t)
		check(name, http.StatusCreated, map[string]string{
			"verdict": "allow", "reason": "passed", "digests": good.tag("1") + "@" + good.digest.String(), "failed-open": "",
		})
	}
	c.kubectl(t, "run", "unsigned", "-n", ns, "--image", bad.tag("1")).refused(t)
	check("unsigned", http.StatusForbidden, map[string]string{
		"verdict": "deny", "reason": "signature_missing", "policy": "signed", "digests": bad.tag("1") + "@" + bad.digest.String(),
	})
}
