package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// podSpec is what these tests look at of a pod.
type podSpec struct {
	Containers, InitContainers, EphemeralContainers []struct{ Name, Image, ImagePullPolicy string }

	Volumes []struct {
		Image struct{ Reference, PullPolicy string }
	}
}

// apiObject is what they look at of a pod, or of what has a pod template.
type apiObject struct {
	Metadata struct {
		Name, UID, ResourceVersion string
		Generation                 int64
	}
	Spec struct {
		podSpec
		Template    struct{ Spec podSpec }
		JobTemplate struct {
			Spec struct{ Template struct{ Spec podSpec } }
		}
	}
	Template struct{ Spec podSpec } // of a PodTemplate
}

// images lists all images of an object, and their pull policies, in the order in which a pod has them.
func (o apiObject) images() (images, pullPolicies []string) {
	for _, spec := range []podSpec{o.Spec.podSpec, o.Spec.Template.Spec, o.Spec.JobTemplate.Spec.Template.Spec, o.Template.Spec} {
		for _, c := range slices.Concat(spec.Containers, spec.InitContainers, spec.EphemeralContainers) {
			images, pullPolicies = append(images, c.Image), append(pullPolicies, c.ImagePullPolicy)
		}
		for _, v := range spec.Volumes {
			if v.Image.Reference != "" {
				images, pullPolicies = append(images, v.Image.Reference), append(pullPolicies, v.Image.PullPolicy)
			}
		}
	}
	return images, pullPolicies
}

// has checks the images of an object.
func (o apiObject) has(t testing.TB, want ...string) {
	t.Helper()
	if got, _ := o.images(); !slices.Equal(got, want) {
		t.Errorf("%s has the images\n%s\nwant\n%s", o.Metadata.Name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// ask sends a request of the administrator, which must be granted, and returns the object of the answer.
func (c *cluster) ask(t testing.TB, method, path, body string) apiObject {
	t.Helper()
	content, err := c.do(t.Context(), c.client, method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	var o apiObject
	must(t, json.Unmarshal(content, &o))
	return o
}

func (c *cluster) read(t testing.TB, path string) apiObject {
	t.Helper()
	return c.ask(t, http.MethodGet, path, "")
}

func (c *cluster) post(t testing.TB, path, body string) apiObject {
	t.Helper()
	return c.ask(t, http.MethodPost, path, body)
}

func (c *cluster) patch(t testing.TB, path, body string) apiObject {
	t.Helper()
	return c.ask(t, http.MethodPatch, path, body)
}

// deny sends a request that must be refused, by these words.
func (c *cluster) deny(t testing.TB, method, path, body string, words ...string) {
	t.Helper()
	_, err := c.do(t.Context(), c.client, method, path, body)
	if err == nil {
		t.Errorf("%s %s is granted, and should not be:\n%s", method, path, body)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s %s says %q, and should say %q", method, path, err, w)
		}
	}
}

// absent checks that there is no such object.
func (c *cluster) absent(t testing.TB, path string) {
	t.Helper()
	c.deny(t, http.MethodGet, path, "", "404")
}

// template is that of a pod which runs one image.
func template(image string) string {
	return fmt.Sprintf("{metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: %q}]}}", image)
}

// deployment has one image. Whatever else, it is the same each time.
func deployment(name, image string) string {
	return fmt.Sprintf("{apiVersion: apps/v1, kind: Deployment, metadata: {name: %s}, spec: {selector: {matchLabels: {app: web}}, "+
		"template: %s}}\n", name, template(image))
}

// job has one image.
func job(name, image string) string {
	return fmt.Sprintf("{apiVersion: batch/v1, kind: Job, metadata: {name: %s}, spec: {template: {spec: {restartPolicy: Never, "+
		"containers: [{name: web, image: %q}]}}}}\n", name, image)
}

// kinds is one object of each kind that has images, all with the same one. Two of them, Pod and PodTemplate, are more
// than templates in a specification.
func kinds(image string) string {
	manifest := func(apiVersion, kind, rest string) string {
		return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: web}\n%s\n---\n", apiVersion, kind, rest)
	}
	of, once := template(image), strings.Replace(template(image), "spec: {", "spec: {restartPolicy: Never, ", 1)
	const selected = "spec: {selector: {matchLabels: {app: web}}, template: %s}"
	return manifest("v1", "Pod", fmt.Sprintf("spec: {containers: [{name: web, image: %q}]}", image)) +
		manifest("v1", "PodTemplate", "template: "+of) +
		manifest("v1", "ReplicationController", fmt.Sprintf("spec: {selector: {app: web}, template: %s}", of)) +
		manifest("apps/v1", "Deployment", fmt.Sprintf(selected, of)) +
		manifest("apps/v1", "ReplicaSet", fmt.Sprintf(selected, of)) +
		manifest("apps/v1", "StatefulSet", fmt.Sprintf(selected, of)) +
		manifest("apps/v1", "DaemonSet", fmt.Sprintf(selected, of)) +
		manifest("batch/v1", "Job", fmt.Sprintf("spec: {template: %s}", once)) +
		manifest("batch/v1", "CronJob", fmt.Sprintf("spec: {schedule: '0 0 1 1 *', jobTemplate: {spec: {template: %s}}}", once))
}

// allKinds is where those are.
func allKinds(namespace string) map[string]string {
	core, apps, batch := "/api/v1/namespaces/"+namespace+"/", appsOf(namespace, ""), "/apis/batch/v1/namespaces/"+namespace+"/"
	return map[string]string{
		"Pod": core + "pods/web", "PodTemplate": core + "podtemplates/web", "ReplicationController": core + "replicationcontrollers/web",
		"Deployment": apps + "deployments/web", "ReplicaSet": apps + "replicasets/web", "StatefulSet": apps + "statefulsets/web",
		"DaemonSet": apps + "daemonsets/web", "Job": batch + "jobs/web", "CronJob": batch + "cronjobs/web",
	}
}
