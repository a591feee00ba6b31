package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// A reload that fails leaves what was in force, and says so: to whoever ordered it, in /readyz, in the metrics and in
// the log. The next one that succeeds takes all of that back.
func TestBadReload(t *testing.T) {
	t.Parallel()
	good, bad := signed(t), unsigned(t)
	settings := usual(t)
	s := newService(t, settings)
	apiserver := s.failClosed(t)
	works := func() {
		t.Helper()
		apiserver.create(t, anew(pod(good.tag("1")))).allowed(t)
		apiserver.create(t, anew(pod(bad.tag("1")))).denied(t, "signature_missing", bad.tag("1"))
	}
	// amber waits until /readyz shows a part as failed, or not, while it is ready all the time.
	amber := func(part string, want bool) {
		t.Helper()
		eventually(t, func() error {
			status, body, err := s.get("/readyz?verbose")
			if err != nil || status != http.StatusOK {
				t.Fatalf("/readyz: %d %s %v", status, body, err)
			}
			is := regexp.MustCompile(`(?m)^\[.\]` + part + ` .*the last reload failed, and the last good state is in force`).MatchString(body)
			if is != want {
				return fmt.Errorf("amber is %t and should be %t for %s:\n%s", is, want, part, body)
			}
			return nil
		})
		successful := 1.0
		if want {
			successful = 0
		}
		if got := s.metric(t, "sluice_last_reload_successful", `part="`+part+`"`); got != successful {
			t.Errorf("sluice_last_reload_successful of %s is %v, want %v", part, got, successful)
		}
	}
	order := func(want int, parts ...string) {
		t.Helper()
		status, body, err := s.ask(http.MethodPost, "/-/reload")
		if err != nil || status != want {
			t.Errorf("POST /-/reload: %d %s %v; want %d", status, body, err, want)
		}
		for _, part := range parts {
			if !strings.Contains(body, part) {
				t.Errorf("POST /-/reload does not say %q:\n%s", part, body)
			}
		}
	}
	works()
	amber("rules", false)

	// A policy that has a field too many.
	file := s.file("policies/50-signed.yaml")
	edit(t, file, "  authorities:", "  autorities:")
	order(http.StatusInternalServerError, "50-signed.yaml:", "autorities", "^")
	amber("rules", true)
	works()
	edit(t, file, "  autorities:", "  authorities:")
	order(http.StatusOK)
	amber("rules", false)
	works()

	// A key that is none, by a signal.
	broken := settings.rules[0]
	broken.key.public = filepath.Join(t.TempDir(), "broken.pub")
	must(t, os.WriteFile(broken.key.public, []byte("no key\n"), 0o644))
	s.setRule(t, broken)
	s.process.signal(t, syscall.SIGHUP)
	amber("rules", true)
	works()
	s.setRule(t, settings.rules[0])
	s.process.signal(t, syscall.SIGHUP)
	amber("rules", false)

	// A certificate that does not go with its key, noticed without an order.
	certificate := s.file("pki/server.crt")
	copyFile(t, certificate, certificate+".good")
	copyFile(t, s.file("pki/client.crt"), certificate+".new")
	must(t, os.Rename(certificate+".new", certificate))
	amber("certificates", true)
	amber("rules", false)
	works()
	must(t, s.review(s.client(t, true), good.tag("1")))
	must(t, os.Rename(certificate+".good", certificate))
	amber("certificates", false)

	// The configuration itself.
	edit(t, s.file("sluice.yaml"), "noMatch: deny", "noMatch: perhaps")
	order(http.StatusInternalServerError, "sluice.yaml:", "perhaps", "^")
	amber("rules", true)
	works()
	edit(t, s.file("sluice.yaml"), "noMatch: perhaps", "noMatch: deny")
	order(http.StatusOK)
	amber("rules", false)
	if !strings.Contains(s.process.stderr.String(), "the last good state stays in force") {
		t.Errorf("the log does not tell:\n%s", tail(s.process.stderr.String()))
	}
	s.lives(t)
}

// A configuration that is wrong is said to be, with line and caret, and nothing is started.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	f := func(name string, spoil func(t *testing.T, s *service), want ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := initService(t, usual(t))
			spoil(t, s)
			for _, flags := range [][]string{nil, {"--check"}} {
				code, stdout, stderr := run(t, s.dir, nil,
					append([]string{programs.sluice, "serve", "--config", s.file("sluice.yaml")}, flags...)...)
				if code != 2 || stdout != "" || !strings.HasPrefix(stderr, "error: ") {
					t.Errorf("serve %v: exit %d, and should be 2\nstdout: %s\nstderr: %s", flags, code, stdout, stderr)
				}
				for _, part := range want {
					if !strings.Contains(stderr, part) {
						t.Errorf("serve %v does not say %q:\n%s", flags, part, stderr)
					}
				}
				if strings.Contains(stderr, `"serving"`) {
					t.Errorf("serve %v has started to serve:\n%s", flags, stderr)
				}
			}
			for _, addr := range []string{s.addr, s.admin} {
				if c, err := net.Dial("tcp", addr); err == nil {
					c.Close()
					t.Errorf("somebody listens on %s", addr)
				}
			}
		})
	}
	change := func(file, from, to string) func(*testing.T, *service) {
		return func(t *testing.T, s *service) { edit(t, s.file(file), from, to) }
	}
	f("unknown-field", change("sluice.yaml", "  level: info", "  levle: info"), "sluice.yaml:", "levle", "^")
	f("wrong-value", change("sluice.yaml", "noMatch: deny", "noMatch: never"), "sluice.yaml:", "never", "^")
	f("policy-field", change("policies/50-signed.yaml", "  authorities:", "  autorities:"), "50-signed.yaml:", "autorities", "^")
	f("policy-without-authority", change("policies/50-signed.yaml", "name: release", "name: Release!"), "50-signed.yaml:", "^")
	f("key-that-is-none", func(t *testing.T, s *service) {
		must(t, os.WriteFile(s.file("policies/release.pub"), []byte("no key\n"), 0o644))
		edit(t, s.file("policies/50-signed.yaml"), releaseKey(t).public, "release.pub")
	}, "50-signed.yaml:", "release.pub", "^")
	f("two-policies-of-one-name", func(t *testing.T, s *service) {
		copyFile(t, s.file("policies/50-signed.yaml"), s.file("policies/60-signed.yaml"))
	}, "60-signed.yaml:", "signed", "^")
	f("no-such-certificate", func(t *testing.T, s *service) { must(t, os.Remove(s.file("pki/server.crt"))) }, "server.crt")
	f("no-configuration", func(t *testing.T, s *service) { must(t, os.Remove(s.file("sluice.yaml"))) }, "sluice.yaml", "hint: ")

	// And the same untouched is valid.
	t.Run("valid", func(t *testing.T) {
		t.Parallel()
		s := initService(t, usual(t))
		code, stdout, stderr := run(t, s.dir, nil, programs.sluice, "serve", "--config", s.file("sluice.yaml"), "--check")
		if code != 0 || !strings.Contains(stdout, "valid") {
			t.Errorf("exit %d\n%s%s", code, stdout, stderr)
		}
	})
}
