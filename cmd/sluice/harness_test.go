package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/deploy"
)

// running is a service that serves in this process, and what its test needs for working with it.
type running struct {
	*service
	files
	records *records
	client  *http.Client
	stop    context.CancelFunc // what SIGTERM does
	ended   chan error         // what serve returned
}

// files is a directory of configuration.
type files struct {
	t   testing.TB
	dir string
}

// settings is a configuration on free ports, with the certificates that init writes and the policies of a folder.
const settings = `apiVersion: sluice/v1
kind: Config
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0"}
tls: {certFile: pki/server.crt, keyFile: pki/server.key, clientCAFile: pki/ca.crt}
policies: [rules]
cache: {verdicts: 1000, tags: 1000, signatures: 1000}
`

// allowing and denying are policies that need no facts.
const (
	allowing = `apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: lets-in}
spec: {images: [{glob: "**"}], authorities: [{static: {action: pass}}]}
`
	denying = `apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: keeps-out}
spec: {images: [{glob: "**"}], authorities: [{static: {action: fail}}]}
`
)

// newFiles writes certificates, sluice.yaml with the settings and more, and rules/a.yaml.
func newFiles(t testing.TB, more, policy string) files {
	t.Helper()
	f := files{t, t.TempDir()}
	bundle, err := deploy.Render(deploy.Options{Server: "https://127.0.0.1:8443"})
	if err != nil {
		t.Fatal(err)
	}
	if err := bundle.Write(f.dir, false); err != nil {
		t.Fatal(err)
	}
	f.write("sluice.yaml", settings+more)
	f.write("rules/a.yaml", policy)
	return f
}

func (f files) path(name string) string { return filepath.Join(f.dir, name) }

// write replaces a file at one stroke, as whoever changes a configuration that is in use should.
func (f files) write(name, content string) {
	f.t.Helper()
	path := f.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		f.t.Fatal(err)
	}
}

func (f files) read(name string) string {
	f.t.Helper()
	content, err := os.ReadFile(f.path(name))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(content)
}

func (f files) remove(name string) {
	f.t.Helper()
	if err := os.RemoveAll(f.path(name)); err != nil {
		f.t.Fatal(err)
	}
}

// put makes a service of the files, which neither listens nor watches anything.
func (f files) put() (*service, *records) {
	f.t.Helper()
	log := new(records)
	s, err := newService(context.Background(), serveFlags{config: f.path("sluice.yaml")}, log)
	if err != nil {
		f.t.Fatal(err)
	}
	return s, log
}

// start makes a service of the files, and has it serve until the test has ended.
func (f files) start() *running {
	f.t.Helper()
	s, log := f.put()
	r := &running{service: s, files: f, records: log, ended: make(chan error, 1)}
	if err := s.listen(); err != nil {
		f.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.ended <- s.serve(ctx, 0) }()
	var err error
	if r.client, err = newClient(f.dir); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		r.client.CloseIdleConnections()
		stop()
		if err := <-r.ended; err != nil {
			f.t.Errorf("serve: %v", err)
		}
		r.ended <- nil
	})
	return r
}

// review asks about images of one pod.
func (r *running) review(namespace string, images ...string) reply {
	r.t.Helper()
	a, err := ask(r.client, r.front.Addr().String(), namespace, images...)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// post sends anything to the review port.
func (r *running) post(path, body string) {
	r.t.Helper()
	resp, err := r.client.Post("https://"+r.front.Addr().String()+path, "application/json", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
}

// get returns what the admin plane has at a path.
func (r *running) get(path string) string {
	r.t.Helper()
	status, body, err := exchange(http.MethodGet, "http://"+r.service.admin.Addr().String()+path, "")
	if err != nil || status != http.StatusOK {
		r.t.Fatalf("GET %s: %d %s %v", path, status, body, err)
	}
	return body
}

// reload posts to /-/reload, and returns the status and the body.
func (r *running) reload() (int, string) {
	r.t.Helper()
	status, body, err := exchange(http.MethodPost, "http://"+r.service.admin.Addr().String()+"/-/reload", "")
	if err != nil {
		r.t.Fatal(err)
	}
	return status, body
}

func exchange(method, url, body string) (status int, answer string, err error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Close = true // so that nothing is left to be drained
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// newClient makes a client of the certificates in a directory, as client-go makes one of the rendered kubeconfig.
func newClient(dir string) (*http.Client, error) {
	d := &demo{dir: dir}
	if err := d.connect(); err != nil {
		return nil, err
	}
	d.client.Timeout = 30 * time.Second
	return d.client, nil
}

// reply is the answer to a review.
type reply struct {
	Allowed bool
	Message string            `json:"reason"`
	Audit   map[string]string `json:"auditAnnotations"`
}

// String is the verdict, the reason, and the message on a line of its own.
func (r reply) String() string {
	verdict := "deny"
	if r.Allowed {
		verdict = "allow"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s\n%s", verdict, r.Audit["reason"], r.Message))
}

func (r reply) verdict() string {
	first, _, _ := strings.Cut(r.String(), "\n")
	return first
}

// ask sends one review.
func ask(client *http.Client, address, namespace string, images ...string) (reply, error) {
	var containers []map[string]string
	for _, image := range images {
		containers = append(containers, map[string]string{"image": image})
	}
	body, err := json.Marshal(map[string]any{
		"kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "metadata": map[string]any{},
		"spec":   map[string]any{"containers": containers, "namespace": namespace},
		"status": map[string]any{"allowed": false},
	})
	if err != nil {
		return reply{}, err
	}
	resp, err := client.Post("https://"+address+deploy.DefaultPath+"?timeout=30s", "application/json", bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	answer := struct{ Status reply }{}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return reply{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return reply{}, fmt.Errorf("answered %s", resp.Status)
	}
	return answer.Status, nil
}

// records keeps what a service logged.
type records struct {
	mu    sync.Mutex
	lines []record        // guarded by mu
	more  []chan struct{} // guarded by mu; closed when there is another line
}

type record = map[string]any

// Write takes one line: slog writes each record at once.
func (r *records) Write(line []byte) (int, error) {
	var one record
	if err := json.Unmarshal(line, &one); err != nil {
		return 0, fmt.Errorf("this is no record: %q: %w", line, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, one)
	for _, c := range r.more {
		close(c)
	}
	r.more = nil
	return len(line), nil
}

func (r *records) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.lines)
}

// of returns the records with a message.
func (r *records) of(message string) (found []record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.lines {
		if one["msg"] == message {
			found = append(found, one)
		}
	}
	return found
}

// await waits for the first record with a message.
func (r *records) await(t testing.TB, message string) record {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		more := make(chan struct{})
		r.more = append(r.more, more)
		r.mu.Unlock()
		if found := r.of(message); len(found) > 0 {
			return found[0]
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("%q was never logged", message)
		}
	}
}

// series are the samples of an exposition: name and labels, and the value.
func series(exposition string) map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(exposition) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			i := strings.LastIndexByte(line, ' ')
			all[line[:i]] = line[i+1:]
		}
	}
	return all
}

// names are the sorted names and label keys of series, each once, of sluice's own metrics.
func names(all map[string]string) []string {
	found := make(map[string]bool)
	for s := range all {
		name, labels, _ := strings.Cut(strings.TrimSuffix(s, "}"), "{")
		var keys []string
		for labels != "" {
			key, rest, _ := strings.Cut(labels, `="`)
			keys = append(keys, key)
			end := 0
			for end < len(rest) && rest[end] != '"' {
				if rest[end] == '\\' {
					end++
				}
				end++
			}
			labels = strings.TrimPrefix(rest[min(end+1, len(rest)):], ",")
		}
		slices.Sort(keys)
		if strings.HasPrefix(name, "sluice_") {
			found[name+" {"+strings.Join(keys, ",")+"}"] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// golden compares text with a file below testdata, or writes it there.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what was got (go test -update ./cmd/sluice writes it)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}
