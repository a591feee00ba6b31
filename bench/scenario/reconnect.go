package scenario

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"sluice/bench"
)

// reconnect is what happens when all apiservers restart: many handshakes at once, while established connections go on
// asking. The same storm against a neighbour, a service of its own on the same cores, shows how much of what the
// established ones suffer is the cores' doing.
func reconnect(ctx context.Context, st *stage) error {
	lines, err := st.known(ctx, pick(st, 200, 50))
	if err != nil {
		return err
	}
	v, err := st.serve(ctx, settings{})
	if err != nil {
		return err
	}
	defer v.stop()
	neighbour, err := st.serve(ctx, settings{})
	if err != nil {
		return err
	}
	defer neighbour.stop()
	if err := st.fill(ctx, v, lines); err != nil {
		return err
	}
	return st.median("p99_ratio_undisturbed", func(int) (*bench.Result, error) {
		return st.reconnectOnce(ctx, v, neighbour, lines)
	})
}

func (st *stage) reconnectOnce(ctx context.Context, v, neighbour *service, lines []string) (*bench.Result, error) {
	n := pick(st, 1000, 50)
	var s storm
	storming := func(target *service) (func(context.Context) error, error) {
		connect, err := st.connector(target)
		return func(ctx context.Context) error {
			s = storm{}
			s.run(ctx, n, connect)
			return nil
		}, err
	}
	hits := steady{rate: pick(st, 500.0, 200), length: pick(st, 4*time.Second, time.Second), at: pick(st, 500*time.Millisecond, 100*time.Millisecond)}
	before, err := st.beside(ctx, v, "hits-undisturbed", lines, hits, nil)
	if err != nil {
		return nil, err
	}
	elsewhere, err := storming(neighbour)
	if err != nil {
		return nil, err
	}
	control, err := st.beside(ctx, v, "hits-beside-neighbour", lines, hits, elsewhere)
	if err != nil {
		return nil, err
	}
	here, err := storming(v)
	if err != nil {
		return nil, err
	}
	res, err := st.beside(ctx, v, "hits", lines, hits, here)
	if err != nil {
		return nil, err
	}
	st.say("%d of %d connected within %s", n-s.failed, n, s.took.Round(time.Millisecond))
	for _, percent := range []float64{99, 99.9} {
		compare(res, "undisturbed", before, percent)
		compare(res, "neighbour", control, percent)
	}
	if res.Server != nil && before.Server != nil {
		more := res.Server.User + res.Server.System - before.Server.User - before.Server.System
		res.Extra["server_cpu_us_per_connection"] = float64(more) / 1000 / float64(n)
	}
	res.Extra["connections"], res.Extra["storm_seconds"] = float64(n-s.failed), s.took.Seconds()
	expect(res, "connections that failed", float64(s.failed), 0)
	if s.err != nil {
		st.say("storm: the first failure: %v", s.err)
	}
	return res, v.dead()
}

// storm is many connections that are opened at once, and kept until all of them are there.
type storm struct {
	took   time.Duration // until the last one was there
	failed int
	err    error // the first failure
}

// stormTimeout is how long one connection may take: as long as client-go waits for a handshake three times over, so that
// what is slow is seen as such, and the storm ends.
const stormTimeout = 30 * time.Second

func (s *storm) run(ctx context.Context, n int, connect func(context.Context) (net.Conn, error)) {
	ctx, cancel := context.WithTimeout(ctx, stormTimeout)
	defer cancel()
	type opened struct {
		conn net.Conn
		err  error
	}
	all := make(chan opened, n)
	began := time.Now()
	for range n {
		go func() {
			c, err := connect(ctx)
			all <- opened{c, err}
		}()
	}
	for range n {
		o := <-all
		if o.err != nil {
			if s.failed++; s.err == nil {
				s.err = o.err
			}
			continue
		}
		defer o.conn.Close()
	}
	s.took = time.Since(began)
}

// connector returns a function that connects as an apiserver does, up to the server's HTTP/2 settings: with TLS 1.3 a
// client learns only from these that its certificate was taken.
func (l *lab) connector(v *service) (func(context.Context) (net.Conn, error), error) {
	target, err := url.Parse(v.url)
	if err != nil {
		return nil, err
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(l.dir, "client.crt"), filepath.Join(l.dir, "client.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(l.dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca.crt holds no certificate")
	}
	dialer := &tls.Dialer{Config: &tls.Config{
		Certificates: []tls.Certificate{own}, RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
	}}
	return func(ctx context.Context) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, "tcp", target.Host)
		if err != nil {
			return nil, err
		}
		if err := settle(ctx, c); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return c, nil
	}, nil
}

// settle sends HTTP/2's preface and empty SETTINGS, and reads the head of the server's SETTINGS (RFC 9113, sections 3.4
// and 4.1).
func settle(ctx context.Context, c net.Conn) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	const typeSettings = 4
	preface := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0, 0, 0, typeSettings, 0, 0, 0, 0, 0)
	if _, err := c.Write(preface); err != nil {
		return err
	}
	var head [9]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	if head[3] != typeSettings {
		return fmt.Errorf("the server begins with a frame of type %d, not with SETTINGS", head[3])
	}
	return nil
}
