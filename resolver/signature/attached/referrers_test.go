package attached

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/engine"
	"sluice/resolver"
)

// TestSubject: what is about another image, or about none, is none of this one's, whatever lists it.
func TestSubject(t *testing.T) {
	t.Parallel()
	r := newRegistry()
	l, err := json.Marshal(layerOf(payloadType, r.blob([]byte("payload"))))
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		`{"digest":"` + string(digestOf(nil)) + `"}`, `{}`, `null`, `7`, `"` + string(image.Digest) + `"`,
		`{"digest":7}`, `{"digest":"` + strings.ToUpper(string(image.Digest)) + `"}`,
	} {
		r.refer(bundleType, fmt.Appendf(nil, `{"subject":%s,"layers":[%s]}`, subject, l))
	}
	r.refer(bundleType, fmt.Appendf(nil, `{"layers":[%s]}`, l))
	found := r.find(t, Referrers)
	if found.Total != 8 || len(found.Items) != 8 {
		t.Errorf("%d items of %d", len(found.Items), found.Total)
	}
	for _, i := range found.Items {
		if i.Fault == nil || i.Content != nil {
			t.Errorf("%+v", i)
		}
	}
	if n := r.blobTrips.Load(); n != 0 {
		t.Errorf("%d blobs of them were fetched", n)
	}
}

// TestJunkReferrers: a real one is found among junk, wherever it stands, and what is not looked at is counted.
func TestJunkReferrers(t *testing.T) {
	t.Parallel()
	for _, junk := range []int{10, 200, 5_000} {
		for _, kind := range []string{"application/x", bundleType + ".v0.3+json"} {
			for _, place := range []string{"first", "last", "middle"} {
				t.Run(fmt.Sprint(junk, " ", kind, " ", place), func(t *testing.T) {
					t.Parallel()
					r := newRegistry()
					real := manifestOf(layerOf(bundleType+"+json", r.blob([]byte("real"))))
					for i := range junk {
						if i == junk/2 && place == "middle" || i == 0 && place == "first" {
							r.refer(bundleType+"+json", real)
						}
						r.refer(kind, fmt.Appendf(nil, `{"junk":%d,"layers":[]}`, i))
					}
					if place == "last" {
						r.refer("", real)
					}
					if n := len(r.list.Descriptors); n > resolver.MaxReferrers { // as the Resolver does
						d := r.list.Descriptors
						r.list.Descriptors = append(d[:resolver.MaxReferrers/2:resolver.MaxReferrers/2], d[n-resolver.MaxReferrers/2:]...)
					}
					found := r.find(t, Referrers)
					if lost := kind != "application/x" || junk > resolver.MaxReferrers; place == "middle" && lost && junk > maxReferrers {
						if found.Total <= len(found.Items) {
							t.Error("it is not said that not all were looked at")
						}
					} else if !found.has("real") {
						t.Error("the real one was not found")
					}
					if want := max(1, junk+1-maxReferrers+len(found.Items)); found.Total != want {
						t.Errorf("%d in all, want %d", found.Total, want)
					}
					if n := r.manifestTrips.Load(); n > maxReferrers {
						t.Errorf("%d manifests were fetched", n)
					}
				})
			}
		}
	}
}

// TestRankTakesDescriptionsToo: some registries give no artifact type of use, but hand on the annotations.
func TestRankTakesDescriptionsToo(t *testing.T) {
	t.Parallel()
	all := make([]resolver.Descriptor, 500)
	for i := range all {
		all[i] = resolver.Descriptor{Digest: digestOf(fmt.Append(nil, i))}
	}
	all[250].Annotations = map[string]string{"dev.sigstore.bundle.content": "dsse-envelope"}
	all = append(all, all...) // which makes no difference
	jobs, left := rank(all)
	if len(jobs) != maxReferrers || left != 500-maxReferrers || jobs[0].Digest != all[250].Digest {
		t.Errorf("%d to look at, %d left, first %s", len(jobs), left, jobs[0].Digest)
	}
	if jobs[1].Digest != all[0].Digest || jobs[63].Digest != all[499].Digest {
		t.Error("of the others, neither the first nor the last")
	}
}

// TestFullManifestsLeaveRoom: a referrer with as many signatures as may be takes no other's place.
func TestFullManifestsLeaveRoom(t *testing.T) {
	t.Parallel()
	r := newRegistry()
	full := func(n int) []byte {
		layers := make([]map[string]any, maxLayers)
		for i := range layers {
			layers[i] = layerOf(bundleType+"+json", r.blob(fmt.Appendf(nil, "junk %d %d", n, i)))
		}
		return manifestOf(layers...)
	}
	for n := range 5 {
		if n == 2 {
			r.refer("", manifestOf(layerOf(bundleType+"+json", r.blob([]byte("real")))))
		}
		r.refer("", full(n))
	}
	found := r.find(t, Referrers)
	if !found.has("real") || len(found.Items) != maxItems || found.Total != 5*maxLayers+1 {
		t.Errorf("%d items of %d, the real one %t", len(found.Items), found.Total, found.has("real"))
	}
	for n := range 5 {
		if !found.has(fmt.Sprintf("junk %d 0", n)) || !found.has(fmt.Sprintf("junk %d %d", n, maxLayers-1)) {
			t.Errorf("neither the first nor the last of number %d", n)
		}
	}
}

// TestLargeReferrers: neither one that says how large it is nor one that lies is read, and not any number of them.
func TestLargeReferrers(t *testing.T) {
	t.Parallel()
	r := newRegistry()
	fill := strings.Repeat("x", resolver.MaxManifest-100)
	for i := range 20 {
		r.refer("", []byte(fmt.Sprintf(`{"n":%d,"x":"`, i)+fill+`"}`))
		if i%2 == 0 {
			r.list.Descriptors[i].Size = 1000
		}
	}
	for i := range 30 { // as large as may be
		r.refer(bundleType, []byte(fmt.Sprintf(`{"n":%d,"x":"`, i)+fill[:maxReferrer-100]+`"}`))
	}
	r.refer(bundleType, manifestOf(layerOf(payloadType, r.blob([]byte("real")))))
	found := r.find(t, Referrers)
	if !found.has("real") || found.Total < 16 || found.Total > 51 {
		t.Errorf("the real one %t, %d in all", found.has("real"), found.Total)
	}
	if got := r.bytes.Load(); got > enoughReferrers+maxFetches*resolver.MaxManifest {
		t.Errorf("%d MiB were fetched", got>>20)
	}
	for _, i := range found.Items {
		if i.Content == nil && (i.Failure == nil || i.Failure.Reason != engine.ReasonRegistryMalformed) {
			t.Errorf("%+v", i)
		}
	}
}

func TestTooLargeReferrer(t *testing.T) {
	t.Parallel()
	for size, trips := range map[int64]int64{maxReferrer + 1: 0, 100: 1} {
		r := newRegistry()
		r.refer("", []byte(`{"x":"`+strings.Repeat("x", maxReferrer)+`"}`))
		r.list.Descriptors[0].Size = size
		found := r.find(t, Referrers)
		if len(found.Items) != 1 || found.Items[0].Failure == nil || !strings.Contains(found.Items[0].Failure.Public, "too large") {
			t.Errorf("one that says it has %d bytes: %+v", size, found)
		}
		if n := r.manifestTrips.Load(); n != trips {
			t.Errorf("one that says it has %d bytes: %d requests, want %d", size, n, trips)
		}
	}
}

// TestNoListIsNoAbsence: whatever a Fetcher says of the list, it is not that the image has no signatures.
func TestNoListIsNoAbsence(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]engine.Reason{
		errNotFound:              engine.ReasonRegistryMalformed,
		context.DeadlineExceeded: engine.ReasonTimeout,
		errors.New("other"):      engine.ReasonInternal,
	} {
		r := newRegistry()
		r.listErr = err
		_, got := Find(t.Context(), r, Referrers, image)
		if f := (*engine.Failure)(nil); !errors.As(got, &f) || f.Reason != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
}
