package scenario

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/resolver/registrytest"
)

// TestMain lets this binary be the processes of a lab: the registry, and something in the service's place.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	var err error
	switch os.Args[1] {
	case RegistryCommand:
		err = ServeRegistry(context.Background(), os.Stdin, os.Stdout)
	case "fake":
		err = fakeService(os.Args[2])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// fakeService behaves as sluice serve does, as far as a lab looks, or in another way.
func fakeService(how string) error {
	if how == "dies" {
		return errors.New("no such policy")
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	for _, file := range []string{"sluice.yaml", "policies.yaml", "../server.crt", "../server.key", "../ca.crt", "registry-ca.crt", "release.pub"} {
		if _, err := os.Stat(file); err != nil {
			return err
		}
	}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# HELP a b\na 1\nb{c=\"d e\",f=\"g\"} 2.5\nb{c=\"h\",f=\"g\"} 4\nb_bucket{le=\"1\"} 3\nnone NaN\nasked %d\nlimit %s\n", asked.Load(), os.Getenv("GOMEMLIMIT"))
	})
	if how != "mute" {
		fmt.Fprintf(os.Stderr, "{\"msg\":\"serving\",\"address\":\"127.0.0.1:1\",\"admin\":%q}\n", admin.Addr())
	}
	go http.Serve(admin, mux)
	for range end {
		if how != "stubborn" {
			return nil
		}
		fmt.Fprintln(os.Stderr, "no")
	}
	return nil
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// newTestLab is a lab whose service is a fake.
func newTestLab(t *testing.T, how string) *lab {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	exe := self(t)
	l, err := newLab(t.Context(), []string{exe, "fake", how}, []string{exe, RegistryCommand}, []string{"GOMEMLIMIT=1GiB"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

// gone tells whether a process has been waited for, as a number that nobody has any more.
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestLab(t *testing.T) {
	l := newTestLab(t, "well")
	v, err := l.serve(t.Context(), settings{unverified: true})
	if err != nil {
		t.Fatal(err)
	}
	if v.url != "https://127.0.0.1:1/v1/imagereview" {
		t.Errorf("url %s", v.url)
	}
	files, err := os.ReadFile(filepath.Join(l.dir, "service-1/policies.yaml"))
	if err != nil || !strings.Contains(string(files), l.registry.state.Host+"/**") || !strings.Contains(string(files), "static") {
		t.Errorf("policies.yaml: %v\n%s", err, files)
	}
	other, err := l.serve(t.Context(), settings{allowTTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(filepath.Join(l.dir, "service-1/policies.yaml")); err != nil || string(again) != string(files) {
		t.Errorf("another service changed the first one's policies: %v\n%s", err, again)
	}
	for _, s := range []*service{v, other} {
		s.stop()
		if !gone(s.pid) {
			t.Errorf("a service (pid %d) is still there", s.pid)
		}
	}
	l.close()
	if !gone(l.registry.pid) {
		t.Errorf("the registry (pid %d) is still there", l.registry.pid)
	}
	if _, err := os.Stat(l.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	l := newTestLab(t, "well")
	v, err := l.serve(t.Context(), settings{memoryLimit: "5"})
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	got, err := v.metrics(t.Context())
	want := map[string]float64{"a": 1, `b{c="d e",f="g"}`: 2.5, `b{c="h",f="g"}`: 4, "asked": 3, "limit": 5}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("metrics: %v %v", got, err)
	}
	other, err := l.serve(t.Context(), settings{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.stop()
	if _, err := other.metrics(t.Context()); err == nil || !strings.Contains(err.Error(), "1GiB") {
		t.Errorf("a sample that is no number: %v", err)
	}
	m := map[string]float64{`b{c="d e",f="g"}`: 2.5, `b{c="h",f="g"}`: 4, "b": 1, "bc": 8}
	for _, c := range []struct {
		labels []string
		want   float64
	}{{nil, 7.5}, {[]string{`f="g"`}, 6.5}, {[]string{`f="g"`, `c="h"`}, 4}, {[]string{`c="x"`}, 0}} {
		if got := sum(m, "b", c.labels...); got != c.want {
			t.Errorf("sum of b with %q is %g, not %g", c.labels, got, c.want)
		}
	}
}

func TestServiceThatDoesNotStart(t *testing.T) {
	l := newTestLab(t, "dies")
	_, err := l.serve(t.Context(), settings{})
	if err == nil || !strings.Contains(err.Error(), "no such policy") || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("a service that ends at once: %v", err)
	}

	l = newTestLab(t, "mute")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := l.serve(ctx, settings{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a service that says nothing: %v", err)
	}
	if _, err := os.Stat(filepath.Join(l.dir, "service-1/service.log")); err != nil {
		t.Error(err)
	}
}

func TestServiceThatEndsLater(t *testing.T) {
	l := newTestLab(t, "well")
	v, err := l.serve(t.Context(), settings{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	if err := v.dead(); err != nil {
		t.Errorf("while it runs: %v", err)
	}
	if err := v.process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-v.done
	if err := v.dead(); err == nil || !strings.Contains(err.Error(), "killed") || !strings.Contains(err.Error(), "serving") {
		t.Errorf("after it was killed: %v", err)
	}
}

// TestStubbornService takes as long as a service has for leaving.
func TestStubbornService(t *testing.T) {
	l := newTestLab(t, "stubborn")
	v, err := l.serve(t.Context(), settings{})
	if err != nil {
		t.Fatal(err)
	}
	v.patience = 3 * time.Second
	v.stop()
	if !gone(v.pid) {
		t.Error("it is still there")
	}
	if end := v.tail(); !strings.HasSuffix(end, "no") {
		t.Errorf("it was not asked first: %s", end)
	}
}

func TestRegistryProcess(t *testing.T) {
	l := newTestLab(t, "well")
	ctx := t.Context()
	state, err := l.registry.do(ctx, order{Fill: repositories + 1, Folder: "team", Signed: true})
	if err != nil {
		t.Fatal(err)
	}
	first, last := state.Images[0], state.Images[repositories]
	host := l.registry.state.Host
	if first.byTag() != host+"/team/app-0:v0" || last.byTag() != host+"/team/app-0:v1" || first.Digest == last.Digest {
		t.Errorf("images %v and %v", first, last)
	}
	if state.Requests != 0 {
		t.Errorf("filling counts as %d requests", state.Requests)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/manifests/" + first.Tag, "/manifests/" + first.Digest, "/manifests/" + registrytest.SignatureTag(first.Digest)} {
		resp, err := client.Get("https://" + host + "/v2/team/app-0" + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if state, err = l.registry.do(ctx, order{}); err != nil || state.Requests != 3 || state.MostAtOnce != 1 || state.Connections == 0 {
		t.Errorf("after three requests: %+v %v", state, err)
	}
	if state, err = l.registry.do(ctx, order{Reset: true}); err != nil || state.Requests != 0 {
		t.Errorf("after a reset: %+v %v", state, err)
	}
	if _, err := l.registry.do(ctx, order{Fill: maxImages}); err == nil {
		t.Error("more images than there may be")
	}
	// What it is told once its process has gone is an error that shows why.
	if err := l.registry.process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-l.registry.done
	if _, err := l.registry.do(ctx, order{}); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("after it was killed: %v", err)
	}
}

// TestRegistryEndsWithItsOrders is what ends it when its parent has died.
func TestRegistryEndsWithItsOrders(t *testing.T) {
	t.Parallel()
	if err := ServeRegistry(t.Context(), strings.NewReader("{}\n"), io.Discard); err != nil {
		t.Error(err)
	}
	if err := ServeRegistry(t.Context(), strings.NewReader("fill!"), io.Discard); err == nil {
		t.Error("an order that is none")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	endless, w := io.Pipe()
	defer w.Close()
	if err := ServeRegistry(ctx, endless, io.Discard); err != nil {
		t.Error(err)
	}
}

// tlsServer serves with the lab's certificates, and asks for one.
func tlsServer(t *testing.T, dir, protocol string) (url string, stop func()) {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(ca)
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.EnableHTTP2 = protocol == "h2"
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{protocol},
	}
	s.StartTLS()
	return s.URL, s.Close
}
