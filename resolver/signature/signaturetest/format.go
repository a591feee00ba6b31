package signaturetest

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	payloadType     = "application/vnd.in-toto+json"
	bundleMediaType = "application/vnd.dev.sigstore.bundle"
)

// Classic makes what cosign v2 writes under the tags sha256-<hex>.sig and .att: a simple signing payload, or if there is
// a predicate type an envelope, with all else in annotations. A log gives its signed entry timestamp there and no
// inclusion proof, whichever of Rekor v1's ways e asks for.
func (s *Sigstore) Classic(by *Signer, c Content, e Evidence) (*Item, error) {
	if e.Log == RekorTiles {
		return nil, errors.New("signaturetest: classic formats have no place for an entry of Rekor v2")
	}
	of, other, err := c.sign(by, c.PredicateType != "")
	if err != nil {
		return nil, err
	}
	item := &Item{
		MediaType: SimpleSigningMediaType, Content: of.message,
		Annotations: map[string]string{SignatureAnnotation: base64.StdEncoding.EncodeToString(of.signature)},
	}
	stamped, otherStamped := of.signature, other.signature
	if c.PredicateType != "" {
		item.MediaType, item.Content, item.PredicateType = EnvelopeMediaType, of.envelope, c.PredicateType
		item.Annotations = map[string]string{SignatureAnnotation: "", "predicateType": c.PredicateType}
		stamped, otherStamped = of.envelope, other.envelope // the timestamp is over the whole envelope
	}
	if by.leaf != nil {
		leaf, err := by.CertificatePEM()
		if err != nil {
			return nil, err
		}
		chain, err := by.chainPEM()
		if err != nil {
			return nil, err
		}
		item.Annotations[CertificateAnnotation], item.Annotations[ChainAnnotation] = string(leaf), string(chain)
	}
	if e.Log != NoLog {
		e.Log = RekorPromise
		logged := of
		if e.OtherEntry {
			logged = other
		}
		tle, err := s.enter(logged, e)
		if err != nil {
			return nil, err
		}
		if item.Annotations[LogEntryAnnotation], err = logAnnotation(tle); err != nil {
			return nil, err
		}
	}
	if e.Timestamp {
		stamp, err := s.stamp(stamped, otherStamped, e)
		if err != nil {
			return nil, err
		}
		raw, err := json.Marshal(struct{ SignedRFC3161Timestamp []byte }{stamp})
		if err != nil {
			return nil, err
		}
		item.Annotations[TimestampAnnotation] = string(raw)
	}
	return item, nil
}

func logAnnotation(tle *protorekor.TransparencyLogEntry) (string, error) {
	type payload struct {
		Body           []byte `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogIndex       int64  `json:"logIndex"`
		LogID          string `json:"logID"`
	}
	raw, err := json.Marshal(struct {
		SignedEntryTimestamp []byte
		Payload              payload
	}{tle.InclusionPromise.SignedEntryTimestamp, payload{
		tle.CanonicalizedBody, tle.IntegratedTime, tle.LogIndex, hex.EncodeToString(tle.LogId.KeyId),
	}})
	return string(raw), err
}

func (s *Sigstore) stamp(message, other []byte, e Evidence) ([]byte, error) {
	if e.OtherTimestamp {
		message = other
	}
	if e.TimestampBy != nil {
		s = e.TimestampBy
	}
	return s.tsa.stamp(message, orNow(e.TimestampTime))
}

// Bundle makes a sigstore bundle of a version: "0.1", "0.2" or "0.3". A signature is a statement of the predicate type
// https://sigstore.dev/cosign/sign/v1, as cosign v3 makes it.
func (s *Sigstore) Bundle(version string, by *Signer, c Content, e Evidence) (*Item, error) {
	of, other, err := c.sign(by, c.File == nil)
	if err != nil {
		return nil, err
	}
	material := &protobundle.VerificationMaterial{}
	if err := by.identify(material, version); err != nil {
		return nil, err
	}
	if e.Log != NoLog {
		logged := of
		if e.OtherEntry {
			logged = other
		}
		tle, err := s.enter(logged, e)
		if err != nil {
			return nil, err
		}
		material.TlogEntries = []*protorekor.TransparencyLogEntry{tle}
	}
	if e.Timestamp {
		stamp, err := s.stamp(of.signature, other.signature, e)
		if err != nil {
			return nil, err
		}
		material.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp}},
		}
	}
	item := &Item{MediaType: bundleMediaType + ".v" + version + "+json"}
	if version == "0.1" || version == "0.2" {
		item.MediaType = bundleMediaType + "+json;version=" + version
	}
	bundle := &protobundle.Bundle{MediaType: item.MediaType, VerificationMaterial: material}
	if c.File != nil {
		bundle.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: by.protoHash(), Digest: by.sum(c.File)},
			Signature:     of.signature,
		}}
	} else {
		item.PredicateType = cmp.Or(c.PredicateType, SignaturePredicateType)
		bundle.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: of.payload, PayloadType: payloadType,
			Signatures: []*protodsse.Signature{{Sig: of.signature}},
		}}
	}
	raw, err := protojson.Marshal(bundle)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer // protojson's blanks change from build to build
	err = json.Compact(&compact, raw)
	item.Content = compact.Bytes()
	return item, err
}

// identify writes down whose signature it is: a chain in the older bundles and for an authority of one's own with an
// intermediate, the certificate alone in those of version 0.3, or the hint of a bare key.
func (s *Signer) identify(material *protobundle.VerificationMaterial, version string) error {
	switch {
	case s.leaf == nil:
		hint, err := s.Hint()
		material.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: hint}}
		return err
	case version == "0.3" && (s.fulcio || len(s.chain) == 1):
		material.Content = &protobundle.VerificationMaterial_Certificate{
			Certificate: &protocommon.X509Certificate{RawBytes: s.leaf.Raw},
		}
		return nil
	}
	chain := &protocommon.X509CertificateChain{Certificates: []*protocommon.X509Certificate{{RawBytes: s.leaf.Raw}}}
	for _, c := range s.chain[:len(s.chain)-1] { // without the root, which whoever verifies has
		chain.Certificates = append(chain.Certificates, &protocommon.X509Certificate{RawBytes: c.Raw})
	}
	material.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: chain}
	return nil
}

// sign signs c, and beside it another payload for the near twins.
func (c Content) sign(by *Signer, envelope bool) (of, other signed, err error) {
	payload, err := c.payload(envelope)
	if err != nil {
		return of, other, err
	}
	if of, err = by.signPayload(payload, envelope); err != nil {
		return of, other, err
	}
	other, err = by.signPayload(append(slices.Clone(payload), ' '), envelope)
	return of, other, err
}

func (s *Signer) signPayload(payload []byte, envelope bool) (signed, error) {
	of := signed{by: s, message: payload}
	if envelope {
		of.message, of.payload = dsse.PAE(payloadType, payload), payload
	}
	var err error
	if of.signature, err = s.Sign(of.message); err != nil || !envelope {
		return of, err
	}
	of.envelope, err = json.Marshal(dsse.Envelope{
		PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(payload),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(of.signature)}},
	})
	return of, err
}

// payload is the statement or the simple signing claim.
func (c Content) payload(envelope bool) ([]byte, error) {
	switch {
	case c.File != nil:
		return c.File, nil
	case c.Payload != nil:
		return c.Payload, nil
	case !envelope:
		return json.Marshal(c.claim())
	}
	return json.Marshal(c.statement())
}

func (c Content) claim() any {
	var optional any // null where there are none
	if len(c.Annotations) > 0 {
		optional = c.Annotations
	}
	type object = map[string]any
	return object{
		"critical": object{
			"identity": object{"docker-reference": c.Reference},
			"image":    object{"docker-manifest-digest": c.Digest},
			"type":     "cosign container image signature",
		},
		"optional": optional,
	}
}

func (c Content) statement() any {
	type subject struct {
		Name        string            `json:"name,omitempty"`
		Digest      map[string]string `json:"digest"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	algorithm, hash, _ := strings.Cut(c.Digest, ":")
	about := subject{Digest: map[string]string{algorithm: hash}, Annotations: maps.Clone(c.Annotations)}
	kind := "https://in-toto.io/Statement/v1"
	if c.PredicateType != "" && c.PredicateType != SignaturePredicateType { // cosign writes its attestations in the older form
		kind, about.Name = "https://in-toto.io/Statement/v0.1", c.Reference
	}
	predicate := c.Predicate
	if predicate == nil {
		predicate = struct{}{}
	}
	return struct {
		Type          string    `json:"_type"`
		Subject       []subject `json:"subject"`
		PredicateType string    `json:"predicateType"`
		Predicate     any       `json:"predicate"`
	}{kind, []subject{about}, cmp.Or(c.PredicateType, SignaturePredicateType), predicate}
}
