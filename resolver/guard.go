package resolver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"sluice/engine"
)

// dialFunc opens connections; tests map names to loopback with it.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// newTransport makes the connections of one registry. Proxy stays nil on purpose: what is contacted is what is listed.
func newTransport(r Registry, dial dialFunc) (*http.Transport, error) {
	if dial == nil {
		dial = (&net.Dialer{Timeout: r.Timeout}).DialContext
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.CAFile != "" {
		pem, err := os.ReadFile(r.CAFile)
		if err != nil {
			return nil, fmt.Errorf("caFile: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("caFile %s: it holds no certificate in PEM", r.CAFile)
		}
	}
	return &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    r.Timeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // nothing is ever inflated, so nothing can be a bomb
		MaxIdleConns:           r.Concurrency,
		MaxIdleConnsPerHost:    r.Concurrency,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		// A connection that died silently must not swallow requests for minutes.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: r.Timeout},
	}, nil
}

// where says which hosts one request may go to.
type where int

const (
	toRegistry where = iota // the registry itself
	toContent               // and the hosts of its Redirects
	toToken                 // and its token services
)

// guard is the last thing before the wire, and the only place where it is decided that a request may go there. It
// looks at the request as it will be sent, whatever led to it.
type guard struct {
	e     endpoint
	where where
	next  http.RoundTripper
}

// RoundTrip sends the request, or returns a [*engine.Failure] that says which setting would allow it.
func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if f := g.refuse(req); f != nil {
		return nil, f
	}
	return g.next.RoundTrip(req)
}

func (g guard) refuse(req *http.Request) *engine.Failure {
	e, u := g.e, req.URL
	if req.Method != http.MethodGet || req.Host != "" && req.Host != u.Host {
		return e.failf(engine.ReasonInternal, errors.New("only plain GET requests are ever sent"), "could not be asked")
	}
	what := "redirects"
	if g.where == toToken {
		what = "sends for a token"
	}
	if u.Scheme != "https" && (u.Scheme != "http" || e.scheme() != "http") {
		return e.failf(engine.ReasonRegistryMalformed, fmt.Errorf("scheme %q of %s: only plainHTTP would allow http", u.Scheme, u.Host),
			"%s to an address that is not https", what)
	}
	if u.User != nil {
		return e.failf(engine.ReasonRegistryMalformed, fmt.Errorf("user information in the address of %s", u.Host),
			"%s to an address with a user name in it", what)
	}
	if e.foreign && e.isLogin(req.Header.Get("Authorization")) {
		return e.failf(engine.ReasonInternal, fmt.Errorf("credentials on the way to %s", e.at.name), "could not be asked")
	}
	if e.owns(u) {
		return nil
	}
	host := hostOf(u)
	switch {
	case g.where == toToken && e.isTokenHost(u):
		return nil
	case g.where == toToken:
		return e.failf(engine.ReasonRegistryMalformed,
			fmt.Errorf("token service %s: add it to tokenHosts of registry %s to allow it", host, e.registry.host.text),
			"sends for a token to a host that its tokenHosts do not list")
	case g.where == toContent && anyMatch(e.redirects, host):
		if req.Header.Get("Authorization") != "" {
			return e.failf(engine.ReasonInternal, fmt.Errorf("credentials on the way to %s", host), "could not be asked")
		}
		return nil
	case g.where == toContent:
		return e.failf(engine.ReasonRegistryMalformed,
			fmt.Errorf("redirect to %s: add it to redirects of registry %s to allow it", host, e.registry.host.text),
			"redirects to a host that its redirects do not list")
	}
	return e.failf(engine.ReasonRegistryMalformed, fmt.Errorf("redirect of a tag or a list to %s", host),
		"redirects to another host, which for a tag or a list is never followed")
}

// isLogin tells whether a header may hold credentials that are not a mirror's own: a token that it gave to everybody is,
// and so is what its hosts.toml says.
func (e endpoint) isLogin(authorization string) bool {
	return authorization != "" && !strings.HasPrefix(authorization, "Bearer ") &&
		authorization != e.at.header.Get("Authorization")
}

// owns tells whether a URL leads to the registry itself, or to the server that is asked in its place.
func (e endpoint) owns(u *url.URL) bool {
	own := url.URL{Scheme: e.scheme(), Host: e.address()}
	return u.Host == own.Host && u.Scheme == own.Scheme || hostPort(u) == hostPort(&own)
}

func (e endpoint) isTokenHost(u *url.URL) bool {
	for _, h := range e.tokenHosts {
		if hostPort(u) == hostPort(&url.URL{Scheme: u.Scheme, Host: h}) {
			return true
		}
	}
	return false
}
