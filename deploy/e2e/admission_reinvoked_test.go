package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// injector is a mutating webhook of somebody else, which adds a container to each pod that has but one.
type injector struct {
	image string
	asked atomic.Int64
}

func (i *injector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.asked.Add(1)
	var review struct {
		APIVersion, Kind string
		Request          struct {
			UID    string
			Object apiObject
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response := map[string]any{"uid": review.Request.UID, "allowed": true}
	if len(review.Request.Object.Spec.Containers) == 1 {
		patch := fmt.Sprintf(`[{"op":"add","path":"/spec/containers/-","value":{"name":"injected","image":%q}}]`, i.image)
		response["patchType"], response["patch"] = "JSONPatch", []byte(patch)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": review.APIVersion, "kind": review.Kind, "response": response})
}

// What a webhook that comes after ours puts into a pod is pinned, too, and judged: the apiserver asks again.
func TestAdmissionReinvoked(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	i := w.signed[forPin]
	ns := w.namespace(t)
	install := func(name, label string, image string) *injector {
		h := &injector{image: image}
		certificate, err := issue(x509.Certificate{
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, w.ca)
		must(t, err)
		server := httptest.NewUnstartedServer(h)
		server.TLS = &tls.Config{Certificates: []tls.Certificate{{
			Certificate: [][]byte{certificate.certificate.Raw}, PrivateKey: certificate.key,
		}}}
		server.StartTLS()
		t.Cleanup(server.Close)
		authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.ca.certificate.Raw})
		const configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
		w.post(t, configurations, fmt.Sprintf(`metadata: {name: %s}
webhooks:
- name: %[1]s.e2e.internal
  clientConfig: {url: %q, caBundle: %s}
  admissionReviewVersions: [v1]
  sideEffects: None
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}
  objectSelector: {matchLabels: {inject: %q}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
`, name, server.URL, base64.StdEncoding.EncodeToString(authority), ns, label))
		t.Cleanup(func() {
			_, err := w.do(context.Background(), w.client, http.MethodDelete, configurations+"/"+name, "")
			must(t, err)
		})
		return h
	}
	pod := func(name, label string) string {
		return fmt.Sprintf("{metadata: {name: %s, labels: {inject: %s}}, spec: {containers: [{name: web, image: %q}]}}",
			name, label, i.tag("1"))
	}
	create := func(path, body string) (apiObject, error) {
		content, err := w.do(t.Context(), w.client, http.MethodPost, path, body)
		var o apiObject
		if err == nil {
			err = json.Unmarshal(content, &o)
		}
		return o, err
	}

	// They are called in the order of their names.
	good := install("zz-late-signed", "signed", i.tag("1"))
	eventually(t, func() error {
		if _, err := create(podsOf(ns)+"?dryRun=All", pod("try", "signed")); err != nil || good.asked.Load() == 0 {
			return fmt.Errorf("the other webhook is not asked (%v)", err)
		}
		return nil
	})
	w.post(t, podsOf(ns), pod("signed", "signed")).has(t, i.pinned("1"), i.pinned("1"))

	bad := install("zz-late-unsigned", "unsigned", w.unsigned[forPin].tag("1"))
	eventually(t, func() error {
		_, err := create(podsOf(ns)+"?dryRun=All", pod("try", "unsigned"))
		if bad.asked.Load() == 0 {
			return fmt.Errorf("the other webhook is not asked (%v)", err)
		}
		return nil
	})
	w.deny(t, http.MethodPost, podsOf(ns), pod("unsigned", "unsigned"), w.unsigned[forPin].pinned("1"), "is not signed")
}
