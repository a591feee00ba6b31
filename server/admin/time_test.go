package admin

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener in memory, so that time can be a test's own.
type pipes struct{ conns chan net.Conn }

func (p *pipes) Accept() (net.Conn, error) {
	conn, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p *pipes) Close() error {
	close(p.conns)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// inBubble runs test with a server and a function that connects to it.
func inBubble(t *testing.T, cfg Config, test func(dial func() net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		cfg.Listen = "127.0.0.1:0"
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		p := &pipes{conns: make(chan net.Conn)}
		s.listener = p
		done := make(chan error, 1)
		go func() { done <- s.Serve() }()
		test(func() net.Conn {
			client, server := net.Pipe()
			p.conns <- server
			return client
		})
		_ = s.http.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// ask sends a request as it stands and returns the status of the answer, and how long it took.
func ask(t *testing.T, conn net.Conn, request string) (int, time.Duration) {
	t.Helper()
	defer conn.Close()
	begin := time.Now()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Errorf("the answer breaks off: %v", err)
	}
	return response.StatusCode, time.Since(begin)
}

// A profile and a reload last as long as they last, whatever the timeouts of the port.
func TestLongRequests(t *testing.T) {
	t.Parallel()
	reload := func(ctx context.Context) (string, error) {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(10 * time.Minute):
			return "loaded", nil
		}
	}
	inBubble(t, Config{Reload: reload}, func(dial func() net.Conn) {
		f := func(request string, want time.Duration) {
			t.Helper()
			status, took := ask(t, dial(), request)
			if status != http.StatusOK || took != want {
				t.Errorf("%q: %d after %v, want 200 after %v", request, status, took, want)
			}
		}
		f("GET /debug/pprof/heap?seconds=90 HTTP/1.1\r\nHost: localhost\r\n\r\n", 90*time.Second)
		f("POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 10*time.Minute)
	})
}

// A client that does not finish its request is not waited for.
func TestSlowRequests(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Reload: func(context.Context) (string, error) { return "", nil }}, func(dial func() net.Conn) {
		begin := time.Now()
		conn := dial()
		if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHo"); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
			t.Errorf("half a header: %q, %v", answer, err)
		}
		if took := time.Since(begin); took != headerTimeout {
			t.Errorf("half a header is waited for %v, want %v", took, headerTimeout)
		}

		status, took := ask(t, dial(), "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf")
		if status != http.StatusRequestTimeout || took != requestTimeout {
			t.Errorf("half a body: %d after %v", status, took)
		}
	})
}

// A reload that is ordered during another one runs after it, unless whoever ordered it has left by then.
func TestReloadsOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		release := make(chan struct{})
		s, err := New(Config{Listen: "127.0.0.1:0", Reload: func(context.Context) (string, error) {
			calls++
			<-release
			return "loaded", nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		order := func(ctx context.Context) <-chan string {
			done := make(chan string, 1)
			go func() {
				answer := httptest.NewRecorder()
				s.http.Handler.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodPost, "/-/reload", nil))
				done <- strings.TrimSpace(answer.Body.String())
			}()
			synctest.Wait()
			return done
		}
		want := func(n int) {
			t.Helper()
			synctest.Wait()
			if calls != n {
				t.Errorf("%d reloads so far, want %d", calls, n)
			}
		}
		first := order(t.Context())
		second := order(t.Context())
		ctx, leave := context.WithCancel(t.Context())
		third := order(ctx)
		want(1)
		leave()
		if got := <-third; got != "" {
			t.Errorf("who has left is told %q", got)
		}
		want(1)
		release <- struct{}{}
		if got := <-first; got != "loaded" {
			t.Errorf("first: %q", got)
		}
		want(2)
		release <- struct{}{}
		if got := <-second; got != "loaded" {
			t.Errorf("second: %q", got)
		}
		want(2)
	})
}
