package pullsecret

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWrong: what is wrong is told until it is right, without what was asked for.
func TestWrong(t *testing.T) {
	t.Parallel()
	a := newAPI()
	a.secret("shop", "good", "u")
	l := start(t, a, nil)
	f := func(namespace string, status int, want string) {
		t.Helper()
		a.set(func() { a.status[""] = status })
		l.load(t, namespace, "", "good")
		if got := l.Wrong(); want == "" && got != "" || !strings.Contains(got, want) || strings.Contains(got, "namespaces") {
			t.Errorf("%d: %q, want %q", status, got, want)
		}
	}
	f("a", http.StatusForbidden, "RBAC does not let this service account get it")
	f("b", 0, "") // answered by 404
	f("c", http.StatusInternalServerError, "the API server answers 500")
	f("shop", 0, "")
	f("d", http.StatusForbidden, "") // it may be about this namespace alone
	l.Close()
	stopped := start(t, a, func(c *Config) { c.Server = "https://127.0.0.1:1" })
	stopped.load(t, "shop", "", "good")
	if got := stopped.Wrong(); !strings.Contains(got, "connection refused") || strings.Contains(got, "namespaces") {
		t.Errorf("%q", got)
	}
}

// TestHangingAPI: an API server that does not answer is at fault, even if the caller had less time than it is given; and
// not if the caller had next to none.
func TestHangingAPI(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	for patient, wrong := range map[time.Duration]bool{patience / 2: false, 3 * patience / 2: true} {
		synctest.Test(t, func(t *testing.T) {
			a := newAPI()
			hold := make(chan struct{})
			a.hook = func(string) { <-hold }
			l := offline(t, a, ca)
			ctx, cancel := context.WithTimeout(t.Context(), patient)
			defer cancel()
			l.Load(ctx, "shop", "", []string{"mine"})
			synctest.Wait() // the load itself ends after its caller
			if got := l.Wrong() == "the API server does not answer"; got != wrong || l.Stats().Failed > 0 != wrong {
				t.Errorf("after %s: %q, %+v", patient, l.Wrong(), l.Stats())
			}
			close(hold)
			synctest.Wait()
		})
	}
}

// TestAnswerThatRepeatsTheToken, in words that net/http quotes: neither log nor /readyz has it.
func TestAnswerThatRepeatsTheToken(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n", r.Header.Get("Authorization"))
		_ = c.Close()
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	l := newLab(t, newAPI(), server.URL, ca, nil)
	t.Cleanup(l.Secrets.Close)
	l.load(t, "shop", "", "mine")
	if got := l.Wrong() + l.logged.String(); !strings.Contains(got, "repeats the token") || strings.Contains(got, "-token") {
		t.Errorf("%s", got)
	}
}
