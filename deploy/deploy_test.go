package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"sluice/deploy"
	"sluice/deploy/pki"
)

func render(t *testing.T, o deploy.Options) *deploy.Bundle {
	t.Helper()
	b, err := deploy.Render(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func file(t *testing.T, b *deploy.Bundle, path string) []byte {
	t.Helper()
	for _, f := range b.Files {
		if f.Path == path {
			return f.Data
		}
	}
	t.Fatalf("no file %s", path)
	return nil
}

func text(t *testing.T, b *deploy.Bundle, dir string) string {
	t.Helper()
	var out strings.Builder
	if err := b.WriteInstructions(&out, dir); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// strict parses YAML into v, and fails on what v has no field for.
func strict(t *testing.T, data []byte, v any) {
	t.Helper()
	if err := yaml.UnmarshalWithOptions(data, v, yaml.Strict()); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
}

// golden compares with a file of testdata, or writes it if UPDATE_GOLDEN is set.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the text has dates, and here the year is 2000
		b := render(t, deploy.Options{Server: "https://sluice.example.com:8443"})
		for _, name := range []string{
			"kubeconfig.yaml", "admission.yaml", "admission.json", "sluice.yaml", "static-pod.yaml", "kubeadm-patch.yaml", "sluice.service",
			"rollback.sh",
		} {
			golden(t, name, file(t, b, name))
		}
		bundle := regexp.MustCompile(`caBundle: .*`)
		golden(t, "webhooks.yaml", bundle.ReplaceAll(file(t, b, "webhooks.yaml"), []byte("caBundle: (another one each time)")))
		golden(t, "00-control-plane.yaml", file(t, b, "policies/00-control-plane.yaml"))
		golden(t, "instructions.txt", []byte(text(t, b, "sluice")))

		ca, err := pki.NewCA(pki.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b = render(t, deploy.Options{
			Server: "https://[::1]/elsewhere/it's", Mount: `/etc/it's "here" #1`, DefaultAllow: true, CA: ca,
		})
		golden(t, "odd-instructions.txt", []byte(text(t, b, "/srv/my sluice/")))
		golden(t, "odd-kubeconfig.yaml", file(t, b, "kubeconfig.yaml"))
		golden(t, "odd-static-pod.yaml", file(t, b, "static-pod.yaml"))
	})
}

type kubeconfig struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Clusters   []struct {
		Name    string
		Cluster struct {
			Server string
			CA     string `yaml:"certificate-authority"`
		}
	}
	Users []struct {
		Name string
		User struct {
			Cert string `yaml:"client-certificate"`
			Key  string `yaml:"client-key"`
		}
	}
	Contexts []struct {
		Name    string
		Context struct{ Cluster, User string }
	}
	Current string `yaml:"current-context"`
}

type admission struct {
	APIVersion string `yaml:"apiVersion" json:"apiVersion"`
	Kind       string `yaml:"kind" json:"kind"`
	Plugins    []struct {
		Name          string `yaml:"name" json:"name"`
		Configuration struct {
			ImagePolicy struct {
				KubeConfigFile string `yaml:"kubeConfigFile" json:"kubeConfigFile"`
				AllowTTL       int    `yaml:"allowTTL" json:"allowTTL"`
				DenyTTL        int    `yaml:"denyTTL" json:"denyTTL"`
				RetryBackoff   int    `yaml:"retryBackoff" json:"retryBackoff"`
				DefaultAllow   bool   `yaml:"defaultAllow" json:"defaultAllow"`
			} `yaml:"imagePolicy" json:"imagePolicy"`
		} `yaml:"configuration" json:"configuration"`
	} `yaml:"plugins" json:"plugins"`
}

// TestQuoting puts odd but lawful words in, and reads the same words back from every file.
func TestQuoting(t *testing.T) {
	t.Parallel()
	f := func(server, mount, client, wantURL, wantListen string) {
		t.Helper()
		b := render(t, deploy.Options{
			Server: server, Mount: mount, ClientName: client, DefaultAllow: true, AllowTTL: 1, DenyTTL: 1800, RetryBackoff: 300000,
		})
		var k kubeconfig
		strict(t, file(t, b, "kubeconfig.yaml"), &k)
		if len(k.Clusters) != 1 || len(k.Users) != 1 || len(k.Contexts) != 1 {
			t.Fatalf("%+v", k)
		}
		if c := k.Clusters[0].Cluster; c.Server != wantURL || c.CA != mount+"/pki/ca.crt" {
			t.Errorf("cluster %+v, want %s", c, wantURL)
		}
		if u := k.Users[0].User; u.Cert != mount+"/pki/client.crt" || u.Key != mount+"/pki/client.key" {
			t.Errorf("user %+v", u)
		}
		if c := k.Contexts[0]; k.Current != c.Name || c.Context.Cluster != k.Clusters[0].Name || c.Context.User != k.Users[0].Name {
			t.Errorf("context %q of %+v", k.Current, c)
		}

		var fromYAML, fromJSON admission
		strict(t, file(t, b, "admission.yaml"), &fromYAML)
		d := json.NewDecoder(bytes.NewReader(file(t, b, "admission.json")))
		d.DisallowUnknownFields()
		if err := d.Decode(&fromJSON); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fromYAML, fromJSON); diff != "" {
			t.Errorf("admission.yaml and .json differ: %s", diff)
		}
		p := fromYAML.Plugins[0].Configuration.ImagePolicy
		if p.KubeConfigFile != mount+"/kubeconfig.yaml" || p.AllowTTL != 1 || p.DenyTTL != 1800 || p.RetryBackoff != 300000 || !p.DefaultAllow {
			t.Errorf("admission: %+v", p)
		}

		var c config
		strict(t, uncomment(file(t, b, "sluice.yaml")), &c)
		if c.Listen != wantListen {
			t.Errorf("listen %q, want %q", c.Listen, wantListen)
		}
		if len(c.TLS.ClientNames) != 1 || c.TLS.ClientNames[0] != client {
			t.Errorf("client names %q, want %q", c.TLS.ClientNames, client)
		}
	}
	const path = deploy.DefaultPath
	f("https://a", "/x", "null", "https://a"+path, "0.0.0.0:443")
	f("https://A.b:8443/", `/a "b" 'c'`, "yes", "https://A.b:8443"+path, "0.0.0.0:8443")
	f("HTTPS://10.0.0.1:1/policy", "/a #b", "- x", "https://10.0.0.1:1/policy", "0.0.0.0:1")
	f("https://[2001:db8::1]:8443", `/a\n${HOME}$(id)`, `"`, "https://[2001:db8::1]:8443"+path, "[::]:8443")
	f("https://[2001:db8::1]", "/a {{.URL}}", "{{.}}", "https://[2001:db8::1]"+path, "[::]:443")
	f("https://127.0.0.1:9", "/ü", "a: b", "https://127.0.0.1:9"+path, "127.0.0.1:9")
	f("https://[::1]:9", "/<&>", "<&>", "https://[::1]:9"+path, "[::1]:9")
	f("https://localhost:9", "/-", "~", "https://localhost:9"+path, "127.0.0.1:9")
	f(`https://a/x y"'`, "/a*", "1e3", "https://a/x%20y%22%27", "0.0.0.0:443")
}

func TestListenBeyondLoopback(t *testing.T) {
	t.Parallel()
	var c config
	strict(t, file(t, render(t, deploy.Options{Server: "https://127.0.0.1:9", Hosts: []string{"a.example"}}), "sluice.yaml"), &c)
	if c.Listen != "0.0.0.0:9" {
		t.Errorf("a service with another name listens at %s", c.Listen)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	f := func(o deploy.Options, option, problem, hint string) {
		t.Helper()
		_, err := deploy.Render(o)
		var e *deploy.OptionError
		if !errors.As(err, &e) {
			t.Errorf("%+v: %v", o, err)
			return
		}
		if e.Option != option || !strings.Contains(e.Error(), problem) || !strings.Contains(e.Hint(), hint) {
			t.Errorf("%+v: %s: %s; %s", o, e.Option, e.Problem, e.Hint())
		}
	}
	server := func(url, problem, hint string) {
		t.Helper()
		f(deploy.Options{Server: url}, "Server", problem, hint)
	}
	server("", "no server URL", "such as https://")
	server("http://a:8443/x", "TLS only", "write https://a:8443/x")
	server("HTTP://a", "TLS only", "write https://a")
	server("sluice.example.com:8443", "not an https URL", "write https://sluice.example.com:8443")
	server("ftp://a", "not an https URL", "such as https://")
	server("/v1/imagereview", "not an https URL", "such as https://")
	server("https://", "no host", "such as https://")
	server("https:///v1", "no host", "such as https://")
	server("https://:8443", "no host", "such as https://")
	server("https://u:p@a", "user name", "certificate")
	server("https://a/?x=1", "drops", "leave it out")
	server("https://a?", "drops", "leave it out")
	server("https://a#b", "drops", "leave it out")
	server("https://2001:db8::1:8443", "", "brackets")
	server("https://[fe80::1%25eth0]", "neither", "such as https://")
	server("https://*.example.com", "neither", "such as https://")
	server("https://a_b-.c", "neither", "such as https://")
	server("https://0.0.0.0:8443", "no address", "the machine")
	server("https://[::]:8443", "no address", "the machine")
	server("https://a:", "no port", "leave the colon out")
	server("https://a:0", "not a port", "65535")
	server("https://a:65536", "not a port", "65535")
	server("https://a:x", "not a URL", "such as https://")
	server("https://a/b/../c", "would not keep", `"/c"`)
	server("https://a/b/", "would not keep", `"/b"`)
	server("https://a/b%0Ac", "printed", "leave them out")
	server("https://a/b%FFc", "printed", "leave them out")
	server("https://a\n", "not a URL", "")

	const ok = "https://a"
	f(deploy.Options{Server: ok, Mount: "x"}, "Mount", "not absolute", deploy.DefaultMount)
	f(deploy.Options{Server: ok, Mount: "/"}, "Mount", "whole machine", "")
	f(deploy.Options{Server: ok, Mount: "/a/"}, "Mount", `"/a"`, "")
	f(deploy.Options{Server: ok, Mount: "/a/../b"}, "Mount", `"/b"`, "")
	f(deploy.Options{Server: ok, Mount: "/a:b"}, "Mount", "colon", "")
	f(deploy.Options{Server: ok, Mount: "/a\nb"}, "Mount", "printed", "")
	f(deploy.Options{Server: ok, Mount: "/a\x7fb"}, "Mount", "printed", "")
	f(deploy.Options{Server: ok, Mount: "/a\u0085b"}, "Mount", "printed", "")
	f(deploy.Options{Server: ok, Mount: "/a\u2028b"}, "Mount", "printed", "")
	f(deploy.Options{Server: ok, Mount: "/a\ufeffb"}, "Mount", "printed", "")
	f(deploy.Options{Server: ok, Mount: "/a\xff"}, "Mount", "printed", "")
	f(deploy.Options{Server: ok, Hosts: []string{"b", "c:1"}}, "Hosts", "port", "192.0.2.10")
	f(deploy.Options{Server: ok, ClientName: "a\nb"}, "ClientName", "printed", deploy.DefaultClientName)
	f(deploy.Options{Server: ok, AllowTTL: -1}, "AllowTTL", "between 1 and 1800", "seconds")
	f(deploy.Options{Server: ok, AllowTTL: 1801}, "AllowTTL", "between 1 and 1800", "seconds")
	f(deploy.Options{Server: ok, DenyTTL: 1801}, "DenyTTL", "between 1 and 1800", "seconds")
	f(deploy.Options{Server: ok, RetryBackoff: 300001}, "RetryBackoff", "between 1 and 300000", "milliseconds")
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	f := func(o deploy.Options, want string) {
		t.Helper()
		got := text(t, render(t, o), "d")
		if want == "" && strings.Contains(got, "Mind:") || !strings.Contains(got, want) {
			t.Errorf("%+v: want %q in\n%s", o, want, got)
		}
	}
	f(deploy.Options{Server: "https://svc.example.com"}, "")
	f(deploy.Options{Server: "https://a/image_policy"}, "")
	f(deploy.Options{Server: "https://a", DefaultAllow: true}, "Mind: defaultAllow is true")
	f(deploy.Options{Server: "https://sluice.kube-system.svc:8443"}, "does not ask")
	f(deploy.Options{Server: "https://sluice.ns.svc.cluster.local"}, "does not ask")
	f(deploy.Options{Server: "https://127.0.0.1:8443"}, "every control-plane machine")
}

func TestInstructionsInPlace(t *testing.T) {
	t.Parallel()
	got := text(t, render(t, deploy.Options{Server: "https://a"}), deploy.DefaultMount+"/")
	if strings.Contains(got, "install -m 600 "+deploy.DefaultMount+"/pki/client.key") || !strings.Contains(got, "     Here, it is in place: admission.yaml") {
		t.Errorf("a bundle that stands where the apiserver mounts it from:\n%s", got)
	}
	got = text(t, render(t, deploy.Options{Server: "https://a:8443"}), deploy.ServiceDir)
	if strings.Contains(got, "install -d -m 755 "+deploy.ServiceDir) || !strings.Contains(got, "     chown 65532:65532 /etc/sluice/pki/server.key\n") {
		t.Errorf("a bundle that stands where the service reads it from:\n%s", got)
	}
}
