package policy_test

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"sluice/engine"
	"sluice/engine/policy"
	"sluice/engine/policy/strictyaml"
)

// options are those of the tests: keys from testdata, an environment of their own, and roots that have been fetched.
func options() policy.Options {
	files := map[string]string{
		"RELEASE_KEY": "keys/p256.pub", "OTHER_KEY": "keys/rsa3072.pub", "THIRD_KEY": "keys/rsa4096.pub",
		"CA": "pki/root.pem", "OTHER_CA": "pki/chain.pem", "TSA": "pki/tsa.pem",
	}
	return policy.Options{
		LookupEnv: func(name string) (string, bool) {
			switch name {
			case "BAD_KEY":
				return "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", true
			case "EMPTY_KEY":
				return "\n", true
			}
			text, err := os.ReadFile("testdata/" + files[name])
			return string(text), err == nil && files[name] != ""
		},
		FetchedRoot: func(mirror string, initial []byte) []byte {
			return fmt.Appendf(nil, `{"of":%q,"certificateAuthorities":[{}],"ctlogs":[{}],"tlogs":[{}],"timestampAuthorities":[{}]}`, fmt.Sprint(mirror, string(initial)))
		},
	}
}

// TestErrors compares the errors of each file in testdata/errors with a golden file.
func TestErrors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/errors/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			policies, got := policy.Parse(file, src, options())
			if got == nil || policies != nil {
				t.Fatalf("%d policies, error %v", len(policies), got)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if policy.Update() {
				if err := os.WriteFile(golden, []byte(got.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.Error()+"\n" != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func parseOne(t *testing.T, src string) *engine.Policy {
	t.Helper()
	policies, err := policy.Parse("testdata/test.yaml", []byte(src), options())
	if err != nil {
		t.Fatal(err)
	}
	if len(policies) != 1 {
		t.Fatalf("%d policies", len(policies))
	}
	return policies[0]
}

func readExample(t *testing.T, name string) []*engine.Policy {
	t.Helper()
	file := "testdata/examples/" + name
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	policies, err := policy.Parse(file, src, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return policies
}

func TestCompile(t *testing.T) {
	t.Parallel()
	p := parseOne(t, full)
	key, err := os.ReadFile("testdata/keys/ed25519.pub")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(key)
	ed25519, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(p.Name, p.Images, p.Tags, p.Mode, p.OnError, p.AllowTTL, p.DenyTTL, p.Message, len(p.Authorities), p.Threshold, p.Platforms, p.Pin, p.AlwaysPullImages, p.AllowUnchanged)
	want := fmt.Sprintln("production-is-signed", "[registry.example.com/team/** nginx]", "{[latest dev-*] true}", engine.Warn,
		engine.OnErrorDefer, time.Hour, 2*time.Second, "Ask.", 8, 2, "{false [linux/amd64 linux/arm64/v8]}", true, true, true)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	a := p.Authorities
	if first := a[0]; first.Name != "release-key" || !first.Trust.Keys[0].(interface{ Equal(crypto.PublicKey) bool }).Equal(ed25519) ||
		first.Annotations["env"] != "prod" || !first.RequireReferenceMatch || first.MaxAge != 720*time.Hour ||
		first.Repository != (engine.Repository{Registry: "registry.example.com", Path: "signatures"}) || first.Identities != nil || first.Attestations != nil {
		t.Errorf("authority 0: %+v", first)
	}
	if a[1].Name != "authority-1" || len(a[1].Trust.Keys) != 1 || a[1].Trust.ID == a[0].Trust.ID || a[1].Annotations != nil {
		t.Errorf("authority 1: %+v", a[1])
	}
	if a[2].Name != "authority-2" || a[2].Trust.ID == a[1].Trust.ID || len(a[3].Trust.Keys) != 2 {
		t.Errorf("authorities 2 and 3: %+v, %+v", a[2], a[3])
	}
	if a[7].Name != "never" || a[7].Trust != nil || a[7].Static != engine.StaticFail {
		t.Errorf("authority 7: %+v", a[7])
	}
	ci := a[4]
	if len(ci.Identities) != 2 || ci.Identities[0].Issuer.Exact != "https://token.example.com" || ci.Identities[1].Subject.Exact != "build@example.com" ||
		!ci.Identities[0].Subject.Match("https://git.example.com/team/app") || ci.Identities[0].Subject.Match("https://git.example.com/team/") ||
		!ci.Identities[1].Issuer.Match("https://b.example.com") || ci.Identities[1].Issuer.Match("https://b.example.com.evil") {
		t.Errorf("identities: %+v", ci.Identities)
	}
	if len(ci.Attestations) != 2 || ci.Attestations[0].Name != "provenance" || ci.Attestations[0].PredicateType != "https://slsa.dev/provenance/v1" ||
		ci.Attestations[0].Expression.String() != "predicate.buildDefinition.buildType == 'x'" ||
		ci.Attestations[1].Name != "spdx" || ci.Attestations[1].PredicateType != "https://spdx.dev/Document" || ci.Attestations[1].Expression != nil {
		t.Errorf("attestations: %+v", ci.Attestations)
	}
	for namespace, in := range map[string]bool{"prod-a": true, "prod-test": false, "dev": false} {
		if p.Namespaces.Match(namespace) != in {
			t.Errorf("namespace %s: %v", namespace, !in)
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	p := parseOne(t, "apiVersion: sluice/v1\nkind: ImagePolicy\nmetadata: {name: x}\nspec: {images: [{glob: '**'}], tags: {requireDigest: true}}")
	if p.Mode != engine.Enforce || p.OnError != engine.OnErrorDeny || p.AllowTTL != 5*time.Minute || p.DenyTTL != 15*time.Second ||
		p.Message != "" || p.Authorities != nil || p.Pin || p.AlwaysPullImages || p.AllowUnchanged || !p.Namespaces.Match("any") {
		t.Errorf("%+v", p)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	for _, name := range []string{"p256", "p384", "rsa2048", "rsa3072", "rsa4096", "ed25519"} {
		p := parseOne(t, "apiVersion: sluice/v1\nkind: ImagePolicy\nmetadata: {name: x}\nspec: {images: [{glob: '**'}], authorities: [{key: {file: keys/"+name+".pub}}]}")
		if trust := p.Authorities[0].Trust; len(trust.Keys) != 1 || trust.Roots != nil || trust.Logs+trust.Timestamps+trust.SCTs != 0 || trust.CurrentTime {
			t.Errorf("%s: %+v", name, trust)
		}
		ids[p.Authorities[0].Trust.ID] = true
	}
	if len(ids) != 6 {
		t.Errorf("%d different IDs", len(ids))
	}
}

// TestExamples compiles the example policies and asks them what they are for.
func TestExamples(t *testing.T) {
	t.Parallel()
	latest := readExample(t, "no-latest.yaml")[0]
	if !latest.Images[0].Match("index.docker.io/library/nginx") || !latest.Tags.Deny[0].Match("latest") || latest.Authorities != nil {
		t.Errorf("%+v", latest)
	}
	signed := readExample(t, "signed.yaml")[0]
	if !signed.Images[0].Match("registry.example.com/team/a/b") || signed.Images[0].Match("registry.example.com/other") ||
		signed.Authorities[0].Trust == nil || !signed.Namespaces.Match("prod-eu") || signed.Namespaces.Match("kube-system") {
		t.Errorf("%+v", signed)
	}
	exempt := readExample(t, "control-plane.yaml")[0]
	matched := 0
	for _, image := range []string{"registry.k8s.io/kube-apiserver", "registry.k8s.io/coredns/coredns", "registry.k8s.io/etcd", "registry.k8s.io/pause"} {
		for _, g := range exempt.Images {
			if g.Match(image) {
				matched++
				break
			}
		}
	}
	if matched != 4 || exempt.Authorities[0].Static != engine.StaticPass || exempt.Namespaces.Match("default") {
		t.Errorf("%d matched: %+v", matched, exempt)
	}
	pinned := readExample(t, "pinned.yaml")[0]
	if !pinned.Pin || !pinned.AlwaysPullImages || !pinned.AllowUnchanged || pinned.Authorities != nil || pinned.OnError != engine.OnErrorDefer {
		t.Errorf("%+v", pinned)
	}
	if set, err := policy.Load([]string{"testdata/examples"}, checked()); err != nil || len(set.Policies) != 11 {
		t.Errorf("%v", err)
	}
}

// TestRoundTrip writes a document from its types and reads it again.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	docs, err := strictyaml.Documents("full", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	var written policy.ImagePolicy
	if err := docs[0].Decode(&written); err != nil {
		t.Fatal(err)
	}
	again, err := yaml.Marshal(written)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := parseOne(t, full), parseOne(t, string(again)); a.Fingerprint != b.Fingerprint {
		t.Errorf("another policy:\n%s", again)
	}
}

// TestSuggestions checks that a plain name in the policy's vocabulary is near to what people write by mistake.
func TestSuggestions(t *testing.T) {
	t.Parallel()
	_, err := policy.Parse("x.yaml", []byte("apiVersion: sluice/v1\nkind: ImagePolicy\nmetadata: {name: x}\nspec: {image: []}"), policy.Options{})
	var at *strictyaml.Error
	if !errors.As(err, &at) || !strings.Contains(at.Message, `did you mean "images"?`) || at.Line != 4 || at.Column != 8 {
		t.Errorf("%v", err)
	}
}

// full has every field.
const full = `
apiVersion: sluice/v1
kind: ImagePolicy
metadata:
  name: production-is-signed
spec:
  namespaces: ["prod-*", "!prod-test"]
  images:
  - glob: registry.example.com/team/**
  - glob: nginx
  tags:
    deny: [latest, dev-*]
    requireDigest: true
  pin: true
  alwaysPullImages: true
  threshold: 2
  platforms: [linux/amd64, linux/arm64/v8]
  authorities:
  - name: release-key
    key: {file: keys/ed25519.pub}
    annotations: {env: prod, team: a}
    requireReferenceMatch: true
    maxAge: 720h
    signatureRepository: registry.example.com/signatures
    ctlog:
      threshold: 1
      trustedRoot: roots/trusted_root.json
  - key: {data: "env://RELEASE_KEY"}
  - key:
      data: |
        -----BEGIN PUBLIC KEY-----
        MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAERJoN5bwU8PghUoTmFq7CoghH1JcwimTF
        uXT8Rsfqd6ezQgWlZw9i/rM5l3JySe5XxQWXDZQlLB8Z3cvEGijwR+8p5IC6Hl6b
        1CA5CDNIgVwuP/cIVqeHZ2G7BrV773xe
        -----END PUBLIC KEY-----
  - name: rotated
    keys:
    - file: keys/rsa2048.pub
    - data: "env://OTHER_KEY"
  - name: ci
    keyless:
      identities:
      - {issuer: "https://token.example.com", subjectRegExp: "^https://git\\.example\\.com/team/.+$"}
      - {issuerRegExp: "^https://(a|b)\\.example\\.com$", subject: build@example.com}
      trustedRoot:
      - roots/trusted_root.json
      - data: '{"certificateAuthorities":[{}],"ctlogs":[{}],"tlogs":[{}],"timestampAuthorities":[{},{}]}'
      - tuf: {mirror: "https://tuf.example.com", root: roots/root.json}
      - tuf: {root: {data: '{"signed":{"version":1}}'}}
      - certificateAuthorities: [{chain: {file: pki/chain.pem}, uri: "https://fulcio.example.com"}]
        ctLogs: [{key: {file: keys/p256.pub}, baseURL: "https://ct.example.com"}]
        tLogs: [{key: {file: keys/ed25519.pub}, baseURL: "https://rekor.example.com"}]
        timestampAuthorities: [{chain: {data: "env://TSA"}, uri: "https://tsa.example.com"}]
      - certificateAuthorities: [{chain: {data: "env://CA"}}]
        ctLogs: [{key: {data: "env://RELEASE_KEY"}}]
        tLogs: [{key: {data: "env://OTHER_KEY"}}]
        timestampAuthorities: [{chain: pki/tsa.pem}]
      insecureIgnoreSCT: true
    ctlog: {required: false}
    rfc3161timestamp: {threshold: 1}
    attestations:
    - {name: provenance, predicateType: slsaprovenance1, expression: "predicate.buildDefinition.buildType == 'x'"}
    - {predicateType: spdx}
  - name: own-pki
    certificate:
      roots: {file: pki/roots.pem}
      identities: [{subject: build@example.com, issuer: "https://accounts.example.com"}]
    rfc3161timestamp:
      trustedRoot: {file: roots/trusted_root.json}
  - name: other-pki
    certificate:
      roots: {data: "env://CA"}
      identities: [{subjectRegExp: "^(x|y)@example\\.com$"}]
  - name: never
    static: {action: fail}
  mode: warn
  onError: defer
  unchangedImages: allow
  cache: {allowTTL: 1h, denyTTL: 2s}
  message: Ask.
`
