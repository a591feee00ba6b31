package deploy_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/deploy"
	"sluice/deploy/pki"
)

type config struct {
	TrustedRoots struct {
		CacheDir string `yaml:"cacheDir"`
	} `yaml:"trustedRoots"`
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Listen     string
	Paths      []string
	TLS        struct {
		CertFile     string   `yaml:"certFile"`
		KeyFile      string   `yaml:"keyFile"`
		ClientCAFile string   `yaml:"clientCAFile"`
		ClientNames  []string `yaml:"clientNames"`
		TokenFile    string   `yaml:"tokenFile"`
	}
	Admin     struct{ Listen string }
	Admission struct{ Anonymous bool }
	HostsDirs []string `yaml:"hostsDirs"`

	CredentialProviders struct {
		ConfigFile string `yaml:"configFile"`
		BinDir     string `yaml:"binDir"`
	} `yaml:"credentialProviders"`
	PullSecrets struct {
		Enabled   bool
		Server    string
		TokenFile string `yaml:"tokenFile"`
		CAFile    string `yaml:"caFile"`
		TTL       string
	} `yaml:"pullSecrets"`
	Policies []string
	NoMatch  string `yaml:"noMatch"`
	Limits   struct {
		ReviewTimeout     string `yaml:"reviewTimeout"`
		MaxBody           string `yaml:"maxBody"`
		MaxBodiesInFlight string `yaml:"maxBodiesInFlight"`
		MaxChecks         int    `yaml:"maxChecks"`
		MaxWaiting        int    `yaml:"maxWaiting"`
	}
	Registries []struct {
		Host             string
		CAFile           string `yaml:"caFile"`
		PlainHTTP        bool   `yaml:"plainHTTP"`
		DockerConfigFile string `yaml:"dockerConfigFile"`
		UsernameFile     string `yaml:"usernameFile"`
		PasswordFile     string `yaml:"passwordFile"`
		Concurrency      int
		Timeout          string
		Retries          int
		Redirects        []string
		TokenHosts       []string `yaml:"tokenHosts"`
	}
	Cache struct {
		Verdicts, Tags, Signatures int
		TagTTL                     string `yaml:"tagTTL"`
		SignatureTTL               string `yaml:"signatureTTL"`
	}
	Log struct{ Level, Format string }
}

// uncomment takes every setting that is commented out into use.
func uncomment(data []byte) []byte {
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		rest, ok := strings.CutPrefix(strings.TrimLeft(line, " "), "#")
		if ok && rest != "" && (rest[0] != ' ' || strings.HasPrefix(rest, "  ")) {
			lines[i] = strings.Replace(line, "#", "", 1)
		}
	}
	return []byte(strings.Replace(strings.Join(lines, "\n"), "registries: []", "registries:", 1))
}

func TestConfig(t *testing.T) {
	t.Parallel()
	data := file(t, render(t, deploy.Options{Server: "https://sluice.example.com:8443"}), "sluice.yaml")
	var c config
	strict(t, data, &c)
	if c.Kind != "Config" || c.Listen != "0.0.0.0:8443" || c.NoMatch != "deny" || c.TLS.ClientNames != nil || len(c.Registries) != 0 {
		t.Errorf("%+v", c)
	}

	var all config
	strict(t, uncomment(data), &all)
	if len(all.Registries) != 2 || all.Registries[1].Host != "index.docker.io" || all.Registries[0].Retries != 2 ||
		len(all.TLS.ClientNames) != 1 || all.TLS.TokenFile == "" || all.Log.Format != "json" || all.TrustedRoots.CacheDir == "" ||
		!all.Admission.Anonymous || len(all.HostsDirs) != 1 || all.CredentialProviders.BinDir == "" || !all.PullSecrets.Enabled {
		t.Errorf("with all settings in use: %+v", all)
	}

	// A path that the service does not answer at anyway; it compares what is decoded.
	f := func(server string, want ...string) {
		t.Helper()
		var c config
		strict(t, file(t, render(t, deploy.Options{Server: server}), "sluice.yaml"), &c)
		if diff := cmp.Diff(want, c.Paths); diff != "" {
			t.Errorf("%s: paths %s", server, diff)
		}
	}
	f("https://a/")
	f("https://a/policy")
	f("https://a/image_policy")
	f("https://a/clusters/b", "/clusters/b")
	f("https://a/x,y", "/x,y")
	f(`https://a/x%20y,"]`, `/x y,"]`)

	// An authority that others use too vouches for more than the apiserver.
	ca, err := pki.NewCA(pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c = config{}
	strict(t, file(t, render(t, deploy.Options{Server: "https://a", CA: ca}), "sluice.yaml"), &c)
	if diff := cmp.Diff([]string{"kube-apiserver"}, c.TLS.ClientNames); diff != "" {
		t.Error(diff)
	}
}

type policy struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Spec       struct {
		Namespaces []string
		Images     []struct{ Glob string }
		Tags       struct {
			Deny          []string
			RequireDigest bool `yaml:"requireDigest"`
		}
		Authorities []struct {
			Name        string
			Static      struct{ Action string }
			Key         struct{ Data string }
			Annotations map[string]string
		}
		Pin              bool   `yaml:"pin"`
		AlwaysPullImages bool   `yaml:"alwaysPullImages"`
		UnchangedImages  string `yaml:"unchangedImages"`
		Mode             string
		OnError          string `yaml:"onError"`
		Cache            struct {
			AllowTTL string `yaml:"allowTTL"`
			DenyTTL  string `yaml:"denyTTL"`
		}
		Message string
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	b := render(t, deploy.Options{Server: "https://a"})
	names := map[string]string{}
	for _, f := range b.Files {
		if !strings.HasPrefix(f.Path, "policies/") && !strings.HasPrefix(f.Path, "examples/") {
			continue
		}
		var p, all policy
		strict(t, f.Data, &p)
		strict(t, uncomment(f.Data), &all)
		if p.APIVersion != "sluice/v1" || p.Kind != "ImagePolicy" || len(p.Spec.Images) == 0 {
			t.Errorf("%s: %+v", f.Path, p)
		}
		names[f.Path] = p.Metadata.Name
		for _, a := range p.Spec.Authorities {
			if a.Key.Data == "" {
				continue
			}
			block, rest := pem.Decode([]byte(a.Key.Data))
			if block == nil || len(rest) > 0 {
				t.Fatalf("%s: not one PEM block: %q", f.Path, a.Key.Data)
			}
			if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
				t.Errorf("%s: %v", f.Path, err)
			}
		}
	}
	want := map[string]string{
		"policies/00-control-plane.yaml": "control-plane",
		"policies/10-no-latest.yaml":     "no-latest",
		"examples/signed-by-key.yaml":    "signed-by-key",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}

	var p policy
	strict(t, file(t, b, "policies/00-control-plane.yaml"), &p)
	if diff := cmp.Diff([]string{"kube-system"}, p.Spec.Namespaces); diff != "" {
		t.Errorf("the control plane's pass is for kube-system alone: %s", diff)
	}
	p = policy{}
	strict(t, file(t, b, "policies/10-no-latest.yaml"), &p)
	if p.Spec.UnchangedImages != "allow" {
		t.Error("it matches every image, so that without this labels and finalizers of old pods could not be changed")
	}
	const example = "examples/signed-by-key.yaml"
	if bytes.Equal(file(t, b, example), file(t, render(t, deploy.Options{Server: "https://a"}), example)) {
		t.Error("two bundles have one example key, so somebody may have its other half")
	}
}
