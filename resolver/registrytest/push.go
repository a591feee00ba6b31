package registrytest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
)

// PushImage puts a new small random image under repository:tag (latest if there is none) and returns its digest.
func (r *Registry) PushImage(repoTag string) (digest string, err error) {
	img, err := random.Image(64, 1)
	if err != nil {
		return "", err
	}
	repository, tag := splitTag(repoTag)
	return r.putImage(repository, tag, img)
}

// PushIndex puts a new index of so many small random images under repository:tag and returns its digest.
func (r *Registry) PushIndex(repoTag string, images int64) (digest string, err error) {
	repository, tag := splitTag(repoTag)
	index, err := random.Index(64, 1, images)
	if err != nil {
		return "", err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return "", err
	}
	for _, d := range manifest.Manifests {
		img, err := index.Image(d.Digest)
		if err != nil {
			return "", err
		}
		if _, err := r.putImage(repository, d.Digest.String(), img); err != nil {
			return "", err
		}
	}
	raw, err := index.RawManifest()
	if err != nil {
		return "", err
	}
	return r.PutRaw(repository, tag, string(manifest.MediaType), raw)
}

// Retag makes a tag point at a digest, or at what another tag points at.
func (r *Registry) Retag(repository, tag, digestOrTag string) error {
	raw, mediaType, err := r.manifest(repository, digestOrTag)
	if err != nil {
		return err
	}
	_, err = r.PutRaw(repository, tag, mediaType, raw)
	return err
}

// Delete removes a tag or a digest. Content that another name refers to stays.
func (r *Registry) Delete(repository, digestOrTag string) error {
	return r.do(http.MethodDelete, manifestPath(repository, digestOrTag), "", nil).err("delete")
}

// PutRaw puts any bytes as a manifest, under a tag or their own digest, and returns their digest.
func (r *Registry) PutRaw(repository, digestOrTag, mediaType string, raw []byte) (digest string, err error) {
	c := r.do(http.MethodPut, manifestPath(repository, digestOrTag), mediaType, raw)
	return c.header.Get("Docker-Content-Digest"), c.err("put manifest")
}

// PutBlob puts any bytes as a blob and returns their digest.
func (r *Registry) PutBlob(repository string, content []byte) (digest string, err error) {
	digest = digestOf(content)
	path := "/v2/" + repository + "/blobs/uploads/?digest=" + url.QueryEscape(digest)
	return digest, r.do(http.MethodPost, path, "application/octet-stream", content).err("put blob")
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (r *Registry) putImage(repository, digestOrTag string, img v1.Image) (digest string, err error) {
	layers, err := img.Layers()
	if err != nil {
		return "", err
	}
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			return "", err
		}
		content, err := io.ReadAll(rc)
		if err != nil {
			return "", err
		}
		if err := rc.Close(); err != nil {
			return "", err
		}
		if _, err := r.PutBlob(repository, content); err != nil {
			return "", err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return "", err
	}
	if _, err := r.PutBlob(repository, config); err != nil {
		return "", err
	}
	mediaType, err := img.MediaType()
	if err != nil {
		return "", err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return "", err
	}
	return r.PutRaw(repository, digestOrTag, string(mediaType), raw)
}

// Raw returns the bytes of a manifest.
func (r *Registry) Raw(repository, digestOrTag string) ([]byte, error) {
	raw, _, err := r.manifest(repository, digestOrTag)
	return raw, err
}

func (r *Registry) manifest(repository, digestOrTag string) (raw []byte, mediaType string, err error) {
	c := r.do(http.MethodGet, manifestPath(repository, digestOrTag), "", nil)
	return c.body.Bytes(), c.header.Get("Content-Type"), c.err("get manifest")
}

// do calls the content handler itself: no network, no authentication, no fault, no counter.
func (r *Registry) do(method, pathAndQuery, mediaType string, body []byte) *capture {
	c := newCapture()
	u, err := url.Parse(pathAndQuery)
	if err != nil {
		c.status = http.StatusBadRequest
		_, _ = fmt.Fprint(c, err)
		return c
	}
	req := &http.Request{
		Method: method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	r.content.ServeHTTP(c, req)
	return c
}

func manifestPath(repository, digestOrTag string) string {
	return "/v2/" + repository + "/manifests/" + digestOrTag
}

func splitTag(repoTag string) (repository, tag string) {
	if i := strings.LastIndexByte(repoTag, ':'); i > strings.LastIndexByte(repoTag, '/') {
		return repoTag[:i], repoTag[i+1:]
	}
	return repoTag, "latest"
}
