package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The plugin and the webhooks at one service, which answers certificates alone: the apiserver shows the same one at all
// doors, as its admission configuration says. Then the service is gone.
func TestAdmissionBesidePlugin(t *testing.T) {
	t.Parallel()
	pins := shared.registry.push(t, repositoryOf(t), "1")
	sign(t, pins, releaseKey(t))
	s := initService(t, usual(t))
	writeWhole(t, s.file("policies/60-pin.yaml"), fmt.Sprintf(`apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: pin}
spec: {images: [{glob: %q}], authorities: [{static: {action: pass}}], pin: true}
`, pins.repository))
	s.start(t)
	presentCertificate(t, s)
	c := newCluster(t, clusterSettings{sluice: s})
	c.install(t, s)
	ns := c.namespace(t)
	bad := unsigned(t).tag("1")

	// A pod is pinned by the one and judged by the other, which comes before the webhook that judges.
	c.kubectl(t, "run", "signed", "-n", ns, "--image", pins.tag("1")).done(t)
	c.read(t, podsOf(ns)+"/signed").has(t, pins.pinned("1"))
	event := c.audited(t, "pods", ns, "signed")
	for key, want := range map[string]string{
		"verdict": "allow", validateWebhook + "/verdict": "allow", "digests": pins.pinned("1"),
	} {
		if got := event.Annotations[key]; got != want {
			t.Errorf("audit annotation %s is %q, want %q (all: %v)", key, got, want, event.Annotations)
		}
	}
	c.kubectl(t, "run", "unsigned", "-n", ns, "--image", bad).refused(t).golden(t, "../admission/plugin-pod")
	c.kubectl(t, "create", "deployment", "unsigned", "-n", ns, "--image", bad).refused(t).golden(t, "../admission/plugin-deployment")
	c.kubectl(t, "create", "deployment", "web", "-n", ns, "--image", pins.tag("1")).done(t)
	for _, door := range []string{"imagereview", "validate", "mutate"} {
		if s.metric(t, "sluice_door_reviews_total", `door="`+door+`"`) == 0 {
			t.Errorf("nobody was at the door %s", door)
		}
	}

	// A new process takes the place of the old one, three times, while Deployments are made. The apiserver does not repeat
	// what a webhook has not answered, so that one lost answer would be one refusal.
	load := startLoad(t, 8, func() error {
		_, err := c.do(t.Context(), c.client, http.MethodPost, appsOf(ns, "deployments")+"?dryRun=All", deployment("load", pins.tag("1")))
		return err
	})
	for range 3 {
		load.more(t, 30)
		next := s.successor(t)
		load.more(t, 30)
		s.terminate(t)
		s = next
	}
	load.more(t, 30)
	load.flawless(t)

	// The service is gone.
	s.terminate(t)
	c.kubectl(t, "run", "down", "-n", ns, "--image", pins.tag("1")).refused(t).golden(t, "../admission/down-pod")
	c.kubectl(t, "create", "deployment", "down", "-n", ns, "--image", pins.tag("1")).refused(t).golden(t, "../admission/down-deployment")
	c.kubectl(t, "label", "deployment", "web", "-n", ns, "tier=front").refused(t).golden(t, "../admission/down-label")
	c.kubectl(t, "scale", "deployment", "web", "-n", ns, "--replicas", "2").done(t)
	c.kubectl(t, "delete", "pod", "signed", "-n", ns).done(t)
	c.post(t, appsOf("kube-system", "deployments"), deployment("down", bad))

	// Who has said Ignore lets everything in, and finds that in the audit log.
	content, err := os.ReadFile(s.file("webhooks.yaml"))
	must(t, err)
	open := strings.ReplaceAll(string(content), "failurePolicy: Fail", "failurePolicy: Ignore")
	c.kubectlFile(t, open, "apply").done(t)
	eventually(t, func() error {
		_, err := c.do(t.Context(), c.client, http.MethodPost, appsOf(ns, "deployments"), deployment("ignored", bad))
		return err
	})
	eventually(t, func() error { // the log is written after the answer
		for _, kind := range []string{"mutation", "validating"} {
			key := "failed-open." + kind + ".webhook.admission.k8s.io/round_0_index_0"
			if event := c.audited(t, "deployments", ns, "ignored"); !strings.HasSuffix(event.Annotations[key], ".sluice.internal") {
				return fmt.Errorf("audit annotation %s is %q (all: %v)", key, event.Annotations[key], event.Annotations)
			}
		}
		return nil
	})

	// The way out, and back in.
	c.command(t, s.dir, programs.kubectl, "delete", "-f", "webhooks.yaml").done(t).golden(t, "../admission/remove")
	c.kubectl(t, "create", "deployment", "anything", "-n", ns, "--image", bad).done(t)
	s.start(t, "--admin-listen", s.admin)
	c.install(t, s)
	c.kubectl(t, "create", "deployment", "unsigned", "-n", ns, "--image", bad).refused(t, validateWebhook, "is not signed")
	s.lives(t)
}

// What kubectl shows where something is set up wrongly: nothing is let in by it.
func TestAdmissionSetUpWrongly(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	ns := w.namespace(t)
	const configurations = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
	webhook := func(name, url, authority, groups, resources string) {
		w.post(t, configurations, fmt.Sprintf(`metadata: {name: %s}
webhooks:
- name: %[1]s.e2e.internal
  clientConfig: {url: "https://%s/v1/admission/validate", caBundle: %s}
  admissionReviewVersions: [v1]
  sideEffects: None
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}
  rules: [{apiGroups: [%s], apiVersions: ["*"], operations: [CREATE], resources: [%s]}]
`, name, url, base64.StdEncoding.EncodeToString([]byte(authority)), ns, groups, resources))
		t.Cleanup(func() {
			_, err := w.do(context.Background(), w.client, http.MethodDelete, configurations+"/"+name, "")
			must(t, err)
		})
	}
	authority := func(s *service) string {
		content, err := os.ReadFile(s.file("pki/ca.crt"))
		must(t, err)
		return string(content)
	}
	// admission: {anonymous: true} is missing.
	closed := newService(t, usual(t))
	webhook("closed", closed.addr, authority(closed), `""`, "serviceaccounts")
	// More is asked about than has images.
	webhook("wide", w.service.addr, authority(w.service), `""`, "configmaps")
	// Another authority than the service's.
	webhook("other", closed.addr, authority(w.service), `""`, "persistentvolumeclaims")
	refused := func(path, manifest string) said {
		t.Helper()
		eventually(t, func() error { // the apiserver learns of webhooks in a moment
			_, err := w.do(t.Context(), w.client, http.MethodPost, path+"?dryRun=All", manifest)
			if err == nil {
				return fmt.Errorf("%s is not asked about", path)
			}
			return nil
		})
		return w.kubectlFile(t, manifest, "create", "-n", ns).refused(t)
	}
	core := "/api/v1/namespaces/" + ns
	refused(core+"/configmaps", "{apiVersion: v1, kind: ConfigMap, metadata: {name: any}}").golden(t, "../admission/wrong-kind")
	refused(core+"/persistentvolumeclaims", "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: any}, "+
		"spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}").golden(t, "../admission/wrong-authority")
	// A client that is turned away reads why, or just that the connection has ended: TLS 1.3 does not promise which.
	refused(core+"/serviceaccounts", "{apiVersion: v1, kind: ServiceAccount, metadata: {name: any}}").
		says(t, `failed calling webhook "closed.e2e.internal": failed to call webhook: Post "https://`+closed.addr)
	if n := closed.metric(t, "sluice_door_reviews_total", `door="validate"`); n != 0 {
		t.Errorf("strangers have been given %v answers", n)
	}
}

// presentCertificate has the apiserver show webhooks the certificate that it shows for the plugin.
func presentCertificate(t testing.TB, s *service) {
	t.Helper()
	kubeconfig := filepath.Join(s.dir, "webhooks-kubeconfig.yaml")
	must(t, os.WriteFile(kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
users:
- name: %q
  user: {client-certificate: pki/client.crt, client-key: pki/client.key}
`, s.addr), 0o600))
	text, err := os.ReadFile(s.file("admission.yaml"))
	must(t, err)
	for _, plugin := range []string{"MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"} {
		text = fmt.Appendf(text, `- name: %s
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: WebhookAdmissionConfiguration
    kubeConfigFile: %q
`, plugin, kubeconfig)
	}
	writeWhole(t, s.file("admission.yaml"), string(text))
}
