package main

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// webhook is a server that allows every image but those with denied in their names, and counts.
type webhook struct {
	*httptest.Server
	metrics *httptest.Server
	reviews atomic.Int64
	token   string      // that it wants, or none
	seen    func(int64) // called with the count at each review; may be nil
}

// newWebhook starts one with TLS and h2 on loopback. Whoever called it closes it.
func newWebhook(token string) *webhook {
	w := &webhook{token: token}
	w.Server = httptest.NewUnstartedServer(w)
	w.EnableHTTP2 = true
	w.StartTLS()
	w.metrics = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(rw, "# HELP test_reviews_total Reviews.\ntest_reviews_total{verdict=\"all\"} %d\n", w.reviews.Load())
	}))
	return w
}

func (w *webhook) close() {
	w.Server.Close()
	w.metrics.Close()
}

func (w *webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	n := w.reviews.Add(1)
	if w.seen != nil {
		w.seen(n)
	}
	body, err := io.ReadAll(r.Body)
	switch {
	case err != nil || !json.Valid(body):
		http.Error(rw, "this is no review", http.StatusBadRequest)
		return
	case w.token != "" && r.Header.Get("Authorization") != "Bearer "+w.token:
		http.Error(rw, "this is not the token", http.StatusUnauthorized)
		return
	}
	fmt.Fprintf(rw, `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","status":{"allowed":%t}}`,
		!strings.Contains(string(body), "denied"))
}

// authority writes the certificate that the server is verified by.
func (w *webhook) authority(name string) error {
	return os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw}), 0o600)
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
		t.Errorf("%s is not what was got (go test -update ./cmd/sluice-bench writes it)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}
