package proof

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/digitorus/pkcs7"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
)

// Whoever makes a signature brings keys: in its certificate and those beside it, in log entries, and in timestamps. The
// parsers below verify with them before anything is known of them, and crypto/rsa takes seconds of processor time for
// one verification with a key of 128 Kibit. Such keys are found here first, and refused.

// tooHard tells why a key that a signature brings is not used: nil if it is.
func tooHard(public any) error {
	if k, ok := public.(*rsa.PublicKey); ok && (k.N.BitLen() > maxRSA || k.E > maxExponent) {
		return fmt.Errorf("an RSA key of %d bits with the exponent %d, where at most %d and %d are used", k.N.BitLen(), k.E, maxRSA, maxExponent)
	}
	return nil
}

// cost is about what it costs to verify with a key, in units of what P-256 takes with all that is done beside it.
func cost(public any) int {
	if k, ok := public.(*ecdsa.PublicKey); ok {
		switch bits := k.Params().BitSize; {
		case bits > 384:
			return MaxCost
		case bits > 256:
			return costP384
		}
	}
	return 1
}

// tooCostly is tooHard for keys that cannot be of use if they are costlier than those they stand beside.
func tooCostly(public any, most int) error {
	if cost(public) > most {
		return errors.New("it has a key of a larger curve than those that it could be for")
	}
	return tooHard(public)
}

// parseCertificate reads a certificate that a signature brings. It lets go of what Go does not know about a critical
// subject alternative name: sigstore-go reads those of the form OtherName itself, and refuses what neither can.
func parseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, fmt.Errorf("it has more than %d bytes", maxCertificate)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if err := tooHard(c.PublicKey); err != nil {
		return nil, err
	}
	c.UnhandledCriticalExtensions = slices.DeleteFunc(c.UnhandledCriticalExtensions, oidSubjectAltName.Equal)
	return c, nil
}

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17} // RFC 5280, section 4.2.1.6

// entryKinds are the kinds of log entries that signatures of images have, of all that Rekor has parsers for.
var entryKinds = []string{"hashedrekord", "dsse", "intoto"}

// checkEntries refuses log entries that are too many or too large, of other kinds, with a key that is too hard or costs
// more than most, or with what stands in none that a log has made.
func checkEntries(entries []*protorekor.TransparencyLogEntry, most int) error {
	if len(entries) > maxEntries {
		return fmt.Errorf("there are %d, of which %d are looked at", len(entries), maxEntries)
	}
	for _, e := range entries {
		switch p := e.GetInclusionProof(); {
		case len(e.GetCanonicalizedBody()) > maxBody:
			return fmt.Errorf("its body has more than %d bytes", maxBody)
		case len(p.GetHashes()) > maxHashes || len(p.GetCheckpoint().GetEnvelope()) > maxCheckpoint:
			return fmt.Errorf("its inclusion proof has more than %d hashes or its checkpoint more than %d bytes", maxHashes, maxCheckpoint)
		}
		kind, _, err := readKind(e.GetCanonicalizedBody())
		switch {
		case err != nil:
			return fmt.Errorf("its body: %w", err)
		case !slices.Contains(entryKinds, kind):
			return fmt.Errorf("it is of the kind %.32q", kind)
		}
		w := walker{e.GetCanonicalizedBody()}
		if err := w.logged(); err != nil {
			return fmt.Errorf("its body: %w", err)
		}
		w = walker{e.GetCanonicalizedBody()}
		if err := w.texts(func(s string) error { return checkKeys(s, most) }); err != nil {
			return err
		}
	}
	return nil
}

// logged refuses what stands in entries that are proposed to a log, and in none that it has made: envelopes, whose
// signatures Rekor's types try with each of the keys as they parse them. Names are compared in the loosest way that a
// parser does.
func (w *walker) logged() error {
	switch w.peek() {
	case '{':
		return w.object(func(name string) error {
			next := w.peek()
			switch {
			case strings.EqualFold(name, "proposedContent"):
				return errors.New("it is that of a proposed entry")
			case strings.EqualFold(name, "payload"), strings.EqualFold(name, "envelope") && next != '{':
				if v := w.value(); string(v) != `""` && string(v) != "null" {
					return fmt.Errorf("it is that of a proposed entry, with its %s", strings.ToLower(name))
				}
				return nil
			}
			return w.logged()
		})
	case '[':
		return w.array(func(i int) error {
			if i == maxSignatures {
				return fmt.Errorf("it has more than %d signatures", maxSignatures)
			}
			return w.logged()
		})
	}
	w.value()
	return nil
}

// texts calls see with every string in the next value.
func (w *walker) texts(see func(string) error) error {
	switch w.peek() {
	case '{':
		return w.object(func(string) error { return w.texts(see) })
	case '[':
		return w.array(func(int) error { return w.texts(see) })
	case '"':
		s, err := w.text()
		if err != nil {
			return err
		}
		return see(s)
	}
	w.value()
	return nil
}

// checkKeys refuses a text that has a key which is too hard or costs more than most, however often it is wrapped in
// base64.
func checkKeys(s string, most int) error {
	for raw, layers := []byte(s), 0; layers < 4; layers++ {
		for rest := raw; len(rest) > 0; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if err := checkKey(block, most); err != nil {
				return err
			}
		}
		decoded, err := base64.StdEncoding.DecodeString(string(raw))
		if err != nil || len(decoded) == 0 {
			return nil // that was the innermost layer
		}
		raw = decoded
	}
	return errors.New("base64 of base64 of base64")
}

// checkKey refuses what is a key or certificate that is too hard or costs more than most. What is neither is for others to refuse.
func checkKey(block *pem.Block, most int) error {
	if c, err := x509.ParseCertificate(block.Bytes); err == nil {
		return tooCostly(c.PublicKey, most)
	}
	if k, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
		return tooCostly(k, most)
	}
	if k, err := x509.ParsePKCS1PublicKey(block.Bytes); err == nil {
		return tooCostly(k, most)
	}
	return nil
}

// checkTimestamps refuses timestamps that are too many or too large, that have more than one signature, or a key that is
// too hard or costs more than most.
func checkTimestamps(timestamps [][]byte, most int) error {
	if len(timestamps) > maxTimestamps {
		return fmt.Errorf("there are %d, of which %d are looked at", len(timestamps), maxTimestamps)
	}
	for _, raw := range timestamps {
		if len(raw) > maxTimestamp {
			return fmt.Errorf("it has more than %d bytes", maxTimestamp)
		}
		if nested(raw) > maxDepth { // each level of which is copied with all that is in it
			return fmt.Errorf("it is nested more than %d deep", maxDepth)
		}
		var response struct { // TimeStampResp (RFC 3161, section 2.4.2)
			Status asn1.RawValue
			Token  asn1.RawValue `asn1:"optional"`
		}
		if rest, err := asn1.Unmarshal(raw, &response); err != nil || len(rest) > 0 {
			return errors.Join(err, errors.New("it is no response of a timestamp authority"))
		}
		if !definite(raw) { // whose ends pkcs7 looks for again and again
			return errors.New("it is not DER")
		}
		token, err := pkcs7.Parse(response.Token.FullBytes)
		if err != nil {
			return err
		}
		if n := len(token.Signers); n != 1 { // each of which is verified, and then again for each authority
			return fmt.Errorf("it has %d signatures, and a timestamp has one", n)
		}
		if n := len(token.Certificates); n > 1+maxIntermediates {
			return fmt.Errorf("it has %d certificates, of which %d are looked at", n, 1+maxIntermediates)
		}
		for _, c := range token.Certificates {
			if err := tooCostly(c.PublicKey, most); err != nil {
				return err
			}
		}
	}
	return nil
}

// definite tells whether raw is made of elements that tell their length, and so all that is in them, as in DER. Only
// call it for what is not nested too deep.
func definite(raw []byte) bool {
	for len(raw) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(raw, &v)
		if err != nil || v.IsCompound && !definite(v.Bytes) {
			return false
		}
		raw = rest
	}
	return true
}

// nested returns how deep the elements of DER, or of BER, are in one another. It stops where raw is neither.
func nested(raw []byte) (deepest int) {
	var ends []int // of the elements that are open; 0 if only a mark tells
	for i := 0; i+1 < len(raw); {
		for len(ends) > 0 && ends[len(ends)-1] == i {
			ends = ends[:len(ends)-1]
		}
		tag := raw[i]
		i++
		if tag&0x1f == 0x1f { // and more bytes of it
			for i < len(raw) && raw[i]&0x80 != 0 {
				i++
			}
			i++
		}
		if i >= len(raw) {
			return deepest
		}
		length := int(raw[i])
		i++
		switch octets := length & 0x7f; {
		case tag == 0 && length == 0: // the mark
			if len(ends) > 0 && ends[len(ends)-1] == 0 {
				ends = ends[:len(ends)-1]
			}
			continue
		case length == 0x80:
			length = -i // so that its end is 0
		case length < 0x80:
		case octets > 4 || i+octets > len(raw):
			return deepest
		default:
			length = 0
			for _, b := range raw[i : i+octets] {
				length = length<<8 | int(b)
			}
			i += octets
		}
		if constructed := tag&0x20 != 0; constructed {
			ends = append(ends, i+length)
			deepest = max(deepest, len(ends))
		} else {
			i += max(length, 0)
		}
	}
	return deepest
}
