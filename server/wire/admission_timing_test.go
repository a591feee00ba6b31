package wire

import (
	"encoding/json"
	"strings"
	"testing"
)

// admissions are bodies of an AdmissionReview by name.
func admissions(tb testing.TB) map[string]string {
	tb.Helper()
	body := recordingOf(tb, "deployment_update")
	start := strings.Index(body, `"kind":{"group":`)
	kind, rest, _ := strings.Cut(body[start:], `},`)
	return map[string]string{
		"pod":           recordingOf(tb, "pod_create"),
		"update":        body,
		"updateLate":    strings.TrimSuffix(body[:start]+rest, "}}\n") + "," + kind + "}}}\n", // with the kind last
		"another":       strings.ReplaceAll(body, `"apps"`, `"sppa"`),
		"containers100": podOf(`"containers":[` + strings.Repeat(`{"image":"registry.example.com/team/app:v1","name":"app"},`, 99) + `{}]`),
		"many100000":    podOf(`"containers":[` + strings.Repeat(`{"image":"a"},`, 99_999) + `{}]`),
		"skipped17MB":   podOf(`"x":"` + strings.Repeat(`\u003c`, 17<<20/6) + `","containers":[{}]`),
		"skippedTwice":  latePodOf(`"x":"` + strings.Repeat(`\u003c`, 17<<20/6) + `","containers":[{}]`),
	}
}

func BenchmarkAdmissionDecode(b *testing.B) {
	for name, body := range admissions(b) {
		b.Run(name, func(b *testing.B) {
			var a Admission
			buf := make([]byte, len(body))
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				copy(buf, body) // what is read is unescaped in place
				if err := a.Decode(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The ruler beside BenchmarkAdmissionDecode.
func BenchmarkAdmissionEncodingJSON(b *testing.B) {
	for name, body := range admissions(b) {
		b.Run(name, func(b *testing.B) {
			buf := []byte(body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := standardAdmission(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// pinned is a review, and a reply that pins all its images.
func pinned(tb testing.TB) (*Admission, *AdmissionReply) {
	tb.Helper()
	var a Admission
	if err := a.Decode([]byte(recordingOf(tb, "pod_create"))); err != nil {
		tb.Fatal(err)
	}
	r := AdmissionReply{UID: a.UID, Allowed: true, Audit: denial().Audit, Warnings: [][]byte{denial().Reason}}
	for i := range a.Images {
		r.Patch = append(r.Patch, PatchOp{Image: &a.Images[i], Rewrite: a.Images[i].Image + "@sha256:" + strings.Repeat("0", 64), AlwaysPull: true})
	}
	return &a, &r
}

func BenchmarkAppendAdmissionReply(b *testing.B) {
	a, pin := pinned(b)
	for name, r := range map[string]*AdmissionReply{
		"allow": {UID: a.UID, Allowed: true},
		"deny":  {UID: a.UID, Code: 403, Reason: "Forbidden", Message: denial().Reason, Audit: denial().Audit},
		"pin":   pin,
	} {
		b.Run(name, func(b *testing.B) {
			buf := AppendAdmissionReply(nil, a, r)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				buf = AppendAdmissionReply(buf[:0], a, r)
			}
		})
	}
}

// The ruler beside BenchmarkAppendAdmissionReply, for the denial.
func BenchmarkEncodingJSONAdmissionReply(b *testing.B) {
	deny := denial()
	b.ReportAllocs()
	for b.Loop() {
		v := answered{Kind: "AdmissionReview", APIVersion: "admission.k8s.io/v1"}
		v.Response.UID = "705ab4f5-6393-11e8-b7cc-42010a800002"
		v.Response.Status = &result{Status: "Failure", Message: string(deny.Reason), Reason: "Forbidden", Code: 403}
		v.Response.AuditAnnotations = make(map[string]string, len(deny.Audit))
		for _, a := range deny.Audit {
			v.Response.AuditAnnotations[a.Key] = string(a.Value)
		}
		if _, err := json.Marshal(v); err != nil {
			b.Fatal(err)
		}
	}
}
