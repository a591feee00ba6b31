package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// signing is the signing of one image.
type signing struct {
	testing.TB
	*matrix
	registry *registry
	image    image
}

// form is how a tool writes what it signs.
type form struct {
	tool, format string
	program      string
	flags, env   []string
	unchecked    bool   // see services
	repository   string // where to, if not beside the image
}

const cosignV2, cosignV3 = "cosign v2.6.5", "cosign v3.1.3"

// The forms. cosign v3's flags for the classic one are deprecated and not in its help.
var (
	classic = form{tool: cosignV2, format: "classic", program: programs.cosign}
	bundle2 = form{tool: cosignV2, format: "bundle", program: programs.cosign, flags: []string{"--new-bundle-format"}}
	oci11   = form{
		tool: cosignV2, format: "OCI 1.1", program: programs.cosign,
		flags: []string{"--registry-referrers-mode=oci-1-1"}, env: []string{"COSIGN_EXPERIMENTAL=1"},
	}
	bundle3          = form{tool: cosignV3, format: "bundle", program: programs.cosign3}
	bundle3Unchecked = form{tool: cosignV3, format: "bundle", program: programs.cosign3, unchecked: true}
	classic3         = form{
		tool: cosignV3, format: "classic", program: programs.cosign3,
		flags: []string{"--new-bundle-format=false", "--use-signing-config=false"},
	}
)

// with is who signs, and which services vouch for it: flags for cosign.
type with func(s *signing, f form) []string

// byKey signs with a key and nothing else.
func byKey(algorithm string) with {
	return func(s *signing, f form) []string {
		return append([]string{"--key", s.keys[algorithm].private}, s.services(f, "key", "--tlog-upload=false")...)
	}
}

// services says it in the way of the form: v2 is told by flags, v3 by a signing config. v3 looks for a trusted root on
// the internet if it isn't given any, goes on without one, and checks what it has made if it has one. That check fails
// for Ed25519, which it verifies otherwise than it signs, and for certificates that are not the root's.
func (s *signing) services(f form, config string, flags ...string) []string {
	if f.format != "bundle" || f.program != programs.cosign3 {
		return flags
	}
	if f.unchecked {
		return []string{"--signing-config", s.matrix.signing(config)}
	}
	return []string{"--signing-config", s.matrix.signing(config), "--trusted-root", s.root("all")}
}

// byKeyLogged has the log's word too: of Rekor's second version with v3's bundles, and else of the first.
func byKeyLogged(algorithm string) with {
	return func(s *signing, f form) []string {
		return append([]string{"--key", s.keys[algorithm].private}, s.services(f, "log", "--rekor-url", s.rekor1.server.URL)...)
	}
}

// byKeyTimestamped has the timestamp authority's word too.
func byKeyTimestamped(algorithm string) with {
	return func(s *signing, f form) []string {
		return append([]string{"--key", s.keys[algorithm].private}, s.services(f, "tsa", "--tlog-upload=false",
			"--timestamp-server-url", s.urls.tsa)...)
	}
}

// byPerson signs without a key, and with a log's word: see byKeyLogged.
func byPerson(address string) with {
	return func(s *signing, f form) []string {
		return append([]string{"--identity-token", s.issuer.person(s, address)},
			s.services(f, "keyless", "--fulcio-url", s.urls.fulcio, "--rekor-url", s.rekor1.server.URL)...)
	}
}

// byPersonTimestamped signs without a key or a log.
func byPersonTimestamped(address string) with {
	return func(s *signing, f form) []string {
		return append([]string{"--identity-token", s.issuer.person(s, address)},
			s.services(f, "keyless-tsa", "--fulcio-url", s.urls.fulcio, "--tlog-upload=false",
				"--timestamp-server-url", s.urls.tsa)...)
	}
}

// byJob is byPerson for the job of a forge.
func byJob(repository, ref string) with {
	return func(s *signing, f form) []string {
		return append([]string{"--identity-token", s.issuer.job(s, repository, ref)},
			s.services(f, "keyless", "--fulcio-url", s.urls.fulcio, "--rekor-url", s.rekor1.server.URL)...)
	}
}

// sign signs an image.
func (s *signing) sign(f form, w with, i image, flags ...string) {
	s.Helper()
	s.cosign(f, slices.Concat([]string{"sign", "--yes"}, f.flags, w(s, f), flags, []string{i.byDigest()})...)
}

// attest attests a predicate to an image.
func (s *signing) attest(f form, w with, i image, p predicate) {
	s.Helper()
	file := filepath.Join(s.TempDir(), "predicate.json")
	must(s, os.WriteFile(file, []byte(p.content), 0o644))
	s.cosign(f, slices.Concat([]string{"attest", "--yes", "--type", p.kind, "--predicate", file}, f.flags, w(s, f),
		[]string{i.byDigest()})...)
}

// signs and attests are for rows.

func signs(f form, w with, flags ...string) func(s *signing) {
	return func(s *signing) { s.sign(f, w, s.image, flags...) }
}

func attests(f form, w with, p predicate) func(s *signing) {
	return func(s *signing) { s.attest(f, w, s.image, p) }
}

// cosign runs the form's tool, which asks nobody but who is on loopback. Without a key, v2 wants to check the log of
// Fulcio's certificates.
func (s *signing) cosign(f form, args ...string) {
	s.Helper()
	env := append([]string{
		"COSIGN_PASSWORD=e2e", "TUF_MIRROR=http://127.0.0.1:1", "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + s.file("ct.pub"),
	}, f.env...)
	if f.repository != "" {
		env = append(env, "COSIGN_REPOSITORY="+s.registry.host+"/"+f.repository)
	}
	code, stdout, stderr := run(s, shared.dir, env, append([]string{f.program}, args...)...)
	if code != 0 {
		s.Fatalf("%s %q: exit %d\n%s%s", f.tool, args, code, stdout, stderr)
	}
}

// The algorithms.
const (
	p256    = "P-256"
	p384    = "P-384"
	rsa2048 = "RSA 2048"
	rsa4096 = "RSA 4096"
	ed      = "Ed25519"
	another = "another P-256"
)

// makeKeys makes a pair of each algorithm, by cosign.
func (m *matrix) makeKeys(t testing.TB) {
	t.Helper()
	curve := func(c elliptic.Curve) func() (crypto.PrivateKey, error) {
		return func() (crypto.PrivateKey, error) { return ecdsa.GenerateKey(c, rand.Reader) }
	}
	bits := func(n int) func() (crypto.PrivateKey, error) {
		return func() (crypto.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, n) }
	}
	for algorithm, generate := range map[string]func() (crypto.PrivateKey, error){
		p256: curve(elliptic.P256()), p384: curve(elliptic.P384()), rsa2048: bits(2048), rsa4096: bits(4096),
		ed: func() (crypto.PrivateKey, error) {
			_, private, err := ed25519.GenerateKey(rand.Reader)
			return private, err
		},
		another: curve(elliptic.P256()),
	} {
		private, err := generate()
		must(t, err)
		m.keys[algorithm] = importPrivate(t, private)
		m.pems[algorithm], err = os.ReadFile(m.keys[algorithm].public)
		must(t, err)
	}
}

// importPrivate makes a cosign pair of a private key.
func importPrivate(t testing.TB, private crypto.PrivateKey) key {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	return importKey(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
