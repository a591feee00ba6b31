package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// precise lets the kernel wake this thread at the moment asked for, and not up to 50 µs later as is its habit.
func precise() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

// nap sleeps in the kernel. A signal may end it early.
func nap(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil)
}
