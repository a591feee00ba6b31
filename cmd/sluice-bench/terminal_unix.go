//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminalWidth is how many characters fit on a line; 0 if the file is no terminal.
func terminalWidth(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	const usual = 80 // of a terminal that doesn't say
	if size.Col == 0 {
		return usual
	}
	return int(size.Col)
}
