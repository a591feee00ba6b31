package proof

import (
	"crypto"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"testing"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"google.golang.org/protobuf/encoding/protojson"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	. "sluice/resolver/signature/signaturetest"
)

// rootOf makes the trusted root that certificates of one's own become: each a chain of its own, merged with what more
// says of logs and timestamps.
func rootOf(t *testing.T, more []byte, certificates ...[]byte) []byte {
	t.Helper()
	r := &prototrustroot.TrustedRoot{MediaType: root.TrustedRootMediaType01}
	if more != nil {
		if err := protojson.Unmarshal(more, r); err != nil {
			t.Fatal(err)
		}
		r.CertificateAuthorities = nil
	}
	for _, c := range certificates {
		block, _ := pem.Decode(c)
		if block == nil {
			t.Fatalf("no certificate: %s", c)
		}
		r.CertificateAuthorities = append(r.CertificateAuthorities, &prototrustroot.CertificateAuthority{
			CertChain: &protocommon.X509CertificateChain{Certificates: []*protocommon.X509Certificate{{RawBytes: block.Bytes}}},
		})
	}
	return must(protojson.Marshal(r))
}

// TestOwnPKI is about certificates of one's own: with no log, timestamps or intermediates but what the signature brings.
func TestOwnPKI(t *testing.T) {
	t.Parallel()
	ours, other := must(NewSigstore()), must(NewSigstore())
	pki, flat, stranger := must(NewPKI("own", true)), must(NewPKI("flat", false)), must(NewPKI("own", true))
	signer := func(p *PKI, from time.Time, kind Kind) *Signer {
		return must(p.Signer(Identity{Subject: "build@example.com", NotBefore: from, NotAfter: from.Add(2 * time.Hour), Kind: kind}))
	}
	now, past := time.Now().Add(-time.Hour), time.Now().Add(-48*time.Hour)
	own := must(pki.RootPEM())
	current := engine.Trust{Roots: roots(rootOf(t, nil, own, must(flat.RootPEM()))), Intermediates: true, CurrentTime: true}
	narrow := current
	narrow.Intermediates = false
	full := narrow
	full.Roots = roots(rootOf(t, nil, own, must(pki.IntermediatePEM())))
	stamped := engine.Trust{Roots: roots(rootOf(t, must(ours.TrustedRootOf(TSAPart)), own)), Intermediates: true, Timestamps: 1}
	logged := engine.Trust{Roots: roots(rootOf(t, must(ours.TrustedRootOf(RekorPart)), own)), Intermediates: true, Logs: 1}
	pinned := must(signer(pki, now, P256), nil)
	leaf := engine.Trust{Roots: roots(rootOf(t, nil, must(pinned.CertificatePEM()))), CurrentTime: true}

	const invalid, expired = engine.ReasonSignatureInvalid, engine.ReasonSignatureExpired
	for _, c := range []struct {
		name     string
		trust    engine.Trust
		signer   *Signer
		evidence Evidence
		time     bool
		reason   engine.Reason
		says     string
	}{
		{name: "valid now", trust: current, signer: signer(pki, now, P256)},
		{name: "issued by the root", trust: current, signer: signer(flat, now, P256)},
		{name: "intermediate among the roots", trust: full, signer: signer(pki, now, P256)},
		{name: "pinned", trust: leaf, signer: pinned},
		{name: "RSA", trust: current, signer: signer(pki, now, RSA2048)},
		{name: "P-384", trust: current, signer: signer(pki, now, P384)},
		{name: "Ed25519ph", trust: current, signer: signer(pki, now, Ed25519ph)},
		{name: "stamped", trust: stamped, signer: signer(pki, now, P256), evidence: Evidence{Timestamp: true}, time: true},
		{name: "stamped long ago", trust: stamped, signer: signer(pki, past, P256), evidence: Evidence{Timestamp: true, TimestampTime: past.Add(time.Hour)}, time: true},
		{name: "logged long ago", trust: logged, signer: signer(pki, past, P256), evidence: Evidence{Log: Rekor, LogTime: past.Add(time.Hour)}, time: true},

		{name: "not valid now", trust: current, signer: signer(pki, past, P256), reason: expired, says: "not valid now"},
		{name: "not valid now but stamped", trust: current, signer: signer(pki, past, P256), evidence: Evidence{Timestamp: true, TimestampTime: past.Add(time.Hour)}, reason: expired, says: "not valid now"},
		{name: "another's", trust: current, signer: signer(stranger, now, P256), reason: invalid, says: "another authority"},
		{name: "no intermediates", trust: narrow, signer: signer(pki, now, P256), reason: invalid, says: "another authority"},
		{name: "not the pinned one", trust: leaf, signer: signer(pki, now, P256), reason: invalid, says: "another authority"},
		{name: "not stamped", trust: stamped, signer: signer(pki, now, P256), reason: expired, says: "no timestamp"},
		{name: "stamped too late", trust: stamped, signer: signer(pki, past, P256), evidence: Evidence{Timestamp: true}, reason: expired, says: "was not valid"},
		{name: "stamped by another", trust: stamped, signer: signer(pki, now, P256), evidence: Evidence{Timestamp: true, TimestampBy: other}, reason: expired, says: "no timestamp"},
		{name: "not logged", trust: logged, signer: signer(pki, now, P256), reason: expired, says: "no entry"},
		{name: "a bare key", trust: current, signer: must(NewKeySigner(P256)), reason: invalid, says: "made with a key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			j := judge(t, c.trust)
			for _, content := range []Content{about(), provenance()} {
				if c.name == "Ed25519ph" && content.PredicateType != "" {
					continue // sigstore-go takes pure Ed25519 for envelopes
				}
				items := []*Item{must(ours.Classic(c.signer, content, c.evidence))}
				if c.name != "Ed25519ph" && c.trust.Intermediates { // of bundles that bring some, the others are refused as they are
					items = append(items, must(ours.Bundle("0.3", c.signer, content, c.evidence)))
				}
				for _, item := range items {
					got, err := j.Judge(found(t, item), digest)
					if c.reason != 0 {
						refused(t, err, c.reason, c.says)
						continue
					}
					if err != nil {
						t.Errorf("%s: %v", item.MediaType, err)
						continue
					}
					if got.Signer != (engine.Signer{Subject: "build@example.com"}) || got.Time.IsZero() == c.time {
						t.Errorf("%s: by %+v at %v", item.MediaType, got.Signer, got.Time)
					}
				}
			}
		})
	}
}

// TestSeveralRoots has any root suffice, and each be judged alone.
func TestSeveralRoots(t *testing.T) {
	t.Parallel()
	a, b := must(NewSigstore()), must(NewSigstore())
	signer := must(a.Keyless(Identity{Issuer: tokenBy, Subject: holder}))
	item := found(t, must(a.Bundle("0.3", signer, about(), Evidence{Log: Rekor})))
	trust := func(json ...[]byte) *Judge {
		return judge(t, engine.Trust{Roots: roots(json...), Logs: 1, SCTs: 1})
	}
	for _, j := range []*Judge{trust(a.TrustedRoot(), b.TrustedRoot()), trust(b.TrustedRoot(), a.TrustedRoot())} {
		if _, err := j.Judge(item, digest); err != nil {
			t.Error(err)
		}
	}
	_, err := trust(b.TrustedRoot()).Judge(item, digest)
	refused(t, err, engine.ReasonSignatureInvalid, "another authority")

	// The authority by one root and the log by another is neither's word.
	split := [][]byte{must(a.TrustedRootOf(CAPart | CTLogPart)), must(a.TrustedRootOf(RekorPart | TSAPart))}
	_, err = trust(split...).Judge(item, digest)
	refused(t, err, engine.ReasonSignatureExpired, "no entry of a trusted log")
	slices.Reverse(split)
	_, err = trust(split...).Judge(item, digest)
	refused(t, err, engine.ReasonSignatureExpired, "no entry of a trusted log")

	keyed := must(NewKeySigner(P256))
	item = found(t, must(a.Bundle("0.3", keyed, about(), Evidence{Log: Rekor})))
	j := judge(t, engine.Trust{Keys: []crypto.PublicKey{keyed.Public()}, Roots: roots(b.TrustedRoot(), a.TrustedRoot()), Logs: 1})
	if _, err := j.Judge(item, digest); err != nil {
		t.Error(err)
	}
	j = judge(t, engine.Trust{Keys: []crypto.PublicKey{keyed.Public()}, Roots: roots(b.TrustedRoot(), b.TrustedRoot()), Logs: 1})
	_, err = j.Judge(item, digest)
	refused(t, err, engine.ReasonSignatureInvalid, "no entry of a trusted log")
}

// TestPendingRoot has what one root accepts be valid, and what it refuses open, while another root is not there yet.
func TestPendingRoot(t *testing.T) {
	t.Parallel()
	a, b := must(NewSigstore()), must(NewSigstore())
	pending := &engine.TrustRoot{Name: "https://tuf.example.com"}
	signer, keyed, other := must(a.Keyless(Identity{Issuer: tokenBy, Subject: holder})), must(NewKeySigner(P256)), must(NewKeySigner(P256))
	elsewhere := about()
	elsewhere.Digest = string(another)
	item := func(s *Signer, c Content, e Evidence) *attached.Item { return found(t, must(a.Bundle("0.3", s, c, e))) }
	byCertificate := func(json []byte) engine.Trust {
		return engine.Trust{Roots: append(roots(json), pending), Logs: 1, SCTs: 1}
	}
	byKey := func(json []byte) engine.Trust {
		return engine.Trust{Keys: []crypto.PublicKey{keyed.Public()}, Roots: append([]*engine.TrustRoot{pending}, roots(json)...), Logs: 1}
	}
	const open = engine.ReasonTrustRootMissing
	for _, c := range []struct {
		name   string
		trust  engine.Trust
		item   *attached.Item
		reason engine.Reason
		says   string
	}{
		{name: "certificate", trust: byCertificate(a.TrustedRoot()), item: item(signer, about(), Evidence{Log: Rekor})},
		{name: "key", trust: byKey(a.TrustedRoot()), item: item(keyed, about(), Evidence{Log: Rekor})},
		{name: "another's certificate", trust: byCertificate(b.TrustedRoot()), item: item(signer, about(), Evidence{Log: Rekor}), reason: open, says: "tuf.example.com; by the others: it was signed with a certificate of another"},
		{name: "another's log", trust: byKey(b.TrustedRoot()), item: item(keyed, about(), Evidence{Log: Rekor}), reason: open, says: "tuf.example.com; by the others: " + noEntry},

		// What no root can mend.
		{name: "another key", trust: byKey(a.TrustedRoot()), item: item(other, about(), Evidence{Log: Rekor}), reason: engine.ReasonSignatureInvalid, says: "another key"},
		{name: "key, another image", trust: byKey(a.TrustedRoot()), item: item(keyed, elsewhere, Evidence{Log: Rekor}), reason: engine.ReasonClaimMismatch, says: "not for this"},
		{name: "another image", trust: byCertificate(a.TrustedRoot()), item: item(signer, elsewhere, Evidence{Log: Rekor}), reason: engine.ReasonClaimMismatch, says: "not for this"},
		{name: "no certificate", trust: byCertificate(a.TrustedRoot()), item: item(keyed, about(), Evidence{Log: Rekor}), reason: engine.ReasonSignatureInvalid, says: "has no certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := judge(t, c.trust).Judge(c.item, digest)
			if c.reason == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refused(t, err, c.reason, c.says)
			if errors.Is(err, ErrNoRoot) != (c.reason == open) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestPublicGood is about an attestation that the public-good instance of sigstore has vouched for.
func TestPublicGood(t *testing.T) {
	t.Parallel()
	const image = engine.Digest("sha256:732112270d7e59418a8c080b134b24cabd67d250d0d0147a97ed95ba5c280aa4")
	public := readFile(t, "testdata/public_good_root.json")
	raw := readFile(t, "testdata/public_good_attestation.json")
	trust := engine.Trust{Roots: roots(public), Logs: 1, SCTs: 1}
	item := found(t, &Item{Content: raw})
	got, err := judge(t, trust).Judge(item, image)
	if err != nil {
		t.Fatal(err)
	}
	who := engine.Signer{Issuer: "https://github.com/login/oauth", Subject: "cody@soyland.com"}
	at := time.Date(2025, 2, 28, 19, 18, 11, 0, time.UTC)
	if got.Signer != who || !got.Time.Equal(at) || got.Statement == nil || got.Statement.PredicateType != "https://cosign.sigstore.dev/attestation/v1" {
		t.Errorf("%+v", got)
	}
	if want := `{"Data":"{\"foo\": \"bar\"}\n","Timestamp":"2025-02-28T19:18:11Z"}`; string(got.Statement.Predicate) != want {
		t.Errorf("predicate %s, want %s", got.Statement.Predicate, want)
	}

	_, err = judge(t, trust).Judge(item, another)
	refused(t, err, engine.ReasonClaimMismatch, "about sha256:7321")
	other := trust
	other.Roots = roots(must(NewSigstore()).TrustedRoot())
	_, err = judge(t, other).Judge(item, image)
	refused(t, err, engine.ReasonSignatureInvalid, "another authority")
	two := trust
	two.Logs = 2
	_, err = judge(t, two).Judge(item, image)
	refused(t, err, engine.ReasonSignatureInvalid, "in 1 trusted logs, not 2")
	stamped := trust
	stamped.Timestamps = 1
	_, err = judge(t, stamped).Judge(item, image)
	refused(t, err, engine.ReasonSignatureInvalid, "timestamps of 0 trusted authorities")
	unlogged := trust
	unlogged.Logs = 0
	_, err = judge(t, unlogged).Judge(item, image)
	refused(t, err, engine.ReasonSignatureExpired, "tells that its certificate was valid")

	type object = map[string]any
	for says, change := range map[string]func(b, material, entry object){
		"not by its certificate's key": func(b, _, _ object) { // the same by another key, of which there is none here
			b["dsseEnvelope"].(object)["signatures"].([]any)[0].(object)["sig"] = "MEUCIQ=="
		},
		"unknown field":               func(b, _, _ object) { b["x"] = 1 },
		"unsupported media type":      func(b, _, _ object) { b["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.x+json" },
		"not yet supported":           func(b, _, _ object) { b["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.4+json" },
		"inclusion proof missing":     func(_, _, entry object) { delete(entry, "inclusionProof") },
		"missing required checkpoint": func(_, _, entry object) { delete(entry["inclusionProof"].(object), "checkpoint") },
		"promise is not by the log's": func(_, _, entry object) { entry["logIndex"] = "175508997" },
		"not good: wrong proof size": func(_, _, entry object) {
			delete(entry, "inclusionPromise")
			entry["inclusionProof"].(object)["hashes"] = []any{}
		},
		"missing verification material": func(_, material, _ object) { delete(material, "certificate") },
		"its certificate: x509":         func(_, material, _ object) { material["certificate"].(object)["rawBytes"] = "MIIC" },
		"made with a key":               func(_, m, _ object) { delete(m, "certificate"); m["publicKey"] = object{"hint": "x"} },
		"nil value":                     func(_, _, entry object) { delete(entry, "logId") },
	} {
		_, err := judge(t, trust).Judge(edited(t, raw, change), image)
		refused(t, err, engine.ReasonSignatureInvalid, says)
	}
	_, err = judge(t, trust).Judge(edited(t, raw, func(_, m, _ object) { delete(m, "tlogEntries") }), image)
	refused(t, err, engine.ReasonSignatureExpired, "no entry of a trusted log")
}

// edited returns a bundle after a change to it, its verification material and its log entry.
func edited(t *testing.T, raw []byte, change func(b, material, entry map[string]any)) *attached.Item {
	t.Helper()
	var b map[string]any
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatal(err)
	}
	material := b["verificationMaterial"].(map[string]any)
	change(b, material, material["tlogEntries"].([]any)[0].(map[string]any))
	return &attached.Item{Form: attached.Bundle, Content: must(json.Marshal(b))}
}
