package trustroot

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// mirror is a TUF repository on loopback, with consistent snapshots, as sigstore's are.
type mirror struct {
	URL     string
	Initial []byte // the root metadata to begin with

	t       *testing.T
	key     ed25519.PrivateKey
	version int64

	mu    sync.Mutex
	files map[string][]byte
	down  bool
	asked int
	toBad string // redirect everything there
}

func newMirror(t *testing.T, root []byte) *mirror {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &mirror{t: t, key: key, files: map[string][]byte{}}
	public, err := metadata.KeyFromPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	r := metadata.Root(time.Now().Add(24 * time.Hour))
	for _, role := range []string{"root", "targets", "snapshot", "timestamp"} {
		if err := r.Signed.AddKey(public, role); err != nil {
			t.Fatal(err)
		}
	}
	m.Initial = signed(m, r)
	m.files["/1.root.json"] = m.Initial
	m.publish(root, time.Now().Add(time.Hour))
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	m.URL = s.URL
	return m
}

// publish makes root the mirror's newest.
func (m *mirror) publish(root []byte, expires time.Time) {
	m.t.Helper()
	m.version++
	file, err := metadata.TargetFile().FromBytes(targetName, root, "sha256")
	if err != nil {
		m.t.Fatal(err)
	}
	targets := metadata.Targets(expires)
	targets.Signed.Version = m.version
	targets.Signed.Targets[targetName] = file
	snapshot := metadata.Snapshot(expires)
	snapshot.Signed.Version = m.version
	snapshot.Signed.Meta["targets.json"] = metadata.MetaFile(m.version)
	timestamp := metadata.Timestamp(expires)
	timestamp.Signed.Version = m.version
	timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(m.version)
	v := strconv.FormatInt(m.version, 10)

	m.mu.Lock()
	defer m.mu.Unlock()
	m.files["/"+v+".targets.json"] = signed(m, targets)
	m.files["/"+v+".snapshot.json"] = signed(m, snapshot)
	m.files["/timestamp.json"] = signed(m, timestamp)
	m.files["/targets/"+file.Hashes["sha256"].String()+"."+targetName] = root
}

func signed[T metadata.Roles](m *mirror, meta *metadata.Metadata[T]) []byte {
	m.t.Helper()
	signer, err := signature.LoadSigner(m.key, crypto.Hash(0))
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := meta.Sign(signer); err != nil {
		m.t.Fatal(err)
	}
	raw, err := meta.ToBytes(false)
	if err != nil {
		m.t.Fatal(err)
	}
	return raw
}

func (m *mirror) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	raw, ok := m.files[r.URL.Path]
	switch {
	case m.down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case m.toBad != "":
		http.Redirect(w, r, m.toBad+r.URL.Path, http.StatusFound)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = w.Write(raw)
	}
}

func publicGood(t *testing.T) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/public_good.json")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// again is the same root in other bytes.
func again(raw []byte) []byte { return append(bytes.Clone(raw), '\n') }

// once runs u until it has tried every source that is due.
func once(t *testing.T, u *Updater) (changed int) {
	t.Helper()
	for _, s := range u.due(time.Now().Add(100 * time.Hour)) {
		if u.refresh(t.Context(), s) {
			changed++
		}
	}
	return changed
}

func TestUpdater(t *testing.T) {
	t.Parallel()
	root := publicGood(t)
	m := newMirror(t, root)
	u := NewUpdater(UpdaterOptions{})
	if got := u.Root(m.URL, m.Initial); got != nil {
		t.Fatalf("a root of %d bytes before anything was fetched", len(got))
	}
	if n := once(t, u); n != 1 {
		t.Fatalf("changed %d times: %v", n, u.Status())
	}
	if !bytes.Equal(u.Root(m.URL+"/", m.Initial), root) {
		t.Error("not the mirror's root")
	}
	if n := once(t, u); n != 0 {
		t.Error("the same root counts as another")
	}
	m.publish(again(root), time.Now().Add(time.Hour))
	if n := once(t, u); n != 1 || !bytes.Equal(u.Root(m.URL, m.Initial), again(root)) {
		t.Errorf("the new root was not taken up (%d changes)", n)
	}

	m.set(func() { m.down = true })
	if n := once(t, u); n != 0 || !bytes.Equal(u.Root(m.URL, m.Initial), again(root)) {
		t.Error("what had been fetched is lost with the mirror")
	}
	s := u.Status()
	if len(s) != 1 || s[0].Failure == nil || s[0].Mirror != m.URL || s[0].Stale(time.Now()) {
		t.Errorf("status %+v", s)
	}
	if !s[0].Stale(time.Now().Add(StaleAfter + time.Minute)) {
		t.Error("it never gets stale")
	}
}

func TestUpdaterRefuses(t *testing.T) {
	t.Parallel()
	root := publicGood(t)
	f := func(name string, change func(m *mirror)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMirror(t, root)
			change(m)
			u := NewUpdater(UpdaterOptions{})
			u.Root(m.URL, m.Initial)
			if n := once(t, u); n != 0 || u.Root(m.URL, m.Initial) != nil || u.Status()[0].Failure == nil {
				t.Errorf("accepted: %+v", u.Status())
			}
		})
	}
	f("expired", func(m *mirror) { m.publish(root, time.Now().Add(-time.Hour)) })
	f("no trusted root", func(m *mirror) { m.publish([]byte(`{"a": 1}`), time.Now().Add(time.Hour)) })
	f("another key", func(m *mirror) { m.Initial = newMirror(t, root).Initial })
	f("no initial root", func(m *mirror) { m.Initial = nil })
	f("a redirect elsewhere", func(m *mirror) { m.toBad = newMirror(t, root).URL })
	f("content other than signed", func(m *mirror) {
		for name := range m.files {
			if filepath.Dir(name) == "/targets" {
				m.files[name] = again(root)
			}
		}
	})
}

// TestUpdaterDir is what a restart finds, and that the mirror cannot go back.
func TestUpdaterDir(t *testing.T) {
	t.Parallel()
	root := publicGood(t)
	m := newMirror(t, root)
	old := map[string][]byte{}
	for name, raw := range m.files {
		old[name] = raw
	}
	m.publish(again(root), time.Now().Add(time.Hour))
	dir := filepath.Join(t.TempDir(), "roots")
	u := NewUpdater(UpdaterOptions{Dir: dir})
	u.Root(m.URL, m.Initial)
	if once(t, u) != 1 {
		t.Fatal(u.Status())
	}

	m.set(func() { m.files = old })
	u = NewUpdater(UpdaterOptions{Dir: dir})
	if !bytes.Equal(u.Root(m.URL, m.Initial), again(root)) {
		t.Error("a restart begins without the root")
	}
	if n := once(t, u); n != 0 || u.Status()[0].Failure == nil || !bytes.Equal(u.Root(m.URL, m.Initial), again(root)) {
		t.Errorf("the mirror went back to an earlier root: %+v", u.Status())
	}
	if got := NewUpdater(UpdaterOptions{Dir: dir}).Root("https://other.example", m.Initial); got != nil {
		t.Error("one mirror has another's root")
	}
}

// TestUpdaterRun asks for a root while it runs, and ends it.
func TestUpdaterRun(t *testing.T) {
	t.Parallel()
	m := newMirror(t, publicGood(t))
	u := NewUpdater(UpdaterOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	changed, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		u.Run(ctx, func() { changed <- struct{}{} })
	}()
	u.Root(m.URL, m.Initial)
	<-changed
	if u.Root(m.URL, m.Initial) == nil {
		t.Error("changed, but nothing is there")
	}
	cancel()
	<-done
}
