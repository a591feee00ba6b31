// Package mirror reads containerd's registry host directories, hosts.toml files as a rule, as they are.
//
// It decides which servers are asked on behalf of a registry, in which order and for what, by the rules of containerd
// 2.2 (core/remotes/docker/config). It trusts the files, which are the node's own. It never contacts anything, and
// never reads the certificates and keys that a file names.
//
// It differs from containerd in three things. A file that can't be read is an error here, where containerd logs it and
// goes on with the certificates in the directory: so that a node and this service don't go different ways in silence.
// Files and lists have bounds. And the server that a file does not name is left open ([Host.Own]), since how a registry
// itself is contacted is not this package's business.
package mirror

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Capabilities are what a server may be asked for.
type Capabilities uint8

// The capabilities.
const (
	Pull      Capabilities = 1 << iota // content by digest
	Resolve                            // what a tag points at
	Push                               // never used here
	Referrers                          // lists of referrers

	all = Pull | Resolve | Push | Referrers
)

// Has tells whether c has all of what.
func (c Capabilities) Has(what Capabilities) bool { return c&what == what }

// Host is one server that is asked on behalf of a registry.
type Host struct {
	// Scheme and Host say where it is: https or http, and host or host:port as the file has it. Both are empty for
	// the registry's own server, where the file names no other.
	Scheme, Host string
	Path         string // where its API begins, such as /v2; may be empty
	Capabilities Capabilities

	CAFiles     []string // PEM, beside the system's authorities
	ClientPairs []ClientPair
	SkipVerify  bool // its certificate is not checked
	TLS         bool // something of the three above is set, skip_verify = false included

	Header      map[string][]string // is sent with each request, keys as written
	DialTimeout time.Duration       // 0 means none of its own
}

// Own tells whether h stands for the registry itself, contacted as ever.
func (h Host) Own() bool { return h.Host == "" }

// ClientPair names a client certificate in PEM and its key, which is in the same file if Key is empty.
type ClientPair struct{ Certificate, Key string }

const (
	// maxFile bounds a hosts.toml, in bytes, and MaxHosts the servers that it names.
	maxFile  = 256 << 10
	MaxHosts = 64

	// maxCertificates bounds the certificates and keys that one directory may hold or one entry may name.
	maxCertificates = 256

	dockerHub = "docker.io" // is what directories call it
)

// Directory returns the directory for a registry under the first of the roots that has one: host_port_, or else
// host:port, or else _default. It is empty if there is none. host is as it stands in image references; Docker Hub,
// by each of its names, is docker.io.
func Directory(roots []string, host string) (string, error) {
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		host = dockerHub
	}
	if host == "" || host[0] == '.' || strings.ContainsAny(host, `/\`) || strings.ContainsRune(host, 0) {
		return "", fmt.Errorf("%.100q is no registry", host)
	}
	names := make([]string, 0, 3)
	if at := strings.LastIndexByte(host, ':'); at > 0 {
		names = append(names, host[:at]+"_"+host[at+1:]+"_")
	}
	names = append(names, host, "_default")
	for _, root := range roots {
		for _, name := range names {
			dir := filepath.Join(root, name)
			_, err := os.Stat(dir)
			switch {
			case err == nil:
				return dir, nil
			case !errors.Is(err, os.ErrNotExist):
				return "", err
			}
		}
	}
	return "", nil
}

// Read returns the servers that are asked on behalf of a registry, in this order; none if no directory is for it. See
// [Directory].
func Read(roots []string, host string) ([]Host, error) {
	dir, err := Directory(roots, host)
	if err != nil || dir == "" {
		return nil, err
	}
	return ReadDirectory(dir)
}

// ReadDirectory returns the servers that one directory names: those of its hosts.toml, or where that is absent or
// empty the registry's own with the certificates in the directory. There is always at least one, and the last is the
// one that the file calls server, or else the registry's own. Errors name the file, and the line where that is known.
func ReadDirectory(dir string) ([]Host, error) {
	path := filepath.Join(dir, fileName)
	b, err := readFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if len(b) == 0 {
		return certificates(dir)
	}
	hosts, err := parse(dir, b)
	if err != nil {
		return nil, fmt.Errorf("%s%w", path, err)
	}
	return hosts, nil
}
