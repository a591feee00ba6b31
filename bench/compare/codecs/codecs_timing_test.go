package codecs

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sluice/server/wire"
)

// review is a body as the apiserver writes it.
func review(containers int, image, annotation string) string {
	return `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{},"spec":{"containers":[` +
		strings.TrimSuffix(strings.Repeat(`{"image":"`+image+`"},`, containers), ",") +
		`],"annotations":{"team.image-policy.k8s.io/ticket":"` + annotation + `"},"namespace":"prod-shop"},"status":{"allowed":false}}` + "\n"
}

var bodies = []struct{ name, body string }{
	{"2 containers", review(2, "registry.example.com/team/app:v1.4.2", "none")},
	{"20 containers", review(20, "registry.example.com/team/app:v1.4.2", "none")},
	{"2 with escapes", review(2, `registry.example.com/team/app\u003cv1\u003e`, `\u003cnone\u003e \u0026 more`)},
}

func replies() []struct {
	name  string
	reply wire.Reply
} {
	audit := []wire.Annotation{
		{Key: "verdict", Value: []byte("allow")},
		{Key: "reason", Value: []byte("passed")},
		{Key: "policy", Value: []byte("production-is-signed")},
		{Key: "fingerprint", Value: []byte("0123456789abcdef")},
		{Key: "digests", Value: []byte("registry.example.com/team/app:v1.4.2@sha256:" + strings.Repeat("0123456789abcdef", 4))},
	}
	return []struct {
		name  string
		reply wire.Reply
	}{
		{"allowed", wire.Reply{Allowed: true, Audit: audit}},
		{"denied", wire.Reply{Reason: []byte("image registry.example.com/team/app:v1: \"no\" signature <by> release-key"), Audit: audit}},
	}
}

// All of them read and write the same.
func TestCodecs(t *testing.T) {
	t.Parallel()
	for _, b := range bodies {
		var images []string
		for _, m := range Makers() {
			namespace, got, err := m.New().Decode([]byte(b.body))
			if err != nil || namespace != "prod-shop" || len(got) < 2 || strings.Contains(got[0], `\`) {
				t.Fatalf("%s of %s: %q %q %v", m.Name, b.name, namespace, got, err)
			}
			if images == nil {
				for _, image := range got {
					images = append(images, strings.Clone(image))
				}
			} else if !slices.Equal(got, images) {
				t.Errorf("%s of %s: %q, want %q", m.Name, b.name, got, images)
			}
		}
	}
	for _, r := range replies() {
		var want any
		for _, m := range Makers() {
			content, err := m.New().Encode(nil, &r.reply)
			if err != nil {
				t.Fatal(err)
			}
			var got any
			if err := json.Unmarshal(content, &got); err != nil {
				t.Fatalf("%s of %s: %v in %s", m.Name, r.name, err, content)
			}
			if want == nil {
				want = got
			} else if !reflect.DeepEqual(got, want) {
				t.Errorf("%s of %s: %v, want %v", m.Name, r.name, got, want)
			}
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, body := range bodies {
		for _, m := range Makers() {
			b.Run(body.name+"/"+m.Name, func(b *testing.B) {
				c := m.New()
				buffer := make([]byte, len(body.body))
				b.SetBytes(int64(len(buffer)))
				b.ReportAllocs()
				for b.Loop() {
					copy(buffer, body.body) // sluice's writes to it
					if _, _, err := c.Decode(buffer); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, r := range replies() {
		for _, m := range Makers() {
			b.Run(r.name+"/"+m.Name, func(b *testing.B) {
				c := m.New()
				buffer, err := c.Encode(nil, &r.reply)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(buffer)))
				b.ReportAllocs()
				for b.Loop() {
					if buffer, err = c.Encode(buffer[:0], &r.reply); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
