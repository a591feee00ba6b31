package policy_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"sluice/engine/policy"
	"sluice/engine/policy/strictyaml"
)

// document returns a policy of a name, on line 3 of four.
func document(name string) string {
	return "apiVersion: sluice/v1\nkind: ImagePolicy\nmetadata: {name: " + name + "}\nspec: {images: [{glob: '**'}], tags: {deny: [latest]}}\n"
}

// signed returns a policy that needs a key file.
func signed(name, key string) string {
	return strings.Replace(document(name), "tags: {deny: [latest]}", "authorities: [{key: {file: "+key+"}}]", 1)
}

// tree writes files, by their names under a new directory, and returns it.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func readTestFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func load(t *testing.T, paths ...string) *policy.Set {
	t.Helper()
	set, err := policy.Load(paths, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestLoadConfigMap loads a directory as the kubelet mounts a ConfigMap: links through a hidden, dated directory.
func TestLoadConfigMap(t *testing.T) {
	t.Parallel()
	const dated = "..2026_11_22_07_31_00.123/"
	dir := tree(t, map[string]string{
		dated + "b.yaml":      document("zulu") + "---\n" + document("mike"),
		dated + "a.yml":       signed("alpha", "release.pub"),
		dated + "release.pub": readTestFile(t, "testdata/keys/p256.pub"),
		"sub/c.yaml":          "not read: a subdirectory",
		"d.yaml/e.yaml":       "not read: a subdirectory, whatever its name",
		".f.yaml":             "not read: hidden",
		"README.md":           "not read: not YAML",
	})
	for link, to := range map[string]string{"..data": strings.TrimSuffix(dated, "/"), "a.yml": "..data/a.yml", "b.yaml": "..data/b.yaml", "release.pub": "..data/release.pub"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	set := load(t, dir, filepath.Join(dir, "b.yaml"), dir+"/") // what is named twice is read once
	var names []string
	for _, p := range set.Policies {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "alpha mike zulu" {
		t.Errorf("policies %s", got)
	}
	want := []string{filepath.Join(dir, "a.yml"), filepath.Join(dir, "b.yaml"), filepath.Join(dir, "release.pub")}
	if !slices.Equal(set.Files, want) {
		t.Errorf("files %q", set.Files)
	}
}

// TestLoadHash shows what changes the hash that a reload goes by: every file, keys included, and new files.
func TestLoadHash(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"a.yaml": signed("a", "keys/k.pub"), "keys/k.pub": readTestFile(t, "testdata/keys/p256.pub")})
	first := load(t, dir)
	if first.Hash != load(t, dir).Hash {
		t.Error("the hash changes by itself")
	}
	seen := map[[32]byte]string{first.Hash: "the first"}
	change := func(what, name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		set := load(t, dir)
		if before, ok := seen[set.Hash]; ok {
			t.Errorf("after %s the hash is that of %s", what, before)
		}
		seen[set.Hash] = what
	}
	change("a comment", "a.yaml", signed("a", "keys/k.pub")+"# comment\n")
	if p := load(t, dir).Policies[0]; p.Fingerprint != first.Policies[0].Fingerprint {
		t.Error("a comment changes the fingerprint")
	}
	change("another key", "keys/k.pub", readTestFile(t, "testdata/keys/p384.pub"))
	if p := load(t, dir).Policies[0]; p.Fingerprint == first.Policies[0].Fingerprint {
		t.Error("another key does not change the fingerprint")
	}
	change("a new file", "b.yaml", document("b"))
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	f := func(files map[string]string, want ...string) {
		t.Helper()
		dir := tree(t, files)
		set, err := policy.Load([]string{dir}, policy.Options{})
		if err == nil || set != nil {
			t.Fatalf("%v: set %v, error %v", files, set, err)
		}
		for _, w := range want {
			if w = strings.ReplaceAll(w, "DIR", dir); !strings.Contains(err.Error(), w) {
				t.Errorf("%v:\n%v\nshould have %s", files, err, w)
			}
		}
	}
	f(nil, "DIR: there is no .yaml or .yml file in this directory")
	f(map[string]string{"a.txt": document("a"), ".b.yaml": document("b")}, "there is no .yaml or .yml file")
	f(map[string]string{"a.yaml": document("a"), "b.yaml": "# gone\n"}, "DIR/b.yaml: there is no policy in this file")
	f(map[string]string{"a.yaml": document("a") + "---\n" + document("b"), "c.yaml": document("c") + "---\n" + document("b")},
		`DIR/c.yaml:8:18: there is another policy named "b", at DIR/a.yaml:8`)
	f(map[string]string{"a.yaml": document("A"), "b.yaml": document("B"), "c.yaml": "x: ["}, "DIR/a.yaml:3:18: ", "DIR/b.yaml:3:18: ", "DIR/c.yaml:1:")
	f(map[string]string{"a.yaml": document("a") + strings.Repeat("#", strictyaml.MaxBytes)}, "read DIR/a.yaml: larger than 1048576 bytes")
	f(map[string]string{"a.yaml": signed("a", "keys/none.pub")}, "DIR/a.yaml:4:59: the key cannot be read: ", "DIR/keys/none.pub: no such file or directory")

	if _, err := policy.Load(nil, policy.Options{}); err == nil {
		t.Error("loaded nothing")
	}
	if _, err := policy.Load([]string{"testdata/none"}, policy.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	dir := tree(t, map[string]string{"a.yaml": document("a")})
	if err := os.Symlink("nowhere", filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load([]string{dir}, policy.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a link to nowhere: %v", err)
	}
	dir = t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "a.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load([]string{dir}, policy.Options{}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe: %v", err) // and it has not waited for a writer
	}
}

// TestLoadWhileFilesChange shows that a load never mixes files of two moments.
func TestLoadWhileFilesChange(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"a.yaml": "", "b.yaml": ""})
	var reads atomic.Int32
	opts := policy.Options{ReadFile: func(name string) ([]byte, error) {
		generation := "old"
		if reads.Add(1) > 1 { // between the first file and the second
			generation = "new"
		}
		return []byte(document(generation + "-" + strings.TrimSuffix(filepath.Base(name), ".yaml"))), nil
	}}
	set, err := policy.Load([]string{dir}, opts)
	if err != nil || len(set.Policies) != 2 || set.Policies[0].Name != "new-a" || set.Policies[1].Name != "new-b" {
		t.Errorf("%+v, %v", set, err)
	}
	opts.ReadFile = func(string) ([]byte, error) {
		n := reads.Add(1)
		if n > 1000 {
			return nil, errors.New("still trying")
		}
		return []byte(document(fmt.Sprintf("p%d", n))), nil
	}
	if _, err := policy.Load([]string{dir}, opts); err == nil || !strings.Contains(err.Error(), "faster than they can be read") {
		t.Errorf("%v", err)
	}
	// An error that lasts is the answer, and one that a change brought is not.
	reads.Store(0)
	opts.ReadFile = func(name string) ([]byte, error) {
		if reads.Add(1) == 1 {
			return nil, os.ErrNotExist
		}
		return []byte(document(strings.TrimSuffix(filepath.Base(name), ".yaml"))), nil
	}
	if _, err := policy.Load([]string{dir}, opts); err != nil {
		t.Error(err)
	}
	opts.ReadFile = func(string) ([]byte, error) { return nil, os.ErrPermission }
	if _, err := policy.Load([]string{dir}, opts); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
}
