package trustroot

import (
	"cmp"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"google.golang.org/protobuf/encoding/protojson"
)

// MaxBytes bounds a trusted root. The public-good instance's has 7 KiB.
const MaxBytes = 4 << 20

// maxEntries bounds its authorities and logs together. The public-good instance's has a dozen.
const maxEntries = 1000

// The media types that a trusted root may have, by sigstore's protobuf-specs (message TrustedRoot): the two versions in
// the form that is written today and in the older one. What is read here is the same in all of them.
var mediaTypes = []string{
	root.TrustedRootMediaType01,
	"application/vnd.dev.sigstore.trustedroot+json;version=0.2",
	"application/vnd.dev.sigstore.trustedroot.v0.1+json",
	"application/vnd.dev.sigstore.trustedroot.v0.2+json",
}

// Root is one trusted root. It is immutable.
type Root struct {
	material *root.TrustedRoot
	expiries []Expiry
}

// Expiry is when one thing that a root trusts ends.
type Expiry struct {
	Kind     string    // certificate_authority, ct_log, transparency_log or timestamp_authority
	Name     string    // its URI, or what else tells it from others
	NotAfter time.Time // what it vouches for after that is not believed
}

// Parse reads a trusted_root.json. A root that has been read is one that signatures can be verified with: all its keys
// and certificates have been parsed. The text of an error is for whoever wrote the root.
func Parse(json []byte) (r *Root, err error) {
	defer func() {
		if p := recover(); p != nil { // in a parser that is not ours
			r, err = nil, fmt.Errorf("a parser failed: %v", p)
		}
	}()
	switch {
	case len(json) == 0:
		return nil, errors.New("the trusted root is empty")
	case len(json) > MaxBytes:
		return nil, fmt.Errorf("the trusted root has more than %d bytes", MaxBytes)
	}
	var document prototrustroot.TrustedRoot
	if err := protojson.Unmarshal(json, &document); err != nil {
		return nil, fmt.Errorf("not a trusted root in JSON: %s", plain(err))
	}
	if !slices.Contains(mediaTypes, document.GetMediaType()) {
		return nil, fmt.Errorf("mediaType is %.100q, and must be %s", document.GetMediaType(), root.TrustedRootMediaType01)
	}
	document.MediaType = root.TrustedRootMediaType01 // the only one that is known below
	n := len(document.GetCertificateAuthorities()) + len(document.GetCtlogs()) + len(document.GetTlogs()) + len(document.GetTimestampAuthorities())
	switch {
	case n == 0:
		return nil, errors.New("the trusted root trusts nothing: it has no certificateAuthorities, tlogs, ctlogs or timestampAuthorities")
	case n > maxEntries:
		return nil, fmt.Errorf("the trusted root has %d entries, and may have %d", n, maxEntries)
	}
	material, err := root.NewTrustedRootFromProtobuf(&document)
	if err != nil {
		return nil, errors.New(plain(err))
	}
	return &Root{material: material, expiries: expiries(material)}, nil
}

// plain takes out of a parser's error what names the parser, and the blanks that protobuf varies from build to build.
func plain(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	return strings.TrimPrefix(text, "proto: ")
}

// Material returns what signatures are verified with. It is shared and must not be changed.
func (r *Root) Material() root.TrustedMaterial { return r.material }

// Expiries returns when what the root trusts ends, soonest first: of authorities, the end of their validity or of the
// first of their certificates. What never ends is left out; what has ended is not, since signatures made before still
// count. The slice is the caller's.
func (r *Root) Expiries() []Expiry { return slices.Clone(r.expiries) }

func expiries(m *root.TrustedRoot) []Expiry {
	var all []Expiry
	add := func(kind, name string, ends ...time.Time) {
		ends = slices.DeleteFunc(ends, time.Time.IsZero)
		if len(ends) > 0 {
			all = append(all, Expiry{Kind: kind, Name: name, NotAfter: slices.MinFunc(ends, time.Time.Compare)})
		}
	}
	for _, a := range m.FulcioCertificateAuthorities() {
		if ca, ok := a.(*root.FulcioCertificateAuthority); ok {
			add("certificate_authority", nameOf(ca.URI, ca.Root), append(ends(slices.Concat(ca.Intermediates, []*x509.Certificate{ca.Root})), ca.ValidityPeriodEnd)...)
		}
	}
	for _, a := range m.TimestampingAuthorities() {
		if tsa, ok := a.(*root.SigstoreTimestampingAuthority); ok {
			add("timestamp_authority", nameOf(tsa.URI, tsa.Root), append(ends(slices.Concat(tsa.Intermediates, []*x509.Certificate{tsa.Leaf, tsa.Root})), tsa.ValidityPeriodEnd)...)
		}
	}
	for kind, logs := range map[string]map[string]*root.TransparencyLog{"ct_log": m.CTLogs(), "transparency_log": m.RekorLogs()} {
		for _, l := range logs {
			add(kind, cmp.Or(l.BaseURL, hex.EncodeToString(l.ID)), l.ValidityPeriodEnd)
		}
	}
	slices.SortFunc(all, func(a, b Expiry) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// ends returns the ends of certificates, of which some may be nil.
func ends(certificates []*x509.Certificate) []time.Time {
	var all []time.Time
	for _, c := range certificates {
		if c != nil {
			all = append(all, c.NotAfter)
		}
	}
	return all
}

func nameOf(uri string, c *x509.Certificate) string {
	if uri == "" && c != nil {
		return c.Subject.String()
	}
	return uri
}
