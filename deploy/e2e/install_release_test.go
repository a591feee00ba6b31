package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// installed is a cluster with the chart. One pod of the Deployment runs, of which a node's part is done here.
type installed struct {
	*cluster
	service *service
	root    string // of the pod's files
	spec    containerPod
}

func newInstalled(t *testing.T, c *cluster) *installed {
	return &installed{cluster: c, service: &service{}, root: newRoot(t, programs.sluice)}
}

// release does what README.md of the chart says.
func (i *installed) release(t *testing.T, verb string, flags ...string) {
	t.Helper()
	i.helm(t, append([]string{
		verb, "sluice", absolute(t, chart), "--namespace", "shield",
		"--values", absolute(t, filepath.Join(chart, "ci", "plain-values.yaml")),
	}, flags...)...).done(t)
}

func (i *installed) run(t *testing.T) {
	// The webhooks are the second step, so that nobody is refused meanwhile.
	i.release(t, "install", "--create-namespace", "--set", "webhooks.enabled=false")
	i.start(t)
	certificates := i.get(t, "/api/v1/namespaces/shield/secrets/sluice-tls").at(t, "data")
	i.kubectl(t, "run", "early", "--image", "nginx:latest").done(t)
	i.release(t, "upgrade")
	// The apiserver learns of webhooks and endpoints in a moment.
	must(t, pollFor(clusterPatience, func() error { return i.denied(t, `policy "no-latest"`) }))
	again := i.get(t, "/api/v1/namespaces/shield/secrets/sluice-tls").at(t, "data")
	if fmt.Sprint(again) != fmt.Sprint(certificates) {
		t.Error("an upgrade has made new certificates")
	}

	// As NOTES.txt says, and the rest.
	i.kubectl(t, "-n", "default", "run", "try", "--image=nginx:latest", "--dry-run=server").
		refused(t).golden(t, "../install/chart-pod")
	i.kubectl(t, "run", "versioned", "--image", "nginx:1.29").done(t)
	i.kubectl(t, "create", "deployment", "latest", "--image", "nginx:latest").
		refused(t).golden(t, "../install/chart-deployment")
	i.kubectl(t, "label", "pod", "early", "tier=front").done(t) // unchangedImages: allow
	for _, exempt := range []string{"kube-system", "shield"} {
		i.kubectl(t, "-n", exempt, "run", "latest", "--image", "nginx:latest").done(t)
	}

	// A new policy comes by way of the kubelet, which changes what is mounted at one stroke, and sluice takes it up by itself.
	i.release(t, "upgrade", "--set", "policies.no-latest.spec.message=Ask the platform team.")
	i.mount(t)
	eventually(t, func() error { return i.denied(t, "Ask the platform team.") })
	i.test(t)
	i.service.lives(t)

	// It is gone, and the way out of that.
	i.service.process.kill()
	i.kubectl(t, "run", "down", "--image", "nginx:1.29").refused(t, "failed calling webhook")
	i.kubectl(t, "delete", "validatingwebhookconfiguration,mutatingwebhookconfiguration",
		"-l", "app.kubernetes.io/name=sluice").done(t)
	must(t, pollFor(clusterPatience, func() error { return i.dryRun(t.Context(), i.client, "default", "nginx:latest") }))
}

// denied is nil if a pod of nginx:latest is, with these words.
func (i *installed) denied(t *testing.T, words string) error {
	t.Helper()
	err := i.dryRun(t.Context(), i.client, "default", "nginx:latest")
	if err == nil || !strings.Contains(err.Error(), words) {
		return fmt.Errorf("a pod of nginx:latest: %v", err)
	}
	return nil
}

func (c *cluster) get(t testing.TB, path string) kubeObject {
	t.Helper()
	content, err := c.do(t.Context(), c.client, http.MethodGet, path, "")
	must(t, err)
	return documents(t, string(content))[0]
}

// start runs a pod of the Deployment, and has its Service lead there. It listens where it is told to, and not on all
// addresses: the ports may be others' here.
func (i *installed) start(t *testing.T) {
	t.Helper()
	i.mount(t)
	host := notLoopback(t)
	_, port, _ := strings.Cut(freePort(t), ":")
	i.service.addr, i.service.admin = host+":"+port, freePort(t)
	i.service.startPod(t, i.root, i.spec, "--listen", i.service.addr, "--admin-listen", i.service.admin)
	const slices = "/apis/discovery.k8s.io/v1/namespaces/shield/endpointslices"
	_, err := i.do(t.Context(), i.client, http.MethodPost, slices, fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: sluice, labels: {kubernetes.io/service-name: sluice}}
addressType: IPv4
ports: [{name: review, port: %s}]
endpoints: [{addresses: [%s], conditions: {ready: true}}]
`, port, host))
	must(t, err)
	t.Logf("the Service leads to %s", i.service.addr)
}

// mount brings the pod's volumes up to date.
func (i *installed) mount(t *testing.T) {
	t.Helper()
	i.spec = i.get(t, "/apis/apps/v1/namespaces/shield/deployments/sluice").pod(t, "spec", "template", "spec")
	files := func(kind string, s *source) map[string]string {
		if s == nil {
			return nil
		}
		return s.files(t, i.get(t, "/api/v1/namespaces/shield/"+kind+"/"+s.Name))
	}
	for _, m := range i.spec.Containers[0].VolumeMounts {
		dir, v := filepath.Join(i.root, m.MountPath), i.spec.volume(m.Name)
		all := map[string]string{}
		add := func(files map[string]string) {
			for path, content := range files {
				all[path] = content
			}
		}
		switch {
		case v.EmptyDir != nil:
			must(t, os.MkdirAll(dir, 0o777))
			must(t, os.Chown(dir, contain().owner, -1))
			continue
		case v.ConfigMap != nil:
			add(files("configmaps", v.ConfigMap))
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				add(files("configmaps", s.ConfigMap))
				add(files("secrets", s.Secret))
			}
		default:
			t.Fatalf("the volume %+v is of a kind that is not known here", v)
		}
		project(t, dir, all)
	}
}

// test is helm test: what its pod does, asking the service where it is.
func (i *installed) test(t *testing.T) {
	t.Helper()
	hooks := documents(t, i.helm(t, "get", "hooks", "sluice", "--namespace", "shield").done(t).stdout)
	if len(hooks) != 1 {
		t.Fatalf("the chart has %d hooks, want the test alone", len(hooks))
	}
	args := hooks[0].pod(t, "spec").Containers[0].Args
	for n, arg := range args {
		args[n] = strings.Replace(arg, "sluice.shield.svc:443", i.service.addr, 1)
	}
	p := contain().start(t, i.root, nil, append([]string{"/sluice"}, args...)...)
	if code := p.exit(t, patience); code != 0 || !strings.Contains(p.stdout.String(), "sluice.shield.svc") {
		t.Errorf("helm test: %q: exit %d\n%s%s", args, code, p.stdout.String(), p.stderr.String())
	}
}

// files are those of a ConfigMap or Secret that a volume has, by their paths in it.
func (s *source) files(t testing.TB, o kubeObject) map[string]string {
	t.Helper()
	all := map[string]string{}
	for key, value := range o.at(t, "data").(map[string]any) {
		all[key] = value.(string)
		if o["kind"] == "Secret" {
			content, err := base64.StdEncoding.DecodeString(all[key])
			must(t, err)
			all[key] = string(content)
		}
	}
	if s.Items == nil {
		return all
	}
	some := map[string]string{}
	for _, item := range s.Items {
		if _, there := all[item.Key]; !there {
			t.Fatalf("%s %s has no %s", o["kind"], s.Name, item.Key)
		}
		some[item.Path] = all[item.Key]
	}
	return some
}

// project writes files as the kubelet does: into a directory of their own, which takes the place of the one before by a link
// that is renamed. Paths lead there through that link. They belong to the pod's group, here to its user.
func project(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	now := fmt.Sprintf("..%d", time.Now().UnixNano())
	must(t, os.MkdirAll(filepath.Join(dir, now), 0o755))
	link := func(to, from string) {
		must(t, os.Symlink(to, filepath.Join(dir, "..new")))
		must(t, os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, from)))
	}
	for path, content := range files {
		file := filepath.Join(dir, now, path)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(content), 0o440))
		must(t, os.Chown(file, contain().owner, -1))
	}
	link(now, "..data")
	for _, path := range slices.Sorted(maps.Keys(files)) {
		first, _, _ := strings.Cut(path, "/")
		link(filepath.Join("..data", first), first)
	}
}

// notLoopback is an address of this machine that can be an endpoint's, which one of loopback can't. In a network of our own,
// where there is none, loopback gets one more.
func notLoopback(t testing.TB) string {
	t.Helper()
	find := func() string {
		addresses, err := net.InterfaceAddrs()
		must(t, err)
		for _, a := range addresses {
			if n, is := a.(*net.IPNet); is && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
				return n.IP.String()
			}
		}
		return ""
	}
	if host := find(); host != "" {
		t.Logf("the service listens on %s for a while, which may be open to others", host)
		return host
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(socket)
	set := func(request uint, address net.IP) error {
		alias, err := unix.NewIfreq("lo:e2e")
		if err != nil {
			return err
		}
		return errors.Join(alias.SetInet4Addr(address.To4()), unix.IoctlIfreq(socket, request, alias))
	}
	must(t, set(unix.SIOCSIFADDR, net.IPv4(10, 99, 0, 1)))
	must(t, set(unix.SIOCSIFNETMASK, net.IPv4bcast))
	return find()
}
