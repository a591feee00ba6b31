package proof

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	. "sluice/resolver/signature/signaturetest"
)

// TestLogged reads bodies as Rekor makes them, and as it is given them.
func TestLogged(t *testing.T) {
	t.Parallel()
	four, five := strings.Repeat(`{"x":1},`, 3)+`{"x":1}`, strings.Repeat(`{},`, 4)+`{}`
	for body, says := range map[string]string{
		`{"spec":{"envelopeHash":{"value":"00"},"payloadHash":{"value":"00"},"signatures":[` + four + `]}}`: "",
		`{"spec":{"content":{"envelope":{"payloadType":"x","signatures":[{"sig":"x"}]},"payloadHash":{}}}}`: "",
		`{"spec":{"content":{"envelope":{"payload":"","signatures":[]}}}}`:                                  "",
		`{"spec":{"content":{"envelope":""},"publicKey":"x"}}`:                                              "",
		`{"spec":{"hashedRekordV002":{"data":{"digest":"x"},"signature":{"verifier":{"keyDetails":"x"}}}}}`: "",

		`{"spec":{"proposedContent":{}}}`:                                 "proposed",
		`{"spec":{"propo\u017fedcontent":null}}`:                          "proposed", // with a long s
		`{"x":[[{"PROPOSEDCONTENT":1}]]}`:                                 "proposed",
		`{"spec":{"content":{"envelope":"{}"}}}`:                          "proposed entry, with its envelope",
		`{"spec":{"content":{"Envelope":["{}"]}}}`:                        "proposed entry, with its envelope",
		`{"spec":{"content":{"envelope":{"payload":"e30="}}}}`:            "proposed entry, with its payload",
		`{"spec":{"content":{"enveloPe":{"p\u0061yLoad":["e30="]}}}}`:     "proposed entry, with its payload",
		`{"spec":{"signatures":[` + five + `]}}`:                          "more than 4 signatures",
		`{"spec":{"content":{"envelope":{"Signatures":[` + five + `]}}}}`: "more than 4 signatures",
	} {
		err := checkJSON([]byte(body), maxDepth, maxElements)
		if err == nil {
			err = (&walker{[]byte(body)}).logged()
		}
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", body, err, says)
		}
	}
}

// bodied puts another body into a classic item's log entry.
func bodied(t *testing.T, item *attached.Item, body []byte) *attached.Item {
	t.Helper()
	var entry struct {
		SignedEntryTimestamp []byte
		Payload              map[string]any
	}
	if err := json.Unmarshal(item.LogEntry, &entry); err != nil {
		t.Fatal(err)
	}
	entry.Payload["body"] = body
	changed := *item
	changed.LogEntry = must(json.Marshal(entry))
	return &changed
}

// TestProposedEntries has whoever is trusted bring entries whose parsing would verify with whatever is in them.
func TestProposedEntries(t *testing.T) {
	t.Parallel()
	ours := must(NewSigstore())
	signer, key := must(ours.Keyless(Identity{Issuer: tokenBy, Subject: holder})), must(NewKeySigner(P256))
	larger := must(cryptoutils.MarshalPublicKeyToPEM(must(NewKeySigner(P384)).Public()))
	type object = map[string]any
	body := func(kind, version string, spec any) []byte {
		return must(json.Marshal(object{"kind": kind, "apiVersion": version, "spec": spec}))
	}
	bodies := map[string][]byte{
		"proposed entry":          body("dsse", "0.0.1", object{"proposedContent": object{"envelope": "{}", "verifiers": [][]byte{larger}}}),
		"with its envelope":       body("intoto", "0.0.1", object{"content": object{"envelope": "{}"}, "publicKey": larger}),
		"with its payload":        body("intoto", "0.0.2", object{"content": object{"envelope": object{"payload": "e30="}}}),
		"more than 4 signatures":  body("dsse", "0.0.1", object{"signatures": slices.Repeat([]any{object{"signature": "x"}}, 5)}),
		"a key of a larger curve": body("hashedrekord", "0.0.1", object{"signature": object{"publicKey": object{"content": larger}}}),
	}
	for _, by := range []*Signer{signer, key} {
		trust := engine.Trust{Roots: roots(ours.TrustedRoot()), Logs: 1, SCTs: 1}
		if by == key {
			trust.Keys, trust.SCTs = keys(key), 0
		}
		j := judge(t, trust)
		classic := found(t, must(ours.Classic(by, about(), Evidence{Log: Rekor})))
		bundle := must(ours.Bundle("0.3", by, about(), Evidence{Log: Rekor})).Content
		for says, body := range bodies {
			for _, item := range []*attached.Item{
				bodied(t, classic, body),
				edited(t, bundle, func(_, _, e object) { e["canonicalizedBody"] = body }),
			} {
				_, err := j.Judge(item, digest)
				refused(t, err, engine.ReasonSignatureInvalid, says)
			}
		}
	}
}

// TestEvidenceComesLast has those who are not trusted bring evidence: that is not looked at.
func TestEvidenceComesLast(t *testing.T) {
	t.Parallel()
	ours, theirs := must(NewSigstore()), must(NewSigstore())
	id := Identity{Issuer: tokenBy, Subject: holder}
	j := judge(t, engine.Trust{Roots: roots(ours.TrustedRoot()), Logs: 1, SCTs: 1})
	junk := []byte(`{"kind":"dsse","apiVersion":"0.0.1","spec":{"proposedContent":{}}}`)
	elsewhere := about()
	elsewhere.Digest = string(another)
	for _, c := range []struct {
		by     *Signer
		about  Content
		reason engine.Reason
		says   string
	}{
		{must(theirs.Keyless(id)), about(), engine.ReasonSignatureInvalid, "a certificate of another authority"},
		{must(theirs.Keyless(id)), elsewhere, engine.ReasonSignatureInvalid, "a certificate of another authority"},
		{must(ours.Keyless(id)), elsewhere, engine.ReasonClaimMismatch, "but not for this"},
		{must(ours.Keyless(id)), about(), engine.ReasonSignatureInvalid, "its log entry"},
	} {
		classic := found(t, must(ours.Classic(c.by, c.about, Evidence{Log: Rekor})))
		bundle := must(ours.Bundle("0.3", c.by, c.about, Evidence{Log: Rekor})).Content
		change := func(_, m, e map[string]any) {
			e["canonicalizedBody"] = junk
			m["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": []any{map[string]any{"signedTimestamp": []byte("x")}}}
		}
		classic.Timestamp = []byte("x")
		for _, item := range []*attached.Item{bodied(t, classic, junk), edited(t, bundle, change)} {
			_, err := j.Judge(item, digest)
			refused(t, err, c.reason, c.says)
		}
	}
}

// TestEvidenceOfVersions has bundles lack what those of their version have.
func TestEvidenceOfVersions(t *testing.T) {
	t.Parallel()
	ours := must(NewSigstore())
	signer := must(ours.Keyless(Identity{Issuer: tokenBy, Subject: holder}))
	j := judge(t, engine.Trust{Roots: roots(ours.TrustedRoot()), Logs: 1, SCTs: 1})
	for version, lacks := range map[string]string{"0.1": "inclusionPromise", "0.2": "inclusionProof", "0.3": "inclusionProof"} {
		bundle := must(ours.Bundle(version, signer, about(), Evidence{Log: Rekor})).Content
		_, err := j.Judge(edited(t, bundle, func(_, _, e map[string]any) { delete(e, lacks) }), digest)
		refused(t, err, engine.ReasonSignatureInvalid, "missing in bundle (required for bundle v0.")
	}
}

// TestCost has signatures with keys of larger curves wait for the others.
func TestCost(t *testing.T) {
	t.Parallel()
	ours, theirs := must(NewSigstore()), must(NewSigstore())
	id := Identity{Issuer: tokenBy, Subject: holder}
	j := judge(t, engine.Trust{Roots: roots(ours.TrustedRoot()), Logs: 1, SCTs: 1})
	for kind, want := range map[Kind]int{P256: 1, RSA2048: 1, P384: costP384, P521: MaxCost} {
		id.Kind = kind
		item := found(t, must(ours.Classic(must(ours.Keyless(id)), about(), Evidence{Log: Rekor})))
		if _, cost, err := j.JudgeWithin(item, digest, want); err != nil || cost != want {
			t.Errorf("%v: it cost %d, want %d: %v", kind, cost, want, err)
		}
		item.LogEntry = []byte("not looked at")
		_, cost, err := j.JudgeWithin(item, digest, want-1)
		if cost != want {
			t.Errorf("%v: it would have cost %d, want %d", kind, cost, want)
		}
		refused(t, err, engine.ReasonSignatureInvalid, "may be spent")
		item = found(t, must(theirs.Classic(must(theirs.Keyless(id)), about(), Evidence{Log: Rekor})))
		_, cost, err = j.JudgeWithin(item, digest, 1)
		if cost != 1 {
			t.Errorf("%v of another authority: it cost %d", kind, cost)
		}
		refused(t, err, engine.ReasonSignatureInvalid, "a certificate of another authority")
	}
}

// TestCostlyTimestamps sends some that would be verified again and again, read again and again, or with a key of a
// larger curve.
func TestCostlyTimestamps(t *testing.T) {
	t.Parallel()
	ours := must(NewSigstore())
	signer := must(ours.Keyless(Identity{Issuer: tokenBy, Subject: holder}))
	j := judge(t, engine.Trust{Roots: roots(ours.TrustedRoot()), Timestamps: 1, SCTs: 1})
	classic := found(t, must(ours.Classic(signer, about(), Evidence{Timestamp: true})))
	bundle := must(ours.Bundle("0.3", signer, about(), Evidence{Log: Rekor, Timestamp: true})).Content
	good := must(readTimestamp(classic.Timestamp))
	if _, err := j.Judge(classic, digest); err != nil {
		t.Fatal(err)
	}
	again := func(n int) func(tag byte, of []byte) []byte {
		return func(tag byte, of []byte) []byte { return der(tag, bytes.Repeat(of, n)) }
	}
	once := again(1)
	for says, stamp := range map[string][]byte{
		"it has 0 signatures":     rewrapped(t, good, once, again(0)),
		"it has 2 signatures":     rewrapped(t, good, once, again(2)),
		"it has 7 certificates":   rewrapped(t, good, again(7), once),
		"a key of a larger curve": largeStamp(),
		"it is not DER": rewrapped(t, good, once, func(tag byte, of []byte) []byte {
			return slices.Concat([]byte{tag, 0x80}, of, []byte{0, 0})
		}),
	} {
		item := *classic
		item.Timestamp = must(json.Marshal(map[string][]byte{"SignedRFC3161Timestamp": stamp}))
		for _, item := range []*attached.Item{&item, edited(t, bundle, func(_, m, _ map[string]any) {
			m["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": []any{map[string]any{"signedTimestamp": stamp}}}
		})} {
			_, err := j.Judge(item, digest)
			refused(t, err, engine.ReasonSignatureInvalid, "its timestamp: ")
			refused(t, err, engine.ReasonSignatureInvalid, says)
		}
	}
	if got := base64.StdEncoding.EncodeToString(rewrapped(t, good, once, once)); got != base64.StdEncoding.EncodeToString(good) {
		t.Error("a timestamp is not put together as it was taken apart")
	}
}

// rewrapped takes a timestamp apart, and puts it together with its first certificate and its signature wrapped anew.
func rewrapped(t *testing.T, stamp []byte, certificates, signatures func(tag byte, of []byte) []byte) []byte {
	t.Helper()
	parts := func(of []byte) (all [][]byte) {
		var outer asn1.RawValue
		if _, err := asn1.Unmarshal(of, &outer); err != nil {
			t.Fatal(err)
		}
		for rest := outer.Bytes; len(rest) > 0; {
			var v asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &v); err != nil {
				t.Fatal(err)
			}
			all = append(all, v.FullBytes)
		}
		return all
	}
	response := parts(stamp)
	token := parts(response[1])
	signed := parts(parts(token[1])[0]) // version, algorithms, content, certificates, signatures
	signed[3] = certificates(0xa0, slices.Concat(parts(signed[3])...))
	signed[4] = signatures(0x31, slices.Concat(parts(signed[4])...))
	token[1] = der(0xa0, der(0x30, slices.Concat(signed...)))
	return der(0x30, slices.Concat(response[0], der(0x30, slices.Concat(token...))))
}

// der is an element that is made of others.
func der(tag byte, of []byte) []byte {
	return must(asn1.Marshal(asn1.RawValue{Class: int(tag >> 6), Tag: int(tag & 0x1f), IsCompound: true, Bytes: of}))
}

// largeStamp is a timestamp by a key of P-521.
func largeStamp() []byte {
	key := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	}
	certificate := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))))
	sum := sha256.Sum256(nil)
	stamp := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: time.Now(), Policy: asn1.ObjectIdentifier{1, 2}, AddTSACertificate: true,
	}
	return must(stamp.CreateResponseWithOpts(certificate, key, crypto.SHA512))
}
