package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pullSecrets gives the service what it needs to read pull secrets, and no more, and returns the lines of sluice.yaml.
func (w *webhooks) pullSecrets(t testing.TB) [][]string {
	t.Helper()
	w.kubectlFile(t, `apiVersion: v1
kind: Namespace
metadata: {name: sluice}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: sluice-pull-secrets}
rules:
- {apiGroups: [""], resources: [secrets, serviceaccounts], verbs: [get]}
`, "apply").done(t)
	w.reader(t, "sluice")
	return [][]string{
		{"#pullSecrets:\n#  enabled: true\n", "pullSecrets:\n  enabled: true\n"},
		{"#  server: https://127.0.0.1:6443\n", fmt.Sprintf("  server: %q\n", w.url)},
		{"#  tokenFile: pki/apiserver-token\n", fmt.Sprintf("  tokenFile: %q\n", w.tokenFile())},
		{"#  caFile: pki/apiserver-ca.crt\n", fmt.Sprintf("  caFile: %q\n", filepath.Join(w.dir, "ca.pem"))},
		{"#  ttl: 60s\n", "  ttl: 1s\n"},
	}
}

func (w *webhooks) tokenFile() string { return filepath.Join(w.dir, "token") }

// reader makes a service account that may read pull secrets, and has the service be it from now on.
func (w *webhooks) reader(t testing.TB, name string) {
	t.Helper()
	w.post(t, "/api/v1/namespaces/sluice/serviceaccounts", "{metadata: {name: "+name+"}}")
	w.post(t, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", "{metadata: {name: "+name+"}, "+
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sluice-pull-secrets}, "+
		"subjects: [{kind: ServiceAccount, name: "+name+", namespace: sluice}]}")
	token := w.kubectl(t, "create", "token", name, "-n", "sluice", "--duration", "1h").done(t)
	writeWhole(t, w.tokenFile(), token.stdout)
}

// pullSecret is one for a registry.
func pullSecret(name, host, password string) string {
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("e2e:"+password)))
	return fmt.Sprintf("{metadata: {name: %s}, type: kubernetes.io/dockerconfigjson, stringData: {.dockerconfigjson: %q}}", name, config)
}

// The pull secrets of a pod, and of its service account, are for its own images and for nobody else's.
func TestAdmissionPullSecrets(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	good, bad := signed(t).at(w.closed.host).tag("1"), unsigned(t).at(w.closed.host).tag("1")
	ns := w.namespace(t)
	in := func(name string) string {
		full := ns + "-" + name
		w.post(t, "/api/v1/namespaces", "{metadata: {name: "+full+"}}")
		return full
	}
	secretsOf := func(namespace string) string { return "/api/v1/namespaces/" + namespace + "/secrets" }
	accountsOf := func(namespace string) string { return "/api/v1/namespaces/" + namespace + "/serviceaccounts" }
	pod := func(name, image, rest string) string {
		return fmt.Sprintf("{metadata: {name: %s}, spec: {containers: [{name: web, image: %q}]%s}}", name, image, rest)
	}
	const names = ", imagePullSecrets: [{name: pull}]"

	// Named by the pod. The registry answers nobody else: not the same namespace's pods without it, and no other's.
	w.post(t, secretsOf(ns), pullSecret("pull", w.closed.host, "e2e"))
	w.kubectl(t, "run", "none", "-n", ns, "--image", good).refused(t).golden(t, "../admission/pull-secret-none")
	w.post(t, podsOf(ns), pod("named", good, names))
	w.deny(t, http.MethodPost, podsOf(ns), pod("unsigned", bad, names), "is not signed")
	w.deny(t, http.MethodPost, podsOf(ns), pod("still-none", good, ""), "401")
	pin := w.signed[forPin].at(w.closed.host)
	w.post(t, podsOf(ns), pod("pinned", pin.tag("1"), names)).has(t, pin.pinned("1"))
	other := in("other")
	w.deny(t, http.MethodPost, podsOf(other), pod("named", good, names), "401")
	wrong := in("wrong")
	w.post(t, secretsOf(wrong), pullSecret("pull", w.closed.host, "wrong"))
	w.deny(t, http.MethodPost, podsOf(wrong), pod("named", good, names), "401")

	// By service accounts: the default one, and one that a template names. A pod that names secrets does not get those
	// of its account.
	accounts := in("accounts")
	w.post(t, secretsOf(accounts), pullSecret("pull", w.closed.host, "e2e"))
	w.post(t, accountsOf(accounts), "{metadata: {name: default}, imagePullSecrets: [{name: pull}]}")
	w.post(t, accountsOf(accounts), "{metadata: {name: plain}}")
	w.post(t, podsOf(accounts), pod("default", good, ""))
	w.post(t, podsOf(accounts), pod("named", good, ", serviceAccountName: default"))
	w.deny(t, http.MethodPost, podsOf(accounts), pod("plain", good, ", serviceAccountName: plain"), "401")
	w.deny(t, http.MethodPost, podsOf(accounts), pod("others", good, ", imagePullSecrets: [{name: others}]"), "401")
	w.post(t, appsOf(accounts, "deployments"), deployment("default", good))

	// Another token takes the place of the first, whose account is gone with its rights.
	w.reader(t, "sluice-next")
	w.ask(t, http.MethodDelete, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/sluice", "")
	w.ask(t, http.MethodDelete, "/api/v1/namespaces/sluice/serviceaccounts/sluice", "")
	rotated := in("rotated")
	w.post(t, secretsOf(rotated), pullSecret("pull", w.closed.host, "e2e"))
	must(t, pollFor(clusterPatience, func() error { // the apiserver believes in a token for some seconds more
		_, err := w.do(t.Context(), w.client, http.MethodPost, podsOf(rotated), pod("named", good, names))
		return err
	}))
}

// provider is a credential provider plugin of the kubelet's. It notes what it is asked, and tells the one login there is.
const provider = `#!/bin/sh
read -r request
printf '%%s\n' "$request $1 $NOTE" >> %q
printf '%%s' '{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse","cacheKeyType":"Registry",'
printf '%%s' '"cacheDuration":"1h","auth":{"%s":{"username":"e2e","password":"e2e"}}}'
`

// credentialProviders sets one up as on a node, and returns the lines of sluice.yaml.
func (w *webhooks) credentialProviders(t testing.TB) [][]string {
	t.Helper()
	bin, config := filepath.Join(w.dir, "credential-providers"), filepath.Join(w.dir, "credential-providers.yaml")
	must(t, os.Mkdir(bin, 0o755))
	must(t, os.WriteFile(filepath.Join(bin, "e2e-provider"), fmt.Appendf(nil, provider, w.providerNotes(), w.provided.host), 0o755))
	must(t, os.WriteFile(config, fmt.Appendf(nil, `apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: e2e-provider
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: [%q, "*.registry.example.com"]
  defaultCacheDuration: 1m
  args: [get-credentials]
  env: [{name: NOTE, value: noted}]
`, w.provided.host), 0o644))
	return [][]string{
		{"#credentialProviders:\n", "credentialProviders:\n"},
		{"#  configFile: /etc/kubernetes/image-credential-provider.yaml\n", fmt.Sprintf("  configFile: %q\n", config)},
		{"#  binDir: /usr/libexec/kubernetes/image-credential-provider\n", fmt.Sprintf("  binDir: %q\n", bin)},
	}
}

func (w *webhooks) providerNotes() string {
	return filepath.Join(w.dir, "credential-provider-requests")
}

// A kubelet's credential provider logs in to a registry for whoever's pod it is: once, for as long as it says.
func TestAdmissionCredentialProvider(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	good, bad := signed(t).at(w.provided.host), unsigned(t).at(w.provided.host)
	ns := w.namespace(t)
	w.post(t, podsOf(ns), podManifest("signed", good.tag("1")))
	w.post(t, podsOf(ns), podManifest("signed-by-digest", good.byDigest()))
	w.deny(t, http.MethodPost, podsOf(ns), podManifest("unsigned", bad.tag("1")), "is not signed")
	notes, err := os.ReadFile(w.providerNotes())
	must(t, err)
	const words = `"apiVersion":"credentialprovider.kubelet.k8s.io/v1"`
	if n := strings.Count(string(notes), "\n"); n != 1 || !strings.Contains(string(notes), words) ||
		!strings.HasSuffix(string(notes), " get-credentials noted\n") || !strings.Contains(string(notes), w.provided.host+"/fixture/") {
		t.Errorf("the provider was asked %d times, and should be once:\n%s", n, notes)
	}
}

// certsDirectory is a containerd's, with mirrors for registries that can't be reached otherwise.
func (w *webhooks) certsDirectory(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(w.dir, "certs.d")
	hosts := func(registry, server string, mirrors ...string) {
		text := fmt.Sprintf("server = %q\n", server)
		for _, m := range mirrors {
			text += fmt.Sprintf("\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", "http://"+m)
		}
		must(t, os.MkdirAll(filepath.Join(dir, registry), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, registry, "hosts.toml"), []byte(text), 0o644))
	}
	good, bad := signed(t), unsigned(t)
	// Says of the unsigned image that it is the signed one; and what it has for digests is something else.
	liar := newFront(t, shared.registry, func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/fixture/signed/manifests/1"):
			r.URL.Path = "/v2/fixture/unsigned/manifests/1"
			next.ServeHTTP(rewritten{rw, bad.digest.String(), good.digest.String()}, r)
		case strings.Contains(r.URL.Path, "/blobs/"):
			_, _ = io.WriteString(rw, "something else")
		default:
			next.ServeHTTP(rw, r)
		}
	})
	hosts(mirrored, "https://"+mirrored, w.dead, shared.registry.host)
	hosts(replaced, "http://"+shared.registry.host)
	hosts(forged, "http://"+liar.host)
	return dir
}

// rewritten has another digest in the header that names it.
type rewritten struct {
	http.ResponseWriter
	from, to string
}

func (r rewritten) WriteHeader(code int) {
	const header = "Docker-Content-Digest"
	if r.Header().Get(header) == r.from {
		r.Header().Set(header, r.to)
	}
	r.ResponseWriter.WriteHeader(code)
}

// A registry that can't be reached is asked through the mirrors of containerd's hosts.toml, the first of which does not
// answer either. Another one has been replaced altogether.
func TestAdmissionMirrors(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	ns := w.namespace(t)
	for n, host := range []string{mirrored, replaced} {
		w.post(t, podsOf(ns), podManifest(fmt.Sprintf("signed-%d", n), signed(t).at(host).tag("1")))
		w.post(t, podsOf(ns), podManifest(fmt.Sprintf("signed-by-digest-%d", n), signed(t).at(host).byDigest()))
	}
	refused := func(name, image string) {
		t.Helper()
		w.kubectl(t, "run", name, "-n", ns, "--image", image).refused(t).golden(t, "../admission/mirror-"+name)
	}
	refused("unsigned", unsigned(t).at(replaced).tag("1"))
	refused("absent", signed(t).at(replaced).tag("2"))
	// Where a server that can't be asked might have it, nobody can say that there is no signature.
	refused("unsigned-undecided", unsigned(t).at(mirrored).tag("1"))
	refused("absent-undecided", signed(t).at(mirrored).tag("2"))
	// What a mirror says is not believed: neither what a tag points at, nor the content of a signature.
	refused("forged-tag", signed(t).at(forged).tag("1"))
	refused("forged-signature", signed(t).at(forged).byDigest())
}
