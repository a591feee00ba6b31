package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	chart     = "../chart/sluice"
	kustomize = "../kustomize"
)

// Everything that is applied to a cluster, on a real apiserver: what Helm and kustomize make of it, as a dry run; and then the
// chart for good, with a service that the apiserver reaches as it reaches any of the cluster's.
func TestInstallInCluster(t *testing.T) {
	t.Parallel()
	// Without a proxy on its machine, it has to look itself where a Service leads.
	c := newCluster(t, clusterSettings{flags: []string{"--enable-aggregator-routing=true"}})
	for _, namespace := range []string{"sluice", "prod"} { // prod's secrets are read by some
		c.kubectl(t, "create", "namespace", namespace).done(t)
	}
	c.kubectl(t, "apply", "-f", absolute(t, "../chart/testdata/crds.yaml")).done(t)
	c.kubectl(t, "wait", "--for=condition=Established", "crd", "--all").done(t)
	t.Run("chart", func(t *testing.T) { c.charts(t) })
	t.Run("values", func(t *testing.T) { c.misspelt(t) })
	t.Run("kustomize", func(t *testing.T) { c.overlays(t) })
	t.Run("installed", func(t *testing.T) { newInstalled(t, c).run(t) })
}

func absolute(t testing.TB, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	must(t, err)
	return path
}

// helm runs the real one. It is told the version, since it was built without one to assume.
func (c *cluster) helm(t testing.TB, args ...string) said {
	t.Helper()
	return c.command(t, c.dir, programs.helm, args...)
}

// charts renders the chart with each set of values that it has for this.
func (c *cluster) charts(t *testing.T) {
	sets, err := filepath.Glob(filepath.Join(chart, "ci", "*.yaml"))
	must(t, err)
	if len(sets) < 4 {
		t.Errorf("the sets of values are %q", sets)
	}
	for _, values := range sets {
		flags := []string{
			absolute(t, chart), "--kube-version", kubernetesVersion(t), "--namespace", "sluice", "--values", absolute(t, values),
		}
		c.helm(t, append([]string{"lint", "--strict"}, flags...)...).done(t)
		c.accepts(t, filepath.Base(values), c.helm(t, append([]string{"template", "sluice"}, flags...)...).done(t).stdout)
	}
}

// accepts has the apiserver take all of a manifest, but for the storing: with no field that it does not know.
func (c *cluster) accepts(t *testing.T, what, manifest string) {
	t.Helper()
	c.kubectlFile(t, manifest, "apply", "--server-side", "--dry-run=server", "--validate=strict").done(t)
	t.Logf("%s: %d objects", what, len(documents(t, manifest)))
}

// misspelt has values that the schema refuses, each with its place.
func (c *cluster) misspelt(t *testing.T) {
	for value, want := range map[string]string{
		"replica=3":                             "'replica' not allowed",
		"image.tga=v1":                          "at '/image': additional properties 'tga' not allowed",
		"config.registrys=x":                    "at '/config': additional properties 'registrys' not allowed",
		"certificates.mode=none":                "at '/certificates/mode': value must be one of",
		"webhooks.validate.failurePolicy=Maybe": "at '/webhooks/validate/failurePolicy': value must be one of 'Fail', 'Ignore'",
		"webhooks.validate.timeoutSeconds=60":   "at '/webhooks/validate/timeoutSeconds': maximum:",
	} {
		c.helm(t, "template", absolute(t, chart), "--kube-version", kubernetesVersion(t), "--set", "image.repository=a/b",
			"--set", value).refused(t, want)
	}
	c.helm(t, "template", absolute(t, chart), "--kube-version", kubernetesVersion(t)).refused(t, "image.repository")
}

// overlays renders each overlay of kustomize. The one with certificates of one's own gets them first.
func (c *cluster) overlays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kustomize")
	must(t, os.CopyFS(dir, os.DirFS(kustomize)))
	pki := initService(t, settings{}).file("pki")
	own := filepath.Join(dir, "overlays", "own-pki")
	copyFile(t, filepath.Join(pki, "ca.crt"), filepath.Join(own, "ca.crt"))
	sh(t, own, programs.sluice+" cert issue --ca-cert ca.crt --ca-key "+filepath.Join(pki, "ca.key")+
		" --host sluice.sluice.svc --out-cert tls.crt --out-key tls.key").done(t)
	overlays, err := os.ReadDir(filepath.Join(dir, "overlays"))
	must(t, err)
	if len(overlays) < 4 {
		t.Errorf("the overlays are %v", overlays)
	}
	for _, o := range overlays {
		manifest := c.kubectl(t, "kustomize", filepath.Join(dir, "overlays", o.Name())).done(t).stdout
		c.accepts(t, o.Name(), manifest)
		switch o.Name() {
		case "own-pki":
			if strings.Count(manifest, "caBundle: ") != 2 {
				t.Errorf("the webhooks are without its authority:\n%s", manifest)
			}
		case "cert-manager": // README.md's first step leaves out the webhooks, and only those
			s := c.kubectlFile(t, manifest, "apply", "--server-side", "--dry-run=server", "-l", "!sluice.internal/asks").done(t)
			all := len(documents(t, manifest))
			if n := strings.Count(s.stdout, "serverside-applied"); n != all-2 || strings.Contains(s.stdout, "webhookconfiguration") {
				t.Errorf("%d of %d objects are applied before the webhooks:\n%s", n, all, s)
			}
		}
	}
}
