package credential

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/engine"
)

func TestAPluginIsStartedAsTheKubeletDoes(t *testing.T) {
	t.Parallel()
	l := newLab(t, 0, spec{images: "[r.example, docker.io]", behaviour: "echo", extra: `args: [get-credentials, "a b"]`})
	logins, err := l.Logins(t.Context(), "r.example", "team/app")
	if err != nil || len(logins) != 1 {
		t.Fatalf("%d logins, %v", len(logins), err)
	}
	if got := logins[0].Username(); got != "get-credentials|a b" {
		t.Errorf("its arguments were %q", got)
	}
	if got := logins[0].Password(); got != "yes it is|"+os.Getenv("HOME") {
		t.Errorf("its environment had %q", got)
	}
	const want = `{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"r.example/team/app"}`
	if got := l.runs(t); len(got) != 1 || got[0] != want {
		t.Errorf("it was asked %v", got)
	}
	l.want(t, engine.DockerHub, "library/nginx", "get-credentials|a b")
	if !strings.Contains(strings.Join(l.runs(t), ""), `"image":"docker.io/library/nginx"`) {
		t.Errorf("it was asked %v", l.runs(t))
	}
	l.want(t, "r.example.evil.example", "team/app", "")
	l.want(t, "evil.example", "r.example/team/app", "")
	l.wantRuns(t, 2)
	stats := l.Stats()
	if len(stats) != 1 || stats[0].Provider != "plugin-0" || stats[0].Runs != 2 || stats[0].Failures != 0 || stats[0].Took <= 0 {
		t.Errorf("stats %+v", stats)
	}
}

func TestAnswersAreKeptByTheirKey(t *testing.T) {
	t.Parallel()
	f := func(keyType string, images ...int) {
		t.Helper()
		l := newLab(t, 0, spec{images: `["*.example"]`, behaviour: "say " + says(keyType, "", forR)})
		for i, image := range [][2]string{
			{"a.example", "x"}, {"a.example", "x"}, {"a.example", "y"}, {"b.example", "x"}, {"a.example", "y"}, {"b.example", "x"},
		} {
			l.want(t, image[0], image[1], "u")
			l.wantRuns(t, images[i])
		}
		if reach := scope(l.providers[0].reach.Load()); images[5] == 1 != (reach == scopeGlobal) || images[5] == 3 != (reach == scopeImage) {
			t.Errorf("%s: the next run is for scope %d", keyType, reach)
		}
	}
	f("Image", 1, 1, 2, 3, 3, 3)
	f("Registry", 1, 1, 1, 2, 2, 2)
	f("Global", 1, 1, 1, 1, 1, 1)
}

func TestAnswersAreKeptForTheirTime(t *testing.T) {
	t.Parallel()
	f := func(s spec, want int) {
		t.Helper()
		s.images = "[r.example]"
		l := newLab(t, 0, s)
		for range 3 {
			l.want(t, "r.example", "x", "u")
		}
		l.wantRuns(t, want)
	}
	f(spec{behaviour: "say " + says("Registry", "1h", forR), duration: "0s"}, 1)
	f(spec{behaviour: "say " + says("Registry", "0s", forR)}, 3)
	f(spec{behaviour: "say " + says("Registry", "-1h", forR)}, 3)
	f(spec{behaviour: "say " + says("Registry", "", forR), duration: "0s"}, 3)
	f(spec{behaviour: "say " + says("Registry", "", forR)}, 1)
}

func TestNoCredentialsAreAnAnswer(t *testing.T) {
	t.Parallel()
	l := newLab(t, 0, spec{images: "[r.example]", behaviour: "say " + says("Registry", "", "null")})
	l.want(t, "r.example", "x", "")
	l.want(t, "r.example", "x", "")
	l.wantRuns(t, 1)
}

// TestOneRunIsForAllWhoWait: for one image, for images of one registry, and when the plugin turns out to answer for less
// than was thought.
func TestOneRunIsForAllWhoWait(t *testing.T) {
	t.Parallel()
	f := func(keyType string, want int) {
		t.Helper()
		l := newLab(t, time.Minute, spec{images: "[r.example]", behaviour: "wait " + says(keyType, "", forR)})
		var all sync.WaitGroup
		for i := range 60 {
			all.Go(func() {
				logins, err := l.Logins(t.Context(), "r.example", fmt.Sprint("image-", i%3))
				if err != nil || names(logins) != "u" {
					t.Errorf("%q, %v", names(logins), err)
				}
			})
		}
		if err := os.WriteFile(filepath.Join(l.dir, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		l.wantRuns(t, want)
	}
	f("Registry", 1)
	f("Image", 3)
}

func TestAllPluginsForAnImageAreAsked(t *testing.T) {
	t.Parallel()
	l := newLab(
		t, 0,
		spec{images: `["*.example"]`, behaviour: "say " + says("Image", "", `{"*.example":{"username":"first","password":"p"}}`)},
		spec{images: `["r.example"]`, behaviour: "fail broken"},
		spec{images: `["other.example"]`, behaviour: "say " + says("Image", "", `{"*.example":{"username":"other","password":"p"}}`)},
		spec{images: `["r.example/team"]`, behaviour: "say " + says("Image", "",
			`{"r.example":{"username":"host","password":"p"},"*.example":{"username":"last","password":"p"},`+
				`"r.example.evil.example":{"username":"evil","password":"p"}}`)},
	)
	l.want(t, "r.example", "team/app", "host first last")
	l.wantRuns(t, 3)
}

func TestFailuresAreErrorsAndBriefAndNeverShowTheAnswer(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	f := func(behaviour, want string) {
		t.Helper()
		l := newLab(t, 0, spec{images: "[r.example]", behaviour: behaviour})
		logins, err := l.Logins(t.Context(), "r.example", "x")
		if err == nil || len(logins) > 0 || !strings.Contains(err.Error(), "credential provider plugin-0: "+want) {
			t.Errorf("%.60s: %d logins, %v", behaviour, len(logins), err)
		}
		if strings.Contains(l.log.String()+fmt.Sprint(err), secret) {
			t.Errorf("%.60s: the log or the error shows what is secret: %s", behaviour, l.log)
		}
		if n := strings.Count(l.log.String(), "\n"); n != 1 || l.log.Len() > 1500 {
			t.Errorf("%.60s: %d records, %d bytes", behaviour, n, l.log.Len())
		}
		if s := l.Stats()[0]; s.Runs != 1 || s.Failures != 1 {
			t.Errorf("%.60s: stats %+v", behaviour, s)
		}
	}
	f("say", "its answer is not the JSON")
	f("say "+secret, "its answer is not the JSON")
	f("say "+says("Registry", "", forR)+secret, "its answer is not the JSON")
	f("say "+says("Registry", "", `{"r.example":"`+secret+`"}`), "its answer is not the JSON")
	f("say "+says("Registry", secret, forR), "the cacheDuration of its answer is no duration")
	f("say "+says("Everything", "", forR), "the cacheKeyType of its answer")
	f("say "+strings.Replace(says("Registry", "", forR), "/v1", "/v1beta1", 1), "its answer is no CredentialProviderResponse of credentialprovider.kubelet.k8s.io/v1")
	f("say "+strings.Replace(says("Registry", "", forR), "Response", "Request", 1), "its answer is no CredentialProviderResponse")
	f("fail password="+secret+"\n", "it failed: exit status 3")
	f("flood", "its answer is longer than 1 MiB")
	f("shout", "it failed: exit status 1")
}

func TestAFailureIsRememberedForASecondAndForItsImageAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, 0, spec{images: "[r.example]", behaviour: "fail"})
		fail := func(repository string, runs int) {
			t.Helper()
			if _, err := l.Logins(t.Context(), "r.example", repository); err == nil {
				t.Error("no error")
			}
			l.wantRuns(t, runs)
		}
		fail("x", 1)
		fail("x", 1)
		fail("y", 2)
		time.Sleep(failureTTL - time.Nanosecond)
		fail("x", 2)
		time.Sleep(time.Nanosecond)
		fail("x", 3)
	})
}

func TestAnswersEnd(t *testing.T) {
	t.Parallel()
	f := func(said string, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, 0, spec{images: "[r.example]", behaviour: "say " + says("Registry", said, forR), duration: "10m"})
			l.want(t, "r.example", "x", "u")
			kept, err := l.shared.answers.Do(t.Context(), l.providers[0].key(false, scopeRegistry, "r.example", ""), nil)
			if err != nil || kept.TTL != want {
				t.Errorf("%q: kept for %v, want %v; %v", said, kept.TTL, want, err)
			}
			if want > time.Hour {
				return
			}
			time.Sleep(want - time.Nanosecond)
			l.want(t, "r.example", "y", "u")
			l.wantRuns(t, 1)
			time.Sleep(time.Nanosecond)
			l.want(t, "r.example", "x", "u")
			l.wantRuns(t, 2)
		})
	}
	f("", 10*time.Minute)
	f("5m0s", 5*time.Minute)
	f("1000h", 24*time.Hour)
}

// TestASlowPluginIsKilledWithItsChildren, and so are those of one that ends and leaves them behind.
func TestASlowPluginIsKilledWithItsChildren(t *testing.T) {
	t.Parallel()
	f := func(behaviour, want string) {
		t.Helper()
		timeout := time.Minute
		if behaviour == "hang" {
			timeout = 500 * time.Millisecond
		}
		l := newLab(t, timeout, spec{images: "[r.example]", behaviour: behaviour})
		_, err := l.Logins(t.Context(), "r.example", "x")
		if got := fmt.Sprint(err); !strings.Contains(got, want) {
			t.Errorf("%.20s: %s, want %s", behaviour, got, want)
		}
		text, err := os.ReadFile(filepath.Join(l.dir, "child"))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(string(text))
		if err != nil {
			t.Fatal(err)
		}
		awaitGone(t, pid)
	}
	f("hang", "it did not answer in time")
	f("leave "+says("Registry", "", forR), "<nil>")
}

// awaitGone waits until a process is gone, or only waits for whoever inherited it.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	for t.Context().Err() == nil {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
}

// TestARunEndsWithTheLastWhoWaits, and is no failure of the plugin then.
func TestARunEndsWithTheLastWhoWaits(t *testing.T) {
	t.Parallel()
	l := newLab(t, time.Minute, spec{images: "[r.example]", behaviour: "hang"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() {
		_, err := l.Logins(ctx, "r.example", "x")
		done <- err
	}()
	for len(l.runs(t)) == 0 {
		if t.Context().Err() != nil {
			return
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	l.Close() // waits for the process
	if s := l.Stats()[0]; s.Failures != 0 {
		t.Errorf("stats %+v", s)
	}
	if _, err := l.Logins(t.Context(), "r.example", "x"); err == nil {
		t.Error("closed, and answering")
	}
	l.Close()
}

func TestProcessesAtATimeAreBounded(t *testing.T) {
	t.Parallel()
	l := newLab(t, time.Minute, spec{images: "[r.example]", behaviour: "wait " + says("Image", "", forR)})
	l.providers[0].reach.Store(uint32(scopeImage))
	var all sync.WaitGroup
	for i := range 3 * maxProcesses {
		all.Go(func() { _, _ = l.Logins(t.Context(), "r.example", fmt.Sprint("image-", i)) })
	}
	for len(l.runs(t)) < maxProcesses {
		if t.Context().Err() != nil {
			return
		}
	}
	if n := len(l.shared.slots); n != maxProcesses {
		t.Errorf("%d processes at a time, want %d", n, maxProcesses)
	}
	l.wantRuns(t, maxProcesses)
	if err := os.WriteFile(filepath.Join(l.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	l.wantRuns(t, 3*maxProcesses)
}

func TestAPluginThatHangsKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	l := newLab(t, time.Minute, spec{images: `["*.hung.example"]`, behaviour: "wait"},
		spec{images: "[r.example]", behaviour: "say " + says("Registry", "", forR)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for i := range 3 * maxProcesses {
		all.Go(func() { _, _ = l.Logins(ctx, fmt.Sprintf("r%d.hung.example", i), "x") })
	}
	for len(l.runs(t)) < maxOfOne {
		if t.Context().Err() != nil {
			return
		}
	}
	l.want(t, "r.example", "x", "u")
	l.wantRuns(t, maxOfOne+1)
	cancel()
	all.Wait()
}

func TestProgramsAreInTheDirectoryOrNewFails(t *testing.T) {
	t.Parallel()
	file, dir := write(t, "c.yaml", goodYAML), t.TempDir()
	f := func(c Config, want string) {
		t.Helper()
		p, err := New(c)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
		if p != nil {
			p.Close()
		}
	}
	f(Config{}, "needed")
	f(Config{ConfigFile: file}, "needed")
	f(Config{ConfigFile: file, BinDir: dir, Timeout: -1}, "timeout")
	f(Config{ConfigFile: file, BinDir: filepath.Join(dir, "none")}, "binDir: ")
	f(Config{ConfigFile: file, BinDir: file}, "is no directory")
	f(Config{ConfigFile: file, BinDir: dir}, "binDir: the program of the provider ecr-credential-provider: ")
	for _, name := range []string{"ecr-credential-provider", "acr"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f(Config{ConfigFile: file, BinDir: dir}, "binDir: the program of the provider ecr-credential-provider: ") // not executable
	for _, name := range []string{"ecr-credential-provider", "acr"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p, err := New(Config{ConfigFile: file, BinDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got := p.Files(); len(got) != 1 || got[0] != file {
		t.Errorf("files %v", got)
	}
}

func TestWhatIsLoggedOfStandardErrorIsShortAndWithoutSecrets(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		if got := redact(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	f("", "")
	f("E1122 main.go:54] Error: no EC2 IMDS role found\n", "E1122 main.go:54] Error: no EC2 IMDS role found")
	f("a\r\nb\x00c\t\xff", "a b\ufffdc \ufffd")
	f("password=hunter2 and more\nnext line", "password … next line")
	f(`{"Username":"AWS","Password":"hunter2"}`, `{"Username" …`)
	f("{\n \"Password\":\n  \"hunter2\"\n}", `{ "Password" … }`)
	f("Password\n:\nhunter2\nnext line", "Password … next line")
	f("the token\nhunter2 has expired", "the token … expired")
	f("Authorization: Bearer hunter2", "Authorization …")
	f("the token hunter2 expired", "the token …")
	f("token is hunter2", "token …")
	f("get https://user:hunter2@r.example/v2/ failed", "get https://…@r.example/v2/ failed")
	f("key AKIAIOSFODNN7EXAMPLE1234 rejected", "key … rejected")
	f("eyJhbGciOiJSUzI1NiIsImtpZCI6Ij.eyJpc3MiOiJrdWJlcm5ldGVzL3Nlcn", "….…")
	if got := redact(strings.Repeat("word ", 1000) + "end"); len(got) > maxSaid+3 || !strings.HasSuffix(got, "end") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
