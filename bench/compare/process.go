package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is something that was started, with whatever it starts itself: all of them are one process group.
type process struct {
	name   string
	cmd    *exec.Cmd
	output *tail
	ended  chan struct{}
	err    error // of its end, once ended is closed
}

// start runs a program in a group of its own. It ends when this program does, however that ends.
func start(name string, env []string, dir, program string, arguments ...string) (*process, error) {
	p := &process{name: name, output: &tail{}, ended: make(chan struct{})}
	p.cmd = exec.Command(program, arguments...)
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// stop ends the group, gently if it lets us.
func (p *process) stop() {
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	<-p.ended
}

// alive returns an error with the last words of a process that has ended.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended: %v\n%s", p.name, p.err, p.output)
	default:
		return nil
	}
}

// patience is how long a server may take until it answers.
const patience = 20 * time.Second

// await polls what until it succeeds, while the process lives.
func (p *process) await(ctx context.Context, what func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := what()
		if err == nil {
			return nil
		}
		if ended := p.alive(); ended != nil {
			return ended
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready: %w\n%s", p.name, err, p.output)
		}
	}
}

// cpu is what the group has used so far, user and system: that of all who live, by their clocks, which are exact, and
// of those who were waited for, by their parents' accounts, in ticks of 10 ms.
func (p *process) cpu() (time.Duration, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	found := false
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // has just ended
		}
		// After the command's name, which may hold anything: state, parent, group, and so on. See proc_pid_stat(5).
		fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
		if len(fields) < 15 || fields[2] != strconv.Itoa(p.cmd.Process.Pid) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return 0, err
		}
		var now unix.Timespec
		// The clock of another process: see clock_getcpuclockid(3), and the kernel's posix-timers.h.
		if err := unix.ClockGettime(int32(^pid<<3|2), &now); err != nil {
			continue
		}
		found = found || fields[0] != "Z" // those who have ended, and whom nobody waits for, are counted, but are not alive
		sum += time.Duration(now.Nano())
		for _, ticks := range fields[13:15] { // cutime and cstime
			n, err := strconv.ParseInt(ticks, 10, 64)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	if !found {
		return 0, fmt.Errorf("nothing is left of %s\n%s", p.name, p.output)
	}
	return sum, nil
}

// tail keeps the last of what a process says, for when it fails.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const kept = 4 << 10

// Write keeps the end of what was written so far.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - kept; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text))
}

// freePort finds an address that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// raiseLoopback has 127.0.0.1 answer in a network of our own, where it does not yet: see bench/compare/run.
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
