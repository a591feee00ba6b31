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

// steer makes the kernel give every further connection to one of the sockets that listen on ln's port: they are counted
// from 0, in the order in which they began, but for the last, which takes the place of one that ends. Where there is no
// such socket, any will do. Handshakes that have begun go on where they are.
//
// It is a program of one instruction, for which a process needs no capability, unlike for one of SO_ATTACH_FILTER (since
// Linux 6.18). It stays with the port: of no consequence for the one that remains, but while the next two share the port,
// all new connections may go to one of them.
func steer(ln *net.TCPListener, index uint32) error {
	program := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: index}}
	raw, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &program)
	}); err != nil {
		return err
	}
	return failed
}

// queued returns how many connections wait to be accepted.
func queued(ln *net.TCPListener) (n int) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Unacked) // which is that, of a socket that listens: tcp_get_info in net/ipv4/tcp.c
		}
	})
	return n
}
