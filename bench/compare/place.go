package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"sluice/bench/compare/load"
)

// path is where reviews go.
const path = "/v1/imagereview"

// token is what callers without a certificate show. It opens nothing but servers on loopback that end with this program.
const token = "bench-compare"

// server is one that is measured: running, or missing with the reason.
type server struct {
	name    string
	process *process
	addr    string
	target  load.Target // what it is asked by default
	get     bool        // is asked with GETs by the tools that can do that
	missing error
}

// place is the ground on which everything stands: certificates, images, and the servers.
type place struct {
	dir, tools string
	self       string // this program
	tls        *tls.Config
	serverTLS  *tls.Config // without a client's certificate
	images     contents
	body       []byte // of the review that is asked again and again
	reply      []byte // sluice's answer to it
	processes  []*process
}

func (p *place) path(elements ...string) string {
	return filepath.Join(append([]string{p.dir}, elements...)...)
}

// newPlace makes certificates, and starts the registry.
func newPlace(ctx context.Context, dir, tools string, cold int) (*place, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &place{dir: dir, tools: tools, self: self}
	init := exec.CommandContext(ctx, filepath.Join(tools, "bin", "sluice"), "init", "--out", dir, "--server", "https://127.0.0.1:8443")
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("sluice init: %w\n%s", err, out)
	}
	cert, err := tls.LoadX509KeyPair(p.path("pki/client.crt"), p.path("pki/client.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(p.path("pki/ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("pki/ca.crt holds no certificate")
	}
	p.serverTLS = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}
	p.tls = p.serverTLS.Clone()
	p.tls.Certificates = []tls.Certificate{cert}

	registry, err := p.start("registry", nil, p.self, "registry", "-cold", strconv.Itoa(cold), "-contents", p.path("images.json"))
	if err != nil {
		return p, err
	}
	if err := registry.await(ctx, func() error {
		content, err := os.ReadFile(p.path("images.json"))
		if err != nil {
			return err
		}
		return json.Unmarshal(content, &p.images)
	}); err != nil {
		return p, err
	}
	p.body = reviewOf(p.images.Warm...)
	policies := fmt.Sprintf(`apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: production-is-signed}
spec:
  images: [{glob: "%s/team/**"}]
  tags: {deny: [latest]}
  authorities: [{name: release-key, key: {file: release.pub}}]
`, p.images.Host)
	return p, errors.Join(
		os.WriteFile(p.path("release.pub"), []byte(p.images.Key), 0o644),
		os.WriteFile(p.path("policy.yaml"), []byte(policies), 0o644),
		os.WriteFile(p.path("tokens"), []byte(token+"\n"), 0o600),
	)
}

// start runs a program that ends with the place.
func (p *place) start(name string, env []string, program string, arguments ...string) (*process, error) {
	process, err := start(name, env, p.dir, program, arguments...)
	if err == nil {
		p.processes = append(p.processes, process)
	}
	return process, err
}

// close ends everything.
func (p *place) close() {
	for _, process := range p.processes {
		process.stop()
	}
}

// debian is a file of the unpacked packages.
func (p *place) debian(elements ...string) (string, error) {
	file := filepath.Join(append([]string{p.tools, "debian", "root"}, elements...)...)
	_, err := os.Stat(file)
	return file, err
}

// debianEnv makes unpacked programs find their libraries.
func (p *place) debianEnv() []string {
	root := filepath.Join(p.tools, "debian", "root")
	libraries, _ := filepath.Glob(filepath.Join(root, "usr", "lib", "*-linux-*"))
	return []string{
		"LD_LIBRARY_PATH=" + strings.Join(libraries, ":"),
		"PYTHONPATH=" + filepath.Join(root, "usr", "lib", "python3", "dist-packages"),
	}
}

// ask sends one request, in no hurry, and returns the whole answer.
func ask(ctx context.Context, t load.Target, protocol string, authorization string) ([]byte, error) {
	transport := &http.Transport{TLSClientConfig: t.TLS.Clone(), DisableKeepAlives: true, ForceAttemptHTTP2: protocol == "h2"}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(t.Bodies[0]))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if want := map[string]int{"h1": 1, "h2": 2}[protocol]; response.ProtoMajor != want {
		return nil, fmt.Errorf("the answer came over %s", response.Proto)
	}
	return body, t.Check(response.StatusCode, body)
}
