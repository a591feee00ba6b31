package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/engine"
	"sluice/engine/policy/strictyaml"
	"sluice/resolver"
)

// Config is the document of kind Config: what an operator decides once. Paths are relative to the document's folder.
// Zero values mean the defaults named here.
type Config struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`

	Listen string    `yaml:"listen"` // the review port; default 127.0.0.1:8443
	Paths  []string  `yaml:"paths"`  // further paths that reviews are taken on, beside the usual ones
	TLS    ConfigTLS `yaml:"tls"`
	Admin  struct {
		Listen string `yaml:"listen"` // the admin plane; default 127.0.0.1:9443
	} `yaml:"admin"`
	Policies   []string         `yaml:"policies"` // files and directories
	NoMatch    string           `yaml:"noMatch"`  // deny (default), allow or warn: images that no policy matches
	Limits     ConfigLimits     `yaml:"limits"`
	Registries []ConfigRegistry `yaml:"registries"`
	HostsDirs  []string         `yaml:"hostsDirs"` // containerd's directories of hosts.toml files: the registries' mirrors

	CredentialProviders ConfigCredentialProviders `yaml:"credentialProviders"`
	PullSecrets         ConfigPullSecrets         `yaml:"pullSecrets"`
	Admission           ConfigAdmission           `yaml:"admission"`
	// TrustedRoots is about those that policies have fetched by TUF.
	TrustedRoots struct {
		CacheDir string `yaml:"cacheDir"` // where they are kept over a restart; default nowhere
	} `yaml:"trustedRoots"`
	Cache ConfigCache `yaml:"cache"`
	Log   ConfigLog   `yaml:"log"`

	dir string // where the document stands
}

// ConfigTLS is who the review port is and whom it answers.
type ConfigTLS struct {
	CertFile     string   `yaml:"certFile"`
	KeyFile      string   `yaml:"keyFile"`
	ClientCAFile string   `yaml:"clientCAFile"`
	ClientNames  []string `yaml:"clientNames"` // if set, only certificates of these names
	TokenFile    string   `yaml:"tokenFile"`   // bearer tokens, one a line
}

// ConfigLimits bounds what one review and all of them together may take.
type ConfigLimits struct {
	ReviewTimeout     time.Duration `yaml:"reviewTimeout"`     // default 8s
	MaxBody           byteSize      `yaml:"maxBody"`           // default 20MiB
	MaxBodiesInFlight byteSize      `yaml:"maxBodiesInFlight"` // default 128MiB
	MaxChecks         int           `yaml:"maxChecks"`         // images being checked at once; default 256
	MaxWaiting        int           `yaml:"maxWaiting"`        // images waiting for that; default 4096
}

// ConfigRegistry is one registry that may be contacted.
type ConfigRegistry struct {
	Host             string        `yaml:"host"`
	CAFile           string        `yaml:"caFile"`
	PlainHTTP        bool          `yaml:"plainHTTP"`
	DockerConfigFile string        `yaml:"dockerConfigFile"`
	UsernameFile     string        `yaml:"usernameFile"`
	PasswordFile     string        `yaml:"passwordFile"`
	Concurrency      int           `yaml:"concurrency"`
	Timeout          time.Duration `yaml:"timeout"`
	Retries          *int          `yaml:"retries"`
	Redirects        []string      `yaml:"redirects"`
	TokenHosts       []string      `yaml:"tokenHosts"`
}

// ConfigCache is how much is remembered, and for how long facts hold.
type ConfigCache struct {
	Verdicts     capacity      `yaml:"verdicts"`     // default 100,000
	Tags         capacity      `yaml:"tags"`         // default 100,000
	Signatures   capacity      `yaml:"signatures"`   // default 100,000
	TagTTL       time.Duration `yaml:"tagTTL"`       // default 60s
	SignatureTTL time.Duration `yaml:"signatureTTL"` // default 1h
}

// ConfigLog is what is logged, and how.
type ConfigLog struct {
	Level  string `yaml:"level"`  // debug, info (default), warn or error
	Format string `yaml:"format"` // json or text; default json, and text on a terminal
}

// byteSize reads sizes such as 20MiB.
type byteSize int64

// UnmarshalText reads a number of bytes with an optional unit of 1024 (KiB, MiB, GiB).
func (b *byteSize) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	shift := 0
	for unit, n := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			s, shift = strings.TrimSpace(rest), n
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<40>>shift {
		return fmt.Errorf("%q is no size: write a number of bytes, or one with KiB, MiB or GiB", text)
	}
	*b = byteSize(n << shift)
	return nil
}

// capacity is how much a cache holds: a number of entries, such as 100000, or their size, such as 256MiB. At most one of
// them is set; none means the default.
type capacity struct{ entries, bytes int64 }

// The bounds of a capacity.
const (
	maxEntries = 100_000_000
	minMemory  = 1 << 20
)

// UnmarshalText reads a number, or a size with a unit (KiB, MiB, GiB).
func (c *capacity) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if !strings.HasSuffix(s, "iB") {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no capacity: write a number of entries, or a size with KiB, MiB or GiB", text)
		}
		*c = capacity{entries: n}
		return nil
	}
	var size byteSize
	err := size.UnmarshalText(text)
	*c = capacity{bytes: int64(size)}
	return err
}

// problem says what is wrong with it, or nothing.
func (c capacity) problem() string {
	switch {
	case c.entries < 0:
		return "it can't be negative"
	case c.entries > maxEntries:
		return fmt.Sprintf("it is more than %d entries", maxEntries)
	case c.bytes != 0 && c.bytes < minMemory:
		return "it is less than 1MiB"
	}
	return ""
}

// readConfig reads the one document of kind Config in a file. What is wrong with it is said with line and caret.
func readConfig(file string) (*Config, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	docs, err := strictyaml.Documents(file, src)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, fmt.Errorf("%s: there are %d documents, and there must be one, of kind Config", file, len(docs))
	}
	doc := docs[0]
	if doc.APIVersion() != "sluice/v1" {
		return nil, doc.Errorf("$.apiVersion", "the apiVersion must be sluice/v1")
	}
	if doc.Kind() != "Config" {
		return nil, doc.Errorf("$.kind", "the kind must be Config")
	}
	c := &Config{dir: filepath.Dir(file)}
	if err := doc.Decode(c); err != nil {
		return nil, err
	}
	if err := c.check(doc); err != nil {
		return nil, err
	}
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:8443")
	c.Admin.Listen = cmp.Or(c.Admin.Listen, "127.0.0.1:9443")
	return c, nil
}

// check refuses values that would be refused later without a line, or not at all.
func (c *Config) check(doc *strictyaml.Document) error {
	var errs []error
	wrong := func(path, format string, args ...any) { errs = append(errs, doc.Errorf(path, format, args...)) }
	oneOf := func(path, value string, allowed ...string) {
		if value != "" && !slices.Contains(allowed, value) {
			wrong(path, "%q is not one of %s", value, strings.Join(allowed, ", "))
		}
	}
	oneOf("$.noMatch", c.NoMatch, "deny", "allow", "warn")
	oneOf("$.log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf("$.log.format", c.Log.Format, "json", "text")
	for _, p := range []struct{ path, value string }{{"$.listen", c.Listen}, {"$.admin.listen", c.Admin.Listen}} {
		if _, _, err := net.SplitHostPort(p.value); p.value != "" && err != nil {
			wrong(p.path, "%q is no address: write host:port", p.value)
		}
	}
	if c.TLS.CertFile == "" || c.TLS.KeyFile == "" {
		wrong("$.tls", "certFile and keyFile are needed: the apiserver speaks https only")
	}
	if c.TLS.ClientCAFile == "" && c.TLS.TokenFile == "" && !c.Admission.Anonymous {
		wrong("$.tls", "clientCAFile or tokenFile is needed: it is they who tell who asks (webhooks alone do with admission: {anonymous: true})")
	}
	if len(c.TLS.ClientNames) > 0 && c.TLS.ClientCAFile == "" {
		wrong("$.tls.clientNames", "clientNames are names in client certificates, which need a clientCAFile")
	}
	if len(c.Policies) == 0 {
		wrong("$.policies", "at least one file or directory of policies is needed")
	}
	c.checkCluster(wrong)
	const most = 10 * time.Minute
	if t := c.Limits.ReviewTimeout; t < 0 || t > 30*time.Second {
		wrong("$.limits.reviewTimeout", "%s is not between 0 and the 30s after which the apiserver has left", t)
	}
	if c.Limits.MaxBody > 0 && c.Limits.MaxBodiesInFlight > 0 && c.Limits.MaxBodiesInFlight < c.Limits.MaxBody {
		wrong("$.limits.maxBodiesInFlight", "it must have room for one body of maxBody")
	}
	for _, p := range []struct {
		path string
		n    int64
	}{
		{"$.limits.maxChecks", int64(c.Limits.MaxChecks)},
		{"$.limits.maxWaiting", int64(c.Limits.MaxWaiting)},
		{"$.cache.tagTTL", int64(c.Cache.TagTTL)},
		{"$.cache.signatureTTL", int64(c.Cache.SignatureTTL)},
	} {
		if p.n < 0 {
			wrong(p.path, "it can't be negative")
		}
	}
	for _, p := range []struct {
		path string
		capacity
	}{
		{"$.cache.verdicts", c.Cache.Verdicts}, {"$.cache.tags", c.Cache.Tags}, {"$.cache.signatures", c.Cache.Signatures},
	} {
		if problem := p.problem(); problem != "" {
			wrong(p.path, "%s", problem)
		}
	}
	seen := make(map[string]bool)
	for i, r := range c.Registries {
		at, before := fmt.Sprintf("$.registries[%d]", i), len(errs)
		switch {
		case r.Host == "":
			wrong(at, "a registry needs a host")
		case seen[r.Host]:
			wrong(at+".host", "the host %q is listed above already", r.Host)
		}
		seen[r.Host] = true
		if (r.UsernameFile == "") != (r.PasswordFile == "") {
			wrong(at, "usernameFile and passwordFile go together")
		}
		if r.UsernameFile != "" && r.DockerConfigFile != "" {
			wrong(at+".dockerConfigFile", "credentials come from a docker config file or from usernameFile and passwordFile, not from both")
		}
		if r.PlainHTTP && r.CAFile != "" {
			wrong(at+".caFile", "without TLS (plainHTTP) there is no certificate to trust")
		}
		if r.Timeout < 0 || r.Timeout > most {
			wrong(at+".timeout", "%s is not between 0 and %s", r.Timeout, most)
		}
		if r.Concurrency < 0 {
			wrong(at+".concurrency", "it can't be negative")
		}
		if r.Retries != nil && (*r.Retries < 0 || *r.Retries > 10) {
			wrong(at+".retries", "%d is not between 0 and 10", *r.Retries)
		}
		if len(errs) > before {
			continue
		}
		// Without the files it names: what is wrong with those is no mistake of this document, and must not keep its
		// policies from being reloaded.
		form := c.registry(r)
		form.CAFile, form.DockerConfigFile, form.UsernameFile, form.PasswordFile = "", "", "", ""
		if alone, err := resolver.New(resolver.Config{Registries: []resolver.Registry{form}, MaxTags: 1}); err != nil {
			wrong(at, "%s", cmp.Or(errors.Unwrap(err), err)) // without the registry's number, which is another here
		} else {
			alone.Close()
		}
	}
	return errors.Join(errs...)
}

// path makes a path of the document one of the process.
func (c *Config) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.dir, p)
}

func (c *Config) registry(r ConfigRegistry) resolver.Registry {
	retries := 0 // the resolver's default
	if r.Retries != nil {
		if retries = *r.Retries; retries == 0 {
			retries = -1 // which is how the resolver says none
		}
	}
	return resolver.Registry{
		Host: r.Host, CAFile: c.path(r.CAFile), PlainHTTP: r.PlainHTTP,
		DockerConfigFile: c.path(r.DockerConfigFile),
		UsernameFile:     c.path(r.UsernameFile), PasswordFile: c.path(r.PasswordFile),
		Concurrency: r.Concurrency, Timeout: r.Timeout, Retries: retries,
		Redirects: r.Redirects, TokenHosts: r.TokenHosts,
	}
}

func (c *Config) resolver() resolver.Config {
	rc := resolver.Config{
		TagTTL: c.Cache.TagTTL, MaxTags: c.Cache.Tags.entries, MaxBytes: c.Cache.Tags.bytes, HostsDirs: c.HostsDirs,
		UserAgent: "sluice/" + readBuildInfo().Version,
	}
	for _, r := range c.Registries {
		rc.Registries = append(rc.Registries, c.registry(r))
	}
	return rc
}

func (c *Config) noMatch() engine.NoMatch {
	switch c.NoMatch {
	case "allow":
		return engine.NoMatchAllow
	case "warn":
		return engine.NoMatchWarn
	default:
		return engine.NoMatchDeny
	}
}

// policies returns the paths of policies.
func (c *Config) policies() []string {
	paths := make([]string, len(c.Policies))
	for i, p := range c.Policies {
		paths[i] = c.path(p)
	}
	return paths
}
