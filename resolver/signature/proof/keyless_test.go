package proof

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/engine"
	. "sluice/resolver/signature/signaturetest"
)

// sample is one way to sign with a certificate, and what becomes of it by strict trust.
type sample struct {
	name     string
	signer   *Signer
	content  Content
	evidence Evidence
	by       *Sigstore     // whose logs and timestamps; nil means the trusted one
	reason   engine.Reason // 0 if it is valid
	says     string
}

func samples(ours, other *Sigstore) []sample {
	keyless := func(s *Sigstore, id Identity) *Signer {
		if id.Subject == "" {
			id.Subject = holder
		}
		id.Issuer = tokenBy
		return must(s.Keyless(id))
	}
	const (
		invalid = engine.ReasonSignatureInvalid
		expired = engine.ReasonSignatureExpired
		claim   = engine.ReasonClaimMismatch
	)
	signer, rsa := keyless(ours, Identity{}), keyless(ours, Identity{Kind: RSA2048})
	lastYear := time.Now().Add(-365 * 24 * time.Hour)
	old := keyless(ours, Identity{NotBefore: lastYear})
	then := lastYear.Add(time.Minute)
	elsewhere, provenanceElsewhere := about(), provenance()
	elsewhere.Digest, provenanceElsewhere.Digest = string(another), string(another)
	rekor, tiles := Evidence{Log: Rekor}, Evidence{Log: RekorTiles, Timestamp: true}
	return []sample{
		{name: "promise", signer: signer, content: about(), evidence: Evidence{Log: RekorPromise}},
		{name: "rekor", signer: signer, content: about(), evidence: rekor},
		{name: "rekor and timestamp", signer: signer, content: about(), evidence: Evidence{Log: Rekor, Timestamp: true}},
		{name: "tiles", signer: signer, content: about(), evidence: tiles},
		{name: "attestation", signer: signer, content: provenance(), evidence: rekor},
		{name: "attestation and timestamp", signer: signer, content: provenance(), evidence: Evidence{Log: Rekor, Timestamp: true}},
		{name: "attestation, intoto", signer: signer, content: provenance(), evidence: Evidence{Log: Rekor, InToto: true}},
		{name: "attestation, tiles", signer: signer, content: provenance(), evidence: tiles},
		{name: "email", signer: keyless(ours, Identity{Subject: "me@example.com"}), content: about(), evidence: rekor},
		{name: "P-384", signer: keyless(ours, Identity{Kind: P384}), content: about(), evidence: rekor},
		{name: "P-384, tiles", signer: keyless(ours, Identity{Kind: P384}), content: about(), evidence: tiles},
		{name: "P-521", signer: keyless(ours, Identity{Kind: P521}), content: about(), evidence: rekor},
		{name: "RSA, tiles", signer: rsa, content: about(), evidence: tiles},
		{name: "RSA", signer: rsa, content: about(), evidence: rekor},
		{name: "last year", signer: old, content: about(), evidence: Evidence{Log: Rekor, LogTime: then, Timestamp: true, TimestampTime: then}},
		{name: "last year, tiles", signer: old, content: about(), evidence: Evidence{Log: RekorTiles, Timestamp: true, TimestampTime: then}},

		{name: "another image", signer: signer, content: elsewhere, evidence: rekor, reason: claim, says: "signed with a trusted certificate, but not for this"},
		{name: "another image, attestation", signer: signer, content: provenanceElsewhere, evidence: rekor, reason: claim, says: "about sha256:00000"},
		{name: "another image by another", signer: keyless(other, Identity{}), content: elsewhere, evidence: rekor, reason: invalid, says: "another authority"},
		{name: "no log", signer: signer, content: about(), evidence: Evidence{Timestamp: true}, reason: invalid, says: "no entry of a trusted log"},
		{name: "no log, no time", signer: signer, content: about(), reason: expired, says: "no entry of a trusted log and no timestamp"},
		{name: "no time", signer: signer, content: about(), evidence: Evidence{Log: RekorTiles}, reason: expired, says: "no timestamp of a trusted authority"},
		{name: "no SCT", signer: keyless(ours, Identity{NoSCT: true}), content: about(), evidence: rekor, reason: invalid, says: noSCT},
		{name: "another's SCT", signer: keyless(ours, Identity{SCTBy: other}), content: about(), evidence: rekor, reason: invalid, says: noSCT},
		{name: "another's CA", signer: keyless(other, Identity{}), content: about(), evidence: rekor, reason: invalid, says: "another authority"},
		{name: "another's log", signer: signer, content: about(), evidence: rekor, by: other, reason: expired, says: "no entry of a trusted log"},
		{name: "another's log, in time", signer: signer, content: about(), evidence: Evidence{Log: Rekor, PromiseBy: other, Timestamp: true}, reason: invalid, says: "trusted log is not good"},
		{name: "another entry", signer: signer, content: about(), evidence: Evidence{Log: Rekor, OtherEntry: true}, reason: invalid, says: "trusted log is not good"},
		{name: "another entry, tiles", signer: signer, content: about(), evidence: Evidence{Log: RekorTiles, Timestamp: true, OtherEntry: true}, reason: invalid, says: "trusted log is not good"},
		{name: "another's promise", signer: signer, content: about(), evidence: Evidence{Log: Rekor, PromiseBy: other}, reason: invalid, says: "trusted log is not good"},
		{name: "another's checkpoint", signer: signer, content: about(), evidence: Evidence{Log: Rekor, CheckpointBy: other}, reason: invalid, says: "trusted log is not good"},
		{name: "another's checkpoint, tiles", signer: signer, content: about(), evidence: Evidence{Log: RekorTiles, Timestamp: true, CheckpointBy: other}, reason: invalid, says: "trusted log is not good"},
		{name: "another timestamp", signer: signer, content: about(), evidence: Evidence{Log: RekorTiles, Timestamp: true, OtherTimestamp: true}, reason: expired, says: "no timestamp of a trusted authority"},
		{name: "another's timestamp", signer: signer, content: about(), evidence: Evidence{Log: RekorTiles, Timestamp: true, TimestampBy: other}, reason: expired, says: "no timestamp of a trusted authority"},
		{name: "too late a timestamp", signer: old, content: about(), evidence: tiles, reason: expired, says: "its certificate was not valid"},
		{name: "too late an entry", signer: old, content: about(), evidence: rekor, reason: expired, says: "its certificate was not valid"},
		{name: "too early an entry", signer: signer, content: about(), evidence: Evidence{Log: Rekor, LogTime: then}, reason: expired, says: "its certificate was not valid"},
	}
}

// unvouchedIf tells that err says whether it is the log, the timestamp or the SCT alone that something lacks; and that it
// repeats nothing of what a library says of thresholds.
func unvouchedIf(t *testing.T, err error, want bool) {
	t.Helper()
	if r := (*Refusal)(nil); errors.As(err, &r) && r.Unvouched != want {
		t.Errorf("unvouched: %t, want %t: %v", r.Unvouched, want, err)
	}
	if err != nil && (strings.Contains(err.Error(), "threshold") || strings.Contains(err.Error(), "%!")) {
		t.Errorf("more than one asks for: %v", err)
	}
}

// check judges what was made of c.
func (c *sample) check(t *testing.T, j *Judge, item *Item) {
	t.Helper()
	got, err := j.Judge(found(t, item), digest)
	if c.reason != 0 {
		refused(t, err, c.reason, c.says)
		unvouchedIf(t, err, c.reason == engine.ReasonSignatureInvalid && !strings.Contains(c.says, "another authority"))
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.Time.IsZero() || got.Time.After(time.Now().Add(time.Second)) {
		t.Errorf("it was made at %v", got.Time)
	}
	want := engine.Signature{
		Signer: engine.Signer{Issuer: tokenBy, Subject: holder}, Annotations: map[string]string{"env": "prod"}, Found: "here", Time: got.Time,
	}
	if c.name == "email" {
		want.Signer.Subject = "me@example.com"
	}
	if item.MediaType == SimpleSigningMediaType {
		want.Reference = c.content.Reference
	}
	if c.content.PredicateType != "" {
		want.Statement = &engine.Statement{PredicateType: c.content.PredicateType, Predicate: []byte(`{"buildType":"https://x"}`)}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestKeylessBundles(t *testing.T) {
	t.Parallel()
	ours, other := must(NewSigstore()), must(NewSigstore())
	j := judge(t, engine.Trust{Roots: roots(ours.TrustedRoot()), Logs: 1, SCTs: 1})
	for _, c := range samples(ours, other) {
		by := c.by
		if by == nil {
			by = ours
		}
		for _, version := range []string{"0.1", "0.2", "0.3"} {
			if c.evidence.Log == RekorPromise && version != "0.1" || c.evidence.Log == RekorTiles && version == "0.1" {
				continue // the version has no place for it
			}
			t.Run(c.name+" "+version, func(t *testing.T) {
				t.Parallel()
				c.check(t, j, must(by.Bundle(version, c.signer, c.content, c.evidence)))
			})
		}
	}
}

func TestKeylessClassic(t *testing.T) {
	t.Parallel()
	ours, other := must(NewSigstore()), must(NewSigstore())
	j := judge(t, engine.Trust{Roots: roots(ours.TrustedRoot()), Logs: 1, SCTs: 1})
	for _, c := range samples(ours, other) {
		if c.evidence.Log == RekorTiles || c.evidence.CheckpointBy != nil {
			continue // classic formats have no inclusion proof
		}
		by := c.by
		if by == nil {
			by = ours
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(t, j, must(by.Classic(c.signer, c.content, c.evidence)))
		})
	}
}

// TestEarliestTime has a log and a timestamp authority vouch for different times.
func TestEarliestTime(t *testing.T) {
	t.Parallel()
	ours := must(NewSigstore())
	from := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	signer := must(ours.Keyless(Identity{Issuer: tokenBy, Subject: holder, NotBefore: from}))
	first, second := from.Add(time.Minute), from.Add(2*time.Minute)
	for _, stamps := range []int{0, 1} {
		j := judge(t, engine.Trust{Roots: roots(ours.TrustedRoot()), Logs: 1, SCTs: 1, Timestamps: stamps})
		for _, e := range []Evidence{
			{Log: Rekor, LogTime: first, Timestamp: true, TimestampTime: second},
			{Log: Rekor, LogTime: second, Timestamp: true, TimestampTime: first},
		} {
			for _, item := range []*Item{
				must(ours.Classic(signer, about(), e)), must(ours.Classic(signer, provenance(), e)), must(ours.Bundle("0.3", signer, about(), e)),
			} {
				got, err := j.Judge(found(t, item), digest)
				if err != nil || !got.Time.Equal(first) {
					t.Errorf("%s, log at %v, stamp at %v: %v, %v", item.MediaType, e.LogTime, e.TimestampTime, got.Time, err)
				}
			}
		}
	}
}
