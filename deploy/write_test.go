package deploy_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/deploy"
)

// TestMain has files and directories made with the modes that they are asked for, whoever runs the tests.
func TestMain(m *testing.M) {
	syscall.Umask(0o022)
	os.Exit(m.Run())
}

// tree reads everything under dir: path to mode and content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[filepath.ToSlash(rel)] = info.Mode().String()
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		all[filepath.ToSlash(rel)] += " " + string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func put(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b c")
	b := render(t, deploy.Options{Server: "https://a"})
	if err := b.Write(dir, false); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for path, what := range tree(t, dir) {
		got[path], _, _ = strings.Cut(what, " ")
	}
	const folder, key, other = "drwxr-xr-x", "-rw-------", "-rw-r--r--"
	want := map[string]string{
		"sluice.yaml": other, "kubeconfig.yaml": other, "admission.yaml": other, "admission.json": other,
		"static-pod.yaml": other, "kubeadm-patch.yaml": other, "webhooks.yaml": other, "sluice.service": other, "rollback.sh": "-rwxr-xr-x",
		"policies": folder, "policies/00-control-plane.yaml": other, "policies/10-no-latest.yaml": other,
		"examples": folder, "examples/signed-by-key.yaml": other,
		"pki": folder, "pki/ca.crt": other, "pki/ca.key": key, "pki/server.crt": other, "pki/server.key": key,
		"pki/client.crt": other, "pki/client.key": key,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoOverwrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, "pki/ca.key", "theirs")
	put(t, dir, "policies/10-no-latest.yaml", "theirs too")
	put(t, dir, "policies/20-own.yaml", "own")
	if err := os.Symlink("nowhere", filepath.Join(dir, "sluice.yaml")); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	b := render(t, deploy.Options{Server: "https://a"})

	err := b.Write(dir, false)
	var e *deploy.ExistsError
	if !errors.As(err, &e) || !errors.Is(err, fs.ErrExist) {
		t.Fatalf("error %v", err)
	}
	if diff := cmp.Diff([]string{"policies/10-no-latest.yaml", "sluice.yaml", "pki/ca.key"}, e.Files); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(e.Error(), "pki/ca.key") || !strings.Contains(e.Hint(), "force") {
		t.Errorf("%v; %s", e, e.Hint())
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("something was written: %s", diff)
	}

	// What is no plain file is not overwritten even by force.
	if err := b.Write(dir, true); err == nil || !strings.Contains(err.Error(), "not a plain file") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("something was written: %s", diff)
	}

	if err := os.Remove(filepath.Join(dir, "sluice.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := b.Write(dir, true); err != nil {
		t.Fatal(err)
	}
	after := tree(t, dir)
	for _, f := range b.Files {
		if want := f.Mode.String() + " " + string(f.Data); after[f.Path] != want {
			t.Errorf("%s: %q, want %q", f.Path, after[f.Path], want)
		}
	}
	if after["policies/20-own.yaml"] != before["policies/20-own.yaml"] {
		t.Errorf("a file that is not the bundle's changed: %q", after["policies/20-own.yaml"])
	}
}

// TestTakenBack has the last file fail, and finds everything as it was.
func TestTakenBack(t *testing.T) {
	t.Parallel()
	f := func(force bool, existing ...string) {
		t.Helper()
		dir := t.TempDir()
		for _, name := range existing {
			put(t, dir, name, "theirs")
		}
		before := tree(t, dir)
		b := render(t, deploy.Options{Server: "https://a"})
		b.Files = append(b.Files, deploy.File{Path: "sluice.yaml/x", Mode: 0o644}) // below what is a file by then
		if err := b.Write(dir, force); err == nil {
			t.Fatal("no error")
		}
		if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
			t.Errorf("force %t: not as it was: %s", force, diff)
		}
	}
	f(false)
	f(false, "policies/20-own.yaml")
	f(true, "pki/ca.key", "policies/10-no-latest.yaml")
}

func TestInTheWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, "file", "theirs")
	b := render(t, deploy.Options{Server: "https://a"})
	for _, target := range []string{"file", "file/below"} {
		if err := b.Write(filepath.Join(dir, target), true); err == nil {
			t.Errorf("%s: no error", target)
		}
	}
	if diff := cmp.Diff(map[string]string{"file": "-rw-r----- theirs"}, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// TestShell has a shell read the words of the instructions.
func TestShell(t *testing.T) {
	t.Parallel()
	f := func(dir, want string) {
		t.Helper()
		text := text(t, render(t, deploy.Options{Server: "https://a"}), dir)
		_, rest, ok := strings.Cut(text, "sluice serve --config ")
		if !ok {
			t.Fatal(text)
		}
		word, _, _ := strings.Cut(rest, "\n")
		out, err := exec.Command("sh", "-c", "printf %s "+word).Output()
		if err != nil || string(out) != want {
			t.Errorf("%q: %q, %v, want %q", dir, out, err, want)
		}
	}
	f("sluice", "sluice/sluice.yaml")
	f("", "./sluice.yaml")
	f("/", "/sluice.yaml")
	f("a/", "a/sluice.yaml")
	f("-x", "./-x/sluice.yaml")
	f("~/x", "~/x/sluice.yaml")
	f(`a 'b' "c" $(id) \ *`, `a 'b' "c" $(id) \ */sluice.yaml`)
}
