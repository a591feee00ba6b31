package signaturetest

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	digest  = "sha256:73211270d7e59418a8c080b134b24cabd67d250d0d0147a97ed95ba5c280aa40"
	tokenBy = "https://token.example.com"
	subject = "https://git.example.com/team/app/.ci.yml@refs/heads/main"
)

// sample is one way to sign, and whether sigstore-go must accept it with strict options.
type sample struct {
	name     string
	signer   *Signer
	content  Content
	evidence Evidence
	by       *Sigstore // whose logs and timestamps; nil means the trusted one
	refused  string    // part of sigstore-go's error; empty if it is valid
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// samples makes what there is to make by certificate, and near twins.
func samples(t *testing.T, ours, other *Sigstore) []sample {
	keyless := func(s *Sigstore, id Identity) *Signer {
		t.Helper()
		if id.Subject == "" {
			id.Subject = subject
		}
		id.Issuer = tokenBy
		return must[*Signer](t)(s.Keyless(id))
	}
	signer := keyless(ours, Identity{})
	lastYear := time.Now().Add(-365 * 24 * time.Hour)
	old := keyless(ours, Identity{NotBefore: lastYear})
	then := lastYear.Add(time.Minute)
	about := Content{Digest: digest, Reference: "registry.example.com/team/app", Annotations: map[string]string{"env": "prod"}}
	provenance := about
	provenance.PredicateType, provenance.Predicate = "https://slsa.dev/provenance/v1", map[string]any{"buildType": "https://x"}
	rekor, tiles := Evidence{Log: Rekor}, Evidence{Log: RekorTiles, Timestamp: true}
	return []sample{
		{name: "promise", signer: signer, content: about, evidence: Evidence{Log: RekorPromise}},
		{name: "rekor", signer: signer, content: about, evidence: rekor},
		{name: "rekor and timestamp", signer: signer, content: about, evidence: Evidence{Log: Rekor, Timestamp: true}},
		{name: "tiles", signer: signer, content: about, evidence: tiles},
		{name: "attestation", signer: signer, content: provenance, evidence: rekor},
		{name: "attestation, intoto", signer: signer, content: provenance, evidence: Evidence{Log: Rekor, InToto: true}},
		{name: "attestation, tiles", signer: signer, content: provenance, evidence: tiles},
		{name: "email", signer: keyless(ours, Identity{Subject: "me@example.com"}), content: about, evidence: rekor},
		{name: "P-384", signer: keyless(ours, Identity{Kind: P384}), content: about, evidence: rekor},
		{name: "P-384, tiles", signer: keyless(ours, Identity{Kind: P384}), content: about, evidence: tiles},
		{name: "P-521", signer: keyless(ours, Identity{Kind: P521}), content: about, evidence: rekor},
		{name: "RSA", signer: keyless(ours, Identity{Kind: RSA2048}), content: about, evidence: tiles},
		{name: "last year", signer: old, content: about, evidence: Evidence{Log: Rekor, LogTime: then, Timestamp: true, TimestampTime: then}},
		{name: "last year, tiles", signer: old, content: about, evidence: Evidence{Log: RekorTiles, Timestamp: true, TimestampTime: then}},

		{name: "no log", signer: signer, content: about, evidence: Evidence{Timestamp: true}, refused: "not enough verified log entries"},
		{name: "no time", signer: signer, content: about, evidence: Evidence{Log: RekorTiles}, refused: "threshold not met"},
		{name: "no SCT", signer: keyless(ours, Identity{NoSCT: true}), content: about, evidence: rekor, refused: "SCT"},
		{name: "another's SCT", signer: keyless(ours, Identity{SCTBy: other}), content: about, evidence: rekor, refused: "SCT"},
		{name: "another's CA", signer: keyless(other, Identity{}), content: about, evidence: rekor, refused: "leaf certificate verification failed"},
		{name: "another's log", signer: signer, content: about, evidence: rekor, by: other, refused: "not enough verified log entries"},
		{name: "another entry", signer: signer, content: about, evidence: Evidence{Log: Rekor, OtherEntry: true}, refused: "does not match"},
		{name: "another entry, tiles", signer: signer, content: about, evidence: Evidence{Log: RekorTiles, Timestamp: true, OtherEntry: true}, refused: "verifying log entry"},
		{name: "another's promise", signer: signer, content: about, evidence: Evidence{Log: Rekor, PromiseBy: other}, refused: "not enough verified log entries"},
		{name: "another's checkpoint", signer: signer, content: about, evidence: Evidence{Log: Rekor, CheckpointBy: other}, refused: "checkpoint"},
		{name: "another's checkpoint, tiles", signer: signer, content: about, evidence: Evidence{Log: RekorTiles, Timestamp: true, CheckpointBy: other}, refused: "verifying log entry"},
		{name: "another timestamp", signer: signer, content: about, evidence: Evidence{Log: RekorTiles, Timestamp: true, OtherTimestamp: true}, refused: "threshold not met"},
		{name: "another's timestamp", signer: signer, content: about, evidence: Evidence{Log: RekorTiles, Timestamp: true, TimestampBy: other}, refused: "threshold not met"},
		{name: "too late a timestamp", signer: old, content: about, evidence: tiles, refused: "leaf certificate verification failed"},
		{name: "too late an entry", signer: old, content: about, evidence: rekor, refused: "outside certificate validity"},
	}
}

// TestBundles has sigstore-go judge bundles with strict options.
func TestBundles(t *testing.T) {
	t.Parallel()
	ours, other := must[*Sigstore](t)(NewSigstore()), must[*Sigstore](t)(NewSigstore())
	for _, c := range samples(t, ours, other) {
		for _, version := range []string{"0.1", "0.2", "0.3"} {
			if c.evidence.Log == RekorPromise && version != "0.1" || c.evidence.Log == RekorTiles && version == "0.1" {
				continue // the version has no place for it
			}
			t.Run(c.name+" "+version, func(t *testing.T) {
				t.Parallel()
				by := c.by
				if by == nil {
					by = ours
				}
				item := must[*Item](t)(by.Bundle(version, c.signer, c.content, c.evidence))
				b := &bundle.Bundle{}
				if err := b.UnmarshalJSON(item.Content); err != nil {
					t.Fatalf("%v\n%s", err, item.Content)
				}
				result, err := strict(t, ours).Verify(b, verify.NewPolicy(artifact(t), verify.WithoutIdentitiesUnsafe()))
				judge(t, err, c.refused)
				if err == nil && result.Statement.PredicateType != item.PredicateType {
					t.Errorf("the item says %q of itself and the statement %q", item.PredicateType, result.Statement.PredicateType)
				}
			})
		}
	}
}

// TestClassic has sigstore-go judge classic signatures and attestations with the same options.
func TestClassic(t *testing.T) {
	t.Parallel()
	ours, other := must[*Sigstore](t)(NewSigstore()), must[*Sigstore](t)(NewSigstore())
	for _, c := range samples(t, ours, other) {
		if c.evidence.Log == RekorTiles || c.evidence.CheckpointBy != nil {
			continue // classic formats have no inclusion proof
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			by := c.by
			if by == nil {
				by = ours
			}
			item := must[*Item](t)(by.Classic(c.signer, c.content, c.evidence))
			policy := verify.NewPolicy(verify.WithArtifact(strings.NewReader(string(item.Content))), verify.WithoutIdentitiesUnsafe())
			if item.MediaType == EnvelopeMediaType {
				policy = verify.NewPolicy(artifact(t), verify.WithoutIdentitiesUnsafe())
			}
			_, err := strict(t, ours).Verify(&classic{item: item}, policy)
			judge(t, err, c.refused)
		})
	}
}

// TestKeys has signatures by bare keys verified in every format.
func TestKeys(t *testing.T) {
	t.Parallel()
	ours := must[*Sigstore](t)(NewSigstore())
	for _, c := range []struct {
		kind     Kind
		evidence Evidence
	}{
		{P256, Evidence{}},
		{P256, Evidence{Log: Rekor}},
		{P384, Evidence{Log: RekorTiles, Timestamp: true}},
		{P521, Evidence{Timestamp: true}},
		{RSA2048, Evidence{Log: Rekor}},
		{RSA3072, Evidence{}},
		{Ed25519, Evidence{Log: Rekor}},
		{Ed25519ph, Evidence{Log: RekorTiles}},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			t.Parallel()
			signer := must[*Signer](t)(NewKeySigner(c.kind))
			verifierOptions := []signature.LoadOption{}
			if c.kind == Ed25519ph {
				verifierOptions = append(verifierOptions, options.WithED25519ph())
			}
			verifier := must[signature.Verifier](t)(signature.LoadDefaultVerifier(signer.Public(), verifierOptions...))
			var opts []verify.VerifierOption
			switch {
			case c.evidence.Log == Rekor:
				opts = append(opts, verify.WithIntegratedTimestamps(1), verify.WithTransparencyLog(1))
			case c.evidence.Timestamp:
				opts = append(opts, verify.WithSignedTimestamps(1))
			default:
				opts = append(opts, verify.WithNoObserverTimestamps())
			}
			if c.evidence.Log == RekorTiles {
				opts = append(opts, verify.WithTransparencyLog(1))
			}
			material := root.TrustedMaterialCollection{
				must[*root.TrustedRoot](t)(root.NewTrustedRootFromJSON(ours.TrustedRoot())),
				root.NewTrustedPublicKeyMaterial(func(hint string) (root.TimeConstrainedVerifier, error) {
					if want := must[string](t)(signer.Hint()); hint != want {
						return nil, fmt.Errorf("hint %q instead of %q", hint, want)
					}
					return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
				}),
			}
			judgeBy := must[*verify.Verifier](t)(verify.NewVerifier(material, opts...))
			item := must[*Item](t)(ours.Bundle("0.3", signer, Content{Digest: digest}, c.evidence))
			b := &bundle.Bundle{}
			if err := b.UnmarshalJSON(item.Content); err != nil {
				t.Fatal(err)
			}
			if _, err := judgeBy.Verify(b, verify.NewPolicy(artifact(t), verify.WithKey())); err != nil {
				t.Errorf("%v\n%s", err, item.Content)
			}
			item = must[*Item](t)(ours.Classic(signer, Content{Digest: digest}, Evidence{}))
			sig := must[[]byte](t)(base64.StdEncoding.DecodeString(item.Annotations[SignatureAnnotation]))
			if err := verifier.VerifySignature(strings.NewReader(string(sig)), strings.NewReader(string(item.Content))); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOwnPKI verifies certificates of an authority of one's own by a root, with what intermediates the bundle brings.
func TestOwnPKI(t *testing.T) {
	t.Parallel()
	for _, intermediate := range []bool{false, true} {
		pki := must[*PKI](t)(NewPKI("example", intermediate))
		ours := must[*Sigstore](t)(NewSigstore())
		signer := must[*Signer](t)(pki.Signer(Identity{Subject: "build@example.com"}))
		trusted := must[*root.TrustedRoot](t)(root.NewTrustedRootFromJSON(must[[]byte](t)(pki.TrustedRootOf(ours, 0))))
		judgeBy := must[*verify.Verifier](t)(verify.NewVerifier(trusted, verify.WithCurrentTime()))
		item := must[*Item](t)(ours.Bundle("0.3", signer, Content{Digest: digest}, Evidence{}))
		b := must[*bundle.Bundle](t)(bundle.NewBundle(protobuf(t, item), bundle.AllowCertificateChain()))
		if _, err := judgeBy.Verify(b, verify.NewPolicy(artifact(t), verify.WithoutIdentitiesUnsafe())); err != nil {
			t.Errorf("intermediate %v: %v", intermediate, err)
		}
	}
}

func strict(t *testing.T, s *Sigstore) *verify.Verifier {
	t.Helper()
	trusted := must[*root.TrustedRoot](t)(root.NewTrustedRootFromJSON(s.TrustedRoot()))
	return must[*verify.Verifier](t)(verify.NewVerifier(trusted, verify.WithTransparencyLog(1),
		verify.WithSignedCertificateTimestamps(1), verify.WithObserverTimestamps(1)))
}

func artifact(t *testing.T) verify.ArtifactPolicyOption {
	t.Helper()
	raw := must[[]byte](t)(hex.DecodeString(strings.TrimPrefix(digest, "sha256:")))
	return verify.WithArtifactDigest("sha256", raw)
}

func judge(t *testing.T, err error, refused string) {
	t.Helper()
	switch {
	case refused == "" && err != nil:
		t.Error(err)
	case refused != "" && err == nil:
		t.Error("accepted")
	case refused != "" && !strings.Contains(err.Error(), refused):
		t.Errorf("refused because %v, instead of %s", err, refused)
	}
}

func protobuf(t *testing.T, item *Item) *protobundle.Bundle {
	t.Helper()
	b := &protobundle.Bundle{}
	if err := protojson.Unmarshal(item.Content, b); err != nil {
		t.Fatal(err)
	}
	return b
}
