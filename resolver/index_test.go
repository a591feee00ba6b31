package resolver

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/engine"
	"sluice/resolver/registrytest"
)

const (
	ociImage    = "application/vnd.oci.image.manifest.v1+json"
	dockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json"
)

func TestChildren(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{})
	r := plain(t, reg)
	one, two, inner := push(t, reg, "team/app:1"), push(t, reg, "team/app:2"), push(t, reg, "team/app:3")
	raw := fmt.Sprintf(`{"schemaVersion":2,"manifests":[
		{"mediaType":%q,"digest":%q,"platform":{"os":"linux","architecture":"amd64","os.version":"1","features":["x"]}},
		{"mediaType":%q,"digest":%q,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}},
		{"mediaType":%q,"digest":%q,"platform":{"os":"linux"}}
	]}`, ociImage, one, ociImage, two, dockerIndex, inner)
	digest, err := reg.PutRaw("team/app", "all", ociIndex, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	want := []engine.Child{
		{Digest: one, Platform: "linux/amd64"},
		{Digest: two, Platform: "linux/arm64/v8"},
		{Digest: inner, Index: true},
	}
	for range 2 {
		got, err := r.Children(wait(t), ref(t, "%s/team/app@%s", reg.Host(), digest))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		got[0].Platform = "changed by a caller"
	}
	for range 2 {
		if got, err := r.Children(wait(t), ref(t, "%s/team/app:latest@%s", reg.Host(), one)); err != nil || got != nil {
			t.Errorf("of an image: %v, %v", got, err)
		}
	}
	if n := reg.Counts().Requests(); n != 2 {
		t.Errorf("%d requests, want 2: what digests stand for does not change", n)
	}
	// Another repository is asked for itself, and what can't be had is not remembered.
	for range 2 {
		_, err = r.Children(wait(t), ref(t, "%s/team/other@%s", reg.Host(), digest))
		wantFailure(t, err, engine.ReasonImageNotFound, "no such image")
	}
	if n := reg.Counts().Requests(); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
	_, err = r.Children(wait(t), ref(t, "%s/team/app:all", reg.Host()))
	wantFailure(t, err, engine.ReasonInvalidReference, "")
}

func TestHostileIndexes(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	child := `{"mediaType":"` + ociImage + `","digest":"` + digest + `"}`
	platform := func(os string) string {
		return `{"manifests":[{"digest":"` + digest + `","platform":{"os":"` + os + `","architecture":"amd64"}}]}`
	}
	for name, c := range map[string]struct {
		mediaType, body string
		children        int // below 0: refused
	}{
		"empty":                      {ociIndex, `{"manifests":[]}`, 0},
		"nothing":                    {ociIndex, `{}`, 0},
		"one":                        {ociIndex, `{"manifests":[` + child + `]}`, 1},
		"as many as may be":          {ociIndex, `{"manifests":[` + strings.Repeat(child+",", maxChildren-1) + child + `]}`, maxChildren},
		"too many":                   {ociIndex, `{"manifests":[` + strings.Repeat(child+",", maxChildren) + child + `]}`, -1},
		"a million of nothing":       {ociIndex, `{"manifests":[` + strings.Repeat("{},", 1<<20) + `{}]}`, -1},
		"ten thousand":               {ociIndex, `{"manifests":[` + strings.Repeat(child+",", 10_000) + child + `]}`, -1},
		"no JSON":                    {ociIndex, `<html>`, -1},
		"null":                       {ociIndex, `{"manifests":null}`, -1},
		"an object":                  {ociIndex, `{"manifests":{"a":1}}`, -1},
		"numbers":                    {ociIndex, `{"manifests":[1]}`, -1},
		"no digest":                  {ociIndex, `{"manifests":[{}]}`, -1},
		"another algorithm":          {ociIndex, `{"manifests":[{"digest":"sha512:` + strings.Repeat("a", 128) + `"}]}`, -1},
		"two lists":                  {ociIndex, `{"manifests":[],"manifests":[` + child + `]}`, -1},
		"two lists in other letters": {ociIndex, `{"manifests":[],"Manifests":[` + child + `]}`, -1},
		"layers too":                 {ociIndex, `{"manifests":[` + child + `],"layers":[]}`, -1},
		"a configuration too":        {ociIndex, `{"manifests":[` + child + `],"config":null}`, -1},
		"an image with manifests":    {ociImage, `{"manifests":[` + child + `],"layers":[]}`, -1},
		"an index called an image":   {ociImage, `{"mediaType":"` + ociIndex + `"}`, -1},
		"an image called an index":   {ociIndex, `{"mediaType":"` + ociImage + `"}`, -1},
		"one index called another":   {dockerIndex, `{"mediaType":"` + ociIndex + `","manifests":[]}`, -1},
		"a platform of lines":        {ociIndex, platform(`linux\nx`), -1},
		"a platform with a slash":    {ociIndex, platform(`linux/amd64`), -1},
		"a platform of a megabyte":   {ociIndex, platform(strings.Repeat("x", 1<<20)), -1},
		"a platform of a number":     {ociIndex, `{"manifests":[{"digest":"` + digest + `","platform":7}]}`, -1},
		"a platform of nothing":      {ociIndex, `{"manifests":[{"digest":"` + digest + `","platform":null}]}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseChildren(Manifest{MediaType: c.mediaType, Raw: []byte(c.body)})
			if (err != nil) != (c.children < 0) || len(got) != max(c.children, 0) {
				t.Errorf("%d children, want %d, %v", len(got), c.children, err)
			}
		})
	}
}

// TestMalformedIndex: what is refused is the registry's failure, and never an image without platforms.
func TestMalformedIndex(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{})
	digest, err := reg.PutRaw("team/app", "x", ociImage, []byte(`{"manifests":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = plain(t, reg).Children(wait(t), ref(t, "%s/team/app@%s", reg.Host(), digest))
	wantFailure(t, err, engine.ReasonRegistryMalformed, "an index of images that is none")
}

// TestIndexesAllocateLittle is not parallel: it counts what the whole process allocates.
func TestIndexesAllocateLittle(t *testing.T) {
	raw := []byte(`{"manifests":[` + strings.Repeat("{},", MaxManifest/3-20) + `{}]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := parseChildren(Manifest{MediaType: ociIndex, Raw: raw}); err == nil {
		t.Error("a million children without a digest were accepted")
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 24<<20 {
		t.Errorf("%d MiB allocated", took>>20)
	}
}
