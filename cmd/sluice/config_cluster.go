package main

import (
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"sluice/resolver/mirror"
)

// ConfigAdmission is about the doors for AdmissionReview.
type ConfigAdmission struct {
	// Anonymous answers callers that present neither a certificate nor a token, at these doors only: what a managed
	// control plane's webhooks do.
	Anonymous bool `yaml:"anonymous"`
}

// ConfigPullSecrets says whether the pull secrets of pods are read, and through which API. Without a server it is the one
// of the cluster that this process runs in.
type ConfigPullSecrets struct {
	Enabled   bool          `yaml:"enabled"`
	Server    string        `yaml:"server"`    // https://host:port
	TokenFile string        `yaml:"tokenFile"` // a service account's, read again as it rotates
	CAFile    string        `yaml:"caFile"`
	TTL       time.Duration `yaml:"ttl"` // for which a secret is relied on; default 60s
}

// ConfigCredentialProviders is where the kubelet's credential provider plugins are.
type ConfigCredentialProviders struct {
	ConfigFile string `yaml:"configFile"` // of kind CredentialProviderConfig
	BinDir     string `yaml:"binDir"`
}

// checkCluster refuses what the sections of this file would be refused for later.
func (c *Config) checkCluster(wrong func(path, format string, args ...any)) {
	p := c.PullSecrets
	if given := p.Server != "" || p.TokenFile != "" || p.CAFile != "" || p.TTL != 0; given && !p.Enabled {
		wrong("$.pullSecrets", "enabled: true is missing, without which nothing here has a meaning")
	}
	if u, err := url.Parse(p.Server); p.Server != "" &&
		(err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "") {
		wrong("$.pullSecrets.server", "%q is no address of an apiserver: write https://host:port", p.Server)
	}
	if p.Server != "" && (p.TokenFile == "" || p.CAFile == "") {
		wrong("$.pullSecrets.server", "tokenFile and caFile are needed with it")
	}
	if p.TTL < 0 || p.TTL > time.Hour {
		wrong("$.pullSecrets.ttl", "%s is not between 0 and 1h", p.TTL)
	}
	if cp := c.CredentialProviders; (cp.ConfigFile == "") != (cp.BinDir == "") {
		wrong("$.credentialProviders", "configFile and binDir go together, as the kubelet's flags do")
	}
	for i, dir := range c.HostsDirs {
		if !filepath.IsAbs(dir) {
			wrong(fmt.Sprintf("$.hostsDirs[%d]", i), "%q is not absolute, and the directory is that of the nodes' runtime, such as /etc/containerd/certs.d", dir)
		}
	}
}

// registryParts identifies what the registries' part is made of, but for the content of files.
func (c *Config) registryParts() string {
	return fmt.Sprint(c.resolver(), c.Cache, c.CredentialProviders)
}

// registryFiles returns the files, and the directories, whose content the registries' part depends on.
func (c *Config) registryFiles() []string {
	var files []string
	for _, r := range c.Registries {
		for _, f := range []string{r.CAFile, r.DockerConfigFile, r.UsernameFile, r.PasswordFile} {
			if f != "" {
				files = append(files, c.path(f))
			}
		}
	}
	if providers := c.path(c.CredentialProviders.ConfigFile); providers != "" {
		files = append(files, providers)
		inside, _ := filepath.Glob(filepath.Join(providers, "*")) // where it is a directory
		files = append(files, inside...)
	}
	return append(files, mirror.Files(c.HostsDirs)...)
}
