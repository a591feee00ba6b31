// Package client sends reviews to a server: as kube-apiserver's ImagePolicyWebhook plugin does, or as cheaply as can be.
//
// It decides on which connection a review goes and when another one is opened. It trusts the certificate authority that
// it is given (or else the system's) and verifies every server; it connects only to the addresses that the target's name
// had when the client was made, and, unless the user says that the target is theirs, only to loopback. It reads the files
// that its options name and no others: no kubeconfig, no environment, no proxy settings. It never prints a token or a
// key. It never sends a review twice, but for one that the server said it had not looked at (GOAWAY): the plugin's five
// attempts at a status of 429, 500, 501, 502 or 504 and at a reset are not imitated, so that statuses can be counted.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"sluice/bench"
)

// Bounds of the options: what one machine can open.
const (
	MaxApiservers  = 1_000
	MaxConnections = 20_000
	MaxStreams     = 10_000
)

// Options say whom to ask, and how. URL is needed.
type Options struct {
	// URL is of https. Its path is kept; a query is not allowed, because the plugin drops one and puts ?timeout=30s there.
	URL string
	// TargetIsMine allows a target that is not on loopback.
	TargetIsMine bool

	CAFile            string // PEM; "" means the system's authorities
	CertFile, KeyFile string // PEM, of the client; both or none. They are read once.
	Token             string // a bearer token
	ServerName        string // to verify the server by, instead of the URL's host

	Protocol string // "h2", which is the default, or "h1"

	// Apiservers is how many of them are imitated, each with connections and a cache of its own, and taking reviews in
	// turn; default 1. Cache imitates the plugin's: 1,024 answers, kept for AllowTTL (default 300 s) or DenyTTL (30 s).
	Apiservers        int
	Cache             bool
	AllowTTL, DenyTTL time.Duration

	// Lean asks for a client that does not behave like an apiserver, but costs little: it keeps Connections (default 16)
	// open, and has one review under way on each of them with h1, or up to Streams (default 50) with h2. Reviews beyond
	// that wait in line. Its answers to reviews it is sent with Send come on the goroutines that read the connections.
	Lean                 bool
	Connections, Streams int
}

// New checks the options, reads the files that they name, and looks up the target's addresses. It does not connect. The
// client is a bench.Sender if it is a lean one.
func New(o Options) (bench.Client, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	target, err := Resolve(ctx, o.URL)
	if err != nil {
		return nil, err
	}
	if !o.TargetIsMine && !target.Loopback() {
		return nil, fmt.Errorf("%w: %s", ErrNotLoopback, target)
	}
	if target.url.Scheme != "https" {
		return nil, errors.New("the plugin speaks https only")
	}
	config, err := tlsConfig(&o, target)
	if err != nil {
		return nil, err
	}
	d := &dialer{target: target, config: config}
	switch {
	case !o.Lean:
		return newApiservers(&o, d)
	case o.Protocol == "h1":
		return newLeanH1(&o, d), nil
	}
	return newLeanH2(&o, d), nil
}

func (o *Options) complete() error {
	o.Protocol = or(o.Protocol, "h2")
	o.Apiservers, o.AllowTTL, o.DenyTTL = or(o.Apiservers, 1), or(o.AllowTTL, 300*time.Second), or(o.DenyTTL, 30*time.Second)
	o.Connections, o.Streams = or(o.Connections, 16), or(o.Streams, 50)
	switch {
	case o.Protocol != "h1" && o.Protocol != "h2":
		return fmt.Errorf("the protocol is h1 or h2, not %q", o.Protocol)
	case (o.CertFile == "") != (o.KeyFile == ""):
		return errors.New("a client certificate and its key belong together")
	case o.Token != "" && !httpguts.ValidHeaderFieldValue("Bearer "+o.Token) || textproto.TrimString(o.Token) != o.Token:
		return errors.New("the token has characters that a header can't hold")
	case len(o.Token)+len(o.URL) > 8<<10:
		return errors.New("the URL and the token have more than 8 KiB")
	case o.Apiservers < 1 || o.Apiservers > MaxApiservers:
		return fmt.Errorf("between 1 and %d apiservers can be imitated, not %d", MaxApiservers, o.Apiservers)
	case o.Lean && o.Cache:
		return errors.New("a lean client has no cache")
	case o.AllowTTL < 0 || o.DenyTTL < 0:
		return errors.New("a TTL is below zero")
	case o.Connections < 1 || o.Connections > MaxConnections:
		return fmt.Errorf("between 1 and %d connections can be kept, not %d", MaxConnections, o.Connections)
	case o.Streams < 1 || o.Streams > MaxStreams:
		return fmt.Errorf("between 1 and %d streams can be open on a connection, not %d", MaxStreams, o.Streams)
	}
	return nil
}

func or[T comparable](v, other T) T {
	if v == *new(T) {
		return other
	}
	return v
}

// describe says who the client is to the server.
func (o *Options) describe() string {
	var who []string
	if o.CertFile != "" {
		who = append(who, "mTLS")
	}
	if o.Token != "" {
		who = append(who, "bearer token")
	}
	if who == nil {
		who = append(who, "TLS")
	}
	return o.Protocol + ", " + strings.Join(who, " and ")
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
