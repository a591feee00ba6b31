package proof

import (
	"crypto"
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/signaturetest"
)

const (
	digest  = engine.Digest("sha256:73211270d7e59418a8c080b134b24cabd67d250d0d0147a97ed95ba5c280aa40")
	another = engine.Digest("sha256:0000000000000000000000000000000000000000000000000000000000000001")
	tokenBy = "https://token.example.com"
	holder  = "https://git.example.com/team/app/.ci.yml@refs/heads/main"
)

// must is for what a fixture is made of.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// about is a signature's content, and provenance an attestation's.
func about() signaturetest.Content {
	return signaturetest.Content{
		Digest: string(digest), Reference: "registry.example.com/team/app", Annotations: map[string]string{"env": "prod"},
	}
}

func provenance() signaturetest.Content {
	c := about()
	c.PredicateType, c.Predicate = "https://slsa.dev/provenance/v1", map[string]any{"buildType": "https://x"}
	return c
}

// found makes of an item what finding it in a registry makes.
func found(t testing.TB, item *signaturetest.Item) *attached.Item {
	t.Helper()
	of := &attached.Item{
		Found:       "here",
		Content:     item.Content,
		Certificate: []byte(item.Annotations[signaturetest.CertificateAnnotation]),
		Chain:       []byte(item.Annotations[signaturetest.ChainAnnotation]),
		LogEntry:    []byte(item.Annotations[signaturetest.LogEntryAnnotation]),
		Timestamp:   []byte(item.Annotations[signaturetest.TimestampAnnotation]),
	}
	switch item.MediaType {
	case signaturetest.SimpleSigningMediaType:
		of.Form = attached.SimpleSigning
		of.Signature = must(base64.StdEncoding.DecodeString(item.Annotations[signaturetest.SignatureAnnotation]))
	case signaturetest.EnvelopeMediaType:
		of.Form = attached.Envelope
	default:
		of.Form = attached.Bundle
	}
	return of
}

// judge makes a Judge, of which nothing is wrong.
func judge(t testing.TB, trust engine.Trust) *Judge {
	t.Helper()
	j, err := New(&trust)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func roots(json ...[]byte) []*engine.TrustRoot {
	var all []*engine.TrustRoot
	for _, raw := range json {
		all = append(all, &engine.TrustRoot{Name: "root", JSON: raw})
	}
	return all
}

func keys(signers ...*signaturetest.Signer) []crypto.PublicKey {
	var all []crypto.PublicKey
	for _, s := range signers {
		all = append(all, s.Public())
	}
	return all
}

// refused checks that err is a refusal for a reason, and that it says why.
func refused(t testing.TB, err error, reason engine.Reason, says string) {
	t.Helper()
	var r *Refusal
	switch {
	case err == nil:
		t.Errorf("it was accepted, and should be refused: %s", reason)
	case !errors.As(err, &r):
		t.Errorf("%T is no refusal: %v", err, err)
	case r.Reason != reason || !strings.Contains(r.Error(), says) || r.Panicked:
		t.Errorf("%s (panicked: %v): %v\nwant %s: %s", r.Reason, r.Panicked, err, reason, says)
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
