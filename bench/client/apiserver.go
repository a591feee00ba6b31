package client

//lint:file-ignore SA1019 client-go configures its transports like this, and the point is to be like it.

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"sluice/bench"
)

// maxReply bounds what is read of an answer, in bytes. What is longer is no verdict.
const maxReply = 1 << 20

// apiservers are several kube-apiservers, as far as a backend can tell them by their connections.
type apiservers struct {
	kinder
	dialer *dialer
	url    *url.URL
	header http.Header // of all requests
	trace  *httptrace.ClientTrace
	words  string

	servers []apiserver
	turn    atomic.Uint64
	replies sync.Pool // of *bytes.Buffer
}

type apiserver struct {
	transport *http.Transport
	memory    *memory // nil: no cache
}

func newApiservers(o *Options, d *dialer) (*apiservers, error) {
	a := &apiservers{
		dialer: d, url: d.target.request(), servers: make([]apiserver, o.Apiservers),
		header: http.Header{"Accept": {"application/json, */*"}, "Content-Type": {"application/json"}},
		words:  fmt.Sprintf("%s, %s", plural(o.Apiservers, "apiserver"), o.describe()),
	}
	if o.Token != "" {
		a.header.Set("Authorization", "Bearer "+o.Token)
	}
	if o.Cache {
		a.words += fmt.Sprintf(", a cache of %d answers each", memorySize)
	}
	a.trace = &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { d.carries(info.Conn) }}
	a.replies.New = func() any { return new(bytes.Buffer) }
	for i := range a.servers {
		var err error
		if a.servers[i].transport, err = newTransport(d, o.Protocol == "h2"); err != nil {
			return nil, err
		}
		if o.Cache {
			a.servers[i].memory = newMemory(o.AllowTTL, o.DenyTTL)
		}
	}
	return a, nil
}

// newTransport is the transport that client-go makes for a webhook: k8s.io/client-go/transport's cache.go, and
// SetTransportDefaults of k8s.io/apimachinery/pkg/util/net. Without h2 it is that of an apiserver with DISABLE_HTTP2.
// Two things differ: proxies of the environment are not used, because the target was checked and a proxy was not; and the
// handshake is ours, with the same configuration and the same limits, so that it can be counted and timed.
func newTransport(d *dialer, h2 bool) (*http.Transport, error) {
	t := &http.Transport{
		TLSHandshakeTimeout: handshakeTimeout,
		TLSClientConfig:     d.config.Clone(),
		MaxIdleConnsPerHost: 25,
		IdleConnTimeout:     90 * time.Second,
		DialContext:         d.target.DialContext,
	}
	if h2 {
		t2, err := http2.ConfigureTransports(t)
		if err != nil {
			return nil, err
		}
		t2.ReadIdleTimeout = 30 * time.Second
		t2.PingTimeout = 15 * time.Second
	}
	config := t.TLSClientConfig // with the protocols that it offers
	t.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := d.dial(ctx, config)
		if err != nil {
			return nil, err // not a nil *tls.Conn
		}
		return c, nil
	}
	return t, nil
}

// Do implements bench.Client. The reviews go to the apiservers in turn.
func (a *apiservers) Do(ctx context.Context, r *bench.Review) (bench.Answer, error) {
	s := &a.servers[a.turn.Add(1)%uint64(len(a.servers))]
	if s.memory != nil {
		if allowed, ok := s.memory.get(r.Key); ok {
			return bench.Answer{Allowed: allowed, Cached: true, Verdict: true}, nil
		}
	}
	// What http.NewRequest makes of the URL and the headers is the same every time.
	req := &http.Request{
		Method: http.MethodPost, URL: a.url, Host: a.url.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: a.header,
		Body: io.NopCloser(bytes.NewReader(r.Body)), ContentLength: int64(len(r.Body)),
		// With this, a review that the server did not look at (GOAWAY) is sent again, as the plugin does.
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.Body)), nil },
	}
	resp, err := s.transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, a.trace)))
	if err != nil {
		return bench.Answer{}, err
	}
	answer, err := a.read(resp)
	if err == nil && answer.Verdict && s.memory != nil {
		s.memory.add(r.Key, answer.Allowed)
	}
	return answer, err
}

func (a *apiservers) read(resp *http.Response) (bench.Answer, error) {
	buf := a.replies.Get().(*bytes.Buffer)
	buf.Reset()
	defer a.replies.Put(buf)
	_, err := buf.ReadFrom(io.LimitReader(resp.Body, maxReply+1))
	closed := resp.Body.Close()
	switch {
	case err != nil:
		return bench.Answer{Status: resp.StatusCode}, err
	case buf.Len() > maxReply:
		return bench.Answer{Status: resp.StatusCode}, nil
	}
	return answerOf(resp.StatusCode, buf.Bytes()), closed
}

// Connections implements bench.Client.
func (a *apiservers) Connections() bench.Connections { return a.dialer.connections() }

// Close closes the connections. Reviews that are under way are answered first.
func (a *apiservers) Close() {
	for i := range a.servers {
		a.servers[i].transport.CloseIdleConnections()
	}
}

// String implements bench.Client.
func (a *apiservers) String() string { return a.words }
