package proof

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"google.golang.org/protobuf/encoding/protojson"

	"sluice/engine"
	"sluice/resolver/signature/attached"
)

// signed is what an item, or a bundle over a file, comes down to. Nothing in it is known to be true.
type signed struct {
	payload    []byte   // what is claimed: a simple signing payload or an in-toto statement
	envelope   bool     // the payload stands in a DSSE envelope, and is of statementType
	message    []byte   // what the signatures are over
	signatures [][]byte // one at least; more than one in an envelope of its own only

	file   bool // the signature is over a file, and there is no payload
	digest *protocommon.HashOutput
	unseen []byte // of the file only its SHA-256 is known: this

	certificate   *x509.Certificate // nil if it was made with a key, or if keys are what is trusted
	intermediates []*x509.Certificate
	entries       []*tlog.Entry
	old           *oldEntry // in place of entries
	timestamps    [][]byte

	// evidence reads entries and timestamps, once it is known that what they are for is of use: their parsers verify
	// signatures. Keys in entries may cost as much as the signer's; and nil means that there are none.
	evidence func(most int) error

	most    int    // what may be spent
	cost    int    // what is: 1 until it is known to be more
	stamped []byte // what timestamps are over; nil for the signature

	// What is to be verified beside the signature, for whoever asks: what the payload says, and an error if that is of
	// something else; and what sigstore-go is to see to of it.
	claim    func() (engine.Signature, error)
	artifact func() verify.ArtifactPolicyOption
}

// by tells in which of its ways k made one of the signatures; negative if it did not make it.
func (s *signed) by(k *key, signature []byte) int {
	if s.unseen == nil {
		return k.signed(signature, s.message)
	}
	if k.VerifySignature(bytes.NewReader(signature), bytes.NewReader(nil), options.WithDigest(s.unseen)) != nil {
		return -1
	}
	return 0
}

// read parses of an item what the trust needs, and nothing else.
func (j *Judge) read(item *attached.Item) (*signed, error) {
	switch {
	case item.Fault != nil:
		return nil, item.Fault
	case item.Failure != nil:
		return nil, item.Failure
	case len(item.Content) == 0:
		return nil, errors.New("it is empty")
	case len(item.Content) > maxContent:
		return nil, fmt.Errorf("it has more than %d bytes", maxContent)
	case len(item.Signature) > maxSignature:
		return nil, fmt.Errorf("its signature has more than %d bytes", maxSignature)
	case max(len(item.Certificate), len(item.Chain), len(item.LogEntry), len(item.Timestamp)) > maxAnnotation:
		return nil, fmt.Errorf("one of its annotations has more than %d bytes", maxAnnotation)
	}
	switch item.Form {
	case attached.SimpleSigning:
		s := &signed{payload: item.Content, message: item.Content, signatures: [][]byte{item.Signature}}
		return s, j.readAnnotations(s, item)
	case attached.Envelope:
		e, err := parseEnvelope(item.Content)
		if err != nil {
			return nil, fmt.Errorf("it is no DSSE envelope: %w", err)
		}
		s, err := e.signed()
		if err != nil {
			return nil, err
		}
		s.stamped = item.Content // cosign v2 has the whole envelope stamped (its cmd/cosign/cli/attest)
		return s, j.readAnnotations(s, item)
	case attached.Bundle:
		return j.readBundle(item.Content)
	}
	return nil, fmt.Errorf("it has the unknown form %d", item.Form)
}

func (e *envelope) signed() (*signed, error) {
	if e.payloadType != statementType {
		return nil, fmt.Errorf("its payload is a %.64q, not an in-toto statement", e.payloadType)
	}
	for _, s := range e.signatures {
		if len(s) > maxSignature {
			return nil, fmt.Errorf("its signature has more than %d bytes", maxSignature)
		}
	}
	return &signed{payload: e.payload, envelope: true, message: dsse.PAE(e.payloadType, e.payload), signatures: e.signatures}, nil
}

// readAnnotations reads what stands beside a classic signature.
func (j *Judge) readAnnotations(s *signed, item *attached.Item) (err error) {
	if len(j.keys) == 0 && len(item.Certificate) > 0 {
		if s.certificate, err = readCertificate(item.Certificate); err != nil {
			return fmt.Errorf("its certificate: %w", err)
		}
		if j.trust.Intermediates {
			if s.intermediates, err = readChain(item.Chain); err != nil {
				return fmt.Errorf("its certificate chain: %w", err)
			}
		}
	}
	s.evidence = func(most int) error { return j.annotatedEvidence(s, item, most) }
	return nil
}

// annotatedEvidence reads the entry and the timestamp that stand beside a classic signature.
func (j *Judge) annotatedEvidence(s *signed, item *attached.Item, most int) error {
	if j.asksLogs() && len(item.LogEntry) > 0 {
		if err := s.readLogEntry(item, most); err != nil {
			return fmt.Errorf("its log entry: %w", err)
		}
	}
	if j.asksTime() && len(item.Timestamp) > 0 {
		timestamp, err := readTimestamp(item.Timestamp)
		if err != nil {
			return fmt.Errorf("its timestamp: %w", err)
		}
		if err := checkTimestamps([][]byte{timestamp}, j.stampCost); err != nil {
			return fmt.Errorf("its timestamp: %w", err)
		}
		s.timestamps = [][]byte{timestamp}
	}
	return nil
}

// readBundle reads a sigstore bundle, v0.1 to v0.3. What the trust does not look at is not parsed.
func (j *Judge) readBundle(raw []byte) (*signed, error) {
	if err := checkJSON(raw, maxDepth, maxElements); err != nil {
		return nil, fmt.Errorf("it is no bundle: %w", err)
	}
	var pb protobundle.Bundle
	if err := protojson.Unmarshal(raw, &pb); err != nil {
		return nil, fmt.Errorf("it is no bundle: %w", err)
	}
	var entries []*protorekor.TransparencyLogEntry
	if m := pb.GetVerificationMaterial(); m != nil {
		if j.asksLogs() {
			entries = m.TlogEntries
		}
		m.TlogEntries = nil // which NewBundle would parse
		if !j.asksTime() {
			m.TimestampVerificationData = nil
		}
	}
	b, err := bundle.NewBundle(&pb, j.bundleOptions(&pb)...)
	if err != nil {
		return nil, fmt.Errorf("it is no bundle: %w", err)
	}
	s := &signed{}
	if m := pb.GetMessageSignature(); m != nil {
		s.file, s.digest, s.signatures = true, m.GetMessageDigest(), [][]byte{m.GetSignature()}
	} else {
		e := &envelope{payloadType: pb.GetDsseEnvelope().GetPayloadType(), payload: pb.GetDsseEnvelope().GetPayload()}
		for _, signature := range pb.GetDsseEnvelope().GetSignatures() {
			e.signatures = append(e.signatures, signature.GetSig())
		}
		if n := len(e.signatures); n != 1 {
			return nil, fmt.Errorf("it has %d signatures, and a bundle has one", n)
		}
		if s, err = e.signed(); err != nil {
			return nil, err
		}
	}
	if len(j.keys) == 0 {
		if err := j.readMaterial(s, pb.GetVerificationMaterial()); err != nil {
			return nil, fmt.Errorf("its certificate: %w", err)
		}
	}
	s.evidence = func(most int) error { return j.bundledEvidence(s, b, entries, most) }
	return s, nil
}

// bundledEvidence reads the entries and timestamps of the bundle b, which is without its entries.
func (j *Judge) bundledEvidence(s *signed, b *bundle.Bundle, entries []*protorekor.TransparencyLogEntry, most int) error {
	if err := checkEntries(entries, most); err != nil {
		return fmt.Errorf("its log entry: %w", err)
	}
	var promised, proved bool
	for _, tle := range entries {
		entry, err := tlog.ParseTransparencyLogEntry(tle)
		if err != nil {
			return fmt.Errorf("its log entry: %w", err)
		}
		promised, proved = promised || entry.HasInclusionPromise(), proved || entry.HasInclusionProof()
		s.entries = append(s.entries, entry)
	}
	switch since02 := b.MinVersion("v0.2"); { // NewBundle's rule
	case len(entries) > 0 && !since02 && !promised:
		return errors.New("its log entry: inclusion promises missing in bundle (required for bundle v0.1)")
	case len(entries) > 0 && since02 && !proved:
		return errors.New("its log entry: inclusion proof missing in bundle (required for bundle v0.2)")
	}
	timestamps, err := b.Timestamps()
	if err == nil {
		err = checkTimestamps(timestamps, j.stampCost)
	}
	if err != nil {
		return fmt.Errorf("its timestamp: %w", err)
	}
	s.timestamps = timestamps
	return nil
}

// bundleOptions lets a bundle bring a chain where the trust does: of its own, sigstore-go ignores it in bundles before
// v0.3 and refuses it in those since.
func (j *Judge) bundleOptions(pb *protobundle.Bundle) []bundle.Option {
	since03 := (&bundle.Bundle{Bundle: pb}).MinVersion("v0.3")
	if j.trust.Intermediates && since03 && pb.GetVerificationMaterial().GetX509CertificateChain() != nil {
		return []bundle.Option{bundle.AllowCertificateChain()}
	}
	return nil
}

// readMaterial reads a bundle's certificate, if it has one.
func (j *Judge) readMaterial(s *signed, m *protobundle.VerificationMaterial) (err error) {
	if c := m.GetCertificate(); c != nil {
		s.certificate, err = parseCertificate(c.GetRawBytes())
		return err
	}
	chain := m.GetX509CertificateChain().GetCertificates()
	if len(chain) == 0 {
		return nil
	}
	if s.certificate, err = parseCertificate(chain[0].GetRawBytes()); err != nil || !j.trust.Intermediates {
		return err
	}
	if len(chain) > 1+maxIntermediates {
		return fmt.Errorf("it brings more than %d others", maxIntermediates)
	}
	var others []*x509.Certificate
	for _, c := range chain[1:] {
		other, err := parseCertificate(c.GetRawBytes())
		if err != nil {
			return err
		}
		others = append(others, other)
	}
	s.intermediates = between(others)
	return nil
}

// entity returns what sigstore-go is to verify of s: one of its signatures.
func (s *signed) entity(signature []byte, content verify.VerificationContent, version string) *entity {
	e := &entity{version: version, content: content, entries: s.entries, timestamps: s.timestamps}
	if s.envelope {
		e.signature = &bundle.Envelope{Envelope: &dsse.Envelope{
			PayloadType: statementType,
			Payload:     base64.StdEncoding.EncodeToString(s.payload),
			Signatures:  []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(signature)}},
		}}
		return e
	}
	if s.file { // sigstore-go compares the bundle's digest with the file's
		e.signature = bundle.NewMessageSignature(s.digest.GetDigest(), s.digest.GetAlgorithm().String(), signature)
		return e
	}
	hash, name := s.hash()
	sum := hash.New()
	sum.Write(s.message)
	e.signature = bundle.NewMessageSignature(sum.Sum(nil), name, signature)
	return e
}

// hash returns by which hash the log knows the message; SHA-256 where it does not. That the log's entry is over this
// hash of this message is what is verified then.
func (s *signed) hash() (crypto.Hash, string) {
	for _, entry := range s.entries {
		switch _, name, _ := entry.GetHashedRekordDigest(); name {
		case "sha384", "SHA2_384":
			return crypto.SHA384, name
		case "sha512", "SHA2_512":
			return crypto.SHA512, name
		}
	}
	return crypto.SHA256, "sha256"
}
