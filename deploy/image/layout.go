package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Media types of the OCI image specification, version 1.1, and of SPDX.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
	typeEmpty    = "application/vnd.oci.empty.v1+json"
	typeBill     = "application/spdx+json"
)

// The documents of the OCI image specification, as far as they are written here.
type (
	descriptor struct {
		MediaType    string            `json:"mediaType"`
		ArtifactType string            `json:"artifactType,omitempty"`
		Digest       string            `json:"digest"`
		Size         int64             `json:"size"`
		Platform     *platformOf       `json:"platform,omitempty"`
		Annotations  map[string]string `json:"annotations,omitempty"`
	}
	platformOf struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	}
	index struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Manifests     []descriptor      `json:"manifests"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}
	manifest struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType,omitempty"`
		Config        descriptor        `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Subject       *descriptor       `json:"subject,omitempty"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}
	config struct {
		Created      time.Time `json:"created"`
		Architecture string    `json:"architecture"`
		OS           string    `json:"os"`
		Config       execution `json:"config"`
		RootFS       rootFS    `json:"rootfs"`
		History      []history `json:"history"`
	}
	execution struct {
		User         string              `json:"User"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts"`
		Env          []string            `json:"Env"`
		Entrypoint   []string            `json:"Entrypoint"`
		Cmd          []string            `json:"Cmd"`
		WorkingDir   string              `json:"WorkingDir"`
		Labels       map[string]string   `json:"Labels"`
	}
	rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	history struct {
		Created   time.Time `json:"created"`
		CreatedBy string    `json:"created_by"`
	}
)

// layout is an image in memory.
type layout struct {
	version   string
	blobs     map[string][]byte // by digest
	index     descriptor        // of the image
	platforms []platform
}

// platform is the image for one platform.
type platform struct {
	architecture string
	manifest     descriptor
	size         int64  // of all that is fetched to run it, in bytes
	bill         []byte // of materials
	referrer     descriptor
}

// add keeps a blob.
func (l *layout) add(mediaType string, data []byte) descriptor {
	digest := digestOf(data)
	l.blobs[digest] = data
	return descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(data))}
}

func (l *layout) addJSON(mediaType string, v any) descriptor { return l.add(mediaType, marshal(v)) }

// entries is the layout's index.json: the image by its tag, and the bills of materials, which have none.
func (l *layout) entries() []byte {
	image := l.index
	image.Annotations = map[string]string{"org.opencontainers.image.ref.name": l.version}
	all := index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{image}}
	for _, p := range l.platforms {
		all.Manifests = append(all.Manifests, p.referrer)
	}
	return marshal(all)
}

// difference names what differs between two layouts; empty if nothing does.
func (l *layout) difference(other *layout) string {
	for i, p := range l.platforms {
		if i >= len(other.platforms) || p.manifest.Digest != other.platforms[i].manifest.Digest {
			return "the image for linux/" + p.architecture
		}
		if p.referrer.Digest != other.platforms[i].referrer.Digest {
			return "the bill of materials for linux/" + p.architecture
		}
	}
	if string(l.entries()) != string(other.entries()) {
		return "the index"
	}
	return ""
}

func billName(architecture string) string { return "sluice-linux-" + architecture + ".spdx.json" }

// besides is where the bill of materials of a platform is written, beside the layout in dir.
func (l *layout) besides(dir string, p platform) string {
	return filepath.Join(filepath.Dir(dir), billName(p.architecture))
}

// write writes the layout to dir, and the bills of materials beside it. A layout that is there already is replaced once
// the new one is complete; anything else is not.
func (l *layout) write(dir string) error {
	before, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(before) > 0 && !slices.ContainsFunc(before, func(e os.DirEntry) bool { return e.Name() == "oci-layout" }) {
		return fmt.Errorf("%s holds something that is no image layout: give --out another directory, or empty that one", dir)
	}
	parent, name := filepath.Split(filepath.Clean(dir))
	if err := os.MkdirAll(filepath.Clean(parent), 0o777); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Clean(parent), "."+name+".")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	fresh := filepath.Join(temp, name)
	blobs := filepath.Join(fresh, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o777); err != nil {
		return err
	}
	for _, digest := range slices.Sorted(maps.Keys(l.blobs)) {
		if err := os.WriteFile(filepath.Join(blobs, strings.TrimPrefix(digest, "sha256:")), l.blobs[digest], 0o666); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(fresh, "index.json"), l.entries(), 0o666); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(fresh, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`+"\n"), 0o666); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	for _, p := range l.platforms {
		if err := os.WriteFile(l.besides(dir, p), p.bill, 0o666); err != nil {
			return err
		}
	}
	return nil
}
