package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sluice/deploy/pki"
)

func TestRenew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, pki.Options{})
		f := func(old pki.Pair, o pki.Options, wantLife time.Duration) {
			t.Helper()
			renewed := must(t)(ca.Renew(old.Cert, o))
			keyPair(t, renewed)
			was, is := parse(t, old.Cert), parse(t, renewed.Cert)
			if bytes.Equal(old.Key, renewed.Key) || was.SerialNumber.Cmp(is.SerialNumber) == 0 || bytes.Equal(was.SubjectKeyId, is.SubjectKeyId) {
				t.Error("key or serial is that of before")
			}
			if !bytes.Equal(was.RawSubject, is.RawSubject) || !slices.Equal(was.DNSNames, is.DNSNames) ||
				!slices.EqualFunc(was.IPAddresses, is.IPAddresses, net.IP.Equal) || !slices.Equal(was.ExtKeyUsage, is.ExtKeyUsage) || was.KeyUsage != is.KeyUsage {
				t.Errorf("%+v\nis renewed as\n%+v", was, is)
			}
			if life := is.NotAfter.Sub(is.NotBefore); life != wantLife || !is.NotBefore.Equal(time.Now().Add(-5*time.Minute)) {
				t.Errorf("from %s for %s, want %s", is.NotBefore, life, wantLife)
			}
			if err := is.CheckSignatureFrom(parse(t, ca.Pair().Cert)); err != nil {
				t.Error(err)
			}
		}
		const early = 5 * time.Minute
		server := must(t)(ca.Server([]string{"sluice.example.com", "*.example.com", "10.0.0.1", "::1"}, pki.Options{Validity: 48 * time.Hour}))
		client := must(t)(ca.Client("kube-apiserver", pki.Options{}))
		f(server, pki.Options{}, 48*time.Hour+early)
		f(server, pki.Options{Validity: time.Hour}, time.Hour+early)
		f(client, pki.Options{}, 365*24*time.Hour+early)
		f(must(t)(ca.Renew(server.Cert, pki.Options{})), pki.Options{}, 48*time.Hour+early) // it does not grow or shrink
		time.Sleep(72 * time.Hour)                                                          // synctest's
		f(server, pki.Options{}, 48*time.Hour+early)                                        // it has ended

		// The authority's end is the end.
		time.Sleep(time.Until(ca.NotAfter().Add(-time.Hour)))
		if got := parse(t, must(t)(ca.Renew(client.Cert, pki.Options{})).Cert).NotAfter; !got.Equal(ca.NotAfter()) {
			t.Errorf("ends on %s, and its authority on %s", got, ca.NotAfter())
		}
	})
}

// TestRenewForeign renews what openssl or others made with the authority's key: another subject, other names, a chain.
func TestRenewForeign(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.Options{})
	caCert, caKey := parse(t, ca.Pair().Cert), keyPair(t, ca.Pair()).PrivateKey
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse("spiffe://example.com/sluice")
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sluice", Organization: []string{"system:masters"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{uri}, EmailAddresses: []string{"a@example.com"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, caCert, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	renewed := must(t)(ca.Renew(slices.Concat([]byte("\n"), leaf, ca.Pair().Cert), pki.Options{}))
	all, err := pki.ParseCertificates(renewed.Cert)
	if err != nil || len(all) != 2 || !all[1].Equal(caCert) {
		t.Fatalf("%d certificates, %v", len(all), err)
	}
	is := all[0]
	if is.Subject.String() != "CN=sluice,O=system:masters" || len(is.URIs) != 1 || is.URIs[0].String() != uri.String() ||
		!slices.Equal(is.EmailAddresses, template.EmailAddresses) || !slices.Equal(is.ExtKeyUsage, template.ExtKeyUsage) {
		t.Errorf("%+v", is)
	}
	if ok, err := pki.IsKeyOf(is, renewed.Key); err != nil || !ok {
		t.Errorf("%t, %v", ok, err)
	}
	if ok, err := pki.IsKeyOf(is, ca.Pair().Key); err != nil || ok {
		t.Errorf("another's key: %t, %v", ok, err)
	}
	if _, err := pki.IsKeyOf(is, nil); err == nil {
		t.Error("no key is a key")
	}
}

func TestRenewRefused(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, pki.Options{}), newCA(t, pki.Options{})
	leaf := must(t)(other.Client("a", pki.Options{}))
	f := func(chain []byte, want string) {
		t.Helper()
		if _, err := ca.Renew(chain, pki.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f(nil, "no certificate")
	f([]byte("x"), "not PEM")
	f(slices.Concat(leaf.Cert, []byte("x")), "not PEM")
	f(leaf.Key, "not CERTIFICATE")
	f([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "parse")
	f(leaf.Cert, "was issued by")
	f(ca.Pair().Cert, "is a certificate authority")
	if _, err := ca.Renew(must(t)(ca.Client("a", pki.Options{})).Cert, pki.Options{Validity: -1}); err == nil {
		t.Error("renewed for less than nothing")
	}
}

// TestWritePair has a reader look at both files all the time, as a service that reloads does: each is always whole, what
// does not match is kept out by comparing, and the last pair is what is there in the end.
func TestWritePair(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certPath, keyPath := filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	ca := newCA(t, pki.Options{})
	pairs := make([]pki.Pair, 10)
	for i := range pairs {
		pairs[i] = must(t)(ca.Server([]string{"a"}, pki.Options{}))
	}
	if err := pki.WritePair(certPath, keyPath, pairs[0]); err != nil {
		t.Fatal(err)
	}
	matched, between := 0, 0
	read := func() (last tls.Certificate) {
		t.Helper()
		cert, err := os.ReadFile(certPath)
		if err != nil {
			t.Error(err)
		}
		key, err := os.ReadFile(keyPath)
		if err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(keyPath); err != nil || info.Mode() != 0o600 {
			t.Errorf("the key's mode is %v, %v", info.Mode(), err)
		}
		if certs, err := pki.ParseCertificates(cert); err != nil || len(certs) != 1 {
			t.Errorf("half a certificate: %v", err)
		}
		if block, rest := pem.Decode(key); block == nil || len(rest) > 0 {
			t.Errorf("half a key: %q", key)
		}
		last, err = tls.X509KeyPair(cert, key)
		if err == nil {
			matched++
		} else if between++; !strings.Contains(err.Error(), "private key does not match public key") {
			t.Error(err)
		}
		return last
	}
	done := make(chan struct{})
	var writers sync.WaitGroup
	for half := range 2 { // two at once: what they write follows each other
		writers.Go(func() {
			for i := half; i < len(pairs); i += 2 {
				if err := pki.WritePair(certPath, keyPath, pairs[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() {
		writers.Wait()
		close(done)
	}()
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
			read()
		}
	}
	if last := read(); last.Leaf == nil {
		t.Error("what is there in the end does not match")
	}
	if matched == 0 {
		t.Error("no pair was ever seen whole")
	}
	t.Logf("read %d pairs, and %d times between two", matched, between)
	if all, err := os.ReadDir(dir); err != nil || len(all) != 2 {
		t.Errorf("left behind: %v, %v", all, err)
	}
}

// TestWritePairWaits: who else writes into the directory, and has it locked, is waited for.
func TestWritePairWaits(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	pair := must(t)(newCA(t, pki.Options{}).Client("a", pki.Options{}))
	other, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- pki.WritePair(filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"), pair) }()
	for range 5 { // long enough for who does not wait
		if err := pki.WritePair(filepath.Join(elsewhere, "a.crt"), filepath.Join(elsewhere, "a.key"), pair); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) > 0 {
		t.Errorf("written while another had it locked: %v, %v", all, err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// TestWritePairOwner: a key goes on being read by the user who read the one before.
func TestWritePairOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certPath, keyPath := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	pair := must(t)(newCA(t, pki.Options{}).Client("a", pki.Options{}))
	if err := pki.WritePair(certPath, keyPath, pair); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 { // who else could give a file away?
		uid, gid = 65532, 65531
		if err := os.Chown(keyPath, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(keyPath, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := pki.WritePair(certPath, keyPath, pair); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(keyPath)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); int(s.Uid) != uid || int(s.Gid) != gid || info.Mode() != 0o600 {
		t.Errorf("the key belongs to %d:%d with mode %v, want %d:%d", s.Uid, s.Gid, info.Mode(), uid, gid)
	}
	if info, err := os.Stat(certPath); err != nil || info.Mode() != 0o644 {
		t.Errorf("the certificate: %v, %v", info.Mode(), err)
	}
}

// TestWritePairFails: when one of the two can't be written, the other is left as it is.
func TestWritePairFails(t *testing.T) {
	t.Parallel()
	ca := newCA(t, pki.Options{})
	before, after := must(t)(ca.Client("a", pki.Options{})), must(t)(ca.Client("a", pki.Options{}))
	f := func(cert, key string, want error) {
		t.Helper()
		dir := t.TempDir()
		if err := pki.WritePair(filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"), before); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, "full", "x"), 0o755); err != nil {
			t.Fatal(err)
		}
		err := pki.WritePair(filepath.Join(dir, cert), filepath.Join(dir, key), after)
		if !errors.Is(err, want) {
			t.Errorf("%s, %s: %v", cert, key, err)
		}
		for name, want := range map[string][]byte{"a.crt": before.Cert, "a.key": before.Key} {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s: %s changed, %v", cert, key, name, err)
			}
		}
		if all, err := os.ReadDir(dir); err != nil || len(all) != 3 {
			t.Errorf("%s, %s: left behind: %v, %v", cert, key, all, err)
		}
	}
	f("none/a.crt", "a.key", fs.ErrNotExist)
	f("a.crt", "none/a.key", fs.ErrNotExist)
	f("a.crt", "full", syscall.EISDIR)
	f("full", "a.key", syscall.EISDIR)
}
