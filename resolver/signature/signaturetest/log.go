package signaturetest

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/transparency-dev/merkle/rfc6962"
	sumdb "golang.org/x/mod/sumdb/note"
)

// signed is what a signer made of a message, and what logs and timestamps are about.
type signed struct {
	by        *Signer
	message   []byte // that was signed; for an envelope its pre-authentication encoding
	signature []byte
	payload   []byte // of an envelope; nil for other messages
	envelope  []byte // JSON
}

// The place of every entry in its log, which has three: one before and one after.
const (
	globalIndex = 175508996 // over all of Rekor v1's trees; entries of one log have different ones in truth
	treeIndex   = 1
	treeSize    = 3
)

// enter makes the log's entry, as bundles have it.
func (s *Sigstore) enter(of signed, e Evidence) (*protorekor.TransparencyLogEntry, error) {
	log, body := s.rekor, of.rekorBody
	if e.Log == RekorTiles {
		log, body = s.tiles, of.tilesBody
	}
	raw, err := body(e)
	if err != nil {
		return nil, err
	}
	tle := &protorekor.TransparencyLogEntry{
		LogIndex: treeIndex, LogId: &protocommon.LogId{KeyId: log.id}, CanonicalizedBody: raw,
	}
	if tle.KindVersion, err = kind(raw); err != nil {
		return nil, err
	}
	if e.Log != RekorTiles {
		tle.LogIndex = globalIndex
		tle.IntegratedTime = orNow(e.LogTime).Unix()
		promiser := log
		if e.PromiseBy != nil {
			promiser = e.PromiseBy.rekor
		}
		promise, err := log.promise(tle, promiser)
		if err != nil {
			return nil, err
		}
		tle.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	}
	if e.Log != RekorPromise {
		signer := log
		switch {
		case e.CheckpointBy != nil && e.Log == RekorTiles:
			signer = e.CheckpointBy.tiles
		case e.CheckpointBy != nil:
			signer = e.CheckpointBy.rekor
		}
		if tle.InclusionProof, err = signer.include(raw); err != nil {
			return nil, err
		}
	}
	return tle, nil
}

func kind(body []byte) (*protorekor.KindVersion, error) {
	var k entry
	err := json.Unmarshal(body, &k)
	return &protorekor.KindVersion{Kind: k.Kind, Version: k.APIVersion}, err
}

func orNow(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now()
	}
	return t
}

// promise signs that the entry will be in l: Rekor v1's signed entry timestamp, over canonical JSON.
func (l *transparencyLog) promise(e *protorekor.TransparencyLogEntry, by *transparencyLog) ([]byte, error) {
	text := fmt.Sprintf(`{"body":"%s","integratedTime":%d,"logID":"%s","logIndex":%d}`,
		base64.StdEncoding.EncodeToString(e.CanonicalizedBody), e.IntegratedTime, hex.EncodeToString(l.id), e.LogIndex)
	return (&Signer{key: by.key}).Sign([]byte(text))
}

// include proves that the body is the second of three entries, and signs the checkpoint.
func (l *transparencyLog) include(body []byte) (*protorekor.InclusionProof, error) {
	hash := rfc6962.DefaultHasher
	before, after := hash.HashLeaf([]byte("before")), hash.HashLeaf([]byte("after"))
	root := hash.HashChildren(hash.HashChildren(before, hash.HashLeaf(body)), after)
	loaded, err := signature.LoadSignerWithOpts(l.key)
	if err != nil {
		return nil, err
	}
	// A note's signature names the host alone; Rekor v1's origin has the tree's number, too.
	name, _, _ := strings.Cut(l.origin, " ")
	signer, err := note.NewNoteSigner(context.Background(), name, loaded)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", l.origin, treeSize, base64.StdEncoding.EncodeToString(root))
	checkpoint, err := sumdb.Sign(&sumdb.Note{Text: text}, signer)
	return &protorekor.InclusionProof{
		LogIndex: treeIndex, TreeSize: treeSize, RootHash: root, Hashes: [][]byte{before, after},
		Checkpoint: &protorekor.Checkpoint{Envelope: string(checkpoint)},
	}, err
}

// entry is what all entries' bodies have.
type entry struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       any    `json:"spec"`
}

type hashed struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}

func sha256Of(content []byte) hashed {
	sum := sha256.Sum256(content)
	return hashed{"sha256", hex.EncodeToString(sum[:])}
}

// rekorBody is the canonical JSON of a Rekor v1 entry: dsse v0.0.1 or intoto v0.0.2 for an envelope, or else
// hashedrekord v0.0.1. Members are in the order of their names.
func (of signed) rekorBody(e Evidence) ([]byte, error) {
	material, err := of.by.material()
	if err != nil {
		return nil, err
	}
	switch {
	case of.envelope == nil:
		algorithm := map[int]string{32: "sha256", 48: "sha384", 64: "sha512"}[of.by.hash().Size()]
		return json.Marshal(entry{"0.0.1", "hashedrekord", map[string]any{
			"data":      map[string]any{"hash": hashed{algorithm, hex.EncodeToString(of.by.sum(of.message))}},
			"signature": map[string]any{"content": of.signature, "publicKey": map[string]any{"content": material}},
		}})
	case e.InToto:
		return json.Marshal(entry{"0.0.2", "intoto", map[string]any{"content": map[string]any{
			"envelope": map[string]any{
				"payloadType": payloadType,
				"signatures": []any{map[string]any{
					"publicKey": material, "sig": []byte(base64.StdEncoding.EncodeToString(of.signature)),
				}},
			},
			"hash": sha256Of(of.envelope), "payloadHash": sha256Of(of.payload),
		}}})
	}
	return json.Marshal(entry{"0.0.1", "dsse", map[string]any{
		"envelopeHash": sha256Of(of.envelope), "payloadHash": sha256Of(of.payload),
		"signatures": []any{map[string]any{"signature": of.signature, "verifier": material}},
	}})
}

// tilesBody is the canonical JSON of a Rekor v2 entry: hashedrekord v0.0.2, for envelopes too.
func (of signed) tilesBody(Evidence) ([]byte, error) {
	verifier := map[string]any{"keyDetails": of.by.details().String()}
	if of.by.leaf != nil {
		verifier["x509Certificate"] = map[string]any{"rawBytes": of.by.leaf.Raw}
	} else {
		der, err := x509.MarshalPKIXPublicKey(of.by.key.Public())
		if err != nil {
			return nil, err
		}
		verifier["publicKey"] = map[string]any{"rawBytes": der}
	}
	return json.Marshal(entry{"0.0.2", "hashedrekord", map[string]any{"hashedRekordV002": map[string]any{
		"data":      map[string]any{"algorithm": of.by.protoHash().String(), "digest": of.by.sum(of.message)},
		"signature": map[string]any{"content": of.signature, "verifier": verifier},
	}}})
}
