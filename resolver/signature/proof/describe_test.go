package proof

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	. "sluice/resolver/signature/signaturetest"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	ours := must(NewSigstore())
	keyless, key := must(ours.Keyless(Identity{Issuer: tokenBy, Subject: holder})), must(NewKeySigner(P256))
	at := time.Now().Add(-time.Hour).Truncate(time.Second).UTC()
	logged := Evidence{Log: Rekor, LogTime: at, Timestamp: true, TimestampTime: at.Add(time.Minute)}
	annotations := map[string]string{"env": "prod"}
	for name, c := range map[string]struct {
		item *attached.Item
		want Description
	}{
		"classic": {found(t, must(ours.Classic(keyless, about(), logged))), Description{
			Kind: KindSignature, Issuer: tokenBy, Subject: holder, Reference: about().Reference, Annotations: annotations,
			Times: []time.Time{at, at.Add(time.Minute)},
		}},
		"classic attestation by key": {found(t, must(ours.Classic(key, provenance(), Evidence{}))), Description{
			Kind: KindAttestation, PredicateType: provenance().PredicateType, Annotations: annotations,
		}},
		"bundle": {found(t, must(ours.Bundle("0.3", keyless, about(), logged))), Description{
			Kind: KindSignature, PredicateType: signatureType, Issuer: tokenBy, Subject: holder, Annotations: annotations,
			Times: []time.Time{at, at.Add(time.Minute)},
		}},
		"bundle by key": {found(t, must(ours.Bundle("0.3", key, provenance(), Evidence{Log: RekorTiles}))), Description{
			Kind: KindAttestation, PredicateType: provenance().PredicateType, KeyHint: must(key.Hint()), Annotations: annotations,
		}},
	} {
		got := Describe(c.item)
		c.want.Digests = []engine.Digest{digest}
		if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(Description{}, "LogIndexes")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if hasLog := name != "classic attestation by key"; hasLog != (len(got.LogIndexes) == 1) {
			t.Errorf("%s: log entries %v", name, got.LogIndexes)
		}
	}
}

// TestDescribeJunk has what can't be read be said, and what can be read all the same.
func TestDescribeJunk(t *testing.T) {
	t.Parallel()
	ours := must(NewSigstore())
	item := found(t, must(ours.Classic(must(NewKeySigner(P256)), about(), Evidence{})))
	item.Certificate = []byte(" ")
	if d := Describe(item); d.Err == nil || d.Kind != KindSignature || len(d.Digests) != 1 {
		t.Errorf("%+v", d)
	}
	file := found(t, must(ours.Bundle("0.3", must(NewKeySigner(P256)), Content{File: []byte("x")}, Evidence{})))
	if d := Describe(file); d.Err == nil || d.Kind != "" || d.KeyHint == "" {
		t.Errorf("%+v", d)
	}
	for _, item := range []*attached.Item{
		nil,
		{},
		{Form: attached.Bundle},
		{Form: attached.SimpleSigning, Content: []byte("[]")},
		{Form: attached.Envelope, Content: []byte("{}")},
		{Fault: errors.New("fault")},
		{Failure: &engine.Failure{Reason: engine.ReasonTimeout}},
		{Form: 99, Content: []byte("{}")},
		{Form: attached.Bundle, Content: []byte("null")},
	} {
		if d := Describe(item); d.Err == nil {
			t.Errorf("%+v is described as %+v", item, d)
		}
	}
}
