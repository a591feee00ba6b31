package credential

import (
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"sluice/engine"
)

// pattern is host[:port][/path]. The host may have globs, each within one label; the path is a prefix. It is what the
// kubelet calls a match image (URLsMatch in pkg/credentialprovider/keyring.go).
type pattern struct {
	labels     []string
	port, path string
}

// parsePattern reads a pattern as the kubelet does, as a URL without its scheme.
func parsePattern(s string) (pattern, error) {
	u, err := url.Parse("https://" + s)
	if err != nil {
		return pattern{}, err
	}
	labels, port := splitHost(u.Host)
	return pattern{labels, port, u.Path}, nil
}

// target is what patterns are matched against: an image without tag and digest.
type target struct {
	labels     []string
	port, path string
	hub        bool
}

// parseTarget takes a registry and a repository as an [engine.Reference] has them.
func parseTarget(registry, repository string) target {
	labels, port := splitHost(runtimeName(registry))
	return target{labels, port, "/" + repository, registry == engine.DockerHub}
}

// runtimeName is what the kubelet calls a registry. Docker Hub's canonical name there is docker.io.
func runtimeName(registry string) string {
	if registry == engine.DockerHub {
		return "docker.io"
	}
	return registry
}

func splitHost(hostPort string) (labels []string, port string) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		host, port = hostPort, ""
	}
	return strings.Split(host, "."), port
}

// match tells whether the pattern is for the target. All labels must match, from the first to the last, so that nothing
// can be put before or after a host that is known.
func (p *pattern) match(t *target) bool {
	if p.port != t.port || len(p.labels) != len(t.labels) || !strings.HasPrefix(t.path, p.path) {
		return false
	}
	for i, glob := range p.labels {
		if ok, err := filepath.Match(glob, t.labels[i]); !ok || err != nil {
			return false
		}
	}
	return true
}
