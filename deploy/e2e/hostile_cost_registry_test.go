package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	manifestType  = "application/vnd.oci.image.manifest.v1+json"
	indexType     = "application/vnd.oci.image.index.v1+json"
	bundleType    = "application/vnd.dev.sigstore.bundle.v0.3+json"
	envelopeType  = "application/vnd.dsse.envelope.v1+json"
	chainKey      = "dev.sigstore.cosign/chain"
	timestampKey  = "dev.sigstore.cosign/rfc3161timestamp"
	mostManifest  = 4 << 20   // of one that is read
	mostReferrer  = 512 << 10 // of one that is a referrer
	mostPayload   = 1 << 20
	mostStatement = 4 << 20
	mostOfAPlace  = 6 << 20 // of all content that is read
)

// object is one of JSON. Bytes in it become base64, as those of protocol buffers do.
type object = map[string]any

// bait is a registry in memory, which serves what no real one would take.
type bait struct {
	host string

	mu      sync.Mutex
	shelves map[string]*shelf
}

func newBait(t testing.TB) *bait {
	t.Helper()
	b := &bait{shelves: map[string]*shelf{}}
	server := httptest.NewServer(b)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	b.host = strings.TrimPrefix(server.URL, "http://")
	return b
}

func (b *bait) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	for _, kind := range []string{"/manifests/", "/blobs/", "/referrers/"} {
		repository, name, ok := strings.Cut(path, kind)
		if !ok {
			continue
		}
		b.mu.Lock()
		s := b.shelves[repository]
		b.mu.Unlock()
		if s != nil {
			s.serve(w, r, kind, name)
			return
		}
	}
	http.NotFound(w, r)
}

// shelf is one repository, filled before it is asked for.
type shelf struct {
	image     image
	manifests map[string]stored // by tag and by digest
	blobs     map[string]stored // by digest
	referrers []object          // descriptors; the referrers API is there if it is not nil

	// instead answers requests itself, those for which it returns true.
	instead func(w http.ResponseWriter, r *http.Request) bool
}

// stored is content, or how it is made anew for each request.
type stored struct {
	mediaType string
	content   []byte
	make      func() []byte
}

func (s stored) bytes() []byte {
	if s.make != nil {
		return s.make()
	}
	return s.content
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// theImage is the manifest that is everywhere, so that one signature will do for all repositories.
var theImage = []byte(`{"schemaVersion":2,"mediaType":"` + manifestType + `","config":{"mediaType":` +
	`"application/vnd.oci.image.config.v1+json","digest":"sha256:` + strings.Repeat("0", 64) + `","size":1},"layers":[]}`)

// shelf makes a repository that has the image under tag 1.
func (b *bait) shelf(t testing.TB, repository string) *shelf {
	t.Helper()
	s := &shelf{manifests: map[string]stored{}, blobs: map[string]stored{}}
	s.image.repository = b.host + "/" + repository
	s.image.digest.Algorithm, s.image.digest.Hex, _ = strings.Cut(digestOf(theImage), ":")
	s.manifest("1", theImage)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shelves[repository] = s
	return s
}

// empty lets go of what a repository has.
func (b *bait) empty(repository string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.shelves, repository)
}

func (s *shelf) serve(w http.ResponseWriter, r *http.Request, kind, name string) {
	if s.instead != nil && s.instead(w, r) {
		return
	}
	of := s.manifests
	switch kind {
	case "/blobs/":
		of = s.blobs
	case "/referrers/":
		if s.referrers == nil {
			http.NotFound(w, r)
			return
		}
		of = map[string]stored{name: {mediaType: indexType, content: indexOf(s.referrers...)}}
	}
	it, ok := of[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	content := it.bytes()
	w.Header().Set("Content-Type", it.mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content)
}

// manifest puts a manifest under a tag, if that is not empty, and under its digest.
func (s *shelf) manifest(tag string, content []byte) (descriptor object) {
	it := stored{mediaType: manifestType, content: content}
	d := object{"mediaType": manifestType, "digest": digestOf(content), "size": len(content)}
	s.manifests[d["digest"].(string)] = it
	if tag != "" {
		s.manifests[tag] = it
	}
	return d
}

// blob puts content there, and returns what a manifest says of it.
func (s *shelf) blob(mediaType string, content []byte, annotations object) (descriptor object) {
	d := object{"mediaType": mediaType, "digest": digestOf(content), "size": len(content)}
	if annotations != nil {
		d["annotations"] = annotations
	}
	s.blobs[d["digest"].(string)] = stored{mediaType: "application/octet-stream", content: content}
	return d
}

// made is blob for content that is made for each request, so that the test does not hold it.
func (s *shelf) made(mediaType string, content func() []byte) (descriptor object) {
	once := content()
	d := object{"mediaType": mediaType, "digest": digestOf(once), "size": len(once)}
	s.blobs[d["digest"].(string)] = stored{mediaType: "application/octet-stream", make: content}
	return d
}

// signatures puts layers under the tag of signatures, and attestations under that of attestations.
func (s *shelf) signatures(layers ...object) {
	s.manifest("sha256-"+s.image.digest.Hex+".sig", manifestOf(layers))
}

func (s *shelf) attestations(layers ...object) {
	s.manifest("sha256-"+s.image.digest.Hex+".att", manifestOf(layers))
}

// refer lists a manifest of layers as one whose subject is the image.
func (s *shelf) refer(layers ...object) (descriptor object) {
	d := s.manifest("", s.referrer(layers...))
	d["artifactType"] = bundleType
	s.referrers = append(s.referrers, d)
	return d
}

func (s *shelf) referrer(layers ...object) []byte {
	return encoded(object{
		"schemaVersion": 2, "mediaType": manifestType, "artifactType": bundleType, "layers": layers,
		"subject": object{"mediaType": manifestType, "digest": s.image.digest.String(), "size": len(theImage)},
	})
}

func manifestOf(layers []object) []byte {
	return encoded(object{"schemaVersion": 2, "mediaType": manifestType, "layers": layers})
}

func indexOf(manifests ...object) []byte {
	return encoded(object{"schemaVersion": 2, "mediaType": indexType, "manifests": manifests})
}

// encoded is JSON without escapes for HTML, so that it is as long as it looks.
func encoded(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("e2e: %v", err)) // a test's own mistake
	}
	return bytes.TrimSpace(b.Bytes())
}

// padded makes JSON so many bytes long, by blanks before its last bracket.
func padded(content []byte, size int) []byte {
	last := len(content) - 1
	return append(append(bytes.Clone(content[:last]), bytes.Repeat([]byte(" "), max(0, size-len(content)))...), content[last])
}

// repeat is the same thing n times.
func repeat[T any](n int, v T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = v
	}
	return all
}
