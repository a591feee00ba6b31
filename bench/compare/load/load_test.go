package load

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func window() Window {
	return Window{WarmUp: 5 * time.Millisecond, Measure: 300 * time.Millisecond, Begin: func() {}, End: func() {}}
}

func target(s *httptest.Server, bodies ...string) Target {
	t := Target{URL: s.URL, TLS: s.Client().Transport.(*http.Transport).TLSClientConfig, Want: []byte("yes"), Never: []byte("no")}
	for _, b := range bodies {
		t.Bodies = append(t.Bodies, []byte(b))
	}
	return t
}

func TestPosts(t *testing.T) {
	t.Parallel()
	var answer atomic.Value
	answer.Store("yes")
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			w.WriteHeader(http.StatusHTTPVersionNotSupported)
		}
		_, _ = io.WriteString(w, answer.Load().(string))
	}))
	defer s.Close()
	r, err := Posts(t.Context(), target(s, "a", "b"), 3, window())
	if err != nil || r.Requests == 0 || r.Connections != 0 || r.Latency.TotalCount() == 0 {
		t.Error(r, err)
	}
	for _, wrong := range []string{"", "yes and no"} {
		answer.Store(wrong)
		if r, err := Posts(t.Context(), target(s, "a"), 3, window()); err == nil || !strings.Contains(err.Error(), "not the answer that was wanted") {
			t.Errorf("%q: %v %v", wrong, r, err)
		}
	}
}

// Each body is sent once, and answers that are wrong are counted.
func TestOnce(t *testing.T) {
	t.Parallel()
	var seen [3]atomic.Int64
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if body[0] != 'x' {
			seen[body[0]-'a'].Add(1)
		}
		_, _ = io.WriteString(w, "yes")
	}))
	defer s.Close()
	begun, ended := 0, 0
	r, err := Once(t.Context(), target(s, "a", "b", "c"), []byte("x"), 2, func() { begun++ }, func() { ended++ })
	if err != nil || r.Requests != 3 || r.Latency.TotalCount() != 3 || begun != 1 || ended != 1 {
		t.Error(r, err, begun, ended)
	}
	for i := range seen {
		if n := seen[i].Load(); n != 1 {
			t.Errorf("body %d was sent %d times", i, n)
		}
	}
	refusing := target(s, "a", "b")
	refusing.Never = []byte("yes")
	if r, err := Once(t.Context(), refusing, []byte("x"), 2, func() {}, func() {}); err == nil {
		t.Error(r)
	}
}

// The first error of a worker ends the load, and is what it returns.
func TestRunFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	waits := func(ctx context.Context, _ *Meter) error {
		<-ctx.Done()
		return ctx.Err()
	}
	fails := func(context.Context, *Meter) error { return broken }
	w := window()
	w.WarmUp = time.Hour
	_, err := Run(t.Context(), w, func() int64 { return 0 }, []Worker{waits, fails, waits})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestConnectionsAreCounted(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close") // as the tutorials' server does
		_, _ = io.WriteString(w, "yes")
	}))
	defer s.Close()
	where := target(s, "a")
	where.TLS = &tls.Config{RootCAs: where.TLS.RootCAs, MinVersion: tls.VersionTLS13}
	r, err := Posts(t.Context(), where, 2, window())
	if err != nil || r.Connections < r.Requests-4 || r.Connections > r.Requests+4 {
		t.Errorf("%d connections for %d requests, %v", r.Connections, r.Requests, err)
	}
}
