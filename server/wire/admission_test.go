package wire

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Reviews as the apiserver writes them, made with the types and the encoder of k8s.io/api v0.36.3.
//
//go:embed testdata/admission
var recordings embed.FS

// recordingOf returns a review of the folder.
func recordingOf(tb testing.TB, name string) string {
	tb.Helper()
	body, err := recordings.ReadFile("testdata/admission/" + name + ".json")
	if err != nil {
		tb.Fatal(err)
	}
	return string(body)
}

// names lists the reviews of the folder.
func names(tb testing.TB) (all []string) {
	tb.Helper()
	entries, err := recordings.ReadDir("testdata/admission")
	if err != nil || len(entries) == 0 {
		tb.Fatal(len(entries), err)
	}
	for _, entry := range entries {
		all = append(all, strings.TrimSuffix(entry.Name(), ".json"))
	}
	return all
}

func TestAdmissionRecorded(t *testing.T) {
	t.Parallel()
	images := func(more ...Image) []Image {
		return append([]Image{
			{"registry.example.com/models/rank:v3", "IfNotPresent", "model", Volumes, 1},
			{"registry.example.com/shop/migrate:v1", "IfNotPresent", "migrate", InitContainers, 0},
			{"registry.example.com/mesh/proxy:v9", "Always", "proxy", InitContainers, 1},
			{"registry.example.com/shop/app:v1", "IfNotPresent", "app", Containers, 0},
		}, more...)
	}
	base := request{
		Kind: "AdmissionReview", APIVersion: "admission.k8s.io/v1", UID: "705ab4f5-6393-11e8-b7cc-42010a800002", Version: "v1",
		Namespace: "prod-shop", Name: "shop", Operation: "CREATE",
		Images: images(), ServiceAccount: "shop", PullSecrets: []string{"registry-login", "mirror-login"},
	}
	of := func(group, kind string, change func(q *request)) request {
		q := base
		q.Group, q.ObjectKind = group, kind
		if change != nil {
			change(&q)
		}
		return q
	}
	wants := map[string]request{
		"pod_create": of("", "Pod", func(q *request) { q.Name = "" }),
		"pod_debug": of("", "Pod", func(q *request) {
			q.SubResource, q.Operation, q.OldImages = "ephemeralcontainers", "UPDATE", images()
			q.Images = images(Image{"busybox", "Always", "debugger-8xzrl", EphemeralContainers, 0})
		}),
		"pod_delete": of("", "Pod", func(q *request) {
			q.Operation, q.Images, q.OldImages, q.ServiceAccount, q.PullSecrets = "DELETE", nil, images(), "", nil
		}),
		"deployment_update": of("apps", "Deployment", func(q *request) {
			q.Operation, q.OldImages = "UPDATE", images()
			q.Images = images()
			q.Images[3].Image = "registry.example.com/shop/app:v2"
		}),
		"replicaset_create":            of("apps", "ReplicaSet", func(q *request) { q.Name = "shop-6d4cf56db6" }),
		"statefulset_create":           of("apps", "StatefulSet", nil),
		"daemonset_create":             of("apps", "DaemonSet", nil),
		"replicationcontroller_create": of("", "ReplicationController", nil),
		"podtemplate_create":           of("", "PodTemplate", nil),
		"job_create":                   of("batch", "Job", nil),
		"cronjob_create":               of("batch", "CronJob", nil),
	}
	for _, name := range names(t) {
		want, ok := wants[name]
		if !ok {
			t.Errorf("%s: nothing is wanted of it", name)
		}
		body := recordingOf(t, name)
		var a Admission
		for range 2 {
			if err := a.Decode([]byte(body)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(want, requestOf(&a)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
			if !a.Known() {
				t.Errorf("%s: not known", name)
			}
			// With the kind behind the objects it says the same.
			start := strings.Index(body, `"kind":{"group":`)
			kind, rest, _ := strings.Cut(body[start:], `},`)
			body = strings.TrimSuffix(body[:start]+rest, "}}\n") + "," + kind + "}}}\n"
		}
	}
}

func TestAdmissionKnown(t *testing.T) {
	t.Parallel()
	known := 0
	for _, group := range []string{"", "apps", "batch", "extensions", "core", "Apps", "example.com", "apps/v1"} {
		for _, kind := range []string{
			"", "Pod", "PodTemplate", "ReplicationController", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob",
			"pod", "PodList", "Scale", "Eviction", "Node",
		} {
			spec := `{"containers":[{"image":"a"}]}`
			template := `{"spec":` + spec + `}`
			object := `{"spec":{"containers":[{"image":"a"}],"template":` + template +
				`,"jobTemplate":{"spec":{"template":` + template + `}}},"template":` + template + `}`
			body := `{"request":{"kind":{"group":"` + group + `","kind":"` + kind + `"},"object":` + object + `}}`
			var a Admission
			if err := a.Decode([]byte(body)); err != nil {
				t.Fatal(err)
			}
			want := ways[[2]string{group, kind}] != nil
			if a.Known() != want || want != (len(a.Images) == 1) {
				t.Errorf("%s %s: known %v, want %v; %d images", group, kind, a.Known(), want, len(a.Images))
			}
			if want {
				known++
			}
		}
	}
	if known != len(ways) {
		t.Errorf("%d kinds are known, want %d", known, len(ways))
	}
}

// podOf returns a review of a pod with members of its specification.
func podOf(spec string) string {
	return `{"request":{"kind":{"kind":"Pod"},"object":{"spec":{` + spec + `}}}}`
}

// latePodOf likewise, with the kind behind the object.
func latePodOf(spec string) string {
	return `{"request":{"object":{"spec":{` + spec + `}},"kind":{"kind":"Pod"}}}`
}

func TestAdmissionDecode(t *testing.T) {
	t.Parallel()
	f := func(body string, want request) {
		t.Helper()
		var a Admission
		if err := a.Decode([]byte(body)); err != nil {
			t.Errorf("%.200q: %v", body, err)
		} else if got := requestOf(&a); !reflect.DeepEqual(got, want) { // cmp is slow on long lists
			t.Errorf("%.200q: %s", body, cmp.Diff(want, got))
		}
	}
	pod := func(spec string, want request) {
		t.Helper()
		want.ObjectKind = "Pod"
		f(podOf(spec), want)
		f(latePodOf(spec), want)
	}
	images := func(all ...Image) request { return request{Images: all} }

	// Shape.
	f(`{}`, request{})
	f(`{"request":null,"kind":null,"response":{"uid":"no"}}`, request{})
	f(`{"request":{"kind":null,"object":null,"oldObject":null,"dryRun":null,"uid":null}}`, request{})
	f(`{"request":{"kind":{"kind":"Pod"},"object":{}}}`, request{ObjectKind: "Pod"})
	f(`{"request":{"kind":{"kind":"Pod"},"object":{"spec":null},"oldObject":{"spec":{}}}}`, request{ObjectKind: "Pod"})
	f(`{"request":{"object":{"spec":{"containers":[{"image":"a"}]}}}}`, request{})
	f(`{"request":{"kind":{"group":"apps","kind":"Deployment"},"object":{"spec":{"template":null,"containers":5}}}}`,
		request{Group: "apps", ObjectKind: "Deployment"})
	f(`{"request":{"kind":{"kind":"Node"},"object":[1],"oldObject":"x"}}`, request{ObjectKind: "Node"})
	f(`{"request":{"dryRun":true}}`, request{DryRun: true})
	f(`{"request":{"dryRun":true,"dryRun":null}}`, request{DryRun: true})
	f(`{"request":{"dryRun":true,"dryRun":false}}`, request{})
	f(`{"request":{"uid":"u","namespace":"n","operation":"CONNECT","name":"m","subResource":"exec","kind":{"version":"v"}}}`,
		request{UID: "u", Namespace: "n", Operation: "CONNECT", Name: "m", SubResource: "exec", Version: "v"})
	f(`{"Request":{"uid":"u"},"request":{"UID":"u","Kind":{"kind":"Pod"},"requestKind":{"kind":"Pod"},"Object":{},"dryrun":true}}`, request{})

	// Lists.
	pod(`"containers":[],"volumes":null,"initContainers":null,"imagePullSecrets":null`, request{})
	pod(`"containers":[null,{},{"image":null},{"image":"a","name":"n","imagePullPolicy":"Never","x":[{"image":"no"}]}]`,
		images(Image{Index: 0}, Image{Index: 1}, Image{Index: 2}, Image{"a", "Never", "n", Containers, 3}))
	pod(`"ephemeralContainers":[{"image":"a"}],"initContainers":[{"image":"b"}],"containers":[{"image":"c"}]`,
		images(Image{Image: "a", List: EphemeralContainers}, Image{Image: "b", List: InitContainers}, Image{Image: "c"}))
	pod(`"volumes":[null,{},{"name":"x","image":null},{"image":{},"name":"y"},{"name":"z","image":{"reference":"r","pullPolicy":"p","image":"no"}},{"name":"w"}]`,
		images(Image{Container: "y", List: Volumes, Index: 3}, Image{"r", "p", "z", Volumes, 4}))
	pod(`"volumes":[{"imagePullPolicy":"no","reference":"no"}],"image":"no","Containers":[{"image":"no"}],"containers":[{"Image":"no"}]`, images(Image{}))

	// Whose images they are.
	pod(`"serviceAccountName":"a","serviceAccount":"b"`, request{ServiceAccount: "a"})
	pod(`"serviceAccount":"b","serviceAccountName":""`, request{ServiceAccount: "b"})
	pod(`"serviceAccount":"b","serviceAccountName":null`, request{ServiceAccount: "b"})
	pod(`"imagePullSecrets":[{"name":"a"},null,{},{"name":""},{"name":"\u0062","x":1}]`, request{PullSecrets: []string{"a", "b"}})
	f(`{"request":{"kind":{"kind":"Pod"},"oldObject":{"spec":{"serviceAccountName":5,"imagePullSecrets":7,"imagePullSecrets":8}}}}`, request{ObjectKind: "Pod"})

	// Of strings that come twice the last counts.
	pod(`"containers":[{"image":"a","image":"b","image":null}],"serviceAccountName":"c","serviceAccountName":"d"`,
		request{Images: []Image{{Image: "b"}}, ServiceAccount: "d"})
	f(`{"request":{"kind":{"kind":"Node","kind":"Pod"},"uid":"a","uid":"b"},"kind":"A","kind":"B"}`, request{Kind: "B", UID: "b", ObjectKind: "Pod"})
	f(`{"x":1,"x":2,"request":{"options":1,"options":2,"kind":{"kind":"Node"},"object":{"spec":1,"spec":2}}}`, request{ObjectKind: "Node"})

	// Names that are written with escapes, before and behind the kind.
	f(`{"\u0072equest":{"ob\u006aect":{"\u0073pec":{`+
		`"\u0065\u0070\u0068\u0065\u006d\u0065\u0072\u0061\u006c\u0043\u006f\u006e\u0074\u0061\u0069\u006e\u0065\u0072\u0073":[{"i\u006dage":"\u003c\\\"\n"}]}},"k\u0069nd":{"kind":"\u0050od"}}}`,
		request{ObjectKind: "Pod", Images: []Image{{Image: "<\\\"\n", List: EphemeralContainers}}})
	f(`{"request":{"object":{"\\\\":1,"\\\"":2,"\u005c":3,"\"":4,"spec":{"\\":"\\","containers":[{"image":"\\\""}]}},"kind":{"kind":"Pod"}}}`,
		request{ObjectKind: "Pod", Images: []Image{{Image: `\"`}}})
	pod("\"a\xff\\u0041\":1,\"containers\":[{\"image\":\"a\xff\xff\\n\",\"name\":\"\xff\"}]", images(Image{Image: "a\ufffd\ufffd\n", Container: "\ufffd"}))

	// Bounds.
	many := strings.Repeat(`{},`, MaxImages-1) + `{"image":"a"}`
	wide := make([]Image, MaxImages)
	for i := range wide {
		wide[i].Index = i
	}
	wide[MaxImages-1].Image = "a"
	pod(`"containers":[`+many+`],"volumes":[`+strings.Repeat(`{},`, MaxImages)+`{}]`, images(wide...))
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	pod(`"x":`+deep(9_996), request{})
	pod(`"containers":[{"x":`+deep(9_994)+`}]`, images(Image{}))
	pod(`"volumes":[{"image":{"x":`+deep(9_993)+`}}]`, images(Image{List: Volumes}))
	pod(`"imagePullSecrets":[{"x":`+deep(9_994)+`}]`, request{})
	f(`{"x":`+deep(9_999)+`,"request":{"x":`+deep(9_998)+`,"kind":{"x":`+deep(9_997)+`}}}`, request{})
}

func TestAdmissionDecodeRefuses(t *testing.T) {
	t.Parallel()
	refuse := func(body string, offset int, message string) {
		t.Helper()
		var a Admission
		err := a.Decode([]byte(body))
		var failure *DecodeError
		switch {
		case !errors.As(err, &failure):
			t.Errorf("%.200q: got error %v, want a DecodeError", body, err)
		case offset >= 0 && failure.Offset != offset || !strings.Contains(failure.Message, message):
			t.Errorf("%.200q: got %q, want %q at %d", body, err, message, offset)
		case !cmp.Equal(requestOf(&a), request{}):
			t.Errorf("%.200q: got %+v beside the error", body, requestOf(&a))
		}
	}
	// at finds the offset by a mark in the body.
	f := func(body, message string) {
		t.Helper()
		offset := strings.Index(body, "§")
		refuse(strings.Replace(body, "§", "", 1), offset, message)
	}
	pod := func(spec, message string) {
		t.Helper()
		f(podOf(spec), message)
		f(latePodOf(spec), message)
	}

	f(``, "the body is empty")
	f(`§[]`, "not a JSON object")
	f(`{}§x`, "behind the JSON document")
	f(`{"kind":§1}`, "kind is not a string")
	f(`{"apiVersion":§1}`, "apiVersion is not a string")
	f(`{"request":§[]}`, "request is not an object")
	for _, name := range []string{"uid", "subResource", "name", "namespace", "operation"} {
		f(`{"request":{"`+name+`":§{}}}`, "request."+name+" is not a string")
	}
	for _, name := range []string{"group", "version", "kind"} {
		f(`{"request":{"kind":{"`+name+`":§1}}}`, "request.kind."+name+" is not a string")
	}
	f(`{"request":{"kind":§"Pod"}}`, "request.kind is not an object")
	f(`{"request":{"dryRun":§1}}`, "request.dryRun is neither true nor false")
	f(`{"request":{"dryRun":§"true"}}`, "request.dryRun is neither true nor false")
	f(`{"request":{"dryRun":§tru}}`, "neither a string nor a number")

	f(`{"request":{"kind":{"kind":"Pod"},"object":§[]}}`, "what holds the specification of a pod")
	f(`{"request":{"object":§"x","kind":{"kind":"Pod"}}}`, "what holds the specification of a pod")
	f(`{"request":{"kind":{"kind":"PodTemplate"},"oldObject":{"template":§1}}}`, "what holds the specification of a pod")
	f(`{"request":{"kind":{"kind":"Pod"},"object":{"spec":§[]}}}`, "the specification of a pod is not an object")
	for _, name := range []string{"containers", "initContainers", "ephemeralContainers", "volumes"} {
		pod(`"`+name+`":§{}`, "are not a list")
		pod(`"`+name+`":[{},§"x"]`, "a container or a volume is not an object")
		pod(`"`+name+`":[{"name":§1}]`, "is not a string")
		pod(`"`+name+`":[],"`+name+`":§[]`, "comes twice")
		pod(`"`+name+`":null,"`+name+`":§null`, "comes twice")
		pod(`"`+name+`":[{}§`, "")
	}
	pod(`"containers":[{"image":§{}}]`, "the image of a container is not a string")
	pod(`"containers":[{"imagePullPolicy":§true}]`, "imagePullPolicy of a container is not a string")
	pod(`"volumes":[{"image":§"x"}]`, "the image of a volume is not an object")
	pod(`"volumes":[{"image":{"reference":§1}}]`, "reference of an image volume is not a string")
	pod(`"volumes":[{"image":{"pullPolicy":§1}}]`, "pullPolicy of an image volume is not a string")
	pod(`"volumes":[{"image":null,"image":§{}}]`, "comes twice")
	pod(`"imagePullSecrets":§{}`, "imagePullSecrets is not a list")
	pod(`"imagePullSecrets":[§"x"]`, "one of imagePullSecrets is not an object")
	pod(`"imagePullSecrets":[{"name":§1}]`, "name of one of imagePullSecrets is not a string")
	pod(`"imagePullSecrets":[],"imagePullSecrets":§[]`, "comes twice")
	pod(`"serviceAccountName":§1`, "serviceAccountName is not a string")
	pod(`"serviceAccount":§1`, "serviceAccount is not a string")

	// What would say which images are meant must not be said twice.
	f(`{"request":{},"request":§{}}`, "comes twice")
	f(`{"request":null,"request":§null}`, "comes twice")
	f(`{"request":{"kind":{"kind":"Pod"},"kind":§{"kind":"Node"}}}`, "comes twice")
	f(`{"request":{"object":{},"kind":{},"object":§{}}}`, "comes twice")
	f(`{"request":{"oldObject":null,"oldObject":§null}}`, "comes twice")
	f(`{"request":{"kind":{"kind":"Pod"},"object":{"spec":{},"spec":§{}}}}`, "comes twice")
	f(`{"request":{"kind":{"group":"batch","kind":"CronJob"},"object":{"spec":{"jobTemplate":{"spec":{"template":{},"template":§{}}}}}}}`, "comes twice")

	// Bounds.
	many := strings.Repeat(`{},`, MaxImages)
	pod(`"containers":[`+many+`§{}]`, "more than 131072 images")
	pod(`"containers":[`+many[:len(many)-1]+`],"volumes":[{},§{"image":{}}]`, "more than 131072 images")
	pod(`"imagePullSecrets":[`+strings.Repeat(`{"name":"a"},`, MaxImages)+`§{"name":"a"}]`, "more than 131072 imagePullSecrets")
	tooDeep := func(n int) string { return strings.Repeat("[", n-1) + "§[" + strings.Repeat("]", n) }
	f(`{"x":`+tooDeep(10_000)+`}`, "nested too deeply")
	f(`{"request":{"x":`+tooDeep(9_999)+`}}`, "nested too deeply")
	f(`{"request":{"kind":{"x":`+tooDeep(9_998)+`}}}`, "nested too deeply")
	f(`{"request":{"object":`+tooDeep(9_999)+`}}`, "nested too deeply")
	f(`{"request":{"kind":{"kind":"Node"},"oldObject":`+tooDeep(9_999)+`}}`, "nested too deeply")
	pod(`"containers":[{"x":`+tooDeep(9_995)+`}]`, "nested too deeply")
	pod(`"imagePullSecrets":[{"x":`+tooDeep(9_995)+`}]`, "nested too deeply")
	pod(`"volumes":[{"image":{"x":`+tooDeep(9_994)+`}}]`, "nested too deeply")
	pod(`"x":`+tooDeep(9_997), "nested too deeply")
	pod(`"containers":[{"image":§"`+strings.Repeat("\xff", maxScratch)+`"}]`, "not UTF-8")
}

// What nobody sends but who means harm: each is read, or refused, in one go.
func TestAdmissionHostile(t *testing.T) {
	t.Parallel()
	var a Admission
	f := func(body string, images int) {
		t.Helper()
		if err := a.Decode([]byte(body)); err != nil || len(a.Images) != images {
			t.Errorf("%.100q: %d images, want %d; %v", body, len(a.Images), images, err)
		}
	}
	for _, pod := range []func(string) string{podOf, latePodOf} {
		f(pod(`"containers":[`+strings.Repeat(`{"image":"a","name":"\u0062"},`, 100_000)+`{}]`), 100_001)
		f(pod(`"volumes":[`+strings.Repeat(`{},`, 200_000)+`{"image":{}}]`), 1)
		f(pod(`"imagePullSecrets":[`+strings.Repeat(`null,`, 200_000)+`{"name":"a"}]`), 0)
		f(pod(`"x":"`+strings.Repeat(`\u003c`, 20<<20/6)+`","containers":[{"image":"`+strings.Repeat(`\u003c`, 1<<18)+`"}]`), 1)
		f(pod(strings.Repeat(`"\u0063ontainer":[],`, 200_000)+`"containers":[{}]`), 1)
		f(pod(strings.Repeat(`"serviceAccountName":"a",`, 200_000)+`"containers":[{}]`), 1)
	}
	a.Reset()
	if a.Images != nil || a.OldImages != nil || a.PullSecrets != nil || !cmp.Equal(requestOf(&a), request{}) {
		t.Errorf("Reset left %+v", requestOf(&a))
	}
}

// What was read before must not shine through, nor be kept alive.
func TestAdmissionForgets(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("{\"image\":\"\xff\",\"name\":\"n\"},", 2999) + `{}`
	spec := `{"spec":{"containers":[` + many + `],"serviceAccount":"s","imagePullSecrets":[` + strings.Repeat(`{"name":"s"},`, 100) + `{}]}}`
	large := `{"kind":"K","apiVersion":"v","request":{"uid":"u","kind":{"version":"v","kind":"Pod"},"name":"n","namespace":"n","subResource":"s",` +
		`"operation":"o","dryRun":true,"object":` + spec + `,"oldObject":` + spec + `}}`
	var a Admission
	f := func(body string, want request) {
		t.Helper()
		if err := a.Decode([]byte(large)); err != nil || len(a.Images) != 3000 || len(a.OldImages) != 3000 || len(a.PullSecrets) != 100 {
			t.Fatalf("%d images, %v", len(a.Images), err)
		}
		err := a.Decode([]byte(body))
		if diff := cmp.Diff(want, requestOf(&a)); diff != "" || (err != nil) != cmp.Equal(want, request{}) {
			t.Errorf("%s: %v, %s", body, err, diff)
		}
		for _, all := range [][]Image{a.images, a.old} {
			for i, image := range all[len(all):cap(all)] {
				if image != (Image{}) {
					t.Fatalf("%s: an image of an earlier review is still there, %d behind the last", body, i)
				}
			}
		}
		for i, secret := range a.secrets[len(a.secrets):cap(a.secrets)] {
			if secret != "" {
				t.Fatalf("%s: a name of an earlier review is still there, %d behind the last", body, i)
			}
		}
	}
	f(podOf(`"containers":[{"name":"a"}]`), request{ObjectKind: "Pod", Images: []Image{{Container: "a"}}})
	f(podOf(`"volumes":[{"name":"a"},{"image":{}},{"name":"a"}]`), request{ObjectKind: "Pod", Images: []Image{{List: Volumes, Index: 1}}})
	f(large[:len(large)-1], request{})

	for range leanBodies + 1 {
		if err := a.Decode([]byte(podOf(`"containers":[{}]`))); err != nil {
			t.Fatal(err)
		}
	}
	if cap(a.images) > keptElements || cap(a.old) > keptElements || cap(a.secrets) > keptElements || cap(a.scratch) > keptScratch {
		t.Errorf("small reviews keep %d images, %d old ones, %d names, %d bytes", cap(a.images), cap(a.old), cap(a.secrets), cap(a.scratch))
	}
}

// What is unescaped in place must not reach into what is read later, nor beyond the body.
func TestAdmissionWritesWithinTheBody(t *testing.T) {
	t.Parallel()
	for _, pod := range []func(string) string{podOf, latePodOf} {
		var spec strings.Builder
		want := request{ObjectKind: "Pod", ServiceAccount: "\n\"", PullSecrets: []string{"é", "\ufffd"}}
		spec.WriteString(`"serviceAccount":"\n\"","imagePullSecrets":[{"name":"\u00e9"},{"name":"` + "\xff" + `"}],"containers":[`)
		for i := range 200 {
			if i > 0 {
				spec.WriteByte(',')
			}
			fmt.Fprintf(&spec, `{"\u006eame":"\\%d","image":"%s\u00e9%s"}`, i, strings.Repeat("\xff", i%5), strings.Repeat(`\ud800`, i%3))
			want.Images = append(want.Images, Image{
				Image: strings.Repeat("\ufffd", i%5) + "é" + strings.Repeat("\ufffd", i%3), Container: fmt.Sprintf(`\%d`, i), Index: i,
			})
		}
		spec.WriteString(`]`)
		around := append([]byte("before"), pod(spec.String())+"behind"...)
		var a Admission
		if err := a.Decode(around[len("before") : len(around)-len("behind")]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, requestOf(&a)); diff != "" {
			t.Error(diff)
		}
		if !bytes.HasPrefix(around, []byte("before")) || !bytes.HasSuffix(around, []byte("behind")) {
			t.Error("bytes around the body were changed")
		}
	}
}
