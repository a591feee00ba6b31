package rival

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// Options are what the servers are started with.
type Options struct {
	Addr     string
	PKI      string   // the directory that "sluice init" writes
	Reply    string   // a file: the answer of those that don't look
	Policies []string // for those that decide
	Registry string   // likewise
}

// The kinds of servers.
const (
	Echo          = "echo"            // crypto/tls and nothing else: reads as many bytes as the first request had, writes an answer
	FasthttpReply = "fasthttp-static" // fasthttp, the same answer to everything
	Fasthttp      = "fasthttp-work"   // fasthttp, with sluice's codec and engine
	NetHTTP       = "nethttp-work"    // net/http, HTTP/1.1 and HTTP/2, with sluice's codec and engine
)

// Serve runs a server until ctx ends.
func Serve(ctx context.Context, kind string, o Options) error {
	config, err := config(o.PKI)
	if err != nil {
		return err
	}
	var reply []byte
	var decide *answerer
	switch kind {
	case Echo, FasthttpReply:
		if reply, err = os.ReadFile(o.Reply); err != nil {
			return err
		}
	default:
		if decide, err = newAnswerer(o.Policies, o.Registry); err != nil {
			return err
		}
		defer decide.close()
	}
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	switch kind {
	case Echo:
		config.NextProtos = []string{"http/1.1"}
		err = echo(tls.NewListener(listener, config), reply)
	case FasthttpReply:
		err = serveFasthttp(listener, config, func(c *fasthttp.RequestCtx) {
			c.SetContentType("application/json")
			c.SetBody(reply)
		})
	case Fasthttp:
		err = serveFasthttp(listener, config, decide.serveFasthttp)
	case NetHTTP:
		err = serveNetHTTP(listener, config, decide)
	default:
		err = fmt.Errorf("there is no %q", kind)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// config asks for no client certificate, and verifies those that come, as every server here does.
func config(pki string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(pki, "server.crt"), filepath.Join(pki, "server.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca.crt holds no certificate")
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients, SessionTicketsDisabled: true,
	}, nil
}

// echo answers with a complete HTTP/1.1 response, so that the same client can read it. Requests are all alike: the first
// tells how long they are.
func echo(listener net.Listener, reply []byte) error {
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(reply), reply)
	for {
		c, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			first := &counted{r: c}
			request, err := http.ReadRequest(bufio.NewReader(first))
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, request.Body); err != nil {
				return
			}
			// Nothing of the next one has been read: it is sent after this one's answer.
			in := make([]byte, first.n)
			for err == nil {
				if _, err = c.Write(answer); err == nil {
					_, err = io.ReadFull(c, in)
				}
			}
		}()
	}
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n int
}

// Read reads from what it counts.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}

func serveFasthttp(listener net.Listener, config *tls.Config, handler fasthttp.RequestHandler) error {
	config.NextProtos = []string{"http/1.1"}
	server := &fasthttp.Server{
		Handler: handler, IdleTimeout: 2 * time.Minute, ReadTimeout: 2 * time.Minute,
		NoDefaultServerHeader: true, NoDefaultDate: true, Logger: log.New(io.Discard, "", 0),
	}
	return server.Serve(tls.NewListener(listener, config))
}

func (a *answerer) serveFasthttp(c *fasthttp.RequestCtx) {
	x := a.pool.Get().(*exchange)
	defer a.pool.Put(x)
	x.body = append(x.body[:0], c.PostBody()...)
	if err := a.answer(c, x); err != nil {
		c.Error(err.Error(), http.StatusBadRequest)
		return
	}
	c.SetContentType("application/json")
	c.SetBody(x.reply)
}

func serveNetHTTP(listener net.Listener, config *tls.Config, a *answerer) error {
	config.NextProtos = []string{"h2", "http/1.1"}
	server := &http.Server{
		Handler:     a,
		IdleTimeout: 2 * time.Minute, ReadHeaderTimeout: 10 * time.Second,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 1000},
		ErrorLog: log.New(io.Discard, "", 0), TLSConfig: config,
	}
	return server.ServeTLS(listener, "", "")
}

func (a *answerer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := a.pool.Get().(*exchange)
	defer a.pool.Put(x)
	if r.ContentLength < 0 || r.ContentLength > 20<<20 {
		http.Error(w, "a length of at most 20 MiB is needed", http.StatusBadRequest)
		return
	}
	x.body = append(x.body[:0], make([]byte, r.ContentLength)...)
	_, err := io.ReadFull(r.Body, x.body)
	if err == nil {
		err = a.answer(r.Context(), x)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	header := w.Header()
	header["Content-Type"] = []string{"application/json"}
	header["Content-Length"] = []string{strconv.Itoa(len(x.reply))}
	_, _ = w.Write(x.reply) // a client that has left needs no answer
}
