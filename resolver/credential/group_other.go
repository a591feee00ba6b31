//go:build !linux

package credential

import (
	"os"
	"os/exec"
)

// Elsewhere only the program itself is killed. Control planes and clusters run on Linux.
func inGroup(*exec.Cmd) {}

func reapGroup(*os.Process) {}
