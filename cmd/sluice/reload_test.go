package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sluice/engine"
	"sluice/resolver/registrytest"
	"sluice/server/admin"
)

// watched runs a test in a bubble, where time is free, with a service that watches its files and listens nowhere.
func watched(t *testing.T, more, policy string, test func(t *testing.T, w *watching)) {
	t.Helper()
	watchedWith(t, more, policy, nil, test)
}

// watchedWith is watched with further files.
func watchedWith(t *testing.T, more, policy string, contents map[string]string, test func(t *testing.T, w *watching)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &watching{files: newFiles(t, more, policy), hangup: make(chan os.Signal)}
		for name, content := range contents {
			w.write(name, content)
		}
		w.service, w.records = w.put()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			w.reloader.run(ctx, w.hangup)
			close(ended)
		}()
		defer func() {
			stop()
			<-ended
			w.service.close()
			time.Sleep(3 * drainTimeout) // backends that were replaced are closed after a while
		}()
		test(t, w)
	})
}

type watching struct {
	*service
	files
	records *records
	hangup  chan os.Signal
}

// pass lets a time pass, and what is due in it happen.
func (w *watching) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// polled lets one poll happen.
func (w *watching) polled() { w.pass(pollEvery) }

// verdict is what becomes of an image now.
func (w *watching) verdict(image string) string {
	var res engine.Result
	req := &engine.Request{Namespace: "default", Images: []string{image}}
	if !w.engine.Hit(req, &res) {
		w.engine.Decide(w.t.Context(), req, &res)
	}
	return res.Outcome.String() + " " + res.Reason.String()
}

// expect holds one part against what is known of it: how often it was reloaded and how often that failed; what /readyz
// says, which is nothing for a part that is well; and how often the log said so.
func (w *watching) expect(part, succeeded, failed int, text ...string) {
	w.t.Helper()
	name, p := partNames[part], &w.reloader.parts[part]
	if got, not := int(p.succeeded.Load()), int(p.failed.Load()); got != succeeded || not != failed {
		w.t.Errorf("%s: reloaded %d times, and %d times not; want %d and %d", name, got, not, succeeded, failed)
	}
	logged := func(message string) (n int) {
		for _, one := range w.records.of(message) {
			if one["part"] == name {
				n++
			}
		}
		return n
	}
	if good, bad := logged("reloaded"), logged("reload failed; the last good state stays in force"); good != succeeded || bad != failed {
		w.t.Errorf("%s: logged %d reloads and %d failures; want %d and %d", name, good, bad, succeeded, failed)
	}
	for _, c := range w.checks() {
		if c.Name != name {
			continue
		}
		if amber := c.State == admin.Amber; amber != (len(text) > 0) || !amber && c.State != admin.OK {
			w.t.Errorf("%s: state %d, %q", name, c.State, c.Text)
		}
		for _, want := range text {
			if !strings.Contains(c.Text, want) {
				w.t.Errorf("%s: /readyz says\n%s\nand not\n%s", name, c.Text, want)
			}
		}
	}
}

func (w *watching) want(image, want string) {
	w.t.Helper()
	if got := w.verdict(image); got != want {
		w.t.Errorf("%s: %s, want %s", image, got, want)
	}
}

// TestPollTakesUpPolicies: within one poll, and no verdict of the old rules is served after it.
func TestPollTakesUpPolicies(t *testing.T) {
	watched(t, "", allowing, func(_ *testing.T, w *watching) {
		w.want("a:1", "allow passed")
		w.want("a:1", "allow passed") // from the cache
		w.pass(time.Hour)
		w.expect(partRules, 0, 0)

		w.write("rules/a.yaml", denying)
		w.polled()
		w.want("a:1", "deny static_fail")
		w.expect(partRules, 1, 0)

		w.write("rules/b.yaml", strings.Replace(allowing, "lets-in", "lets-in-too", 1))
		w.remove("rules/a.yaml")
		w.polled()
		w.want("a:1", "allow passed")
		w.expect(partRules, 2, 0)

		// The rules of before again: what was decided by them then holds again, until its own end.
		w.remove("rules/b.yaml")
		w.write("rules/a.yaml", denying)
		w.polled()
		w.want("a:1", "deny static_fail")
		w.expect(partRules, 3, 0)
		w.expect(partRegistries, 0, 0)
		w.expect(partCertificates, 0, 0)
	})
}

// TestPollKeepsTheLastGoodRules, says once what is wrong, and sees it mended.
func TestPollKeepsTheLastGoodRules(t *testing.T) {
	const typo = `    3 | metadata: {name: lets-in}
    4 | spec:
    5 |   imges: [{glob: "**"}]
      |   ^`
	broken := strings.Replace(strings.Replace(allowing, "spec: {images: ", "spec:\n  imges: ", 1),
		"], authorities: [{static: {action: pass}}]}", "]\n  authorities: [{static: {action: pass}}]", 1)
	watched(t, "", denying, func(_ *testing.T, w *watching) {
		w.write("rules/a.yaml", broken)
		w.polled()
		w.want("a:1", "deny static_fail")
		w.expect(partRules, 0, 1, "the last reload failed, and the last good state is in force: ", "a.yaml:5:3: ", typo)
		w.pass(time.Minute)
		w.expect(partRules, 0, 1, typo)

		w.write("rules/a.yaml", "# nothing\n"+broken) // wrong in another place
		w.polled()
		w.expect(partRules, 0, 2, "a.yaml:6:3: ")

		w.write("rules/a.yaml", allowing)
		w.polled()
		w.want("a:1", "allow passed")
		w.expect(partRules, 1, 2)
	})
}

// TestPollSeesWhatIsMended wherever that is: also in files that the last good state did not know.
func TestPollSeesWhatIsMended(t *testing.T) {
	const signed = `apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: signed}
spec: {images: [{glob: "**"}], authorities: [{name: release, key: {file: ../keys/release.pub}}]}
`
	release, err := registrytest.GenerateKey(registrytest.P256)
	if err != nil {
		t.Fatal(err)
	}
	f := func(name string, spoil, mend func(w *watching), problem string) {
		t.Run(name, func(t *testing.T) {
			watched(t, "", denying, func(_ *testing.T, w *watching) {
				spoil(w)
				w.polled()
				w.want("a:1", "deny static_fail")
				w.expect(partRules, 0, 1, problem)
				w.pass(time.Minute)
				w.expect(partRules, 0, 1, problem)
				before := w.engine.Snapshot().Fingerprint()
				mend(w)
				w.polled()
				w.expect(partRules, 1, 1)
				if w.engine.Snapshot().Fingerprint() == before {
					t.Error("the rules are those of before")
				}
			})
		})
	}
	f("a new file of the directory",
		func(w *watching) { w.write("rules/b.yaml", "kind: nothing\n") },
		func(w *watching) { w.write("rules/b.yaml", allowing) }, "b.yaml:")
	f("a key that a new policy names",
		func(w *watching) { w.write("rules/b.yaml", signed) },
		func(w *watching) { w.write("keys/release.pub", string(release.PublicPEM)) }, "release.pub: no such file or directory")
	f("another directory",
		func(w *watching) {
			w.write("other/a.yaml", "kind: nothing\n")
			w.write("sluice.yaml", strings.Replace(settings, "[rules]", "[other]", 1))
		},
		func(w *watching) { w.write("other/a.yaml", allowing) }, "other/a.yaml:")
	f("the only directory",
		func(w *watching) { w.remove("rules") },
		func(w *watching) { w.write("rules/a.yaml", allowing) }, "no such file or directory")
	f("the configuration",
		func(w *watching) { w.write("sluice.yaml", settings+"noMach: allow\n") },
		func(w *watching) { w.write("sluice.yaml", settings+"noMatch: allow\n") },
		"    8 | noMach: allow\n      | ^")
}

// TestConfigurationAndPoliciesAreOne: neither is taken up without the other.
func TestConfigurationAndPoliciesAreOne(t *testing.T) {
	only := strings.Replace(denying, `"**"`, `"evil.example.com/**"`, 1)
	watched(t, "", only, func(_ *testing.T, w *watching) {
		w.want("a:1", "deny no_match")
		// Policies in another place, and wrong there: the noMatch that goes with them must not be in force.
		w.write("other/a.yaml", strings.Replace(only, "evil", "!", 1))
		w.write("sluice.yaml", strings.Replace(settings, "[rules]", "[other]", 1)+"noMatch: allow\n")
		w.polled()
		w.want("a:1", "deny no_match")
		w.want("evil.example.com/a:1", "deny static_fail")
		w.expect(partRules, 0, 1, "other/a.yaml:4:")

		w.write("other/a.yaml", strings.Replace(only, "evil", "bad", 1))
		w.polled()
		w.want("a:1", "allow no_match")
		w.want("evil.example.com/a:1", "allow no_match")
		w.want("bad.example.com/a:1", "deny static_fail")
		w.expect(partRules, 1, 1)
	})
}

// TestWhatTakesARestart is told, and not taken for something that has been reloaded.
func TestWhatTakesARestart(t *testing.T) {
	watched(t, "", allowing, func(t *testing.T, w *watching) {
		told := func() (last string) {
			for _, one := range w.records.of("settings that take a restart have changed, and are not in force") {
				last += fmt.Sprintln(one["settings"])
			}
			return last
		}
		w.write("sluice.yaml", settings+"noMatch: warn\n")
		w.polled()
		if got := told(); got != "" {
			t.Errorf("what is in force was said to take a restart: %s", got)
		}
		w.write("sluice.yaml", settings+"admission: {anonymous: true}\npaths: [/a]\n")
		w.polled()
		w.polled()
		if got, want := told(), "[paths admission]\n"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		w.write("sluice.yaml", settings)
		w.polled()
		if got, want := told(), "[paths admission]\n"; got != want {
			t.Errorf("told %q after it was taken back, want %q", got, want)
		}
	})
}

// TestHangup: a signal need not wait for the poll, and reloads every part, changed or not.
func TestHangup(t *testing.T) {
	watched(t, "", allowing, func(_ *testing.T, w *watching) {
		w.want("a:1", "allow passed")
		w.write("rules/a.yaml", denying)
		w.hangup <- syscall.SIGHUP
		synctest.Wait()
		w.want("a:1", "deny static_fail")
		w.hangup <- syscall.SIGHUP
		synctest.Wait()
		for part := range numParts {
			w.expect(part, 2, 0)
		}
		w.pass(time.Minute) // and the poll does not do it again
		w.expect(partRules, 2, 0)
	})
}

// TestRegistriesReloadByThemselves: what is wrong with a registry's files keeps no policy out.
func TestRegistriesReloadByThemselves(t *testing.T) {
	const registries = "registries: [{host: registry.example.com, usernameFile: username, passwordFile: password}]\n"
	t.Run("credentials", func(t *testing.T) {
		f := func(_ *testing.T, w *watching) {
			first := w.ports.current.Load()
			w.write("password", "another\n")
			w.polled()
			w.expect(partRegistries, 1, 0)
			second := w.ports.current.Load()
			if second == first {
				t.Error("the backend is that of before")
			}

			w.remove("password")
			w.write("rules/a.yaml", denying)
			w.polled()
			w.expect(partRegistries, 1, 1, "password: no such file or directory")
			w.expect(partRules, 1, 0)
			w.want("a:1", "deny static_fail")
			w.hangup <- syscall.SIGHUP
			synctest.Wait()
			w.expect(partRules, 2, 0)
			w.expect(partRegistries, 1, 2, "password: no such file or directory")
			if w.ports.current.Load() != second {
				t.Error("the last good backend is gone")
			}

			w.write("password", "a third\n")
			w.polled()
			w.expect(partRegistries, 2, 2)
		}
		watchedWith(t, registries, allowing, map[string]string{"username": "reader\n", "password": "secret\n"}, f)
	})
	t.Run("the list", func(t *testing.T) {
		watched(t, "", allowing, func(t *testing.T, w *watching) {
			hosts := func() (all []string) {
				for _, r := range w.ports.current.Load().resolver.Stats() {
					all = append(all, r.Host)
				}
				return all
			}
			w.write("sluice.yaml", settings+"registries: [{host: registry.example.com}]\n")
			w.polled()
			w.expect(partRules, 1, 0)
			w.expect(partRegistries, 1, 0)
			if got := hosts(); !slices.Equal(got, []string{"registry.example.com"}) {
				t.Errorf("registries %q", got)
			}
			// A list that is wrong in itself is a wrong configuration.
			w.write("sluice.yaml", settings+"registries: [{host: registry.example.com, timeout: 1d}]\n")
			w.polled()
			w.expect(partRules, 1, 1, "timeout: 1d}]")
			// And one whose files are missing leaves the registries of before.
			w.write("sluice.yaml", settings+"registries: [{host: other.example.com, caFile: none.crt}]\n")
			w.polled()
			w.expect(partRules, 2, 1)
			w.expect(partRegistries, 1, 1, "none.crt: no such file or directory")
			if got := hosts(); !slices.Equal(got, []string{"registry.example.com"}) {
				t.Errorf("registries %q", got)
			}
			ca, err := os.ReadFile(w.path("pki/ca.crt"))
			if err != nil {
				t.Fatal(err)
			}
			w.write("none.crt", string(ca))
			w.polled()
			w.expect(partRegistries, 2, 1)
			if got := hosts(); !slices.Equal(got, []string{"other.example.com"}) {
				t.Errorf("registries %q", got)
			}
		})
	})
}

// TestCertificatesReloadByThemselves: half of a pair leaves the last good pair in force.
func TestCertificatesReloadByThemselves(t *testing.T) {
	watched(t, "", allowing, func(t *testing.T, w *watching) {
		other := newFiles(t, "", allowing)
		take := func(name string) {
			content, err := os.ReadFile(other.path(name))
			if err != nil {
				t.Fatal(err)
			}
			w.write(name, string(content))
		}
		hash := w.front.Hash()
		take("pki/server.crt")
		w.write("rules/a.yaml", denying)
		w.polled()
		w.expect(partCertificates, 0, 1, "server.crt with ", "private key does not match public key")
		w.expect(partRules, 1, 0)
		w.pass(time.Minute)
		w.expect(partCertificates, 0, 1, "server.crt with ")
		if w.front.Hash() != hash {
			t.Error("half a pair was taken up")
		}
		take("pki/server.key")
		w.polled()
		w.expect(partCertificates, 1, 1)
		take("pki/ca.crt")
		w.polled()
		w.expect(partCertificates, 2, 1)
		if w.front.Hash() == hash {
			t.Error("the certificate is that of before")
		}
	})
}

// TestReloadKeepsFacts: what is known of tags and signatures outlives a reload that changes no registry, so that a
// change of policy does not set off a storm of requests; and ends with the credentials it was had with.
func TestReloadKeepsFacts(t *testing.T) {
	const registries = "registries: [{host: registry.example.com, usernameFile: username, passwordFile: password}]\n"
	credentials := map[string]string{"username": "sluice", "password": "one"}
	watchedWith(t, registries, allowing, credentials, func(t *testing.T, w *watching) {
		facts := w.ports.current.Load()
		w.write("rules/a.yaml", denying)
		for range 2 {
			if _, err := w.reloader.reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if w.ports.current.Load() != facts {
			t.Error("a reload of policies has thrown away what is known of registries")
		}
		w.write("password", "two")
		if _, err := w.reloader.reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.ports.current.Load() == facts {
			t.Error("new credentials have not been taken up")
		}
	})
}
