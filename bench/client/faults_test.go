package client

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/bench"
)

// listen accepts connections with the certificate of an httptest.Server, and hands each to a function, which closes it
// by returning. Protocols are h2 and http/1.1 unless others are given.
func listen(t testing.TB, f func(*tls.Conn), protocols ...string) Options {
	t.Helper()
	s, o := serve(t, nil)
	if protocols == nil {
		protocols = []string{"h2", "http/1.1"}
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: s.TLS.Certificates, NextProtos: protocols})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if err := c.(*tls.Conn).HandshakeContext(context.Background()); err == nil {
					f(c.(*tls.Conn))
				}
			}()
		}
	}()
	o.URL = "https://" + l.Addr().String()
	return o
}

func wantKind(t *testing.T, c bench.Client, want ...string) {
	t.Helper()
	a, err := ask(t, c)
	if err == nil {
		t.Fatalf("%+v, want an error of kind %s", a, want)
	}
	if got := c.Kind(err); !slices.Contains(want, got) {
		t.Errorf("kind %s: %v; want %s", got, err, want)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o Options) {
		s, reach := serve(t, nil)
		s.Close()
		c := open(t, o.to(reach))
		wantKind(t, c, "refused")
		wantKind(t, c, "refused")
		if n := c.Connections(); n.Failed < 2 || n.Opened != 0 || n.Handshake != 0 {
			t.Errorf("%+v", n)
		}
	})
}

// TestExhausted: what the load generator's machine ran out of is no fault of the server, and has a name.
func TestExhausted(t *testing.T) {
	t.Parallel()
	for want, number := range map[string]syscall.Errno{
		"too many open files": syscall.EMFILE, "no free ports": syscall.EADDRNOTAVAIL, "refused": syscall.ECONNREFUSED,
	} {
		err := &dialError{"connecting", &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", number)}}
		if got := (kinder{}).Kind(err); got != want {
			t.Errorf("%v: %q, not %q", err, got, want)
		}
	}
}

// TestUntrusted asks a server whose certificate is another authority's, or for another name.
func TestUntrusted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o Options) {
		_, reach := serve(t, http.HandlerFunc(allow))
		o = o.to(reach)
		o.ServerName = "other.example"
		c := open(t, o)
		wantKind(t, c, "tls")
		if n := c.Connections(); n.Failed != 1 || n.Opened != 0 {
			t.Errorf("%+v", n)
		}
		o.CAFile, o.ServerName = "", ""
		wantKind(t, open(t, o), "tls")
		o.CAFile, o.ServerName = reach.CAFile, "example.com" // which httptest's certificate is for
		if a, err := ask(t, open(t, o)); err != nil || !a.Allowed {
			t.Errorf("%+v %v", a, err)
		}
	})
}

// TestNotTLS asks a server that does not speak TLS.
func TestNotTLS(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o Options) {
		s := httptest.NewServer(nil)
		t.Cleanup(s.Close)
		o.URL = strings.Replace(s.URL, "http:", "https:", 1)
		wantKind(t, open(t, o), "tls")
	})
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o Options) {
		_, reach := serve(t, http.HandlerFunc(allow), func(s *httptest.Server) {
			s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
		})
		c := open(t, o.to(reach))
		a, err := ask(t, c)
		// With TLS 1.3 the refusal may be overtaken by the end of the connection.
		if kind := c.Kind(err); kind != "tls" && kind != "eof" && kind != "reset" {
			t.Errorf("%+v %v: %s", a, err, kind)
		}
		reach.CertFile, reach.KeyFile = pair(t)
		if a, err := ask(t, open(t, o.to(reach))); err != nil || !a.Allowed {
			t.Errorf("%+v %v", a, err)
		}
	})
}

// TestBroken asks servers that take a connection and then fail.
func TestBroken(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o Options) {
		read := func(c *tls.Conn) { // a review, so that it was sent
			if o.Protocol == "h1" {
				_, _ = http.ReadRequest(bufio.NewReader(c))
			} else {
				newScript(t, c).review()
			}
		}
		for name, server := range map[string]struct {
			f    func(*tls.Conn)
			kind []string
		}{
			"closes": {read, []string{"eof"}},
			"resets": {func(c *tls.Conn) {
				read(c)
				_ = c.NetConn().(*net.TCPConn).SetLinger(0)
				_ = c.NetConn().Close()
			}, []string{"reset", "eof"}}, // the latter if net/http notices it while it writes
			"talks nonsense": {func(c *tls.Conn) {
				read(c)
				_, _ = io.WriteString(c, strings.Repeat("Good day to you.\r\n\r\n", 5000))
				_, _ = io.Copy(io.Discard, c)
			}, []string{"protocol"}},
		} {
			if name == "talks nonsense" && !o.Lean && o.Protocol == "" {
				continue // net/http has no name for it
			}
			t.Run(name, func(t *testing.T) {
				c := open(t, o.to(listen(t, server.f)))
				wantKind(t, c, server.kind...)
				wantKind(t, c, server.kind...) // on another connection
				if n := c.Connections(); n.Opened < 2 || n.Unused != 0 || n.Handshake <= 0 {
					t.Errorf("%+v", n)
				}
			})
		}
	})
}

// TestHangs asks a server that reads and does not answer.
func TestHangs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, o Options) {
		release := make(chan struct{})
		defer close(release)
		_, reach := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				<-release
			}
			allow(w, r)
		}))
		c := open(t, o.to(reach))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := c.Do(ctx, review); c.Kind(err) != "timeout" {
			t.Errorf("%s: %v", c.Kind(err), err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err := c.Do(ctx, review); c.Kind(err) != "canceled" {
			t.Errorf("%s: %v", c.Kind(err), err)
		}
		if s, ok := c.(bench.Sender); ok {
			r := newReceiver()
			s.Send(review, time.Now().Add(30*time.Millisecond), r)
			if _, err := r.wait(t); c.Kind(err) != "timeout" {
				t.Errorf("%s: %v", c.Kind(err), err)
			}
			s.Send(review, time.Time{}, r)
			time.AfterFunc(20*time.Millisecond, c.Close)
			if _, err := r.wait(t); err == nil {
				t.Error("an answer")
			}
		}
	})
}

// receiver waits for one answer at a time.
type receiver struct {
	answers chan bench.Answer
	errs    chan error
}

func newReceiver() *receiver {
	return &receiver{make(chan bench.Answer, 10_000), make(chan error, 10_000)}
}

func (r *receiver) Answered(a bench.Answer, err error) {
	r.answers <- a
	r.errs <- err
}

func (r *receiver) wait(t testing.TB) (bench.Answer, error) {
	t.Helper()
	select {
	case a := <-r.answers:
		return a, <-r.errs
	case <-time.After(20 * time.Second):
		t.Fatal("no answer")
		return bench.Answer{}, nil
	}
}

// TestAnswers asks a server for answers of all kinds.
func TestAnswers(t *testing.T) {
	t.Parallel()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, allowedReply)
	_ = z.Close()
	each(t, func(t *testing.T, o Options) {
		var status int
		var body []byte
		var pieces bool
		_, reach := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
				w.Header().Set("Content-Encoding", "gzip")
			}
			w.Header()["X-Long"] = []string{strings.Repeat("x", 30_000)} // takes CONTINUATION in h2
			w.WriteHeader(status)
			for pieces && len(body) > 1 {
				_, _ = w.Write(body[:1])
				body = body[1:]
				_ = http.NewResponseController(w).Flush()
			}
			_, _ = w.Write(body)
		}))
		c := open(t, o.to(reach))
		f := func(s int, b string, p bool, want bench.Answer) {
			t.Helper()
			status, body, pieces = s, []byte(b), p
			want.Status = s
			if a, err := ask(t, c); err != nil || a != want {
				t.Errorf("%d %.60q: %+v %v", s, b, a, err)
			}
		}
		for range 2 {
			f(200, allowedReply, false, bench.Answer{Allowed: true, Verdict: true})
			f(200, allowedReply, true, bench.Answer{Allowed: true, Verdict: true})
			f(200, zipped.String(), false, bench.Answer{Allowed: true, Verdict: true})
			f(201, `{"status":{"allowed":false}}`, false, bench.Answer{Verdict: true})
			f(502, allowedReply, false, bench.Answer{})
			f(403, "", false, bench.Answer{})
			f(204, "", false, bench.Answer{})
			f(200, "", false, bench.Answer{})
			f(200, "<html>", false, bench.Answer{})
			f(200, allowedReply+strings.Repeat(" ", maxReply-len(allowedReply)), false, bench.Answer{Allowed: true, Verdict: true})
			f(200, allowedReply+strings.Repeat(" ", maxReply), false, bench.Answer{})
		}
	})
}
