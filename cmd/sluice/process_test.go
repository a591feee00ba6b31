package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/resolver/registrytest"
)

// process is a sluice of its own, with an end of its own.
type process struct {
	*exec.Cmd
	records *records
	ended   chan error
	review  string // address of the review port
	admin   string // and of the admin port
}

// startProcess runs sluice serve, and waits until it serves.
func (f files) startProcess() *process {
	f.t.Helper()
	ctx, kill := context.WithTimeout(context.Background(), time.Minute) // it must not outlive a test that hangs
	f.t.Cleanup(kill)
	p := &process{
		Cmd:     exec.CommandContext(ctx, "sluice", "serve", "--config", f.path("sluice.yaml")),
		records: new(records), ended: make(chan error, 1),
	}
	p.Env = append(os.Environ(), atOnce)
	stderr, err := p.StderrPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if _, err := p.records.Write(lines.Bytes()); err != nil {
				f.t.Error(err)
			}
		}
		p.ended <- p.Wait()
	}()
	serving := p.records.await(f.t, "serving")
	p.review, p.admin = serving["address"].(string), serving["admin"].(string)
	return p
}

// TestTermination: a cold review that is in flight when SIGTERM comes is answered, and the process ends well.
func TestTermination(t *testing.T) {
	t.Parallel()
	s := newSupply(t)
	image := s.push("team/app:signed", true)
	gate, asked := make(chan struct{}), make(chan struct{}, 1)
	s.SetFault(registrytest.ManifestByTag, registrytest.Hook(func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		select {
		case <-gate:
		case <-r.Context().Done():
		}
		return false
	}))
	f := s.configure("")
	p := f.startProcess()
	client, err := newClient(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	answered := make(chan error, 1)
	go func() {
		a, err := ask(client, p.review, "default", image)
		if err == nil && !a.Allowed {
			err = fmt.Errorf("%s", a)
		}
		answered <- err
	}()
	select {
	case <-asked:
	case err := <-answered:
		t.Fatalf("answered without a look at the registry: %v", err)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.records.await(t, "draining")
	if status, body, err := exchange(http.MethodGet, "http://"+p.admin+"/readyz", ""); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("while draining, /readyz says %d %s %v", status, body, err)
	}
	select {
	case err := <-answered:
		t.Fatalf("answered before the registry has: %v", err)
	case err := <-p.ended:
		t.Fatalf("ended while a review was in flight: %v", err)
	default:
	}
	close(gate)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	p.records.await(t, "stopped")
	if _, err := ask(client, p.review, "default", image); err == nil {
		t.Error("the port still answers")
	}
}

// TestHangupOfAProcess: SIGHUP reloads at once.
func TestHangupOfAProcess(t *testing.T) {
	t.Parallel()
	f := newFiles(t, "", allowing)
	p := f.startProcess()
	client, err := newClient(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	if a, err := ask(client, p.review, "default", "a:1"); err != nil || !a.Allowed {
		t.Fatal(a, err)
	}
	f.write("rules/a.yaml", denying)
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.records.await(t, "reloaded")
	if a, err := ask(client, p.review, "default", "a:1"); err != nil || a.Allowed {
		t.Error(a, err)
	}
	client.CloseIdleConnections()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
}

// TestDemoKeep reads what the demonstration shows people. It is left running until it is interrupted, and the curl
// command that it prints names what is there.
func TestDemoKeep(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	dir := t.TempDir()
	go func() {
		err := runDemo(ctx, dir, true, "text", in, io.Discard)
		in.Close()
		ended <- err
	}()
	var shown strings.Builder
	curl, body := "", ""
	for lines := bufio.NewScanner(out); body == "" && lines.Scan(); {
		line := lines.Text()
		shown.WriteString(line + "\n")
		if strings.HasPrefix(line, "curl ") {
			curl = strings.TrimSuffix(line, "\\")
		}
		if quoted, ok := strings.CutPrefix(line, "  -d '"); ok {
			body = strings.TrimSuffix(quoted, "'")
		}
	}
	for _, want := range []string{
		`signed by the release key +allow +passed +[0-9.]+ ms +[0-9.]+ ms`,
		`not signed +deny +signature_missing .*`,
		`signed by a stranger's key +deny +signature_invalid .*`,
		`signed, by digest +allow +passed .*`,
		`a pod of two, one not signed +deny +signature_missing .*`,
		`no tag +deny +tag_denied .*`,
		`a tag, and no signature asked for +allow +passed .*`,
		`- image "localhost:[0-9]+/shop/web:unsigned" is not signed, and policy "shop-is-signed" requires a signature by ` +
			`"release-key" \(looked for sha256-[0-9a-f]+….sig and referrers in localhost:[0-9]+/shop/web\); have it signed`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(shown.String()) {
			t.Errorf("no line %s in\n%s", want, &shown)
		}
	}
	if words := strings.Fields(curl); len(words) > 2 {
		checkCurl(t, words[1:len(words)-1], words[len(words)-1], body)
	} else {
		t.Errorf("no curl command in\n%s", &shown)
	}
	interrupt()
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// checkCurl does what curl would do.
func checkCurl(t *testing.T, options []string, url, body string) {
	t.Helper()
	var dir string
	for i := 0; i+1 < len(options); i += 2 {
		switch options[i] {
		case "--cacert", "--cert", "--key":
			if _, err := os.Stat(options[i+1]); err != nil {
				t.Error(err)
			}
			dir = filepath.Dir(filepath.Dir(options[i+1]))
		default:
			t.Errorf("curl's option %s", options[i])
		}
	}
	client, err := newClient(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	resp, err := client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Status reply }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status.verdict() != "deny signature_missing" {
		t.Errorf("%s %v", answer.Status, err)
	}
}
