package attached

import (
	"strings"
	"testing"

	"sluice/resolver"
	"sluice/resolver/registrytest"
)

// BenchmarkManifest reads a signature manifest of one layer, and the largest of junk that are read at all.
func BenchmarkManifest(b *testing.B) {
	l := layerOf(payloadType, []byte("payload"))
	junk := make([]map[string]any, maxLayers)
	for i := range junk {
		junk[i] = l
	}
	note := `{"mediaType":"` + payloadType + `","annotations":{` + strings.Repeat(`"":"",`, 680) + `"a":"b"}}`
	for name, raw := range map[string][]byte{
		"one": manifestOf(l), "thousand": manifestOf(junk...),
		"notes":   []byte(`{"layers":[` + strings.Repeat(note+",", maxLayers-1) + note + `]}`),
		"numbers": []byte(`{"x":[` + strings.Repeat("1,", resolver.MaxManifest/2-20) + `1]}`),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				doc, f := parseManifest(raw)
				if f != nil {
					b.Fatal(f)
				}
				doc.candidates("x")
			}
		})
	}
}

// BenchmarkFind looks into each place of an image with one signature there, in a registry in this process.
func BenchmarkFind(b *testing.B) {
	for name, api := range map[string]bool{"api": true, "fallback": false} {
		h := newHouse(b, registrytest.Options{Referrers: api})
		layer := registrytest.SignatureLayer{Payload: []byte("p"), MediaType: payloadType, Annotations: annotated("sig")}
		if err := h.registry.AppendSignatures("team/app", string(h.image.Digest), layer); err != nil {
			b.Fatal(err)
		}
		if _, err := h.registry.PutReferrer("team/app", string(h.image.Digest), "", "", layer); err != nil {
			b.Fatal(err)
		}
		for _, place := range []Place{SignatureTag, AttestationTag, Referrers} {
			b.Run(name+"/"+place.String(), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Find(b.Context(), h.fetch, place, h.image); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
