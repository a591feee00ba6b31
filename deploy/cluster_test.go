package deploy_test

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/deploy"
)

type mount struct {
	Name      string
	MountPath string `yaml:"mountPath"`
	ReadOnly  bool   `yaml:"readOnly"`
}

type probe struct {
	HTTPGet struct {
		Host, Path string
		Port       int
	} `yaml:"httpGet"`
	PeriodSeconds    int `yaml:"periodSeconds"`
	TimeoutSeconds   int `yaml:"timeoutSeconds"`
	FailureThreshold int `yaml:"failureThreshold"`
}

// pod is as much of a Pod as the manifest uses, so that reading it strictly finds a field in the wrong place.
type pod struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Spec struct {
		HostNetwork                   bool   `yaml:"hostNetwork"`
		DNSPolicy                     string `yaml:"dnsPolicy"`
		PriorityClassName             string `yaml:"priorityClassName"`
		Priority                      int
		TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
		SecurityContext               struct {
			RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
			RunAsUser      *int                  `yaml:"runAsUser"`
			RunAsGroup     *int                  `yaml:"runAsGroup"`
			SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
		} `yaml:"securityContext"`
		Containers []struct {
			Name, Image     string
			ImagePullPolicy string `yaml:"imagePullPolicy"`
			Args            []string
			Env             []struct{ Name, Value string }
			Resources       struct{ Requests, Limits map[string]string }
			SecurityContext struct {
				AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
				ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
				Capabilities             struct{ Drop, Add []string }
			} `yaml:"securityContext"`
			StartupProbe   probe   `yaml:"startupProbe"`
			LivenessProbe  probe   `yaml:"livenessProbe"`
			ReadinessProbe probe   `yaml:"readinessProbe"`
			VolumeMounts   []mount `yaml:"volumeMounts"`
		}
		Volumes []struct {
			Name     string
			HostPath struct{ Path, Type string } `yaml:"hostPath"`
		}
	}
}

// TestStaticPod holds the manifest against what the kubelet starts without an apiserver, and against sluice.yaml.
func TestStaticPod(t *testing.T) {
	t.Parallel()
	f := func(server string, user int, add []string) {
		t.Helper()
		b := render(t, deploy.Options{Server: server, Image: "registry.example.com:5000/infra/sluice:v1.2@sha256:" + strings.Repeat("a", 64)})
		var p, all pod
		strict(t, file(t, b, "static-pod.yaml"), &p)
		strict(t, uncomment(file(t, b, "static-pod.yaml")), &all)
		var c config
		strict(t, file(t, b, "sluice.yaml"), &c)

		if p.APIVersion != "v1" || p.Kind != "Pod" || p.Metadata.Namespace != "kube-system" || !p.Spec.HostNetwork ||
			p.Spec.DNSPolicy != "Default" || p.Spec.PriorityClassName != "system-node-critical" || p.Spec.Priority != 2000001000 {
			t.Errorf("%s: %+v", server, p)
		}
		s := p.Spec.SecurityContext
		if s.RunAsUser == nil || *s.RunAsUser != user || s.RunAsGroup == nil || *s.RunAsGroup != user || s.RunAsNonRoot != (user != 0) ||
			s.SeccompProfile.Type != "RuntimeDefault" {
			t.Errorf("%s: %+v", server, s)
		}
		// The key of mode 0600 is read by the one user that it belongs to.
		if want := regexp.MustCompile(`install -m 600 -o (\d+) -g (\d+) \S+server\.key`).FindStringSubmatch(text(t, b, "d")); want == nil ||
			want[1] != strconv.Itoa(user) || want[2] != strconv.Itoa(user) {
			t.Errorf("%s: the instructions make the key another's than user %d: %q", server, user, want)
		}
		if len(p.Spec.Containers) != 1 {
			t.Fatalf("%s: %+v", server, p.Spec.Containers)
		}
		container := p.Spec.Containers[0]
		sc := container.SecurityContext
		if sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation || !sc.ReadOnlyRootFilesystem ||
			!slices.Equal(sc.Capabilities.Drop, []string{"ALL"}) || !slices.Equal(sc.Capabilities.Add, add) {
			t.Errorf("%s: %+v", server, sc)
		}
		for _, p := range []probe{container.StartupProbe, container.LivenessProbe, container.ReadinessProbe} {
			if at := p.HTTPGet.Host + ":" + strconv.Itoa(p.HTTPGet.Port); at != c.Admin.Listen || p.FailureThreshold < 2 || p.TimeoutSeconds < 5 {
				t.Errorf("%s: a probe at %s, and the admin port is %s: %+v", server, at, c.Admin.Listen, p)
			}
		}
		if container.LivenessProbe.HTTPGet.Path != "/livez" || container.ReadinessProbe.HTTPGet.Path != "/readyz" {
			t.Errorf("%s: probes of %+v", server, container)
		}
		if diff := cmp.Diff([]string{"serve", "--config", deploy.ServiceDir + "/sluice.yaml"}, container.Args); diff != "" {
			t.Error(diff)
		}
		checkMounts(t, &p)
		checkMounts(t, &all)
		for _, m := range p.Spec.Containers[0].VolumeMounts {
			if !m.ReadOnly {
				t.Errorf("%s can be written to", m.MountPath)
			}
		}
	}
	f("https://127.0.0.1:8443", 65532, nil)
	f("https://127.0.0.1:1024", 65532, nil)
	f("https://127.0.0.1:1023", 0, []string{"NET_BIND_SERVICE"})
	f("https://sluice.example.com", 0, []string{"NET_BIND_SERVICE"})
}

// checkMounts finds each mount's volume, at the path that it has on the machine.
func checkMounts(t *testing.T, p *pod) {
	t.Helper()
	at := map[string]string{}
	for _, v := range p.Spec.Volumes {
		at[v.Name] = v.HostPath.Path
		if v.HostPath.Type == "" {
			t.Errorf("volume %s has no type: what is missing would be made, and found out late", v.Name)
		}
	}
	mounted := map[string]string{}
	for _, m := range p.Spec.Containers[0].VolumeMounts {
		mounted[m.Name] = m.MountPath
	}
	if diff := cmp.Diff(at, mounted); diff != "" {
		t.Errorf("volumes and mounts: %s", diff)
	}
}

// TestMountsOfSettings: what the settings of sluice.yaml name outside its own directory is mounted with the lines that
// static-pod.yaml has for them.
func TestMountsOfSettings(t *testing.T) {
	t.Parallel()
	b := render(t, deploy.Options{Server: "https://a:8443"})
	var c config
	strict(t, uncomment(file(t, b, "sluice.yaml")), &c)
	var p pod
	strict(t, uncomment(file(t, b, "static-pod.yaml")), &p)
	needed := append(slices.Clone(c.HostsDirs), c.CredentialProviders.ConfigFile, c.CredentialProviders.BinDir, path.Dir(c.TrustedRoots.CacheDir))
	for _, want := range needed {
		if !slices.ContainsFunc(p.Spec.Volumes, func(v struct {
			Name     string
			HostPath struct{ Path, Type string } `yaml:"hostPath"`
		},
		) bool {
			return v.HostPath.Path == want
		}) {
			t.Errorf("no volume of %q, which a setting names", want)
		}
	}
	if len(needed) != 4 {
		t.Errorf("settings name %q", needed)
	}
}

// TestKubeadmPatch reads the configuration as kubeadm's v1beta4 does, strictly, and holds it against the apiserver's part.
func TestKubeadmPatch(t *testing.T) {
	t.Parallel()
	for _, mount := range []string{deploy.DefaultMount, `/etc/it's "here" #1`} {
		b := render(t, deploy.Options{Server: "https://a", Mount: mount})
		var got struct {
			APIVersion string `yaml:"apiVersion"`
			Kind       string
			APIServer  struct {
				ExtraArgs    []struct{ Name, Value string } `yaml:"extraArgs"`
				ExtraVolumes []struct {
					Name      string
					HostPath  string `yaml:"hostPath"`
					MountPath string `yaml:"mountPath"`
					ReadOnly  bool   `yaml:"readOnly"`
					PathType  string `yaml:"pathType"`
				} `yaml:"extraVolumes"`
			} `yaml:"apiServer"`
		}
		strict(t, file(t, b, "kubeadm-patch.yaml"), &got)
		if got.APIVersion != "kubeadm.k8s.io/v1beta4" || got.Kind != "ClusterConfiguration" {
			t.Errorf("%s %s", got.APIVersion, got.Kind)
		}
		want := []struct{ Name, Value string }{
			{"enable-admission-plugins", "NodeRestriction,ImagePolicyWebhook"},
			{"admission-control-config-file", mount + "/admission.yaml"},
		}
		if diff := cmp.Diff(want, got.APIServer.ExtraArgs); diff != "" {
			t.Error(diff)
		}
		if v := got.APIServer.ExtraVolumes; len(v) != 1 || v[0].Name != "sluice" || v[0].HostPath != mount || v[0].MountPath != mount ||
			!v[0].ReadOnly || v[0].PathType != "Directory" {
			t.Errorf("%+v", v)
		}
	}
}

func TestClusterRefused(t *testing.T) {
	t.Parallel()
	f := func(o deploy.Options, option, problem string) {
		t.Helper()
		o.Server = "https://a"
		_, err := deploy.Render(o)
		e, ok := err.(*deploy.OptionError)
		if !ok || e.Option != option || !strings.Contains(e.Problem, problem) || e.Hint() == "" {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, image := range []string{"sluice", "registry.example.com:5000/sluice", "a/sluice:latest"} {
		f(deploy.Options{Image: image}, "Image", "latest")
	}
	for _, image := range []string{
		"a b:1", "a:1\n", "a:", "A:1", "a/B:1", "**:1", "a/*:1", "a@sha256:12", "a@sha512:" + strings.Repeat("a", 128), "-a:1", "a//b:1", "/a:1",
		"https://a/b:1", "é:1", "a\xff:1", strings.Repeat("a/", 300) + "a:1",
	} {
		f(deploy.Options{Image: image}, "Image", "not an image")
	}
	for _, name := range []string{"", "kube-*", "!a", "A", "a b", "a.b", "-a", "a\n", strings.Repeat("a", 64)} {
		f(deploy.Options{ExcludeNamespaces: []string{"ok", name}}, "ExcludeNamespaces", "not the name of a namespace")
	}
}

// TestOwnImagePasses: sluice's own image is one of those that pass in kube-system, by its repository alone.
func TestOwnImagePasses(t *testing.T) {
	t.Parallel()
	f := func(image, glob string) {
		t.Helper()
		b := render(t, deploy.Options{Server: "https://a", Image: image})
		var p policy
		strict(t, file(t, b, "policies/00-control-plane.yaml"), &p)
		if diff := cmp.Diff([]struct{ Glob string }{{"registry.k8s.io/**"}, {glob}}, p.Spec.Images); diff != "" {
			t.Errorf("%s: %s", image, diff)
		}
		var manifest pod
		strict(t, file(t, b, "static-pod.yaml"), &manifest)
		if got := manifest.Spec.Containers[0].Image; got != image {
			t.Errorf("%s: the pod runs %s", image, got)
		}
	}
	digest := "@sha256:" + strings.Repeat("0a", 32)
	f(deploy.DefaultImage, "registry.example.com/sluice")
	f("localhost:5000/a/b-c/sluice:V1.0_x"+digest, "localhost:5000/a/b-c/sluice")
	f("sluice"+digest, "sluice")
	f("1234:5", "1234") // which YAML would take for a number
	f("Registry.Example.com/sluice:1", "Registry.Example.com/sluice")
}

// TestUnit holds the unit against the rest of the bundle; systemd-analyze is for people, who have the machine.
func TestUnit(t *testing.T) {
	t.Parallel()
	f := func(server string, want map[string]string) {
		t.Helper()
		got := map[string]string{}
		section := ""
		for line := range strings.Lines(string(file(t, render(t, deploy.Options{Server: server}), "sluice.service"))) {
			line = strings.TrimSuffix(line, "\n")
			key, value, ok := strings.Cut(line, "=")
			switch {
			case line == "" || line[0] == '#':
			case line[0] == '[':
				section = line
			case !ok || strings.TrimSpace(line) != line:
				t.Errorf("%q is no setting", line)
			case key == "SystemCallFilter":
				got[section+key] += value + ";"
			default:
				if _, twice := got[section+key]; twice {
					t.Errorf("%s twice", key)
				}
				got[section+key] = value
			}
		}
		for key, value := range want {
			if v, ok := got[key]; !ok || v != value {
				t.Errorf("%s: %s=%s, %t, want %q", server, key, v, ok, value)
			}
		}
	}
	const s = "[Service]"
	hardened := map[string]string{
		s + "ExecStart": "/usr/local/bin/sluice serve --config " + deploy.ServiceDir + "/sluice.yaml",
		s + "Type":      "exec", s + "User": "sluice", s + "Restart": "always", s + "ExecReload": "/bin/kill -HUP $MAINPID",
		s + "NoNewPrivileges": "yes", s + "ProtectSystem": "strict", s + "ProtectHome": "yes", s + "PrivateTmp": "yes",
		s + "MemoryDenyWriteExecute": "yes", s + "RestrictAddressFamilies": "AF_INET AF_INET6", s + "StateDirectory": "sluice",
		s + "SystemCallFilter":    "@system-service;~@privileged @resources;",
		"[Install]WantedBy":       "multi-user.target",
		"[Unit]Before":            "kubelet.service",
		s + "AmbientCapabilities": "", s + "CapabilityBoundingSet": "", s + "PrivateUsers": "yes",
	}
	f("https://a:8443", hardened)
	hardened[s+"AmbientCapabilities"], hardened[s+"CapabilityBoundingSet"] = "CAP_NET_BIND_SERVICE", "CAP_NET_BIND_SERVICE"
	delete(hardened, s+"PrivateUsers")
	f("https://a", hardened)
}
