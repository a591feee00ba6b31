package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/engine"
)

// TestMain makes the test binary a plugin where it is started as one.
func TestMain(m *testing.M) {
	if behaviour := os.Getenv("CREDENTIAL_TEST_PLUGIN"); behaviour != "" {
		plugin(behaviour)
		return
	}
	os.Exit(m.Run())
}

// plugin behaves as a test wants it. It notes each of its runs in a directory, by a file of the name of its process.
func plugin(behaviour string) {
	note := func(name, text string) {
		if err := os.WriteFile(filepath.Join(os.Getenv("CREDENTIAL_TEST_DIR"), name), []byte(text), 0o600); err != nil {
			panic(err)
		}
	}
	question, _ := io.ReadAll(os.Stdin)
	note(fmt.Sprintf("run-%d", os.Getpid()), string(question))
	var asked request
	if err := json.Unmarshal(question, &asked); err != nil {
		panic(err)
	}
	behaviour, rest, _ := strings.Cut(behaviour, " ")
	switch behaviour {
	case "say":
		fmt.Print(strings.ReplaceAll(rest, "IMAGE", asked.Image))
	case "wait": // for a file, and then say the rest
		for {
			if _, err := os.Stat(filepath.Join(os.Getenv("CREDENTIAL_TEST_DIR"), "go")); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		fmt.Print(rest)
	case "echo": // how it was started
		fmt.Printf(`{"kind":"CredentialProviderResponse","apiVersion":%q,"cacheKeyType":"Image","auth":{%q:{"username":%q,"password":%q}}}`,
			asked.APIVersion, asked.Image, strings.Join(os.Args[1:], "|"), os.Getenv("FROM_CONFIG")+"|"+os.Getenv("HOME"))
	case "fail":
		fmt.Fprint(os.Stderr, rest)
		os.Exit(3)
	case "flood":
		for {
			if _, err := os.Stdout.Write(make([]byte, 1<<16)); err != nil {
				os.Exit(1)
			}
		}
	case "shout":
		for range 256 {
			_, _ = os.Stderr.Write(bytes.Repeat([]byte("x "), 1<<15))
		}
		fmt.Fprint(os.Stderr, "\nthe end")
		os.Exit(1)
	case "hang", "leave": // with a child that has its output
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "CREDENTIAL_TEST_PLUGIN=sleep")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			panic(err)
		}
		note("child", strconv.Itoa(child.Process.Pid))
		if behaviour == "hang" {
			select {}
		}
		fmt.Print(rest)
	case "sleep":
		time.Sleep(time.Minute)
	}
}

// lab is a set of providers whose programs are the test binary.
type lab struct {
	*Providers
	dir string // where they note their runs
	log *bytes.Buffer
}

// spec is one provider of a lab.
type spec struct {
	images    string // as in the file
	behaviour string
	duration  string // 1h if empty
	extra     string // further fields
}

func newLab(t *testing.T, timeout time.Duration, specs ...spec) *lab {
	t.Helper()
	l := &lab{dir: t.TempDir(), log: &bytes.Buffer{}}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text := "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"
	for i, s := range specs {
		if s.duration == "" {
			s.duration = "1h"
		}
		name := fmt.Sprint("plugin-", i)
		if err := os.Symlink(self, filepath.Join(l.dir, name)); err != nil {
			t.Fatal(err)
		}
		behaviour, _ := json.Marshal(s.behaviour)
		text += fmt.Sprintf(`- name: %s
  matchImages: %s
  defaultCacheDuration: %s
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  env: [{name: CREDENTIAL_TEST_PLUGIN, value: %s}, {name: CREDENTIAL_TEST_DIR, value: %q}, {name: FROM_CONFIG, value: yes it is},
    {name: GORACE, value: atexit_sleep_ms=0}]
  %s
`, name, s.images, s.duration, behaviour, l.dir, s.extra)
	}
	l.Providers, err = New(Config{
		ConfigFile: write(t, "providers.yaml", text), BinDir: l.dir, Timeout: timeout,
		Log: slog.New(slog.NewJSONHandler(l.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// runs are what the programs were asked, each run once.
func (l *lab) runs(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(l.dir, "run-*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}

func (l *lab) want(t *testing.T, registry, repository, want string) {
	t.Helper()
	logins, err := l.Logins(t.Context(), registry, repository)
	if err != nil {
		t.Fatalf("%s/%s: %v", registry, repository, err)
	}
	if got := names(logins); got != want {
		t.Errorf("%s/%s: %q, want %q", registry, repository, got, want)
	}
}

func (l *lab) wantRuns(t *testing.T, want int) {
	t.Helper()
	if got := l.runs(t); len(got) != want {
		t.Errorf("%d runs, want %d", len(got), want)
	}
}

// says is an answer with one login.
func says(keyType, duration, auth string) string {
	if duration != "" {
		duration = `"cacheDuration":"` + duration + `",`
	}
	return `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"` + keyType +
		`",` + duration + `"auth":` + auth + `}`
}

const forR = `{"*.example":{"username":"u","password":"hunter2"}}`

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
