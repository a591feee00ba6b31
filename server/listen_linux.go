package server

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// ReusePort lets several processes of one user listen on one port.
func ReusePort(_, _ string, raw syscall.RawConn) error {
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); err != nil {
		return err
	}
	return failed
}

// turnAway makes the kernel drop the first packet of every further connection to ln's own socket, and only that
// packet: handshakes that have begun go on. It is a filter of five instructions on the TCP header: byte 13 holds the
// flags, of which 0x02 is SYN and 0x10 is ACK. Where the filter is refused, a connection that arrives between the last
// accept and the close is reset, and the plugin's own retry has to help.
func turnAway(ln *net.TCPListener) error {
	const (
		loadByte  = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		and       = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		jumpEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer    = unix.BPF_RET | unix.BPF_K
	)
	filter := []unix.SockFilter{
		{Code: loadByte, K: 13},
		{Code: and, K: 0x12},
		{Code: jumpEqual, K: 0x02, Jt: 0, Jf: 1},
		{Code: answer, K: 0},          // drop
		{Code: answer, K: 0xffffffff}, // keep all of it
	}
	raw, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	}); err != nil {
		return err
	}
	return failed
}
