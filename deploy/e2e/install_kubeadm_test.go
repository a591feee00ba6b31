package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The real kubeadm takes what sluice init wrote for it: the apiserver of its manifest asks sluice, and the one of the manifest
// that rollback.sh leaves asks nobody.
func TestInstallKubeadm(t *testing.T) {
	t.Parallel()
	s := newService(t, settings{})
	before, manifest := s.kubeadm(t, ""), s.kubeadm(t, "kubeadm-patch.yaml")
	changes := sh(t, s.dir, "diff "+before+" "+manifest)
	changes.command, changes.stdout = "diff BEFORE AFTER", strings.ReplaceAll(changes.stdout, s.dir, "DIR")
	changes.golden(t, "../install/kubeadm")

	// With the flags and nothing more: what else kubeadm tells the apiserver is about files of its own.
	asking := newCluster(t, clusterSettings{flags: pluginFlags(t, manifest)})
	if err := asking.dryRun(t.Context(), asking.client, "default", "nginx:1"); err != nil {
		t.Errorf("an image with a version: %v", err)
	}
	asking.kubectl(t, "run", "latest", "--image", "nginx:latest").refused(t, `policy "no-latest"`)

	sh(t, s.dir, "sh rollback.sh "+manifest).done(t, "is without the plugin")
	// As kubeadm had written it, but for where the flags stand among the others.
	if got, want := sorted(content(t, manifest)), sorted(content(t, before)); got != want {
		t.Errorf("rollback.sh leaves\n%s\nand kubeadm had written\n%s", got, want)
	}
	s.terminate(t)
	after := newCluster(t, clusterSettings{flags: pluginFlags(t, manifest)})
	after.kubectl(t, "run", "latest", "--image", "nginx:latest").done(t)
	// Whereas the one that still asks it refuses all.
	asking.kubectl(t, "run", "versioned", "--image", "nginx:1.29").refused(t, "connection refused")
}

// kubernetesVersion is that of the control plane.
func kubernetesVersion(t testing.TB) string {
	t.Helper()
	code, stdout, stderr := run(t, t.TempDir(), nil, programs.kubeadm, "version", "-o", "short")
	return strings.TrimSpace(said{"kubeadm version", code, stdout, stderr}.done(t).stdout)
}

// sorted is the same lines in order.
func sorted(text string) string {
	return strings.Join(slices.Sorted(strings.Lines(strings.TrimSpace(text)+"\n")), "")
}

// kubeadm returns the apiserver's manifest that kubeadm writes by its own defaults and, if there is one, by what a patch of
// its configuration says of the apiserver. The configuration is put together as the patch's comment says.
func (s *service) kubeadm(t *testing.T, patch string) (manifest string) {
	t.Helper()
	dir := t.TempDir()
	kubeadm := func(args ...string) said {
		r := said{command: "kubeadm " + strings.Join(args, " ")}
		env := []string{"KUBEADM_INIT_DRYRUN_DIR=" + dir} // by itself, it would write to /etc/kubernetes/tmp
		r.code, r.stdout, r.stderr = run(t, dir, env, append([]string{programs.kubeadm}, args...)...)
		return r.done(t)
	}
	configuration := documents(t, kubeadm("config", "print", "init-defaults").stdout)
	for _, d := range configuration {
		switch d["kind"] {
		case "InitConfiguration":
			d["localAPIEndpoint"] = kubeObject{"advertiseAddress": "192.0.2.10"}
		case "ClusterConfiguration":
			d["kubernetesVersion"] = kubernetesVersion(t)
			if patch != "" {
				p := documents(t, content(t, s.file(patch)))[0]
				if p["apiVersion"] != d["apiVersion"] || p["kind"] != d["kind"] {
					t.Fatalf("%s is a %v of %v, and not of %v", patch, p["kind"], p["apiVersion"], d["apiVersion"])
				}
				d["apiServer"] = p["apiServer"]
			}
		}
	}
	var file bytes.Buffer
	for _, d := range configuration {
		must(t, json.NewEncoder(&file).Encode(d))
		file.WriteString("---\n")
	}
	must(t, os.WriteFile(filepath.Join(dir, "kubeadm.yaml"), file.Bytes(), 0o600))
	kubeadm("config", "validate", "--config", "kubeadm.yaml")
	kubeadm("init", "phase", "control-plane", "apiserver", "--config", "kubeadm.yaml", "--dry-run")
	return filepath.Join(dir, "kube-apiserver.yaml")
}

// pluginFlags are the flags of a manifest that say what the apiserver admits. What they name in its container has to be
// there by a volume of the same path.
func pluginFlags(t *testing.T, manifest string) []string {
	t.Helper()
	spec := documents(t, content(t, manifest))[0].pod(t, "spec")
	var flags []string
	for _, flag := range spec.Containers[0].Command {
		name, value, _ := strings.Cut(flag, "=")
		switch name {
		case "--enable-admission-plugins":
		case "--admission-control-config-file":
			if !slices.ContainsFunc(spec.Containers[0].VolumeMounts, func(m mount) bool {
				v := spec.volume(m.Name)
				return m.MountPath == filepath.Dir(value) && m.ReadOnly && v.HostPath != nil && v.HostPath.Path == m.MountPath
			}) {
				t.Errorf("%s is not mounted: %+v", value, spec)
			}
		default:
			continue
		}
		flags = append(flags, flag)
	}
	return flags
}

// The static pod is one that the apiserver takes, and where it and its files are put as the instructions say, its arguments
// make a service that answers its probes, and reviews; and takes a renewed certificate up, by the command that they name.
func TestInstallStaticPod(t *testing.T) {
	t.Parallel()
	s := initService(t, settings{flags: []string{"--mount", "/etc/kubernetes/sluice"}})
	// The port at which the probes are answered has been moved in sluice.yaml.
	_, admin, _ := strings.Cut(s.admin, ":")
	pod := strings.ReplaceAll(content(t, s.file("static-pod.yaml")), "port: 9443", "port: "+admin)
	writeWhole(t, s.file("static-pod.yaml"), pod)

	machine := newRoot(t, programs.sluice)
	must(t, os.MkdirAll(filepath.Join(machine, "etc/kubernetes/manifests"), 0o755))
	sh(t, s.dir, s.instruction(t, machine, "install ")).done(t)
	manifest := filepath.Join(machine, "etc/kubernetes/manifests/sluice.yaml")

	c := sharedCluster(t)
	must(t, pollFor(clusterPatience, func() error { // the apiserver makes the namespace, in a moment
		_, err := c.do(t.Context(), c.client, http.MethodGet, "/api/v1/namespaces/kube-system", "")
		return err
	}))
	c.kubectl(t, "apply", "--dry-run=server", "--validate=strict", "-f", manifest).done(t, "pod/sluice created")

	s.startPod(t, machine, documents(t, content(t, manifest))[0].pod(t, "spec"))
	if _, err := exec.LookPath("curl"); err != nil {
		t.Log("there is no curl here to ask as the instructions say")
	} else {
		sh(t, s.dir, s.instruction(t, machine, "curl ")).done(t, `"allowed":false`, `image \"nginx\" has no tag`)
	}
	before := s.served(t)
	// With what ends within a year, too.
	renew := strings.Replace(s.instruction(t, machine, "sluice cert renew "), "--within 720h", "--within 9000h", 1)
	sh(t, s.dir, renew, "PATH="+filepath.Dir(programs.sluice)+":"+os.Getenv("PATH")).done(t, "renewed")
	eventually(t, func() error {
		if bytes.Equal(s.served(t), before) {
			return errors.New("the renewed certificate is not served")
		}
		return nil
	})
	s.lives(t)
}

// instruction is the commands of sluice init's instructions that begin so, for a machine whose files stand below a directory.
func (s *service) instruction(t *testing.T, machine, command string) string {
	t.Helper()
	var script strings.Builder
	continued := false
	for line := range strings.Lines(s.instructions) {
		line, indented := strings.CutPrefix(line, "     ")
		if !indented || !continued && !strings.HasPrefix(line, command) {
			continued = false
			continue
		}
		continued = strings.HasSuffix(line, "\\\n")
		script.WriteString(line)
	}
	if script.Len() == 0 {
		t.Fatalf("there is no %qin the instructions:\n%s", command, s.instructions)
	}
	text := strings.ReplaceAll(script.String(), " /etc/", " "+machine+"/etc/")
	return strings.ReplaceAll(text, "-o 65532 -g 65532", fmt.Sprintf("-o %d -g %d", contain().owner, contain().group))
}
