//go:build !linux

package server

import (
	"errors"
	"net"
	"syscall"
)

// Sharing a port, and turning connections away without resetting them, are done on Linux only.

func ReusePort(_, _ string, _ syscall.RawConn) error { return nil }

func turnAway(*net.TCPListener) error { return errors.ErrUnsupported }
