package policy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"sluice/engine/policy"
)

// issuer is a certificate authority of a test.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

// issue makes a certificate authority, by another one or by itself, that is valid from one year's beginning to another's.
func issue(t *testing.T, name string, from, to int, by *issuer) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Date(from, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(to, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	made := &issuer{cert: template, key: key}
	if by == nil {
		by = made
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	made.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if made.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return made
}

// TestChains gives authorities as certificates that have issued each other, and some that only say so.
func TestChains(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", 2026, 2090, nil)
	imposter := issue(t, "root", 2026, 2090, nil) // of the same name, with another key
	middle := issue(t, "middle", 2027, 2100, root)
	low := issue(t, "low", 2026, 2100, middle)
	side := issue(t, "side", 2026, 2100, root)

	var text string
	opts := checked()
	opts.LookupEnv = func(string) (string, bool) { return text, true }
	pieces := "keyless: {" + someone + ", insecureIgnoreSCT: true, trustedRoot: {certificateAuthorities: [{chain: {data: 'env://CA'}}], tLogs: [{key: {file: keys/p256.pub}}]}}"
	own := "certificate: {roots: {data: 'env://CA'}, identities: [{subject: a@example.com}]}"
	parse := func(fields string, certificates ...*issuer) (string, error) {
		text = ""
		for _, c := range certificates {
			text += c.pem
		}
		src := strings.Replace(document("x"), "tags: {deny: [latest]}", "authorities: [{"+fields+"}]", 1)
		policies, err := policy.Parse("testdata/test.yaml", []byte(src), opts)
		if err != nil {
			return "", err
		}
		return string(policies[0].Authorities[0].Trust.Roots[0].JSON), nil
	}
	const period = `"validFor":{"start":"2027-01-01T00:00:00Z","end":"2090-01-01T00:00:00Z"}`
	for _, order := range [][]*issuer{{low, middle, root}, {root, low, middle}, {middle, root, low}} {
		if json, err := parse(pieces, order...); err != nil || !strings.Contains(json, period) {
			t.Errorf("%s, %v", json, err)
		}
	}
	for name, bad := range map[string][]*issuer{
		"an imposter": {low, middle, imposter}, "a gap": {low, root}, "two branches": {middle, side, root}, "two roots": {root, imposter},
	} {
		if json, err := parse(pieces, bad...); err == nil || !strings.Contains(err.Error(), "these certificates are no chain") {
			t.Errorf("%s: %s, %v", name, json, err)
		}
	}
	for want, certificates := range map[int][]*issuer{1: {low, middle, root, side}, 2: {root, imposter, middle}, 3: {middle, imposter, issue(t, "x", 2026, 2090, nil)}} {
		json, err := parse(own, certificates...)
		if got := strings.Count(json, `"certChain"`); err != nil || got != want {
			t.Errorf("%d roots, and not %d: %v", got, want, err)
		}
	}
}
