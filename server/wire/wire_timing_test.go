package wire

import (
	"encoding/json"
	"strings"
	"testing"
)

// bodyOf returns a review of n containers of one image, and with an annotation, both as they are written in JSON.
func bodyOf(n int, image, annotation string) string {
	return `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{},"spec":{"containers":[` +
		strings.TrimSuffix(strings.Repeat(`{"image":"`+image+`"},`, n), ",") +
		`],"annotations":{"x.image-policy.k8s.io/y":"` + annotation + `"},"namespace":"default"},"status":{"allowed":false}}` + "\n"
}

func denial() Reply {
	return Reply{
		Reason: []byte("image registry.example.com/team/app:v1: there is no signature by release-key for it (policy production-is-signed)"),
		Audit: []Annotation{
			{Key: "verdict", Value: []byte("deny")},
			{Key: "reason", Value: []byte("signature_missing")},
			{Key: "policy", Value: []byte("production-is-signed")},
			{Key: "fingerprint", Value: []byte("0123456789abcdef")},
			{Key: "digest-0", Value: []byte("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")},
		},
	}
}

func bodies() map[string]string {
	const app = "registry.example.com/team/app:v1"
	return map[string]string{
		"recorded":       recorded,
		"containers20":   bodyOf(20, app, "yes"),
		"containers3000": bodyOf(3000, app, "yes"),
		"escapes2":       bodyOf(2, `registry.example.com/team/app\u003cv1\u003e`, `\u003cyes\u003e`),
		"skipped17MB":    bodyOf(2, app, strings.Repeat(`\u003c`, 17<<20/6)), // an annotation of escapes
		"skipped17MBraw": bodyOf(2, app, strings.Repeat("plain ", 17<<20/6)),
		"image17MB":      bodyOf(1, strings.Repeat(`\u003c`, 17<<20/6), "yes"),
		"image17MButf8":  bodyOf(1, strings.Repeat("é€", 17<<20/5), "yes"),
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, body := range bodies() {
		b.Run(name, func(b *testing.B) {
			var r Review
			buf := make([]byte, len(body))
			inPlace := strings.Contains(body, `\u`) // then the body is changed, and copying it is part of the figure
			copy(buf, body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if inPlace {
					copy(buf, body)
				}
				if err := r.Decode(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The ruler beside BenchmarkDecode.
func BenchmarkEncodingJSON(b *testing.B) {
	for name, body := range bodies() {
		b.Run(name, func(b *testing.B) {
			buf := []byte(body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := standard(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendReply(b *testing.B) {
	deny, escapes := denial(), denial()
	escapes.Reason = []byte("line one\nline two: \"nginx\" is not <signed>, \xff\u00e9\u20ac")
	for name, reply := range map[string]Reply{
		"allow":   {Allowed: true},
		"allowed": {Allowed: true, Audit: deny.Audit},
		"deny":    deny,
		"escapes": escapes,
		"3MB":     {Reason: []byte(strings.Repeat("image \"x\"\n", 300_000))},
	} {
		b.Run(name, func(b *testing.B) {
			buf := AppendReply(nil, &reply)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				buf = AppendReply(buf[:0], &reply)
			}
		})
	}
}

func BenchmarkEncodingJSONReply(b *testing.B) {
	reply := denial()
	type review struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
		Status     struct {
			Allowed          bool              `json:"allowed"`
			Reason           string            `json:"reason,omitempty"`
			AuditAnnotations map[string]string `json:"auditAnnotations,omitempty"`
		} `json:"status"`
	}
	b.ReportAllocs()
	for b.Loop() {
		v := review{Kind: "ImageReview", APIVersion: "imagepolicy.k8s.io/v1alpha1"}
		v.Status.Reason = string(reply.Reason)
		v.Status.AuditAnnotations = make(map[string]string, len(reply.Audit))
		for _, a := range reply.Audit {
			v.Status.AuditAnnotations[a.Key] = string(a.Value)
		}
		if _, err := json.Marshal(v); err != nil {
			b.Fatal(err)
		}
	}
}
