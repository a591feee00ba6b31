package e2e

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	apiserverinstall "k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/authentication/user"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/plugin/pkg/admission/imagepolicy"
)

// apiserver is the plugin, as an apiserver configures and calls it.
type apiserver struct{ plugin *imagepolicy.Plugin }

// newAPIServer reads an admission configuration by the apiserver's own code.
func newAPIServer(t testing.TB, admissionFile string) *apiserver {
	t.Helper()
	scheme := runtime.NewScheme()
	apiserverinstall.Install(scheme)
	config, err := admission.ReadAdmissionConfiguration([]string{imagepolicy.PluginName}, admissionFile, scheme)
	must(t, err)
	reader, err := config.ConfigFor(imagepolicy.PluginName)
	must(t, err)
	if reader == nil {
		t.Fatalf("%s does not configure %s", admissionFile, imagepolicy.PluginName)
	}
	plugin, err := imagepolicy.NewImagePolicyWebhook(reader)
	must(t, err)
	return &apiserver{plugin}
}

// failClosed is an apiserver that refuses what it cannot ask about, which is how sluice init writes it.
func (s *service) failClosed(t testing.TB) *apiserver {
	t.Helper()
	return newAPIServer(t, filepath.Join(s.dir, "admission.yaml"))
}

// failOpen is an apiserver with defaultAllow: true.
func (s *service) failOpen(t testing.TB) *apiserver {
	t.Helper()
	open := filepath.Join(s.dir, "admission-open.yaml")
	copyFile(t, filepath.Join(s.dir, "admission.yaml"), open)
	edit(t, open, "defaultAllow: false", "defaultAllow: true")
	return newAPIServer(t, open)
}

// attributes are those of one request, which remember what the plugin adds for the audit log.
type attributes struct {
	admission.Attributes
	mu    sync.Mutex
	audit map[string]string
	wrong error
}

const auditPrefix = "imagepolicywebhook.image-policy.k8s.io/"

func (a *attributes) AddAnnotation(key, value string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.Attributes.AddAnnotation(key, value); err != nil {
		a.wrong = err
		return err
	}
	a.audit[strings.TrimPrefix(key, auditPrefix)] = value
	return nil
}

// answer is what became of a pod.
type answer struct {
	err   error             // nil if it was admitted
	audit map[string]string // by key, without the plugin's prefix
}

func (a answer) String() string {
	if a.err == nil {
		return fmt.Sprintf("admitted %v", a.audit)
	}
	return fmt.Sprintf("refused: %v %v", a.err, a.audit)
}

func (s *apiserver) validate(ctx context.Context, pod, old *api.Pod, subresource string, operation admission.Operation) answer {
	record := &attributes{audit: map[string]string{}}
	var oldObject runtime.Object
	if old != nil {
		oldObject = old
	}
	record.Attributes = admission.NewAttributesRecord(pod, oldObject, api.Kind("Pod").WithVersion("version"),
		pod.Namespace, pod.Name, api.Resource("pods").WithVersion("version"), subresource, operation, nil, false,
		&user.DefaultInfo{Name: "somebody"})
	err := s.plugin.Validate(ctx, record, nil)
	record.mu.Lock()
	defer record.mu.Unlock()
	if err == nil {
		err = record.wrong
	}
	return answer{err, maps.Clone(record.audit)}
}

// create has a pod created.
func (s *apiserver) create(t testing.TB, pod *api.Pod) answer {
	return s.validate(t.Context(), pod, nil, "", admission.Create)
}

// pod is one whose containers have these images.
func pod(images ...string) *api.Pod {
	p := &api.Pod{ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: "team", Annotations: map[string]string{}}}
	for i, image := range images {
		p.Spec.Containers = append(p.Spec.Containers, api.Container{Name: fmt.Sprintf("c%d", i), Image: image})
	}
	return p
}

var asked atomic.Int64

// anew makes a pod one that the plugin has not seen: whatever stands in such an annotation is part of the key of its
// cache. For the service it is the same review.
func anew(p *api.Pod) *api.Pod {
	p.Annotations["count.image-policy.k8s.io/count"] = fmt.Sprint(asked.Add(1))
	return p
}

func (a answer) allowed(t testing.TB) {
	t.Helper()
	if a.err != nil {
		t.Fatalf("refused: %v (audit: %v)", a.err, a.audit)
	}
	if open := a.audit[imagepolicy.ImagePolicyFailedOpenKeySuffix]; open != "" {
		t.Fatalf("admitted for want of an answer, not by one (audit: %v)", a.audit)
	}
}

// denied checks that it was the service that refused, and why.
func (a answer) denied(t testing.TB, reason string, parts ...string) {
	t.Helper()
	if a.err == nil {
		t.Fatalf("admitted, and should be denied for %s (audit: %v)", reason, a.audit)
	}
	text := a.err.Error()
	if want := `pods "demo" is forbidden: image policy webhook backend denied one or more images: `; !strings.HasPrefix(text, want) {
		t.Errorf("refused, but not denied: %s", text)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("the denial does not say %q: %s", part, text)
		}
	}
	if got := a.audit["verdict"]; got != "deny" {
		t.Errorf("audit verdict %q, want deny", got)
	}
	if got := a.audit["reason"]; got != reason {
		t.Errorf("audit reason %q, want %q (%s)", got, reason, text)
	}
}
