//go:build !linux

package bench

import "time"

func precise() {}

func nap(d time.Duration) { time.Sleep(d) }
