package credential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
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
	if behaviour == "sleep" {
		time.Sleep(time.Minute)
		return
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
