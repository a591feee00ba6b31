package trustroot

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/resolver/signature/signaturetest"
)

func newMirror(t *testing.T, root []byte) *signaturetest.Mirror {
	t.Helper()
	m, err := signaturetest.NewMirror(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func publish(t *testing.T, m *signaturetest.Mirror, root []byte, expires time.Time) {
	t.Helper()
	if err := m.Publish(root, expires); err != nil {
		t.Fatal(err)
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
	publish(t, m, again(root), time.Now().Add(time.Hour))
	if n := once(t, u); n != 1 || !bytes.Equal(u.Root(m.URL, m.Initial), again(root)) {
		t.Errorf("the new root was not taken up (%d changes)", n)
	}

	m.SetDown(true)
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
	f := func(name string, change func(t *testing.T, m *signaturetest.Mirror)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMirror(t, root)
			change(t, m)
			u := NewUpdater(UpdaterOptions{})
			u.Root(m.URL, m.Initial)
			if n := once(t, u); n != 0 || u.Root(m.URL, m.Initial) != nil || u.Status()[0].Failure == nil {
				t.Errorf("accepted: %+v", u.Status())
			}
		})
	}
	f("expired", func(t *testing.T, m *signaturetest.Mirror) { publish(t, m, root, time.Now().Add(-time.Hour)) })
	f("no trusted root", func(t *testing.T, m *signaturetest.Mirror) {
		publish(t, m, []byte(`{"a": 1}`), time.Now().Add(time.Hour))
	})
	f("another key", func(t *testing.T, m *signaturetest.Mirror) { m.Initial = newMirror(t, root).Initial })
	f("no initial root", func(t *testing.T, m *signaturetest.Mirror) { m.Initial = nil })
	f("a redirect elsewhere", func(t *testing.T, m *signaturetest.Mirror) { m.Redirect(newMirror(t, root).URL) })
	f("content other than signed", func(t *testing.T, m *signaturetest.Mirror) {
		files := m.Files()
		for name := range files {
			if filepath.Dir(name) == "/targets" {
				files[name] = again(root)
			}
		}
		m.SetFiles(files)
	})
}

// TestUpdaterDir is what a restart finds, and that the mirror cannot go back.
func TestUpdaterDir(t *testing.T) {
	t.Parallel()
	root := publicGood(t)
	m := newMirror(t, root)
	old := m.Files()
	publish(t, m, again(root), time.Now().Add(time.Hour))
	dir := filepath.Join(t.TempDir(), "roots")
	u := NewUpdater(UpdaterOptions{Dir: dir})
	u.Root(m.URL, m.Initial)
	if once(t, u) != 1 {
		t.Fatal(u.Status())
	}

	m.SetFiles(old)
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
