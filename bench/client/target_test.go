package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLoopback(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"https://127.0.0.1:8443/x":       true,
		"https://127.9.9.9":              true,
		"https://[::1]:8443":             true,
		"https://[::ffff:127.0.0.1]:1":   true,
		"https://localhost:8443":         true,
		"http://localhost:9090":          true,
		"https://192.0.2.1:8443":         false,
		"https://0.0.0.0:8443":           false,
		"https://[::]:8443":              false,
		"https://[::ffff:192.0.2.1]:443": false,
	} {
		if got, err := Loopback(url); err != nil || got != want {
			t.Errorf("%s: %v %v", url, got, err)
		}
	}
	two := &Target{addresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("192.0.2.1:1")}}
	if two.Loopback() {
		t.Error("a name with one address elsewhere is not on loopback")
	}
	if (&Target{}).Loopback() {
		t.Error("no address is not loopback")
	}
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	f := func(url, want string) {
		t.Helper()
		_, err := Resolve(t.Context(), url)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		} else if strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v shows a password", url, err)
		}
	}
	f("", "is not a URL")
	f("127.0.0.1:8443", "is not a URL")
	f("ftp://127.0.0.1", "is not a URL")
	f("https://", "is not a URL")
	f("https:127.0.0.1", "is not a URL")
	f("https://user:sesame@127.0.0.1", "password")
	f("https://user:sesame@127.0.0.1:x", "is not a URL")
	f("https://127.0.0.1/?timeout=1s", "query")
	f("https://127.0.0.1/#x", "fragment")
	f("https://127.0.0.1:0", "port")
	f("https://127.0.0.1:65536", "port")
}

// TestPath says what becomes of a path, as observed with kube-apiserver.
func TestPath(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://127.0.0.1":                  "/?timeout=30s",
		"https://127.0.0.1/":                 "/?timeout=30s",
		"https://127.0.0.1/a":                "/a?timeout=30s",
		"https://127.0.0.1/a//b/../c/./d/":   "/a/c/d?timeout=30s",
		"https://127.0.0.1/a b/%C3%A9/%2F/x": "/a%20b/%C3%A9/x?timeout=30s",
	} {
		target, err := Resolve(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if got := target.request().RequestURI(); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

// TestPinned connects to the addresses that were looked up, whatever the name is worth by then, and tries all of them.
func TestPinned(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuses := free.Addr().String()
	_ = free.Close()
	target := &Target{host: "moved.invalid", addresses: []netip.AddrPort{netip.MustParseAddrPort(refuses), netip.MustParseAddrPort(l.Addr().String())}}
	c, err := target.DialContext(t.Context(), "tcp", "elsewhere.invalid:443")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.RemoteAddr().String() != l.Addr().String() {
		t.Error(c.RemoteAddr())
	}
	if got := target.String(); got != " (127.0.0.1, 127.0.0.1)" {
		t.Error(got)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(o Options, want string) {
		t.Helper()
		if o.URL == "" {
			o.URL = "https://127.0.0.1:1"
		}
		_, err := New(o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		} else if strings.Contains(err.Error(), "sesame") {
			t.Errorf("%v shows the token", err)
		}
	}
	f(Options{URL: "https://192.0.2.1"}, "not on loopback")
	f(Options{URL: "http://127.0.0.1"}, "https only")
	f(Options{Protocol: "h3"}, "h1 or h2")
	f(Options{CertFile: "x"}, "belong together")
	f(Options{KeyFile: "x"}, "belong together")
	f(Options{CAFile: "/nonexistent"}, "no such file")
	f(Options{CAFile: empty}, "no certificate")
	f(Options{CertFile: empty, KeyFile: empty}, "client certificate")
	f(Options{Token: "sesame\n"}, "token has characters")
	f(Options{Token: "sesame\x00x"}, "token has characters")
	f(Options{Token: strings.Repeat("sesame", 2000)}, "8 KiB")
	f(Options{Apiservers: -1}, "apiservers")
	f(Options{Apiservers: MaxApiservers + 1}, "apiservers")
	f(Options{AllowTTL: -time.Second}, "TTL")
	f(Options{Lean: true, Cache: true}, "no cache")
	f(Options{Lean: true, Connections: MaxConnections + 1}, "connections")
	f(Options{Lean: true, Streams: -1}, "streams")
	if _, err := New(Options{URL: "https://192.0.2.1"}); !errors.Is(err, ErrNotLoopback) {
		t.Error(err)
	}
	c, err := New(Options{URL: "https://192.0.2.1", TargetIsMine: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestString(t *testing.T) {
	t.Parallel()
	f := func(o Options, want string) {
		t.Helper()
		o.URL = "https://127.0.0.1:1"
		if got := open(t, o).String(); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	f(Options{}, "1 apiserver, h2, TLS")
	f(Options{Apiservers: 3, Cache: true, Protocol: "h1", Token: "sesame"}, "3 apiservers, h1, bearer token, a cache of 1024 answers each")
	f(Options{Lean: true}, "lean, h2, TLS, 16 connections of 50 streams")
	f(Options{Lean: true, Connections: 1, Streams: 1}, "lean, h2, TLS, 1 connection of 1 stream")
	f(Options{Lean: true, Protocol: "h1", Connections: 2}, "lean, h1, TLS, 2 connections")
}

// TestClosedEarly makes sure that a client that was never used, or is used after its end, harms nobody.
func TestClosedEarly(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o Options) {
		_, reach := serve(t, nil)
		c := open(t, o.to(reach))
		c.Close()
		c.Close()
		if !o.Lean {
			return // it may go on
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if _, err := c.Do(ctx, review); c.Kind(err) != "canceled" {
			t.Error(err)
		}
	})
}
