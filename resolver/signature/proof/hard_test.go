package proof

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
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

// hardKey is one whose every use would take seconds.
func hardKey() *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), 1<<17)
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 1<<31 - 1}
}

// hardCertificate is a certificate for such a key, by a key that is easy.
func hardCertificate(usage x509.ExtKeyUsage) *x509.Certificate {
	issuer := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hard"}, Issuer: pkix.Name{CommonName: "by"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{usage},
		EmailAddresses: []string{"x@example.com"}, IsCA: true, BasicConstraintsValid: true,
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, hardKey(), issuer))))
}

// hardStamp is a timestamp that brings one.
func hardStamp() []byte {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	sum := sha256.Sum256(nil)
	stamp := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: time.Now(), Policy: asn1.ObjectIdentifier{1, 2}, AddTSACertificate: true,
	}
	return must(stamp.CreateResponseWithOpts(hardCertificate(x509.ExtKeyUsageTimeStamping), key, crypto.SHA256))
}

// TestHardKeys sends keys that are too large to verify with, in every place that has some.
func TestHardKeys(t *testing.T) {
	t.Parallel()
	ours := must(NewSigstore())
	signer := must(ours.Keyless(Identity{Issuer: tokenBy, Subject: holder}))
	j := judge(t, engine.Trust{Roots: roots(ours.TrustedRoot()), Logs: 1, SCTs: 1, Intermediates: true})
	certificate := must(cryptoutils.MarshalCertificateToPEM(hardCertificate(x509.ExtKeyUsageCodeSigning)))
	public := must(cryptoutils.MarshalPublicKeyToPEM(hardKey()))
	base64ed := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
	says := fmt.Sprintf("an RSA key of %d bits", 1<<17+1)

	classic := func(change func(*attached.Item)) *attached.Item {
		item := found(t, must(ours.Classic(signer, about(), Evidence{Log: Rekor})))
		change(item)
		return item
	}
	entry := func(kind string, spec any) []byte {
		body := must(json.Marshal(map[string]any{"kind": kind, "apiVersion": "0.0.1", "spec": spec}))
		if kind == "intoto2" {
			body = must(json.Marshal(map[string]any{"kind": "intoto", "apiVersion": "0.0.2", "spec": spec}))
		}
		return must(json.Marshal(map[string]any{
			"SignedEntryTimestamp": "AAAA",
			"Payload":              map[string]any{"body": base64ed(body), "integratedTime": 1, "logIndex": 1, "logID": "00"},
		}))
	}
	type object = map[string]any
	for name, item := range map[string]*attached.Item{
		"certificate": classic(func(i *attached.Item) { i.Certificate = certificate }),
		"chain":       classic(func(i *attached.Item) { i.Chain = certificate }),
		"timestamp": classic(func(i *attached.Item) {
			i.Timestamp = must(json.Marshal(map[string][]byte{"SignedRFC3161Timestamp": hardStamp()}))
		}),
		"hashedrekord": classic(func(i *attached.Item) {
			i.LogEntry = entry("hashedrekord", object{
				"signature": object{"content": base64ed(make([]byte, 1<<14)), "publicKey": object{"content": base64ed(public)}},
				"data":      object{"hash": object{"algorithm": "sha256", "value": strings.Repeat("0", 64)}},
			})
		}),
		"hashedrekord, certificate": classic(func(i *attached.Item) {
			i.LogEntry = entry("hashedrekord", object{"signature": object{"publicKey": object{"content": base64ed(certificate)}}})
		}),
		"hashedrekord, second key": classic(func(i *attached.Item) {
			i.LogEntry = entry("hashedrekord", object{"signature": object{"publicKey": object{"content": base64ed(slices.Concat(i.Certificate, certificate))}}})
		}),
		"dsse": classic(func(i *attached.Item) {
			i.LogEntry = entry("dsse", object{"signatures": []any{object{"verifier": base64ed(public)}}})
		}),
		"intoto": classic(func(i *attached.Item) { i.LogEntry = entry("intoto", object{"publicKey": base64ed(public)}) }),
		"intoto, twice": classic(func(i *attached.Item) {
			i.LogEntry = entry("intoto2", object{"publicKey": base64ed([]byte(base64ed(public)))})
		}),
	} {
		_, err := j.Judge(item, digest)
		refused(t, err, engine.ReasonSignatureInvalid, says)
		if t.Failed() {
			t.Fatal(name)
		}
		Describe(item)
	}
	bundle := must(ours.Bundle("0.3", signer, about(), Evidence{Log: Rekor, Timestamp: true})).Content
	block, _ := pemBlock(certificate)
	for _, change := range []func(b, material, entry object){
		func(_, m, _ object) { m["certificate"] = object{"rawBytes": block} },
		func(_, m, _ object) {
			m["timestampVerificationData"] = object{"rfc3161Timestamps": []any{object{"signedTimestamp": hardStamp()}}}
		},
		func(_, m, e object) {
			e["canonicalizedBody"] = must(json.Marshal(object{"kind": "dsse", "apiVersion": "0.0.1", "spec": object{"x": base64ed(public)}}))
		},
		func(_, m, _ object) {
			leaf := m["certificate"]
			delete(m, "certificate")
			m["x509CertificateChain"] = object{"certificates": []any{leaf, object{"rawBytes": block}}}
		},
	} {
		_, err := j.Judge(edited(t, bundle, change), digest)
		refused(t, err, engine.ReasonSignatureInvalid, says)
	}
}

func pemBlock(raw []byte) ([]byte, []byte) {
	c := must(cryptoutils.UnmarshalCertificatesFromPEM(raw))
	return c[0].Raw, nil
}

// TestMoreThanIsLookedAt sends more of each thing than a signature needs, and things that no signature needs.
func TestMoreThanIsLookedAt(t *testing.T) {
	t.Parallel()
	ours := must(NewSigstore())
	signer := must(ours.Keyless(Identity{Issuer: tokenBy, Subject: holder}))
	j := judge(t, engine.Trust{Roots: roots(ours.TrustedRoot()), Logs: 1, SCTs: 1, Intermediates: true})
	bundle := must(ours.Bundle("0.3", signer, about(), Evidence{Log: Rekor, Timestamp: true})).Content
	type object = map[string]any
	nested := "innermost"
	for range 4 {
		nested = base64.StdEncoding.EncodeToString([]byte(nested))
	}
	stamps := func(n int, stamp any) func(_, m, _ object) {
		return func(_, m, _ object) {
			of := m["timestampVerificationData"].(object)
			if stamp == nil {
				stamp = of["rfc3161Timestamps"].([]any)[0]
			}
			of["rfc3161Timestamps"] = slices.Repeat([]any{stamp}, n)
		}
	}
	for says, change := range map[string]func(b, m, e object){
		"its log entry: there are 5":       func(_, m, e object) { m["tlogEntries"] = slices.Repeat([]any{e}, 5) },
		"duplicate tlog entries":           func(_, m, e object) { m["tlogEntries"] = slices.Repeat([]any{e}, 4) },
		"its timestamp: there are 5":       stamps(5, nil),
		"its timestamp: it has more than":  stamps(1, object{"signedTimestamp": make([]byte, maxTimestamp+1)}),
		"no response of a timestamp":       stamps(1, object{"signedTimestamp": []byte("x")}),
		"its timestamp: it is nested more": stamps(1, object{"signedTimestamp": slices.Concat(bytes.Repeat([]byte{0x30, 0x80}, 40), make([]byte, 80))}),
		"its body has more than":           func(_, _, e object) { e["canonicalizedBody"] = make([]byte, maxBody+1) },
		"more than 64 hashes": func(_, _, e object) {
			e["inclusionProof"].(object)["hashes"] = slices.Repeat([]any{make([]byte, 32)}, 65)
		},
		"checkpoint more than": func(_, _, e object) {
			e["inclusionProof"].(object)["checkpoint"] = object{"envelope": strings.Repeat("x", maxCheckpoint+1)}
		},
		"its certificate: it has more than": func(_, m, _ object) { m["certificate"] = object{"rawBytes": make([]byte, maxCertificate+1)} },
		"its timestamp: asn1":               stamps(1, object{"signedTimestamp": []byte{0x30, 0x04, 0x30, 0x00, 0x30, 0x00}}),
		"it is of the kind \"helm\"": func(_, _, e object) {
			e["canonicalizedBody"] = []byte(`{"kind":"helm","apiVersion":"0.0.1","spec":{}}`)
		},
		"its body: it has no kind": func(_, _, e object) { e["canonicalizedBody"] = []byte(`{"kind":"dsse","spec":{}}`) },
		"its body: it is not JSON": func(_, _, e object) { delete(e, "canonicalizedBody") },
		"two members \"spec\"": func(_, _, e object) {
			e["canonicalizedBody"] = []byte(`{"kind":"dsse","apiVersion":"0.0.1","spec":{},"spec":{}}`)
		},
		"base64 of base64": func(_, _, e object) {
			e["canonicalizedBody"] = []byte(`{"kind":"dsse","apiVersion":"0.0.1","x":"` + nested + `"}`)
		},
	} {
		_, err := j.Judge(edited(t, bundle, change), digest)
		refused(t, err, engine.ReasonSignatureInvalid, says)
	}
	_, err := j.Judge(edited(t, bundle, stamps(maxTimestamps, nil)), digest)
	if err != nil {
		t.Errorf("the same timestamp four times: %v", err)
	}
	_, err = j.Judge(edited(t, bundle, func(_, _, e object) {
		var body object
		if err := json.Unmarshal(must(base64.StdEncoding.DecodeString(e["canonicalizedBody"].(string))), &body); err != nil {
			t.Fatal(err)
		}
		body["spec"].(object)["empty"] = ""
		e["canonicalizedBody"] = must(json.Marshal(body))
	}), digest)
	refused(t, err, engine.ReasonSignatureInvalid, "trusted log is not good") // since it has been changed
	item := found(t, must(ours.Classic(signer, about(), Evidence{Log: Rekor})))
	item.Chain = bytes.Repeat(item.Certificate, maxIntermediates+1)
	_, err = j.Judge(item, digest)
	refused(t, err, engine.ReasonSignatureInvalid, "more than 5 certificates")
}

// TestRefusalsAreShort is since parsers tell at length what they were given.
func TestRefusalsAreShort(t *testing.T) {
	t.Parallel()
	r := invalid("a\n\n b%s", strings.Repeat("é", maxText))
	if got := r.Error(); !strings.HasPrefix(got, "a bé") || len(got) > maxText+len("…") || strings.ToValidUTF8(got, "") != got {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

// TestOneWayToTheRoot has of certificates with one name one stand between, and of others none.
func TestOneWayToTheRoot(t *testing.T) {
	t.Parallel()
	ca := func(name, by string, is bool) *x509.Certificate {
		return &x509.Certificate{RawSubject: []byte(name), RawIssuer: []byte(by), IsCA: is}
	}
	a, b := ca("a", "b", true), ca("b", "root", true)
	got := between([]*x509.Certificate{a, ca("a", "c", true), ca("leaf", "a", false), b, ca("root", "root", true), ca("b", "a", true)})
	if len(got) != 2 || got[0] != a || got[1] != b {
		t.Errorf("%v", got)
	}
}

func TestNested(t *testing.T) {
	t.Parallel()
	repeat := func(n int, b ...byte) []byte { return bytes.Repeat(b, n) }
	long := append([]byte{0x30, 0x82, 1, 4, 4, 0x82, 1, 0}, repeat(256, 0x30)...) // an octet string is not looked into
	for want, raws := range map[int][][]byte{
		0: {nil, {0x30}, {2, 1, 5}, {0x3f, 0x81, 0}, {0x3f, 0x81}, {0x30, 0x85, 0, 0, 0, 0, 2}, {0x30, 0x82, 1}, {0, 0, 0, 0}, {4, 0x80, 0x30}},
		1: {{0x3f, 0x81, 0, 0}, {0x30, 0x84, 0, 0, 0, 2}, {0x30, 0}, {0x30, 3, 2, 1, 5}, {0x30, 0, 0x30, 0, 0x31, 0}, {0x30, 0x80, 0, 0, 0x30, 0}, long, {0xa0, 2, 5, 0}, repeat(50, 0x30, 0x80, 0, 0)},
		2: {{0x30, 4, 0x30, 0, 0x30, 0}, {0x30, 0x81, 2, 0x30, 0}, {0x30, 0x80, 0x30, 2, 5, 0, 0, 0}, {0x30, 0x80, 0x30, 0x80}},
		9: {repeat(9, 0x30, 0x80), repeat(9, 0x3f, 0x81, 1, 0x80), {0x30, 16, 0x30, 14, 0x30, 12, 0x30, 10, 0x30, 8, 0x30, 6, 0x30, 4, 0x30, 2, 0x30, 0}},
	} {
		for _, raw := range raws {
			if got := nested(raw); got != want {
				t.Errorf("% x: %d, want %d", raw, got, want)
			}
		}
	}
}
