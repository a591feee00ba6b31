package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newClient speaks HTTP/2 to the apiserver, as its administrator, over a connection of its own.
func (c *cluster) newClient(t testing.TB) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(c.ca.certificate)
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{{
			Certificate: [][]byte{c.admin.certificate.Raw}, PrivateKey: c.admin.key,
		}}},
		Protocols: protocols,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Timeout: time.Minute, Transport: transport}
}

// refusal is an answer of the apiserver that is none of 200 to 299.
type refusal struct {
	code    int
	message string // of its Status
}

func (r *refusal) Error() string { return fmt.Sprintf("%d: %s", r.code, r.message) }

// do sends a request to the apiserver. The body is JSON, or YAML, or empty.
func (c *cluster) do(ctx context.Context, client *http.Client, method, path, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/yaml")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		var status struct{ Message string }
		if json.Unmarshal(content, &status) != nil || status.Message == "" {
			status.Message = string(content)
		}
		return nil, &refusal{response.StatusCode, status.Message}
	}
	return content, nil
}

// namespace makes one for the test and names it so.
func (c *cluster) namespace(t testing.TB) string {
	t.Helper()
	name := strings.ReplaceAll(repositoryOf(t), "/", "-")
	_, err := c.do(t.Context(), c.client, http.MethodPost, "/api/v1/namespaces",
		`{apiVersion: v1, kind: Namespace, metadata: {name: `+name+`}}`)
	must(t, err)
	return name
}

// dryRun has the apiserver create a pod, with all that is asked about it, but for the storing. The pod is one that the
// plugin has not seen; for the service it is the same review each time.
func (c *cluster) dryRun(ctx context.Context, client *http.Client, namespace string, images ...string) error {
	_, err := c.do(ctx, client, http.MethodPost, "/api/v1/namespaces/"+namespace+"/pods?dryRun=All",
		podManifest("dry-run-"+fmt.Sprint(asked.Add(1)), images...))
	return err
}

// podManifest is a pod whose containers have these images, and which the plugin has not seen: see anew.
func podManifest(name string, images ...string) string {
	var containers []string
	for n, image := range images {
		containers = append(containers, fmt.Sprintf("{name: c%d, image: %q}", n, image))
	}
	return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s, annotations: {count.image-policy.k8s.io/count: %q}}, "+
		"spec: {containers: [%s]}}\n", name, fmt.Sprint(asked.Add(1)), strings.Join(containers, ", "))
}

const auditLog = "audit.log"

// auditPolicy has what happens to pods and to what makes pods in the log, once each, with annotations.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: Metadata
  resources:
  - {group: ""}
  - {group: apps}
  - {group: batch}
- level: None
`

// auditEvent is a line of the audit log.
type auditEvent struct {
	Verb, RequestURI string
	ObjectRef        struct{ Resource, Namespace, Name, Subresource string }
	ResponseStatus   struct {
		Code    int
		Message string
	}
	Annotations map[string]string
}

// audited returns what the audit log tells of the last request about an object that changed it, or tried to. The
// annotations come without the plugin's prefix. Of two requests in a row, the later may not be there yet.
func (c *cluster) audited(t testing.TB, resource, namespace, name string) auditEvent {
	t.Helper()
	var found auditEvent
	eventually(t, func() error { // the log is written after the answer
		content, err := os.ReadFile(filepath.Join(c.dir, auditLog))
		must(t, err)
		found = auditEvent{}
		for line := range bytes.Lines(content) {
			var e auditEvent
			if json.Unmarshal(line, &e) != nil {
				continue // the last line may be half there
			}
			if o := e.ObjectRef; o.Resource == resource && o.Namespace == namespace && o.Name == name {
				found = e
			}
		}
		if found.Verb == "" {
			return fmt.Errorf("the audit log has no %s %s/%s", resource, namespace, name)
		}
		return nil
	})
	annotations := map[string]string{}
	for key, value := range found.Annotations {
		annotations[strings.TrimPrefix(key, auditPrefix)] = value
	}
	found.Annotations = annotations
	return found
}
