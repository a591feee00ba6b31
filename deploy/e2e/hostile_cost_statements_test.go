package e2e

import (
	"bytes"
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// attached puts n bundles or envelopes there, each in both places where attestations are looked for.
func attachedTwice(n int, content func(c *costs, t testing.TB, i int) (bundle, envelope []byte)) fill {
	return func(c *costs, t testing.TB, s *shelf) {
		var envelopes, bundles []object
		for i := range n {
			b, e := content(c, t, i)
			if b != nil {
				bundles = append(bundles, s.blob(bundleType, b, nil))
			}
			if e != nil {
				envelopes = append(envelopes, s.blob(envelopeType, e, nil))
			}
		}
		if envelopes != nil {
			s.attestations(envelopes...)
		}
		if bundles != nil {
			s.refer(bundles...)
		}
	}
}

// unread is content that is refused before anything is verified. It differs by its blanks.
func unread(n, size int, content string) fill {
	return attachedTwice(n, func(_ *costs, _ testing.TB, i int) (bundle, envelope []byte) {
		b := []byte(content)
		b = append(b, bytes.Repeat([]byte(" "), max(0, size-len(b)-i))...)
		return b, b
	})
}

// array is one of n elements, in brackets.
func array(element string, n int) string {
	return "[" + strings.Repeat(element+",", n-1) + element + "]"
}

// predicated is an attestation of a predicate, by whoever it is.
func predicated(n int, by func(c *costs) *signatory, v vouched, predicate string) fill {
	return attachedTwice(n, func(c *costs, t testing.TB, i int) (bundle, envelope []byte) {
		predicate := predicate
		if i == 1 && len(predicate) > 2<<20 { // what still fits into the place
			end := "]"
			if strings.HasSuffix(predicate, `"]`) {
				end = `"]`
			}
			predicate = predicate[:2+12*(len(predicate)*48/100/12)] + end
		}
		// Each says something else, so that no judgement of one does for another.
		was, is := "[", fmt.Sprintf("[%d,", 1000+i)
		if strings.HasPrefix(predicate, `["`) {
			was, is = `["`, fmt.Sprintf(`["%d`, 1000+i)
		}
		payload := append(statement(digestOf(theImage), customType, strings.Replace(predicate, was, is, 1)), bytes.Repeat([]byte(" "), i)...)
		signed, _ := by(c).envelope(t, payload)
		if by(c).chain != nil { // a classic attestation without keys has its certificate beside it
			return encoded(by(c).bundle(t, payload, v)), nil
		}
		return encoded(by(c).bundle(t, append(bytes.Clone(payload), []byte(" ")...), v)), encoded(signed)
	})
}

// statementCases are attestations and bundles, as large as they may be.
func statementCases() []hostile {
	release := func(c *costs) *signatory { return c.release }
	other := func(c *costs) *signatory { return c.other }
	self := func(c *costs) *signatory { return c.self }
	const (
		full    = mostStatement - 1<<10
		share   = mostOfAPlace/lookedAt - 1<<10 // of each, if all are read
		payload = full*3/4 - 4<<10              // of which base64 makes so much
		million = 1_000_000
	)
	bundleWith := func(member string) string {
		return `{"mediaType":"` + bundleType + `","verificationMaterial":{"publicKey":{"hint":"x"},"tlogEntries":` + member +
			`},"dsseEnvelope":{"payloadType":"x","payload":"","signatures":[{"sig":"AAAA"}]}}`
	}
	numbers := func(n int) string { return array("7", n) }
	text := func(size int) string { return `["` + strings.Repeat("x", size) + `"]` }
	escapes := func(size int) string { return `["` + strings.Repeat(`\u0041`, size/6) + `"]` }
	objects := func(n int) string { return array(`{"a":7}`, n) }
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	return []hostile{
		{"64 of 4 MiB, 1,000,000 elements", attestKey, unread(lookedAt, full, array("{}", million)), "registry_malformed"},
		{"2 of 4 MiB, 1,000,000 elements", attestKey, unread(1, full, array("{}", million)), "signature_invalid"},
		{"2 of 4 MiB, 1,000,000 elements", byKeyOf, unread(1, full, array("{}", million)), "signature_invalid"},
		{"64 of 95 KiB, 10,000 elements", attestKey, unread(lookedAt, share, array("{}", 10_000)), "signature_invalid"},
		{"64 bundles of 95 KiB, 9,900 log entries", attestKey, unread(lookedAt, share, bundleWith(array("{}", 9_900))), "signature_invalid"},
		{"64 bundles of 95 KiB, 9,900 log entries", attestNo, unread(lookedAt, share, bundleWith(array("{}", 9_900))), "signature_invalid"},
		{"2 of 4 MiB, nested 2,000,000 deep", attestKey, unread(1, full, deep(million*2)), "signature_invalid"},
		{"2 of 4 MiB, nested 30 deep", attestKey, unread(1, full, array(deep(30), 330)), "signature_invalid"},
		{"2 of 4 MiB of escapes", attestKey, unread(1, full, escapes(full)), "signature_invalid"},
		{"2 of 4 MiB of quotes", attestKey, unread(1, full, strings.Repeat(`"\`, full/2)), "signature_invalid"},

		{"4 by another key, predicate of 1,400,000 numbers", attestKey, predicated(2, other, vouched{}, numbers(payload/2)), "signature_invalid"},
		{"4 by the key, predicate of 199,000 numbers", attestKey, predicated(2, release, vouched{}, numbers(199_000)), "predicate_refused"},
		{"4 by the key, predicate of 1,400,000 numbers", attestKey, predicated(2, release, vouched{}, numbers(payload/2)), "predicate_refused"},
		{"4 by the key, predicate of 99,000 objects", attestKey, predicated(2, release, vouched{}, objects(99_000)), "predicate_refused"},
		{"4 by the key, predicate of 3 MiB of text", attestKey, predicated(2, release, vouched{}, text(payload)), "predicate_refused"},
		{"4 by the key, predicate of 3 MiB of escapes", attestKey, predicated(2, release, vouched{}, escapes(payload)), "predicate_refused"},
		{"1 by the key, predicate of 3 MiB of large texts", attestKey, predicated(1, release, vouched{}, array(`"`+strings.Repeat("x", 1<<10)+`"`, payload>>10-10)), "predicate_refused"},
		{"1 by the key, predicate nested too deep", attestKey, predicated(1, release, vouched{}, deep(1_000_000)), "claim_mismatch"},
		{"64 by the key, predicates of 60 KiB", attestKey, predicated(lookedAt, release, vouched{}, numbers(20_000)), "predicate_refused"},
		{"2 of a stranger, predicate of 1,400,000 numbers", attestNo, predicated(2, self, vouched{entries: 1, stamps: 1}, numbers(payload/2)), "signature_invalid"},
		{"64 of a stranger, 1024 subjects", attestNo, attachedTwice(lookedAt, func(c *costs, t testing.TB, i int) (bundle, envelope []byte) {
			subjects := repeat(1000, any(object{"digest": object{"sha256": fmt.Sprint(i), "a": "b", "c": "d", "e": "f"}}))
			p := encoded(object{"_type": "https://in-toto.io/Statement/v1", "predicateType": customType, "subject": subjects})
			return encoded(c.stranger.bundle(t, p, vouched{entries: 1})), nil
		}), "claim_mismatch"},

		{"2 bundles of 4 MiB, a certificate of names", attestNo, attachedTwice(1, func(c *costs, t testing.TB, _ int) (bundle, envelope []byte) {
			by := newSignatory(t, c.keyless, elliptic.P521()).issued(t, crowd(payload-64<<10), nil)
			return encoded(by.bundle(t, statement(digestOf(theImage), customType, "[]"), vouched{})), nil
		}), "signature_invalid"},
		{"64 bundles of 95 KiB, a certificate of names", attestNo, attachedTwice(lookedAt, func(c *costs, t testing.TB, _ int) (bundle, envelope []byte) {
			by := newSignatory(t, c.keyless, elliptic.P521()).issued(t, crowd(share/2), nil)
			return encoded(by.bundle(t, statement(digestOf(theImage), customType, "[]"), vouched{})), nil
		}), "signature_invalid"},
		{"64 bundles over files, P-521, 4 entries", attestNo, overFiles, "signature_invalid"},
		{"64 bundles, checkpoint of signatures", attestNo, attachedTwice(lookedAt, func(c *costs, t testing.TB, i int) (bundle, envelope []byte) {
			b := c.stranger.bundle(t, statement(digestOf(theImage), customType, fmt.Sprint(i)), vouched{entries: 1})
			checkpoint := b["verificationMaterial"].(object)["tlogEntries"].([]any)[0].(object)["inclusionProof"].(object)["checkpoint"].(object)
			note := checkpoint["envelope"].(string)
			_, last, _ := strings.Cut(note, "\n\n")
			checkpoint["envelope"] = note + strings.Repeat(last, (share-8<<10)/(len(last)+1))
			return encoded(b), nil
		}), "identity_mismatch signature_invalid"},
	}
}

// overFiles is bundles of signatures over files, each with four entries that a parser verifies by itself.
func overFiles(c *costs, t testing.TB, s *shelf) {
	message := []byte("a file")
	signature := c.self.sign(t, message)
	var entries []any
	for range 4 {
		entries = append(entries, c.self.record(t, message, signature).bundle)
	}
	b := encoded(object{
		"mediaType": bundleType,
		"verificationMaterial": object{
			"certificate": object{"rawBytes": c.self.chain[0].Raw}, "tlogEntries": entries,
		},
		"messageSignature": object{
			"messageDigest": object{"algorithm": "SHA2_512", "digest": base64.StdEncoding.EncodeToString(c.self.sum(message))},
			"signature":     signature,
		},
	})
	s.refer(repeat(lookedAt, s.blob(bundleType, b, nil))...)
	s.attestations(repeat(lookedAt, s.blob(bundleType, b, nil))...)
}
