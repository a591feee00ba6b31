package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// pinned is the image by tag and digest.
func (i image) pinned(tag string) string { return i.tag(tag) + "@" + i.digest.String() }

// Tags get the digest that the registry has for them, wherever a pod names an image, in each kind but ReplicaSets: those
// are Deployments' own, which would make another if theirs had been changed.
func TestAdmissionPins(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	i := w.signed[forPin]
	ns := w.namespace(t)
	w.kubectlFile(t, kinds(i.tag("1")), "create", "-n", ns).done(t)
	for kind, path := range allKinds(ns) {
		want := i.pinned("1")
		if kind == "ReplicaSet" {
			want = i.tag("1")
		}
		w.read(t, path).has(t, want)
	}

	// All lists of a pod. What has a digest, or is no policy's to pin, stays as it is.
	other := signed(t).tag("1")
	pod := w.post(t, podsOf(ns), fmt.Sprintf("{metadata: {name: all}, spec: {"+
		"containers: [{name: a, image: %q}, {name: b, image: %q}, {name: c, image: %q}], initContainers: [{name: i, image: %q}], volumes: [{name: v, image: {reference: %q}}]}}",
		i.byDigest(), i.tag("1"), other, i.tag("1"), i.tag("1")))
	pod.has(t, i.byDigest(), i.pinned("1"), other, i.pinned("1"), i.pinned("1"))
	w.kubectl(t, "debug", "all", "-n", ns, "--image", i.tag("1"), "--container", "debugger", "--profile", "general").done(t)
	pod = w.read(t, podsOf(ns)+"/all")
	pod.has(t, i.byDigest(), i.pinned("1"), other, i.pinned("1"), i.pinned("1"), i.pinned("1"))

	// Only what is there to be pinned, and what is right.
	w.kubectl(t, "create", "deployment", "unsigned", "-n", ns, "--image", w.unsigned[forPin].tag("1")).
		refused(t).golden(t, "../admission/pin-unsigned")
	w.kubectl(t, "create", "deployment", "absent", "-n", ns, "--image", i.tag("2")).
		refused(t).golden(t, "../admission/pin-absent")
	// With requireDigest, who writes a tag gets a digest, but for the one kind that is not pinned.
	d := w.signed[forDigest]
	w.post(t, appsOf(ns, "deployments"), deployment("digest", d.tag("1"))).has(t, d.pinned("1"))
	w.kubectlFile(t, strings.Replace(deployment("digest", d.tag("1")), "Deployment", "ReplicaSet", 1), "create", "-n", ns).refused(t).golden(t, "../admission/digest-required")
}

// A manifest that is applied again, as it was, changes nothing, and so does not restart anything.
func TestAdmissionApplyAgain(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	i := w.signed[forBoth]
	ns := w.namespace(t)
	for name, flags := range map[string][]string{"client": nil, "server": {"--server-side"}} {
		apply := func() said {
			return w.kubectlFile(t, deployment(name, i.tag("1")), slices.Concat([]string{"apply", "-n", ns}, flags)...)
		}
		apply().done(t)
		first := w.read(t, appsOf(ns, "deployments")+"/"+name)
		first.has(t, i.pinned("1"))
		apply().done(t).golden(t, "../admission/apply-again-"+name)
		again := w.read(t, appsOf(ns, "deployments")+"/"+name)
		again.has(t, i.pinned("1"))
		if first.Metadata.Generation != 1 || again.Metadata != first.Metadata {
			t.Errorf("%s: applied again, %+v has become %+v", name, first.Metadata, again.Metadata)
		}
	}
}

// What a policy pins and pulls each time, it does for what comes, and for what is changed.
func TestAdmissionAlwaysPulls(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	ns := w.namespace(t)
	always, both := w.signed[forAlways], w.signed[forBoth]
	has := func(o apiObject, images, pullPolicies []string) {
		t.Helper()
		o.has(t, images...)
		if _, got := o.images(); !slices.Equal(got, pullPolicies) {
			t.Errorf("%s has the pull policies %q, want %q", o.Metadata.Name, got, pullPolicies)
		}
	}
	other := signed(t).tag("1")
	pod := w.post(t, podsOf(ns), fmt.Sprintf("{metadata: {name: web}, spec: {containers: [{name: a, image: %q}, "+
		"{name: b, image: %q, imagePullPolicy: Never}, {name: c, image: %q}], "+
		"initContainers: [{name: i, image: %q, imagePullPolicy: IfNotPresent}], volumes: [{name: v, image: {reference: %q}}]}}", always.tag("1"), both.tag("1"), other, always.byDigest(), always.tag("1")))
	has(pod, []string{always.tag("1"), both.pinned("1"), other, always.byDigest(), always.tag("1")},
		[]string{"Always", "Always", "IfNotPresent", "Always", "Always"})
	w.kubectl(t, "debug", "web", "-n", ns, "--image", both.tag("1"), "--container", "debugger", "--profile", "general",
		"--image-pull-policy", "IfNotPresent").done(t)
	pod = w.read(t, podsOf(ns)+"/web")
	has(pod, []string{always.tag("1"), both.pinned("1"), other, always.byDigest(), both.pinned("1"), always.tag("1")},
		[]string{"Always", "Always", "IfNotPresent", "Always", "Always", "Always"})

	// Another image in place of one: a pod's pull policies can't be changed, and a template's can.
	w.kubectl(t, "set", "image", "pod/web", "-n", ns, "c="+both.tag("1")).done(t)
	pod = w.read(t, podsOf(ns)+"/web")
	has(pod, []string{always.tag("1"), both.pinned("1"), both.pinned("1"), always.byDigest(), both.pinned("1"), always.tag("1")},
		[]string{"Always", "Always", "IfNotPresent", "Always", "Always", "Always"})
	w.post(t, appsOf(ns, "deployments"), deployment("web", other))
	w.kubectl(t, "set", "image", "deployment/web", "-n", ns, "web="+both.tag("1")).done(t)
	has(w.read(t, appsOf(ns, "deployments")+"/web"), []string{both.pinned("1")}, []string{"Always"})
}

// What was there before the webhooks is left as it is by all that does not touch its images, though they would be pinned
// now; and what would be denied now, is where the policy says so.
func TestAdmissionBefore(t *testing.T) {
	t.Parallel()
	w := sharedWebhooks(t)
	ns := w.before
	pin := w.signed[forPin].tag("1")
	for _, path := range []string{
		podsOf(ns) + "/pin", appsOf(ns, "deployments") + "/pin", appsOf(ns, "replicasets") + "/pin", jobsOf(ns) + "/pin",
	} {
		before := w.read(t, path)
		w.patch(t, path, `{"metadata":{"labels":{"tier":"front"}}}`)
		w.patch(t, path, `{"metadata":{"finalizers":["example.com/held"]}}`)
		w.patch(t, path, `{"metadata":{"finalizers":null}}`)
		after := w.read(t, path)
		after.has(t, pin)
		if after.Metadata.Generation != before.Metadata.Generation || after.Metadata.ResourceVersion == before.Metadata.ResourceVersion {
			t.Errorf("%s: %+v has become %+v", path, before.Metadata, after.Metadata)
		}
	}
	// An image that is changed is pinned, and the one beside it is not.
	w.patch(t, appsOf(ns, "deployments")+"/pin", fmt.Sprintf(
		`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":%q},{"name":"new","image":%[1]q}]}}}}`, pin))
	w.read(t, appsOf(ns, "deployments")+"/pin").has(t, pin, w.signed[forPin].pinned("1"))

	// A tag that was there is not pinned, so that where digests are required somebody has to write it.
	path := appsOf(ns, "deployments") + "/digest"
	w.kubectl(t, "label", "deployment", "digest", "-n", ns, "tier=front").refused(t).golden(t, "../admission/label-digest")
	w.kubectl(t, "set", "image", "deployment/digest", "-n", ns, "web="+w.signed[forDigest].pinned("1")).done(t)
	w.patch(t, path, `{"metadata":{"labels":{"tier":"front"}}}`).has(t, w.signed[forDigest].pinned("1"))

	// Unsigned, and held by a finalizer.
	held := func(name string) said {
		w.kubectl(t, "delete", "pod", name, "-n", ns, "--wait=false").done(t)
		return w.kubectl(t, "patch", "pod", name, "-n", ns, "-p", `{"metadata":{"finalizers":null}}`)
	}
	w.kubectl(t, "label", "pod", "check", "-n", ns, "tier=front").refused(t).golden(t, "../admission/label-check")
	held("check").refused(t).golden(t, "../admission/finalizer-check")
	w.kubectl(t, "label", "pod", "unchanged", "-n", ns, "tier=front").done(t).golden(t, "../admission/label-unchanged")
	// Its image is what may stay, and no other.
	w.kubectl(t, "set", "image", "pod/unchanged", "-n", ns, "c0="+w.unsigned[forUnchanged].byDigest()).refused(t, "is not signed")
	held("unchanged").done(t).golden(t, "../admission/finalizer-unchanged")
	w.absent(t, podsOf(ns)+"/unchanged")
}

// makeBefore makes objects while nobody is asked.
func (w *webhooks) makeBefore(t testing.TB) {
	t.Helper()
	w.before = "before"
	w.post(t, "/api/v1/namespaces", "{metadata: {name: "+w.before+"}}")
	for _, repository := range []string{forUnchanged, forCheck} {
		name := repository[strings.LastIndexByte(repository, '/')+1:]
		w.post(t, podsOf(w.before), podManifest(name, w.unsigned[repository].tag("1")))
		w.patch(t, podsOf(w.before)+"/"+name, `{"metadata":{"finalizers":["example.com/held"]}}`)
	}
	pin := w.signed[forPin].tag("1")
	w.post(t, podsOf(w.before), podManifest("pin", pin))
	w.post(t, appsOf(w.before, "deployments"), deployment("pin", pin))
	w.post(t, appsOf(w.before, "replicasets"), strings.Replace(deployment("pin", pin), "Deployment", "ReplicaSet", 1))
	w.post(t, jobsOf(w.before), job("pin", pin))
	w.post(t, appsOf(w.before, "deployments"), deployment("digest", w.signed[forDigest].tag("1")))
}
