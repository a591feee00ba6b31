package signaturetest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// Sigstore is one instance of sigstore without servers: Fulcio, its certificate transparency log, Rekor v1 and v2 and a
// timestamp authority. It is immutable, and its methods may be called concurrently.
//
// Its own keys and certificates are valid for ten years before and after it was made, so that a certificate that it
// issues may lie anywhere in between.
type Sigstore struct {
	fulcio *PKI
	tsa    *timestampAuthority
	ctLog  *transparencyLog
	rekor  *transparencyLog
	tiles  *transparencyLog
	start  time.Time
	json   []byte
}

// transparencyLog is the key of a log, and what it is known by.
type transparencyLog struct {
	key    crypto.Signer
	id     []byte
	url    string
	origin string // of its checkpoints
}

// NewSigstore makes an instance with keys of its own.
func NewSigstore() (*Sigstore, error) {
	s := &Sigstore{start: time.Now().Add(-decade).Truncate(time.Second)}
	var err error
	if s.fulcio, err = newPKI("sigstore.test", true); err != nil {
		return nil, err
	}
	if s.tsa, err = newTimestampAuthority(); err != nil {
		return nil, err
	}
	if s.ctLog, err = newLog("https://ctlog.sigstore.test/test", ""); err != nil {
		return nil, err
	}
	if s.rekor, err = newLog("https://rekor.sigstore.test", "rekor.sigstore.test - 1193050959916656506"); err != nil {
		return nil, err
	}
	if s.tiles, err = newTiles("log1.rekor.sigstore.test"); err != nil {
		return nil, err
	}
	s.json, err = s.TrustedRootOf(AllParts)
	return s, err
}

// newLog makes an RFC 6962 log or a Rekor v1, whose identifier is the hash of its key.
func newLog(url, origin string) (*transparencyLog, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(der)
	return &transparencyLog{key: key, id: id[:], url: url, origin: origin}, nil
}

// newTiles makes a Rekor v2, whose checkpoints are by its host's name and, as those of the public instance, Ed25519.
func newTiles(host string) (*transparencyLog, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	_, id, err := note.KeyHash(host, public)
	if err != nil {
		return nil, err
	}
	return &transparencyLog{key: key, id: id, url: "https://" + host, origin: host}, nil
}

// Parts are what a trusted root holds.
type Parts uint8

// The parts.
const (
	CAPart Parts = 1 << iota
	CTLogPart
	RekorPart
	RekorTilesPart
	TSAPart
	AllParts = CAPart | CTLogPart | RekorPart | RekorTilesPart | TSAPart
)

// TrustedRoot returns the trusted_root.json of all of the instance.
func (s *Sigstore) TrustedRoot() []byte { return bytes.Clone(s.json) }

// TrustedRootOf returns the trusted_root.json of some parts.
func (s *Sigstore) TrustedRootOf(parts Parts) ([]byte, error) {
	var cas []root.CertificateAuthority
	if parts&CAPart != 0 {
		cas = append(cas, &root.FulcioCertificateAuthority{
			Root: s.fulcio.root.cert, Intermediates: s.fulcio.intermediates(), ValidityPeriodStart: s.start,
			URI: "https://fulcio.sigstore.test",
		})
	}
	return s.trustedRoot(parts, cas)
}

// TrustedRootOf returns the trusted_root.json of p's root in place of an instance's certificate authority, with some
// other parts of the instance. Intermediates are left to those who sign.
func (p *PKI) TrustedRootOf(s *Sigstore, parts Parts) ([]byte, error) {
	return s.trustedRoot(parts, []root.CertificateAuthority{&root.FulcioCertificateAuthority{Root: p.root.cert}})
}

func (s *Sigstore) trustedRoot(parts Parts, cas []root.CertificateAuthority) ([]byte, error) {
	var tsas []root.TimestampingAuthority
	ctLogs, logs := map[string]*root.TransparencyLog{}, map[string]*root.TransparencyLog{}
	if parts&TSAPart != 0 {
		tsas = append(tsas, &root.SigstoreTimestampingAuthority{
			Root: s.tsa.ca.root.cert, Intermediates: s.tsa.ca.intermediates(), Leaf: s.tsa.leaf,
			ValidityPeriodStart: s.start, URI: "https://tsa.sigstore.test",
		})
	}
	add := func(to map[string]*root.TransparencyLog, l *transparencyLog, start time.Time) {
		to[hex.EncodeToString(l.id)] = &root.TransparencyLog{
			BaseURL: l.url, ID: l.id, ValidityPeriodStart: start, HashFunc: crypto.SHA256, PublicKey: l.key.Public(),
		}
	}
	if parts&CTLogPart != 0 {
		add(ctLogs, s.ctLog, s.start)
	}
	if parts&RekorPart != 0 {
		add(logs, s.rekor, s.start)
	}
	if parts&RekorTilesPart != 0 {
		add(logs, s.tiles, s.start.Add(time.Second)) // logs are sorted by their start, so that the JSON is always the same
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, cas, ctLogs, tsas, logs)
	if err != nil {
		return nil, err
	}
	raw, err := trusted.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Compact(&out, raw)
	return out.Bytes(), err
}

// Pieces are the parts of an instance as PEM, as a ClusterImagePolicy's TrustRoot has them.
type Pieces struct {
	CAChain       []byte // root last
	CTLogKey      []byte
	RekorKey      []byte
	RekorURL      string
	RekorTilesKey []byte
	RekorTilesURL string
	TSAChain      []byte // leaf first, root last
}

// Pieces returns the parts of the instance.
func (s *Sigstore) Pieces() (Pieces, error) {
	p := Pieces{RekorURL: s.rekor.url, RekorTilesURL: s.tiles.url}
	var err error
	if p.CAChain, err = cryptoutils.MarshalCertificatesToPEM(append(s.fulcio.intermediates(), s.fulcio.root.cert)); err != nil {
		return p, err
	}
	tsa := append([]*x509.Certificate{s.tsa.leaf}, s.tsa.ca.intermediates()...)
	if p.TSAChain, err = cryptoutils.MarshalCertificatesToPEM(append(tsa, s.tsa.ca.root.cert)); err != nil {
		return p, err
	}
	for to, l := range map[*[]byte]*transparencyLog{&p.CTLogKey: s.ctLog, &p.RekorKey: s.rekor, &p.RekorTilesKey: s.tiles} {
		if *to, err = cryptoutils.MarshalPublicKeyToPEM(l.key.Public()); err != nil {
			return p, fmt.Errorf("a log's key: %w", err)
		}
	}
	return p, nil
}
