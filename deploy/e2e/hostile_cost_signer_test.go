package e2e

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

// signatory signs in this process, since what is signed here no tool would sign.
type signatory struct {
	*keyless
	key   *ecdsa.PrivateKey
	hash  crypto.Hash
	chain []*x509.Certificate // from its own to the root; none if it signs with a key alone
	whole bool                // bundles have all of the chain
}

func newSignatory(t testing.TB, k *keyless, curve elliptic.Curve) *signatory {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(t, err)
	return &signatory{keyless: k, key: key, hash: map[elliptic.Curve]crypto.Hash{
		elliptic.P256(): crypto.SHA256, elliptic.P384(): crypto.SHA384, elliptic.P521(): crypto.SHA512,
	}[curve]}
}

// certify gets it a certificate of Fulcio, as anyone can have who has an address.
func (s *signatory) certify(t testing.TB, address string) *signatory {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	must(t, err)
	response, err := http.Post(s.urls.fulcio+"/api/v2/signingCert", "application/json", bytes.NewReader(encoded(object{
		"credentials": object{"oidcIdentityToken": s.issuer.person(t, address)},
		"publicKeyRequest": object{
			"publicKey":         object{"algorithm": "ECDSA", "content": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
			"proofOfPossession": s.sign(t, []byte(address)),
		},
	})))
	must(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	must(t, err)
	var answer struct {
		SignedCertificateEmbeddedSct struct {
			Chain struct{ Certificates []string }
		}
	}
	must(t, json.Unmarshal(content, &answer))
	for _, text := range answer.SignedCertificateEmbeddedSct.Chain.Certificates {
		block, _ := pem.Decode([]byte(text))
		c, err := x509.ParseCertificate(block.Bytes)
		must(t, err)
		s.chain = append(s.chain, c)
	}
	if len(s.chain) == 0 {
		t.Fatalf("Fulcio: %s %s", response.Status, content)
	}
	return s
}

// issued gives it a certificate by somebody, or by itself.
func (s *signatory) issued(t testing.TB, template x509.Certificate, by *holder) *signatory {
	t.Helper()
	template.SerialNumber, template.BasicConstraintsValid = big.NewInt(1), true
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	parent, signer := &template, crypto.Signer(s.key)
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, s.key.Public(), signer)
	must(t, err)
	c, err := x509.ParseCertificate(der)
	must(t, err)
	s.chain = []*x509.Certificate{c}
	if by != nil {
		s.chain = append(s.chain, by.chain...)
	}
	return s
}

func (s *signatory) sign(t testing.TB, message []byte) []byte {
	t.Helper()
	signature, err := ecdsa.SignASN1(rand.Reader, s.key, s.sum(message))
	must(t, err)
	return signature
}

func (s *signatory) sum(message []byte) []byte {
	h := s.hash.New()
	h.Write(message)
	return h.Sum(nil)
}

func pemOf(chain ...*x509.Certificate) string {
	var all []byte
	for _, c := range chain {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return string(all)
}

// logEntry is an entry of the log: as it stands in a bundle, and as cosign notes it beside a classic signature.
type logEntry struct{ bundle, classic object }

// record enters a signature over a message.
func (s *signatory) record(t testing.TB, message, signature []byte) logEntry {
	return s.enter(t, "hashedrekord", encoded(object{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": object{
		"data":      object{"hash": object{"algorithm": map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"}[s.hash], "value": hex.EncodeToString(s.sum(message))}},
		"signature": object{"content": signature, "publicKey": object{"content": []byte(pemOf(s.chain[0]))}},
	}}))
}

// recordEnvelope enters an envelope with this payload.
func (s *signatory) recordEnvelope(t testing.TB, payload, signature []byte) logEntry {
	hash := func(content []byte) object {
		sum := sha256.Sum256(content)
		return object{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}
	}
	return s.enter(t, "dsse", encoded(object{"apiVersion": "0.0.1", "kind": "dsse", "spec": object{
		"envelopeHash": hash(nil), "payloadHash": hash(payload),
		"signatures": []any{object{"signature": signature, "verifier": []byte(pemOf(s.chain[0]))}},
	}}))
}

// enter has the log take whatever it is given.
func (k *keyless) enter(t testing.TB, kind string, body []byte) logEntry {
	t.Helper()
	_, entry, err := k.rekor1.enter(body)
	must(t, err)
	e := entry.(map[string]any)
	v := e["verification"].(map[string]any)
	p := v["inclusionProof"].(map[string]any)
	bytesOf := func(text any) []byte {
		b, err := hex.DecodeString(text.(string))
		must(t, err)
		return b
	}
	hashes := []any{}
	for _, h := range p["hashes"].([]string) {
		hashes = append(hashes, bytesOf(h))
	}
	return logEntry{
		bundle: object{
			"logIndex": e["logIndex"], "logId": object{"keyId": bytesOf(e["logID"])}, "integratedTime": e["integratedTime"],
			"kindVersion":      object{"kind": kind, "version": "0.0.1"},
			"inclusionPromise": object{"signedEntryTimestamp": v["signedEntryTimestamp"]},
			"inclusionProof": object{
				"logIndex": p["logIndex"], "rootHash": bytesOf(p["rootHash"]), "treeSize": p["treeSize"], "hashes": hashes,
				"checkpoint": object{"envelope": p["checkpoint"]},
			},
			"canonicalizedBody": body,
		},
		classic: object{"SignedEntryTimestamp": v["signedEntryTimestamp"], "Payload": object{
			"body": body, "integratedTime": e["integratedTime"], "logIndex": e["logIndex"], "logID": e["logID"],
		}},
	}
}

// stamp gets the timestamp authority's word for a message (RFC 3161, section 2.4.1).
func (k *keyless) stamp(t testing.TB, message []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(message)
	nonce, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	request, err := asn1.Marshal(struct {
		Version int
		Imprint struct {
			Algorithm pkix.AlgorithmIdentifier
			Hash      []byte
		}
		Nonce *big.Int
		Certs bool
	}{1, struct {
		Algorithm pkix.AlgorithmIdentifier
		Hash      []byte
	}{pkix.AlgorithmIdentifier{Algorithm: oidSHA256}, sum[:]}, nonce, true})
	must(t, err)
	response, err := http.Post(k.urls.tsa, "application/timestamp-query", bytes.NewReader(request))
	must(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	must(t, err)
	if response.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("the timestamp authority: %s %s", response.Status, content)
	}
	return content
}

// claim is what a classic signature of the image is over.
func claim() []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"x"},"image":{"docker-manifest-digest":%q},`+
		`"type":"cosign container image signature"},"optional":null}`, digestOf(theImage))
}

// The types of what is stated about the image.
const (
	signatureType = "https://sigstore.dev/cosign/sign/v1"
	customType    = "https://cosign.sigstore.dev/attestation/v1"
)

// statement is what a bundle or an envelope is over. The predicate is JSON that encoding/json need not take.
func statement(digest, predicateType, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","predicateType":%q,"subject":[{"name":"x","digest":{"sha256":%q}}],`+
		`"predicate":%s}`, predicateType, strings.TrimPrefix(digest, "sha256:"), predicate)
}

const statementMedia = "application/vnd.in-toto+json"

// envelope wraps a payload and its signature (DSSE v1).
func (s *signatory) envelope(t testing.TB, payload []byte) (content object, signature []byte) {
	t.Helper()
	message := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(statementMedia), statementMedia, len(payload), payload)
	signature = s.sign(t, message)
	return object{"payloadType": statementMedia, "payload": payload, "signatures": []any{object{"sig": signature}}}, signature
}

// vouched says what is to vouch for a signature: how many entries and timestamps, and what else takes their places.
type vouched struct {
	entries, stamps int
	junkEntry       *logEntry
	junkStamps      [][]byte
}

// bundle makes a bundle of a statement.
func (s *signatory) bundle(t testing.TB, payload []byte, v vouched) object {
	t.Helper()
	envelope, signature := s.envelope(t, payload)
	material := object{}
	switch {
	case len(s.chain) == 0:
		material["publicKey"] = object{"hint": ""}
	case s.whole:
		var all []any
		for _, c := range s.chain {
			all = append(all, object{"rawBytes": c.Raw})
		}
		material["x509CertificateChain"] = object{"certificates": all}
	default:
		material["certificate"] = object{"rawBytes": s.chain[0].Raw}
	}
	var entries, stamps []any
	for range v.entries {
		entries = append(entries, s.recordEnvelope(t, payload, signature).bundle)
	}
	for range v.stamps {
		stamps = append(stamps, object{"signedTimestamp": s.stamp(t, signature)})
	}
	for _, junk := range v.junkStamps {
		stamps = append(stamps, object{"signedTimestamp": junk})
	}
	if v.junkEntry != nil {
		entries = append(entries, v.junkEntry.bundle)
	}
	if entries != nil {
		material["tlogEntries"] = entries
	}
	if stamps != nil {
		material["timestampVerificationData"] = object{"rfc3161Timestamps": stamps}
	}
	return object{"mediaType": bundleType, "verificationMaterial": material, "dsseEnvelope": envelope}
}

// classic makes the annotations of a classic signature over a payload.
func (s *signatory) classic(t testing.TB, payload []byte, v vouched) object {
	t.Helper()
	signature := s.sign(t, payload)
	annotations := object{signatureKey: base64.StdEncoding.EncodeToString(signature)}
	if len(s.chain) > 0 {
		annotations[certificateKey], annotations[chainKey] = pemOf(s.chain[0]), pemOf(s.chain[1:]...)
	}
	if v.entries > 0 {
		annotations[bundleKey] = string(encoded(s.record(t, payload, signature).classic))
	}
	if v.junkEntry != nil {
		annotations[bundleKey] = string(encoded(v.junkEntry.classic))
	}
	if v.stamps > 0 {
		annotations[timestampKey] = string(encoded(object{"SignedRFC3161Timestamp": s.stamp(t, signature)}))
	}
	for _, junk := range v.junkStamps {
		annotations[timestampKey] = string(encoded(object{"SignedRFC3161Timestamp": junk}))
	}
	return annotations
}

// holder is what it issues others with.
func (s *signatory) holder() *holder {
	return &holder{certificate: s.chain[0], key: s.key, chain: s.chain}
}

// proposed is an entry as one is proposed to a log, and never comes back from one: with an envelope, whose signatures
// are each tried with the key. The least that is a signature by its form will do.
func (s *signatory) proposed(t testing.TB, signatures int) logEntry {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	must(t, err)
	envelope := object{
		"payloadType": statementMedia, "payload": []byte("{}"),
		"signatures": repeat(signatures, object{"sig": []byte{0x30, 6, 2, 1, 1, 2, 1, 1}}),
	}
	return s.enter(t, "dsse", encoded(object{"apiVersion": "0.0.1", "kind": "dsse", "spec": object{"proposedContent": object{
		"envelope":  string(encoded(envelope)),
		"verifiers": []any{pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})},
	}}}))
}
