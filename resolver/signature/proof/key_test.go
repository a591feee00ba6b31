package proof

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	. "sluice/resolver/signature/signaturetest"
)

// ofKind makes one key of every kind that cosign signs with, but for RSA with 4096 bits, whose keys take seconds to make.
// Those of the tests are shared, for the same reason.
var ofKind = sync.OnceValue(func() map[string]*Signer {
	all := make(map[string]*Signer)
	for name, kind := range map[string]Kind{
		"P-256": P256, "P-384": P384, "P-521": P521, "RSA 2048": RSA2048, "RSA 3072": RSA3072, "Ed25519": Ed25519, "Ed25519ph": Ed25519ph,
	} {
		all[name] = must(NewKeySigner(kind))
	}
	return all
})

func TestKeys(t *testing.T) {
	t.Parallel()
	ours := must(NewSigstore())
	stranger := must(NewKeySigner(P256))
	for name, signer := range ofKind() {
		j := judge(t, engine.Trust{Keys: keys(stranger, signer)})
		no := judge(t, engine.Trust{Keys: keys(stranger)})
		elsewhere := about()
		elsewhere.Digest = string(another)
		for form, make := range map[string]func(Content) (*Item, error){
			"classic": func(c Content) (*Item, error) { return ours.Classic(signer, c, Evidence{}) },
			"bundle":  func(c Content) (*Item, error) { return ours.Bundle("0.3", signer, c, Evidence{Log: Rekor}) },
		} {
			t.Run(name+" "+form, func(t *testing.T) {
				t.Parallel()
				for _, c := range []Content{about(), provenance()} {
					item := must(make(c))
					got, err := j.Judge(found(t, item), digest)
					if err != nil {
						t.Fatal(err)
					}
					der := must(x509.MarshalPKIXPublicKey(signer.Public()))
					sum := sha256.Sum256(der)
					want := engine.Signature{Signer: engine.Signer{Key: hex.EncodeToString(sum[:])}, Annotations: c.Annotations, Found: "here"}
					if item.MediaType == SimpleSigningMediaType {
						want.Reference = c.Reference
					}
					if c.PredicateType != "" {
						want.Statement = &engine.Statement{PredicateType: c.PredicateType, Predicate: []byte(`{"buildType":"https://x"}`)}
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Error(diff)
					}
					_, err = no.Judge(found(t, item), digest)
					refused(t, err, engine.ReasonSignatureInvalid, "by another key")
					_, err = j.Judge(found(t, item), another)
					refused(t, err, engine.ReasonClaimMismatch, "not for this")
				}
				_, err := j.Judge(found(t, must(make(elsewhere))), digest)
				refused(t, err, engine.ReasonClaimMismatch, string(another[:30]))
			})
		}
	}
}

// TestKeysThatSignTheOldWay is about SHA-256 whatever the curve, and pure Ed25519, over simple signing payloads.
func TestKeysThatSignTheOldWay(t *testing.T) {
	t.Parallel()
	payload := must(must(NewSigstore()).Classic(must(NewKeySigner(P256)), about(), Evidence{})).Content
	sum := sha256.Sum256(payload)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key     crypto.Signer
		message []byte
		hash    crypto.Hash
	}{
		{must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), sum[:], crypto.SHA256},
		{must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)), sum[:], crypto.SHA256},
		{ed, payload, 0},
	} {
		j := judge(t, engine.Trust{Keys: []crypto.PublicKey{c.key.Public()}})
		item := &attached.Item{Form: attached.SimpleSigning, Content: payload, Signature: must(c.key.Sign(rand.Reader, c.message, c.hash))}
		if _, err := j.Judge(item, digest); err != nil {
			t.Errorf("%T: %v", c.key, err)
		}
		item.Content = append(slices.Clone(payload), ' ')
		_, err := j.Judge(item, digest)
		refused(t, err, engine.ReasonSignatureInvalid, "by another key")
	}
}

// TestHintsProveNothing has a bundle name the key that is trusted, and be by another; and the other way round.
func TestHintsProveNothing(t *testing.T) {
	t.Parallel()
	ours, signer, stranger := must(NewSigstore()), must(NewKeySigner(P256)), must(NewKeySigner(P256))
	j := judge(t, engine.Trust{Keys: keys(signer)})
	bundle := func(by, named *Signer) *attached.Item {
		item := found(t, must(ours.Bundle("0.3", by, about(), Evidence{})))
		was, is := must(json.Marshal(must(by.Hint()))), must(json.Marshal(must(named.Hint())))
		if !bytes.Contains(item.Content, was) {
			t.Fatal("there is no hint")
		}
		item.Content = bytes.Replace(item.Content, was, is, 1)
		return item
	}
	if _, err := j.Judge(bundle(signer, stranger), digest); err != nil {
		t.Error(err)
	}
	_, err := j.Judge(bundle(stranger, signer), digest)
	refused(t, err, engine.ReasonSignatureInvalid, "by another key")
}

// TestKeysAndLogs asks for logs and timestamps beside a key.
func TestKeysAndLogs(t *testing.T) {
	t.Parallel()
	ours, other := must(NewSigstore()), must(NewSigstore())
	signer, stranger := must(NewKeySigner(P256)), must(NewKeySigner(P256))
	long := time.Now().Add(-20 * 24 * time.Hour).Truncate(time.Second)
	trust := func(logs, timestamps int) *Judge {
		return judge(t, engine.Trust{Keys: keys(stranger, signer), Roots: roots(ours.TrustedRoot()), Logs: logs, Timestamps: timestamps})
	}
	const invalid = engine.ReasonSignatureInvalid
	for _, c := range []struct {
		name     string
		j        *Judge
		evidence Evidence
		time     bool // it is known when it was made
		reason   engine.Reason
		says     string
	}{
		{name: "logged", j: trust(1, 0), evidence: Evidence{Log: Rekor, LogTime: long}, time: true},
		{name: "logged and stamped", j: trust(1, 1), evidence: Evidence{Log: Rekor, Timestamp: true, TimestampTime: long}, time: true},
		{name: "stamped", j: trust(0, 1), evidence: Evidence{Timestamp: true, TimestampTime: long}, time: true},
		{name: "stamped, unasked", j: trust(0, 0), evidence: Evidence{Timestamp: true, TimestampTime: long}, time: true},
		{name: "tiles", j: trust(1, 0), evidence: Evidence{Log: RekorTiles}},
		{name: "tiles, stamped", j: trust(1, 0), evidence: Evidence{Log: RekorTiles, Timestamp: true, TimestampTime: long}, time: true},
		{name: "nothing asked", j: trust(0, 0)},
		{name: "another's timestamp, unasked", j: trust(0, 0), evidence: Evidence{Timestamp: true, TimestampBy: other}},

		{name: "not logged", j: trust(1, 0), reason: invalid, says: "no entry of a trusted log"},
		{name: "not logged but stamped", j: trust(1, 0), evidence: Evidence{Timestamp: true}, reason: invalid, says: "no entry of a trusted log"},
		{name: "not stamped", j: trust(1, 1), evidence: Evidence{Log: Rekor}, reason: invalid, says: "timestamps of 0 trusted authorities, not 1"},
		{name: "in one log", j: trust(2, 0), evidence: Evidence{Log: Rekor}, reason: invalid, says: "in 1 trusted logs, not 2"},
		{name: "another entry", j: trust(1, 0), evidence: Evidence{Log: Rekor, OtherEntry: true}, reason: invalid, says: "trusted log is not good"},
		{name: "another entry, tiles", j: trust(1, 0), evidence: Evidence{Log: RekorTiles, OtherEntry: true}, reason: invalid, says: "trusted log is not good"},
		{name: "another's promise", j: trust(1, 0), evidence: Evidence{Log: Rekor, PromiseBy: other}, reason: invalid, says: "trusted log is not good"},
		{name: "another timestamp", j: trust(0, 1), evidence: Evidence{Timestamp: true, OtherTimestamp: true}, reason: invalid, says: "timestamps of 0"},
		{name: "another's timestamp", j: trust(0, 1), evidence: Evidence{Timestamp: true, TimestampBy: other}, reason: invalid, says: "timestamps of 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, content := range []Content{about(), provenance()} {
				items := []*Item{must(ours.Bundle("0.3", signer, content, c.evidence))}
				if c.evidence.Log != RekorTiles {
					items = append(items, must(ours.Classic(signer, content, c.evidence)))
				}
				for _, item := range items {
					got, err := c.j.Judge(found(t, item), digest)
					switch {
					case c.reason != 0:
						refused(t, err, c.reason, c.says)
						unvouchedIf(t, err, true)
					case err != nil:
						t.Errorf("%s: %v", item.MediaType, err)
					case c.time != !got.Time.IsZero() || c.time && got.Time.After(long.Add(time.Second)) && c.name != "logged and stamped":
						t.Errorf("%s: made at %v", item.MediaType, got.Time)
					}
				}
			}
		})
	}
}

// TestKindsOfKeysInLogs has every kind of key logged in every way that there is for it.
func TestKindsOfKeysInLogs(t *testing.T) {
	t.Parallel()
	ours := must(NewSigstore())
	for name, signer := range ofKind() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := judge(t, engine.Trust{Keys: keys(signer), Roots: roots(ours.TrustedRoot()), Logs: 1})
			for _, content := range []Content{about(), provenance()} {
				for _, log := range []Log{Rekor, RekorTiles} {
					if name == "Ed25519" && log == RekorTiles {
						continue // which has Ed25519ph alone, of envelopes too
					}
					if _, err := j.Judge(found(t, must(ours.Bundle("0.3", signer, content, Evidence{Log: log}))), digest); err != nil {
						t.Errorf("bundle, %q, log %d: %v", content.PredicateType, log, err)
					}
				}
				item, err := ours.Classic(signer, content, Evidence{Log: Rekor})
				if name == "Ed25519" && content.PredicateType == "" {
					continue // Rekor's hashedrekord has Ed25519ph alone
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, err := j.Judge(found(t, item), digest); err != nil {
					t.Errorf("classic, %q: %v", content.PredicateType, err)
				}
			}
		})
	}
}

// TestEnvelopesOfSeveral is about envelopes with more than one signature, which DSSE allows and bundles don't.
func TestEnvelopesOfSeveral(t *testing.T) {
	t.Parallel()
	ours, a, b := must(NewSigstore()), must(NewKeySigner(P256)), must(NewKeySigner(Ed25519))
	one, two := must(ours.Classic(a, provenance(), Evidence{})), must(ours.Classic(b, provenance(), Evidence{}))
	signatures := func(item *Item) []dsse.Signature {
		var e dsse.Envelope
		if err := json.Unmarshal(item.Content, &e); err != nil {
			t.Fatal(err)
		}
		return e.Signatures
	}
	envelope := func(all ...dsse.Signature) *attached.Item {
		item := found(t, one)
		var e dsse.Envelope
		if err := json.Unmarshal(item.Content, &e); err != nil {
			t.Fatal(err)
		}
		e.Signatures = append([]dsse.Signature{}, all...)
		item.Content = must(json.Marshal(e))
		return item
	}
	junk := dsse.Signature{KeyID: "x", Sig: base64.StdEncoding.EncodeToString([]byte("junk"))}
	byA, byB := signatures(one)[0], signatures(two)[0]
	for _, signer := range []*Signer{a, b} {
		if _, err := judge(t, engine.Trust{Keys: keys(signer)}).Judge(envelope(junk, byA, byB), digest); err != nil {
			t.Error(err)
		}
	}
	j := judge(t, engine.Trust{Keys: keys(a)})
	_, err := j.Judge(envelope(junk, byB), digest)
	refused(t, err, engine.ReasonSignatureInvalid, "by another key")
	_, err = j.Judge(envelope(slices.Repeat([]dsse.Signature{junk}, maxSignatures+1)...), digest)
	refused(t, err, engine.ReasonSignatureInvalid, "more than 4 signatures")
	_, err = j.Judge(envelope(), digest)
	refused(t, err, engine.ReasonSignatureInvalid, "no signatures")

	keyless := must(ours.Keyless(Identity{Issuer: tokenBy, Subject: holder}))
	classic := must(ours.Classic(keyless, provenance(), Evidence{Log: Rekor}))
	item := found(t, classic)
	item.Content = envelope(signatures(classic)[0], junk).Content
	_, err = judge(t, engine.Trust{Roots: roots(ours.TrustedRoot()), SCTs: 1, Timestamps: 1}).Judge(item, digest)
	refused(t, err, engine.ReasonSignatureInvalid, "2 signatures and one certificate")

	bundle := must(ours.Bundle("0.3", a, provenance(), Evidence{}))
	item = found(t, bundle)
	item.Content = bytes.Replace(item.Content, []byte(`"signatures":[`), []byte(`"signatures":[{"sig":"AAAA"},`), 1)
	_, err = j.Judge(item, digest)
	refused(t, err, engine.ReasonSignatureInvalid, "it has 2 signatures, and a bundle has one")
}

func TestEnvelopesOfOtherPayloads(t *testing.T) {
	t.Parallel()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	j := judge(t, engine.Trust{Keys: []crypto.PublicKey{key.Public()}})
	claim := fmt.Sprintf(`{"critical":{"identity":{"docker-reference":"a"},"image":{"docker-manifest-digest":%q},"type":%q},"optional":null}`, digest, claimType)
	envelope := func(payloadType, payload string) *attached.Item {
		sum := sha256.Sum256(dsse.PAE(payloadType, []byte(payload)))
		return &attached.Item{Form: attached.Envelope, Content: must(json.Marshal(dsse.Envelope{
			PayloadType: payloadType, Payload: base64.URLEncoding.EncodeToString([]byte(payload)),
			Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(must(key.Sign(rand.Reader, sum[:], crypto.SHA256)))}},
		}))}
	}
	statement := fmt.Sprintf(`{"_type":%q,"predicateType":"p","subject":[{"digest":{"sha256":%q}}]}`, statementV1, digest.Hex())
	if _, err := j.Judge(envelope(statementType, statement), digest); err != nil {
		t.Error(err)
	}
	_, err := j.Judge(envelope("application/json", statement), digest)
	refused(t, err, engine.ReasonSignatureInvalid, "not an in-toto statement")
	_, err = j.Judge(envelope(statementType, claim), digest)
	refused(t, err, engine.ReasonClaimMismatch, "unknown _type")

	// The same signature over a statement does not make a simple signing payload of it, nor the other way round.
	item := envelope(statementType, statement)
	item.Form = attached.SimpleSigning
	_, err = j.Judge(item, digest)
	refused(t, err, engine.ReasonSignatureInvalid, "by another key")
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	key := must(NewKeySigner(P256))
	for _, c := range []struct {
		trust engine.Trust
		says  string
	}{
		{engine.Trust{}, "neither keys nor roots"},
		{engine.Trust{Keys: keys(key), Logs: 1}, "no root"},
		{engine.Trust{Keys: keys(key), Timestamps: 1}, "no root"},
		{engine.Trust{Keys: []crypto.PublicKey{"key"}}, "key 1"},
		{engine.Trust{Keys: []crypto.PublicKey{nil}}, "key 1"},
		{engine.Trust{Roots: []*engine.TrustRoot{{Name: "r.json", JSON: []byte("{}")}}, Logs: 1}, "r.json"},
		{engine.Trust{Roots: []*engine.TrustRoot{nil}}, "preparing keys and roots"},
	} {
		if _, err := New(&c.trust); err == nil || errors.Is(err, ErrNoRoot) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want %s", err, c.says)
		}
	}
	for _, trust := range []engine.Trust{
		{Roots: []*engine.TrustRoot{{Name: "https://tuf.example.com"}}, Logs: 1},
		{Roots: []*engine.TrustRoot{{Name: "https://tuf.example.com"}, {Name: "https://mirror.tuf.example.com"}}, Logs: 1},
		{Keys: keys(key), Roots: []*engine.TrustRoot{{Name: "https://tuf.example.com"}}, Logs: 1},
	} {
		if _, err := New(&trust); !errors.Is(err, ErrNoRoot) || !strings.Contains(err.Error(), "tuf.example.com") {
			t.Errorf("%v, want %v", err, ErrNoRoot)
		}
	}
}
