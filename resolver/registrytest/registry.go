package registrytest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Options says what kind of registry to start. The zero value is plain HTTP without authentication.
type Options struct {
	TLS   bool     // serve https, with a certificate by a CA of this registry's own
	Names []string // names the certificate is for, beside localhost, 127.0.0.1 and ::1

	Auth     Auth
	Username string        // BearerAuth: empty means that tokens are given to everyone
	Password string        //
	Realm    string        // BearerAuth: the realm of challenges; empty means /token of this registry
	TokenTTL time.Duration // BearerAuth: life of a token; zero means five minutes

	Referrers     bool // has the referrers API; without it, what PutReferrer puts is listed in the fallback tag
	ReferrersPage int  // referrers on one page of a list; zero means all
}

// Class is a kind of request, for counters and faults.
type Class int

// The classes.
const (
	Ping             Class = iota // GET /v2/
	ManifestByTag                 // /v2/<repository>/manifests/<tag>
	ManifestByDigest              // /v2/<repository>/manifests/sha256:…
	Blob                          // /v2/<repository>/blobs/…
	Token                         // /token
	Referrers                     // /v2/<repository>/referrers/<digest>
	Other
	numClasses
)

// Registry is a running registry. Its methods may be called concurrently.
type Registry struct {
	opts    Options
	server  *http.Server
	host    string
	caPEM   []byte
	content http.Handler // ggcr's in-memory registry
	stop    context.CancelFunc
	conns   atomic.Int64
	counts  [numClasses]atomic.Int64
	now     atomic.Int64 // requests in flight
	most    atomic.Int64 // the highest that now was since the last Reset
	faults  [numClasses]atomic.Pointer[Fault]
	served  chan struct{}

	signing sync.Mutex // a signature is appended by reading and writing back

	tokensMu sync.Mutex
	tokens   map[string]grant
}

// New starts a registry on a free loopback port. Close it.
func New(o Options) (*Registry, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("no loopback port for the registry: %w", err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	quiet := log.New(io.Discard, "", 0)
	ctx, stop := context.WithCancel(context.Background())
	r := &Registry{
		opts:    o,
		host:    "localhost:" + port, // a name: clients refuse some private address literals
		content: registry.New(registry.Logger(quiet), registry.WithReferrersSupport(true)),
		stop:    stop,
		served:  make(chan struct{}),
		tokens:  map[string]grant{},
	}
	r.server = &http.Server{
		Handler:           http.HandlerFunc(r.serve),
		ErrorLog:          quiet,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				r.conns.Add(1)
			}
		},
	}
	if o.TLS {
		cert, ca, err := newCertificate(o.Names)
		if err != nil {
			stop()
			return nil, errors.Join(err, listener.Close())
		}
		r.caPEM = ca
		r.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	}
	go func() {
		defer close(r.served)
		if o.TLS {
			_ = r.server.ServeTLS(listener, "", "") // ends with Close
		} else {
			_ = r.server.Serve(listener)
		}
	}()
	return r, nil
}

// Close ends the registry and every request it still has, also those that a fault never answers.
func (r *Registry) Close() {
	r.stop()
	_ = r.server.Close()
	<-r.served
}

// Host returns the registry's name as it stands in image references: localhost and the port.
func (r *Registry) Host() string { return r.host }

// URL returns scheme and host, without a path.
func (r *Registry) URL() string {
	if r.opts.TLS {
		return "https://" + r.host
	}
	return "http://" + r.host
}

// CA returns the PEM of the CA that issued the registry's certificate; nil without TLS.
func (r *Registry) CA() []byte { return bytes.Clone(r.caPEM) }

// WriteCA writes the CA into a new file of dir and returns its path.
func (r *Registry) WriteCA(dir string) (string, error) {
	if r.caPEM == nil {
		return "", errors.New("the registry was started without TLS")
	}
	path := filepath.Join(dir, "registry-ca-"+strings.TrimPrefix(r.host, "localhost:")+".crt")
	return path, os.WriteFile(path, r.caPEM, 0o644)
}

// Counts tells how many requests of each class came, answered or not.
type Counts struct {
	Ping, ManifestByTag, ManifestByDigest, Blob, Token, Referrers, Other int64
	Connections                                                          int64
}

// Requests returns the sum over all classes.
func (c Counts) Requests() int64 {
	return c.Ping + c.ManifestByTag + c.ManifestByDigest + c.Blob + c.Token + c.Referrers + c.Other
}

// Counts returns what came since the start or the last Reset.
func (r *Registry) Counts() Counts {
	return Counts{
		Ping:             r.counts[Ping].Load(),
		ManifestByTag:    r.counts[ManifestByTag].Load(),
		ManifestByDigest: r.counts[ManifestByDigest].Load(),
		Blob:             r.counts[Blob].Load(),
		Token:            r.counts[Token].Load(),
		Referrers:        r.counts[Referrers].Load(),
		Other:            r.counts[Other].Load(),
		Connections:      r.conns.Load(),
	}
}

// InFlight tells how many requests are being answered now, and how many there were at most since the start or the last
// Reset. A request that a fault holds back is in flight.
func (r *Registry) InFlight() (now, most int64) { return r.now.Load(), r.most.Load() }

// Reset sets all counters to zero; requests in flight go on being counted as such.
func (r *Registry) Reset() {
	for i := range r.counts {
		r.counts[i].Store(0)
	}
	r.most.Store(r.now.Load())
	r.conns.Store(0)
}

// SetFault makes every later request of a class go through f; nil ends that.
func (r *Registry) SetFault(c Class, f Fault) {
	if c < 0 || c >= numClasses {
		return
	}
	if f == nil {
		r.faults[c].Store(nil)
		return
	}
	r.faults[c].Store(&f)
}

// SetFaultEverywhere makes every later request go through f; nil ends that, for all classes.
func (r *Registry) SetFaultEverywhere(f Fault) {
	for c := range numClasses {
		r.SetFault(c, f)
	}
}

func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	class := classify(req.URL.Path)
	r.counts[class].Add(1)
	now := r.now.Add(1)
	defer r.now.Add(-1)
	for most := r.most.Load(); now > most && !r.most.CompareAndSwap(most, now); most = r.most.Load() {
	}
	var h http.Handler = http.HandlerFunc(r.answer)
	if f := r.faults[class].Load(); f != nil {
		h = (*f)(h)
	}
	h.ServeHTTP(w, req)
}

// answer is the registry without faults.
func (r *Registry) answer(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == tokenPath {
		r.giveToken(w, req)
		return
	}
	if !r.authorized(w, req) {
		return
	}
	if classify(req.URL.Path) == Referrers {
		r.listReferrers(w, req)
		return
	}
	r.content.ServeHTTP(w, req)
}

func classify(path string) Class {
	if path == tokenPath {
		return Token
	}
	if path == "/v2/" || path == "/v2" {
		return Ping
	}
	_, kind, ref := splitPath(path)
	switch {
	case kind == "manifests" && strings.Contains(ref, ":"):
		return ManifestByDigest
	case kind == "manifests":
		return ManifestByTag
	case kind == "blobs":
		return Blob
	case kind == "referrers":
		return Referrers
	}
	return Other
}

// splitPath takes /v2/<repository>/<kind>/<reference> apart. All are empty for another path.
func splitPath(path string) (repository, kind, reference string) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return "", "", ""
	}
	slash := strings.LastIndexByte(rest, '/')
	if slash < 0 {
		return "", "", ""
	}
	rest, reference = rest[:slash], rest[slash+1:]
	slash = strings.LastIndexByte(rest, '/')
	if slash < 0 {
		return "", "", ""
	}
	return rest[:slash], rest[slash+1:], reference
}
