package admin

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guard refuses what a browser sends on behalf of a web page, reads the body within bounds, and sets the headers that
// every answer has.
func (s *Server) guard(next http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Type", "text/plain; charset=utf-8")
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		if s.loopback && !s.names(r.Host) {
			// A page whose own host name was made to point here (DNS rebinding) is same-origin to the browser, and only
			// the name gives it away. On another address the names under which probes and scrapes come can't be known.
			http.Error(w, "this port answers requests to localhost only, not to "+printable(r.Host), http.StatusForbidden)
			return
		}
		if err := crossOrigin.Check(r); err != nil || fromPage(r) {
			http.Error(w, "requests from web pages are refused here", http.StatusForbidden)
			return
		}
		if r.ContentLength != 0 && !readBody(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

// names tells whether a Host header means this machine. Every browser sends one; where it is absent, no page asks.
func (s *Server) names(host string) bool {
	if host == "" {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name // any port: it may have been forwarded
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return isLoopback(host) || strings.EqualFold(host, s.host)
}

// isLoopback tells whether host, a name or an address, can only be this machine.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

// fromPage finds what [http.CrossOriginProtection] lets pass. It allows pages of the same origin, but no page is
// served here, so a page that sends an order has made its own name point here. And it allows every GET, but a
// profile is work that no page has a reason to cause.
func fromPage(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
	default:
		return r.Header.Get("Origin") != ""
	}
	if !strings.HasPrefix(r.URL.Path, "/debug/") {
		return false
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
}

// readBody replaces the body by what was read of it, or answers and returns false. It is done before any handler runs:
// net/http lifts the timeout of the request once its body has been read to the end, and notices from then on when the
// client leaves, so a profile or a reload may take longer than a request may.
func readBody(w http.ResponseWriter, r *http.Request) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
		return false
	}
	if err != nil {
		w.Header().Set("Connection", "close")
		http.Error(w, "the body could not be read", http.StatusRequestTimeout)
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return true
}

// printable keeps a host name that a stranger wrote from being more than a line of text.
func printable(host string) string {
	if len(host) > 100 {
		host = host[:100]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, host)
}
