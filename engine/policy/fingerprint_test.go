package policy_test

import (
	"reflect"
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
		"spec.authorities.name":          {{"name: release-key", "name: other"}, {"  - name: never\n    static", "  - static"}},
		"spec.authorities.key.file":      {{"ed25519.pub", "p384.pub"}},
		"spec.authorities.key.data":      {{`data: "env://RELEASE_KEY"`, "file: keys/rsa2048.pub"}},
		"spec.authorities.static.action": {{"action: fail", "action: pass"}},
		"spec.authorities.annotations": {
			{"env: prod", "env: dev"},
			{"env: prod", "environ: prod"},
			{"team: a", "team: ''"},
			{"{env: prod, team: a}", "{env: prod}"},
			{"    annotations: {env: prod, team: a}\n", ""},
			{"env: prod", "envp: rod"},
			{"env: prod, team: a", "env: prodteama"},
		},
		"spec.mode":           {{"mode: warn", "mode: enforce"}},
		"spec.onError":        {{"defer", "deny"}, {"defer", "retry"}, {"defer", "allow"}},
		"spec.cache.allowTTL": {{"allowTTL: 1h", "allowTTL: 2h"}, {"allowTTL: 1h, ", ""}},
		"spec.cache.denyTTL":  {{"denyTTL: 2s", "denyTTL: 1s"}, {"  cache: {allowTTL: 1h, denyTTL: 2s}", ""}},
		"spec.message":        {{"message: Ask.", "message: Ask"}, {"  message: Ask.", ""}},
		// These say what the document is and have one value only.
		"apiVersion": nil,
		"kind":       nil,
	}
	seen := map[[32]byte]string{parseOne(t, full).Fingerprint: "the original"}
	for _, path := range leaves(reflect.TypeFor[policy.ImagePolicy](), "") {
		list, ok := changes[path]
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
		{`data: "env://RELEASE_KEY"`, "file: keys/p256.pub"},
		{`data: "env://RELEASE_KEY"`, inline},
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
	defaults := parseOne(t, short+", requireDigest: false}, mode: enforce, onError: deny, cache: {allowTTL: 5m, denyTTL: 15s}}")
	if parseOne(t, short+"}}").Fingerprint != defaults.Fingerprint {
		t.Error("writing a default changes the fingerprint")
	}
}
