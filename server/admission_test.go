package server

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/engine"
)

// patched is a patch as it is to be read: one line an operation.
func patched(ops ...string) []string { return ops }

// image and policy are operations of a patch.
func image(path, repository, tag string) string {
	return path + "/image=" + repository + ":" + tag + "@" + digestOf(strings.SplitN(repository, "/", 2)[1])
}

func always(path string) string { return path + "/imagePullPolicy=Always" }

// operations are the lines of a patch.
func operations(t testing.TB, patch []byte) (lines []string) {
	t.Helper()
	if patch == nil {
		return nil
	}
	var ops []struct{ Op, Path, Value string }
	if err := json.Unmarshal(patch, &ops); err != nil || len(ops) == 0 {
		t.Fatalf("%v: %s", err, patch)
	}
	for _, o := range ops {
		if o.Op != "add" {
			t.Errorf("%s is no operation of ours", o.Op)
		}
		lines = append(lines, o.Path+"="+o.Value)
	}
	return lines
}

// TestAdmission sends the same reviews over both protocols, cold and warm, and expects the same answers.
func TestAdmission(t *testing.T) {
	t.Parallel()
	const c0, c1, template = "/spec/containers/0", "/spec/containers/1", "/spec/template/spec/containers/0"
	const v, m = validatePath, mutatePath
	ephemeral := func(regular string, images ...string) string {
		return `{"spec":{` + containers("containers", "c", regular) + `,` + containers("ephemeralContainers", "e", images...) + `}}`
	}
	volume := func(reference, policy string) string {
		return fmt.Sprintf(`{"spec":{"containers":[],"volumes":[{"name":"v","emptyDir":{}},{"name":"w","image":{"reference":%q%s}}]}}`, reference, policy)
	}
	const pinned = "pinned.example/a"
	already := pinned + ":1@" + digestOf("a")
	moved := "both.example/a:1@" + digestOf("before")
	tests := []struct {
		name     string
		path     string
		ask      asked
		body     string // in place of ask
		status   int    // 200 unless said
		denied   string // what the message holds; allowed if empty
		patch    []string
		warnings []string // what each holds
		uid      string   // "-": none
	}{
		{name: "allowed", path: v, ask: asked{object: pod("good.example/a:1")}},
		{name: "denied", path: v, ask: asked{object: pod("good.example/a:1", "bad.example/b:2")}, denied: `image "bad.example/b:2"`},
		{name: "deployment", path: v, ask: asked{kind: "Deployment", group: "apps", object: deployment("bad.example/a")}, denied: "bad.example/a"},
		{name: "warned", path: v, ask: asked{object: pod("warned.example/a", "good.example/b", "warned.example/c")}, warnings: []string{"warned.example/a", "warned.example/c"}},
		{name: "matched by no policy", path: v, ask: asked{object: pod("nginx")}, denied: `"nginx"`},
		{name: "no image reference", path: v, ask: asked{object: pod("NGINX::@@")}, denied: `NGINX::@@`},
		{name: "image volume", path: v, ask: asked{object: volume("bad.example/v", "")}, denied: "bad.example/v"},
		{name: "with an empty image", path: v, ask: asked{object: pod("")}, denied: `image ""`},
		{name: "a tag where a digest is needed and had", path: v, ask: asked{object: pod(pinned)}},
		{name: "a tag where a digest is needed and there is none", path: v, ask: asked{object: pod("gone.example/a")}, denied: "gone.example/a"},

		{name: "update of what was there", path: v, ask: asked{operation: "UPDATE", object: pod("kept.example/a"), old: pod("kept.example/a")}},
		{name: "update of what was there, with another beside it", path: v, ask: asked{operation: "UPDATE", object: pod("kept.example/a", "good.example/b"), old: pod("kept.example/a")}},
		{name: "update of what was there in another order", path: v, ask: asked{operation: "UPDATE", object: `{"spec":{"containers":[{"name":"c1","image":"good.example/b"},{"name":"c0","image":"kept.example/a"}]}}`, old: pod("kept.example/a")}},
		{name: "update of what was there elsewhere", path: v, ask: asked{operation: "UPDATE", object: pod("good.example/b", "kept.example/a"), old: pod("kept.example/a")}, denied: "kept.example/a"},
		{name: "update of what was there twice over", path: v, ask: asked{operation: "UPDATE", object: pod("kept.example/a", "kept.example/a"), old: pod("kept.example/a")}, denied: "kept.example/a"},
		{name: "ephemeral container of what was there", path: v, ask: asked{sub: "ephemeralcontainers", operation: "UPDATE", object: ephemeral("kept.example/a", "kept.example/a"), old: ephemeral("kept.example/a")}, denied: "kept.example/a"},
		{name: "update to another tag", path: v, ask: asked{operation: "UPDATE", object: pod("kept.example/a:2"), old: pod("kept.example/a:1")}, denied: "kept.example/a:2"},
		{name: "update of what was there under a policy that checks", path: v, ask: asked{operation: "UPDATE", object: pod("bad.example/a"), old: pod("bad.example/a")}, denied: "bad.example/a"},
		{name: "creation that says what was there", path: v, ask: asked{object: pod("kept.example/a"), old: pod("kept.example/a")}, denied: "kept.example/a"},
		{name: "ephemeral container", path: v, ask: asked{sub: "ephemeralcontainers", operation: "UPDATE", object: ephemeral("kept.example/a", "bad.example/e"), old: ephemeral("kept.example/a")}, denied: "bad.example/e"},

		{name: "deletion", path: v, ask: asked{operation: "DELETE", old: pod("bad.example/a")}},
		{name: "connection", path: v, ask: asked{kind: "PodExecOptions", sub: "exec", operation: "CONNECT", object: `{"kind":"PodExecOptions"}`}},
		{name: "no images", path: v, ask: asked{object: `{"spec":{}}`}},
		{name: "deletion, to mutate", path: m, ask: asked{operation: "DELETE", old: pod(pinned)}},
		{name: "no images, to mutate", path: m, ask: asked{object: `{}`}},
		{name: "another kind", path: v, ask: asked{kind: "ConfigMap", object: `{}`}, denied: "this kind is not known here: \"ConfigMap\" of \"v1\""},
		{name: "another kind of another group", path: m, ask: asked{kind: "Pod", group: "metrics.k8s.io", object: `{}`}, denied: `"Pod" of "metrics.k8s.io/v1"`},

		{name: "pinned", path: m, ask: asked{object: pod(pinned + ":1")}, patch: patched(image(c0, pinned, "1"))},
		{name: "pinned on a dry run", path: m, ask: asked{dryRun: true, object: pod(pinned + ":1")}, patch: patched(image(c0, pinned, "1"))},
		{name: "pinned already", path: m, ask: asked{object: pod(already)}},
		{name: "pinned where it is needed", path: m, ask: asked{object: pod("good.example/a", pinned+":1", "bad.example/a")}, patch: patched(image(c1, pinned, "1"))},
		{name: "pinned in a template", path: m, ask: asked{kind: "Deployment", group: "apps", object: deployment(pinned + ":1")}, patch: patched(image(template, pinned, "1"))},
		{name: "a Deployment's ReplicaSet is left alone", path: m, ask: asked{kind: "ReplicaSet", group: "apps", object: deployment("both.example/a:1")}},
		{name: "a Deployment's ReplicaSet is judged", path: v, ask: asked{kind: "ReplicaSet", group: "apps", object: deployment("bad.example/a:1")}, denied: "bad.example/a:1"},
		{name: "denied, but not by mutate", path: m, ask: asked{object: pod("bad.example/a", "nginx", "NGINX::@@", "")}},
		{name: "always pulled", path: m, ask: asked{object: pod("pull.example/a")}, patch: patched(always(c0))},
		{name: "always pulled in place of another policy", path: m, ask: asked{object: pod("pull.example/a IfNotPresent")}, patch: patched(always(c0))},
		{name: "always pulled already", path: m, ask: asked{object: pod("pull.example/a Always")}},
		{name: "pinned and always pulled", path: m, ask: asked{object: pod("both.example/a:1")}, patch: patched(image(c0, "both.example/a", "1"), always(c0))},
		{name: "image volume, pinned and always pulled", path: m, ask: asked{object: volume("both.example/v:1", "")}, patch: patched(
			"/spec/volumes/1/image/reference=both.example/v:1@"+digestOf("v"), "/spec/volumes/1/image/pullPolicy=Always",
		)},

		{name: "update that touches nothing", path: m, ask: asked{operation: "UPDATE", object: pod("both.example/a:1 IfNotPresent"), old: pod("both.example/a:1 IfNotPresent")}},
		{name: "update that changes the order", path: m, ask: asked{operation: "UPDATE", object: pod("both.example/a:1", "both.example/b"), old: `{"spec":{"containers":[{"name":"c1","image":"both.example/b"},{"name":"c0","image":"both.example/a:1"}]}}`}},
		{name: "update of one image", path: m, ask: asked{kind: "Deployment", group: "apps", operation: "UPDATE", object: deployment("both.example/a:2", "both.example/b:1"), old: deployment("both.example/a:1", "both.example/b:1")}, patch: patched(image(template, "both.example/a", "2"), always(template))},
		{name: "update of a pull policy", path: m, ask: asked{kind: "Deployment", group: "apps", operation: "UPDATE", object: deployment("pull.example/a Never"), old: deployment("pull.example/a Always")}, patch: patched(always(template))},
		{name: "a Job's tag that has moved", path: m, ask: asked{kind: "Job", group: "batch", operation: "UPDATE", object: deployment("both.example/a:1 Never"), old: deployment(moved + " IfNotPresent")}, patch: patched(template + "/image=" + moved)},
		{name: "a Job's tag that is gone", path: m, ask: asked{kind: "Job", group: "batch", operation: "UPDATE", object: deployment("gone.example/a"), old: deployment("gone.example/a@" + digestOf("a"))}, patch: patched(template + "/image=gone.example/a@" + digestOf("a"))},
		{name: "a Deployment's tag that has moved", path: m, ask: asked{kind: "Deployment", group: "apps", operation: "UPDATE", object: deployment("both.example/a:1 Always"), old: deployment(moved + " Always")}, patch: patched(image(template, "both.example/a", "1"))},
		{name: "a Job's other tag", path: m, ask: asked{kind: "Job", group: "batch", operation: "UPDATE", object: deployment("both.example/a:1"), old: deployment("both.example/a:11")}, patch: patched(image(template, "both.example/a", "1"))},
		{name: "a Job's tag that is no policy's to pin", path: m, ask: asked{kind: "Job", group: "batch", operation: "UPDATE", object: deployment("good.example/a"), old: deployment("good.example/a@" + digestOf("a"))}},
		{name: "update of a pod's image", path: m, ask: asked{operation: "UPDATE", object: pod("both.example/a:2 Never"), old: pod("both.example/a:1 Never")}, patch: patched(image(c0, "both.example/a", "2"))},
		{name: "update of a pod's containers", path: m, ask: asked{operation: "UPDATE", object: pod("both.example/a", "both.example/b:1"), old: pod("both.example/a")}, patch: patched(image(c1, "both.example/b", "1"))},
		{name: "changed ephemeral container", path: m, ask: asked{sub: "ephemeralcontainers", operation: "UPDATE", object: ephemeral("both.example/a", "both.example/e:1"), old: ephemeral("both.example/a", "both.example/e:0")}, patch: patched(image("/spec/ephemeralContainers/0", "both.example/e", "1"))},
		{name: "new ephemeral container", path: m, ask: asked{sub: "ephemeralcontainers", operation: "UPDATE", object: ephemeral("both.example/a", "both.example/e:0", "both.example/e:1"), old: ephemeral("both.example/a", "both.example/e:0")}, patch: patched(
			image("/spec/ephemeralContainers/1", "both.example/e", "1"), always("/spec/ephemeralContainers/1"),
		)},

		{name: "no such image is for validate to say", path: m, ask: asked{object: pod("gone.example/a")}},
		{name: "no digest for now, denied", path: m, ask: asked{object: pod("down-deny.example/a", pinned+":1")}, denied: "down-deny.example/a"},
		{name: "no digest for now, to be repeated", path: m, ask: asked{object: pod("down-retry.example/a")}, status: 500},
		{name: "no digest for now, to be decided elsewhere", path: m, ask: asked{object: pod("down-defer.example/a")}, status: 500},
		{name: "no digest for now, allowed", path: m, ask: asked{object: pod("down-allow.example/a", pinned+":1")}, warnings: []string{"down-allow.example/a"}, patch: patched(image(c1, pinned, "1"))},
		{name: "no digest for now, to be repeated, where it is judged", path: v, ask: asked{object: pod("down-retry.example/a")}, status: 500},

		{name: "a fault", path: v, ask: asked{object: pod("panic.example/a")}, denied: "an internal error"},
		{name: "a fault of mutate", path: m, ask: asked{object: pod("panic.example/a")}, denied: "an internal error"},
		{name: "empty body", path: v, body: " ", denied: "no AdmissionReview", uid: "-"},
		{name: "half a body", path: m, body: asked{object: pod("good.example/a")}.String()[:250], denied: "no AdmissionReview"},
		{name: "half a uid", path: m, body: asked{object: pod("good.example/a")}.String()[:90], denied: "no AdmissionReview", uid: "-"},
		{name: "no request", path: v, body: `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`, denied: "no uid", uid: "-"},
		{name: "an empty uid", path: m, body: strings.Replace(asked{object: pod("good.example/a")}.String(), uid, "", 1), denied: "no uid", uid: "-"},
		{name: "a uid that is none", path: v, ask: asked{uid: `a"b`, object: pod("good.example/a")}, uid: `a"b`},
		{name: "an ImageReview", path: v, body: reviewOf("good.example/a"), denied: `it is a "ImageReview" of "imagepolicy`, uid: "-"},
		{name: "an older version", path: v, body: strings.Replace(asked{object: pod("good.example/a")}.String(), "k8s.io/v1", "k8s.io/v1beta1", 1), denied: "v1beta1"},
		{name: "a list that is none", path: v, ask: asked{object: `{"spec":{"containers":{}}}`}, denied: "no AdmissionReview"},
		{name: "large", path: v, ask: asked{object: pod(strings.Repeat("good.example/a", 1), "bad.example/"+strings.Repeat("a", 150_000))}, denied: "bad.example/aaa"},
		{name: "too large", path: v, ask: asked{object: pod("good.example/" + strings.Repeat("a", 410_000))}, denied: "larger than the 400000 bytes"},
		{name: "too large by far", path: m, ask: asked{object: pod("good.example/" + strings.Repeat("a", 4_000_000))}, denied: "larger than the 400000 bytes"},
	}
	real := newAdmissionEngine(t)
	decider := &stub{hit: real.Hit, decide: func(ctx context.Context, req *engine.Request, res *engine.Result) {
		if strings.HasPrefix(append(req.Images, req.Kept...)[0], "panic") {
			panic("a fault")
		}
		real.Decide(ctx, req, res)
	}}
	f := start(t, decider, func(_ *fixture, c *Config) { c.MaxBody = 200_000 })
	eachProtocol(t, func(t *testing.T, proto string) {
		c := client(t, proto, f.clientTLS(t))
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				body := test.body
				if body == "" {
					body = test.ask.String()
				}
				for _, adapt := range []bool{false, true, false, false} {
					r := request(t, "POST", f.url(test.path+"?timeout=10s"), body)
					if adapt {
						r = chunked(r)
					}
					a := do(t, c, r)
					if a.header.Get("Retry-After") != "" || a.header.Get("Content-Type") != "application/json" {
						t.Errorf("answered with %v", a.header)
					}
					if test.status != 0 {
						if a.status != test.status || !strings.HasPrefix(a.body, `{"kind":"Status"`) || !json.Valid([]byte(a.body)) {
							t.Errorf("%d %s", a.status, a.body)
						}
						continue
					}
					if a.status != 200 {
						t.Fatalf("%d %s", a.status, a.body)
					}
					got := read(t, a.body).Response
					if want := strings.TrimPrefix(or(test.uid, uid), "-"); got.UID != want {
						t.Errorf("uid %q", got.UID)
					}
					if got.Allowed != (test.denied == "") || !got.Allowed && !strings.Contains(got.Status.Message, test.denied) {
						t.Errorf("answered %.500s", a.body)
					}
					if diff := cmp.Diff(test.patch, operations(t, got.Patch)); diff != "" {
						t.Errorf("the patch: %s", diff)
					}
					for _, op := range test.patch { // the annotation, if there is one, is of what is written
						_, written, _ := strings.Cut(op, "=")
						if d := got.AuditAnnotations["digests"]; d != "" && strings.Contains(written, "@") && !strings.Contains(d, written) {
							t.Errorf("%s is written, and the annotation says %q", written, d)
						}
					}
					if len(got.Warnings) != len(test.warnings) {
						t.Fatalf("warnings %q", got.Warnings)
					}
					for i := range test.warnings {
						if !strings.Contains(got.Warnings[i], test.warnings[i]) {
							t.Errorf("warnings %q", got.Warnings)
						}
					}
				}
			})
		}
	})
	eventually(t, "room given back", func() bool { return f.Stats().BodyBytes == 0 && f.Stats().InFlight == 0 })
}
