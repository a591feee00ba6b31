package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcrlayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// someContents is a binary for each platform that nobody could run.
func someContents() *contents {
	info := func(arch string) *debug.BuildInfo {
		return &debug.BuildInfo{
			GoVersion: "go1.26.8 X:something", Path: "sluice/cmd/sluice", Main: debug.Module{Path: "sluice", Version: "(devel)"},
			Deps: []*debug.Module{
				{Path: "example.com/a/v2", Version: "v2.0.1+incompatible", Sum: "h1:a="},
				{Path: "example.com/B", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/C~d", Version: "v1.0.1", Sum: "h1:c="}},
			},
			Settings: []debug.BuildSetting{{Key: "GOARCH", Value: arch}},
		}
	}
	return &contents{
		version: "v1.2.3", commit: "0123456789abcdef", created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		roots: []byte("# example.com/roots v0.1.0 h1:r=\n-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"),
		binaries: []binary{
			{"amd64", []byte("binary for amd64"), info("amd64")},
			{"arm64", []byte("binary for arm64"), info("arm64")},
		},
	}
}

func mustAssemble(t *testing.T, c *contents) *layout {
	t.Helper()
	l, err := assemble(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// written writes an image and reads it with another implementation.
func written(t *testing.T, l *layout) (dir string, index v1.ImageIndex) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "bin", "image")
	if err := l.write(dir); err != nil {
		t.Fatal(err)
	}
	top, err := ggcrlayout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := v1.NewHash(l.index.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if index, err = top.ImageIndex(digest); err != nil {
		t.Fatal(err)
	}
	return dir, index
}

// TestImage reads an image as those do who run it.
func TestImage(t *testing.T) {
	t.Parallel()
	c := someContents()
	l := mustAssemble(t, c)
	_, index := written(t, l)
	if err := validate.Index(index); err != nil {
		t.Fatal(err)
	}
	about := map[string]string{
		"org.opencontainers.image.title":       "sluice",
		"org.opencontainers.image.description": "Decides for Kubernetes which container images may run",
		"org.opencontainers.image.version":     "v1.2.3",
		"org.opencontainers.image.revision":    "0123456789abcdef",
		"org.opencontainers.image.created":     "2026-01-02T03:04:05Z",
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(about, m.Annotations); diff != "" {
		t.Errorf("the index is annotated with (-want +got)\n%s", diff)
	}
	if len(m.Manifests) != len(c.binaries) {
		t.Fatalf("the image is for %d platforms, not %d", len(m.Manifests), len(c.binaries))
	}
	for i, b := range c.binaries {
		if p := m.Manifests[i].Platform; p == nil || p.String() != "linux/"+b.architecture {
			t.Errorf("image %d is for %v, not linux/%s", i, p, b.architecture)
		}
		image, err := index.Image(m.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != b.architecture || config.OS != "linux" || !config.Created.Time.Equal(c.created) {
			t.Errorf("the configuration says %s/%s of %s", config.OS, config.Architecture, config.Created)
		}
		want := v1.Config{
			User: "65532:65532", Env: []string{"PATH=/"}, WorkingDir: "/", Entrypoint: []string{"/sluice"},
			Cmd:          []string{"serve", "--config", "/etc/sluice/sluice.yaml"},
			ExposedPorts: map[string]struct{}{"8443/tcp": {}, "9443/tcp": {}}, Labels: about,
		}
		if diff := cmp.Diff(want, config.Config); diff != "" {
			t.Errorf("it is run with (-want +got)\n%s", diff)
		}
		files := []string{
			"drwxr-xr-x etc/", "drwxr-xr-x etc/ssl/", "drwxr-xr-x etc/ssl/certs/",
			"-rw-r--r-- etc/ssl/certs/ca-certificates.crt " + string(c.roots), "-rwxr-xr-x sluice " + string(b.data),
		}
		if diff := cmp.Diff(files, unpack(t, image)); diff != "" {
			t.Errorf("in the image for %s there are (-want +got)\n%s", b.architecture, diff)
		}
	}
}

// unpack lists what the layers hold, and checks that nothing in them depends on who made them, and when.
func unpack(t *testing.T, image v1.Image) (files []string) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for archive := tar.NewReader(r); ; {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || !h.ModTime.Equal(time.Unix(0, 0)) {
				t.Errorf("%s is of %d:%d %q %q and of %s", h.Name, h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime)
			}
			data, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, strings.TrimRight(h.FileInfo().Mode().String()+" "+h.Name+" "+string(data), " "))
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// TestBill reads the bills of materials, from the layout as referrers and from beside it.
func TestBill(t *testing.T) {
	t.Parallel()
	c := someContents()
	l := mustAssemble(t, c)
	dir, index := written(t, l)
	images, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	top, err := ggcrlayout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(m.Manifests); n != 1+len(c.binaries) || m.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "v1.2.3" {
		t.Fatalf("the layout lists %d manifests, the first annotated with %v", n, m.Manifests[0].Annotations)
	}
	for i, b := range c.binaries {
		entry := m.Manifests[1+i]
		referrer, err := top.Image(entry.Digest)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := referrer.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		if manifest.Subject == nil || manifest.Subject.Digest != images.Manifests[i].Digest ||
			manifest.ArtifactType != "application/spdx+json" || entry.ArtifactType != manifest.ArtifactType {
			t.Errorf("it is of type %q, and refers to %v", manifest.ArtifactType, manifest.Subject)
		}
		inLayout, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", manifest.Layers[0].Digest.Hex))
		if err != nil {
			t.Fatal(err)
		}
		beside, err := os.ReadFile(filepath.Join(dir, "..", "sluice-linux-"+b.architecture+".spdx.json"))
		if err != nil {
			t.Fatal(err)
		}
		if string(inLayout) != string(beside) {
			t.Error("the bill of materials in the layout is not the one beside it")
		}
		var doc bill
		if err := json.Unmarshal(beside, &doc); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for j, p := range doc.Packages {
			r := doc.Relationships[j]
			line := r.From + " " + r.Type + " " + p.References[0].Locator
			if r.To != p.ID {
				t.Errorf("relationship %d is to %s, not to %s", j, r.To, p.ID)
			}
			if p.SourceInfo != "" {
				line += " (" + p.SourceInfo + ")"
			}
			for _, sum := range p.Checksums {
				line += " " + sum.Algorithm + " " + sum.Value
			}
			lines = append(lines, line)
		}
		hash := strings.Replace(images.Manifests[i].Digest.String(), ":", "%3A", 1)
		want := []string{
			"SPDXRef-DOCUMENT DESCRIBES pkg:oci/sluice@" + hash + "?arch=" + b.architecture,
			"SPDXRef-Image CONTAINS pkg:golang/sluice@v1.2.3 (commit 0123456789abcdef) SHA256 " + strings.TrimPrefix(digestOf(b.data), "sha256:"),
			"SPDXRef-Image CONTAINS pkg:golang/example.com/roots@v0.1.0 (go.sum has h1:r=)",
			"SPDXRef-Binary DEPENDS_ON pkg:golang/stdlib@1.26.8",
			"SPDXRef-Binary DEPENDS_ON pkg:golang/example.com/a/v2@v2.0.1%2Bincompatible (go.sum has h1:a=)",
			"SPDXRef-Binary DEPENDS_ON pkg:golang/example.com/C~d@v1.0.1 (go.sum has h1:c=)",
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("the bill of materials says (-want +got)\n%s", diff)
		}
	}
}

// TestSameBytes assembles twice, and then with one thing changed, which must show.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	first := mustAssemble(t, someContents())
	if d := first.difference(mustAssemble(t, someContents())); d != "" {
		t.Errorf("the same contents differ: %s", d)
	}
	f := func(want string, change func(c *contents)) {
		t.Helper()
		c := someContents()
		change(c)
		if got := first.difference(mustAssemble(t, c)); got != want {
			t.Errorf("the difference is %q, not %q", got, want)
		}
	}
	f("the image for linux/arm64", func(c *contents) { c.binaries[1].data[3]++ })
	f("the image for linux/amd64", func(c *contents) { c.created = c.created.Add(time.Second) })
	f("the image for linux/amd64", func(c *contents) { c.roots = append(c.roots, '\n') })
	f("the bill of materials for linux/arm64", func(c *contents) { c.binaries[1].info.Deps[0].Sum = "h1:other=" })
	f("the image for linux/arm64", func(c *contents) { c.binaries = c.binaries[:1] })
	f("the index", func(c *contents) { c.binaries = append(c.binaries, c.binaries[0]) })
}

// TestUnusableContents is what must not become an image.
func TestUnusableContents(t *testing.T) {
	t.Parallel()
	f := func(want string, change func(c *contents)) {
		t.Helper()
		c := someContents()
		change(c)
		if _, err := assemble(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, and not about %q", err, want)
		}
	}
	f("does not say what it was built from", func(c *contents) { c.binaries[0].info = nil })
	f("do not begin with the module", func(c *contents) { c.roots = c.roots[2:] })
	f("do not begin with the module", func(c *contents) { c.roots[0] = 'x' })
	f("no certificate authorities", func(c *contents) { c.roots = c.roots[:34] })
}

// TestWrite replaces a layout, and nothing else.
func TestWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "image")
	c := someContents()
	for _, c.version = range []string{"v1", "v2"} {
		if err := mustAssemble(t, c).write(dir); err != nil {
			t.Fatal(err)
		}
	}
	blobs, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	// The index; for each platform a manifest, a configuration, the binary, a bill of materials and its manifest; and what
	// they share, the authorities and the empty configuration.
	if len(blobs) != 1+2*5+2 {
		t.Errorf("there are %d blobs", len(blobs))
	}
	var names []string
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"image", "sluice-linux-amd64.spdx.json", "sluice-linux-arm64.spdx.json"}; !slices.Equal(names, want) {
		t.Errorf("there are %v, not %v", names, want)
	}

	other := t.TempDir()
	precious := filepath.Join(other, "precious")
	if err := os.WriteFile(precious, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := mustAssemble(t, c).write(other); err == nil || !strings.Contains(err.Error(), "no image layout") {
		t.Errorf("writing over something else: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

// TestSource is what is found out about a tree, and what is refused.
func TestSource(t *testing.T) {
	t.Parallel()
	f := func(version, epoch, want string) {
		t.Helper()
		env := func(string) (string, bool) { return epoch, true }
		s, err := findSource(t.Context(), ".", version, "commit", env)
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("version %q, SOURCE_DATE_EPOCH %q: %v, want %q", version, epoch, err, want)
		case want == "" && err != nil:
			t.Error(err)
		case want == "" && (s.version != version || s.commit != "commit" || s.created != time.Unix(86400, 0).UTC()):
			t.Errorf("%+v", s)
		}
	}
	f("v1.2.3", "86400", "")
	f("v1.2.3+meta", "86400", "can't be an image's tag")
	f(strings.Repeat("v", 129), "86400", "can't be an image's tag")
	f("v1.2.3", "yesterday", "number of seconds since 1970")
	f("v1.2.3", "-1", "number of seconds since 1970")
	f("v1.2.3", "253402300800", "number of seconds since 1970")
}
