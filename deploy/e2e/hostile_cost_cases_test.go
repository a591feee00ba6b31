package e2e

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// fill puts into a repository what a case is about.
type fill = func(c *costs, t testing.TB, s *shelf)

func hostileCases() []hostile {
	return slices.Concat(classicCases(), certifiedCases(), statementCases(), listCases(), wireCases())
}

// Of one place, so many things are looked at, and two places are looked into.
const lookedAt = 64

// classicCases are signatures under their tag, for a policy with a key.
func classicCases() []hostile {
	layers := func(n int, layer func(c *costs, t testing.TB, s *shelf, i int) object) fill {
		return func(c *costs, t testing.TB, s *shelf) {
			var all []object
			for i := range n {
				all = append(all, layer(c, t, s, i))
			}
			s.signatures(all...)
		}
	}
	payload := func(size int) func(c *costs, t testing.TB, s *shelf, i int) object {
		return func(c *costs, t testing.TB, s *shelf, i int) object {
			p := padded(claim(), size+i%lookedAt)
			return s.blob(string(payloadType), p, c.other.classic(t, p, vouched{}))
		}
	}
	crowded := func(c *costs, t testing.TB, s *shelf, i int) object {
		l := payload(0)(c, t, s, i)
		for _, key := range []string{certificateKey, chainKey, bundleKey, timestampKey} {
			l["annotations"].(object)[key] = strings.Repeat("x", mostManifest/1000/4-200)
		}
		return l
	}
	const small = 1 << 10
	return []hostile{
		{"64 signatures by another key", byKeyOf, layers(lookedAt, payload(small)), "signature_invalid"},
		{"1000 signatures by another key", byKeyOf, layers(1000, payload(small)), "registry_malformed"},
		{"1001 signatures by another key", byKeyOf, layers(1001, payload(small)), "registry_malformed"},
		{"1000 signatures in 4 MiB of manifest", byKeyOf, layers(1000, crowded), "registry_malformed"},
		{"64 payloads of 95 KiB", byKeyOf, layers(lookedAt, payload(mostOfAPlace/lookedAt-small)), "signature_invalid"},
		{"6 payloads of 1023 KiB", byKeyOf, layers(6, payload(mostPayload-small)), "signature_invalid"},
		{"64 payloads of a MiB", byKeyOf, layers(lookedAt, payload(mostPayload-lookedAt)), "registry_malformed"},
	}
}

// everywhere puts as many copies of one classic signature and of one bundle there as are looked at.
func everywhere(by func(c *costs) *signatory, v func(t testing.TB) vouched) fill {
	return func(c *costs, t testing.TB, s *shelf) {
		stated := statement(s.image.digest.String(), signatureType, "{}")
		s.signatures(repeat(lookedAt, s.blob(string(payloadType), claim(), by(c).classic(t, claim(), v(t))))...)
		s.refer(repeat(lookedAt, s.blob(bundleType, encoded(by(c).bundle(t, stated, v(t))), nil))...)
	}
}

// certifiedCases are signatures with certificates, for policies without keys.
func certifiedCases() []hostile {
	// What is good but for something superfluous may be refused for either.
	const otherOrBad = "identity_mismatch signature_invalid registry_malformed"
	stranger := func(c *costs) *signatory { return c.stranger }
	strangerP384 := func(c *costs) *signatory { return c.strangerP384 }
	strangerP521 := func(c *costs) *signatory { return c.strangerP521 }
	self := func(c *costs) *signatory { return c.self }
	vouches := func(entries, stamps int) func(testing.TB) vouched {
		return func(testing.TB) vouched { return vouched{entries: entries, stamps: stamps} }
	}
	costly := func(c *costs, t testing.TB) object {
		return c.strangerP521.classic(t, claim(), vouched{entries: 1, stamps: 1})
	}
	plain := func(*costs, testing.TB) object { return object{signatureKey: junkSignature} }
	stamped := func(stamp func(t testing.TB) []byte) func(testing.TB) vouched {
		return func(t testing.TB) vouched { return vouched{entries: 1, junkStamps: repeat(4, stamp(t))} }
	}
	overAndOver, rows := stamped(signedOverAndOver), stamped(inRows)
	proposed := func(signatures int) func(t testing.TB) vouched {
		return func(t testing.TB) vouched {
			e := newSignatory(t, keylessStack(t), elliptic.P521()).proposed(t, signatures)
			return vouched{junkEntry: &e}
		}
	}
	return []hostile{
		{"128 by somebody else", byNobody, everywhere(stranger, vouches(1, 1)), "identity_mismatch"},
		{"128 by somebody else, 4 entries and timestamps", byNobody, everywhere(stranger, vouches(4, 4)), "identity_mismatch"},
		{"128 by somebody else, P-384, 4 entries and timestamps", byNobody, everywhere(strangerP384, vouches(4, 4)), otherOrBad},
		{"128 by somebody else, P-521, 4 entries and timestamps", byNobody, everywhere(strangerP521, vouches(4, 4)), otherOrBad},
		{"128 by somebody else", byStamp, everywhere(stranger, vouches(0, 4)), "identity_mismatch"},
		{"128 by a certificate of its own, P-521", byNobody, everywhere(self, vouches(1, 1)), "signature_invalid"},
		{"128 by a certificate of its own, P-521", byOwnPKI, everywhere(self, vouches(1, 1)), "signature_invalid"},
		{"128, timestamps signed over and over", byNobody, everywhere(strangerP521, overAndOver), otherOrBad},
		{"128, timestamps signed over and over, own certificate", byNobody, everywhere(self, overAndOver), "signature_invalid"},
		{"128, timestamps signed over and over, own certificate", byStamp, everywhere(self, overAndOver), "signature_invalid"},
		{"one timestamp signed over and over", byStamp, one(self, overAndOver), "signature_invalid"},
		{"1000 copied from another image", byNobody, copiedFrom(1000), "registry_malformed"},
		{"1001 copied from another image", byNobody, copiedFrom(1001), "registry_malformed"},
		{"64 copied from another image", byNobody, copiedFrom(lookedAt), "claim_mismatch"},
		{"a good one among 63 by somebody else, P-521", byNobody, hidden(lookedAt, 31, costly), ""},
		{"a good one first among 1000 of junk", byNobody, hidden(1000, 0, plain), ""},
		{"a good one last among 1000 of junk", byNobody, hidden(1000, 999, plain), ""},
		{"a good one in the middle of 1000 of junk", byNobody, hidden(1000, 500, plain), "registry_malformed"},
		{"certificates of 63 KiB", byNobody, beside(certificateKey, func(t testing.TB, c *costs) string {
			return pemOf(newSignatory(t, c.keyless, elliptic.P521()).issued(t, crowd(44<<10), nil).chain...)
		}), "signature_invalid"},
		{"128 with chains of 5, P-521", byOwnPKI, everywhere(func(c *costs) *signatory { return c.chained }, vouches(0, 0)), "signature_invalid"},
		{"one entry as one is proposed", byNobody, one(self, proposed(3_000)), "signature_invalid"},
		{"128 entries as one is proposed", byNobody, everywhere(self, proposed(100)), "signature_invalid"},
		{"128 timestamps in rows", byNobody, everywhere(stranger, rows), otherOrBad},
		{"chains of PEM's beginnings", byOwnPKI, beside(chainKey, func(testing.TB, *costs) string {
			return strings.Repeat("-----BEGIN A-----\n", 63<<10/18)
		}), "signature_invalid"},
		{"log entries of 255 KiB", byNobody, beside(bundleKey, func(testing.TB, *costs) string {
			body := `{"apiVersion":"0.0.1","kind":"dsse","spec":{"signatures":[` + strings.Repeat(`{},`, 9_000) + `{}],"x":"` +
				strings.Repeat("A", 160<<10) + `"}}`
			return string(encoded(object{"SignedEntryTimestamp": []byte("x"), "Payload": object{
				"body": []byte(body), "integratedTime": 1, "logIndex": 1, "logID": strings.Repeat("00", 32),
			}}))
		}), "signature_invalid"},
		{"log entries of PEM", byNobody, beside(bundleKey, func(testing.TB, *costs) string {
			junk := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
			body := encoded(object{"apiVersion": "0.0.1", "kind": "dsse", "spec": object{"x": bytes.Repeat(junk, 130<<10/len(junk))}})
			return string(encoded(object{"SignedEntryTimestamp": []byte("x"), "Payload": object{
				"body": body, "integratedTime": 1, "logIndex": 1, "logID": strings.Repeat("00", 32),
			}}))
		}), "signature_invalid"},
		{"timestamps of 32 KiB", byNobody, beside(timestampKey, func(t testing.TB, _ *costs) string {
			return string(encoded(object{"SignedRFC3161Timestamp": inRows(t)}))
		}), "signature_invalid"},
	}
}

// one is a single classic signature.
func one(by func(c *costs) *signatory, v func(t testing.TB) vouched) fill {
	return func(c *costs, t testing.TB, s *shelf) {
		s.signatures(s.blob(string(payloadType), claim(), by(c).classic(t, claim(), v(t))))
	}
}

// copiedFrom is so many signatures by whom the policy names, for another image.
func copiedFrom(n int) fill {
	return func(c *costs, t testing.TB, s *shelf) {
		p := bytes.ReplaceAll(claim(), []byte(digestOf(theImage)), []byte(digestOf(nil)))
		s.signatures(repeat(n, s.blob(string(payloadType), p, c.build.classic(t, p, vouched{entries: 1, stamps: 1})))...)
		stated := statement(digestOf(nil), signatureType, "{}")
		s.refer(repeat(min(n, 1000), s.blob(bundleType, encoded(c.build.bundle(t, stated, vouched{entries: 1, stamps: 1})), nil))...)
	}
}

// hidden is one good signature among many others.
func hidden(n, at int, junk func(c *costs, t testing.TB) object) fill {
	return func(c *costs, t testing.TB, s *shelf) {
		layers := repeat(n, s.blob(string(payloadType), claim(), junk(c, t)))
		layers[at] = s.blob(string(payloadType), claim(), c.build.classic(t, claim(), vouched{entries: 1}))
		s.signatures(layers...)
	}
}

// beside is as many signatures with one annotation as a manifest has room for.
func beside(key string, value func(t testing.TB, c *costs) string) fill {
	return func(c *costs, t testing.TB, s *shelf) {
		l := s.blob(string(payloadType), claim(), c.self.classic(t, claim(), vouched{entries: 1, stamps: 1}))
		l["annotations"].(object)[key] = value(t, c)
		s.signatures(repeat(min(lookedAt, (mostManifest-1000)/(len(encoded(l))+1)), l)...)
	}
}

// crowd is a certificate with about so many bytes of names.
func crowd(size int) x509.Certificate {
	template := x509.Certificate{
		Subject: pkix.Name{CommonName: fmt.Sprint(asked.Add(1))}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}},
	}
	for range size / 9 {
		template.URIs = append(template.URIs, &url.URL{Scheme: "a", Host: "b.c"})
	}
	return template
}
