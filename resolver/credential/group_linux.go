package credential

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// inGroup makes a command the leader of a process group of its own. When it is killed, [reapGroup] kills the others.
func inGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// reapGroup waits for the leader to end, and then kills what is left of its group. The leader's end is not taken note of
// yet, so that no other process can have got its number.
func reapGroup(leader *os.Process) {
	for {
		err := unix.Waitid(unix.P_PID, leader.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Kill(-leader.Pid, unix.SIGKILL) // most often nobody is left
}
