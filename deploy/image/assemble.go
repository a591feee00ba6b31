package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"runtime/debug"
	"strings"
	"time"
)

// contents is everything that an image is made of.
type contents struct {
	version  string
	commit   string
	created  time.Time
	roots    []byte // certificate authorities, as the program roots prints them
	binaries []binary
}

// binary is the program for one platform.
type binary struct {
	architecture string
	data         []byte
	info         *debug.BuildInfo
}

// What the image says about how it is run.
const (
	user     = "65532:65532" // that of nobody in particular, by convention
	rootsAt  = "etc/ssl/certs/ca-certificates.crt"
	binaryAt = "sluice"
)

// assemble makes the image. The same contents give the same bytes.
func assemble(c *contents) (*layout, error) {
	l := &layout{blobs: make(map[string][]byte), version: c.version}
	about := map[string]string{
		"org.opencontainers.image.title":       "sluice",
		"org.opencontainers.image.description": "Decides for Kubernetes which container images may run",
		"org.opencontainers.image.version":     c.version,
		"org.opencontainers.image.revision":    c.commit,
		"org.opencontainers.image.created":     c.created.Format(time.RFC3339),
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
	authorities, err := rootsModule(c.roots)
	if err != nil {
		return nil, err
	}
	// The same for every platform and most versions, so that it is kept and fetched once.
	rootsLayer, err := newLayer(rootsAt, 0o644, c.roots)
	if err != nil {
		return nil, err
	}
	index := index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{}, Annotations: about}
	for _, b := range c.binaries {
		if b.info == nil {
			return nil, fmt.Errorf("the binary for linux/%s does not say what it was built from", b.architecture)
		}
		binaryLayer, err := newLayer(binaryAt, 0o755, b.data)
		if err != nil {
			return nil, err
		}
		config := config{
			Created: c.created, Architecture: b.architecture, OS: "linux",
			Config: execution{
				User: user, Env: []string{"PATH=/"}, WorkingDir: "/",
				Entrypoint:   []string{"/" + binaryAt},
				Cmd:          []string{"serve", "--config", "/etc/sluice/sluice.yaml"},
				ExposedPorts: map[string]struct{}{"8443/tcp": {}, "9443/tcp": {}},
				Labels:       about,
			},
			RootFS: rootFS{Type: "layers", DiffIDs: []string{rootsLayer.diffID, binaryLayer.diffID}},
			History: []history{
				{Created: c.created, CreatedBy: "certificate authorities"},
				{Created: c.created, CreatedBy: "sluice " + c.version},
			},
		}
		manifest := manifest{
			SchemaVersion: 2, MediaType: typeManifest, Config: l.addJSON(typeConfig, config),
			Layers:      []descriptor{l.add(typeLayer, rootsLayer.compressed), l.add(typeLayer, binaryLayer.compressed)},
			Annotations: about,
		}
		p := platform{architecture: b.architecture, manifest: l.addJSON(typeManifest, manifest)}
		p.size = p.manifest.Size + manifest.Config.Size + manifest.Layers[0].Size + manifest.Layers[1].Size

		p.bill = marshal(newBill(c, b, authorities, p.manifest.Digest))
		p.referrer = l.addJSON(typeManifest, manifestOf(p, l, about))
		p.referrer.ArtifactType = typeBill
		l.platforms = append(l.platforms, p)

		inIndex := p.manifest
		inIndex.Platform = &platformOf{Architecture: b.architecture, OS: "linux"}
		index.Manifests = append(index.Manifests, inIndex)
	}
	l.index = l.addJSON(typeIndex, index)
	return l, nil
}

// manifestOf is the manifest of a bill of materials, which refers to the image it is about (OCI image specification,
// "Guidelines for Artifact Usage").
func manifestOf(p platform, l *layout, about map[string]string) manifest {
	subject := p.manifest
	layer := l.add(typeBill, p.bill)
	layer.Annotations = map[string]string{"org.opencontainers.image.title": billName(p.architecture)}
	return manifest{
		SchemaVersion: 2, MediaType: typeManifest, ArtifactType: typeBill,
		Config: l.add(typeEmpty, []byte("{}")), Layers: []descriptor{layer}, Subject: &subject,
		Annotations: map[string]string{"org.opencontainers.image.created": about["org.opencontainers.image.created"]},
	}
}

// layer is a file system with one file in it.
type layer struct {
	diffID     string // the digest of the archive
	compressed []byte
}

// newLayer packs a file and the directories above it. Owner, times and everything else that could vary are fixed.
func newLayer(name string, mode int64, data []byte) (layer, error) {
	var archive, compressed bytes.Buffer
	pack := tar.NewWriter(&archive)
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		if err := pack.WriteHeader(&tar.Header{
			Typeflag: tar.TypeDir, Name: name[:i+1], Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}); err != nil {
			return layer{}, err
		}
	}
	err := pack.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	})
	if err == nil {
		_, err = pack.Write(data)
	}
	if err = errors.Join(err, pack.Close()); err != nil {
		return layer{}, err
	}
	press, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	if err != nil {
		return layer{}, err
	}
	_, err = press.Write(archive.Bytes())
	if err = errors.Join(err, press.Close()); err != nil {
		return layer{}, err
	}
	return layer{digestOf(archive.Bytes()), compressed.Bytes()}, nil
}

// rootsModule reads the first line of what the program roots prints: the module that the authorities are from.
func rootsModule(roots []byte) (*debug.Module, error) {
	line, rest, _ := strings.Cut(string(roots), "\n")
	fields := strings.Fields(line)
	if len(fields) != 4 || fields[0] != "#" || !strings.HasPrefix(fields[3], "h1:") || path.Clean(fields[1]) != fields[1] {
		return nil, fmt.Errorf("the certificate authorities do not begin with the module they are from, but with %.80q", line)
	}
	if !strings.Contains(rest, "-----BEGIN CERTIFICATE-----") {
		return nil, errors.New("there are no certificate authorities")
	}
	return &debug.Module{Path: fields[1], Version: fields[2], Sum: fields[3]}, nil
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// marshal writes one of our own structures, none of which can fail to be written.
func marshal(v any) []byte {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err)
	}
	return append(data, '\n')
}
