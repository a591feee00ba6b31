package e2e

import (
	"fmt"
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
