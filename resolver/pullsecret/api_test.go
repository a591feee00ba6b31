package pullsecret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice/engine"
)

// api is an API server. It is a RoundTripper as well, for tests in fake time.
type api struct {
	mu      sync.Mutex
	objects map[string]string // by path
	status  map[string]int    // instead, by path; or for all of them with the path ""
	token   string            // that it takes; any if empty
	asked   []string
	auth    []string
	hook    func(path string) // if set, called without the lock
}

func newAPI() *api { return &api{objects: map[string]string{}, status: map[string]int{}} }

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked = append(a.asked, r.Method+" "+r.URL.RequestURI())
	a.auth = append(a.auth, r.Header.Get("Authorization"))
	object, ok := a.objects[r.URL.Path]
	status := a.status[r.URL.Path]
	if s := a.status[""]; s != 0 {
		status = s
	}
	if a.token != "" && r.Header.Get("Authorization") != "Bearer "+a.token {
		status = http.StatusUnauthorized
	}
	hook := a.hook
	a.mu.Unlock()
	if hook != nil {
		hook(r.URL.Path)
	}
	switch {
	case status != 0:
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"kind":"Status","message":"hunter2"}`)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = io.WriteString(w, object)
	}
}

// RoundTrip answers without a network.
func (a *api) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.ServeHTTP(w, r)
	}()
	select {
	case <-done:
		return w.Result(), nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func (a *api) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// requests are those since the last call.
func (a *api) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.asked
	a.asked = nil
	return asked
}

func (a *api) wantRequests(t *testing.T, want ...string) {
	t.Helper()
	for i := range want {
		want[i] = "GET /api/v1/namespaces/" + want[i]
	}
	if got := a.requests(); !slices.Equal(got, want) {
		t.Errorf("asked for\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (a *api) account(namespace, name string, secrets ...string) {
	var list []string
	for _, s := range secrets {
		list = append(list, fmt.Sprintf(`{"name":%q}`, s))
	}
	a.set(func() {
		a.objects["/api/v1/namespaces/"+namespace+"/serviceaccounts/"+name] = `{"kind":"ServiceAccount","metadata":{"name":"` + name +
			`"},"secrets":[{"name":"mountable"}],"imagePullSecrets":[` + strings.Join(list, ",") + `]}`
	})
}

// secret makes one with a login for *.example.
func (a *api) secret(namespace, name, username string) {
	a.raw(namespace, name, "kubernetes.io/dockerconfigjson", ".dockerconfigjson",
		fmt.Sprintf(`{"auths":{"*.example":{"username":%q,"password":"hunter2"}}}`, username))
}

func (a *api) raw(namespace, name, typ, field, data string) {
	object, _ := json.Marshal(map[string]any{
		"kind": "Secret", "apiVersion": "v1", "metadata": map[string]any{"name": name, "namespace": namespace},
		"type": typ, "data": map[string]any{field: base64.StdEncoding.EncodeToString([]byte(data))},
	})
	a.set(func() { a.objects["/api/v1/namespaces/"+namespace+"/secrets/"+name] = string(object) })
}

// lab is Secrets that ask an API server.
type lab struct {
	*Secrets
	*api
	tokenFile string
	logged    *bytes.Buffer
}

// start serves an API over TLS.
func start(t *testing.T, a *api, change func(*Config)) *lab {
	t.Helper()
	server := httptest.NewUnstartedServer(a)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	l := newLab(t, a, server.URL, ca, change)
	t.Cleanup(l.Secrets.Close)
	return l
}

func newLab(t *testing.T, a *api, url string, ca []byte, change func(*Config)) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{api: a, tokenFile: filepath.Join(dir, "token"), logged: &bytes.Buffer{}}
	caFile := filepath.Join(dir, "ca.crt")
	for path, text := range map[string][]byte{l.tokenFile: []byte("first-token\n"), caFile: ca} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := Config{Server: url, TokenFile: l.tokenFile, CAFile: caFile, Log: slog.New(slog.NewJSONHandler(l.logged, nil))}
	if change != nil {
		change(&c)
	}
	var err error
	if l.Secrets, err = New(c); err != nil {
		t.Fatal(err)
	}
	return l
}

// offline asks an API without a network, so that time can be fake.
func offline(t *testing.T, a *api, ca []byte) *lab {
	t.Helper()
	l := newLab(t, a, "https://api.example", ca, nil)
	l.client.http.Transport = a
	t.Cleanup(l.Secrets.Close)
	return l
}

func (l *lab) load(t *testing.T, namespace, account string, names ...string) *engine.Access {
	t.Helper()
	return l.Load(t.Context(), namespace, account, names)
}

// who are the user names that an access has for an image.
func who(a *engine.Access) string {
	if a == nil {
		return "nobody"
	}
	var all []string
	for _, login := range a.Logins("r.example", "app") {
		all = append(all, login.Username())
	}
	return strings.Join(all, " ")
}
