package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of /proc's accounts: USER_HZ, which is 100 wherever Linux runs Go (proc_pid_stat(5)).
const tick = 10 * time.Millisecond

// processUsage reads the accounts of a process.
func processUsage(pid int) (u usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The second field is the program's name in parentheses, which may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const utime, stime, rss = 14 - 3, 15 - 3, 24 - 3
	if len(fields) <= rss {
		return u, errors.New("its account cannot be read")
	}
	number := func(i int) int64 {
		n, failed := strconv.ParseInt(string(fields[i]), 10, 64)
		err = errors.Join(err, failed)
		return n
	}
	u.user, u.system = time.Duration(number(utime))*tick, time.Duration(number(stime))*tick
	u.rss = number(rss) * int64(os.Getpagesize())
	return u, err
}

// ownUsage reads the accounts of this process, which are more precise.
func ownUsage() (u usage) {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) == nil {
		u.user, u.system = time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())
	}
	return u
}

// machineCores reads the time that all cores have spent, which is nothing where the system does not tell.
func machineCores() (c cores) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c
	}
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(line)
	const idle, iowait, guest = 4, 5, 9
	for i := 1; i < min(len(fields), guest); i++ { // a guest's time is part of the user's
		n, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return cores{}
		}
		c.all += time.Duration(n) * tick
		if i != idle && i != iowait {
			c.busy += time.Duration(n) * tick
		}
	}
	return c
}

func describe(m *Machine) {
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.OS = "linux " + unix.ByteSliceToString(name.Release[:])
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	var memory unix.Sysinfo_t
	if unix.Sysinfo(&memory) == nil {
		m.Memory = int64(memory.Totalram) * int64(memory.Unit)
	}
}
