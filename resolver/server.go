package resolver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"sluice/cache"
	"sluice/resolver/mirror"
)

// maxPatternHosts is how many of the hosts that match patterns are remembered with the directory that is for them.
const maxPatternHosts = 4096

// server is one entry of a hosts.toml, ready for use. It belongs to a directory and an entry of the configuration: their
// number is the operator's doing, whatever hosts images name.
type server struct {
	spec      mirror.Host
	name      string            // for the log, and in keys
	header    http.Header       // of every request to it
	transport http.RoundTripper // nil: the entry's
	close     func()            // lets go of idle connections

	down atomic.Int64 // until when it counts as out of reach, on the clock of the grants; 0 never
}

// directories are those with a hosts.toml that are in use for one entry of the configuration.
type directories struct {
	roots []string
	entry Registry // with defaults
	host  hostPattern
	dial  dialFunc
	names *cache.Memo[string, string] // by host, the directory that is for it

	mu  sync.Mutex
	all map[string][]*server // by directory
}

// of returns the servers that are asked on behalf of a host; none if no directory is for it.
func (d *directories) of(host string) ([]*server, error) {
	dir, ok := d.names.Get(host)
	if !ok {
		var err error
		if dir, err = mirror.Directory(d.roots, host); err != nil {
			return nil, fmt.Errorf("hostsDirs: %w", err)
		}
		d.names.Put(strings.Clone(host), dir)
	}
	if dir == "" {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if servers, ok := d.all[dir]; ok {
		return servers, nil
	}
	hosts, err := mirror.ReadDirectory(dir)
	if err != nil {
		return nil, fmt.Errorf("hostsDirs: %w", err)
	}
	servers := make([]*server, 0, len(hosts))
	for _, h := range hosts {
		s, err := d.newServer(h)
		if err != nil {
			return nil, fmt.Errorf("hostsDirs: %s: %w", dir, err)
		}
		servers = append(servers, s)
	}
	d.all[dir] = servers
	return servers, nil
}

func (d *directories) closeIdle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, servers := range d.all {
		for _, s := range servers {
			s.close()
		}
	}
}

func (d *directories) newServer(h mirror.Host) (*server, error) {
	s := &server{spec: h, name: "the registry itself", close: func() {}}
	if !h.Own() {
		s.name = h.Scheme + "://" + h.Host + h.Path
	}
	for key, values := range h.Header {
		if s.header == nil {
			s.header = http.Header{}
		}
		key = textproto.CanonicalMIMEHeaderKey(key)
		s.header[key] = append(s.header[key], values...)
	}
	c := d.entry
	mine := h.Own() || d.host.match(hostOf(&url.URL{Scheme: h.Scheme, Host: h.Host}))
	if !mine {
		c.CAFile = "" // says who is trusted to be the registry
	}
	if !h.TLS && h.DialTimeout == 0 && c.CAFile == d.entry.CAFile {
		return s, nil
	}
	dial := d.dial
	if dial == nil && h.DialTimeout > 0 {
		dial = (&net.Dialer{Timeout: h.DialTimeout}).DialContext
	}
	t, err := newTransport(c, dial)
	if err != nil {
		return nil, err
	}
	if err := setTLS(t.TLSClientConfig, h); err != nil {
		return nil, err
	}
	s.transport, s.close = t, t.CloseIdleConnections
	if u := (&url.URL{Scheme: h.Scheme, Host: h.Host}); h.Scheme == "http" && h.TLS && u.Port() != "80" {
		s.transport = &httpsFirst{host: h.Host, next: t}
	}
	return s, nil
}

// setTLS adds what a hosts.toml says to what is trusted without it.
func setTLS(config *tls.Config, h mirror.Host) error {
	config.InsecureSkipVerify = h.SkipVerify
	if len(h.CAFiles) > 0 && config.RootCAs == nil {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return err
		}
		config.RootCAs = pool
	}
	for _, path := range h.CAFiles {
		pem, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("ca: %w", err)
		}
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca %s: it holds no certificate in PEM", path)
		}
	}
	for _, pair := range h.ClientPairs {
		key := pair.Key
		if key == "" {
			key = pair.Certificate
		}
		c, err := tls.LoadX509KeyPair(pair.Certificate, key)
		if err != nil {
			return fmt.Errorf("client %s: %w", pair.Certificate, err)
		}
		config.Certificates = append(config.Certificates, c)
	}
	return nil
}

// httpsFirst is what containerd does for a server that is written as http, with TLS settings, and not for port 80: https
// is tried, and http once that has shown that it is not spoken.
type httpsFirst struct {
	host  string
	next  http.RoundTripper
	plain atomic.Bool
}

// RoundTrip sends the request.
func (t *httpsFirst) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "http" || req.URL.Host != t.host || t.plain.Load() {
		return t.next.RoundTrip(req)
	}
	u := *req.URL
	u.Scheme = "https"
	first := *req
	first.URL = &u
	resp, err := t.next.RoundTrip(&first)
	if err == nil || !speaksHTTP(err) && !closedPort(err, req.URL) || req.Context().Err() != nil {
		return resp, err
	}
	t.plain.Store(true)
	return t.next.RoundTrip(req)
}

// speaksHTTP tells whether a handshake has failed because there is no TLS.
func speaksHTTP(err error) bool {
	var record tls.RecordHeaderError
	return errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/" ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") ||
		strings.Contains(err.Error(), "TLS handshake timeout")
}

// closedPort tells whether nobody listens where https is, while http is elsewhere.
func closedPort(err error, u *url.URL) bool {
	return u.Port() == "" && (errors.Is(err, syscall.ECONNREFUSED) || os.IsTimeout(err))
}

// turn is e as it asks one of its servers.
func (e endpoint) turn(s *server) endpoint {
	e.at = s
	h := s.spec
	switch {
	case h.Own():
		e.foreign = !e.plainHTTP && h.SkipVerify
	default:
		here := hostPort(&url.URL{Scheme: h.Scheme, Host: hostOf(&url.URL{Scheme: h.Scheme, Host: h.Host})})
		e.foreign = here != hostPort(&url.URL{Scheme: h.Scheme, Host: e.host}) ||
			h.SkipVerify || h.Scheme == "http" && !e.plainHTTP
	}
	return e
}

// named tells whether a hosts.toml says where e is.
func (e endpoint) named() bool { return e.at != nil && !e.at.spec.Own() }

func (e endpoint) scheme() string {
	if e.named() {
		return e.at.spec.Scheme
	}
	if e.plainHTTP {
		return "http"
	}
	return "https"
}

// address is the host that is contacted.
func (e endpoint) address() string {
	if e.named() {
		return e.at.spec.Host
	}
	return e.host
}

// root is the path where the API begins.
func (e endpoint) root() string {
	if e.named() {
		return e.at.spec.Path
	}
	return "/v2"
}

// key tells the servers of all registries apart. A server that serves several counts as several.
func (e endpoint) key() string {
	if !e.foreign {
		return e.host
	}
	return e.at.name + " " + e.host
}

func (e endpoint) roundTripper() http.RoundTripper {
	if e.at != nil && e.at.transport != nil {
		return e.at.transport
	}
	return e.transport
}

// query adds the registry's name for a server that is another host, as containerd does.
func (e endpoint) query(q string) string {
	if !e.named() {
		return q
	}
	ns := e.host
	if ns == canonicalHost("docker.io") {
		if ns = "docker.io"; e.at.spec.Host == "registry-1.docker.io" {
			return q
		}
	}
	if e.at.spec.Host == ns {
		return q
	}
	values, err := url.ParseQuery(q)
	if err != nil || values.Has("ns") {
		return q
	}
	if q != "" {
		q += "&"
	}
	return q + "ns=" + url.QueryEscape(ns)
}

// addHeader adds what a hosts.toml says is to be sent to its server, and to no other.
func (e endpoint) addHeader(req *http.Request) {
	if !e.owns(req.URL) {
		return
	}
	for key, values := range e.at.header {
		if key == "User-Agent" {
			req.Header[key] = values
			continue
		}
		req.Header[key] = append(req.Header[key][:len(req.Header[key]):len(req.Header[key])], values...)
	}
}

// can tells whether one of the servers may be asked for what.
func (e endpoint) can(what mirror.Capabilities) bool {
	return slices.ContainsFunc(e.servers, func(s *server) bool { return s.spec.Capabilities.Has(what) })
}
