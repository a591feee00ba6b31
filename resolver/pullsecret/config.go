package pullsecret

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Config says where the API server is. The zero value is that of the cluster that the process runs in.
type Config struct {
	// Server is the address, https://host:port. Empty means KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT.
	Server string
	// TokenFile holds a service account's token. It is read again every minute, and when the API server does not take
	// the token any more. Empty means the pod's own.
	TokenFile string
	// CAFile holds the certificate authorities (PEM) that are trusted for the API server: these alone. Empty means the
	// pod's own.
	CAFile string

	TTL     time.Duration // for which what was read is good; 0 means 60 s
	Timeout time.Duration // of one request, the wait for its turn not included; 0 means 2 s

	// Log takes records of what could not be read, one a second at most. Nil means none.
	Log *slog.Logger
}

// Where a pod has what its service account is known by.
const (
	podToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	podCA    = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
)

const (
	defaultTTL     = time.Minute
	defaultTimeout = 2 * time.Second
)

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.TTL < 0:
		return c, errors.New("ttl must not be negative")
	case c.Timeout < 0:
		return c, errors.New("timeout must not be negative")
	}
	if c.Server == "" {
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return c, errors.New("server is needed outside of a cluster: " +
				"KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
		}
		c.Server = "https://" + net.JoinHostPort(host, port)
	}
	u, err := url.Parse(c.Server)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return c, errors.New("server must be an address such as https://10.96.0.1:443")
	}
	c.Server = strings.TrimRight(c.Server, "/")
	if c.TokenFile == "" {
		c.TokenFile = podToken
	}
	if c.CAFile == "" {
		c.CAFile = podCA
	}
	if c.TTL == 0 {
		c.TTL = defaultTTL
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// transport makes what speaks to the API server, and to nobody else: neither through a proxy nor where it redirects to.
func (c Config) transport() (*http.Transport, error) {
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("caFile: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("caFile: %s holds no certificate", c.CAFile)
	}
	return &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		DisableCompression:  true, // so that the length of an answer is known before it is read
		MaxIdleConnsPerHost: maxLoads,
		IdleConnTimeout:     90 * time.Second,
		// A connection whose other end is gone is noticed, as client-go does it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}, nil
}
