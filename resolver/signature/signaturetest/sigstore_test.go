package signaturetest

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// TestTrustedRootOf counts what a root of parts holds.
func TestTrustedRootOf(t *testing.T) {
	t.Parallel()
	s := must[*Sigstore](t)(NewSigstore())
	if again := must[[]byte](t)(s.TrustedRootOf(AllParts)); !bytes.Equal(again, s.TrustedRoot()) {
		t.Error("the same root twice is not the same JSON")
	}
	for parts, want := range map[Parts][4]int{
		AllParts:                       {1, 1, 2, 1},
		CAPart | CTLogPart | RekorPart: {1, 1, 1, 0},
		RekorTilesPart | TSAPart:       {0, 0, 1, 1},
		CAPart:                         {1, 0, 0, 0},
	} {
		r := must[*root.TrustedRoot](t)(root.NewTrustedRootFromJSON(must[[]byte](t)(s.TrustedRootOf(parts))))
		got := [4]int{
			len(r.FulcioCertificateAuthorities()), len(r.CTLogs()), len(r.RekorLogs()), len(r.TimestampingAuthorities()),
		}
		if got != want {
			t.Errorf("parts %b: %v authorities, CT logs, logs and timestamp authorities, want %v", parts, got, want)
		}
	}
}

// TestPieces parses the parts as PEM and compares them with the root.
func TestPieces(t *testing.T) {
	t.Parallel()
	s := must[*Sigstore](t)(NewSigstore())
	p := must[Pieces](t)(s.Pieces())
	if certs, err := cryptoutils.UnmarshalCertificatesFromPEM(p.CAChain); err != nil || len(certs) != 2 || !certs[1].Equal(s.fulcio.root.cert) {
		t.Errorf("the CA's chain has %d certificates, %v", len(certs), err)
	}
	if certs, err := cryptoutils.UnmarshalCertificatesFromPEM(p.TSAChain); err != nil || len(certs) != 3 || certs[0].IsCA {
		t.Errorf("the timestamp authority's chain has %d certificates, %v", len(certs), err)
	}
	for name, key := range map[string][]byte{"CT log": p.CTLogKey, "Rekor": p.RekorKey, "Rekor v2": p.RekorTilesKey} {
		if _, err := cryptoutils.UnmarshalPEMToPublicKey(key); err != nil {
			t.Errorf("the key of %s: %v", name, err)
		}
	}
	if bytes.Equal(p.CTLogKey, p.RekorKey) {
		t.Error("two logs have one key")
	}
}

// TestEnvelopeTimestamp has the timestamp of a classic attestation verified, which is over the whole envelope.
func TestEnvelopeTimestamp(t *testing.T) {
	t.Parallel()
	s := must[*Sigstore](t)(NewSigstore())
	signer := must[*Signer](t)(NewKeySigner(P256))
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	c := Content{Digest: digest, PredicateType: "https://spdx.dev/Document"}
	trusted := must[*root.TrustedRoot](t)(root.NewTrustedRootFromJSON(s.TrustedRoot()))
	verify := func(e Evidence) error {
		item := must[*Item](t)(s.Classic(signer, c, e))
		var stamp struct{ SignedRFC3161Timestamp []byte }
		if err := json.Unmarshal([]byte(item.Annotations[TimestampAnnotation]), &stamp); err != nil {
			t.Fatal(err)
		}
		got, err := trusted.TimestampingAuthorities()[0].Verify(stamp.SignedRFC3161Timestamp, item.Content)
		if err == nil && !got.Time.Equal(at) {
			t.Errorf("the time is %v instead of %v", got.Time, at)
		}
		return err
	}
	if err := verify(Evidence{Timestamp: true, TimestampTime: at}); err != nil {
		t.Error(err)
	}
	if err := verify(Evidence{Timestamp: true, TimestampTime: at, OtherTimestamp: true}); err == nil {
		t.Error("another's timestamp was accepted")
	}
}
