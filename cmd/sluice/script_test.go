package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"sluice/resolver/registrytest"
	"sluice/resolver/signature/signaturetest"
)

// TestMain makes this binary be sluice where it is called by that name, which is how scripts run it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sluice": main})
}

var update = flag.Bool("update", false, "write what was got over what was expected, in scripts and golden files")

// TestScripts runs the command line as people do. What a script can say beyond testscript's own words is scriptCommands.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, atOnce)
			return nil
		},
		Cmds:                scriptCommands(),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// atOnce has a process that was built with the race detector end when it ends, and not a second later.
const atOnce = "GORACE=atexit_sleep_ms=0"

func scriptCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	commands := map[string]func(ts *testscript.TestScript, args []string){
		"exits": scriptExits, "expand": scriptExpand, "json": scriptJSON, "keyless": scriptKeyless, "modes": scriptModes, "occupy": scriptOccupy, "ports": scriptPorts,
		"ready": scriptReady, "registry": scriptRegistry, "review": scriptReview, "send": scriptSend,
		"signal": scriptSignal,
	}
	all := make(map[string]func(ts *testscript.TestScript, neg bool, args []string))
	for name, f := range commands {
		all[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("! %s has no meaning", name)
			}
			f(ts, args)
		}
	}
	return all
}

// exits CODE PROGRAM ARG… runs a program that ends with this code.
func scriptExits(ts *testscript.TestScript, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
		ts.Fatalf("%s: %v, and not %s", strings.Join(args[1:], " "), err, args[0])
	}
}

// expand FILE… replaces $NAME in files by the script's environment.
func scriptExpand(ts *testscript.TestScript, args []string) {
	for _, file := range args {
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(os.Expand(ts.ReadFile(file), ts.Getenv)), 0o644))
	}
}

// json FILE checks that a file, stdout for one, is one JSON value.
func scriptJSON(ts *testscript.TestScript, args []string) {
	decoder := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	var value any
	ts.Check(decoder.Decode(&value))
	if err := decoder.Decode(&value); err != io.EOF {
		ts.Fatalf("%s holds more than one JSON value", args[0])
	}
}

// modes DIR prints mode and name of each file of a tree.
func scriptModes(ts *testscript.TestScript, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			name, _ := filepath.Rel(dir, path)
			fmt.Fprintf(ts.Stdout(), "%04o %s\n", info.Mode().Perm(), filepath.ToSlash(name))
		}
		return err
	}))
}

// occupy NAME takes a port for itself alone, and puts its number into a variable.
func scriptOccupy(ts *testscript.TestScript, args []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { listener.Close() })
	ts.Setenv(args[0], strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
}

// ports NAME… finds free ports, and keeps them free until the script has ended: they are bound, with SO_REUSEPORT, and
// not listened on. So nobody else is given one of them, the processes of the script can share them, and a connection is
// refused as long as none of those listens.
func scriptPorts(ts *testscript.TestScript, args []string) {
	for _, name := range args {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		ts.Check(err)
		ts.Defer(func() { _ = unix.Close(fd) })
		ts.Check(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		ts.Check(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
		address, err := unix.Getsockname(fd)
		ts.Check(err)
		ts.Setenv(name, strconv.Itoa(address.(*unix.SockaddrInet4).Port))
	}
}

// ready ADMIN waits until an admin plane says that the service is ready.
func scriptReady(ts *testscript.TestScript, args []string) {
	tick, end := time.NewTicker(20*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for {
		status, body, err := exchange(http.MethodGet, "http://"+args[0]+"/readyz", "")
		if err == nil && status == http.StatusOK {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			ts.Fatalf("not ready: %d %s %v", status, body, err)
		}
	}
}

// registry starts a registry with images team/app:signed, :unsigned and :wrongly-signed. It puts host and port into
// $REGISTRY, the digests into $SIGNED, $UNSIGNED and $WRONGLY_SIGNED, what people read of the tags of
// their signatures into $SIGNED_SIGNATURES and so on, and writes registry-ca.crt and release.pub.
func scriptRegistry(ts *testscript.TestScript, _ []string) {
	registry, err := registrytest.New(registrytest.Options{TLS: true})
	ts.Check(err)
	ts.Defer(registry.Close)
	release, err := registrytest.GenerateKey(registrytest.P256)
	ts.Check(err)
	stranger, err := registrytest.GenerateKey(registrytest.P256)
	ts.Check(err)
	push := func(tag string) string {
		digest, err := registry.PushImage("team/app:" + tag)
		ts.Check(err)
		name := strings.ToUpper(strings.ReplaceAll(tag, "-", "_"))
		ts.Setenv(name, digest)
		ts.Setenv(name+"_SIGNATURES", "sha256-"+digest[len("sha256:"):][:12]+"….sig")
		return digest
	}
	push("unsigned")
	ts.Check(registry.Sign("team/app", push("signed"), release, registrytest.SignOptions{}))
	ts.Check(registry.Sign("team/app", push("wrongly-signed"), stranger, registrytest.SignOptions{}))
	ts.Check(os.WriteFile(ts.MkAbs("registry-ca.crt"), registry.CA(), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("release.pub"), release.PublicPEM, 0o644))
	ts.Setenv("REGISTRY", registry.Host())
	registries.Store(registry.Host(), registry)
}

// registries are those of the scripts that run, for the commands that come after registry.
var registries sync.Map // of *registrytest.Registry by host and port

// keyless puts team/app:keyless into the script's registry, signed by build@example.com with a bundle of version 0.3,
// and attested by scanner@example.com (classic, of type vuln). It puts the digest into $KEYLESS, and writes
// trusted_root.json.
func scriptKeyless(ts *testscript.TestScript, _ []string) {
	found, ok := registries.Load(ts.Getenv("REGISTRY"))
	if !ok {
		ts.Fatalf("keyless comes after registry")
	}
	registry := found.(*registrytest.Registry)
	instance, err := signaturetest.NewSigstore()
	ts.Check(err)
	digest, err := registry.PushImage("team/app:keyless")
	ts.Check(err)
	ts.Setenv("KEYLESS", digest)
	signer := func(subject string) *signaturetest.Signer {
		s, err := instance.Keyless(signaturetest.Identity{Issuer: "https://token.example.com", Subject: subject})
		ts.Check(err)
		return s
	}
	evidence := signaturetest.Evidence{Log: signaturetest.Rekor}
	signed, err := instance.Bundle("0.3", signer("build@example.com"),
		signaturetest.Content{Digest: digest, Annotations: map[string]string{"env": "prod"}}, evidence)
	ts.Check(err)
	ts.Check(signaturetest.Push(registry, "team/app", digest, signaturetest.Referrer, signed))
	attested, err := instance.Classic(signer("scanner@example.com"), signaturetest.Content{
		Digest: digest, PredicateType: "https://cosign.sigstore.dev/attestation/vuln/v1",
		Predicate: map[string]any{"scanner": map[string]any{"result": "none"}},
	}, evidence)
	ts.Check(err)
	ts.Check(signaturetest.Push(registry, "team/app", digest, signaturetest.Tag, attested))
	ts.Check(os.WriteFile(ts.MkAbs("trusted_root.json"), instance.TrustedRoot(), 0o644))
}

// review DIR ADDRESS NAMESPACE IMAGE… asks as the apiserver does, by the client certificate in DIR/pki, and prints the
// verdict, the reason and the message.
func scriptReview(ts *testscript.TestScript, args []string) {
	client, err := newClient(ts.MkAbs(args[0]))
	ts.Check(err)
	defer client.CloseIdleConnections()
	reply, err := ask(client, args[1], args[2], args[3:]...)
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), reply)
}

// send METHOD URL prints status and body of an answer of the admin plane.
func scriptSend(ts *testscript.TestScript, args []string) {
	status, body, err := exchange(args[0], args[1], "")
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%d\n%s", status, body)
}

// signal NAME N sends a signal to the Nth process that was started in the background and has not been waited for.
func scriptSignal(ts *testscript.TestScript, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	running := ts.BackgroundCmds()
	if signals[args[0]] == 0 || n < 1 || n > len(running) {
		ts.Fatalf("there is no signal %s, or no process %d", args[0], n)
	}
	ts.Check(running[n-1].Process.Signal(signals[args[0]]))
}

// TestScriptsOfCommands holds that every subcommand has a script of its own.
func TestScriptsOfCommands(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commandPaths(newRoot()) {
		_, name, _ := strings.Cut(path, " ")
		prefix := filepath.Join("testdata/script", strings.ReplaceAll(name, " ", "_"))
		if name != "" && !slices.ContainsFunc(scripts, func(s string) bool { return strings.HasPrefix(s, prefix) }) {
			t.Errorf("%s has no script %s*.txtar", path, prefix)
		}
	}
}
