package proof

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"sluice/engine"
	"sluice/resolver/signature/signaturetest"
)

// TestOneLogIsOne: a log that a root names by two IDs is one log still. Whoever pushes can write the same entry twice,
// each time under another ID, since neither a proof nor a checkpoint has it.
func TestOneLogIsOne(t *testing.T) {
	t.Parallel()
	s := must(signaturetest.NewSigstore())
	p := must(s.Pieces())
	der := must(x509.MarshalPKIXPublicKey(must(cryptoutils.UnmarshalPEMToPublicKey(p.RekorTilesKey))))
	second := sha256.Sum256(der)

	type object = map[string]any
	copyOf := func(o object) (other object) {
		if err := json.Unmarshal(must(json.Marshal(o)), &other); err != nil {
			t.Fatal(err)
		}
		return other
	}
	var root, bundle object
	if err := json.Unmarshal(s.TrustedRoot(), &root); err != nil {
		t.Fatal(err)
	}
	logs := root["tlogs"].([]any)
	for _, log := range logs {
		if log := log.(object); log["baseUrl"] == p.RekorTilesURL {
			other := copyOf(log)
			other["logId"] = object{"keyId": second[:]}
			logs = append(logs, other)
		}
	}
	root["tlogs"] = logs
	signer := must(signaturetest.NewKeySigner(signaturetest.P256))
	item := must(s.Bundle("0.3", signer, about(), signaturetest.Evidence{Log: signaturetest.RekorTiles}))
	if err := json.Unmarshal(item.Content, &bundle); err != nil {
		t.Fatal(err)
	}
	material := bundle["verificationMaterial"].(object)
	entries := material["tlogEntries"].([]any)
	again := copyOf(entries[0].(object))
	again["logId"] = object{"keyId": second[:]}
	material["tlogEntries"] = append(entries, again)
	item.Content = must(json.Marshal(bundle))

	trust := engine.Trust{Keys: keys(signer), Roots: roots(must(json.Marshal(root))), Logs: 2}
	if _, err := judge(t, trust).Judge(found(t, item), digest); err == nil || !strings.Contains(err.Error(), "two entries of one log") {
		t.Errorf("one log twice: %v", err)
	}
	trust.Logs = 1
	if _, err := judge(t, trust).Judge(found(t, item), digest); err != nil {
		t.Errorf("where one log is enough: %v", err)
	}
}

// TestUntilTheFirstEnds: a certificate that must be valid now is so until the first certificate of its chain ends.
func TestUntilTheFirstEnds(t *testing.T) {
	t.Parallel()
	then := time.Now().Add(time.Hour).Truncate(time.Second)
	s := must(signaturetest.NewSigstore())
	p := must(must(signaturetest.NewPKI("own", true)).WithIntermediateUntil(then))
	trust := engine.Trust{Roots: roots(rootOf(t, nil, must(p.RootPEM()))), Intermediates: true, CurrentTime: true}
	f := func(ends, want time.Time) {
		t.Helper()
		signer := must(p.Signer(signaturetest.Identity{Subject: "build@example.com", NotAfter: ends}))
		got, err := judge(t, trust).Judge(found(t, must(s.Classic(signer, about(), signaturetest.Evidence{}))), digest)
		if err != nil || !got.Until.Equal(want) {
			t.Errorf("certificate until %v: %v, %v; want %v", ends, got.Until, err, want)
		}
	}
	f(then.Add(23*time.Hour), then)
	f(then.Add(-time.Minute), then.Add(-time.Minute))
}

// TestRefusalIsPrintable: what a terminal would act on is taken out of what a stranger's certificate says.
func TestRefusalIsPrintable(t *testing.T) {
	t.Parallel()
	s := must(signaturetest.NewSigstore())
	evil := must(signaturetest.NewPKI("evil\x1b[2K\x1b[1A", false))
	signer := must(evil.Signer(signaturetest.Identity{Issuer: tokenBy, Subject: holder}))
	j := judge(t, engine.Trust{Roots: roots(s.TrustedRoot()), Logs: 1, SCTs: 1})
	_, err := j.Judge(found(t, must(s.Bundle("0.3", signer, about(), signaturetest.Evidence{Log: signaturetest.Rekor}))), digest)
	if err == nil || !strings.Contains(err.Error(), "evil") || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%q", err)
	}
}
