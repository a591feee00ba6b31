package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	Cache      ConfigCache      `yaml:"cache"`
	Log        ConfigLog        `yaml:"log"`

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
	Verdicts     int64         `yaml:"verdicts"`     // default 100,000
	Tags         int64         `yaml:"tags"`         // default 100,000
	Signatures   int64         `yaml:"signatures"`   // default 100,000
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
