package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// serve starts an admin plane on a loopback port and returns its base URL.
func serve(t *testing.T, cfg Config) (*Server, string) {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		_ = s.Shutdown(t.Context()) // over already: nothing is worth waiting for
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, "http://" + s.Addr().String()
}

// exchange sends "METHOD /path", a body and headers given as "Name: value", and returns status and body as one text.
func exchange(t *testing.T, url, line, body string, headers ...string) string {
	t.Helper()
	method, path, _ := strings.Cut(line, " ")
	request, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			request.Host = value
		}
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d\n%s", response.StatusCode, text)
}

func TestExchanges(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	level := new(slog.LevelVar)
	reloads := []error{nil, errors.New("policies/a.yaml:3:5: unknown field \"glbo\"\n>  3 |   - glbo: \"**\"\n          ^")}
	_, url := serve(t, Config{
		Checks: func() []Check {
			return []Check{
				{"listener", OK, ""},
				{"policy", OK, "3 policies, fingerprint 0011aabb"},
			}
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "figures 1\n") }),
		Reload: func(context.Context) (string, error) {
			err := reloads[0]
			reloads = reloads[1:]
			return "3 policies, fingerprint 0011aabb", err
		},
		Level: level,
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			Level: level,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})),
	})
	f := func(line, body, want string, headers ...string) {
		t.Helper()
		if got := exchange(t, url, line, body, headers...); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", line, got, want)
		}
	}

	f("GET /", "", `200
sluice, admin plane

GET   /livez         whether the process answers
GET   /readyz        whether to send it reviews; ?verbose shows every check
GET   /metrics       figures, in the Prometheus exposition format
POST  /-/reload      read configuration, policies and keys again
GET   /-/loglevel    the level of the log
PUT   /-/loglevel    change it: debug, info, warn or error as the body
GET   /debug/pprof/  profiles of the running process
`)
	f("GET /livez", "", "200\nok\n")
	f("HEAD /livez", "", "200\n")
	f("GET /readyz", "", "200\nok\n")
	f("GET /readyz?verbose", "", `200
[+]listener ok
[+]policy ok: 3 policies, fingerprint 0011aabb
readyz check passed
`)
	f("GET /metrics", "", "200\nfigures 1\n")
	f("POST /livez", "", "405\nMethod Not Allowed\n")
	f("GET /nothing", "", "404\n404 page not found\n")

	f("GET /-/reload", "", "405\nMethod Not Allowed\n")
	f("POST /-/reload", "", "200\n3 policies, fingerprint 0011aabb\n")
	f("POST /-/reload", "a body is of no use here", `500
reload failed, the last good state stays:
policies/a.yaml:3:5: unknown field "glbo"
>  3 |   - glbo: "**"
          ^
`)

	f("GET /-/loglevel", "", "200\ninfo\n")
	f("PUT /-/loglevel", "error\n", "200\nerror\n")
	f("PUT /-/loglevel", "DEBUG", "200\ndebug\n")
	f("GET /-/loglevel", "", "200\ndebug\n")
	f("PUT /-/loglevel", "loud", "400\nthe body must be debug, info, warn or error\n")
	f("PUT /-/loglevel", "", "400\nthe body must be debug, info, warn or error\n")
	f("PUT /-/loglevel", strings.Repeat(" ", maxBodyBytes)+"info", "413\nthe body is too large\n")
	f("POST /-/loglevel", "info", "405\nMethod Not Allowed\n")
	if got := level.Level(); got != slog.LevelDebug {
		t.Errorf("the level is %v, want DEBUG", got)
	}
	if got, want := log.String(), `level=WARN msg="log level changed" from=info to=error
level=WARN msg="log level changed" from=error to=debug
`; got != want {
		t.Errorf("log\ngot  %s\nwant %s", got, want)
	}

	f("GET /debug/pprof/heap?gc=no&seconds=x", "", "400\ninvalid value for \"seconds\" - must be a positive integer\n")
	if got := exchange(t, url, "GET /debug/pprof/goroutine?debug=1", ""); !strings.HasPrefix(got, "200\ngoroutine profile:") {
		t.Errorf("goroutine profile: %.60s", got)
	}
	if got := exchange(t, url, "GET /debug/pprof/cmdline", ""); !strings.HasPrefix(got, "200\n") {
		t.Errorf("cmdline: %.60s", got)
	}
}

// What is not configured is not there.
func TestLeastConfig(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Config{})
	f := func(line, want string) {
		t.Helper()
		if got := exchange(t, url, line, ""); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", line, got, want)
		}
	}
	f("GET /", `200
sluice, admin plane

GET  /livez         whether the process answers
GET  /readyz        whether to send it reviews; ?verbose shows every check
GET  /debug/pprof/  profiles of the running process
`)
	f("GET /readyz", "200\nok\n")
	f("GET /readyz?verbose", "200\nreadyz check passed\n")
	f("GET /metrics", "404\n404 page not found\n")
	f("POST /-/reload", "404\n404 page not found\n")
	f("GET /-/loglevel", "404\n404 page not found\n")
}

func TestReady(t *testing.T) {
	t.Parallel()
	var checks []Check
	s, url := serve(t, Config{Checks: func() []Check { return checks }})
	f := func(line, want string, now ...Check) {
		t.Helper()
		checks = now
		if got := exchange(t, url, line, ""); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", line, got, want)
		}
	}
	fine := Check{"listener", OK, ""}
	stale := Check{"policy", Amber, "reload failed at 2026-11-22T07:31:00Z: still serving the last good state"}
	f("GET /readyz", `200
[!]policy reload failed at 2026-11-22T07:31:00Z: still serving the last good state
readyz check passed
`, fine, stale)
	f("GET /readyz?verbose", `200
[+]listener ok
[!]policy reload failed at 2026-11-22T07:31:00Z: still serving the last good state
readyz check passed
`, fine, stale)
	f("GET /readyz", `503
[-]certificate failed: expired
    at noon
readyz check failed
`, fine, Check{"certificate", Failed, "expired\nat noon\n"})
	f("GET /readyz", "503\n[-]listener failed\nreadyz check failed\n", Check{Name: "listener"})
	f("HEAD /readyz", "503\n", Check{Name: "listener"})

	s.Drain()
	f("GET /readyz", "503\n[-]shutdown failed: draining\nreadyz check failed\n", fine)
	f("GET /readyz?verbose=1", `503
[+]listener ok
[!]policy reload failed at 2026-11-22T07:31:00Z: still serving the last good state
[-]shutdown failed: draining
readyz check failed
`, fine, stale)
	f("GET /livez", "200\nok\n")
}

func TestPagesAreRefused(t *testing.T) {
	t.Parallel()
	reloads := 0
	level := new(slog.LevelVar)
	s, url := serve(t, Config{
		Reload: func(context.Context) (string, error) { reloads++; return "", nil },
		Level:  level,
	})
	const refused = "403\nrequests from web pages are refused here\n"
	f := func(line, want string, headers ...string) {
		t.Helper()
		if got := exchange(t, url, line, "debug", headers...); !strings.HasPrefix(got, want) {
			t.Errorf("%s %q\ngot  %.100s\nwant %s", line, headers, got, want)
		}
	}
	f("POST /-/reload", refused, "Origin: https://evil.example.com")
	f("POST /-/reload", refused, "Origin: null")
	f("POST /-/reload", refused, "Origin: http://"+s.Addr().String()) // the same origin: no page of ours exists
	f("POST /-/reload", refused, "Sec-Fetch-Site: cross-site")
	f("POST /-/reload", refused, "Sec-Fetch-Site: same-site")
	f("PUT /-/loglevel", refused, "Origin: https://evil.example.com")
	f("POST /debug/pprof/symbol", refused, "Origin: https://evil.example.com")
	f("GET /debug/pprof/trace?seconds=1", refused, "Sec-Fetch-Site: cross-site")
	if reloads != 0 || level.Level() != slog.LevelInfo {
		t.Errorf("%d reloads, level %v", reloads, level.Level())
	}

	f("POST /-/reload", "200\n")
	f("POST /-/reload", "200\n", "Sec-Fetch-Site: none")
	f("GET /debug/pprof/", "200\n", "Sec-Fetch-Site: none")
	f("GET /livez", "200\nok\n", "Sec-Fetch-Site: cross-site") // a link on some page
}

func TestHosts(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Config{})
	f := func(host, want string) {
		t.Helper()
		if got := exchange(t, url, "GET /livez", "", "Host: "+host); got != want {
			t.Errorf("Host %s\ngot  %s\nwant %s", host, got, want)
		}
	}
	for _, host := range []string{"localhost", "LOCALHOST:8080", "127.0.0.1", "127.8.9.1:80", "[::1]:9090", "[::1]", "[::ffff:127.0.0.1]:1"} {
		f(host, "200\nok\n")
	}
	for _, host := range []string{"rebound.example.com:9090", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com"} {
		f(host, "403\nthis port answers requests to localhost only, not to "+host+"\n")
	}

	// HTTP/1.0 without a Host is no browser.
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /livez HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !strings.Contains(string(answer), "200 OK") {
		t.Errorf("without a Host: %s, %v", answer, err)
	}

	// On another address scrapes come under names that nobody can know; this one is not opened.
	open, err := New(Config{Listen: "0.0.0.0:9090"})
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodGet, "/livez", nil)
	request.Host = "10.1.2.3:9090"
	answer := httptest.NewRecorder()
	open.http.Handler.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		t.Errorf("on all addresses: %d %s", answer.Code, answer.Body)
	}
}

// The name given to Listen is a name of this machine as well, whatever it is.
func TestNames(t *testing.T) {
	t.Parallel()
	s := &Server{host: "admin.internal"}
	for host, want := range map[string]bool{
		"": true, "admin.internal:9090": true, "ADMIN.internal": true, "localhost:1": true, "other.internal": false,
	} {
		if got := s.names(host); got != want {
			t.Errorf("names(%q) = %v", host, got)
		}
	}
}

func TestRefusedConfig(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"", "9090", "::1:9090"} {
		if _, err := New(Config{Listen: listen}); err == nil || !strings.Contains(err.Error(), "write host:port") {
			t.Errorf("%q: %v", listen, err)
		}
	}
	taken, _ := serve(t, Config{})
	s, err := New(Config{Listen: taken.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if s.Addr() != nil {
		t.Errorf("Addr before Listen: %v", s.Addr())
	}
	if err := s.Serve(); err == nil {
		t.Error("Serve before Listen")
	}
	if err := s.Listen(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a taken port: %v", err)
	}
}

func TestControlSetsSocketOptions(t *testing.T) {
	t.Parallel()
	called := false
	serve(t, Config{Control: func(string, string, syscall.RawConn) error { called = true; return nil }})
	if !called {
		t.Error("Control was not called")
	}
}

// Shutdown waits for what runs, and breaks it off when its context ends.
func TestShutdown(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	cfg := Config{Listen: "127.0.0.1:0", Reload: func(ctx context.Context) (string, error) {
		close(started)
		<-ctx.Done()
		return "", ctx.Err()
	}}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	answered := make(chan error, 1)
	go func() {
		response, err := http.Post("http://"+s.Addr().String()+"/-/reload", "", nil)
		if err == nil {
			response.Body.Close()
		}
		answered <- err
	}()
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(ctx) }()
	if err := <-served; err != nil { // it returns when Shutdown has begun
		t.Errorf("Serve: %v", err)
	}
	select {
	case err := <-stopped:
		t.Fatalf("Shutdown did not wait: %v", err)
	default:
	}
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	select {
	case err := <-answered:
		if err == nil {
			t.Error("the request was answered")
		}
	case <-time.After(10 * time.Second):
		t.Error("the request was not broken off")
	}
	if conn, err := net.DialTimeout("tcp", s.Addr().String(), time.Second); err == nil {
		conn.Close()
		t.Error("the port is still open")
	}
}

// Everything at once; the race detector looks on.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	running := 0 // no lock: it is the server that keeps reloads apart
	s, url := serve(t, Config{
		Checks:  func() []Check { return []Check{{"listener", OK, ""}} },
		Metrics: http.NotFoundHandler(),
		Reload: func(context.Context) (string, error) {
			running++
			defer func() { running-- }()
			if running != 1 {
				return "", errors.New("two at a time")
			}
			return "loaded", nil
		},
		Level: new(slog.LevelVar),
	})
	var wait sync.WaitGroup
	for _, line := range []string{
		"GET /readyz 200", "GET /metrics 404", "POST /-/reload 200", "PUT /-/loglevel 200", "GET /-/loglevel 200",
		"GET /debug/pprof/goroutine 200",
	} {
		end := strings.LastIndexByte(line, ' ')
		for range 3 {
			wait.Go(func() {
				for range 5 {
					if got := exchange(t, url, line[:end], "warn"); !strings.HasPrefix(got, line[end+1:]) &&
						!strings.Contains(got, "draining") {
						t.Errorf("%s: %.100s", line, got)
					}
				}
			})
		}
	}
	s.Drain()
	wait.Wait()
}
