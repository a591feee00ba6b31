package server

import (
	"io"
	"os"
	"syscall"
)

// eager is what a line needs to read all that has come in before it waits for more.
type eager struct {
	waits func() // called before a read waits; nil: nobody wants to know

	raw     syscall.RawConn
	attempt func(uintptr) bool // try, made once
	into    []byte
	got     int
	failure error
}

// read reads what has come in. If that is nothing, it calls l.waits before it waits.
func (l *line) read(b []byte) (int, error) {
	if l.raw == nil {
		raw, err := l.SyscallConn()
		if err != nil {
			return 0, err
		}
		l.raw, l.attempt = raw, l.try
	}
	l.into = b
	err := l.raw.Read(l.attempt)
	n := l.got
	l.into, l.got = nil, 0
	switch {
	case err != nil:
		return 0, err
	case n < 0:
		return 0, os.NewSyscallError("read", l.failure)
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// try reads without waiting, and tells whether there was anything to learn.
func (l *line) try(fd uintptr) bool {
	for {
		n, err := syscall.Read(int(fd), l.into)
		switch err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			l.waits()
			return false
		}
		l.got, l.failure = n, err
		return true
	}
}
