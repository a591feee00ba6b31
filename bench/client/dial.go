package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"sluice/bench"
)

// handshakeTimeout is client-go's.
const handshakeTimeout = 10 * time.Second

// tlsConfig is what client-go makes of a kubeconfig: TLS 1.2 at least, and no session cache, so that no session is ever
// resumed.
func tlsConfig(o *Options, t *Target) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: or(o.ServerName, t.host)}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate is in it", o.CAFile)
		}
	}
	if o.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate %s: %w", o.CertFile, err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}

// dialer opens connections, and counts and times it. Its methods may be called concurrently.
type dialer struct {
	target *Target
	config *tls.Config // without protocols to offer

	opened, failed, used atomic.Int64
	handshakes           atomic.Int64 // nanoseconds, of those opened
}

// socket is what lies below TLS. It remembers whether a review was sent over it.
type socket struct {
	net.Conn
	used atomic.Bool
}

// dial opens a connection and shakes hands. Its errors are of type *dialError.
func (d *dialer) dial(ctx context.Context, config *tls.Config) (*tls.Conn, error) {
	c, err := d.target.DialContext(ctx, "", "")
	if err != nil {
		d.failed.Add(1)
		return nil, &dialError{"connecting", err}
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	secure := tls.Client(&socket{Conn: c}, config)
	begin := time.Now()
	if err := secure.HandshakeContext(ctx); err != nil {
		d.failed.Add(1)
		_ = c.Close() // it is of no use
		return nil, &dialError{handshaking, err}
	}
	d.handshakes.Add(int64(time.Since(begin)))
	d.opened.Add(1)
	return secure, nil
}

// carries notes that a connection is about to carry a review.
func (d *dialer) carries(c net.Conn) {
	secure, ok := c.(*tls.Conn)
	if !ok {
		return
	}
	if s, ok := secure.NetConn().(*socket); ok && !s.used.Load() && s.used.CompareAndSwap(false, true) {
		d.used.Add(1)
	}
}

func (d *dialer) connections() bench.Connections {
	used := d.used.Load() // before opened, so that the difference is not negative
	c := bench.Connections{Opened: d.opened.Load(), Failed: d.failed.Load()}
	c.Unused = c.Opened - used
	if c.Opened > 0 {
		c.Handshake = d.handshakes.Load() / c.Opened
	}
	return c
}

// handshaking is what a connection is doing while it is no use yet.
const handshaking = "shaking hands"

// dialError is a failure to open a connection.
type dialError struct {
	doing string
	err   error
}

func (e *dialError) Error() string { return e.doing + ": " + e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

var errClosed = errors.New("the client is closed")
