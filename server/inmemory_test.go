package server

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"
)

// inMemory is one end of a connection that, once both have shaken hands, needs neither system calls nor a second
// goroutine: who reads when there is nothing to read lets the other end act first.
type inMemory struct {
	net.Conn    // a pipe, for the handshake
	after       bool
	read, write *bytes.Buffer
	otherEnd    func()

	readBy, writeBy time.Time // the deadlines
	moved           int       // how often they were set
}

func (m *inMemory) Read(b []byte) (int, error) {
	if !m.after {
		return m.Conn.Read(b)
	}
	if m.read.Len() == 0 && m.otherEnd != nil {
		m.otherEnd()
	}
	return m.read.Read(b)
}

func (m *inMemory) Write(b []byte) (int, error) {
	if !m.after {
		return m.Conn.Write(b)
	}
	return m.write.Write(b)
}

func (m *inMemory) Close() error { return nil }

func (m *inMemory) SetReadDeadline(t time.Time) error {
	m.readBy, m.moved = t, m.moved+1
	return nil
}

func (m *inMemory) SetWriteDeadline(t time.Time) error {
	m.writeBy, m.moved = t, m.moved+1
	return nil
}

// rawH1 is what the apiserver sends for a review.
func rawH1(body string) []byte {
	return fmt.Appendf(nil, "POST /?timeout=30s HTTP/1.1\r\nHost: x\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: %d\r\n"+
		"Accept: application/json, */*\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n%s", len(body), body)
}

// shakeHands makes a connection in memory.
func shakeHands(t testing.TB, f *fixture) (here, there *inMemory, server, client *tls.Conn) {
	t.Helper()
	a, b := net.Pipe()
	here, there = &inMemory{Conn: a, read: &bytes.Buffer{}, write: &bytes.Buffer{}}, &inMemory{Conn: b}
	there.read, there.write = here.write, here.read
	config := f.clientTLS(t)
	config.ServerName, config.NextProtos = "127.0.0.1", []string{"http/1.1"}
	server, client = tls.Server(here, f.tlsConfig), tls.Client(there, config)
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }()
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	here.after, there.after = true, true
	return here, there, server, client
}

// exchanges has serve carry a connection, on which request is sent as long as more says so, which is asked after each
// answer. It all happens on the caller's goroutine.
func exchanges(t testing.TB, f *fixture, request []byte, serve func(*tls.Conn), more func(answer []byte) bool) {
	t.Helper()
	here, there, server, client := shakeHands(t, f)
	answer := make([]byte, 4096)
	here.otherEnd = func() {
		n := 0
		for there.read.Len() > 0 {
			m, err := client.Read(answer[n:])
			if n += m; err != nil {
				t.Error(err)
				return
			}
		}
		if n > 0 && !more(answer[:n]) {
			return
		}
		if _, err := client.Write(request); err != nil {
			t.Error(err)
		}
	}
	serve(server)
}

// serveH1On carries a connection whose caller has been found to be who it should be.
func (f *fixture) serveH1On(c *tls.Conn) {
	_ = f.h1.ServeConn(f.newH1Conn(&conn{Conn: c, certified: true}))
}

// echo answers without HTTP: what it costs is TLS.
func echo(answer []byte) func(*tls.Conn) {
	return func(c *tls.Conn) {
		b := make([]byte, 4096)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}
}
