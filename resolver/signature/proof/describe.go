package proof

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/digitorus/timestamp"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"google.golang.org/protobuf/encoding/protojson"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	"sluice/resolver/signature/trustroot"
)

// The kinds of a [Description].
const (
	KindSignature   = "signature"
	KindAttestation = "attestation"
)

// Description is what an item says of itself. Nothing of it has been verified.
type Description struct {
	Kind          string            // KindSignature or KindAttestation; empty if it is neither
	PredicateType string            // of a statement
	Issuer        string            // of the token that the certificate was issued for
	Subject       string            // the certificate's subject alternative name
	KeyHint       string            // by which a bundle names its key; proves nothing
	Digests       []engine.Digest   // what it claims to be about
	Reference     string            // the image reference it claims to be for
	Annotations   map[string]string // of a signature, or of the first subject
	LogIndexes    []int64           // its entries in transparency logs
	Times         []time.Time       // that it claims to have been made at, by logs and timestamp authorities
	Err           error             // why not all of it could be read
}

// Describe reads what item says of itself, for people to look at. It never panics.
func Describe(item *attached.Item) (d Description) {
	defer recovered(&d.Err)
	all := &Judge{trust: &engine.Trust{Logs: 1, Intermediates: true}, roots: make([]*trustroot.Root, 1), stampCost: MaxCost} // reads all there is
	s, err := all.read(item)
	if s == nil {
		return Description{Err: err}
	}
	if err == nil {
		err = s.evidence(MaxCost)
	}
	d.Err = errors.Join(err, d.says(s))
	d.madeWith(s.certificate)
	if s.old != nil {
		s.entries = append(s.entries, s.old.entry)
	}
	for _, e := range s.entries {
		d.LogIndexes = append(d.LogIndexes, e.LogIndex())
		if at := e.IntegratedTime(); !at.IsZero() {
			d.Times = append(d.Times, at)
		}
	}
	for _, raw := range s.timestamps {
		if t, err := timestamp.ParseResponse(raw); err == nil {
			d.Times = append(d.Times, t.Time)
		}
	}
	slices.SortFunc(d.Times, time.Time.Compare)
	if item.Form == attached.Bundle {
		var pb protobundle.Bundle
		if err := protojson.Unmarshal(item.Content, &pb); err == nil {
			d.KeyHint = pb.GetVerificationMaterial().GetPublicKey().GetHint()
		}
	}
	return d
}

// says fills in what the payload says.
func (d *Description) says(s *signed) error {
	switch {
	case s.file:
		return errors.New("it is a signature over a file, and not of an image")
	case !s.envelope:
		c, err := parseClaim(s.payload)
		if err != nil {
			return err
		}
		d.Kind, d.Reference, d.Annotations = KindSignature, c.reference, c.annotations
		if digest, err := engine.ParseDigest(c.digest); err == nil {
			d.Digests = []engine.Digest{digest}
		}
		return nil
	}
	st, err := parseStatement(s.payload)
	if err != nil {
		return err
	}
	d.Kind, d.PredicateType = KindAttestation, st.predicateType
	if st.predicateType == signatureType {
		d.Kind = KindSignature
	}
	for i, about := range st.subjects {
		if digest, err := engine.ParseDigest("sha256:" + about.sha256); err == nil {
			d.Digests = append(d.Digests, digest)
		}
		if i == 0 {
			d.Annotations = maps.Clone(about.annotations)
		}
	}
	return nil
}

// madeWith fills in what a certificate says of its holder.
func (d *Description) madeWith(c *x509.Certificate) {
	if c == nil {
		return
	}
	if summary, err := certificate.SummarizeCertificate(c); err == nil {
		d.Issuer, d.Subject = summary.Issuer, summary.SubjectAlternativeName
	} else {
		d.Err = errors.Join(d.Err, fmt.Errorf("its certificate: %w", err))
	}
}
