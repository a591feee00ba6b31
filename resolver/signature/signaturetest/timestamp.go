package signaturetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"time"

	"github.com/digitorus/timestamp"
)

// timestampAuthority signs what time it is (RFC 3161).
type timestampAuthority struct {
	ca   *PKI
	leaf *x509.Certificate
	key  crypto.Signer
}

func newTimestampAuthority() (*timestampAuthority, error) {
	ca, err := newPKI("tsa.sigstore.test", true, x509.ExtKeyUsageTimeStamping)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}}) // id-kp-timeStamping, to be critical
	if err != nil {
		return nil, err
	}
	now := time.Now()
	leaf, err := issue(&x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "tsa", Organization: []string{"tsa.sigstore.test"}},
		NotBefore:    now.Add(-decade), NotAfter: now.Add(decade),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}, ca.issuing(), key.Public())
	return &timestampAuthority{ca: ca, leaf: leaf, key: key}, err
}

// stamp returns the DER of a timestamp response for a message.
func (a *timestampAuthority) stamp(message []byte, at time.Time) ([]byte, error) {
	sum := sha256.Sum256(message)
	t := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: at,
		Policy:            asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2},
		AddTSACertificate: true,
	}
	return t.CreateResponseWithOpts(a.leaf, a.key, crypto.SHA256)
}
