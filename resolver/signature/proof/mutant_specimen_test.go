package proof_test

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"maps"
	"testing"
	"testing/cryptotest"
	"testing/synctest"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/proof"
	"sluice/resolver/signature/signaturetest"
)

const (
	mutantDigest  = engine.Digest("sha256:73211270d7e59418a8c080b134b24cabd67d250d0d0147a97ed95ba5c280aa40")
	anotherDigest = engine.Digest("sha256:00011270d7e59418a8c080b134b24cabd67d250d0d0147a97ed95ba5c280aa40")
	mutantIssuer  = "https://token.example.com"
	mutantSubject = "https://git.example.com/team/app/ci.yml@refs/heads/main"
)

// specimen is a valid item, what it says, and another valid item by the same signer, over another digest.
type specimen struct {
	kind  string
	name  string
	judge *proof.Judge
	item  *attached.Item
	twin  *attached.Item
	says  engine.Signature
}

// specimens makes one of each kind of signature and attestation. Keys and times are the same in every run.
func specimens(t *testing.T) (all []*specimen) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 3)
	synctest.Test(t, func(t *testing.T) { all = makeSpecimens(t) })
	return all
}

func makeSpecimens(t testing.TB) (all []*specimen) {
	t.Helper()
	m := maker{t: t}
	m.sigstore = made[*signaturetest.Sigstore](t)(signaturetest.NewSigstore())
	m.key = made[*signaturetest.Signer](t)(signaturetest.NewKeySigner(signaturetest.P256))
	m.keyless = made[*signaturetest.Signer](t)(m.sigstore.Keyless(signaturetest.Identity{Issuer: mutantIssuer, Subject: mutantSubject}))
	pki := made[*signaturetest.PKI](t)(signaturetest.NewPKI("example", true))
	m.own = made[*signaturetest.Signer](t)(pki.Signer(signaturetest.Identity{Subject: "build@example.com"}))
	root := &engine.TrustRoot{Name: "test", JSON: m.sigstore.TrustedRoot()}

	signature := signaturetest.Content{Reference: "registry.example.com/team/app", Annotations: map[string]string{"env": "prod"}}
	attestation := signature
	attestation.PredicateType = "https://slsa.dev/provenance/v1"
	attestation.Predicate = map[string]any{"buildDefinition": map[string]any{"buildType": "https://example.com/build", "list": []int{1}}}

	byKey := engine.Trust{Keys: []crypto.PublicKey{m.key.Public()}}
	byKeyLogged := engine.Trust{Keys: byKey.Keys, Roots: []*engine.TrustRoot{root}, Logs: 1}
	keyless := engine.Trust{Roots: []*engine.TrustRoot{root}, Logs: 1, SCTs: 1}
	stamped := engine.Trust{Roots: []*engine.TrustRoot{root}, Timestamps: 1, SCTs: 1}
	own := engine.Trust{Roots: []*engine.TrustRoot{m.ownRoot(pki)}, Timestamps: 1, Intermediates: true}

	none := signaturetest.Evidence{}
	logged := signaturetest.Evidence{Log: signaturetest.Rekor}
	promised := signaturetest.Evidence{Log: signaturetest.RekorPromise}
	tiles := signaturetest.Evidence{Log: signaturetest.RekorTiles, Timestamp: true}
	stamp := signaturetest.Evidence{Timestamp: true}
	both := signaturetest.Evidence{Log: signaturetest.Rekor, Timestamp: true}
	tilesAlone := signaturetest.Evidence{Log: signaturetest.RekorTiles}

	m.kind = "classic signatures"
	m.classic("classic key signature", byKey, m.key, signature, none)
	m.classic("classic key signature, logged", byKeyLogged, m.key, signature, logged)
	m.classic("classic keyless signature", keyless, m.keyless, signature, logged)
	m.classic("classic keyless signature, timestamp alone", stamped, m.keyless, signature, stamp)
	m.classic("classic keyless signature, log and timestamp", keyless, m.keyless, signature, both)
	m.kind = "classic attestations"
	m.classic("classic key attestation", byKey, m.key, attestation, none)
	m.classic("classic keyless attestation", keyless, m.keyless, attestation, logged)
	m.kind = "bundles 0.1"
	m.bundle("bundle 0.1, keyless signature", "0.1", keyless, m.keyless, signature, promised)
	m.bundle("bundle 0.1, keyless attestation", "0.1", keyless, m.keyless, attestation, logged)
	m.kind = "bundles 0.3 without a log"
	m.bundle("bundle 0.3, key signature", "0.3", byKey, m.key, signature, none)
	m.bundle("bundle 0.3, own PKI", "0.3", own, m.own, signature, stamp)
	m.kind = "bundles 0.3 in Rekor v1"
	m.bundle("bundle 0.3, keyless signature", "0.3", keyless, m.keyless, signature, logged)
	m.bundle("bundle 0.3, keyless attestation", "0.3", keyless, m.keyless, attestation, logged)
	m.kind = "bundles 0.3 in Rekor v2"
	m.bundle("bundle 0.3, key signature, Rekor v2", "0.3", byKeyLogged, m.key, signature, tilesAlone)
	m.bundle("bundle 0.3, keyless signature, Rekor v2", "0.3", keyless, m.keyless, signature, tiles)
	m.bundle("bundle 0.3, keyless attestation, Rekor v2", "0.3", keyless, m.keyless, attestation, tiles)
	return m.all
}

// maker makes specimens.
type maker struct {
	t        testing.TB
	sigstore *signaturetest.Sigstore
	key      *signaturetest.Signer
	keyless  *signaturetest.Signer
	own      *signaturetest.Signer
	kind     string // of those that are made next
	all      []*specimen
}

func made[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (m *maker) ownRoot(pki *signaturetest.PKI) *engine.TrustRoot {
	return &engine.TrustRoot{Name: "own", JSON: made[[]byte](m.t)(pki.TrustedRootOf(m.sigstore, signaturetest.TSAPart))}
}

func (m *maker) classic(name string, t engine.Trust, by *signaturetest.Signer, c signaturetest.Content, e signaturetest.Evidence) {
	m.t.Helper()
	m.add(name, t, func(digest engine.Digest) (*signaturetest.Item, error) {
		c.Digest = string(digest)
		return m.sigstore.Classic(by, c, e)
	})
}

func (m *maker) bundle(name, version string, t engine.Trust, by *signaturetest.Signer, c signaturetest.Content, e signaturetest.Evidence) {
	m.t.Helper()
	m.add(name, t, func(digest engine.Digest) (*signaturetest.Item, error) {
		c.Digest = string(digest)
		return m.sigstore.Bundle(version, by, c, e)
	})
}

func (m *maker) add(name string, t engine.Trust, make func(engine.Digest) (*signaturetest.Item, error)) {
	m.t.Helper()
	s := &specimen{
		kind:  m.kind,
		name:  name,
		judge: made[*proof.Judge](m.t)(proof.New(made[*engine.Trust](m.t)(engine.NewTrust(t)))),
		item:  attach(m.t, made[*signaturetest.Item](m.t)(make(mutantDigest))),
		twin:  attach(m.t, made[*signaturetest.Item](m.t)(make(anotherDigest))),
	}
	var err error
	if s.says, err = s.judge.Judge(s.item, mutantDigest); err != nil {
		m.t.Fatalf("%s is refused: %v", name, err)
	}
	if _, err := s.judge.Judge(s.twin, anotherDigest); err != nil {
		m.t.Fatalf("the twin of %s is refused: %v", name, err)
	}
	m.all = append(m.all, s)
}

// attach makes of an item what is found of it in a registry.
func attach(t testing.TB, i *signaturetest.Item) *attached.Item {
	t.Helper()
	a := &attached.Item{
		Form: attached.Bundle, Content: i.Content,
		Certificate: []byte(i.Annotations[signaturetest.CertificateAnnotation]),
		Chain:       []byte(i.Annotations[signaturetest.ChainAnnotation]),
		LogEntry:    []byte(i.Annotations[signaturetest.LogEntryAnnotation]),
		Timestamp:   []byte(i.Annotations[signaturetest.TimestampAnnotation]),
	}
	switch i.MediaType {
	case signaturetest.SimpleSigningMediaType:
		a.Form = attached.SimpleSigning
		a.Signature = made[[]byte](t)(base64.StdEncoding.DecodeString(i.Annotations[signaturetest.SignatureAnnotation]))
	case signaturetest.EnvelopeMediaType:
		a.Form = attached.Envelope
	}
	return a
}

// change is one change of an item.
type change struct {
	edit
	set func(i *attached.Item, b []byte)
}

func (c change) apply(to *attached.Item) *attached.Item {
	i := *to
	c.set(&i, c.make())
	return &i
}

// fields are what an item is made of.
var fields = []struct {
	name string
	get  func(i *attached.Item) *[]byte
}{
	{"content", func(i *attached.Item) *[]byte { return &i.Content }},
	{"signature", func(i *attached.Item) *[]byte { return &i.Signature }},
	{"certificate", func(i *attached.Item) *[]byte { return &i.Certificate }},
	{"chain", func(i *attached.Item) *[]byte { return &i.Chain }},
	{"log entry", func(i *attached.Item) *[]byte { return &i.LogEntry }},
	{"timestamp", func(i *attached.Item) *[]byte { return &i.Timestamp }},
}

// changes lists those of item, of which twin may be another.
func changes(item, twin *attached.Item) (all []change) {
	for _, f := range fields {
		set := func(i *attached.Item, b []byte) { *f.get(i) = b }
		for _, e := range edits(f.name, *f.get(item), *f.get(twin), 0) {
			all = append(all, change{e, set})
		}
	}
	for form := range attached.Bundle + 2 {
		if form != item.Form {
			all = append(all, change{
				edit{"form", "another", func() []byte { return nil }},
				func(i *attached.Item, _ []byte) { i.Form = form },
			})
		}
	}
	return all
}

// same tells whether two items have the same bytes.
func same(a, b *attached.Item) bool {
	for _, f := range fields {
		if !bytes.Equal(*f.get(a), *f.get(b)) {
			return false
		}
	}
	return a.Form == b.Form
}

// saysOneOf tells whether a signature says what a specimen says, or what it says but for the time: which logs and
// timestamps are looked at depends on the trust.
func saysOneOf(all []*specimen, got engine.Signature) bool {
	for _, s := range all {
		want := s.says
		if want.Time = got.Time; equal(want, got) {
			return true
		}
	}
	return false
}

// equal tells whether two signatures say the same.
func equal(a, b engine.Signature) bool {
	statements := a.Statement == nil && b.Statement == nil
	if a.Statement != nil && b.Statement != nil {
		statements = a.Statement.PredicateType == b.Statement.PredicateType && bytes.Equal(a.Statement.Predicate, b.Statement.Predicate)
	}
	return statements && a.Signer == b.Signer && a.Reference == b.Reference && a.Time.Equal(b.Time) &&
		maps.Equal(a.Annotations, b.Annotations)
}
