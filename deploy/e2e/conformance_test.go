package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// What h2spec knows of RFC 9113's predecessor RFC 7540 and of HPACK: all of it has to pass.
func TestHTTP2Conformance(t *testing.T) {
	t.Parallel()
	s := initService(t, settings{})
	must(t, os.WriteFile(s.file("tokens"), []byte("a-token-that-h2spec-does-not-have\n"), 0o600))
	edit(t, s.file("sluice.yaml"), "  clientCAFile: pki/ca.crt\n", "  clientCAFile: pki/ca.crt\n  tokenFile: tokens\n")
	s.start(t)

	// h2spec has no client certificate: to it, the service says 401. Behind a relay that has one, requests are admitted.
	relay := startRelay(t, s.addr, clientTLS(t, s.dir, "h2"))
	for name, c := range map[string]struct {
		addr  string
		flags []string
	}{
		"a stranger": {s.addr, []string{"--tls", "--insecure"}},
		"a caller":   {relay, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, port, err := net.SplitHostPort(c.addr)
			must(t, err)
			for _, spec := range [][]string{{"generic", "http2", "hpack"}, {"--strict", "generic", "http2", "hpack"}} {
				argv := append([]string{
					programs.h2spec, "--host", host, "--port", port, "--path", "/v1/imagereview", "--timeout", "5",
				}, c.flags...)
				conforms(t, append(argv, spec...)...)
			}
		})
	}
	s.lives(t)
}

var summary = regexp.MustCompile(`(?m)^([0-9]+) tests, ([0-9]+) passed, ([0-9]+) skipped, ([0-9]+) failed$`)

// fewestCases guards against an h2spec that has not done its work: it has so many cases, and one more if it is strict.
const fewestCases = 145

func conforms(t *testing.T, argv ...string) {
	t.Helper()
	p, err := startProcess(t.TempDir(), nil, argv...)
	must(t, err)
	defer p.kill()
	code := p.exit(t, 8*time.Minute)
	said := p.stdout.String()
	counts := summary.FindStringSubmatch(said)
	if code != 0 || counts == nil || counts[2] != counts[1] {
		t.Errorf("%s: exit %d\n%s%s", filepath.Base(argv[0]), code, said, p.stderr.String())
		return
	}
	var cases int
	if _, err := fmt.Sscan(counts[1], &cases); err != nil || cases < fewestCases {
		t.Errorf("only %s cases", counts[1])
	}
	t.Logf("%s", counts[0])
}

// startRelay passes on bytes between plain TCP and TLS, until the test ends.
func startRelay(t *testing.T, addr string, config *tls.Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			plain, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer plain.Close()
				far, err := tls.Dial("tcp", addr, config)
				if err != nil {
					return
				}
				defer far.Close()
				go func() {
					_, _ = io.Copy(far, plain)
					_ = far.CloseWrite()
				}()
				_, _ = io.Copy(plain, far)
			}()
		}
	}()
	return ln.Addr().String()
}
