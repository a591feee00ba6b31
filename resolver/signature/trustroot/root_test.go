package trustroot

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParsePublicGood(t *testing.T) {
	t.Parallel()
	raw := publicGood(t)
	r, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	m := r.Material()
	if len(m.FulcioCertificateAuthorities()) != 2 || len(m.CTLogs()) != 2 || len(m.RekorLogs()) == 0 {
		t.Errorf("%+v", m)
	}
	kinds := map[string]int{}
	last := time.Time{}
	for _, e := range r.Expiries() {
		kinds[e.Kind]++
		if e.NotAfter.Before(last) || e.NotAfter.IsZero() || e.Name == "" {
			t.Errorf("%+v after %v", e, last)
		}
		last = e.NotAfter
	}
	// The first authority was ended before its certificate, as was the first log for certificates.
	ended := Expiry{Kind: "certificate_authority", Name: "https://fulcio.sigstore.dev", NotAfter: time.Date(2022, 12, 31, 23, 59, 59, 999000000, time.UTC)}
	if kinds["certificate_authority"] != 2 || kinds["ct_log"] != 1 || kinds["transparency_log"] != 0 {
		t.Errorf("%v: %+v", kinds, r.Expiries())
	}
	found := false
	for _, e := range r.Expiries() {
		found = found || e == ended
	}
	if !found {
		t.Errorf("no %+v in %+v", ended, r.Expiries())
	}
	r.Expiries()[0].Name = "changed"
	if r.Expiries()[0].Name == "changed" {
		t.Error("the slice is shared")
	}
	for _, mediaType := range mediaTypes {
		if _, err := Parse(bytes.Replace(raw, []byte(mediaTypes[0]), []byte(mediaType), 1)); err != nil {
			t.Errorf("%s: %v", mediaType, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	raw := publicGood(t)
	type object = map[string]any
	edited := func(change func(root object)) []byte {
		var root object
		if err := json.Unmarshal(raw, &root); err != nil {
			t.Fatal(err)
		}
		change(root)
		out, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	log := func(root object) object { return root["tlogs"].([]any)[0].(object) }
	authority := func(root object) object { return root["certificateAuthorities"].([]any)[0].(object) }
	for says, json := range map[string][]byte{
		"is empty":        nil,
		"more than":       make([]byte, MaxBytes+1),
		"not a trusted":   []byte("null,"),
		"not a trusted r": []byte(strings.Repeat("[", 1<<20)),
		"mediaType is":    []byte("{}"),
		"trusts nothing":  []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`),
		"mediaType is \"application/vnd.dev.sigstore.bundle": edited(func(root object) { root["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.3+json" }),
		"unknown field":              edited(func(root object) { root["later"] = 1 }),
		"validity period":            edited(func(root object) { delete(log(root)["publicKey"].(object), "validFor") }),
		"start time":                 edited(func(root object) { log(root)["publicKey"].(object)["validFor"] = object{} }),
		"missing log ID":             edited(func(root object) { delete(log(root), "logId") }),
		"missing public key":         edited(func(root object) { delete(log(root), "publicKey") }),
		"failed to parse public key": edited(func(root object) { log(root)["publicKey"].(object)["rawBytes"] = "AAAA" }),
		"unsupported tlog hash":      edited(func(root object) { log(root)["hashAlgorithm"] = "SHA2_512" }),
		"missing cert chain":         edited(func(root object) { delete(authority(root), "certChain") }),
		"cert chain is empty":        edited(func(root object) { authority(root)["certChain"] = object{} }),
		"failed to parse certificate": edited(func(root object) {
			authority(root)["certChain"] = object{"certificates": []any{object{"rawBytes": "AAAA"}}}
		}),
		"and may have 1000":                edited(func(root object) { root["tlogs"] = slices.Repeat([]any{object{}}, maxEntries+1) }),
		"not a trusted root in JSON: synt": edited(func(root object) { root["tlogs"] = []any{1} }),
	} {
		if _, err := Parse(json); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "proto:") || strings.HasPrefix(err.Error(), "trustroot") {
			t.Errorf("%v, want %s", err, says)
		}
	}
}

func FuzzParse(f *testing.F) {
	raw, err := os.ReadFile("testdata/public_good.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := Parse(raw)
		if err != nil && strings.Contains(err.Error(), "a parser failed") {
			t.Fatal(err)
		}
		if err == nil {
			r.Expiries()
		}
	})
}
