package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
)

// containerPod is what of a pod a node would act upon.
type containerPod struct {
	Containers      []container
	Volumes         []volume
	SecurityContext struct{ RunAsUser, RunAsGroup uint32 }
}

type container struct {
	Command, Args []string
	Env           []struct{ Name, Value string }
	VolumeMounts  []mount

	StartupProbe, LivenessProbe, ReadinessProbe probe
}

type mount struct {
	Name, MountPath string
	ReadOnly        bool
}

type volume struct {
	Name      string
	HostPath  *struct{ Path, Type string }
	ConfigMap *source
	EmptyDir  *struct{}
	Projected *struct {
		DefaultMode os.FileMode
		Sources     []struct{ ConfigMap, Secret *source }
	}
}

// source is where files of a volume are from: all that a ConfigMap or Secret holds, or some of it, elsewhere.
type source struct {
	Name  string
	Items []struct{ Key, Path string }
}

type probe struct {
	HTTPGet struct {
		Host, Path string
		Port       any // a number, or a name
	}
}

// kubeObject is one of any kind.
type kubeObject map[string]any

// documents takes YAML or JSON apart.
func documents(t testing.TB, content string) []kubeObject {
	t.Helper()
	var all []kubeObject
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(content), 4<<10); ; {
		var o kubeObject
		switch err := decoder.Decode(&o); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("%v:\n%s", err, content)
		case o != nil:
			all = append(all, o)
		}
	}
}

// at is what stands at a path.
func (o kubeObject) at(t testing.TB, path ...string) any {
	t.Helper()
	var value any = map[string]any(o)
	for _, key := range path {
		m, is := value.(map[string]any)
		if !is || m[key] == nil {
			t.Fatalf("there is no %s (of %s) in %v", key, strings.Join(path, "."), o)
		}
		value = m[key]
	}
	return value
}

// pod is the pod's part of an object, which stands at a path.
func (o kubeObject) pod(t testing.TB, path ...string) containerPod {
	t.Helper()
	text, err := json.Marshal(o.at(t, path...))
	must(t, err)
	var spec containerPod
	must(t, json.Unmarshal(text, &spec))
	if len(spec.Containers) != 1 {
		t.Fatalf("it has %d containers, want one: %s", len(spec.Containers), text)
	}
	return spec
}

func (s containerPod) volume(name string) volume {
	for _, v := range s.Volumes {
		if v.Name == name {
			return v
		}
	}
	return volume{}
}

func content(t testing.TB, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	return string(content)
}

// sh runs a script that somebody would type, and stops at the first command that fails.
func sh(t testing.TB, dir, script string, env ...string) said {
	t.Helper()
	s := said{command: script}
	s.code, s.stdout, s.stderr = run(t, dir, append([]string{"PATH=" + os.Getenv("PATH")}, env...), "sh", "-ec", script)
	return s
}

// nobody is the user of the image.
const nobody = 65532

// containment says how a program can be kept within a directory here, as that user: by root, or in a user namespace, where
// its files are those of whoever runs this. Where neither is allowed, it is not kept.
type containment struct {
	attributes syscall.SysProcAttr // but for the directory
	none       bool
	owner      int // whose files nobody's are
	group      int
}

var contain = sync.OnceValue(func() containment {
	user := &syscall.Credential{Uid: nobody, Gid: nobody}
	byRoot := containment{attributes: syscall.SysProcAttr{Credential: user}, owner: nobody, group: nobody}
	inNamespace := containment{attributes: syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getgid(), Size: 1}},
		Credential:  &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: true},
	}, owner: os.Getuid(), group: os.Getgid()}
	for _, c := range []containment{byRoot, inNamespace} {
		attributes := c.attributes
		attributes.Chroot = "/"
		try := exec.Command("/bin/true")
		try.SysProcAttr = &attributes
		if try.Run() == nil {
			return c
		}
	}
	return containment{none: true, owner: os.Getuid(), group: os.Getgid()}
})

// start starts a program, which stands in a directory that it takes for all there is, as nobody.
func (c containment) start(t testing.TB, root string, env []string, argv ...string) *process {
	t.Helper()
	var p *process
	var err error
	if c.none {
		t.Logf("no chroot and no user namespace is allowed: %s runs as user %d, its paths below %s", argv[0], os.Getuid(), root)
		for n, arg := range argv {
			argv[n] = strings.ReplaceAll(arg, "/etc/sluice", root+"/etc/sluice")
		}
		argv[0] = filepath.Join(root, argv[0])
		p, err = startProcess(root, env, argv...)
	} else {
		attributes := c.attributes
		attributes.Chroot = root
		p, err = startProcessAs(attributes, "/", env, argv...)
	}
	must(t, err)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s (pid %d) wrote:\n%s", p.name, p.cmd.Process.Pid, tail(p.stderr.String()))
		}
	})
	return p
}

// newRoot makes a directory that has a program, and nothing else.
func newRoot(t testing.TB, program string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	must(t, os.Mkdir(root, 0o755))
	copyFile(t, program, filepath.Join(root, "sluice"))
	must(t, os.Chmod(filepath.Join(root, "sluice"), 0o755))
	return root
}

// startPod starts the container of a pod in a directory that has sluice and what is mounted, and returns when it answers its
// probes. Where a probe names no number, it is for the service's admin port. Flags come after those of the pod.
func (s *service) startPod(t testing.TB, root string, spec containerPod, flags ...string) {
	t.Helper()
	c := spec.Containers[0]
	if u := spec.SecurityContext; u.RunAsUser != nobody || u.RunAsGroup != nobody {
		t.Errorf("the pod is of user %d and group %d, and not of %d as the image is", u.RunAsUser, u.RunAsGroup, nobody)
	}
	var env []string
	for _, v := range c.Env {
		env = append(env, v.Name+"="+v.Value)
	}
	argv := append(append([]string{"/sluice"}, c.Args...), flags...)
	s.process = contain().start(t, root, env, argv...)
	for _, p := range []probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		addr := s.admin
		if port, number := p.HTTPGet.Port.(float64); number {
			addr = fmt.Sprintf("%s:%v", p.HTTPGet.Host, port)
		}
		eventually(t, func() error {
			if s.process.ended() {
				t.Fatalf("sluice has ended (exit %d):\n%s", s.process.cmd.ProcessState.ExitCode(), tail(s.process.stderr.String()))
			}
			response, err := adminClient.Get("http://" + addr + p.HTTPGet.Path)
			if err != nil {
				return err
			}
			if response.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", p.HTTPGet.Path, response.Status)
			}
			return errors.Join(err, response.Body.Close())
		})
	}
}
