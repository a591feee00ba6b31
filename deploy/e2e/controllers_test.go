package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// These are about what makes pods in a cluster: kube-controller-manager, as itself. What controllers are told they take for
// a fault that passes, and try again; and they read what they have written.

// controlled is an object that controllers made or keep.
type controlled struct {
	Metadata struct {
		Name, Namespace, DeletionTimestamp string
		Labels                             map[string]string
		Finalizers                         []string
	}
	Spec struct {
		podSpec
		ImagePullSecrets []struct{ Name string }
	}
	Status struct{ ObservedGeneration, Replicas, UpdatedReplicas int64 }

	Reason, Message string // of an Event
	InvolvedObject  struct{ Kind string }
}

func (c *cluster) list(t testing.TB, path string) []controlled {
	t.Helper()
	content, err := c.do(t.Context(), c.client, http.MethodGet, path, "")
	must(t, err)
	var list struct{ Items []controlled }
	must(t, json.Unmarshal(content, &list))
	return list.Items
}

// pods waits until the pods with a label are as many as they should be, and returns them.
func (c *cluster) pods(t testing.TB, namespace, app string, want int) []controlled {
	t.Helper()
	var all []controlled
	controllersDo(t, func() error {
		if all = c.list(t, podsOf(namespace)+"?labelSelector=app="+app); len(all) != want {
			return fmt.Errorf("%s has %d pods, want %d", app, len(all), want)
		}
		return nil
	})
	return all
}

// failedCreate waits until a controller says these words of the pods that it can't make.
func (c *cluster) failedCreate(t testing.TB, namespace, kind string, words ...string) {
	t.Helper()
	controllersDo(t, func() error {
		said := ""
		for _, e := range c.list(t, "/api/v1/namespaces/"+namespace+"/events") {
			if e.Reason != "FailedCreate" || e.InvolvedObject.Kind != kind {
				continue
			}
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(e.Message, w) }) {
				return nil
			}
			said += "\n" + e.Message // of a service account that is not there yet, in the beginning
		}
		return fmt.Errorf("no event says %q, but%s", words, said)
	})
}

// controllersDo waits for controllers, which are in no hurry where something has failed before.
func controllersDo(t testing.TB, what func() error) {
	t.Helper()
	must(t, pollFor(clusterPatience, what))
}

// workload is an object of a kind that makes pods, labelled with their kind.
func workload(apiVersion, kind, rest, image string) string {
	app := strings.ToLower(kind)
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s}\nspec: {%s%s}\n---\n", apiVersion, kind, app, rest,
		fmt.Sprintf("template: {metadata: {labels: {app: %s}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: web, image: %q}]}}", app, image))
}

const selects = "selector: {matchLabels: {app: %s}}, "

// workloads is one of each kind, two pods each but for the DaemonSet, which has one a node.
func workloads(image string) string {
	selected := func(kind, rest string) string {
		return workload("apps/v1", kind, fmt.Sprintf(selects, strings.ToLower(kind))+rest, image)
	}
	return selected("Deployment", "replicas: 2, ") + selected("ReplicaSet", "replicas: 2, ") + selected("DaemonSet", "") +
		selected("StatefulSet", "replicas: 2, podManagementPolicy: Parallel, ") +
		workload("v1", "ReplicationController", "replicas: 2, selector: {app: replicationcontroller}, ", image) +
		workloadJob(image)
}

func workloadJob(image string) string {
	return strings.Replace(workload("batch/v1", "Job", "parallelism: 2, completions: 2, ", image),
		"spec: {termination", "spec: {restartPolicy: Never, termination", 1)
}

var workloadPods = map[string]int{"deployment": 2, "replicaset": 2, "daemonset": 1, "statefulset": 2, "replicationcontroller": 2, "job": 2}

// keyed is a policy that wants a signature by a key.
func keyed(name, images string, k key, rest string) string {
	return strings.TrimSuffix(rule{name: name, images: images, key: k, allowTTL: "1s"}.yaml(), "\n") + "\n" + rest
}

// TestControllersBehindWebhooks: templates are pinned, and so is what controllers make of them; no controller takes that
// for a change to act upon; and what a stricter policy refuses, can still be taken down.
func TestControllersBehindWebhooks(t *testing.T) {
	t.Parallel()
	i := shared.registry.push(t, repositoryOf(t)+"/app", "1")
	sign(t, i, releaseKey(t))
	held := shared.registry.push(t, repositoryOf(t)+"/held", "1")
	sign(t, held, releaseKey(t))
	closed := newClosedRegistry(t)
	private := i.at(closed.host)

	w := &webhooks{cluster: newCluster(t, clusterSettings{controllers: true})}
	s := initService(t, settings{
		registries: []string{shared.registry.host, closed.host},
		edits: append([][]string{
			{"#admission: {anonymous: true}", "admission: {anonymous: true}"}, {"tagTTL: 60s", "tagTTL: 1s"},
		}, w.pullSecrets(t)...),
	})
	policy := func(name, images string, k key, rest string) {
		writeWhole(t, s.file("policies/60-"+name+".yaml"), keyed(name, images, k, rest))
	}
	const pins, keeps = "  pin: true\n", "  pin: true\n  unchangedImages: allow\n"
	policy("app", i.repository, releaseKey(t), keeps)
	policy("held", held.repository, releaseKey(t), pins)
	policy("private", private.repository, releaseKey(t), pins)
	s.start(t)
	w.install(t, s)
	ns := w.namespace(t)

	// A node, for the DaemonSet.
	w.post(t, "/api/v1/nodes", "{metadata: {name: node-1}}")
	w.kubectlFile(t, workloads(i.tag("1")), "apply", "-n", ns).done(t)
	for app, n := range workloadPods {
		for _, p := range w.pods(t, ns, app, n) {
			if got := p.Spec.Containers[0].Image; got != i.pinned("1") {
				t.Errorf("a pod of %s has the image %s", app, got)
			}
		}
	}
	// A Deployment has the one ReplicaSet, however often it is looked at; and one more once it is asked for.
	sets := func(generation, n int) {
		t.Helper()
		controllersDo(t, func() error {
			all := w.list(t, appsOf(ns, "replicasets")+"?labelSelector=app=deployment")
			d := w.list(t, appsOf(ns, "deployments"))[0]
			if got := d.Status; got.ObservedGeneration != int64(generation) || len(all) != n || got.Replicas < 2 {
				return fmt.Errorf("the Deployment has %d ReplicaSets and the status %+v", len(all), got)
			}
			return nil
		})
	}
	sets(1, 1)
	w.kubectlFile(t, workloads(i.tag("1")), "apply", "-n", ns).done(t)
	sets(1, 1)

	// The tag moves, to what is not signed. What takes a pod's place is what was judged, and a Job, whose template can't be
	// changed, means what it meant.
	copyImage(t, unsigned(t).tag("1"), i.tag("1"))
	controllersDo(t, func() error {
		_, err := w.do(t.Context(), w.client, http.MethodPost, appsOf(ns, "deployments")+"?dryRun=All", deployment("moved", i.tag("1")))
		if err == nil {
			return errors.New("the tag is taken for what it was")
		}
		return nil
	})
	w.kubectlFile(t, workloadJob(i.tag("1")), "apply", "-n", ns).done(t)
	w.kubectl(t, "rollout", "restart", "deployment/deployment", "-n", ns).done(t)
	sets(2, 2)
	w.kubectlFile(t, workloads(i.tag("1")), "apply", "-n", ns).refused(t, "is not signed", "job.batch/job configured")
	first := w.pods(t, ns, "statefulset", 2)
	w.kubectl(t, "delete", "pod", "-n", ns, "-l", "app=statefulset", "--wait=false").done(t)
	controllersDo(t, func() error {
		all := w.pods(t, ns, "statefulset", 2)
		for _, p := range all {
			if p.Spec.Containers[0].Image != first[0].Spec.Containers[0].Image {
				t.Errorf("a new pod has the image %s", p.Spec.Containers[0].Image)
			}
			if p.Metadata.DeletionTimestamp != "" {
				return errors.New("the old pods are still there")
			}
		}
		return nil
	})

	// By the service account's pull secret, which the apiserver writes into pods.
	privately := ns + "-private"
	w.post(t, "/api/v1/namespaces", "{metadata: {name: "+privately+"}}")
	w.post(t, "/api/v1/namespaces/"+privately+"/secrets", pullSecret("pull", closed.host, "e2e"))
	account := "/api/v1/namespaces/" + privately + "/serviceaccounts/default"
	controllersDo(t, func() error {
		_, err := w.do(t.Context(), w.client, http.MethodPatch, account, `{"imagePullSecrets":[{"name":"pull"}]}`)
		return err
	})
	w.kubectl(t, "create", "deployment", "web", "-n", privately, "--image", private.byDigest()).done(t)
	for _, p := range w.pods(t, privately, "web", 1) {
		if len(p.Spec.ImagePullSecrets) != 1 || p.Spec.Containers[0].Image != private.byDigest() {
			t.Errorf("%+v", p.Spec)
		}
	}

	// Then another signature is wanted. Who may keep what is there gets it out of the way: a Job's pods have a finalizer,
	// which its controller takes off. The other's stay, until the policy is what it was.
	w.kubectlFile(t, strings.ReplaceAll(job("held", held.tag("1")), "template: {", "template: {metadata: {labels: {app: held}}, "), "create", "-n", ns).done(t)
	w.pods(t, ns, "held", 1)
	policy("app", i.repository, otherKey(t), keeps)
	policy("held", held.repository, otherKey(t), pins)
	s.reload(t)
	w.kubectl(t, "delete", "job", "job", "held", "-n", ns).done(t)
	w.pods(t, ns, "job", 0)
	controllersDo(t, func() error {
		if p := w.pods(t, ns, "held", 1)[0].Metadata; p.DeletionTimestamp == "" || !slices.Contains(p.Finalizers, "batch.kubernetes.io/job-tracking") {
			return fmt.Errorf("it is deleted at %q, and kept by %v", p.DeletionTimestamp, p.Finalizers)
		}
		return nil
	})
	w.kubectl(t, "delete", "pod", "-n", ns, "-l", "app=replicationcontroller", "--wait=false").done(t)
	w.failedCreate(t, ns, "ReplicationController", validateWebhook, `is signed, but not by "release", as policy "app" requires`)
	policy("held", held.repository, releaseKey(t), pins)
	s.reload(t)
	w.kubectl(t, "delete", "namespace", ns, privately, "--timeout=120s").done(t)
}

// TestControllersBehindPlugin: the plugin judges no templates, so that what is refused are the pods, over and over. Once
// the image is signed, they come.
func TestControllersBehindPlugin(t *testing.T) {
	t.Parallel()
	i := shared.registry.push(t, repositoryOf(t), "1")
	s := newService(t, usual(t))
	c := newCluster(t, clusterSettings{controllers: true, sluice: s})
	ns := c.namespace(t)
	c.kubectl(t, "create", "deployment", "web", "-n", ns, "--image", i.tag("1")).done(t)
	c.failedCreate(t, ns, "ReplicaSet", fmt.Sprintf(
		`image policy webhook backend denied one or more images: image "%s" is not signed, and policy "signed" requires`, i.tag("1")))
	c.kubectl(t, "get", "pods", "-n", ns).done(t, "No resources found")
	sign(t, i, releaseKey(t))
	c.pods(t, ns, "web", 1)
}
