package resolver

import (
	"errors"
	"fmt"
	"time"
)

// Config says which registries there are, and how long a fact lives. The zero value lists none, so nothing is
// contacted.
type Config struct {
	Registries []Registry // the first whose Host matches is the one that counts

	TagTTL    time.Duration // life of the fact that a tag points at a digest; 0 means 60 s
	MaxTags   int64         // such facts kept at most; 0 means 100,000
	MaxBytes  int64         // if set, what such facts may take in bytes, in place of MaxTags
	UserAgent string        // empty means sluice

	// HostsDirs are containerd's directories of hosts.toml files (its config_path), the first that has one for a registry
	// counting. They decide which servers are asked on behalf of the registries that are listed here, in containerd's
	// order and by its rules, http and skip_verify included where a file says so: see the package mirror. No credentials
	// go to a server that is not the registry's own, or whose identity is not checked; what its file says in a header, and
	// its client certificates, do. What is for an exact Host is read by New, and else when it is first asked for.
	HostsDirs []string

	// Keychain is asked, if it is not nil, for the credentials of registries that want some and have none here.
	Keychain Keychain

	// Observe is called after every request on the wire, if it is not nil: on the goroutine that made it, so several
	// at a time, and before the answer is used.
	Observe func(Request)
}

// Registry is one registry, or several of one kind.
type Registry struct {
	// Host is host or host:port, as it stands in image references, or a pattern in which * stands for a part of one
	// label: *.example.com matches eu.example.com, but neither example.com nor a.eu.example.com. docker.io,
	// index.docker.io and registry-1.docker.io are one registry, which is contacted as index.docker.io.
	Host string

	// CAFile holds the certificate authorities (PEM) that are trusted for everything contacted on behalf of this
	// registry, token service and redirects included: these alone, the system's no longer. Empty means the system's. It
	// says nothing about mirrors, for which their hosts.toml and the system's count.
	CAFile string
	// PlainHTTP means http, and https never is tried. Nothing else makes a connection insecure, neither localhost nor
	// a private address. Where it is set, redirects and token services may be http too.
	PlainHTTP bool

	// DockerConfigFile is a docker config.json whose "auths" has an entry for exactly this host. Helpers
	// (credHelpers, credsStore) are never run: a file that names them is refused.
	DockerConfigFile string
	// UsernameFile and PasswordFile hold credentials for Host, which then can't be a pattern. Trailing newlines do
	// not count.
	UsernameFile, PasswordFile string

	Concurrency int           // requests in flight at most; 0 means 64
	Timeout     time.Duration // of one request, its body included; 0 means 3 s
	Retries     int           // further attempts at most, for everything that one fact needs; 0 means 2, below 0 none

	// Redirects are the hosts (patterns as in Host) that content asked for by digest may be fetched from when the
	// registry says so. Credentials never go there. What a tag points at is only believed from the registry itself.
	Redirects []string
	// TokenHosts are the hosts, beside the registry's own, that the registry may name as its token service. The
	// registry's credentials are sent there. Docker Hub's is known: auth.docker.io.
	TokenHosts []string
}

// The defaults, and the limits of what may be configured.
const (
	defaultTagTTL      = time.Minute
	defaultMaxTags     = 100_000
	defaultUserAgent   = "sluice"
	defaultConcurrency = 64
	defaultTimeout     = 3 * time.Second
	defaultRetries     = 2

	maxConcurrency = 4096
	maxRetries     = 10
)

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.TagTTL < 0:
		return c, errors.New("tagTTL must not be negative")
	case c.MaxTags < 0 || c.MaxBytes < 0:
		return c, errors.New("maxTags and maxBytes must not be negative")
	}
	if c.TagTTL == 0 {
		c.TagTTL = defaultTagTTL
	}
	if c.MaxTags == 0 {
		c.MaxTags = defaultMaxTags
	}
	if c.UserAgent == "" {
		c.UserAgent = defaultUserAgent
	}
	for i := range len(c.UserAgent) {
		if b := c.UserAgent[i]; b < ' ' || b > '~' {
			return c, errors.New("userAgent must be printable ASCII")
		}
	}
	return c, nil
}

func (r Registry) withDefaults() (Registry, error) {
	switch {
	case r.Concurrency < 0 || r.Concurrency > maxConcurrency:
		return r, fmt.Errorf("concurrency must be 1 to %d", maxConcurrency)
	case r.Timeout < 0:
		return r, errors.New("timeout must not be negative")
	case r.Retries > maxRetries:
		return r, fmt.Errorf("retries must be at most %d", maxRetries)
	case r.PlainHTTP && r.CAFile != "":
		return r, errors.New("plainHTTP and caFile exclude each other: without https no certificate is checked")
	case (r.UsernameFile == "") != (r.PasswordFile == ""):
		return r, errors.New("usernameFile and passwordFile are needed together")
	case r.UsernameFile != "" && r.DockerConfigFile != "":
		return r, errors.New("give either dockerConfigFile or usernameFile and passwordFile")
	}
	if r.Concurrency == 0 {
		r.Concurrency = defaultConcurrency
	}
	if r.Timeout == 0 {
		r.Timeout = defaultTimeout
	}
	if r.Retries == 0 {
		r.Retries = defaultRetries
	}
	r.Retries = max(r.Retries, 0)
	return r, nil
}
