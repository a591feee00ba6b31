package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// TLS says who the server is and whom it answers. Callers prove themselves by a client certificate, by a bearer
// token, or by either if both are configured; one of the two is required, unless [Admission].Anonymous lets anyone in.
// All files are read again by [Server.Reload].
type TLS struct {
	CertFile string // PEM: the server's certificate, then its intermediates
	KeyFile  string // PEM: its key; P-256 is the cheapest by far in a handshake

	ClientCAFile string   // PEM: the authorities whose client certificates are accepted
	ClientNames  []string // if not empty, the common name or a DNS or URI name of the certificate must be one of these, exactly

	TokenFile string // one bearer token a line; blank lines and those that begin with # are skipped
}

// credentials holds what was last read from the files of a TLS. Everything that a handshake or a request looks at is
// one snapshot, so that neither ever sees a new certificate with an old authority.
//
// A connection lives on under the snapshot it began with: taking an authority or a client name away keeps its holder
// from connecting again, and ends nothing. A token that was taken away is refused from the next request on.
type credentials struct {
	files   TLS
	open    bool       // anyone may connect
	reading sync.Mutex // one reload at a time
	current atomic.Pointer[identity]
}

// identity is one snapshot. It is immutable.
type identity struct {
	config     *tls.Config
	clients    *x509.CertPool // to verify certificates by that the handshake does not; else nil
	tokens     [][sha256.Size]byte
	hash       string // of the bytes of all files
	certExpiry time.Time
	caExpiry   time.Time // zero without client authorities
}

func newCredentials(files TLS, open bool) (*credentials, error) {
	switch {
	case files.CertFile == "" || files.KeyFile == "":
		return nil, errors.New("a server certificate and its key are needed")
	case files.ClientCAFile == "" && files.TokenFile == "" && !open:
		return nil, errors.New("nothing says whom to answer: configure a client CA, a token file, or both")
	case len(files.ClientNames) > 0 && files.ClientCAFile == "":
		return nil, errors.New("client names are compared with client certificates, and there is no client CA to verify those by")
	}
	c := &credentials{files: files, open: open}
	return c, c.reload()
}

// paths lists the files, for whoever watches them.
func (c *credentials) paths() []string {
	all := []string{c.files.CertFile, c.files.KeyFile, c.files.ClientCAFile, c.files.TokenFile}
	return slices.DeleteFunc(all, func(path string) bool { return path == "" })
}

// reload reads the files. On an error the last good snapshot stays.
func (c *credentials) reload() error {
	c.reading.Lock()
	defer c.reading.Unlock()
	var contents [4][]byte
	digest := sha256.New()
	for i, path := range []string{c.files.CertFile, c.files.KeyFile, c.files.ClientCAFile, c.files.TokenFile} {
		if path == "" {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		contents[i] = b
		fmt.Fprintf(digest, "%d %d\n", i, len(b))
		digest.Write(b)
	}
	hash := hex.EncodeToString(digest.Sum(nil))
	if last := c.current.Load(); last != nil && last.hash == hash {
		return nil // and the ones who are connected go on sharing one tls.Config
	}
	next, err := c.files.parse(contents[0], contents[1], contents[2], contents[3], c.open)
	if err != nil {
		return err
	}
	next.hash = hash
	c.current.Store(next)
	return nil
}

func (t *TLS) parse(certPEM, keyPEM, caPEM, tokens []byte, open bool) (*identity, error) {
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", t.CertFile, t.KeyFile, err)
	}
	leaf := cert.Leaf
	switch {
	case len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0:
		return nil, fmt.Errorf("%s: no DNS name or IP address in the certificate; the apiserver does not look at the common name", t.CertFile)
	case time.Now().After(leaf.NotAfter):
		return nil, fmt.Errorf("%s: the certificate expired on %s", t.CertFile, leaf.NotAfter.Format(time.RFC3339))
	}
	id := &identity{certExpiry: leaf.NotAfter}
	for _, der := range cert.Certificate[1:] {
		if above, err := x509.ParseCertificate(der); err == nil && above.NotAfter.Before(id.certExpiry) {
			id.certExpiry = above.NotAfter
		}
	}
	id.config = &tls.Config{
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{"h2", "http/1.1"},
		MinVersion:   tls.VersionTLS12,
		// Of TLS 1.2 only what HTTP/2 permits: the others are for bad clients only (RFC 9113, appendix A).
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		// CurvePreferences is left to Go, whose first choice is X25519MLKEM768. Of the server's CPU time in a mutual
		// handshake (P-256, two cores, 2026, Go's client with what it offers by default) X25519 alone takes 0.85, P-256
		// alone 0.95, for it asks Go's clients for a second round trip. In a storm of 1,000 that is a tenth of a second
		// or two, which the gate keeps from everybody else; handshakes are rare on HTTP/2. What it buys is that bearer
		// tokens recorded today are not read by a quantum computer later.
		//
		// Of the rest, the two signatures that are verified take a quarter, the caller's chain being one of them, X25519
		// an eighth, and the server's own signature a sixteenth: there is nothing in it that could be left out.

		// client-go never resumes a session, so a ticket is work for nothing; and a resumed session would outlive
		// the client authority it was verified by.
		SessionTicketsDisabled: true,
	}
	if t.ClientCAFile != "" {
		id.config.ClientCAs, id.caExpiry, err = authorities(caPEM)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.ClientCAFile, err)
		}
		switch {
		case open:
			// A certificate that is not accepted is as good as none, for who can come without one: an apiserver that
			// shows every webhook the same certificate, by an authority of its own, must not be locked out.
			id.config.ClientAuth, id.clients = tls.RequestClientCert, id.config.ClientCAs
		case t.TokenFile != "":
			id.config.ClientAuth = tls.VerifyClientCertIfGiven
		default:
			id.config.ClientAuth = tls.RequireAndVerifyClientCert
		}
		if len(t.ClientNames) > 0 && !open {
			id.config.VerifyConnection = t.verifyName
		}
	}
	if t.TokenFile != "" {
		if id.tokens = parseTokens(tokens); len(id.tokens) == 0 {
			return nil, fmt.Errorf("%s: no token; write one on a line of its own", t.TokenFile)
		}
	}
	return id, nil
}

// authorities parses a bundle, and tells when the first of them expires.
func authorities(bundle []byte) (*x509.CertPool, time.Time, error) {
	pool, first := x509.NewCertPool(), time.Time{}
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, first, err
		}
		pool.AddCert(cert)
		if first.IsZero() || cert.NotAfter.Before(first) {
			first = cert.NotAfter
		}
	}
	if first.IsZero() {
		return nil, first, errors.New("no certificate in PEM")
	}
	return pool, first, nil
}

func parseTokens(file []byte) [][sha256.Size]byte {
	var hashes [][sha256.Size]byte
	for line := range strings.Lines(string(file)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			hashes = append(hashes, sha256.Sum256([]byte(line)))
		}
	}
	return hashes
}

// verifyName is called once a handshake, after the chain was verified. Without a certificate the token decides, on
// each request.
func (t *TLS) verifyName(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	leaf := state.PeerCertificates[0]
	allowed := func(name string) bool { return name != "" && slices.Contains(t.ClientNames, name) }
	if allowed(leaf.Subject.CommonName) || slices.ContainsFunc(leaf.DNSNames, allowed) {
		return nil
	}
	for _, uri := range leaf.URIs {
		if allowed(uri.String()) {
			return nil
		}
	}
	return fmt.Errorf("client %q is not on the list of client names", clip(leaf.Subject.CommonName, maxLogged))
}

// config is what listeners use: it picks the snapshot of the moment for each handshake.
func (c *credentials) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			id := c.current.Load()
			if l, ok := hello.Conn.(*line); ok {
				l.identity = id
			}
			return id.config, nil
		},
	}
}

// certify finds out whether a handshake's caller has proved a client certificate. It is an error to have shown one that is
// not accepted, which only matters to doors that don't answer anyone.
func (c *credentials) certify(id *identity, state tls.ConnectionState) (bool, error) {
	if id == nil || id.clients == nil || len(state.PeerCertificates) == 0 {
		return len(state.VerifiedChains) > 0, nil // as the handshake has found
	}
	above := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		above.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: id.clients, Intermediates: above, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err == nil && len(c.files.ClientNames) > 0 {
		err = c.files.verifyName(state)
	}
	return err == nil, err
}

// bearer tells whether the value of an Authorization header carries one of the tokens. Hashes are compared, so that
// the time it takes says nothing about a token, its length included.
func (c *credentials) bearer(authorization []byte) bool {
	const scheme = "Bearer "
	if len(authorization) <= len(scheme) || !strings.EqualFold(string(authorization[:len(scheme)]), scheme) {
		return false
	}
	hash := sha256.Sum256(authorization[len(scheme):])
	found := 0
	tokens := c.current.Load().tokens
	for i := range tokens {
		found |= subtle.ConstantTimeCompare(hash[:], tokens[i][:])
	}
	return found == 1
}
