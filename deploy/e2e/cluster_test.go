package e2e

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cluster is a control plane without nodes, and mostly without controllers: a real kube-apiserver that keeps what it is
// told in a real etcd. Nothing is ever scheduled, and pods that are deleted are gone at once.
type cluster struct {
	dir     string // kubeconfig, certificates, the audit log; also the home of kubectl
	url     string
	process *process
	admin   *holder // of the group system:masters
	ca      *holder
	client  *http.Client // the administrator's

	sluice *service // whom the plugin asks, if this cluster has the plugin
}

// clusterSettings are what a test wants of its control plane.
type clusterSettings struct {
	// Whom ImagePolicyWebhook asks, with the admission configuration and the kubeconfig that sluice init wrote. Without
	// one, the plugin is off.
	sluice *service
	// kube-controller-manager runs, and pods get a service account.
	controllers bool
	// Further flags of kube-apiserver. Of a flag that stands twice the last counts, but for lists, which grow.
	flags []string
}

// newCluster starts a control plane that ends with the test. Most tests need none of their own: see sharedCluster.
func newCluster(t testing.TB, s clusterSettings) *cluster {
	t.Helper()
	c := &cluster{dir: t.TempDir(), url: "https://" + freePort(t), sluice: s.sluice}
	c.certify(t)
	must(t, os.WriteFile(filepath.Join(c.dir, "audit-policy.yaml"), []byte(auditPolicy), 0o644))
	argv := append([]string{
		programs.apiserver, "--etcd-servers", etcd(t), "--etcd-prefix", fmt.Sprintf("/cluster-%d", clusters.Add(1)),
		"--bind-address", "127.0.0.1", "--secure-port", c.port(),
		// With nothing but loopback there is no address to tell others.
		"--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none",
		"--tls-cert-file", "server.pem", "--tls-private-key-file", "server.key", "--client-ca-file", "ca.pem",
		"--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", "accounts.pub",
		"--service-account-signing-key-file", "accounts.key",
		"--audit-policy-file", "audit-policy.yaml", "--audit-log-path", auditLog,
	}, s.flags...)
	if !s.controllers { // who make the service accounts that it would give to pods
		argv = append(argv, "--disable-admission-plugins", "ServiceAccount")
	}
	if s.sluice != nil {
		argv = append(argv, "--enable-admission-plugins", "ImagePolicyWebhook",
			"--admission-control-config-file", s.sluice.file("admission.yaml"))
	}
	p, err := startProcess(c.dir, nil, argv...)
	must(t, err)
	c.process = p
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("kube-apiserver (pid %d) wrote:\n%s", p.cmd.Process.Pid, tail(p.stderr.String()))
		}
	})
	c.client = c.newClient(t)
	must(t, pollFor(clusterPatience, func() error {
		if p.ended() {
			t.Fatalf("kube-apiserver has ended (exit %d):\n%s", p.cmd.ProcessState.ExitCode(), tail(p.stderr.String()))
		}
		_, err := c.do(t.Context(), c.client, http.MethodGet, "/readyz", "")
		return err
	}))
	if s.controllers {
		c.control(t)
	}
	return c
}

// control starts kube-controller-manager, with all that it does by default, and each controller as itself.
func (c *cluster) control(t testing.TB) {
	t.Helper()
	p, err := startProcess(c.dir, nil, programs.controllers, "--kubeconfig", "kubeconfig", "--leader-elect=false",
		"--bind-address", "127.0.0.1", "--secure-port", portOf(freePort(t)), "--cert-dir", c.dir,
		"--use-service-account-credentials", "--service-account-private-key-file", "accounts.key", "--root-ca-file", "ca.pem")
	must(t, err)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("kube-controller-manager (pid %d) wrote:\n%s", p.cmd.Process.Pid, tail(p.stderr.String()))
		}
	})
	must(t, pollFor(clusterPatience, func() error { // until the first of them have done something
		if p.ended() {
			t.Fatalf("kube-controller-manager has ended (exit %d):\n%s", p.cmd.ProcessState.ExitCode(), tail(p.stderr.String()))
		}
		_, err := c.do(t.Context(), c.client, http.MethodGet, "/api/v1/namespaces/default/serviceaccounts/default", "")
		return err
	}))
}

// clusterPatience is how long a control plane may take to be ready: some 5 s of two idle cores, which others use, too.
const clusterPatience = 2 * time.Minute

// clusters counts those that share etcd.
var clusters atomic.Int64

func (c *cluster) port() string { return portOf(c.url) }

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// certify makes the cluster's CA, the certificates of the apiserver and of its administrator, and a kubeconfig.
func (c *cluster) certify(t testing.TB) {
	t.Helper()
	certificate := func(name string, template x509.Certificate, by *holder) *holder {
		h, err := issue(template, by)
		must(t, err)
		must(t, h.write(c.dir, name))
		return h
	}
	c.ca = certificate("ca", x509.Certificate{
		Subject: pkix.Name{CommonName: "e2e cluster"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	certificate("server", x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"kubernetes.default.svc", "localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, c.ca)
	c.admin = certificate("admin", x509.Certificate{
		Subject:  pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, c.ca)
	accounts, err := issue(x509.Certificate{Subject: pkix.Name{CommonName: "service accounts"}}, nil)
	must(t, err)
	must(t, writePrivate(filepath.Join(c.dir, "accounts.key"), accounts.key))
	must(t, writePublic(filepath.Join(c.dir, "accounts.pub"), accounts.key.Public()))
	must(t, os.WriteFile(filepath.Join(c.dir, "kubeconfig"), fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: %q, certificate-authority: ca.pem}}]
users: [{name: admin, user: {client-certificate: admin.pem, client-key: admin.key}}]
contexts: [{name: e2e, context: {cluster: e2e, user: admin}}]
current-context: e2e
`, c.url), 0o600))
}

// common is what clusters share, and what all tests share of them: made when it is first asked for.
var common struct {
	lasting lasting

	etcdMu sync.Mutex
	etcd   string // its URL

	clusterMu sync.Mutex
	cluster   *cluster
	tried     bool // by whichever test came first
}

// sharedCluster is a control plane whose plugin asks a service with the usual settings. It is for tests that change
// neither: each has a namespace of its own.
func sharedCluster(t testing.TB) *cluster {
	t.Helper()
	settings := usual(t)
	common.clusterMu.Lock()
	defer common.clusterMu.Unlock()
	if !common.tried {
		common.tried = true
		l := common.lasting.of(t)
		common.cluster = newCluster(l, clusterSettings{sluice: newService(l, settings)})
	}
	if common.cluster == nil {
		t.Fatal("the shared control plane has not started: see the test that was first to need it")
	}
	return common.cluster
}

// etcd returns the URL of the one etcd.
func etcd(t testing.TB) string {
	t.Helper()
	common.etcdMu.Lock()
	defer common.etcdMu.Unlock()
	if common.etcd != "" {
		return common.etcd
	}
	l := common.lasting.of(t)
	dir, clients, peers := l.TempDir(), "http://"+freePort(l), "http://"+freePort(l)
	p, err := startProcess(dir, nil, programs.etcd, "--data-dir", filepath.Join(dir, "data"),
		"--listen-client-urls", clients, "--advertise-client-urls", clients,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers,
		"--log-level", "warn")
	must(t, err)
	l.Cleanup(p.kill)
	must(t, pollFor(clusterPatience, func() error {
		if p.ended() {
			t.Fatalf("etcd has ended (exit %d):\n%s", p.cmd.ProcessState.ExitCode(), tail(p.stderr.String()))
		}
		response, err := adminClient.Get(clients + "/health")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("/health: %s", response.Status)
		}
		return nil
	}))
	common.etcd = clients
	return common.etcd
}

// stopClusters ends what the clusters share.
func stopClusters() { common.lasting.end() }

// lasting is for what outlives the test that happens to be the first to need it: that test fails if it can't be had, but
// what it cleans up is cleaned up after all tests.
type lasting struct {
	mu       sync.Mutex
	cleanups []func()
}

type lastingTB struct {
	testing.TB
	*lasting
}

func (l *lasting) of(t testing.TB) testing.TB { return lastingTB{t, l} }

func (l *lasting) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, cleanup := range slices.Backward(l.cleanups) {
		cleanup()
	}
	l.cleanups = nil
}

func (l lastingTB) Cleanup(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cleanups = append(l.cleanups, f)
}

// Failed is asked by what cleans up, when the test is over.
func (l lastingTB) Failed() bool { return false }

func (l lastingTB) TempDir() string {
	dir, err := os.MkdirTemp(shared.dir, "lasting-")
	must(l.TB, err)
	return dir
}
