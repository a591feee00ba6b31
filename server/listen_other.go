//go:build !linux

package server

import (
	"errors"
	"net"
	"syscall"
)

// Sharing a port, and leading connections to another process, are done on Linux only.

func ReusePort(_, _ string, _ syscall.RawConn) error { return nil }

func steer(*net.TCPListener, uint32) error { return errors.ErrUnsupported }

func queued(*net.TCPListener) int { return 0 }
