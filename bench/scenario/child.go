package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// How long a child may take to start, and to end once it was asked to. A service finishes what is in flight first.
const (
	startTimeout = 30 * time.Second
	endTimeout   = 10 * time.Second
)

// child is a process that was started here. What it writes to stderr is in a file. It dies with this process.
type child struct {
	name   string
	log    string // the file
	pid    int
	stdin  io.WriteCloser // nil, unless startChild was asked for pipes
	stdout io.ReadCloser  //

	patience time.Duration // how long it may take to end

	process *os.Process
	done    chan struct{} // closed when the process has ended, and state says how
	state   *os.ProcessState
}

// startChild starts a program in dir, with nothing of this environment but env. The caller ends it with stop. If pipes is
// set, stdin and stdout are the caller's; otherwise there is nothing to read, and what is printed goes to the log too.
func startChild(dir, name string, env []string, pipes bool, argv ...string) (*child, error) {
	c := &child{name: name, log: filepath.Join(dir, name+".log"), patience: endTimeout, done: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append([]string{"HOME=" + dir, "TMPDIR=" + dir}, env...)
	cmd.Stderr, cmd.SysProcAttr = log, diesWithParent()
	if pipes {
		if c.stdin, err = cmd.StdinPipe(); err != nil {
			return nil, err
		}
		if c.stdout, err = cmd.StdoutPipe(); err != nil {
			return nil, err
		}
	} else {
		cmd.Stdout = log
	}
	started := make(chan error, 1)
	go func() {
		// The kernel ends the child when the thread that started it does, not the process: so it is kept.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		// Not cmd.Wait, which would close stdout before it has been read to its end.
		c.state, _ = cmd.Process.Wait()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c.process, c.pid = cmd.Process, cmd.Process.Pid
	return c, nil
}

// dead is an error that shows the end of the log if the child has ended, and nil if it has not.
func (c *child) dead() error {
	select {
	case <-c.done:
		return fmt.Errorf("%s has ended: %s; its log ends with:\n%s", c.name, c.state, c.tail())
	default:
		return nil
	}
}

// stop ends the child, by force if it takes too long, and returns when it is gone.
func (c *child) stop() {
	if c.stdin != nil {
		_ = c.stdin.Close()
	}
	_ = c.process.Signal(syscall.SIGTERM) // if it has ended already, it is not its number's next owner that gets this
	select {
	case <-c.done:
	case <-time.After(c.patience):
		_ = c.process.Kill()
		<-c.done
	}
	if c.stdout != nil {
		_ = c.stdout.Close()
	}
}

// await calls ready until it returns true, the child has ended, or the time to start in is over.
func (c *child) await(ctx context.Context, what string, ready func() bool) error {
	timeout := time.After(startTimeout)
	for !ready() {
		select {
		case <-c.done:
			return c.dead()
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return fmt.Errorf("%s (pid %d) was started %s ago and %s; its log ends with:\n%s", c.name, c.pid, startTimeout, what, c.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// tail is the end of the log.
func (c *child) tail() string {
	const most = 2 << 10
	f, err := os.Open(c.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-most), io.SeekStart)
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	if len(b) == 0 {
		return "(nothing)"
	}
	return string(bytes.TrimSpace(b))
}
