package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// service is a running sluice, and the directory that sluice init wrote for it.
type service struct {
	dir          string
	instructions string // what sluice init said
	addr, admin  string
	process      *process
}

// rule is a policy, for the tests' few needs.
type rule struct {
	name        string
	images      string // glob
	key         key
	annotations string // YAML, of the authority
	onError     string
	allowTTL    string
	message     string
}

func (r rule) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: sluice/v1\nkind: ImagePolicy\nmetadata: {name: %s}\nspec:\n", r.name)
	fmt.Fprintf(&b, "  images:\n  - glob: %q\n", r.images)
	fmt.Fprintf(&b, "  authorities:\n  - name: release\n    key: {file: %q}\n", r.key.public)
	if r.annotations != "" {
		fmt.Fprintf(&b, "    annotations: %s\n", r.annotations)
	}
	if r.onError != "" {
		fmt.Fprintf(&b, "  onError: %s\n", r.onError)
	}
	if r.message != "" {
		fmt.Fprintf(&b, "  message: %q\n", r.message)
	}
	if r.allowTTL == "" {
		r.allowTTL = "5m"
	}
	fmt.Fprintf(&b, "  cache: {allowTTL: %s, denyTTL: 1s}\n", r.allowTTL)
	return b.String()
}

// settings are what a test changes of what sluice init writes.
type settings struct {
	registries []string   // hosts, asked over plain HTTP
	registry   string     // further YAML of each registry, indented by two
	rules      []rule     // beside the policies that sluice init writes
	edits      [][]string // pairs of text in sluice.yaml
	flags      []string   // further flags of sluice init
}

// newService sets a service up as a user would: sluice init, a few lines changed, sluice serve.
func newService(t testing.TB, s settings) *service {
	t.Helper()
	service := initService(t, s)
	service.start(t)
	return service
}

// initService is newService without the start.
func initService(t testing.TB, s settings) *service {
	t.Helper()
	service := &service{dir: filepath.Join(t.TempDir(), "sluice"), addr: freePort(t), admin: freePort(t)}
	service.init(t, service.dir, s.flags...)
	config := service.file("sluice.yaml")
	edit(t, config, "listen: 127.0.0.1:9443", "listen: "+service.admin)
	if len(s.registries) > 0 {
		registries := "registries:\n"
		for _, host := range s.registries {
			registries += fmt.Sprintf("- host: %q\n  plainHTTP: true\n%s", host, s.registry)
		}
		edit(t, config, "registries: []\n", registries)
	}
	for _, pair := range s.edits {
		edit(t, config, pair[0], pair[1])
	}
	for _, r := range s.rules {
		service.setRule(t, r)
	}
	return service
}

// init runs sluice init into a directory.
func (s *service) init(t testing.TB, dir string, flags ...string) {
	t.Helper()
	code, stdout, stderr := run(t, t.TempDir(), nil, append([]string{
		programs.sluice, "init", "--out", dir, "--server", "https://" + s.addr, "--mount", dir,
		"--allow-ttl", "1", "--deny-ttl", "1", "--retry-backoff", "1",
	}, flags...)...)
	if code != 0 {
		t.Fatalf("sluice init: exit %d\n%s%s", code, stdout, stderr)
	}
	s.instructions = stdout
}

func (s *service) file(name string) string { return filepath.Join(s.dir, name) }

// setRule writes a policy's file, whole from one moment to the next.
func (s *service) setRule(t testing.TB, r rule) {
	t.Helper()
	writeWhole(t, s.file("policies/50-"+r.name+".yaml"), r.yaml())
}

func writeWhole(t testing.TB, file, content string) {
	t.Helper()
	must(t, os.WriteFile(file+".new", []byte(content), 0o644))
	must(t, os.Rename(file+".new", file))
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, content, 0o600))
}

// edit replaces the one place in a file that has a text.
func edit(t testing.TB, file, from, to string) {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	if n := bytes.Count(content, []byte(from)); n != 1 {
		t.Fatalf("%s has %q %d times, and should once:\n%s", file, from, n, content)
	}
	writeWhole(t, file, strings.Replace(string(content), from, to, 1))
}

// start starts sluice serve, and returns when it is ready.
func (s *service) start(t testing.TB, flags ...string) {
	t.Helper()
	p, err := startProcess(s.dir, nil, append([]string{programs.sluice, "serve", "--config", s.file("sluice.yaml")}, flags...)...)
	must(t, err)
	s.process = p
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("sluice (pid %d) wrote:\n%s", p.cmd.Process.Pid, tail(p.stderr.String()))
		}
	})
	eventually(t, func() error {
		if p.ended() {
			t.Fatalf("sluice serve has ended (exit %d):\n%s", p.cmd.ProcessState.ExitCode(), p.stderr.String())
		}
		status, body, err := s.get("/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("/readyz: %d %s", status, body)
		}
		return err
	})
}

// successor is another process for the same configuration and the same port, with an admin port of its own.
func (s *service) successor(t testing.TB) *service {
	t.Helper()
	next := &service{dir: s.dir, addr: s.addr, admin: freePort(t)}
	next.start(t, "--admin-listen", next.admin)
	return next
}

// terminate ends the service as an init system would, and checks that it leaves in order.
func (s *service) terminate(t testing.TB) {
	t.Helper()
	s.process.signal(t, syscall.SIGTERM)
	if code := s.process.exit(t, 40*time.Second); code != 0 {
		t.Errorf("sluice has ended with exit code %d:\n%s", code, tail(s.process.stderr.String()))
	}
}

// lives checks that it is still the same process, that it answers, and that nothing panicked.
func (s *service) lives(t testing.TB) {
	t.Helper()
	if s.process.ended() {
		t.Fatalf("sluice (pid %d) is gone: %s\n%s", s.process.cmd.Process.Pid, s.process.cmd.ProcessState, tail(s.process.stderr.String()))
	}
	if status, body, err := s.get("/livez"); err != nil || status != http.StatusOK {
		t.Errorf("/livez: %d %s %v", status, body, err)
	}
	if n := s.metric(t, "sluice_panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
}

var adminClient = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

func (s *service) get(path string) (status int, body string, err error) {
	return s.ask(http.MethodGet, path)
}

func (s *service) ask(method, path string) (status int, body string, err error) {
	request, err := http.NewRequest(method, "http://"+s.admin+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := adminClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

// reload orders a reload, which must succeed.
func (s *service) reload(t testing.TB) {
	t.Helper()
	if status, body, err := s.ask(http.MethodPost, "/-/reload"); err != nil || status != http.StatusOK {
		t.Fatalf("POST /-/reload: %d %s %v", status, body, err)
	}
}

// metric adds up the series of a name that have all labels, each written label="value".
func (s *service) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	status, body, err := s.get("/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("/metrics: %d %s %v", status, body, err)
	}
	sum, found := 0.0, false
series:
	for line := range strings.Lines(body) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if family, _, _ := strings.Cut(series, "{"); family != name {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(series, label) {
				continue series
			}
		}
		n, err := strconv.ParseFloat(value, 64)
		must(t, err)
		sum, found = sum+n, true
	}
	if !found && len(labels) == 0 {
		t.Fatalf("there is no metric %s", name)
	}
	return sum
}

// clientTLS is what a caller needs, from files as sluice init lays them out.
func clientTLS(t testing.TB, dir string, protocols ...string) *tls.Config {
	t.Helper()
	authority, err := os.ReadFile(filepath.Join(dir, "pki/ca.crt"))
	must(t, err)
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "pki/client.crt"), filepath.Join(dir, "pki/client.key"))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}, NextProtos: protocols}
}

// served is the certificate that the service shows.
func (s *service) served(t testing.TB) []byte {
	t.Helper()
	c, err := tls.Dial("tcp", s.addr, clientTLS(t, s.dir))
	must(t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Raw
}

// client speaks to the service as the apiserver is entitled to, but says what it wants.
func (s *service) client(t testing.TB, http2 bool) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	transport := &http.Transport{TLSClientConfig: clientTLS(t, s.dir), Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Timeout: 30 * time.Second, Transport: transport}
}
