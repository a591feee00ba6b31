package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// ErrNotLoopback means that the target is not on this machine's loopback, and nobody said that it may be asked.
var ErrNotLoopback = errors.New("the target is not on loopback")

// Target is a server, together with the addresses that its name had when it was looked up. Nobody can point the name
// elsewhere between a check of the addresses and the connections.
type Target struct {
	url       url.URL
	host      string // without brackets
	addresses []netip.AddrPort
}

// Resolve parses a URL of http or https, and looks up the addresses of its host.
func Resolve(ctx context.Context, rawURL string) (*Target, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// The error of url.Parse repeats the URL, which may hold a password.
		return nil, errors.New("the target is not a URL such as https://127.0.0.1:8443/path")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("the target's URL has a user name or a password; the plugin sends neither")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("the target is not a URL such as https://127.0.0.1:8443/path")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("the target's URL has a query or a fragment; the plugin drops them, and appends ?timeout=30s")
	}
	port := uint64(443)
	if u.Scheme == "http" {
		port = 80
	}
	if u.Port() != "" {
		if port, err = strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
			return nil, fmt.Errorf("the target's port is between 1 and 65535, not %s", u.Port())
		}
	}
	t := &Target{url: *u, host: u.Hostname()}
	addresses, err := lookUp(ctx, t.host)
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		t.addresses = append(t.addresses, netip.AddrPortFrom(a, uint16(port)))
	}
	return t, nil
}

func lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", host, err)
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("looking up %s: no address", host)
	}
	return found, nil
}

// Loopback tells whether every address of a URL's host is on loopback. Connect through Resolve and the Target's
// DialContext if it matters that the addresses stay those: a name may have others a moment later.
func Loopback(rawURL string) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	t, err := Resolve(ctx, rawURL)
	return err == nil && t.Loopback(), err
}

// Loopback tells whether all addresses of the target are on loopback.
func (t *Target) Loopback() bool {
	for _, a := range t.addresses {
		if !a.Addr().IsLoopback() {
			return false
		}
	}
	return len(t.addresses) > 0
}

// DialContext connects to the target, whatever address is asked for: it fits into an http.Transport.
func (t *Target) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	// As client-go dials.
	d := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	var errs []error
	for _, a := range t.addresses {
		c, err := d.DialContext(ctx, "tcp", a.String())
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// String is the URL, and the addresses if its host is a name.
func (t *Target) String() string {
	if _, err := netip.ParseAddr(t.host); err == nil {
		return t.url.String()
	}
	all := make([]string, len(t.addresses))
	for i, a := range t.addresses {
		all[i] = a.Addr().String()
	}
	return t.url.String() + " (" + strings.Join(all, ", ") + ")"
}

// request is the URL of the plugin's requests: the path cleaned, and a timeout behind it.
func (t *Target) request() *url.URL {
	u := t.url
	u.Path, u.RawQuery = path.Join("/", u.Path), "timeout=30s"
	return &u
}
