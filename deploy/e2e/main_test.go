package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The programs that deploy/e2e/run puts in place.
const tools = "../../.cache/e2e/bin"

var programs = struct {
	sluice, bench, cosign, cosign3, registry, fulcio, rekor2, tsa, h2spec, etcd, apiserver, controllers, kubectl, kubeadm, helm string
}{
	tool("sluice"), tool("sluice-bench"), tool("cosign"), tool("v3/cosign"), tool("docker-registry"),
	tool("fulcio"), tool("rekor-server"), tool("timestamp-server"), tool("h2spec"),
	tool("etcd"), tool("kube-apiserver"), tool("kube-controller-manager"), tool("kubectl"), tool("kubeadm"), tool("helm"),
}

func tool(name string) string {
	path, err := filepath.Abs(filepath.Join(tools, name))
	if err != nil {
		return name
	}
	return path
}

// shared is what all tests use and none changes: a registry, of which each test has repositories of its own, and keys.
var shared struct {
	dir      string
	registry *registry
}

func TestMain(m *testing.M) {
	os.Exit(main(m))
}

func main(m *testing.M) int {
	if err := raiseLoopback(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: loopback is down:", err)
		return 2
	}
	for _, p := range []string{
		programs.sluice, programs.bench, programs.cosign, programs.cosign3, programs.registry, programs.fulcio, programs.rekor2,
		programs.tsa, programs.h2spec, programs.etcd, programs.apiserver, programs.controllers, programs.kubectl, programs.kubeadm, programs.helm,
	} {
		if _, err := os.Stat(p); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: %v\ne2e: deploy/e2e/run puts it there, and runs this suite\n", err)
			return 2
		}
	}
	dir, err := os.MkdirTemp("", "sluice-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 2
	}
	defer os.RemoveAll(dir)
	shared.dir = dir
	port, err := reservePort()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 2
	}
	defer port.release()
	shared.registry, err = startRegistry(filepath.Join(dir, "registry"), port.addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 2
	}
	defer shared.registry.process.kill()
	defer stopKeyless()
	defer stopClusters()
	return m.Run()
}

// raiseLoopback has 127.0.0.1 answer in a network of our own, where it does not yet: see deploy/e2e/run.
func raiseLoopback() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, loopback); err != nil || loopback.Uint16()&unix.IFF_UP != 0 {
		return err
	}
	loopback.SetUint16(loopback.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback)
}

// patience is how long anything may take that has no limit of its own: two busy cores are slow.
const patience = 15 * time.Second

// poll calls what until it returns nil, for as long as patience lasts.
func poll(what func() error) error { return pollFor(patience, what) }

// pollFor is poll for what needs a patience of its own.
func pollFor(patience time.Duration, what func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if err = what(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("after %s: %w", patience, err)
}

// eventually polls, and fails the test if that does not succeed.
func eventually(t testing.TB, what func() error) {
	t.Helper()
	must(t, poll(what))
}

// must is for what is no test of sluice and has to work.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
