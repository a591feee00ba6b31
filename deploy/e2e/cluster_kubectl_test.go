package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// said is what became of a command, and what it said.
type said struct {
	command        string
	code           int
	stdout, stderr string
}

func (s said) String() string {
	return fmt.Sprintf("$ %s\n%s%sexit %d\n", s.command, s.stdout, s.stderr, s.code)
}

// kubectl runs the real one, as the cluster's administrator.
func (c *cluster) kubectl(t testing.TB, args ...string) said {
	t.Helper()
	return c.command(t, t.TempDir(), programs.kubectl, args...)
}

// kubectlFile runs kubectl with a manifest: kubectl … -f manifest.yaml.
func (c *cluster) kubectlFile(t testing.TB, manifest string, args ...string) said {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "manifest.yaml"), []byte(manifest), 0o644))
	return c.command(t, dir, programs.kubectl, append(args, "-f", "manifest.yaml")...)
}

// command runs a program that takes its cluster from KUBECONFIG, in a directory.
func (c *cluster) command(t testing.TB, dir, program string, args ...string) said {
	t.Helper()
	// One home for all: there it keeps what it has learnt of the API.
	env := []string{"HOME=" + c.dir, "KUBECONFIG=" + filepath.Join(c.dir, "kubeconfig")}
	code, stdout, stderr := run(t, dir, env, append([]string{program}, args...)...)
	return said{filepath.Base(program) + " " + strings.Join(args, " "), code, stdout, stderr}
}

// done checks that the command did what it was told, and says these words.
func (s said) done(t testing.TB, words ...string) said {
	t.Helper()
	if s.code != 0 {
		t.Fatalf("%s", s)
	}
	return s.says(t, words...)
}

// refused checks that the command was not done, and says these words.
func (s said) refused(t testing.TB, words ...string) said {
	t.Helper()
	if s.code == 0 {
		t.Fatalf("%s\nand should be refused", s)
	}
	return s.says(t, words...)
}

func (s said) says(t testing.TB, words ...string) said {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(s.stdout+s.stderr, w) {
			t.Errorf("%s\nand should say %q", s, w)
		}
	}
	return s
}

// What differs from run to run.
var (
	anyDigest    = regexp.MustCompile(`(sha256[:-])[0-9a-f]{12,64}`)
	anyLoopback  = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)
	ownNamespace = regexp.MustCompile(` -n test[a-z0-9-]+`)
)

// golden checks what was said, to the letter, against testdata/cluster/NAME.txt. Only digests, ports and
// the test's namespace are left out.
// SLUICE_UPDATE_CLUSTER=1 writes the files anew.
func (s said) golden(t testing.TB, name string) said {
	t.Helper()
	got := anyDigest.ReplaceAllString(s.String(), "${1}DIGEST")
	got = anyLoopback.ReplaceAllString(got, "127.0.0.1:PORT")
	got = ownNamespace.ReplaceAllString(got, "")
	file := filepath.Join("testdata", "cluster", name+".txt")
	if os.Getenv("SLUICE_UPDATE_CLUSTER") != "" {
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if got != string(want) {
		t.Errorf("kubectl shows\n%s\nand %s has\n%s", got, file, want)
	}
	return s
}
