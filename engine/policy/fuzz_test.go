package policy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sluice/engine"
	"sluice/engine/policy"
)

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/errors/*.yaml", "testdata/examples/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	f.Add([]byte(full))
	key, err := os.ReadFile("testdata/keys/p256.pub")
	if err != nil {
		f.Fatal(err)
	}
	files := map[string][]byte{}
	for ext, name := range map[string]string{".pub": "keys/p256.pub", ".json": "roots/trusted_root.json", ".pem": "pki/chain.pem"} {
		if files[ext], err = os.ReadFile("testdata/" + name); err != nil {
			f.Fatal(err)
		}
	}
	opts := options()
	opts.ReadFile = func(name string) ([]byte, error) {
		if content, ok := files[filepath.Ext(name)]; ok {
			return content, nil
		}
		return key, nil
	}
	opts.LookupEnv = func(string) (string, bool) { return string(key), true }
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 8192 {
			return
		}
		policies, err := policy.Parse("fuzz.yaml", src, opts)
		if (err == nil) != (len(policies) > 0) {
			t.Fatalf("%d policies, error %v", len(policies), err)
		}
		for _, p := range policies {
			if p.Name == "" || len(p.Images) == 0 || p.AllowTTL <= 0 || p.DenyTTL <= 0 || p.Fingerprint == [32]byte{} ||
				len(p.Authorities) == 0 && len(p.Tags.Deny) == 0 && !p.Tags.RequireDigest && !p.Pin {
				t.Fatalf("a policy that is none: %+v", p)
			}
			for _, a := range p.Authorities {
				checkAuthority(t, a)
			}
			if n := p.Threshold; n < 1 || n > 1 && n > len(p.Authorities) || len(p.Platforms.List) > 0 && p.Platforms.OrEvery {
				t.Fatalf("threshold %d of %d, platforms %+v", n, len(p.Authorities), p.Platforms)
			}
		}
	})
}

// checkAuthority fails the test if an authority could be satisfied by anybody, or by nobody.
func checkAuthority(t *testing.T, a *engine.Authority) {
	t.Helper()
	if a.Name == "" || (a.Trust == nil) == (a.Static == engine.StaticNone) {
		t.Fatalf("an authority that is none: %+v", a)
	}
	trust := a.Trust
	if trust == nil {
		if a.Identities != nil || a.Annotations != nil || a.MaxAge != 0 || a.Attestations != nil || a.RequireReferenceMatch {
			t.Fatalf("a static authority that asks for more: %+v", a)
		}
		return
	}
	isKey := len(trust.Keys) > 0
	switch {
	case isKey != (len(a.Identities) == 0):
		t.Fatalf("an authority whose signer is anybody: %+v", a)
	case !isKey && len(trust.Roots) == 0, (trust.Logs > 0 || trust.Timestamps > 0) && len(trust.Roots) == 0:
		t.Fatalf("an authority without roots: %+v", trust)
	case !isKey && trust.Logs == 0 && trust.Timestamps == 0 && !trust.CurrentTime:
		t.Fatalf("certificates that are believed at any time: %+v", trust)
	case trust.CurrentTime && (isKey || trust.SCTs > 0 || trust.Logs > 0 || trust.Timestamps > 0):
		t.Fatalf("certificates of two kinds: %+v", trust)
	case a.MaxAge > 0 && trust.Logs == 0 && trust.Timestamps == 0:
		t.Fatalf("an age that nobody vouches for: %+v", a)
	case a.RequireReferenceMatch && len(a.Attestations) > 0:
		t.Fatalf("an authority that nothing satisfies: %+v", a)
	}
	for _, id := range a.Identities {
		for _, p := range []engine.Pattern{id.Issuer, id.Subject} {
			if p.Regexp != nil && (p.Exact != "" || p.Regexp.FindStringIndex("x\nhttps://a@example.com\ny") != nil && !spans(p.Regexp, "x\nhttps://a@example.com\ny")) {
				t.Fatalf("an expression that matches parts: %s", p)
			}
		}
		if id.Subject == (engine.Pattern{}) {
			t.Fatalf("an identity that is everybody's: %+v", id)
		}
	}
	for _, att := range a.Attestations {
		if !strings.Contains(att.PredicateType, ":") || att.Name == "" {
			t.Fatalf("an attestation of no type: %+v", att)
		}
	}
}

// spans tells whether what re matches in s is all of s.
func spans(re *regexp.Regexp, s string) bool {
	at := re.FindStringIndex(s)
	return at[0] == 0 && at[1] == len(s)
}
