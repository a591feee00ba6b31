package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"
)

// ctLog is the front of a certificate transparency log (RFC 6962): it promises to log what Fulcio is about to issue, and
// forgets it. The promise, a signed certificate timestamp (SCT), is all that anyone checks offline.
type ctLog struct {
	server *httptest.Server
	key    *ecdsa.PrivateKey
	id     [sha256.Size]byte
}

func startCTLog() (*ctLog, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	l := &ctLog{key: key, id: sha256.Sum256(public)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ct/v1/add-pre-chain", l.addPreChain) // of Fulcio's CAs all but the remote ones ask for this
	l.server = httptest.NewServer(mux)
	return l, nil
}

func (l *ctLog) addPreChain(w http.ResponseWriter, r *http.Request) {
	var request struct{ Chain [][]byte }
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	now := uint64(time.Now().UnixMilli())
	signature, err := l.sign(request.Chain, now)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"sct_version": 0, "id": l.id[:], "timestamp": now, "extensions": "", "signature": signature,
	})
}

// sign makes the signature of RFC 6962, section 3.2, for a precertificate.
func (l *ctLog) sign(chain [][]byte, now uint64) ([]byte, error) {
	if len(chain) < 2 {
		return nil, fmt.Errorf("a chain of %d certificates", len(chain))
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	by, err := x509.ParseCertificate(chain[1])
	if err != nil {
		return nil, err
	}
	tbs, err := withoutPoison(leaf.RawTBSCertificate)
	if err != nil {
		return nil, err
	}
	const version, certificateTimestamp, precertEntry = 0, 0, 1
	issuer := sha256.Sum256(by.RawSubjectPublicKeyInfo)
	signed := []byte{version, certificateTimestamp}
	signed = binary.BigEndian.AppendUint64(signed, now)
	signed = binary.BigEndian.AppendUint16(signed, precertEntry)
	signed = append(signed, issuer[:]...)
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(signed, tbs...)
	signed = append(signed, 0, 0) // no extensions
	digest := sha256.Sum256(signed)
	signature, err := ecdsa.SignASN1(rand.Reader, l.key, digest[:])
	if err != nil {
		return nil, err
	}
	const sha256Hash, ecdsaSignature = 4, 3 // of TLS 1.2
	return append(binary.BigEndian.AppendUint16([]byte{sha256Hash, ecdsaSignature}, uint16(len(signature))), signature...), nil
}

// poison is the extension that makes a certificate a precertificate.
var poison = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}

// withoutPoison is what the certificate itself will say, but for the SCT.
func withoutPoison(tbs []byte) ([]byte, error) {
	var certificate struct {
		Version            int `asn1:"optional,explicit,default:0,tag:0"`
		SerialNumber       *big.Int
		SignatureAlgorithm asn1.RawValue
		Issuer             asn1.RawValue
		Validity           asn1.RawValue
		Subject            asn1.RawValue
		PublicKey          asn1.RawValue
		Extensions         []pkix.Extension `asn1:"optional,explicit,tag:3"`
	}
	if rest, err := asn1.Unmarshal(tbs, &certificate); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("a certificate of another form: %v", err)
	}
	certificate.Extensions = slices.DeleteFunc(certificate.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(poison) })
	return asn1.Marshal(certificate)
}
