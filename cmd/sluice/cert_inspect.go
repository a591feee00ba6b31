package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/deploy/pki"
)

// connectTimeout bounds cert inspect --connect.
const connectTimeout = 10 * time.Second

func newCertInspect() *cobra.Command {
	var (
		connect, output string
		within          time.Duration
	)
	cmd := &cobra.Command{
		Use:   "inspect (FILE... | --connect HOST:PORT)",
		Short: "Show whose certificates are, for what, and until when",
		Long: `Show all certificates of files, or those that a service presents: subject, names, usages, issuer, life, key, and SHA-256
fingerprint; and of NAME.crt whether NAME.key beside it is its key. Nothing is verified: what a service presents is shown, whoever
signed it.

Exit codes: 0 all are good now; 1 one has ended, has not begun, ends --within, or has a key beside it that is not its own; 2 a
file can't be read; 3 nothing can be connected to.`,
		Example: `  sluice cert inspect /etc/sluice/pki/server.crt /etc/sluice/pki/ca.crt --within 720h
  sluice cert inspect --connect sluice.example.com:8443`,
	}
	cmd.Flags().StringVar(&connect, "connect", "", "show what the service at this host:port presents")
	cmd.Flags().DurationVar(&within, "within", 0, "exit with 1 also if one ends within this time, such as 720h")
	check := outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := check(); err != nil {
			return err
		}
		if (connect == "") == (len(args) == 0) {
			return invalid(errors.New("either files or --connect are needed"), "sluice cert inspect pki/server.crt")
		}
		if within < 0 {
			return invalid(fmt.Errorf("--within: %s is in the past", within))
		}
		var all []shownCert
		if connect != "" {
			certs, err := presented(cmd.Context(), connect)
			if err != nil {
				return err
			}
			for _, c := range certs {
				all = append(all, showCert(connect, c, within))
			}
		}
		for _, path := range args {
			of, err := showFile(path, within)
			if err != nil {
				return invalid(fmt.Errorf("%s: %w", path, err))
			}
			all = append(all, of...)
		}
		return tellCerts(cmd.OutOrStdout(), all, output)
	}
	return cmd
}

// shownCert is one certificate as it is shown.
type shownCert struct {
	Source      string    `json:"source"` // a file, or host:port
	Subject     string    `json:"subject"`
	Names       []string  `json:"names"`
	Usages      []string  `json:"usages"`
	Issuer      string    `json:"issuer"`
	NotBefore   time.Time `json:"notBefore"`
	NotAfter    time.Time `json:"notAfter"`
	DaysLeft    int       `json:"daysLeft"` // whole ones; negative since it has ended
	Key         string    `json:"key"`
	KeyFile     string    `json:"keyFile,omitempty"`    // the one beside it, if there is one
	KeyMatches  *bool     `json:"keyMatches,omitempty"` // absent if it can't be read
	Fingerprint string    `json:"sha256"`
	Problem     string    `json:"problem,omitempty"`
}

// showFile shows all certificates of a file, and holds the first against the key beside it.
func showFile(path string, within time.Duration) ([]shownCert, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		var where *fs.PathError
		if errors.As(err, &where) {
			err = where.Err
		}
		return nil, err
	}
	certs, err := pki.ParseCertificates(data)
	if err != nil {
		return nil, err
	}
	all := make([]shownCert, len(certs))
	for i, c := range certs {
		all[i] = showCert(path, c, within)
	}
	keyPath := besideKey(path)
	if _, err := os.Lstat(keyPath); err != nil {
		return all, nil //nolint:nilerr // most certificates are without their key
	}
	all[0].KeyFile = keyPath
	key, err := os.ReadFile(keyPath)
	if errors.Is(err, fs.ErrPermission) {
		return all, nil // whoever may not read a key may look at its certificate
	}
	var ok bool
	if err == nil {
		ok, err = pki.IsKeyOf(certs[0], key)
	}
	if err != nil {
		return nil, fmt.Errorf("the key %s: %w", keyPath, err)
	}
	all[0].KeyMatches = &ok
	if !ok && all[0].Problem == "" {
		all[0].Problem = keyPath + " is not its key"
	}
	return all, nil
}

// showCert says what stands in a certificate, and what is wrong with it now.
func showCert(source string, c *x509.Certificate, within time.Duration) shownCert {
	sum := sha256.Sum256(c.Raw)
	left := time.Until(c.NotAfter)
	s := shownCert{
		Source: source, Subject: c.Subject.String(), Names: []string{}, Usages: usages(c), Issuer: c.Issuer.String(),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), DaysLeft: int(left / (24 * time.Hour)),
		Key: keyType(c), Fingerprint: hex.EncodeToString(sum[:]),
	}
	s.Names = append(s.Names, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		s.Names = append(s.Names, ip.String())
	}
	for _, u := range c.URIs {
		s.Names = append(s.Names, u.String())
	}
	s.Names = append(s.Names, c.EmailAddresses...)
	switch {
	case left <= 0:
		s.Problem = "it ended on " + date(c.NotAfter)
	case time.Now().Before(c.NotBefore):
		s.Problem = "it begins on " + date(c.NotBefore)
	case left <= within:
		s.Problem = fmt.Sprintf("it ends within %s", within)
	}
	return s
}

// usages are what a certificate may be used for, in the words of this program where it has any.
func usages(c *x509.Certificate) []string {
	all := []string{}
	if c.IsCA {
		all = append(all, "authority")
	}
	for _, u := range c.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageServerAuth:
			all = append(all, "server")
		case x509.ExtKeyUsageClientAuth:
			all = append(all, "client")
		case x509.ExtKeyUsageAny:
			all = append(all, "any")
		default:
			all = append(all, "other")
		}
	}
	for _, u := range c.UnknownExtKeyUsage {
		all = append(all, u.String())
	}
	return all
}

func keyType(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return k.Curve.Params().Name
	case *rsa.PublicKey:
		return "RSA-" + strconv.Itoa(k.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return c.PublicKeyAlgorithm.String()
}

// presented returns the certificates that a service shows before it asks for the caller's.
func presented(ctx context.Context, address string) ([]*x509.Certificate, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, invalid(fmt.Errorf("--connect: %q is no host:port", address), "for example --connect 127.0.0.1:8443")
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var shown []*x509.Certificate
	config := &tls.Config{
		InsecureSkipVerify: true, // what is shown is looked at, and nothing is said to whoever shows it
		VerifyConnection: func(state tls.ConnectionState) error {
			shown = state.PeerCertificates
			return nil
		},
	}
	if net.ParseIP(host) == nil {
		config.ServerName = host
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err == nil {
		err = conn.Close()
	}
	if len(shown) == 0 { // one that then refuses the caller has shown its own
		return nil, &exitError{code: exitUndecidable, err: fmt.Errorf("no certificate from %s: %w", address, err)}
	}
	return shown, nil
}

// tellCerts prints certificates, and fails if there is a problem with one.
func tellCerts(w io.Writer, all []shownCert, output string) error {
	problems := false
	for _, s := range all {
		problems = problems || s.Problem != ""
	}
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(all); err != nil {
			return err
		}
	} else {
		var b strings.Builder
		for _, s := range all {
			s.text(&b)
		}
		if _, err := io.WriteString(w, b.String()); err != nil {
			return err
		}
	}
	if problems {
		return &exitError{code: exitDenied}
	}
	return nil
}

func (s *shownCert) text(b *strings.Builder) {
	line := func(label, format string, args ...any) {
		text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\uFFFD") // a stranger's name begins no line
		fmt.Fprintf(b, "  %-8s %s\n", label, printable(text))
	}
	fmt.Fprintln(b, printable(s.Source))
	line("subject", "%s", s.Subject)
	if len(s.Names) > 0 {
		line("names", "%s", strings.Join(s.Names, ", "))
	}
	if len(s.Usages) > 0 {
		line("usages", "%s", strings.Join(s.Usages, ", "))
	}
	line("issuer", "%s", s.Issuer)
	line("valid", "%s to %s, %s", s.NotBefore.Format(time.RFC3339), s.NotAfter.Format(time.RFC3339), daysLeft(s.NotAfter))
	switch {
	case s.KeyFile == "":
		line("key", "%s", s.Key)
	case s.KeyMatches == nil:
		line("key", "%s; %s can't be read", s.Key, s.KeyFile)
	case *s.KeyMatches:
		line("key", "%s, in %s", s.Key, s.KeyFile)
	default:
		line("key", "%s, which is not that in %s", s.Key, s.KeyFile)
	}
	line("sha256", "%s", s.Fingerprint)
	if s.Problem != "" {
		line("PROBLEM", "%s", s.Problem)
	}
}
