package e2e

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// The container image that make image builds without an engine: the same from wherever it is built, whole, taken by a registry,
// and what its layer holds runs as the user that it names.
func TestInstallImage(t *testing.T) {
	t.Parallel()
	tree := t.TempDir()
	copyTree(t, "../..", tree)
	again := filepath.Join(t.TempDir(), "some", "where", "else")
	copyTree(t, tree, again)
	first, second := makeImage(t, tree), makeImage(t, again)
	if a, b := content(t, filepath.Join(first, "index.json")), content(t, filepath.Join(second, "index.json")); a != b {
		t.Errorf("built twice, it is\n%s\nand\n%s", a, b)
	}
	image, bills := checkLayout(t, first)
	manifest, err := image.IndexManifest()
	must(t, err)
	for _, platform := range manifest.Manifests {
		if bills[platform.Digest] != 1 {
			t.Errorf("%d bills of materials are about %s for %s, want one", bills[platform.Digest], platform.Digest, platform.Platform)
		}
	}
	if len(manifest.Manifests) != 2 {
		t.Errorf("it is for %d platforms, want two", len(manifest.Manifests))
	}

	tag, err := name.NewTag(shared.registry.host+"/"+repositoryOf(t)+":v1", name.Insecure)
	must(t, err)
	must(t, remote.WriteIndex(tag, image))
	pushed, err := remote.Head(tag)
	must(t, err)
	digest, err := image.Digest()
	must(t, err)
	if pushed.Digest != digest {
		t.Errorf("the registry has %s, and it is %s", pushed.Digest, digest)
	}
	t.Logf("%s for %d platforms", digest, len(manifest.Manifests))
	own, err := remote.Image(tag, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	must(t, err)
	runImage(t, own)
}

// copyTree copies what the image is made of, so that what is edited meanwhile does not matter.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	for _, part := range []string{"cmd", "engine", "resolver", "cache", "server", "deploy", "bench"} {
		must(t, os.CopyFS(filepath.Join(to, part), os.DirFS(filepath.Join(from, part))))
	}
	for _, file := range []string{"go.mod", "go.sum", "Makefile"} {
		copyFile(t, filepath.Join(from, file), filepath.Join(to, file))
	}
}

// makeImage runs make image in a copy of the tree, and returns the layout. It has time: whatever else runs goes first.
func makeImage(t *testing.T, dir string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "nice", "-n", "19", "make", "image", "VERSION=v0.0.0-e2e", "COMMIT=none")
	command.Dir = dir
	command.Env = append(os.Environ(), "MAKEFLAGS=", "SOURCE_DATE_EPOCH=1700000000", "GOFLAGS=")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("make image: %v\n%s", err, out)
	}
	return filepath.Join(dir, "bin", "image")
}

// checkLayout holds an OCI image layout against its specification: all of it is what its digest says. It returns the image, and
// how many bills of materials there are about each manifest.
func checkLayout(t *testing.T, dir string) (v1.ImageIndex, map[v1.Hash]int) {
	t.Helper()
	if got := content(t, filepath.Join(dir, "oci-layout")); strings.TrimSpace(got) != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout is %s", got)
	}
	blobs, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	must(t, err)
	for _, b := range blobs {
		sum := sha256.Sum256([]byte(content(t, filepath.Join(dir, "blobs", "sha256", b.Name()))))
		if hex.EncodeToString(sum[:]) != b.Name() {
			t.Errorf("the blob %s has the digest %x", b.Name(), sum)
		}
	}
	path, err := layout.FromPath(dir)
	must(t, err)
	index, err := path.ImageIndex()
	must(t, err)
	entries, err := index.IndexManifest()
	must(t, err)
	var image v1.ImageIndex
	bills := map[v1.Hash]int{}
	for _, entry := range entries.Manifests {
		if entry.MediaType.IsIndex() {
			if image != nil || entry.Annotations["org.opencontainers.image.ref.name"] != "v0.0.0-e2e" {
				t.Errorf("index.json has a second image, or one without its tag: %+v", entry)
			}
			image, err = index.ImageIndex(entry.Digest)
			must(t, err)
			must(t, validate.Index(image))
			continue
		}
		bills[aboutWhat(t, path, entry)]++
	}
	if image == nil {
		t.Fatalf("index.json has no image: %+v", entries)
	}
	return image, bills
}

// aboutWhat is the subject of a manifest that refers to another, which has to be one with a bill of materials.
func aboutWhat(t *testing.T, path layout.Path, entry v1.Descriptor) v1.Hash {
	t.Helper()
	content, err := path.Bytes(entry.Digest)
	must(t, err)
	var manifest v1.Manifest
	must(t, json.Unmarshal(content, &manifest))
	if manifest.Subject == nil || entry.ArtifactType != "application/spdx+json" || len(manifest.Layers) != 1 {
		t.Fatalf("%s is no bill of materials about an image: %s", entry.Digest, content)
	}
	content, err = path.Bytes(manifest.Layers[0].Digest)
	must(t, err)
	var bill struct {
		Version  string `json:"spdxVersion"`
		Packages []struct{ Name string }
	}
	must(t, json.Unmarshal(content, &bill))
	if bill.Version != "SPDX-2.3" || !slices.ContainsFunc(bill.Packages, func(p struct{ Name string }) bool {
		return p.Name == "github.com/sigstore/sigstore-go" || strings.HasPrefix(p.Name, "github.com/valyala/fasthttp")
	}) {
		t.Errorf("the bill of materials %s has version %s and %d packages", manifest.Layers[0].Digest, bill.Version, len(bill.Packages))
	}
	return manifest.Subject.Digest
}

// runImage runs the image for this machine as a node would: its files are all there is, and its user is who it runs as.
func runImage(t *testing.T, image v1.Image) {
	t.Helper()
	config, err := image.ConfigFile()
	must(t, err)
	if user, _, _ := strings.Cut(config.Config.User, ":"); user != fmt.Sprint(nobody) {
		t.Errorf("the image's user is %q, want %d", config.Config.User, nobody)
	}
	root := filepath.Join(t.TempDir(), "root")
	must(t, os.Mkdir(root, 0o755))
	layers, err := image.Layers()
	must(t, err)
	for _, layer := range layers {
		unpack(t, layer, root)
	}
	// What would be mounted.
	s := initService(t, settings{})
	etc := filepath.Join(root, "etc", "sluice")
	must(t, os.MkdirAll(filepath.Dir(etc), 0o755))
	must(t, os.CopyFS(etc, os.DirFS(s.dir)))
	must(t, os.Chown(filepath.Join(etc, "pki", "server.key"), contain().owner, -1))

	ask := func(want string, args ...string) {
		t.Helper()
		p := contain().start(t, root, config.Config.Env, append(slices.Clone(config.Config.Entrypoint), args...)...)
		if code := p.exit(t, patience); code != 0 || !strings.Contains(p.stdout.String()+p.stderr.String(), want) {
			t.Errorf("%q: exit %d, and it does not say %q\n%s%s", args, code, want, p.stdout.String(), p.stderr.String())
		}
	}
	ask("v0.0.0-e2e", "version")
	ask("", "serve", "--config", "/etc/sluice/sluice.yaml", "--check")

	s.process = contain().start(t, root, config.Config.Env, append(slices.Clone(config.Config.Entrypoint),
		"serve", "--config", "/etc/sluice/sluice.yaml")...)
	eventually(t, func() error {
		if s.process.ended() {
			t.Fatalf("it has ended:\n%s", tail(s.process.stderr.String()))
		}
		status, body, err := s.get("/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("/readyz: %d %s", status, body)
		}
		return err
	})
	s.terminate(t)
}

// unpack writes a layer's files below a directory.
func unpack(t *testing.T, layer v1.Layer, root string) {
	t.Helper()
	content, err := layer.Uncompressed()
	must(t, err)
	defer content.Close()
	for files := tar.NewReader(content); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		path := filepath.Join(root, filepath.Clean("/"+h.Name))
		switch h.Typeflag {
		case tar.TypeDir:
			must(t, os.MkdirAll(path, 0o755))
		case tar.TypeReg:
			content, err := io.ReadAll(files)
			must(t, err)
			must(t, os.WriteFile(path, content, 0o755))
			must(t, os.Chmod(path, h.FileInfo().Mode()))
		default:
			t.Errorf("the layer has %s, of type %c", h.Name, h.Typeflag)
		}
		if h.Uid != 0 || h.Mode&0o022 != 0 {
			t.Errorf("%s is of user %d and mode %o: the program could change it", h.Name, h.Uid, h.Mode)
		}
	}
}
