package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// keyless is what signing without a key of one's own takes, whole and on loopback: an issuer of tokens, Fulcio with its
// certificate transparency log, transparency logs of both versions and a timestamp authority.
type keyless struct {
	dir    string
	issuer *issuer
	ct     *ctLog
	rekor1 *rekor1
	urls   struct{ fulcio, rekor2, tsa string }

	processes []*process
	ports     []*port
}

var theKeyless struct {
	once sync.Once
	k    *keyless
	err  error
}

// keylessStack is the one of all tests, started when the first asks for it.
func keylessStack(t testing.TB) *keyless {
	t.Helper()
	theKeyless.once.Do(func() { theKeyless.k, theKeyless.err = startKeyless(filepath.Join(shared.dir, "keyless")) })
	must(t, theKeyless.err)
	return theKeyless.k
}

// stopKeyless ends what keylessStack started.
func stopKeyless() {
	if theKeyless.k != nil {
		theKeyless.k.stop()
	}
}

func startKeyless(dir string) (*keyless, error) {
	k := &keyless{dir: dir}
	err := k.start()
	if err != nil {
		k.stop()
		return nil, err
	}
	return k, nil
}

func (k *keyless) stop() {
	for _, p := range k.processes {
		p.kill()
	}
	for _, p := range k.ports {
		p.release()
	}
	if k.issuer != nil {
		k.issuer.server.Close()
	}
	if k.ct != nil {
		k.ct.server.Close()
	}
	if k.rekor1 != nil {
		k.rekor1.server.Close()
	}
}

func (k *keyless) start() (err error) {
	if err = os.MkdirAll(k.dir, 0o755); err != nil {
		return err
	}
	if k.issuer, err = startIssuer(); err != nil {
		return err
	}
	if k.ct, err = startCTLog(); err != nil {
		return err
	}
	if k.rekor1, err = startRekor1(); err != nil {
		return err
	}
	if err = errors.Join(k.startFulcio(), k.startRekor2(), k.startTSA()); err != nil {
		return err
	}
	return k.writeRoots()
}

func (k *keyless) file(name string) string { return filepath.Join(k.dir, name) }

func (k *keyless) port() (string, error) {
	p, err := reservePort()
	if err != nil {
		return "", err
	}
	k.ports = append(k.ports, p)
	_, number, err := net.SplitHostPort(p.addr)
	return number, err
}

// launch starts a server, and returns when path answers.
func (k *keyless) launch(url, path string, argv ...string) error {
	p, err := startProcess(k.dir, nil, argv...)
	if err != nil {
		return err
	}
	k.processes = append(k.processes, p)
	err = poll(func() error {
		if p.ended() {
			return nil
		}
		response, err := http.Get(url + path)
		if err != nil {
			return err
		}
		if response.StatusCode >= http.StatusInternalServerError {
			err = errors.New(response.Status)
		}
		return errors.Join(err, response.Body.Close())
	})
	if err == nil && p.ended() {
		err = errors.New(p.cmd.ProcessState.String())
	}
	if err != nil {
		return fmt.Errorf("%s does not answer: %w; it said:\n%s%s", p.name, err, tail(p.stdout.String()), tail(p.stderr.String()))
	}
	return nil
}

// startFulcio needs, beside the obvious: a port and a path for gRPC, since the HTTP side is a gateway to both, and a port
// for metrics, which listens on all interfaces whatever one says. The CA's key may be in the clear, but has to have a
// password.
func (k *keyless) startFulcio() error {
	ca, err := issueCA("fulcio", x509.ExtKeyUsageCodeSigning)
	if err != nil {
		return err
	}
	if err := ca.write(k.dir, "fulcio"); err != nil {
		return err
	}
	config := fmt.Sprintf(`oidc-issuers:
  %[1]s: {issuer-url: %[1]s, client-id: sigstore, type: email}
  %[2]s: {issuer-url: %[2]s, client-id: sigstore, type: github-workflow}
`, k.issuer.url(people), k.issuer.url(jobs))
	if err := os.WriteFile(k.file("fulcio.yaml"), []byte(config), 0o644); err != nil {
		return err
	}
	var ports [3]string
	for i := range ports {
		if ports[i], err = k.port(); err != nil {
			return err
		}
	}
	k.urls.fulcio = "http://127.0.0.1:" + ports[0]
	return k.launch(k.urls.fulcio, "/api/v2/configuration", programs.fulcio, "serve",
		"--host", "127.0.0.1", "--port", ports[0], "--grpc-host", "127.0.0.1", "--grpc-port", ports[1],
		"--metrics-port", ports[2], "--legacy-unix-domain-socket", k.file("fulcio.sock"),
		"--config-path", k.file("fulcio.yaml"), "--ct-log-url", k.ct.server.URL,
		"--ca", "fileca", "--fileca-cert", k.file("fulcio.pem"), "--fileca-key", k.file("fulcio.key"),
		"--fileca-key-passwd", "none", "--fileca-watch=false")
}

// startRekor2 names the log by the host alone, without a port: verifiers take the checkpoint's origin from the URL in the
// trusted root in this way. Uploads wait for the next checkpoint.
func (k *keyless) startRekor2() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	err = errors.Join(writePrivate(k.file("rekor2.key"), key), writePublic(k.file("rekor2.pub"), key.Public()))
	if err != nil {
		return err
	}
	var ports [3]string
	for i := range ports {
		if ports[i], err = k.port(); err != nil {
			return err
		}
	}
	k.urls.rekor2 = "http://127.0.0.1:" + ports[0]
	return k.launch(k.urls.rekor2, "/healthz", programs.rekor2, "serve",
		"--http-address", "127.0.0.1", "--http-port", ports[0], "--grpc-address", "127.0.0.1", "--grpc-port", ports[1],
		"--http-metrics-port", ports[2], "--hostname", "127.0.0.1", "--storage-dir", k.file("rekor2"),
		"--signer-filepath", k.file("rekor2.key"), "--checkpoint-interval", "200ms", "--batch-max-age", "20ms")
}

// startTSA can't move the port for metrics: 2112 on all interfaces. It would compare its clock with servers on the
// internet.
func (k *keyless) startTSA() error {
	ca, err := issueCA("timestamp authority", x509.ExtKeyUsageTimeStamping)
	if err != nil {
		return err
	}
	tsa, err := issueTSA(ca)
	if err != nil {
		return err
	}
	if err := tsa.write(k.dir, "tsa"); err != nil {
		return err
	}
	port, err := k.port()
	if err != nil {
		return err
	}
	k.urls.tsa = "http://127.0.0.1:" + port + "/api/v1/timestamp"
	return k.launch("http://127.0.0.1:"+port, "/ping", programs.tsa, "serve", "--host", "127.0.0.1", "--port", port,
		"--disable-ntp-monitoring", "--timestamp-signer", "file", "--file-signer-key-path", k.file("tsa.key"),
		"--certificate-chain-path", k.file("tsa.pem"))
}
