package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// The modes of files: a key is its owner's alone, a certificate is for everyone.
const (
	KeyMode  fs.FileMode = 0o600
	CertMode fs.FileMode = 0o644
)

// WriteFile writes data to path so that at any moment, a power cut included, there is the old file or the new one in
// full: it writes another file beside it, syncs it, and renames it. The mode is exactly mode, whatever the umask. A
// symbolic link at path is replaced, not followed. The file exists for nobody but its owner until it is complete.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	p, err := prepare(path, data, mode, false)
	if err == nil {
		err = p.commit()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// WritePair puts a key and its certificate in place of those that are there. Both are written in full, as by [WriteFile],
// before the first takes its place, and belong to whoever the ones before belonged to, which takes root if that is
// somebody else. Pairs that are written at once follow each other.
//
// Two files can't change at one moment: for a few microseconds the new key stands beside the old certificate. Whoever reads both
// must compare them, as [crypto/tls.X509KeyPair] does, and keep what it has until they match.
func WritePair(certPath, keyPath string, p Pair) error {
	wrong := func(err error) error { return fmt.Errorf("write %s and %s: %w", certPath, keyPath, err) }
	unlock, err := lockDir(filepath.Dir(keyPath))
	if err != nil {
		return wrong(err)
	}
	defer unlock()
	key, err := prepare(keyPath, p.Key, KeyMode, true)
	if err != nil {
		return wrong(err)
	}
	cert, err := prepare(certPath, p.Cert, CertMode, true)
	if err != nil {
		_ = os.Remove(key.written)
		return wrong(err)
	}
	if err := key.commit(); err != nil {
		_ = os.Remove(cert.written)
		return wrong(err)
	}
	if err := cert.commit(); err != nil {
		return wrong(err)
	}
	return nil
}

// prepared is a file that is complete and durable, beside the one whose place it is to take.
type prepared struct{ written, path string }

// prepare writes a file beside path. With keepOwner it belongs to whom the file at path belongs to, if there is one.
func prepare(path string, data []byte, mode fs.FileMode, keepOwner bool) (_ prepared, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // of mode 0600
	if err != nil {
		return prepared{}, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return prepared{}, err
	}
	if keepOwner {
		if err = giveTo(f, path); err != nil {
			return prepared{}, err
		}
	}
	if err = f.Chmod(mode); err != nil {
		return prepared{}, err
	}
	if err = f.Sync(); err != nil {
		return prepared{}, err
	}
	return prepared{f.Name(), path}, f.Close()
}

// commit puts the file in its place, for good.
func (p prepared) commit() error {
	if err := os.Rename(p.written, p.path); err != nil {
		_ = os.Remove(p.written)
		return err
	}
	return syncDir(filepath.Dir(p.path))
}

// giveTo makes f belong to whom the plain file at path belongs to.
func giveTo(f *os.File, path string) error {
	before, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case before.IsDir(): // found out before the other of a pair has its place
		return &fs.PathError{Op: "replace", Path: path, Err: syscall.EISDIR}
	case !before.Mode().IsRegular():
		return nil
	}
	now, err := f.Stat()
	if err != nil {
		return err
	}
	was, ok := before.Sys().(*syscall.Stat_t)
	is, alsoOK := now.Sys().(*syscall.Stat_t)
	if !ok || !alsoOK || was.Uid == is.Uid && was.Gid == is.Gid {
		return nil
	}
	if err := f.Chown(int(was.Uid), int(was.Gid)); err != nil {
		return fmt.Errorf("%s belongs to user %d and group %d, and so must what takes its place: %w", path, was.Uid, was.Gid, err)
	}
	return nil
}

// lockDir waits until nobody else has the directory locked, as far as its file system knows locks.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return func() { _ = d.Close() }, nil //nolint:nilerr // without locks there is only the caller's care
		}
	}
}

// syncDir makes a rename last. File systems that cannot sync a directory say EINVAL or that it is not supported, and
// need nothing of the kind.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
