package policy_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sluice/engine/policy"
)

// TestFingerprintChanges changes the document in every field, and wants another fingerprint each time.
func TestFingerprintChanges(t *testing.T) {
	t.Parallel()
	// By the field's path in the document: what to replace in it, and by what.
	changes := map[string][][2]string{
		"metadata.name":    {{"name: production", "name: all"}},
		"spec.namespaces":  {{`"prod-*", `, `"*", `}, {`"!prod-test"`, `"prod-test"`}, {`, "!prod-test"`, ``}, {`  namespaces: ["prod-*", "!prod-test"]`, ""}},
		"spec.images.glob": {{"/team/**", "/team/*"}, {"  - glob: nginx\n", ""}, {"glob: nginx", "glob: index.docker.io/nginx"}},
		"spec.tags.deny":   {{"dev-*", "dev*"}, {"latest, dev-*", "latest"}, {"    deny: [latest, dev-*]\n", ""}},
		"spec.tags.requireDigest": {
			{"requireDigest: true", "requireDigest: false"},
			{"  tags:\n    deny: [latest, dev-*]\n    requireDigest: true\n", ""},
		},
		"spec.threshold": {{"threshold: 2", "threshold: 3"}, {"  threshold: 2\n", ""}},
		"spec.platforms": {
			{"linux/arm64/v8", "linux/arm64"},
			{"[linux/amd64, linux/arm64/v8]", "[linux/amd64]"},
			{"[linux/amd64, linux/arm64/v8]", "[linux/arm64/v8, linux/amd64]"},
			{"[linux/amd64, linux/arm64/v8]", "index"},
			{"[linux/amd64, linux/arm64/v8]", "index-or-every-platform"},
		},
		"spec.authorities.name":          {{"name: release-key", "name: other"}, {"  - name: never\n    static", "  - static"}},
		"spec.authorities.key.file":      {{"    key: {file: keys/ed25519.pub}", "    key: {file: keys/rsa4096.pub}"}},
		"spec.authorities.key.data":      {{`- key: {data: "env://RELEASE_KEY"}`, "- key: {file: keys/rsa4096.pub}"}},
		"spec.authorities.keys.file":     {{"file: keys/rsa2048.pub", "file: keys/rsa4096.pub"}, {"    - file: keys/rsa2048.pub\n", ""}},
		"spec.authorities.keys.data":     {{`    - data: "env://OTHER_KEY"`, `    - data: "env://THIRD_KEY"`}, {"    - data: \"env://OTHER_KEY\"\n", ""}},
		"spec.authorities.static.action": {{"    static: {action: fail}", "    key: {file: keys/rsa4096.pub}"}},
		"spec.authorities.annotations": {
			{"env: prod", "env: dev"},
			{"env: prod", "environ: prod"},
			{"team: a", "team: ''"},
			{"{env: prod, team: a}", "{env: prod}"},
			{"    annotations: {env: prod, team: a}\n", ""},
			{"env: prod", "envp: rod"},
			{"env: prod, team: a", "env: prodteama"},
		},
		"spec.authorities.requireReferenceMatch": {{"requireReferenceMatch: true", "requireReferenceMatch: false"}},
		"spec.authorities.maxAge":                {{"maxAge: 720h", "maxAge: 721h"}, {"    maxAge: 720h\n", ""}},
		"spec.authorities.signatureRepository": {
			{"registry.example.com/signatures", "registry.example.com/signature"},
			{"registry.example.com/signatures", "registry.example.org/signatures"},
			{"    signatureRepository: registry.example.com/signatures\n", ""},
		},
		"spec.authorities.ctlog.required": {{"    ctlog: {required: false}\n", ""}},
		"spec.authorities.ctlog.threshold": {
			{"threshold: 1\n      trustedRoot: roots/trusted_root.json\n  - key", "threshold: 1\n      trustedRoot: roots/two.json\n  - key"},
			{"threshold: 1\n      trustedRoot: roots/trusted_root.json\n  - key", "threshold: 2\n      trustedRoot: roots/two.json\n  - key"},
		},
		"spec.authorities.ctlog.trustedRoot.file": {{"      trustedRoot: roots/trusted_root.json\n  - key", "      trustedRoot: roots/other.json\n  - key"}},
		"spec.authorities.rfc3161timestamp.threshold": {
			{"      trustedRoot: {file: roots/trusted_root.json}", "      trustedRoot: {file: roots/two.json}"},
			{"      trustedRoot: {file: roots/trusted_root.json}", "      trustedRoot: {file: roots/two.json}\n      threshold: 2"},
			{"    rfc3161timestamp: {threshold: 1}\n", "    rfc3161timestamp: {threshold: 1, trustedRoot: roots/two.json}\n"},
		},
		"spec.authorities.attestations.name":             {{"name: provenance", "name: provenances"}},
		"spec.authorities.attestations.predicateType":    {{"slsaprovenance1", "slsaprovenance"}, {"spdx}", "cyclonedx, name: spdx}"}, {"    - {predicateType: spdx}\n", ""}},
		"spec.authorities.attestations.expression":       {{"buildType == 'x'", "buildType == 'y'"}, {`, expression: "predicate.buildDefinition.buildType == 'x'"`, ""}},
		"spec.authorities.keyless.identities.issuer":     {{`{issuer: "https://token.example.com"`, `{issuer: "https://tokens.example.com"`}, {`{issuer: "https://token.example.com"`, `{issuerRegExp: "^https://token.example.com$"`}},
		"spec.authorities.keyless.identities.subject":    {{"$\", subject: build@example.com}\n", "$\", subject: builds@example.com}\n"}},
		"spec.authorities.keyless.insecureIgnoreSCT":     {{"      insecureIgnoreSCT: true\n", ""}},
		"spec.authorities.keyless.trustedRoot.file":      {{"      - roots/trusted_root.json\n", "      - roots/other.json\n"}, {"      - roots/trusted_root.json\n", ""}},
		"spec.authorities.keyless.trustedRoot.data":      {{`[{},{}]}'`, `[{},{},{}]}'`}},
		"spec.authorities.certificate.roots.file":        {{"pki/roots.pem", "pki/chain.pem"}},
		"spec.authorities.certificate.roots.data":        {{`      roots: {data: "env://CA"}`, `      roots: {data: "env://OTHER_CA"}`}},
		"spec.authorities.certificate.identities.issuer": {{"https://accounts.example.com", "https://account.example.com"}, {`, issuer: "https://accounts.example.com"`, ""}},

		"spec.authorities.keyless.identities.issuerRegExp":      {{"https://(a|b)", "https://(a|c)"}},
		"spec.authorities.keyless.identities.subjectRegExp":     {{"/team/.+", "/team/.*"}},
		"spec.authorities.certificate.identities.subject":       {{"{subject: build@example.com, issuer", "{subject: builds@example.com, issuer"}},
		"spec.authorities.certificate.identities.subjectRegExp": {{"(x|y)@", "(x|z)@"}},
		"spec.authorities.rfc3161timestamp.trustedRoot.file":    {{"    rfc3161timestamp:\n      trustedRoot: {file: roots/trusted_root.json}\n", ""}},

		"spec.authorities.keyless.trustedRoot.tuf.mirror":                        {{"https://tuf.example.com", "https://tuf.example.org"}},
		"spec.authorities.keyless.trustedRoot.tuf.root.file":                     {{"root: roots/root.json", "root: roots/trusted_root.json"}},
		"spec.authorities.keyless.trustedRoot.tuf.root.data":                     {{`"version":1`, `"version":2`}},
		"spec.authorities.keyless.trustedRoot.certificateAuthorities.uri":        {{"https://fulcio.example.com", "https://fulcio.example.org"}},
		"spec.authorities.keyless.trustedRoot.certificateAuthorities.chain.file": {{"pki/chain.pem", "pki/root.pem"}},
		"spec.authorities.keyless.trustedRoot.certificateAuthorities.chain.data": {{`[{chain: {data: "env://CA"}}]`, `[{chain: {data: "env://OTHER_CA"}}]`}},
		"spec.authorities.keyless.trustedRoot.ctLogs.baseURL":                    {{"https://ct.example.com", "https://ct.example.org"}},
		"spec.authorities.keyless.trustedRoot.ctLogs.key.file":                   {{"[{key: {file: keys/p256.pub}", "[{key: {file: keys/p384.pub}"}},
		"spec.authorities.keyless.trustedRoot.ctLogs.key.data":                   {{`ctLogs: [{key: {data: "env://RELEASE_KEY"}}]`, `ctLogs: [{key: {data: "env://THIRD_KEY"}}]`}},
		"spec.authorities.keyless.trustedRoot.tLogs.baseURL":                     {{"https://rekor.example.com", "https://rekor.example.org"}},
		"spec.authorities.keyless.trustedRoot.tLogs.key.file":                    {{"[{key: {file: keys/ed25519.pub}", "[{key: {file: keys/p384.pub}"}},
		"spec.authorities.keyless.trustedRoot.tLogs.key.data":                    {{`tLogs: [{key: {data: "env://OTHER_KEY"}}]`, `tLogs: [{key: {data: "env://THIRD_KEY"}}]`}},
		"spec.authorities.keyless.trustedRoot.timestampAuthorities.uri":          {{"https://tsa.example.com", "https://tsa.example.org"}},
		"spec.authorities.keyless.trustedRoot.timestampAuthorities.chain.file":   {{"chain: pki/tsa.pem", "chain: pki/chain.pem"}},
		"spec.authorities.keyless.trustedRoot.timestampAuthorities.chain.data":   {{`[{chain: {data: "env://TSA"}`, `[{chain: {data: "env://CA"}`}},
		"spec.mode":             {{"mode: warn", "mode: enforce"}},
		"spec.pin":              {{"  pin: true\n", ""}, {"  pin: true\n  alwaysPullImages: true\n", ""}},
		"spec.onError":          {{"defer", "deny"}, {"defer", "retry"}, {"defer", "allow"}},
		"spec.alwaysPullImages": {{"  alwaysPullImages: true\n", "  alwaysPullImages: false\n"}},
		"spec.unchangedImages":  {{"unchangedImages: allow", "unchangedImages: check"}},
		"spec.cache.allowTTL":   {{"allowTTL: 1h", "allowTTL: 2h"}, {"allowTTL: 1h, ", ""}},
		"spec.cache.denyTTL":    {{"denyTTL: 2s", "denyTTL: 1s"}, {"  cache: {allowTTL: 1h, denyTTL: 2s}", ""}},
		"spec.message":          {{"message: Ask.", "message: Ask"}, {"  message: Ask.", ""}},
		// These say what the document is and have one value only.
		"apiVersion": nil,
		"kind":       nil,
	}
	// These are of a type that is tried above where else it stands.
	twins := map[string]string{
		"spec.authorities.ctlog.trustedRoot.":            "spec.authorities.keyless.trustedRoot.",
		"spec.authorities.rfc3161timestamp.trustedRoot.": "spec.authorities.keyless.trustedRoot.",
		"spec.authorities.certificate.identities.":       "spec.authorities.keyless.identities.",
	}
	seen := map[[32]byte]string{parseOne(t, full).Fingerprint: "the original"}
	tried := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(changes)) {
		tried[path] = true
	}
	for _, path := range leaves(reflect.TypeFor[policy.ImagePolicy](), "") {
		list, ok := changes[path]
		for here, there := range twins {
			if rest, isTwin := strings.CutPrefix(path, here); isTwin && !ok {
				_, ok = tried[there+rest]
			}
		}
		tried[path] = ok
		if !ok {
			t.Errorf("no change of %s is tried", path)
		}
		delete(changes, path)
		for _, change := range list {
			if strings.Count(full, change[0]) != 1 {
				t.Fatalf("%s: %q is %d times in the document", path, change[0], strings.Count(full, change[0]))
			}
			fp := parseOne(t, strings.Replace(full, change[0], change[1], 1)).Fingerprint
			if before, ok := seen[fp]; ok {
				t.Errorf("%s: %q for %q has the fingerprint of %s", path, change[1], change[0], before)
			}
			seen[fp] = change[0] + " -> " + change[1]
		}
	}
	for path := range changes {
		t.Errorf("%s is no field", path)
	}
}

// leaves lists the fields of a type that are no structs, by the path in the document without indices.
func leaves(typ reflect.Type, path string) []string {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return []string{strings.TrimPrefix(path, ".")}
	}
	var all []string
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("yaml"), ",")
		all = append(all, leaves(typ.Field(i).Type, path+"."+name)...)
	}
	return all
}

// TestFingerprintStays changes what means nothing.
func TestFingerprintStays(t *testing.T) {
	t.Parallel()
	const inline = `data: "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEivJ73dRJq0EiWs/SbW0IuGziTfcB\n/HFyAUv1WkiBh3Xoo+cFHPF5waEwCfiQsydxEOz3elG82Y8HCFuppsuDBQ==\n-----END PUBLIC KEY-----"`
	want := parseOne(t, full).Fingerprint
	for _, change := range [][2]string{
		{"spec:", "spec: # comment"},
		{"mode: warn", "'mode':   \"warn\""},
		{"{env: prod, team: a}", "{team: a, env: prod}"},
		{`- key: {data: "env://RELEASE_KEY"}`, "- key: {file: keys/p256.pub}"},
		{`- key: {data: "env://RELEASE_KEY"}`, "- key: {" + inline + "}"},
		{`- key: {data: "env://RELEASE_KEY"}`, "- keys: [{file: keys/p256.pub}, {file: keys/p256.pub}]"},
		{"    - file: keys/rsa2048.pub\n    - data: \"env://OTHER_KEY\"\n", "    - data: \"env://OTHER_KEY\"\n    - file: keys/rsa2048.pub\n"},
		{"      - roots/trusted_root.json\n", "      - {file: ./roots/../roots/trusted_root.json}\n"},
		{"https://tuf.example.com", "https://tuf.example.com/"},
		{"slsaprovenance1", "https://slsa.dev/provenance/v1"},
		{"{predicateType: spdx}", "{predicateType: spdxjson, name: spdx}"},
		{"    rfc3161timestamp: {threshold: 1}\n", "    rfc3161timestamp: {}\n"},
		{"      threshold: 1\n      trustedRoot", "      trustedRoot"},
		{"allowTTL: 1h", "allowTTL: 60m"},
		{"  - key: {data", "  - name: authority-1\n    key: {data"},
	} {
		if strings.Count(full, change[0]) != 1 {
			t.Fatalf("%q is %d times in the document", change[0], strings.Count(full, change[0]))
		}
		if got := parseOne(t, strings.Replace(full, change[0], change[1], 1)).Fingerprint; got != want {
			t.Errorf("%q for %q changes the fingerprint", change[1], change[0])
		}
	}
	const short = "apiVersion: sluice/v1\nkind: ImagePolicy\nmetadata: {name: x}\nspec: {images: [{glob: '**'}], tags: {deny: [latest]"
	const signed = ", authorities: [{key: {file: keys/p256.pub}"
	defaults := parseOne(t, short+", requireDigest: false}"+signed+", requireReferenceMatch: false}], threshold: 1, platforms: index, mode: enforce, onError: deny, pin: false, alwaysPullImages: false, unchangedImages: check, cache: {allowTTL: 5m, denyTTL: 15s}}")
	if parseOne(t, short+"}"+signed+"}]}").Fingerprint != defaults.Fingerprint {
		t.Error("writing a default changes the fingerprint")
	}
}
