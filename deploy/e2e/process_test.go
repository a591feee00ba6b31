package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// output keeps what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// process is a program that was started and is known by its pid. It dies with the test binary.
type process struct {
	name           string
	cmd            *exec.Cmd
	stdout, stderr output
	done           chan struct{} // closed when it has ended, and cmd.ProcessState says how
}

// startProcess starts a program in dir, with nothing of this environment but env.
func startProcess(dir string, env []string, argv ...string) (*process, error) {
	return startProcessAs(syscall.SysProcAttr{}, dir, env, argv...)
}

// startProcessAs is startProcess for another user, or below another root.
func startProcessAs(as syscall.SysProcAttr, dir string, env []string, argv ...string) (*process, error) {
	p := &process{name: filepath.Base(argv[0]), cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, append([]string{"HOME=" + dir, "TMPDIR=" + os.TempDir()}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	as.Pdeathsig = syscall.SIGKILL
	p.cmd.SysProcAttr = &as
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState says it better
		close(p.done)
	}()
	return p, nil
}

// ended tells whether the process is gone.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends the process at once, and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	must(t, p.cmd.Process.Signal(s))
}

// exit waits for the process to end by itself, and returns its exit code.
func (p *process) exit(t testing.TB, within time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("%s (pid %d) has not ended within %s; it said:\n%s", p.name, p.cmd.Process.Pid, within, tail(p.stderr.String()))
	}
	return p.cmd.ProcessState.ExitCode()
}

// run runs a program to its end, within a minute, and returns its exit code and what it wrote.
func run(t testing.TB, dir string, env []string, argv ...string) (code int, stdout, stderr string) {
	t.Helper()
	p, err := startProcess(dir, env, argv...)
	must(t, err)
	defer p.kill()
	return p.exit(t, time.Minute), p.stdout.String(), p.stderr.String()
}

// residentPeak is the most memory that the process has held, in bytes.
func (p *process) residentPeak(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	must(t, err)
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Fatalf("no VmHWM in %s", status)
	return 0
}

// tail shortens what a process wrote to what fits a failure's text.
func tail(s string) string {
	const most = 4 << 10
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

// port is a port of 127.0.0.1 that is bound but not listened on. Others may listen on it if they set SO_REUSEADDR, as
// Go does; the kernel gives it to nobody who asks for any port.
type port struct {
	addr string
	fd   int
}

func reservePort() (*port, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	p := &port{fd: fd}
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			p.release()
			return nil, err
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		p.release()
		return nil, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		p.release()
		return nil, err
	}
	p.addr = fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	return p, nil
}

func (p *port) release() { _ = unix.Close(p.fd) }

// freePort reserves a port for as long as the test runs.
func freePort(t testing.TB) string {
	t.Helper()
	p, err := reservePort()
	must(t, err)
	t.Cleanup(p.release)
	return p.addr
}
