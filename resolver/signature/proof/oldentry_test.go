package proof

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/rekor/pkg/types"
	"github.com/sigstore/rekor/pkg/types/intoto"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"sluice/engine"
	"sluice/resolver/signature/attached"
)

// oldLog is a Rekor that enters attestations as it did for cosign before v2.2: as intoto v0.0.1.
type oldLog struct{ *ca.VirtualSigstore }

func (l oldLog) root() []byte {
	logs := l.RekorLogs()
	for id, log := range logs {
		log.ID = must(hex.DecodeString(id)) // which it has as text
	}
	r := must(root.NewTrustedRoot(root.TrustedRootMediaType01, l.FulcioCertificateAuthorities(), nil, l.TimestampingAuthorities(), logs))
	return must(r.MarshalJSON())
}

// envelope signs a statement about the image.
func (l oldLog) envelope(key crypto.Signer) []byte {
	payload := fmt.Sprintf(`{"_type":%q,"predicateType":"p","subject":[{"digest":{"sha256":%q}}],"predicate":{}}`, statementV01, digest.Hex())
	sum := sha256.Sum256(dsse.PAE(statementType, []byte(payload)))
	return must(json.Marshal(dsse.Envelope{
		PayloadType: statementType, Payload: base64.StdEncoding.EncodeToString([]byte(payload)),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(must(key.Sign(rand.Reader, sum[:], crypto.SHA256)))}},
	}))
}

// enter makes what cosign notes of an entry.
func (l oldLog) enter(envelope, material []byte, at time.Time) []byte {
	proposed := must(types.NewProposedEntry(context.Background(), intoto.KIND, "0.0.1", types.ArtifactProperties{
		ArtifactBytes: envelope, PublicKeyBytes: [][]byte{material}, PKIFormat: "x509",
	}))
	body := must(must(types.CreateVersionedEntry(proposed)).Canonicalize(context.Background()))
	payload := tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(body), IntegratedTime: at.Unix(), LogIndex: 7, LogID: must(l.RekorLogID()),
	}
	return must(json.Marshal(map[string]any{"SignedEntryTimestamp": must(l.RekorSignPayload(payload)), "Payload": payload}))
}

// TestOldEntries is about attestations as older versions of cosign logged them, by certificate and by key.
func TestOldEntries(t *testing.T) {
	t.Parallel()
	l, other := oldLog{must(ca.NewVirtualSigstore())}, oldLog{must(ca.NewVirtualSigstore())}
	leaf, private, err := l.GenerateLeafCert(holder, tokenBy)
	if err != nil {
		t.Fatal(err)
	}
	leafKey := private.(crypto.Signer)
	leafPEM := must(cryptoutils.MarshalCertificateToPEM(leaf))
	strangerLeaf, _, err := l.GenerateLeafCert("someone@example.com", tokenBy)
	if err != nil {
		t.Fatal(err)
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	keyPEM := must(cryptoutils.MarshalPublicKeyToPEM(key.Public()))

	now, later := time.Now().Add(time.Minute), time.Now().Add(30*time.Minute)
	byLeaf, again := l.envelope(leafKey), l.envelope(leafKey)
	byKey := l.envelope(key)
	stamp := func(over []byte) []byte {
		return must(json.Marshal(map[string][]byte{"SignedRFC3161Timestamp": must(l.TimestampResponse(over))}))
	}
	certificate := engine.Trust{Roots: roots(l.root()), Logs: 1}
	withKey := engine.Trust{Keys: []crypto.PublicKey{key.Public()}, Roots: roots(l.root()), Logs: 1}
	stamped := certificate
	stamped.Timestamps = 1
	twoLogs, scts := certificate, certificate
	twoLogs.Logs, scts.SCTs = 2, 1

	const invalid, expired = engine.ReasonSignatureInvalid, engine.ReasonSignatureExpired
	for _, c := range []struct {
		name      string
		trust     engine.Trust
		envelope  []byte
		entry     []byte
		timestamp []byte
		reason    engine.Reason
		says      string
	}{
		{name: "certificate", trust: certificate, envelope: byLeaf, entry: l.enter(byLeaf, leafPEM, now)},
		{name: "certificate, stamped", trust: stamped, envelope: byLeaf, entry: l.enter(byLeaf, leafPEM, now), timestamp: stamp(byLeaf)},
		{name: "key", trust: withKey, envelope: byKey, entry: l.enter(byKey, keyPEM, later)},

		{name: "another envelope", trust: certificate, envelope: byLeaf, entry: l.enter(again, leafPEM, now), reason: invalid, says: "of another envelope"},
		{name: "expired", trust: certificate, envelope: byLeaf, entry: l.enter(byLeaf, leafPEM, later), reason: expired, says: "not valid"},
		{name: "another log", trust: certificate, envelope: byLeaf, entry: other.enter(byLeaf, leafPEM, now), reason: invalid, says: "no entry of a trusted log"},
		{name: "two logs", trust: twoLogs, envelope: byLeaf, entry: l.enter(byLeaf, leafPEM, now), reason: invalid, says: "in one log"},
		{name: "no SCT", trust: scts, envelope: byLeaf, entry: l.enter(byLeaf, leafPEM, now), reason: invalid, says: noSCT},
		{name: "not stamped", trust: stamped, envelope: byLeaf, entry: l.enter(byLeaf, leafPEM, now), reason: invalid, says: "timestamps of 0"},
		{name: "stamped elsewhere", trust: stamped, envelope: byLeaf, entry: l.enter(byLeaf, leafPEM, now), timestamp: stamp(again), reason: invalid, says: "timestamps of 0"},
		{name: "key, another envelope", trust: withKey, envelope: byKey, entry: l.enter(l.envelope(key), keyPEM, now), reason: invalid, says: "of another envelope"},
		{name: "key, another log", trust: withKey, envelope: byKey, entry: other.enter(byKey, keyPEM, now), reason: invalid, says: "no entry of a trusted log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			item := &attached.Item{Form: attached.Envelope, Content: c.envelope, Certificate: leafPEM, LogEntry: c.entry, Timestamp: c.timestamp}
			got, err := judge(t, c.trust).Judge(item, digest)
			if c.reason != 0 {
				refused(t, err, c.reason, c.says)
				unvouchedIf(t, err, c.reason == invalid && !strings.Contains(c.says, "another envelope"))
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Time.IsZero() || got.Statement == nil || got.Signer.Subject != holder && len(c.trust.Keys) == 0 {
				t.Errorf("%+v", got)
			}
		})
	}

	// Rekor would not enter these; what it signed for another signer is not for this one all the same.
	resign := func(from, to []byte) []byte {
		entry := l.enter(byLeaf, leafPEM, now)
		var b struct {
			SignedEntryTimestamp []byte
			Payload              tlog.RekorPayload
		}
		if err := json.Unmarshal(entry, &b); err != nil {
			t.Fatal(err)
		}
		body := must(base64.StdEncoding.DecodeString(b.Payload.Body.(string)))
		if !bytes.Contains(body, from) {
			t.Fatalf("no %s in %s", from, body)
		}
		b.Payload.Body = base64.StdEncoding.EncodeToString(bytes.Replace(body, from, to, 1))
		b.SignedEntryTimestamp = must(l.RekorSignPayload(b.Payload))
		return must(json.Marshal(b))
	}
	inBody := func(pem []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(pem)) }
	strangerPEM := must(cryptoutils.MarshalCertificateToPEM(strangerLeaf))
	samekey := must(cryptoutils.MarshalPublicKeyToPEM(leafKey.Public()))
	sum := sha256.Sum256(byLeaf)
	for name, entry := range map[string][]byte{
		"is of another signer":    resign(inBody(leafPEM), inBody(strangerPEM)),
		"is of another signer ":   resign(inBody(leafPEM), inBody(samekey)), // a key vouches for no certificate
		"hash.algorithm":          resign([]byte(`"sha256"`), []byte(`"sha512"`)),
		"of another envelope:":    resign([]byte(fmt.Sprintf("%x", sum)), []byte(strings.Repeat("0", 64))),
		"two members \"content\"": resign([]byte(`"content":`), []byte(`"content":{},"content":`)),
	} {
		item := &attached.Item{Form: attached.Envelope, Content: byLeaf, Certificate: leafPEM, LogEntry: entry}
		_, err := judge(t, certificate).Judge(item, digest)
		refused(t, err, invalid, strings.TrimRight(name, " :"))
	}
}
