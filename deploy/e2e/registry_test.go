package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// registry is a docker-registry that runs as a process of its own, over plain HTTP.
type registry struct {
	host    string
	process *process
}

func startRegistry(dir, addr string) (*registry, error) {
	config := filepath.Join(dir, "config.yml")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	err := os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}
http: {addr: "%s", secret: e2e}
`, filepath.Join(dir, "storage"), addr), 0o644)
	if err != nil {
		return nil, err
	}
	p, err := startProcess(dir, nil, programs.registry, "serve", config)
	if err != nil {
		return nil, err
	}
	err = poll(func() error {
		response, err := http.Get("http://" + addr + "/v2/")
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("docker-registry does not answer: %w; it said:\n%s", err, tail(p.stderr.String()))
	}
	return &registry{addr, p}, nil
}

// newRegistry starts a registry for one test, to be stopped by it.
func newRegistry(t testing.TB) *registry {
	t.Helper()
	r, err := startRegistry(filepath.Join(t.TempDir(), "registry"), freePort(t))
	must(t, err)
	t.Cleanup(r.process.kill)
	return r
}

var accessLine = regexp.MustCompile(`"([A-Z]+) /v2/(\S*) HTTP/1\.1" ([0-9]+) [0-9]+ "[^"]*" "([^"]*)"`)

// requests lists what sluice has asked the registry about a repository, by the registry's own access log.
func (r *registry) requests(repository string) []string {
	var asked []string
	for _, m := range accessLine.FindAllStringSubmatch(r.process.stdout.String(), -1) {
		if path, ok := strings.CutPrefix(m[2], repository+"/"); ok && strings.HasPrefix(m[4], "sluice/") {
			asked = append(asked, m[1]+" "+path+" "+m[3])
		}
	}
	return asked
}

// image is one that has been pushed.
type image struct {
	repository string // with the registry's host
	digest     v1.Hash
}

func (i image) tag(tag string) string { return i.repository + ":" + tag }
func (i image) byDigest() string      { return i.repository + "@" + i.digest.String() }

// signatures is the tag under which cosign keeps the signatures of an image.
func (i image) signatures() string { return i.tag("sha256-" + i.digest.Hex + ".sig") }

// push puts a new image under tags of a repository.
func (r *registry) push(t testing.TB, repository string, tags ...string) image {
	t.Helper()
	content, err := random.Image(64, 1)
	must(t, err)
	digest, err := content.Digest()
	must(t, err)
	i := image{r.host + "/" + repository, digest}
	for _, tag := range tags {
		write(t, i.tag(tag), content)
	}
	return i
}

func write(t testing.TB, reference string, content v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(reference)
	must(t, err)
	must(t, remote.Write(ref, content, remote.WithContext(t.Context())))
}

func writeIndex(t testing.TB, reference string, content v1.ImageIndex) {
	t.Helper()
	ref, err := name.ParseReference(reference)
	must(t, err)
	must(t, remote.WriteIndex(ref, content, remote.WithContext(t.Context())))
}

func read(t testing.TB, reference string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(reference)
	must(t, err)
	content, err := remote.Image(ref, remote.WithContext(t.Context()))
	must(t, err)
	return content
}

// copyImage writes what one reference names under another.
func copyImage(t testing.TB, from, to string) {
	t.Helper()
	write(t, to, read(t, from))
}

// repositoryOf is a repository for one test.
func repositoryOf(t testing.TB) string {
	return strings.ToLower(strings.NewReplacer("#", "-", "_", "-", " ", "-").Replace(t.Name()))
}

// front is an HTTP server before a registry, in which answers can be delayed and forged.
type front struct {
	host string
}

// newFront starts one. hook answers requests itself or passes them on.
func newFront(t testing.TB, behind *registry, hook func(w http.ResponseWriter, r *http.Request, next http.Handler)) *front {
	t.Helper()
	target := &url.URL{Scheme: "http", Host: behind.host}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Del("Authorization")
	}}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hook(w, r, proxy) }))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return &front{strings.TrimPrefix(server.URL, "http://")}
}
