package pki_test

import (
	"os"
	"path/filepath"
	"testing"

	"sluice/deploy/pki"
)

func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, elsewhere := filepath.Join(dir, "a.key"), filepath.Join(t.TempDir(), "target")
	check := func(content string, mode os.FileMode) {
		t.Helper()
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("%q, %v, want %q", got, err, content)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode() != mode {
			t.Errorf("mode %v, %v, want %v", info.Mode(), err, mode)
		}
		if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
			t.Errorf("left behind: %v, %v", all, err)
		}
	}
	write := func(content string, mode os.FileMode) {
		t.Helper()
		if err := pki.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		check(content, mode)
	}
	write("one", pki.KeyMode)
	write("two", pki.CertMode)
	write("three", pki.KeyMode) // a mode that was wider does not stay

	if err := os.WriteFile(elsewhere, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, path); err != nil {
		t.Fatal(err)
	}
	write("four", pki.KeyMode)
	if got, err := os.ReadFile(elsewhere); err != nil || string(got) != "theirs" {
		t.Errorf("a link was followed: %q, %v", got, err)
	}

	if err := pki.WriteFile(filepath.Join(dir, "none", "a"), nil, pki.KeyMode); err == nil {
		t.Error("written into a directory that does not exist")
	}
	full := filepath.Join(t.TempDir(), "full")
	if err := os.MkdirAll(filepath.Join(full, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := pki.WriteFile(full, nil, pki.KeyMode); err == nil {
		t.Error("a directory was replaced")
	}
	if all, err := os.ReadDir(filepath.Dir(full)); err != nil || len(all) != 1 {
		t.Errorf("left behind: %v, %v", all, err)
	}
	check("four", pki.KeyMode)
}

func TestWriteFileHere(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := pki.WriteFile("plain", []byte("x"), pki.CertMode); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile("plain"); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
}
