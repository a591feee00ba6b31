package signaturetest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Mirror is a TUF repository on loopback that publishes a trusted root, with consistent snapshots, as sigstore's do. Its
// methods may be called concurrently.
type Mirror struct {
	URL     string
	Initial []byte // the root metadata that a client begins with

	server *httptest.Server
	key    ed25519.PrivateKey

	mu       sync.Mutex
	version  int64
	files    map[string][]byte // by path
	down     bool
	redirect string
}

// NewMirror starts a mirror with a trusted root. Close it.
func NewMirror(trustedRoot []byte) (*Mirror, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := metadata.KeyFromPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	m := &Mirror{key: key, files: map[string][]byte{}}
	root := metadata.Root(time.Now().Add(24 * time.Hour))
	for _, role := range []string{"root", "targets", "snapshot", "timestamp"} {
		if err := root.Signed.AddKey(public, role); err != nil {
			return nil, err
		}
	}
	if m.Initial, err = signMetadata(m.key, root); err != nil {
		return nil, err
	}
	m.files["/1.root.json"] = m.Initial
	if err := m.Publish(trustedRoot, time.Now().Add(time.Hour)); err != nil {
		return nil, err
	}
	m.server = httptest.NewServer(http.HandlerFunc(m.serve))
	m.URL = m.server.URL
	return m, nil
}

// Close stops it.
func (m *Mirror) Close() { m.server.Close() }

// Publish makes a trusted root the newest, with metadata that expires.
func (m *Mirror) Publish(trustedRoot []byte, expires time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	const name = "trusted_root.json"
	file, err := metadata.TargetFile().FromBytes(name, trustedRoot, "sha256")
	if err != nil {
		return err
	}
	m.version++
	version := strconv.FormatInt(m.version, 10)
	targets := metadata.Targets(expires)
	targets.Signed.Version, targets.Signed.Targets[name] = m.version, file
	snapshot := metadata.Snapshot(expires)
	snapshot.Signed.Version, snapshot.Signed.Meta["targets.json"] = m.version, metadata.MetaFile(m.version)
	timestamp := metadata.Timestamp(expires)
	timestamp.Signed.Version, timestamp.Signed.Meta["snapshot.json"] = m.version, metadata.MetaFile(m.version)

	signedTargets, err := signMetadata(m.key, targets)
	if err != nil {
		return err
	}
	signedSnapshot, err := signMetadata(m.key, snapshot)
	if err != nil {
		return err
	}
	signedTimestamp, err := signMetadata(m.key, timestamp)
	if err != nil {
		return err
	}
	m.files["/"+version+".targets.json"] = signedTargets
	m.files["/"+version+".snapshot.json"] = signedSnapshot
	m.files["/timestamp.json"] = signedTimestamp
	m.files["/targets/"+file.Hashes["sha256"].String()+"."+name] = trustedRoot
	return nil
}

func signMetadata[T metadata.Roles](key ed25519.PrivateKey, meta *metadata.Metadata[T]) ([]byte, error) {
	signer, err := signature.LoadSigner(key, crypto.Hash(0))
	if err != nil {
		return nil, err
	}
	if _, err := meta.Sign(signer); err != nil {
		return nil, err
	}
	return meta.ToBytes(false)
}

// Files returns a copy of what is published, by path.
func (m *Mirror) Files() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.files)
}

// SetFiles publishes files in place of all that is there.
func (m *Mirror) SetFiles(files map[string][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files = maps.Clone(files)
}

// SetDown has every request answered with 503, or no longer.
func (m *Mirror) SetDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

// Redirect sends every request to another host.
func (m *Mirror) Redirect(base string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.redirect = base
}

func (m *Mirror) serve(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	raw, ok := m.files[r.URL.Path]
	switch {
	case m.down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case m.redirect != "":
		http.Redirect(w, r, m.redirect+r.URL.Path, http.StatusFound)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = w.Write(raw)
	}
}
