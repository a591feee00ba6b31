package proof_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/resolver/signature/attached"
)

// The largest of what is read: see limits.go, and those of the package attached.
const (
	largestContent    = 4 << 20
	largestAnnotation = 256 << 10
	largestTimestamp  = 32 << 10
)

type object = map[string]any

// trap is a hostile item, and of which specimen it was made.
type trap struct {
	of   string
	item *attached.Item
}

// hostile returns items as large as they may be, each of which costs the parsers below as much as it can.
func hostile(t *testing.T, by map[string]*specimen) map[string]trap {
	t.Helper()
	const keyless, keyed = "bundle 0.3, keyless signature", "bundle 0.3, key signature"
	bundle := func(name string, change func(b, material, entry object)) trap {
		var b object
		if err := json.Unmarshal(by[name].item.Content, &b); err != nil {
			t.Fatal(err)
		}
		material := b["verificationMaterial"].(object)
		var entry object
		if entries, ok := material["tlogEntries"].([]any); ok {
			entry = entries[0].(object)
		}
		change(b, material, entry)
		content := made[[]byte](t)(json.Marshal(b))
		if len(content) > largestContent {
			content = content[:largestContent]
		}
		return trap{name, &attached.Item{Form: attached.Bundle, Content: content}}
	}
	classic := func(name string, change func(i *attached.Item)) trap {
		i := *by[name].item
		change(&i)
		return trap{name, &i}
	}
	junk := func(form attached.Form, content string) trap {
		return trap{keyless, &attached.Item{Form: form, Content: []byte(content), Signature: []byte("x")}}
	}
	stamps := func(der []byte, n int) trap {
		return bundle("bundle 0.3, keyless signature, Rekor v2", func(_, m, _ object) {
			var list []any
			for range n {
				list = append(list, object{"signedTimestamp": der})
			}
			m["timestampVerificationData"] = object{"rfc3161Timestamps": list}
		})
	}
	body := func(raw string) trap {
		return bundle("bundle 0.3, keyless attestation", func(_, _, e object) { e["canonicalizedBody"] = []byte(raw) })
	}
	certificate := certificateOf(t, largestContent/2)
	values := strings.Repeat(`{},`, 9_000) + `{}`
	return map[string]trap{
		"brackets":                junk(attached.Bundle, strings.Repeat("[", largestContent)),
		"quotes":                  junk(attached.Bundle, strings.Repeat(`"\`, largestContent/2)),
		"an envelope of brackets": junk(attached.Envelope, strings.Repeat("[", largestContent)),
		"a payload of brackets":   junk(attached.SimpleSigning, strings.Repeat("[", largestContent)),
		"a large payload":         bundle(keyless, func(b, _, _ object) { b["dsseEnvelope"].(object)["payload"] = make([]byte, largestContent*7/10) }),
		"a large signature": bundle(keyless, func(b, _, _ object) {
			b["dsseEnvelope"].(object)["signatures"] = []any{object{"sig": make([]byte, largestContent*7/10)}}
		}),
		"a large hint":        bundle(keyed, func(_, m, _ object) { m["publicKey"] = object{"hint": strings.Repeat("A", largestContent*9/10)} }),
		"a large certificate": bundle(keyless, func(_, m, _ object) { m["certificate"] = object{"rawBytes": certificate} }),
		"a chain of large certificates": bundle("bundle 0.3, own PKI", func(_, m, _ object) {
			c := object{"rawBytes": certificateOf(t, largestContent/16)}
			m["x509CertificateChain"] = object{"certificates": []any{c, c, c, c, c}}
		}),
		"many log entries":  bundle(keyless, func(_, m, e object) { m["tlogEntries"] = repeat(e, 100) }),
		"empty log entries": bundle(keyless, func(_, m, _ object) { m["tlogEntries"] = repeat(object{}, 9_000) }),
		"large log entries": bundle(keyless, func(_, m, e object) {
			e["canonicalizedBody"] = []byte(`{"kind":"dsse","apiVersion":"0.0.1","spec":{"signatures":["` + strings.Repeat("A", largestContent/8) + `"]}}`)
			m["tlogEntries"] = repeat(e, 4)
		}),
		"a body of values":     body(`{"kind":"dsse","apiVersion":"0.0.1","spec":{"signatures":[` + values + `]}}`),
		"a body of brackets":   body(`{"kind":"dsse","apiVersion":"0.0.1","spec":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`),
		"a body of PEM":        body(`{"kind":"dsse","apiVersion":"0.0.1","spec":{"x":"` + base64.StdEncoding.EncodeToString(bytes.Repeat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificateOf(t, 100)}), 2500)) + `"}}`),
		"a body of PEM's ends": body(`{"kind":"dsse","apiVersion":"0.0.1","spec":{"x":"` + strings.Repeat(`-----BEGIN A-----\n`, 100_000) + `"}}`),
		"a checkpoint of signatures": bundle(keyless, func(_, _, e object) {
			checkpoint := e["inclusionProof"].(object)["checkpoint"].(object)
			checkpoint["envelope"] = checkpoint["envelope"].(string) + strings.Repeat("\u2014 rekor.sigstore.test AAAAAAAAAAAA\n", 60_000)
		}),
		"a checkpoint signed over and over": bundle(keyless, func(_, _, e object) {
			checkpoint := e["inclusionProof"].(object)["checkpoint"].(object)
			text := checkpoint["envelope"].(string)
			line := text[strings.LastIndex(strings.TrimSpace(text), "\n")+1:]
			checkpoint["envelope"] = text + strings.Repeat(line, largestContent*8/10/len(line))
		}),
		"a checkpoint of lines": bundle("bundle 0.3, keyless signature, Rekor v2", func(_, _, e object) {
			checkpoint := e["inclusionProof"].(object)["checkpoint"].(object)
			checkpoint["envelope"] = strings.Repeat("\n", largestContent/4) + checkpoint["envelope"].(string)
		}),
		"hashes":                  bundle(keyless, func(_, _, e object) { e["inclusionProof"].(object)["hashes"] = repeat(make([]byte, 32), 9_000) }),
		"timestamps, BER nested":  stamps(nestedBER(largestTimestamp), 4),
		"timestamps, DER nested":  stamps(nestedDER(largestTimestamp), 4),
		"timestamps, BER in rows": stamps(rowsOfBER(largestTimestamp), 4),
		"a timestamp too large":   stamps(nestedBER(largestContent*7/10), 1),
		"a classic timestamp, BER nested": classic("classic keyless signature, timestamp alone", func(i *attached.Item) {
			i.Timestamp = made[[]byte](t)(json.Marshal(object{"SignedRFC3161Timestamp": nestedBER(largestTimestamp)}))
		}),
		"a classic log entry": classic("classic keyless signature", func(i *attached.Item) {
			i.LogEntry = made[[]byte](t)(json.Marshal(object{"SignedEntryTimestamp": []byte("x"), "Payload": object{
				"body":           []byte(`{"kind":"dsse","apiVersion":"0.0.1","spec":{"signatures":[` + strings.Repeat(`{},`, 9_000) + `{}]}}`),
				"integratedTime": 1, "logIndex": 1, "logID": strings.Repeat("00", 32),
			}}))
		}),
		"a classic certificate": classic("classic keyless signature", func(i *attached.Item) {
			i.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificateOf(t, largestAnnotation*2/3)})
		}),
		"a classic chain": classic("classic keyless signature", func(i *attached.Item) { i.Chain = bytes.Repeat([]byte("-----BEGIN CERTIFICATE-----\n"), 9_000) }),
		"many signatures": junk(attached.Envelope, `{"payloadType":"application/vnd.in-toto+json","payload":"`+
			strings.Repeat("AAAA", largestContent/5)+`","signatures":[`+strings.Repeat(`{"sig":"AAAA"},`, 3)+`{"sig":"AAAA"}]}`),
	}
}

func repeat[T any](v T, n int) []any {
	var all []any
	for range n {
		all = append(all, v)
	}
	return all
}

// certificateOf makes a certificate with a key of its own and about so many bytes of names.
func certificateOf(t *testing.T, size int) []byte {
	t.Helper()
	key := made[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}},
	}
	for range size / 12 {
		template.URIs = append(template.URIs, &url.URL{Scheme: "a", Host: "b.c"})
	}
	return made[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
}

// timestampOf wraps a token in a response whose status is good.
func timestampOf(token []byte) []byte {
	status := []byte{0x30, 3, 2, 1, 0}
	return wrap(0x30, append(status, wrap(0x30, token)...))
}

func wrap(tag byte, content []byte) []byte {
	var b bytes.Buffer
	(&tlv{tag: tag, value: content}).write(&b)
	return b.Bytes()
}

// nestedBER is a token of lengths that are not said, one in another, to recurse and to search.
func nestedBER(size int) []byte {
	n := (size - 20) / 4
	return timestampOf(append(bytes.Repeat([]byte{0x30, 0x80}, n), make([]byte, 2*n)...))
}

// nestedDER is one of lengths that are.
func nestedDER(size int) []byte {
	content := []byte{5, 0}
	for len(content) < size-20 {
		content = wrap(0x30, content)
	}
	return timestampOf(content)
}

// rowsOfBER is one with many elements in a length that is not said, whose end is looked for after each.
func rowsOfBER(size int) []byte {
	return timestampOf(append([]byte{0x30, 0x80}, bytes.Repeat([]byte{2, 1, 1}, (size-20)/3)...))
}

// mostMemory is what judging one item may allocate, in bytes. One is judged after another, so that no more is live.
const mostMemory = 64 << 20

// TestHostileItems has items judged that cost as much as they can. Each is judged for little memory, of which nothing is
// held afterwards, and makes no parser panic. It must run alone.
func TestHostileItems(t *testing.T) {
	all := specimens(t)
	by := map[string]*specimen{}
	for _, s := range all {
		by[s.name] = s
	}
	items := hostile(t, by)
	judge := func(s *specimen, item *attached.Item) (verdict string, allocated uint64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		verdict = s.verdict(item)
		runtime.ReadMemStats(&after)
		return verdict, after.TotalAlloc - before.TotalAlloc
	}
	live := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := live()
	for name, h := range items {
		verdict, allocated := judge(by[h.of], h.item)
		if verdict != refused && verdict != accepted {
			t.Errorf("%s: %s", name, verdict)
		}
		if allocated > mostMemory {
			t.Errorf("%s: %d MiB were allocated for %d KiB", name, allocated>>20, len(h.item.Content)>>10)
		}
		t.Logf("%s: %.7s, %d KiB allocated for %d KiB", name, verdict, allocated>>10, len(h.item.Content)>>10)
	}
	if held := live() - before; held > 1<<20 {
		t.Errorf("%d KiB are still held", held>>10)
	}
	runtime.KeepAlive(items)
}
