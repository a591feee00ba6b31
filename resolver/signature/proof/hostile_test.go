package proof

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"sluice/engine"
	"sluice/resolver/signature/attached"
	. "sluice/resolver/signature/signaturetest"
)

// TestKnownPanics sends what is known to end a process that verifies with cosign v2.6.5, and its neighbours.
func TestKnownPanics(t *testing.T) {
	t.Parallel()
	ours := must(NewSigstore())
	keyless := must(ours.Keyless(Identity{Issuer: tokenBy, Subject: holder}))
	j := judge(t, engine.Trust{Roots: roots(ours.TrustedRoot()), Logs: 1, SCTs: 1})
	body := func(raw string) string { return base64.StdEncoding.EncodeToString([]byte(raw)) }
	entry := func(b string) string {
		return fmt.Sprintf(`{"SignedEntryTimestamp":"AAAA","Payload":{"body":%s,"integratedTime":1,"logIndex":1,"logID":"00"}}`, b)
	}
	for _, log := range []string{
		`{}`, `null`, `[]`, `""`, `{"Payload":{}}`, `{"Payload":null}`, `{"SignedEntryTimestamp":"AAAA"}`,
		`{"SignedEntryTimestamp":"AAAA","Payload":{"integratedTime":1,"logIndex":1,"logID":"00"}}`,
		entry(`null`), entry(`1`), entry(`{}`), entry(`[]`), entry(`""`), entry(`"%"`), entry(`"AAAA"`),
		entry(`"` + body(`{}`) + `"`), entry(`"` + body(`null`) + `"`), entry(`"` + body(`[]`) + `"`),
		entry(`"` + body(`{"kind":"hashedrekord"}`) + `"`), entry(`"` + body(`{"kind":"hashedrekord","spec":{}}`) + `"`),
		entry(`"` + body(`{"kind":"hashedrekord","apiVersion":null,"spec":{}}`) + `"`),
		entry(`"` + body(`{"kind":"hashedrekord","apiVersion":"0.0.1"}`) + `"`),
		entry(`"` + body(`{"kind":"hashedrekord","apiVersion":"0.0.1","spec":null}`) + `"`),
		entry(`"` + body(`{"kind":"hashedrekord","apiVersion":"0.0.1","spec":{}}`) + `"`),
		entry(`"` + body(`{"kind":"hashedrekord","apiVersion":"0.0.1","spec":{"signature":{},"data":{}}}`) + `"`),
		entry(`"` + body(`{"kind":"hashedrekord","apiVersion":"0.0.1","spec":{"signature":{"publicKey":{}},"data":{"hash":{}}}}`) + `"`),
		entry(`"` + body(`{"kind":"dsse","apiVersion":"0.0.1","spec":{"signatures":[]}}`) + `"`),
		entry(`"` + body(`{"kind":"dsse","apiVersion":"0.0.1","spec":{"signatures":[{}],"envelopeHash":{},"payloadHash":{}}}`) + `"`),
		entry(`"` + body(`{"kind":"intoto","apiVersion":"0.0.1","spec":{}}`) + `"`),
		entry(`"` + body(`{"kind":"intoto","apiVersion":"0.0.1","spec":{"content":{"hash":{}},"publicKey":""}}`) + `"`),
		entry(`"` + body(`{"kind":"intoto","apiVersion":"0.0.2","spec":{}}`) + `"`),
		entry(`"` + body(`{"kind":"intoto","apiVersion":"0.0.2","spec":{"content":{"envelope":{"signatures":[]}}}}`) + `"`),
		entry(`"` + body(`{"kind":"intoto","apiVersion":"0.0.2","spec":{"content":{"envelope":{"signatures":[null]}}}}`) + `"`),
		entry(`"` + body(`{"kind":"rekord","apiVersion":"0.0.1","spec":{}}`) + `"`),
		entry(`"` + body(`{"kind":"helm","apiVersion":"0.0.1","spec":{"chart":{"provenance":{}}}}`) + `"`),
		entry(`"` + body(`{"kind":"hashedrekord","apiVersion":"0.0.2","spec":{"hashedRekordV002":{}}}`) + `"`),
		entry(`"` + body(`{"kind":"hashedrekord","apiVersion":"0.0.2","spec":{"hashedRekordV002":{"signature":{},"data":null}}}`) + `"`),
	} {
		for _, content := range []Content{about(), provenance()} {
			item := found(t, must(ours.Classic(keyless, content, Evidence{Log: Rekor})))
			item.LogEntry = []byte(log)
			_, err := j.Judge(item, digest)
			var r *Refusal
			if !errors.As(err, &r) || r.Panicked {
				t.Errorf("%s: %v", log, err)
			}
			if d := Describe(item); d.Err == nil && len(d.LogIndexes) == 0 {
				t.Errorf("%s: %+v", log, d)
			}
		}
	}
	for _, certificate := range []string{" ", "\n", "x", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"} {
		item := found(t, must(ours.Classic(keyless, about(), Evidence{Log: Rekor})))
		good := item.Certificate
		item.Certificate = []byte(certificate)
		_, err := j.Judge(item, digest)
		refused(t, err, engine.ReasonSignatureInvalid, "its certificate")
		item.Certificate = append(append([]byte{}, good...), good...)
		_, err = j.Judge(item, digest)
		refused(t, err, engine.ReasonSignatureInvalid, "more than one")
	}
	for _, timestamp := range []string{`{}`, `null`, ` `, `{"SignedRFC3161Timestamp":""}`, `{"SignedRFC3161Timestamp":1}`, `{"SignedRFC3161Timestamp":"AA=="}`} {
		item := found(t, must(ours.Classic(keyless, about(), Evidence{})))
		item.Timestamp = []byte(timestamp)
		if _, err := j.Judge(item, digest); err == nil {
			t.Errorf("%s was accepted", timestamp)
		}
	}
	for _, item := range []*attached.Item{{}, {Form: attached.Bundle}, {Form: 77, Content: []byte("x")}, {Form: attached.SimpleSigning, Content: []byte("{}")}} {
		_, err := j.Judge(item, digest)
		refused(t, err, engine.ReasonSignatureInvalid, "")
	}
	_, err := j.Judge(found(t, must(ours.Bundle("0.3", keyless, about(), Evidence{Log: Rekor}))), "")
	refused(t, err, engine.ReasonSignatureInvalid, "a digest is")
}

// TestLogEntriesAreWhole takes one thing after the other from what cosign notes of a log entry.
func TestLogEntriesAreWhole(t *testing.T) {
	t.Parallel()
	ours := must(NewSigstore())
	whole := found(t, must(ours.Classic(must(ours.Keyless(Identity{Issuer: tokenBy, Subject: holder})), about(), Evidence{Log: Rekor}))).LogEntry
	if _, err := readLogEntry(whole); err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	for says, change := range map[string]func(entry, payload object){
		"it is not whole":               func(entry, _ object) { delete(entry, "SignedEntryTimestamp") },
		"it is not whole ":              func(_, payload object) { delete(payload, "integratedTime") },
		"it is not whole  ":             func(_, payload object) { payload["integratedTime"] = -1 },
		"it is not whole   ":            func(_, payload object) { payload["logIndex"] = -1 },
		"it is not whole    ":           func(_, payload object) { delete(payload, "logID") },
		"it is not whole     ":          func(_, payload object) { delete(payload, "body") },
		"integratedTime: an integer":    func(_, payload object) { payload["integratedTime"] = 1.5 },
		"logIndex: an integer":          func(_, payload object) { payload["logIndex"] = "1" },
		"logID: encoding/hex":           func(_, payload object) { payload["logID"] = "x" },
		"an unknown member \"later\"":   func(_, payload object) { payload["later"] = 1 },
		"an unknown member \"payload\"": func(entry, _ object) { entry["payload"] = object{} },
		"body: illegal base64":          func(_, payload object) { payload["body"] = "%" },
		"its body: it has no kind":      func(_, payload object) { payload["body"] = []byte("{}") },
	} {
		var entry object
		if err := json.Unmarshal(whole, &entry); err != nil {
			t.Fatal(err)
		}
		change(entry, entry["Payload"].(object))
		if _, err := readLogEntry(must(json.Marshal(entry))); err == nil || !strings.Contains(err.Error(), strings.TrimRight(says, " ")) {
			t.Errorf("%v, want %s", err, says)
		}
	}
}

// TestPanicsAreRefusals panics on our own goroutine, in place of a parser.
func TestPanicsAreRefusals(t *testing.T) {
	t.Parallel()
	_, err := (&Judge{}).Judge(nil, digest)
	var r *Refusal
	if !errors.As(err, &r) || !r.Panicked || r.Reason != engine.ReasonSignatureInvalid || !strings.Contains(err.Error(), "nil pointer") {
		t.Errorf("%v", err)
	}
	if _, err := (&Judge{}).JudgeBundle([]byte(`{}`), File{}); !errors.As(err, &r) || !r.Panicked {
		t.Errorf("%v", err)
	}
	if d := Describe(nil); !errors.As(d.Err, &r) || !r.Panicked {
		t.Errorf("%+v", d)
	}
}

// TestFilesAreNotImages is about a bundle over a file, even if that is the image's manifest.
func TestFilesAreNotImages(t *testing.T) {
	t.Parallel()
	ours, key := must(NewSigstore()), must(NewKeySigner(P256))
	item := found(t, must(ours.Bundle("0.3", key, Content{File: []byte("manifest")}, Evidence{})))
	_, err := judge(t, engine.Trust{Keys: keys(key)}).Judge(item, digest)
	refused(t, err, engine.ReasonSignatureInvalid, "a signature over a file")
}

// TestSizes is about what is too large, and about what becomes large: none may take more than a few megabytes.
func TestSizes(t *testing.T) {
	ours := must(NewSigstore())
	keyless := must(ours.Keyless(Identity{Issuer: tokenBy, Subject: holder}))
	j := judge(t, engine.Trust{Roots: roots(ours.TrustedRoot()), Logs: 1, SCTs: 1})
	bundle := must(ours.Bundle("0.3", keyless, about(), Evidence{Log: Rekor})).Content
	many := func(member, element string) []byte {
		all := strings.TrimSuffix(strings.Repeat(element+",", (1<<20)/(len(element)+1)), ",")
		out := bytes.Replace(bundle, []byte(`"`+member+`":[`), []byte(`"`+member+`":[`+all+`,`), 1)
		if len(out) == len(bundle) {
			t.Fatalf("there is no %s in %s", member, bundle)
		}
		return out
	}
	payload := must(json.Marshal(strings.Repeat("{},", 300_000)))
	for name, item := range map[string]*attached.Item{
		"log entries":  {Form: attached.Bundle, Content: many("tlogEntries", "{}")},
		"signatures":   {Form: attached.Bundle, Content: many("signatures", "{}")},
		"depth":        {Form: attached.Bundle, Content: []byte(strings.Repeat(`{"a":`, 1<<18))},
		"too large":    {Form: attached.Bundle, Content: bytes.Repeat([]byte(" "), maxContent+1)},
		"claim":        {Form: attached.SimpleSigning, Content: payload, Signature: []byte("x"), Certificate: []byte("x")},
		"signature":    {Form: attached.SimpleSigning, Content: payload, Signature: make([]byte, maxSignature+1)},
		"certificate":  {Form: attached.SimpleSigning, Content: payload, Certificate: make([]byte, maxAnnotation+1)},
		"envelope":     {Form: attached.Envelope, Content: []byte(`{"signatures":[` + strings.Repeat("{},", 300_000) + `{}]}`)},
		"big envelope": {Form: attached.Envelope, Content: fmt.Appendf(nil, `{"payloadType":%q,"signatures":[{"sig":"AAAA"}],"payload":"%s"}`, statementType, strings.Repeat("A", 1<<20))},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := j.Judge(item, digest)
		runtime.ReadMemStats(&after)
		refused(t, err, engine.ReasonSignatureInvalid, "")
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
			t.Errorf("%s: %d MiB allocated", name, grown>>20)
		}
		Describe(item)
	}
}
