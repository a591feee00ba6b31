package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestAppendAdmissionReply(t *testing.T) {
	t.Parallel()
	deployment := &Admission{Group: "apps", ObjectKind: "Deployment"}
	f := func(a *Admission, r AdmissionReply, want string) {
		t.Helper()
		begin := `before{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{`
		if got := string(AppendAdmissionReply([]byte("before"), a, &r)); got != begin+want+`}}` {
			t.Errorf("got  %s\nwant %s", got, begin+want+`}}`)
		}
	}
	f(nil, AdmissionReply{}, `"uid":"","allowed":false`)
	f(nil, AdmissionReply{UID: "a-\"b\n", Allowed: true, Warnings: [][]byte{nil, {}}, Audit: []Annotation{}}, `"uid":"a-\"b\n","allowed":true`)
	f(nil, AdmissionReply{UID: "u", Code: 403, Reason: "Forbidden", Message: []byte("no \"tag\"\n\xff")},
		`"uid":"u","allowed":false,"status":{"metadata":{},"status":"Failure","message":"no \"tag\"\n\ufffd","reason":"Forbidden","code":403}`)
	f(nil, AdmissionReply{Message: []byte("m")}, `"uid":"","allowed":false,"status":{"metadata":{},"status":"Failure","message":"m"}`)
	f(nil, AdmissionReply{Allowed: true, Code: 200}, `"uid":"","allowed":true,"status":{"metadata":{},"code":200}`)
	f(nil, AdmissionReply{Reason: "R\x00"}, `"uid":"","allowed":false,"status":{"metadata":{},"status":"Failure","reason":"R\u0000"}`)
	f(nil, AdmissionReply{Warnings: [][]byte{[]byte("a\tb\u0085c\xff\"\x7f\r\n"), nil, []byte("é\u2028")}},
		`"uid":"","allowed":false,"warnings":["a b c\ufffd\"   ","é\u2028"]`)
	f(nil, AdmissionReply{Allowed: true, Prepared: Prepare([]Annotation{{Key: "a", Value: []byte("1")}}), Audit: []Annotation{{Key: "b", Value: []byte("2"), Plain: true}}},
		`"uid":"","allowed":true,"auditAnnotations":{"a":"1","b":"2"}`)
	f(nil, AdmissionReply{Audit: []Annotation{{Key: "b", Value: []byte("\n")}}, Warnings: [][]byte{[]byte("w")}},
		`"uid":"","allowed":false,"auditAnnotations":{"b":"\n"},"warnings":["w"]`)

	patch := func(json string) string {
		return `"uid":"u","allowed":true,"patch":"` + base64.StdEncoding.EncodeToString([]byte(json)) + `","patchType":"JSONPatch"`
	}
	reply := func(ops ...PatchOp) AdmissionReply { return AdmissionReply{UID: "u", Allowed: true, Patch: ops} }
	f(deployment, reply(PatchOp{Image: &Image{}}, PatchOp{Image: &Image{List: Volumes}}), `"uid":"u","allowed":true`)
	f(&Admission{Group: "example.com", ObjectKind: "Deployment"}, reply(PatchOp{Image: &Image{}, Rewrite: "a"}), `"uid":"u","allowed":true`)
	f(deployment, reply(PatchOp{Image: &Image{Index: 12}, Rewrite: "a\"@"}),
		patch(`[{"op":"add","path":"/spec/template/spec/containers/12/image","value":"a\"@"}]`))
	f(deployment, reply(PatchOp{Image: &Image{List: InitContainers}, AlwaysPull: true}, PatchOp{Image: &Image{}}, PatchOp{Image: &Image{List: Volumes, Index: 3}, Rewrite: "b", AlwaysPull: true}),
		patch(`[{"op":"add","path":"/spec/template/spec/initContainers/0/imagePullPolicy","value":"Always"},`+
			`{"op":"add","path":"/spec/template/spec/volumes/3/image/reference","value":"b"},`+
			`{"op":"add","path":"/spec/template/spec/volumes/3/image/pullPolicy","value":"Always"}]`))
	f(&Admission{ObjectKind: "Pod"}, reply(PatchOp{Image: &Image{List: EphemeralContainers}, Rewrite: "c"}),
		patch(`[{"op":"add","path":"/spec/ephemeralContainers/0/image","value":"c"}]`))

	all := reply(PatchOp{Image: &Image{}, Rewrite: "a"})
	all.Warnings, all.Audit, all.Message = [][]byte{[]byte("w")}, []Annotation{{Key: "k"}}, []byte("m")
	f(&Admission{ObjectKind: "PodTemplate"}, all, `"uid":"u","allowed":true,"status":{"metadata":{},"message":"m"},"patch":"`+
		base64.StdEncoding.EncodeToString([]byte(`[{"op":"add","path":"/template/spec/containers/0/image","value":"a"}]`))+
		`","patchType":"JSONPatch","auditAnnotations":{"k":""},"warnings":["w"]`)
}

// answered is an AdmissionReview with the fields as k8s.io/api/admission/v1 tags them.
type answered struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Response   struct {
		UID     string  `json:"uid"`
		Allowed bool    `json:"allowed"`
		Status  *result `json:"status"`

		Patch            []byte            `json:"patch"`
		PatchType        *string           `json:"patchType"`
		AuditAnnotations map[string]string `json:"auditAnnotations"`
		Warnings         []string          `json:"warnings"`
	} `json:"response"`
}

// result is a metav1.Status.
type result struct {
	Metadata struct{} `json:"metadata"`
	Status   string   `json:"status"`
	Message  string   `json:"message"`
	Reason   string   `json:"reason"`
	Code     int      `json:"code"`
}

// answerOf reads a reply as the apiserver does, but for fields that it would ignore.
func answerOf(t *testing.T, reply []byte) (v answered, ops []op) {
	t.Helper()
	if !utf8.Valid(reply) {
		t.Fatalf("not UTF-8: %q", reply)
	}
	if i := bytes.IndexFunc(reply, func(c rune) bool { return c < ' ' || c == '\u2028' || c == '\u2029' }); i >= 0 {
		t.Fatalf("a character that should be escaped, at %d: %q", i, reply)
	}
	strict := func(b []byte, v any) {
		t.Helper()
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(v); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if d.More() || d.InputOffset() != int64(len(b)) {
			t.Fatalf("more than one document: %s", b)
		}
	}
	strict(reply, &v)
	if (v.Response.Patch == nil) != (v.Response.PatchType == nil) {
		t.Fatalf("only one of patch and patchType: %s", reply)
	}
	if v.Response.Patch != nil {
		if strict(v.Response.Patch, &ops); len(ops) == 0 || *v.Response.PatchType != "JSONPatch" {
			t.Fatalf("%d operations of type %s", len(ops), *v.Response.PatchType)
		}
	}
	return v, ops
}

type op struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value string `json:"value"`
}

// apply applies operations to an object of which every container on the way must be there.
func apply(t *testing.T, object any, ops []op) {
	t.Helper()
	for _, o := range ops {
		steps := strings.Split(o.Path, "/")
		at := object
		for _, step := range steps[1 : len(steps)-1] {
			switch v := at.(type) {
			case map[string]any:
				at = v[step]
			case []any:
				i, err := strconv.Atoi(step)
				if err != nil || i >= len(v) {
					t.Fatalf("%s leads nowhere", o.Path)
				}
				at = v[i]
			}
		}
		holder, ok := at.(map[string]any)
		if o.Op != "add" || steps[0] != "" || !ok {
			t.Fatalf("%+v leads nowhere", o)
		}
		holder[steps[len(steps)-1]] = o.Value
	}
}

// For an object of each kind: what is patched is what is read of the patched object, and nothing else is changed.
func TestPatchIsReadBack(t *testing.T) {
	t.Parallel()
	for _, name := range names(t) {
		body := recordingOf(t, name)
		var before, after Admission
		if err := before.Decode([]byte(body)); err != nil {
			t.Fatal(err)
		}
		want := requestOf(&before)
		r := AdmissionReply{UID: before.UID, Allowed: true}
		for i := range before.Images {
			r.Patch = append(r.Patch, PatchOp{Image: &before.Images[i], Rewrite: fmt.Sprintf("%s@sha256:%d<\"", before.Images[i].Image, i), AlwaysPull: i%2 == 0})
			want.Images[i].Image = r.Patch[i].Rewrite
			if r.Patch[i].AlwaysPull {
				want.Images[i].PullPolicy = "Always"
			}
		}
		v, ops := answerOf(t, AppendAdmissionReply(nil, &before, &r))
		if v.Response.UID != before.UID || !v.Response.Allowed || (len(ops) == 0) != (len(want.Images) == 0) {
			t.Errorf("%s: got %+v, %d operations", name, v, len(ops))
		}
		var review map[string]any
		if err := json.Unmarshal([]byte(body), &review); err != nil {
			t.Fatal(err)
		}
		apply(t, review["request"].(map[string]any)["object"], ops)
		patched, err := json.Marshal(review)
		if err != nil {
			t.Fatal(err)
		}
		if err := after.Decode(patched); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(byList(want), byList(requestOf(&after))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func FuzzAppendAdmissionReply(f *testing.F) {
	for i, s := range []string{
		"", "plain", `"`, `\`, "\b\f\n\r\t", "\x00\x1f\x7f\u0080\u009f", "<>&'", "é€😀", "\u2028\u2029", "\ufffd", "\xff", "a\xffb\xfe\xfdc", "\xed\xa0\x80",
		"\xe2\x82", "\xc2", strings.Repeat("x", 7) + `"`, strings.Repeat("x", 8) + "\xff", strings.Repeat("é", 100) + "\n", `\u003c`,
	} {
		f.Add(i%2 == 0, i, s, "Forbidden", []byte(s), []byte("warning"), "a:b", i, uint8(i*13), i%3 == 0)
		f.Add(i%2 == 1, 403, "uid", s, []byte("message"), []byte(s), s, i, uint8(250-i*13), i%3 > 0)
	}
	kinds := make([][2]string, 0, len(ways)+1)
	for _, group := range []string{"", "apps", "batch"} { // in an order
		for _, kind := range []string{"Pod", "PodTemplate", "ReplicationController", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob"} {
			if ways[[2]string{group, kind}] != nil {
				kinds = append(kinds, [2]string{group, kind})
			}
		}
	}
	kinds = append(kinds, [2]string{"apps", "Pod"})
	lists := []string{"containers", "initContainers", "ephemeralContainers", "volumes"}
	f.Fuzz(func(t *testing.T, allowed bool, code int, uid, reason string, message, warning []byte, rewrite string, index int, kind uint8, always bool) {
		clean := func(s string) string { return string([]rune(s)) } // U+FFFD for every byte that is not UTF-8
		a := Admission{Group: kinds[int(kind)%len(kinds)][0], ObjectKind: kinds[int(kind)%len(kinds)][1]}
		image := Image{List: List(kind / 64), Index: index}
		other := Image{List: List(kind / 16 % 4), Index: 7}
		audit := []Annotation{{Key: "first", Value: message, Plain: isPlain(message)}, {Key: uid, Value: warning}}
		r := AdmissionReply{
			UID: uid, Allowed: allowed, Code: code, Reason: reason, Message: message, Warnings: [][]byte{warning, message}, Audit: audit,
			Patch: []PatchOp{{Image: &image, Rewrite: rewrite, AlwaysPull: always}, {Image: &other, AlwaysPull: !always}},
		}
		whole := AppendAdmissionReply(nil, &a, &r)
		for i := range audit {
			r.Prepared, r.Audit = Prepare(audit[:i+1]), audit[i+1:]
			if in := AppendAdmissionReply([]byte("before"), &a, &r); string(in) != "before"+string(whole) {
				t.Fatalf("prepared:\n%s\nat once:\n%s", in, whole)
			}
		}

		got, ops := answerOf(t, whole)
		var want answered
		want.Kind, want.APIVersion = "AdmissionReview", "admission.k8s.io/v1"
		want.Response.UID, want.Response.Allowed = clean(uid), allowed
		if code != 0 || reason != "" || len(message) > 0 {
			want.Response.Status = &result{Message: clean(string(message)), Reason: clean(reason), Code: code}
			if !allowed {
				want.Response.Status.Status = "Failure"
			}
		}
		want.Response.AuditAnnotations = map[string]string{"first": clean(string(message))}
		want.Response.AuditAnnotations[clean(uid)] = clean(string(warning))
		for _, w := range r.Warnings {
			if len(w) > 0 {
				want.Response.Warnings = append(want.Response.Warnings, strings.Map(func(c rune) rune {
					if unicode.IsControl(c) {
						return ' '
					}
					return c
				}, clean(string(w))))
			}
		}
		got.Response.Patch, got.Response.PatchType = nil, nil // they are ops
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}

		var wantOps []op
		way := ways[kinds[int(kind)%len(kinds)]]
		add := func(image *Image, ofContainer, ofVolume, value string) {
			if way == nil {
				return
			}
			field := ofContainer
			if image.List == Volumes {
				field = ofVolume
			}
			path := fmt.Sprintf("/%s/%s/%d/%s", strings.Join(way, "/"), lists[image.List], image.Index, field)
			wantOps = append(wantOps, op{"add", path, clean(value)})
		}
		if rewrite != "" {
			add(&image, "image", "image/reference", rewrite)
		}
		if always {
			add(&image, "imagePullPolicy", "image/pullPolicy", "Always")
		} else {
			add(&other, "imagePullPolicy", "image/pullPolicy", "Always")
		}
		if diff := cmp.Diff(wantOps, ops); diff != "" {
			t.Fatal(diff)
		}
	})
}
