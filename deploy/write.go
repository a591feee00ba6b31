package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sluice/deploy/pki"
)

// ExistsError says that files of the bundle are there already. Nothing was written.
type ExistsError struct {
	Dir   string
	Files []string // relative to Dir, with slashes
}

// Error names the files.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("%s holds files that would be overwritten: %s", e.Dir, strings.Join(e.Files, ", "))
}

// Hint returns what to do, for people.
func (e *ExistsError) Hint() string {
	return "choose another directory, or overwrite them by force; a CA that is overwritten is gone, and what it issued with it"
}

// Unwrap makes the error an [fs.ErrExist].
func (e *ExistsError) Unwrap() error { return fs.ErrExist }

// Write writes the bundle to dir, which is made if need be. Existing files are overwritten only if force is set;
// without it they are an [*ExistsError] and nothing is written. When writing fails half-way, what was written is taken
// back and what was overwritten is put back, as far as the file system lets it. Files of dir that are not the
// bundle's stay as they are.
func (b *Bundle) Write(dir string, force bool) (err error) {
	if err := b.checkTargets(dir, force); err != nil {
		return err
	}
	var undo undoList
	defer func() {
		if err != nil {
			err = errors.Join(err, undo.run())
		}
	}()
	for _, f := range b.Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := undo.makeDir(filepath.Dir(path)); err != nil {
			return err
		}
		if err := undo.writeFile(path, f, force); err != nil {
			return err
		}
	}
	return nil
}

// checkTargets finds what is in the way before anything is written.
func (b *Bundle) checkTargets(dir string, force bool) error {
	var existing []string
	for _, f := range b.Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case force && !info.Mode().IsRegular():
			return fmt.Errorf("%s is not a plain file, and is not overwritten", path)
		default:
			existing = append(existing, f.Path)
		}
	}
	if len(existing) > 0 && !force {
		return &ExistsError{Dir: dir, Files: existing}
	}
	return nil
}

// undoList takes back what was done, last first.
type undoList []func() error

func (u *undoList) run() error {
	var all []error
	for i := len(*u) - 1; i >= 0; i-- {
		if err := (*u)[i](); err != nil {
			all = append(all, fmt.Errorf("take back: %w", err))
		}
	}
	return errors.Join(all...)
}

// makeDir makes a directory and its parents.
func (u *undoList) makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := u.makeDir(parent); err != nil {
			return err
		}
	}
	switch err := os.Mkdir(dir, 0o755); {
	case errors.Is(err, fs.ErrExist): // by someone else just now, or no directory: then the file will say so
		return nil
	case err != nil:
		return err
	}
	*u = append(*u, func() error {
		_ = os.Remove(dir) // fails if someone else has put something there, and then it stays
		return nil
	})
	return nil
}

// writeFile writes one file. Without force it first takes the name, so that a file that appeared since the check is
// not overwritten either.
func (u *undoList) writeFile(path string, f File, force bool) error {
	if force {
		switch old, err := os.ReadFile(path); {
		case err == nil:
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			*u = append(*u, func() error { return pki.WriteFile(path, old, info.Mode().Perm()) })
			return pki.WriteFile(path, f.Data, f.Mode)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	name, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	*u = append(*u, func() error { return os.Remove(path) })
	if err := name.Close(); err != nil {
		return err
	}
	return pki.WriteFile(path, f.Data, f.Mode)
}
