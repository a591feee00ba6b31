package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"
)

var (
	oidSHA256      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA512      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
	oidECDSASHA512 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}
	oidSignedData  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTimestamp   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
)

const mostOfTimestamp = 32 << 10

// signedOverAndOver is a timestamp that is signed as often as its size allows: all of these signatures are good.
func signedOverAndOver(t testing.TB) []byte {
	return strangeStamp(t, mostOfTimestamp, nil)
}

// inRows is a timestamp beside whose signature there are many elements in a length that is not told, whose end is
// looked for after each (BER).
func inRows(t testing.TB) []byte {
	const rows = (mostOfTimestamp - 2<<10) / 3
	attribute := slices.Concat([]byte{0x31, 0x80}, bytes.Repeat([]byte{2, 1, 1}, rows), []byte{0, 0})
	return strangeStamp(t, 0, attribute)
}

// strangeStamp is a timestamp of an authority of one's own, with a key whose use takes long. It has signatures up to a
// size, but one at least, and beside each an attribute that is not signed, if that is not nil.
func strangeStamp(t testing.TB, size int, attribute []byte) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	parsed, err := x509.ParseCertificate(certificate)
	must(t, err)

	der := func(v any) asn1.RawValue {
		raw, err := asn1.Marshal(v)
		must(t, err)
		return asn1.RawValue{FullBytes: raw}
	}
	in := func(class, tag int, parts ...asn1.RawValue) asn1.RawValue {
		v := asn1.RawValue{Class: class, Tag: tag, IsCompound: true}
		for _, p := range parts {
			v.Bytes = append(v.Bytes, p.FullBytes...)
		}
		return der(v)
	}
	sequence := func(parts ...asn1.RawValue) asn1.RawValue { return in(asn1.ClassUniversal, asn1.TagSequence, parts...) }
	set := func(parts ...asn1.RawValue) asn1.RawValue { return in(asn1.ClassUniversal, asn1.TagSet, parts...) }
	zero := func(parts ...asn1.RawValue) asn1.RawValue { return in(asn1.ClassContextSpecific, 0, parts...) }
	algorithm := func(oid asn1.ObjectIdentifier) asn1.RawValue { return sequence(der(oid)) }

	sum := sha256.Sum256(nil)
	info := sequence(der(1), der(asn1.ObjectIdentifier{1, 2, 3}), sequence(algorithm(oidSHA256), der(sum[:])), der(1),
		der(asn1.RawValue{Tag: asn1.TagGeneralizedTime, Bytes: []byte(time.Now().UTC().Format("20060102150405Z"))}))
	digest := sha512.Sum512(info.FullBytes)
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	must(t, err)
	parts := []asn1.RawValue{
		der(1), sequence(asn1.RawValue{FullBytes: parsed.RawIssuer}, der(parsed.SerialNumber)),
		algorithm(oidSHA512), algorithm(oidECDSASHA512), der(signature),
	}
	if attribute != nil {
		parts = append(parts, in(asn1.ClassContextSpecific, 1, sequence(der(oidTimestamp), asn1.RawValue{FullBytes: attribute})))
	}
	signer := sequence(parts...)
	with := func(signers int) []byte {
		signed := sequence(der(3), set(algorithm(oidSHA512)), sequence(der(oidTimestamp), zero(der(info.FullBytes))),
			zero(asn1.RawValue{FullBytes: certificate}), set(repeat(signers, signer)...))
		return sequence(sequence(der(0)), sequence(der(oidSignedData), zero(signed))).FullBytes
	}
	one := len(with(1))
	return with(1 + max(0, (size-one-16)/len(signer.FullBytes))) // lengths take some bytes more then
}
