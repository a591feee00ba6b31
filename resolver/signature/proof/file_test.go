package proof

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	. "sluice/resolver/signature/signaturetest"
)

// TestStatementsAboutFiles is about the hashes that a statement names a file by: all that are known must be the file's.
func TestStatementsAboutFiles(t *testing.T) {
	t.Parallel()
	ours, key := must(NewSigstore()), must(NewKeySigner(P256))
	j := judge(t, engine.Trust{Keys: keys(key)})
	content := []byte("the file")
	sum256, sum384, sum512 := sha256.Sum256(content), sha512.Sum384(content), sha512.Sum512(content)
	is256, is384, is512 := hex.EncodeToString(sum256[:]), hex.EncodeToString(sum384[:]), hex.EncodeToString(sum512[:])
	for _, c := range []struct {
		digests string
		file    bool // the statement is about the file
		digest  bool // and about what has its SHA-256
	}{
		{digests: `"sha256":"` + is256 + `"`, file: true, digest: true},
		{digests: `"sha384":"` + is384 + `"`, file: true},
		{digests: `"sha512":"` + is512 + `","gitCommit":"x"`, file: true},
		{digests: `"sha256":"` + is256 + `","sha512":"` + is512 + `"`, file: true, digest: true},
		{digests: `"sha256":"` + is256 + `","sha512":"` + is384 + `"`, digest: true},
		{digests: `"sha256":"` + another.Hex() + `","sha512":"` + is512 + `"`},
		{digests: `"sha1":"` + is256 + `"`},
		{digests: ``},
	} {
		statement := fmt.Sprintf(`{"_type":%q,"predicateType":"p","subject":[{"digest":{"sha1":"x"}},{"digest":{%s}}]}`, statementV1, c.digests)
		bundle := must(ours.Bundle("0.3", key, Content{PredicateType: "p", Payload: []byte(statement)}, Evidence{})).Content
		digest := engine.Digest("sha256:" + is256)
		for file, want := range map[*File]bool{{Content: content}: c.file, {Digest: digest}: c.digest, {Content: []byte("other")}: false, {Digest: another}: false} {
			if file.Digest == another && bytes.Contains([]byte(c.digests), []byte(another.Hex())) {
				continue
			}
			got, err := j.JudgeBundle(bundle, *file)
			if !want {
				refused(t, err, engine.ReasonClaimMismatch, "another file")
			} else if err != nil || got.Statement == nil {
				t.Errorf("%s: %v", c.digests, err)
			}
		}
	}
	bundle := must(ours.Bundle("0.3", key, Content{File: content}, Evidence{})).Content
	_, err := j.JudgeBundle(bundle, File{Digest: "sha256:x"})
	refused(t, err, engine.ReasonSignatureInvalid, "a digest is")
	_, err = j.JudgeBundle(bytes.Repeat([]byte(" "), maxContent+1), File{})
	refused(t, err, engine.ReasonSignatureInvalid, "bytes")
	_, err = j.JudgeBundle([]byte("{}"), File{})
	refused(t, err, engine.ReasonSignatureInvalid, "no bundle")
}

// TestOtherClaims is about payloads that a trusted key signed, and that are no claims for an image.
func TestOtherClaims(t *testing.T) {
	t.Parallel()
	ours, key := must(NewSigstore()), must(NewKeySigner(P256))
	j := judge(t, engine.Trust{Keys: keys(key)})
	form := `{"critical":{"identity":{"docker-reference":"a"},"image":{"docker-manifest-digest":%q},"type":%q},"optional":null}`
	for says, payload := range map[string]string{
		"of type \"atomic container signature\"": fmt.Sprintf(form, digest, "atomic container signature"),
		"the payload is for \"\"":                fmt.Sprintf(form, "", claimType),
		"the payload is for \"sha512:":           fmt.Sprintf(form, "sha512:"+digest.Hex(), claimType),
		"no simple signing claim":                "hello",
		"an unknown member \"x\"":                `{"x":1}`,
	} {
		_, err := j.Judge(found(t, must(ours.Classic(key, Content{Payload: []byte(payload)}, Evidence{}))), digest)
		refused(t, err, engine.ReasonClaimMismatch, says)
	}
}

// TestCertificateThatSignsTheOldWay is about SHA-256 with P-384, which keys in a KMS sign with.
func TestCertificateThatSignsTheOldWay(t *testing.T) {
	t.Parallel()
	key := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), EmailAddresses: []string{"x@example.com"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	certificate := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))))
	pem := must(cryptoutils.MarshalCertificateToPEM(certificate))
	payload := must(must(NewSigstore()).Classic(must(NewKeySigner(P256)), about(), Evidence{})).Content
	sum := sha256.Sum256(payload)
	item := &attached.Item{
		Form: attached.SimpleSigning, Content: payload, Certificate: pem, Signature: must(key.Sign(rand.Reader, sum[:], crypto.SHA256)),
	}
	got, err := judge(t, engine.Trust{Roots: roots(rootOf(t, nil, pem)), CurrentTime: true}).Judge(item, digest)
	if err != nil || got.Signer.Subject != "x@example.com" {
		t.Errorf("%+v, %v", got, err)
	}
}
