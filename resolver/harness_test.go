package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/engine"
	"sluice/resolver/registrytest"
)

// network stands for DNS: names lead to loopback listeners, and every attempt to connect is written down.
type network struct {
	mu      sync.Mutex
	hosts   map[string]string // host:port to listener
	dialled []string
	open    atomic.Int64
}

func (n *network) add(hostPort string, r *registrytest.Registry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = map[string]string{}
	}
	n.hosts[hostPort] = r.Host()
}

func (n *network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialled = append(n.dialled, address)
	to, ok := n.hosts[address]
	n.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("no route to %s", address)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, to)
	if err != nil {
		return nil, err
	}
	n.open.Add(1)
	return &countedConn{Conn: c, open: &n.open}, nil
}

func (n *network) wasDialled(address string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.dialled, address)
}

type countedConn struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

func startRegistry(t testing.TB, o registrytest.Options) *registrytest.Registry {
	t.Helper()
	r, err := registrytest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func newTest(t testing.TB, n *network, c Config) *Resolver {
	t.Helper()
	var dial dialFunc
	if n != nil {
		dial = n.dial
	}
	if c.MaxTags == 0 {
		c.MaxTags = 1000
	}
	r, err := newResolver(c, dial)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// plain lists one registrytest registry without TLS.
func plain(t testing.TB, reg *registrytest.Registry) *Resolver {
	t.Helper()
	return newTest(t, nil, Config{Registries: []Registry{{Host: reg.Host(), PlainHTTP: true, Retries: -1}}})
}

// caFile writes the CAs of several registries into one file.
func caFile(t testing.TB, regs ...*registrytest.Registry) string {
	t.Helper()
	var pem []byte
	for _, r := range regs {
		pem = append(pem, r.CA()...)
	}
	return writeFile(t, string(pem))
}

func writeFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func ref(t testing.TB, format string, args ...any) engine.Reference {
	t.Helper()
	r, err := engine.ParseReference(fmt.Sprintf(format, args...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func push(t testing.TB, reg *registrytest.Registry, repoTag string) engine.Digest {
	t.Helper()
	d, err := reg.PushImage(repoTag)
	if err != nil {
		t.Fatal(err)
	}
	return engine.Digest(d)
}

func pushBlob(t testing.TB, reg *registrytest.Registry, repository, content string) engine.Digest {
	t.Helper()
	d, err := reg.PutBlob(repository, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return engine.Digest(d)
}

func wait(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// until polls a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for ctx := wait(t); !ok(); runtime.Gosched() {
		if ctx.Err() != nil {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func reasonOf(err error) engine.Reason {
	var f *engine.Failure
	if errors.As(err, &f) {
		return f.Reason
	}
	return engine.ReasonUnknown
}

// wantFailure checks the reason and part of the public text, and that neither text holds a secret.
func wantFailure(t testing.TB, err error, reason engine.Reason, public string, secrets ...string) {
	t.Helper()
	var f *engine.Failure
	if !errors.As(err, &f) {
		t.Errorf("got %v (%T), want a Failure for %s", err, err, reason)
		return
	}
	if f.Reason != reason || !strings.Contains(f.Public, public) {
		t.Errorf("got %v, want reason %s and %q", f, reason, public)
	}
	for _, s := range append(secrets, "127.0.0.1") {
		if strings.Contains(f.Public, s) {
			t.Errorf("the public text holds %q: %s", s, f.Public)
		}
	}
	for _, s := range secrets {
		if strings.Contains(f.Error(), s) {
			t.Errorf("the log text holds %q: %s", s, f.Error())
		}
	}
}
