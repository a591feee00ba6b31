package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// README.md's section about clusters, command by command in one shell, as whoever installs would type them. A comment that
// says denied or allowed is held against what kubectl then says; the one about the apiserver's flags starts one.
func TestInstallReadme(t *testing.T) {
	t.Parallel()
	blocks := fenced(t, "../../README.md", "## In a cluster")
	if len(blocks) != 2 {
		t.Fatalf("the section has %d blocks of commands, want one for the plugin and one for webhooks", len(blocks))
	}
	r := newReadme(t)
	for _, block := range blocks {
		for _, line := range block {
			r.line(t, line)
		}
	}
	if r.denied != 2 || r.allowed != 1 {
		t.Errorf("%d commands were denied and %d allowed, want 2 and 1", r.denied, r.allowed)
	}
}

// readme is somebody who follows it, in a directory with nothing in it but bin/.
type readme struct {
	shell   *shell
	dir     string
	rewrite *strings.Replacer // paths and ports that are the test's own
	admin   string            // host:port
	cluster *cluster          // once the section has told its flags

	denied, allowed int
}

func newReadme(t *testing.T) *readme {
	t.Helper()
	r := &readme{dir: t.TempDir(), admin: freePort(t)}
	mount, review := filepath.Join(t.TempDir(), "kubernetes", "sluice"), freePort(t)
	must(t, os.Mkdir(filepath.Join(r.dir, "bin"), 0o755))
	for _, program := range []string{programs.sluice, programs.bench, programs.kubectl} {
		must(t, os.Symlink(program, filepath.Join(r.dir, "bin", filepath.Base(program))))
	}
	r.rewrite = strings.NewReplacer("/etc/kubernetes/sluice", mount, "127.0.0.1:8443", review,
		"sluice init ", "sluice init --mount "+mount+" ")
	t.Logf("make build is replaced by the programs of %s; /etc/kubernetes/sluice is %s, ports 8443 and 9443 are those of %s and %s",
		tools, mount, review, r.admin)
	r.shell = startShell(t, r.dir, []string{
		"PATH=" + filepath.Join(r.dir, "bin") + ":" + os.Getenv("PATH"),
		// The port is the one thing that whoever edits has to change here.
		"EDITOR=sed -i s/127.0.0.1:9443/" + r.admin + "/",
	})
	return r
}

// line runs one of the section's lines.
func (r *readme) line(t *testing.T, line string) {
	t.Helper()
	// In sed's expressions the character stands, too; what is meant for people comes after spaces, or at the start.
	command, comment := line, ""
	if at := strings.LastIndex("  "+line, "  # "); at >= 0 {
		command, comment = line[:at], line[at+2:]
	}
	command, comment = strings.TrimSpace(r.rewrite.Replace(command)), strings.TrimSpace(comment)
	switch {
	case command == "":
		r.flags(t, comment)
		return
	case strings.HasPrefix(command, "make build"):
		return
	case strings.HasPrefix(command, "kubectl ") && r.cluster == nil:
		t.Fatalf("%s\ncomes before the apiserver's flags", command)
	}
	s := r.shell.run(t, command)
	switch word, _, _ := strings.Cut(comment, ","); word {
	case "denied":
		r.denied++
		s.refused(t, `image "nginx:latest" has the tag "latest", which policy "no-latest" denies`)
		return
	case "allowed":
		r.allowed++
	}
	s.done(t)
	switch {
	case strings.HasSuffix(command, "&"):
		r.ready(t)
	case strings.HasPrefix(command, "kubectl apply -f sluice/webhooks.yaml"):
		r.webhooks(t, true)
	case strings.HasPrefix(command, "kubectl delete -f sluice/webhooks.yaml"):
		r.webhooks(t, false)
	}
}

// flags starts a control plane with the flags of "kube-apiserver: --flag", and of the comments after it.
func (r *readme) flags(t *testing.T, comment string) {
	t.Helper()
	flags := regexp.MustCompile(`--\S+`).FindAllString(r.rewrite.Replace(comment), -1)
	if len(flags) != 2 {
		t.Fatalf("the apiserver's flags are %q, want two", flags)
	}
	r.cluster = newCluster(t, clusterSettings{flags: flags})
	r.shell.run(t, "export KUBECONFIG="+filepath.Join(r.cluster.dir, "kubeconfig")).done(t)
}

// ready waits until the service that runs in the background answers.
func (r *readme) ready(t *testing.T) {
	t.Helper()
	service := &service{admin: r.admin}
	eventually(t, func() error {
		if status, body, err := service.get("/readyz"); err != nil || status != http.StatusOK {
			return fmt.Errorf("/readyz: %d %s %v; the shell said:\n%s", status, body, err, tail(r.shell.said.String()))
		}
		return nil
	})
}

// webhooks waits until the apiserver asks them, or no longer does: it learns of either in a moment.
func (r *readme) webhooks(t *testing.T, asked bool) {
	t.Helper()
	must(t, pollFor(clusterPatience, func() error {
		err := r.cluster.dryRunDeployment(t, "nginx:latest")
		if denied := err != nil && strings.Contains(err.Error(), "denied the request"); denied != asked || !asked && err != nil {
			return fmt.Errorf("a Deployment of nginx:latest: %v", err)
		}
		return nil
	}))
}

// dryRunDeployment has the apiserver create a Deployment, but for the storing. The plugin sees none.
func (c *cluster) dryRunDeployment(t *testing.T, image string) error {
	t.Helper()
	_, err := c.do(t.Context(), c.client, http.MethodPost, "/apis/apps/v1/namespaces/default/deployments?dryRun=All", fmt.Sprintf(
		`{apiVersion: apps/v1, kind: Deployment, metadata: {name: dry-run}, spec: {selector: {matchLabels: {app: any}},
		template: {metadata: {labels: {app: any}}, spec: {containers: [{name: any, image: %q}]}}}}`, image))
	return err
}

// fenced returns the lines of each block of commands (```sh) below a heading, up to the next of its level. Lines of one
// command, and of one comment, are joined.
func fenced(t *testing.T, file, heading string) [][]string {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	_, section, found := strings.Cut(string(content), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no %q", file, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks [][]string
	for _, rest := range strings.Split(section, "\n```sh\n")[1:] {
		block, _, _ := strings.Cut(rest, "\n```")
		var lines []string
		for _, line := range strings.Split(strings.ReplaceAll(block, "\\\n", " "), "\n") {
			if n := len(lines); strings.HasPrefix(line, "#") && n > 0 && strings.HasPrefix(lines[n-1], "#") {
				lines[n-1] += strings.TrimPrefix(line, "#")
			} else {
				lines = append(lines, line)
			}
		}
		blocks = append(blocks, lines)
	}
	return blocks
}

// shell is a bash that is told one line after the other. What it has in the background ends with it, and it ends when
// nobody can tell it anything more.
type shell struct {
	stdin io.Writer
	said  *output // both streams
}

func startShell(t *testing.T, dir string, env []string) *shell {
	t.Helper()
	s := &shell{said: new(output)}
	bash := exec.Command("bash", "--noprofile", "--norc")
	bash.Dir, bash.Env = dir, append([]string{"HOME=" + dir}, env...)
	bash.Stdout, bash.Stderr = s.said, s.said
	stdin, err := bash.StdinPipe()
	must(t, err)
	s.stdin = stdin
	must(t, bash.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = bash.Wait()
		if t.Failed() {
			t.Logf("the shell said:\n%s", tail(s.said.String()))
		}
	})
	s.run(t, `trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT`).done(t)
	return s
}

// run runs a line, and returns when the shell is ready for the next.
func (s *shell) run(t *testing.T, line string) said {
	t.Helper()
	const mark = "-- exit code "
	from := len(s.said.String())
	_, err := fmt.Fprintf(s.stdin, "%s\nprintf '\\n%s%%d\\n' $?\n", line, mark)
	must(t, err)
	var what, code string
	must(t, pollFor(time.Minute, func() error {
		var whole bool
		what, code, _ = strings.Cut(s.said.String()[from:], "\n"+mark)
		if code, _, whole = strings.Cut(code, "\n"); !whole {
			return fmt.Errorf("%s\n%s\nhas not come to its end", line, what)
		}
		return nil
	}))
	n, err := strconv.Atoi(code)
	must(t, err)
	return said{command: line, code: n, stdout: what}
}
