package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/deploy"
)

// rollback is a machine's directory of manifests, with the script beside it.
type rollback struct {
	t        *testing.T
	script   string
	manifest string
}

func newRollback(t *testing.T, o deploy.Options, manifest string) rollback {
	t.Helper()
	o.Server = "https://a"
	dir := t.TempDir()
	r := rollback{t, filepath.Join(dir, "rollback.sh"), filepath.Join(dir, "manifests", "kube-apiserver.yaml")}
	if err := os.WriteFile(r.script, file(t, render(t, o), "rollback.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(r.manifest), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.manifest, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs the script, and returns all that it says and its exit code.
func (r rollback) run(args ...string) (string, int) {
	r.t.Helper()
	cmd := exec.Command("sh", append([]string{r.script}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		r.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (r rollback) read(path string) string {
	r.t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(got)
}

// backup is where the manifest is kept as it was.
func (r rollback) backup() string {
	return filepath.Join(filepath.Dir(filepath.Dir(r.manifest)), "kube-apiserver.yaml.before-rollback")
}

// TestRollback takes the plugin out of the manifest that kubeadm v1.36.3 wrote by kubeadm-patch.yaml.
func TestRollback(t *testing.T) {
	t.Parallel()
	installed := string(mustRead(t, "testdata/kube-apiserver.yaml"))
	want := installed
	for _, part := range []string{
		",ImagePolicyWebhook", "    - --admission-control-config-file=/etc/kubernetes/sluice/admission.yaml\n",
		"    - mountPath: /etc/kubernetes/sluice\n      name: sluice\n      readOnly: true\n",
		"  - hostPath:\n      path: /etc/kubernetes/sluice\n      type: Directory\n    name: sluice\n",
	} {
		if strings.Count(want, part) != 1 {
			t.Fatalf("%q is not once in the manifest", part)
		}
		want = strings.Replace(want, part, "", 1)
	}
	r := newRollback(t, deploy.Options{}, installed)

	// Said, and not done.
	out, code := r.run("--dry-run", r.manifest)
	if code != 0 || strings.Count(out, "\n< ") != 9 || strings.Count(out, "\n> ") != 1 {
		t.Errorf("dry run: exit %d\n%s", code, out)
	}
	if diff := cmp.Diff(installed, r.read(r.manifest)); diff != "" {
		t.Errorf("dry run: %s", diff)
	}

	out, code = r.run(r.manifest)
	if code != 0 || !strings.Contains(out, "is without the plugin") || !strings.Contains(out, "edit configmap kubeadm-config") {
		t.Errorf("exit %d: %s", code, out)
	}
	if diff := cmp.Diff(want, r.read(r.manifest)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(installed, r.read(r.backup())); diff != "" {
		t.Errorf("the backup: %s", diff)
	}
	for _, path := range []string{r.manifest, r.backup()} {
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}

	// Again: there is nothing to do, and the backup stays what it is.
	out, code = r.run(r.manifest)
	if code != 0 || !strings.Contains(out, "nothing to do") {
		t.Errorf("again: exit %d: %s", code, out)
	}
	if diff := cmp.Diff(want, r.read(r.manifest)); diff != "" {
		t.Errorf("again: %s", diff)
	}
	if diff := cmp.Diff(installed, r.read(r.backup())); diff != "" {
		t.Errorf("the backup, again: %s", diff)
	}
	if entries, err := os.ReadDir(filepath.Dir(r.manifest)); err != nil || len(entries) != 1 {
		t.Errorf("the kubelet would find %v, %v", entries, err)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestRollbackForms has manifests that people wrote.
func TestRollbackForms(t *testing.T) {
	t.Parallel()
	const mount = `/etc/it's "here"\ #1`
	f := func(name, before, after string) {
		t.Helper()
		r := newRollback(t, deploy.Options{Mount: mount}, before)
		out, code := r.run(r.manifest)
		if code != 0 {
			t.Errorf("%s: exit %d: %s", name, code, out)
		}
		if diff := cmp.Diff(after, r.read(r.manifest)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if out, code := r.run(r.manifest); code != 0 || !strings.Contains(out, "nothing to do") {
			t.Errorf("%s, again: exit %d: %s", name, code, out)
		}
	}
	unchanged := func(name, manifest string) {
		t.Helper()
		f(name, manifest, manifest)
	}
	unchanged("without the flags", "command:\n- kube-apiserver\n- --enable-admission-plugins=NodeRestriction\nvolumes:\n- name: other\n")
	unchanged("no flags at all", "# nothing\nkind: Pod\n")
	unchanged("another's configuration", "- --admission-control-config-file=/etc/other/admission.yaml\n- --admission-control-config-file\n- /etc/other.yaml\n")
	unchanged("a name that only looks like it", "- --enable-admission-plugins=MyImagePolicies,A\n")
	unchanged("taken out by name", "- --disable-admission-plugins=ImagePolicyWebhook\n")
	unchanged("in a comment", "# - --enable-admission-plugins=ImagePolicyWebhook\n- --x\n")

	f("the only plugin", "command:\n  - --a=b\n  - --enable-admission-plugins=ImagePolicyWebhook\n  - --c\n", "command:\n  - --a=b\n  - --c\n")
	f("first of them", "- --enable-admission-plugins=ImagePolicyWebhook,A,B\n", "- --enable-admission-plugins=A,B\n")
	f("among them, twice, with blanks", "  -   --enable-admission-plugins=A, ImagePolicyWebhook ,B,ImagePolicyWebhook   \n", "  -   --enable-admission-plugins=A,B\n")
	f("two flags", "- --enable-admission-plugins=A\n- --enable-admission-plugins=ImagePolicyWebhook\n", "- --enable-admission-plugins=A\n")
	f("underscores", "- --enable_admission_plugins=A,ImagePolicyWebhook\n", "- --enable-admission-plugins=A\n")
	f("quoted", "- \"--enable-admission-plugins=A,ImagePolicyWebhook\" # ours\n- '--enable-admission-plugins=ImagePolicyWebhook,B'\n",
		"- \"--enable-admission-plugins=A\"\n- '--enable-admission-plugins=B'\n")
	f("values of their own", "- --enable-admission-plugins\n- A,ImagePolicyWebhook\n- --x\n", "- --enable-admission-plugins\n- A\n- --x\n")
	f("a value of its own, the only one", "- --enable-admission-plugins\n# why\n- \"ImagePolicyWebhook\"\n- --x\n", "# why\n- --x\n")
	f("carriage returns", "- --enable-admission-plugins=A,ImagePolicyWebhook\r\n- --x\r\n", "- --enable-admission-plugins=A\n- --x\r\n")
	f("no newline at the end", "- --enable-admission-plugins=A,ImagePolicyWebhook", "- --enable-admission-plugins=A\n")
	f("percent and backslash elsewhere", "- --enable-admission-plugins=ImagePolicyWebhook\n- --x=%s\\n\\\\$(id)`id`\n", "- --x=%s\\n\\\\$(id)`id`\n")

	f("our file, as init writes it", `- "--admission-control-config-file=/etc/it's \"here\"\\ #1/admission.yaml"`+"\n- x\n", "- x\n")
	f("our file, in single quotes", `- '--admission-control-config-file=/etc/it''s "here"\ #1/admission.yaml'`+"\n- x\n", "- x\n")
	f("our file, a value of its own", "- --admission-control-config-file\n"+`- "/etc/it's \"here\"\\ #1/admission.yaml"`+"\n- x\n", "- x\n")

	f("volumes, the names first", `
    volumeMounts:
      - name: first
        mountPath: /a
      - name: "sluice"    # ours
        mountPath: /b

        readOnly: true
      - {name: third, mountPath: /c}
    image: x
  volumes:
  - name: first
    hostPath: {path: /a}
  -   name: 'sluice'
      hostPath:
        path: /b
  - hostPath: {path: /c}
    name: sluice-2
  hostNetwork: true
`, `
    volumeMounts:
      - name: first
        mountPath: /a
      - {name: third, mountPath: /c}
    image: x
  volumes:
  - name: first
    hostPath: {path: /a}
  - hostPath: {path: /c}
    name: sluice-2
  hostNetwork: true
`)
	unchanged("mounts of none, and a container of the name", `
  - image: a
    volumeMounts:
  - name: sluice
    image: x
`)
	f("mounts first in a container, and another container", `
  containers:
  - volumeMounts:
    - name: sluice
      mountPath: /b
    name: kube-apiserver
  - name: sluice
    image: x
  volumes:
  - name: sluice
    hostPath: {path: /b}
`, `
  containers:
  - volumeMounts:
    name: kube-apiserver
  - name: sluice
    image: x
  volumes:
`)
}

// TestRollbackRefuses: what is not understood is left as it is, and said.
func TestRollbackRefuses(t *testing.T) {
	t.Parallel()
	f := func(manifest, want string, wantCode int, args ...string) {
		t.Helper()
		r := newRollback(t, deploy.Options{}, manifest)
		out, code := r.run(append(args, r.manifest)...)
		if code != wantCode || !strings.Contains(out, want) {
			t.Errorf("%q: exit %d: %s", manifest, code, out)
		}
		if diff := cmp.Diff(manifest, r.read(r.manifest)); diff != "" {
			t.Errorf("%q: %s", manifest, diff)
		}
		if _, err := os.Stat(r.backup()); err == nil {
			t.Errorf("%q: there is a backup of what was not changed", manifest)
		}
	}
	f(`command: [kube-apiserver, "--enable-admission-plugins=A,ImagePolicyWebhook"]`+"\n", "by hand", 1)
	f("- \"--enable-admission-plugins=A,\n  ImagePolicyWebhook\"\n", "by hand", 1)
	f("- --enable-admission-plugins=ImagePolicyWebhook\n", "would be empty", 1)
	f("kind: Pod\n", "usage", 2, "--force")

	r := newRollback(t, deploy.Options{}, "")
	if out, code := r.run(r.manifest + ".none"); code != 1 || !strings.Contains(out, "there is no manifest") {
		t.Errorf("exit %d: %s", code, out)
	}
}
