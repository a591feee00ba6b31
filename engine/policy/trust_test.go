package policy_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"sluice/engine"
	"sluice/engine/policy"
	"sluice/engine/policy/strictyaml"
	"sluice/resolver/signature/trustroot"
)

// authority compiles one authority, given as the YAML of its fields.
func authority(t *testing.T, opts policy.Options, fields string) *engine.Authority {
	t.Helper()
	src := "apiVersion: sluice/v1\nkind: ImagePolicy\nmetadata: {name: x}\nspec:\n  images: [{glob: '**'}]\n  authorities:\n  - name: a\n" +
		"    " + strings.ReplaceAll(strings.TrimSpace(fields), "\n", "\n    ") + "\n"
	policies, err := policy.Parse("testdata/test.yaml", []byte(src), opts)
	if err != nil {
		t.Fatal(err)
	}
	return policies[0].Authorities[0]
}

const someone = "identities: [{issuer: https://token.example.com, subject: a@example.com}]"

// checked is options with roots that are read as those are that verify signatures.
func checked() policy.Options {
	opts := options()
	opts.CheckRoot = func(json []byte) error {
		_, err := trustroot.Parse(json)
		return err
	}
	return opts
}

// TestTrust lists what authorities of each kind ask for if nothing else is said, and what changes it.
func TestTrust(t *testing.T) {
	t.Parallel()
	const root = "trustedRoot: roots/trusted_root.json"
	for fields, want := range map[string]engine.Trust{
		"key: {file: keys/p256.pub}":                                                                        {},
		"key: keys/p256.pub":                                                                                {},
		"keys: [keys/p256.pub]":                                                                             {},
		"key: {file: keys/p256.pub}\nctlog: {" + root + "}":                                                 {Logs: 1},
		"key: {file: keys/p256.pub}\nctlog: {required: true, " + root + "}":                                 {Logs: 1},
		"key: {file: keys/p256.pub}\nrfc3161timestamp: {" + root + "}":                                      {Timestamps: 1},
		"key: {file: keys/p256.pub}\nctlog: {" + root + "}\nrfc3161timestamp: {}":                           {Logs: 1, Timestamps: 1},
		"key: {file: keys/p256.pub}\nctlog: {threshold: 2, trustedRoot: roots/two.json}":                    {Logs: 2},
		"keyless: {" + someone + ", " + root + "}":                                                          {Logs: 1, SCTs: 1, Intermediates: true},
		"keyless: {" + someone + ", " + root + "}\nctlog: {}":                                               {Logs: 1, SCTs: 1, Intermediates: true},
		"keyless: {" + someone + ", " + root + ", insecureIgnoreSCT: true}":                                 {Logs: 1, Intermediates: true},
		"keyless: {" + someone + ", " + root + "}\nrfc3161timestamp: {}":                                    {Logs: 1, Timestamps: 1, SCTs: 1, Intermediates: true},
		"keyless: {" + someone + ", " + root + "}\nctlog: {required: false}\nrfc3161timestamp: {}":          {Timestamps: 1, SCTs: 1, Intermediates: true},
		"keyless: {" + someone + ", trustedRoot: roots/two.json}\nctlog: {threshold: 2}":                    {Logs: 2, SCTs: 1, Intermediates: true},
		"certificate: {roots: pki/root.pem, identities: [{subject: a@example.com}]}":                        {CurrentTime: true, Intermediates: true},
		"certificate: {roots: pki/leaf.pem, identities: [{subject: a@example.com}]}":                        {CurrentTime: true, Intermediates: true},
		"certificate: {roots: pki/root.pem, identities: [{subject: a@example.com}]}\nctlog: {" + root + "}": {Logs: 1, Intermediates: true},
		"certificate: {roots: pki/root.pem, identities: [{subject: a}]}\nrfc3161timestamp: {" + root + "}":  {Timestamps: 1, Intermediates: true},
	} {
		got := *authority(t, checked(), fields).Trust
		if got.Logs != want.Logs || got.Timestamps != want.Timestamps || got.SCTs != want.SCTs || got.CurrentTime != want.CurrentTime || got.Intermediates != want.Intermediates {
			t.Errorf("%s:\n%+v", fields, got)
		}
		if isKey := strings.HasPrefix(fields, "key:") || strings.HasPrefix(fields, "keys:"); (len(got.Keys) == 1) != isKey || (len(got.Roots) == 0) != (isKey && want.Logs+want.Timestamps == 0) {
			t.Errorf("%s: %d keys, %d roots", fields, len(got.Keys), len(got.Roots))
		}
		for _, r := range got.Roots {
			if sum := sha256.Sum256(r.JSON); r.ID != fmt.Sprintf("%x", sum) || r.Name == "" {
				t.Errorf("%s: root %s %q", fields, r.ID, r.Name)
			}
			if _, err := trustroot.Parse(r.JSON); err != nil {
				t.Errorf("%s: %v\n%s", fields, err, r.JSON)
			}
		}
	}
}

// entries counts what is in a root, as certificateAuthorities, ctlogs, tlogs and timestampAuthorities.
func entries(t *testing.T, root []byte) string {
	t.Helper()
	var all struct{ CertificateAuthorities, CTLogs, TLogs, TimestampAuthorities []json.RawMessage }
	if err := json.Unmarshal(root, &all); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(len(all.CertificateAuthorities), len(all.CTLogs), len(all.TLogs), len(all.TimestampAuthorities))
}

// TestRootsOfAuthorities tells which roots signatures are judged by, and what is in each.
func TestRootsOfAuthorities(t *testing.T) {
	t.Parallel()
	original, err := os.ReadFile("testdata/roots/trusted_root.json")
	if err != nil {
		t.Fatal(err)
	}
	f := func(fields string, want ...string) []*engine.TrustRoot {
		t.Helper()
		roots := authority(t, checked(), fields).Trust.Roots
		var got []string
		for _, r := range roots {
			got = append(got, entries(t, r.JSON))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %q", fields, got)
		}
		return roots
	}
	// A root that is complete is taken as it is, byte for byte, and so is shared with whoever else has it.
	for _, form := range []string{"roots/trusted_root.json", "{file: roots/trusted_root.json}", "[roots/trusted_root.json]", "[{file: roots/trusted_root.json}]"} {
		if roots := f("keyless: {"+someone+", trustedRoot: "+form+"}", "2 2 1 1"); !bytes.Equal(roots[0].JSON, original) || roots[0].Name != "roots/trusted_root.json" {
			t.Errorf("%s: %s", form, roots[0].Name)
		}
	}
	f("keyless: {"+someone+", trustedRoot: [roots/trusted_root.json, roots/two.json]}", "2 2 1 1", "2 2 2 2")
	f("key: {file: keys/p256.pub}\nctlog: {trustedRoot: roots/trusted_root.json}", "0 0 1 0")
	f("key: {file: keys/p256.pub}\nrfc3161timestamp: {trustedRoot: roots/two.json}", "0 0 0 2")
	f("key: {file: keys/p256.pub}\nctlog: {trustedRoot: roots/two.json}\nrfc3161timestamp: {trustedRoot: roots/trusted_root.json}", "0 0 2 1")
	// One list for both is one root after the other, and not every log with every timestamp authority.
	f("key: {file: keys/p256.pub}\nctlog: {trustedRoot: [roots/trusted_root.json, roots/two.json]}\nrfc3161timestamp: {}", "0 0 1 1", "0 0 2 2")
	f("key: {file: keys/p256.pub}\nctlog: {}\nrfc3161timestamp: {trustedRoot: [roots/trusted_root.json, roots/two.json]}", "0 0 1 1", "0 0 2 2")
	f("key: {file: keys/p256.pub}\nctlog: {trustedRoot: [roots/trusted_root.json, roots/two.json]}\nrfc3161timestamp: {trustedRoot: [roots/trusted_root.json, roots/two.json]}",
		"0 0 1 1", "0 0 1 2", "0 0 2 1", "0 0 2 2")
	f("keyless: {"+someone+", trustedRoot: roots/trusted_root.json}\nctlog: {trustedRoot: roots/two.json}", "2 2 2 1")
	f("keyless: {"+someone+", trustedRoot: roots/two.json}\nctlog: {required: false}\nrfc3161timestamp: {trustedRoot: roots/trusted_root.json}", "2 2 2 1")
	f("certificate: {roots: pki/root.pem, identities: [{subject: a}]}\nctlog: {trustedRoot: roots/trusted_root.json}", "1 0 1 0")
	f("certificate: {roots: pki/roots.pem, identities: [{subject: a}]}", "2 0 0 0")

	// Names in the other form that ProtoJSON allows.
	f(`key: {file: keys/p256.pub}
rfc3161timestamp: {trustedRoot: {data: '`+strings.ReplaceAll(compact(t, original), "timestampAuthorities", "timestamp_authorities")+`'}}`, "0 0 0 1")
}

func compact(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPieces looks at what is made of certificates and keys.
func TestPieces(t *testing.T) {
	t.Parallel()
	roots := authority(t, checked(), `
keyless:
  `+someone+`
  trustedRoot:
    certificateAuthorities:
    - {chain: pki/chain.pem, uri: "https://fulcio.example.com"}
    - {chain: pki/reversed.pem}
    ctLogs: [{key: {file: keys/p384.pub}}]
    tLogs:
    - {key: {file: keys/p256.pub}, baseURL: "https://rekor.example.com"}
    - {key: {file: keys/ed25519.pub}}
    - {key: {file: keys/ed25519.pub}, baseURL: "https://rekor2.example.com:8080/x"}
    - {key: {file: keys/rsa2048.pub}, baseURL: "https://rekor3.example.com"}
    timestampAuthorities: [{chain: pki/tsa.pem}]
`).Trust.Roots
	root, err := trustroot.Parse(roots[0].JSON)
	if err != nil {
		t.Fatal(err)
	}
	m := root.Material()
	if cas, tsas, ct := len(m.FulcioCertificateAuthorities()), len(m.TimestampingAuthorities()), len(m.CTLogs()); cas != 2 || tsas != 1 || ct != 1 {
		t.Errorf("%d certificate authorities, %d timestamp authorities, %d certificate logs", cas, tsas, ct)
	}
	var got struct {
		MediaType              string
		CertificateAuthorities []struct {
			URI       string
			CertChain struct{ Certificates []struct{ RawBytes []byte } }
			ValidFor  struct{ Start, End string }
		}
		TLogs []struct {
			BaseURL, HashAlgorithm string
			PublicKey              struct {
				RawBytes   []byte
				KeyDetails string
				ValidFor   struct{ Start string }
			}
			LogID struct{ KeyID []byte }
		}
	}
	if err := json.Unmarshal(roots[0].JSON, &got); err != nil {
		t.Fatal(err)
	}
	if got.MediaType != "application/vnd.dev.sigstore.trustedroot+json;version=0.1" {
		t.Error(got.MediaType)
	}
	for i, ca := range got.CertificateAuthorities { // in whichever order the PEM has them
		chain := ca.CertChain.Certificates
		first, err := x509.ParseCertificate(chain[0].RawBytes)
		if err != nil || len(chain) != 2 || first.Subject.CommonName != "intermediate" {
			t.Errorf("chain %d: %v, %v", i, first.Subject, err)
		}
		if ca.ValidFor.Start != "2026-01-01T00:00:00Z" || ca.ValidFor.End != "2100-01-01T00:00:00Z" { // the intermediate's
			t.Errorf("chain %d is valid for %+v", i, ca.ValidFor)
		}
	}
	der := func(name string) []byte {
		block, _ := pem.Decode([]byte(readTestFile(t, "testdata/keys/"+name+".pub")))
		return block.Bytes
	}
	sum := func(parts ...string) string {
		s := sha256.Sum256([]byte(strings.Join(parts, "")))
		return base64.StdEncoding.EncodeToString(s[:])
	}
	ed := string(der("ed25519"))
	want := []string{
		"https://rekor.example.com PKIX_ECDSA_P256_SHA_256 " + sum(string(der("p256"))),
		" PKIX_ED25519 " + sum(ed),
		"https://rekor2.example.com:8080/x PKIX_ED25519 " + sum(ed),
		"https://rekor2.example.com:8080/x PKIX_ED25519 " + sum("rekor2.example.com\n\x01", ed[len(ed)-32:]),
		"https://rekor3.example.com PKIX_RSA_PKCS1V15_2048_SHA256 " + sum(string(der("rsa2048"))),
		"https://rekor3.example.com PKIX_RSA_PKCS1V15_2048_SHA256 " + sum("rekor3.example.com\n\xffPKIX-RSA-PKCS#1v1.5", string(der("rsa2048"))),
	}
	var logs []string
	for _, l := range got.TLogs {
		logs = append(logs, l.BaseURL+" "+l.PublicKey.KeyDetails+" "+base64.StdEncoding.EncodeToString(l.LogID.KeyID))
		if l.HashAlgorithm != "SHA2_256" || l.PublicKey.ValidFor.Start != "1970-01-01T00:00:00Z" {
			t.Errorf("%+v", l)
		}
	}
	if strings.Join(logs, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(logs, "\n"), strings.Join(want, "\n"))
	}
}

// TestFetchedRoots shows roots that come by TUF: not yet, or not at all, and how others depend on them.
func TestFetchedRoots(t *testing.T) {
	t.Parallel()
	var asked []string
	opts := checked()
	opts.FetchedRoot = func(mirror string, initial []byte) []byte {
		asked = append(asked, fmt.Sprintf("%s %d", mirror, len(initial)))
		return nil
	}
	const fields = "keyless: {" + someone + ", trustedRoot: [{tuf: {}}, {tuf: {mirror: 'https://tuf.example.com/', root: roots/root.json}}]}"
	want := []string{policy.PublicGoodMirror + " 0", "https://tuf.example.com 62"}
	roots := authority(t, opts, fields).Trust.Roots
	if strings.Join(asked, ", ") != strings.Join(want, ", ") || len(roots) != 2 || len(roots[0].JSON)+len(roots[1].JSON) != 0 {
		t.Errorf("asked for %q, got %+v", asked, roots)
	}
	opts.FetchedRoot = nil
	if roots := authority(t, opts, fields).Trust.Roots; len(roots) != 2 || len(roots[1].JSON) != 0 {
		t.Errorf("%+v", roots)
	}
	// What is made of one that is not there yet is not there either.
	merged := authority(t, opts, "certificate: {roots: pki/root.pem, identities: [{subject: a}]}\nrfc3161timestamp: {trustedRoot: {tuf: {}}}").Trust.Roots
	if len(merged) != 1 || len(merged[0].JSON) != 0 || merged[0].Name != policy.PublicGoodMirror {
		t.Errorf("%+v", merged[0])
	}
	opts.FetchedRoot = func(string, []byte) []byte { return []byte(readTestFile(t, "testdata/roots/trusted_root.json")) }
	if roots := authority(t, opts, fields).Trust.Roots; entries(t, roots[0].JSON) != "2 2 1 1" {
		t.Errorf("%s", roots[0].JSON)
	}
}

// TestCheckRoot shows that an error of the check is one of the document, where the root stands.
func TestCheckRoot(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.CheckRoot = func(json []byte) error {
		if bytes.Contains(json, []byte("rekor.example.com")) {
			return errors.New("not to be trusted")
		}
		return nil
	}
	f := func(root string, line, column int) {
		t.Helper()
		_, err := policy.Parse("testdata/test.yaml", []byte("apiVersion: sluice/v1\nkind: ImagePolicy\nmetadata: {name: x}\nspec:\n  images: [{glob: '**'}]\n  authorities:\n  - keyless:\n      "+
			someone+"\n      trustedRoot:\n      - "+root+"\n"), opts)
		var at *strictyaml.Error
		if !errors.As(err, &at) || at.Line != line || at.Column != column || at.Message != "this trusted root cannot be used: not to be trusted" {
			t.Errorf("%s: %v", root, err)
		}
	}
	f("roots/other.json", 10, 9)
	f("{file: roots/other.json}", 10, 16)
	f(`{data: '{"tlogs":["rekor.example.com"]}'}`, 10, 16)
	f(`{tLogs: [{key: {file: keys/p256.pub}, baseURL: "https://rekor.example.com"}]}`, 10, 9)
}

// TestPredicateTypes holds the names against those of cosign v2.6.5 and v3.1.3.
func TestPredicateTypes(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"slsaprovenance":                 "https://slsa.dev/provenance/v0.2",
		"slsaprovenance02":               "https://slsa.dev/provenance/v0.2",
		"slsaprovenance1":                "https://slsa.dev/provenance/v1",
		"spdx":                           "https://spdx.dev/Document",
		"spdxjson":                       "https://spdx.dev/Document",
		"cyclonedx":                      "https://cyclonedx.org/bom",
		"link":                           "https://in-toto.io/Link/v1",
		"vuln":                           "https://cosign.sigstore.dev/attestation/vuln/v1",
		"openvex":                        "https://openvex.dev/ns",
		"custom":                         "https://cosign.sigstore.dev/attestation/v1",
		"https://example.com/a/v1":       "https://example.com/a/v1",
		"urn:example:attestation":        "urn:example:attestation",
		"https://slsa.dev/provenance/v1": "https://slsa.dev/provenance/v1",
	} {
		if a := authority(t, options(), "key: {file: keys/p256.pub}\nattestations: [{predicateType: '"+name+"'}]"); a.Attestations[0].PredicateType != want {
			t.Errorf("%s: %s", name, a.Attestations[0].PredicateType)
		}
	}
}

// TestRegexpsAreAnchored compiles expressions that match whole texts, whatever they look like.
func TestRegexpsAreAnchored(t *testing.T) {
	t.Parallel()
	for text, others := range map[string][]string{
		`^a@example\.com$`:          {"xa@example.com", "a@example.com\n", "a@example.com.evil.org", "a@example.com\nb"},
		`^(a|b)@example\.com$`:      {"a", "b@example.comx"},
		`^a$|^b$`:                   {"ab", "a$"},
		`(^a$)`:                     {"aa"},
		`(?i)^A$`:                   {"aa", "\na"},
		`\Aa\z`:                     {"aa", "a\n"},
		`(?s)^.a$`:                  {"xax"},
		`^https://x/(?:a|b(?:c))+$`: {"https://x/", "https://x/abc/d"},
	} {
		subject := authority(t, options(), "keyless: {identities: [{issuer: https://x, subjectRegExp: '"+text+"'}], trustedRoot: roots/trusted_root.json}").Identities[0].Subject
		for _, other := range others {
			if subject.Match(other) {
				t.Errorf("%s matches %q", text, other)
			}
		}
		if subject.String() != "/"+text+"/" {
			t.Errorf("%s is shown as %s", text, subject)
		}
	}
}
