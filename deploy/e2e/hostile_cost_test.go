package e2e

import (
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The policies that are judged by, each for a folder of the registry.
const (
	byKeyOf   = "key"       // a signature by a key
	byNobody  = "keyless"   // one by a certificate of Fulcio's, in a log
	byStamp   = "stamped"   // the same with a timestamp in place of the log
	byOwnPKI  = "pki"       // one by a certificate of one's own
	attestKey = "attested"  // an attestation by a key, for which an expression holds
	attestNo  = "testified" // an attestation by a certificate of Fulcio's
)

// costs is what all cases use: a registry, who signs, and the configuration of a service, which each case starts anew.
type costs struct {
	*keyless
	bait    *bait
	service *service

	release, other                       *signatory // by keys
	build, self                          *signatory // by certificates: whom the policies name, and nobody
	stranger, strangerP384, strangerP521 *signatory // and somebody else, of whom Fulcio knows
	ca                                   ownPKI
	own, chained                         *signatory // by certificates of one's own: one that is trusted, and one with a chain of its own
}

// expensive holds for no predicate of numbers, and looks at each again and again.
const expensive = `predicate.all(a, predicate.all(b, predicate.exists(c, c != a || c != b)))`

func newCosts(t *testing.T) *costs {
	t.Helper()
	c := &costs{keyless: keylessStack(t), bait: newBait(t), ca: newOwnPKI(t)}
	c.release, c.other = newSignatory(t, c.keyless, elliptic.P256()), newSignatory(t, c.keyless, elliptic.P256())
	c.build = newSignatory(t, c.keyless, elliptic.P256()).certify(t, build)
	c.stranger = newSignatory(t, c.keyless, elliptic.P256()).certify(t, stranger)
	c.strangerP384 = newSignatory(t, c.keyless, elliptic.P384()).certify(t, stranger)
	c.strangerP521 = newSignatory(t, c.keyless, elliptic.P521()).certify(t, stranger)
	template := x509.Certificate{
		EmailAddresses: []string{build}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	c.self = newSignatory(t, c.keyless, elliptic.P521()).issued(t, template, nil)
	c.own = newSignatory(t, c.keyless, elliptic.P256()).issued(t, template, c.ca.ca)

	by := &holder{certificate: c.ca.stranger.certificate, key: c.ca.stranger.key} // who has the name of one that is trusted
	for i := range 6 {                                                            // of which the last is no authority
		template := template
		template.Subject.CommonName, template.IsCA = fmt.Sprintf("chain %d", i), i < 5
		c.chained = newSignatory(t, c.keyless, elliptic.P521()).issued(t, template, by)
		by = c.chained.holder()
	}
	c.chained.whole = true

	c.service = initService(t, settings{registries: []string{c.bait.host}})
	public := filepath.Join(c.service.dir, "release.pub")
	must(t, writePublic(public, c.release.key.Public()))
	identity := fmt.Sprintf("keyless: {identities: [{issuer: %q, subject: %q}], trustedRoot: %q}", c.issuer.url(people), build, c.root("all"))
	for name, authority := range map[string]string{
		byKeyOf:   fmt.Sprintf("key: {file: %q}", public),
		byNobody:  identity,
		byStamp:   identity + "\n    ctlog: {required: false}\n    rfc3161timestamp: {threshold: 1}",
		byOwnPKI:  fmt.Sprintf("certificate: {roots: {file: %q}, identities: [{subject: %q}]}", c.ca.roots(), build),
		attestKey: fmt.Sprintf("key: {file: %q}\n    attestations: [{name: a, predicateType: %q, expression: %q}]", public, customType, expensive),
		attestNo:  identity + fmt.Sprintf("\n    attestations: [{name: a, predicateType: %q}]", customType),
	} {
		text := fmt.Sprintf("apiVersion: sluice/v1\nkind: ImagePolicy\nmetadata: {name: %s}\nspec:\n  images: [{glob: %q}]\n"+
			"  authorities:\n  - name: release\n    %s\n", name, c.bait.host+"/"+name+"/**", authority)
		must(t, os.WriteFile(c.service.file("policies/50-"+name+".yaml"), []byte(text), 0o644))
	}
	return c
}

// ordinary puts an image there that the policy lets pass.
func (c *costs) ordinary(t testing.TB, policy, name string) image {
	t.Helper()
	s := c.bait.shelf(t, policy+"/"+name)
	digest := s.image.digest.String()
	classic := func(by *signatory, v vouched) {
		s.signatures(s.blob(string(payloadType), claim(), by.classic(t, claim(), v)))
	}
	attested := func(by *signatory, v vouched) {
		s.refer(s.blob(bundleType, encoded(by.bundle(t, statement(digest, customType, "[1,2]"), v)), nil))
	}
	switch policy {
	case byKeyOf:
		classic(c.release, vouched{})
	case byNobody:
		classic(c.build, vouched{entries: 1})
	case byStamp:
		classic(c.build, vouched{stamps: 1})
	case byOwnPKI:
		classic(c.own, vouched{})
	case attestKey:
		attested(c.release, vouched{})
	case attestNo:
		attested(c.build, vouched{entries: 1})
	}
	return s.image
}

// hostile is a case: what is in the registry, and what the review of it has to say.
type hostile struct {
	name, policy string
	fill         func(c *costs, t testing.TB, s *shelf)
	reasons      string // any of them; empty: allowed
}

// Whatever somebody has put beside an image, one review of it costs the process a second of processor time and 64 MiB
// at most, is answered as it should be, and the next one as always. These are bounds of the product. Each case has a
// process of its own, so that none uses memory that the one before it has left.
func TestHostileCost(t *testing.T) {
	c := newCosts(t)
	var table strings.Builder
	line := func(columns ...any) { fmt.Fprintf(&table, "%-10s %-60s %7v %8v %5v %5v  %s\n", columns...) }
	line("policy", "case", "CPU ms", "RSS MiB", "heap", "live", "reason")
	t.Cleanup(func() { t.Logf("\n%s", table.String()) })
	for number, h := range hostileCases() {
		t.Run(fmt.Sprintf("%s/%s", h.policy, strings.ReplaceAll(h.name, " ", "-")), func(t *testing.T) {
			warm, after := c.ordinary(t, h.policy, "warm"), c.ordinary(t, h.policy, "ordinary")
			repository := fmt.Sprintf("%s/%03d", h.policy, number)
			s := c.bait.shelf(t, repository)
			h.fill(c, t, s)
			defer c.bait.empty(repository)

			c.service.begin(t)
			defer c.service.process.kill()
			apiserver := c.service.failClosed(t)
			apiserver.create(t, pod(warm.tag("1"))).allowed(t)
			var got answer
			m := meter{t, c.service.process}
			cost := m.of(func() { got = apiserver.create(t, pod(s.image.tag("1"))) })
			line(h.policy, h.name, cost.cpu.Milliseconds(), cost.resident>>20, cost.heap>>20, cost.live>>20, got.audit["reason"])
			if cost.cpu > mostCPU {
				t.Errorf("it took %s of processor time, and %s are the limit", cost.cpu, mostCPU)
			}
			if cost.resident > mostResident {
				t.Errorf("it took %d MiB, and %d MiB are the limit", cost.resident>>20, mostResident>>20)
			}
			if h.reasons == "" {
				got.allowed(t)
			} else {
				want := strings.Fields(h.reasons)[0]
				for _, r := range strings.Fields(h.reasons) {
					if got.audit["reason"] == r {
						want = r
					}
				}
				got.denied(t, want, s.image.tag("1"))
			}
			apiserver.create(t, pod(after.tag("1"))).allowed(t)
			c.service.lives(t)
		})
	}
}
