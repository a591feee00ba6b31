package client

//lint:file-ignore SA1019 the errors are those of the transport that client-go uses.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/net/http2"
)

// Errors of the lean clients, whose kinds have the same names.
var (
	errTimeout  = errors.New("no answer in time")
	errGoAway   = errors.New("the server sent GOAWAY and did not answer")
	errStream   = errors.New("the server reset the stream")
	errProtocol = errors.New("what the server sent is not HTTP")
)

// kinder is embedded by all clients, which name errors alike.
type kinder struct{}

// Kind names what kept a review from being answered: "timeout", "refused", "reset", "eof" (closed without an answer),
// "tls", "goaway", "stream" (HTTP/2's RST_STREAM), "dns", "canceled", "protocol" or "other";
// or what this machine ran out of, which says nothing about the server: "too many open files", "no free ports".
func (kinder) Kind(err error) string {
	var (
		dial    *dialError
		network net.Error
		dns     *net.DNSError
		goAway  http2.GoAwayError
		stream  http2.StreamError
	)
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return ""
	case is(context.Canceled, errClosed):
		return "canceled"
	case errors.As(err, &dns):
		return "dns"
	case is(context.DeadlineExceeded, os.ErrDeadlineExceeded, errTimeout):
		return "timeout"
	case is(syscall.EMFILE, syscall.ENFILE):
		return "too many open files"
	case is(syscall.EADDRNOTAVAIL):
		return "no free ports"
	case is(syscall.ECONNREFUSED):
		return "refused"
	case is(errProtocol) && !(errors.As(err, &dial) && dial.doing == handshaking):
		return "protocol"
	case is(errGoAway), errors.As(err, &goAway), strings.Contains(err.Error(), "GOAWAY"):
		return "goaway"
	case is(errStream), errors.As(err, &stream):
		return "stream"
	case isTLS(err), errors.As(err, &dial) && dial.doing == handshaking && !is(syscall.ECONNRESET):
		return "tls"
	case is(syscall.ECONNRESET, syscall.EPIPE):
		return "reset"
	// net/http has texts of its own for a connection that the server closed, or that another review broke.
	case is(io.EOF, io.ErrUnexpectedEOF, net.ErrClosed), strings.Contains(err.Error(), "server closed idle connection"),
		strings.Contains(err.Error(), "client connection lost"), strings.Contains(err.Error(), "could not be established"),
		strings.Contains(err.Error(), "EOF"):
		return "eof"
	case errors.As(err, &network) && network.Timeout():
		return "timeout"
	case strings.Contains(err.Error(), "malformed"), strings.Contains(err.Error(), "PROTOCOL_ERROR"):
		return "protocol"
	}
	return "other"
}

func isTLS(err error) bool {
	var (
		record      tls.RecordHeaderError
		alert       tls.AlertError
		certificate *tls.CertificateVerificationError
		unknown     x509.UnknownAuthorityError
	)
	return errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &certificate) || errors.As(err, &unknown) ||
		strings.Contains(err.Error(), "tls: ") // an alert that the server sent has no type
}
