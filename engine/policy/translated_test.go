package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/engine/policy"
)

// signedHere is a ClusterImagePolicy that names a TrustRoot.
const signedHere = `apiVersion: policy.sigstore.dev/v1alpha1
kind: ClusterImagePolicy
metadata: {name: signed-here}
spec:
  images: [{glob: "registry.example.com/**"}]
  authorities:
  - name: ci
    keyless:
      trustRootRef: own
      identities: [{issuer: https://token.example.com, subject: a@example.com}]
    ctlog: {trustRootRef: own}
`

// ownRoot is that TrustRoot.
func ownRoot(t *testing.T) string {
	t.Helper()
	return "apiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\nmetadata: {name: own}\nspec:\n  trustedRootJSON: '" +
		compact(t, []byte(readTestFile(t, "testdata/roots/trusted_root.json"))) + "'\n"
}

// TestLoadForeign loads sigstore's documents beside ours, of which one refers to another in another file.
func TestLoadForeign(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"a.yaml": signedHere + "---\n" + document("ours"), "b.yaml": ownRoot(t)})
	set, err := policy.Load([]string{dir}, checked())
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Policies) != 2 || set.Policies[0].Name != "ours" || set.Policies[1].Name != "signed-here" {
		t.Fatalf("%+v", set.Policies)
	}
	if a := set.Policies[1].Authorities[0]; a.Identities[0].Subject.Exact != "a@example.com" || a.Trust.Logs != 1 || len(a.Trust.Roots) != 1 || entries(t, a.Trust.Roots[0].JSON) != "2 2 1 1" {
		t.Errorf("%+v", a)
	}
	if !slices.ContainsFunc(set.Notes, func(n string) bool { return strings.HasPrefix(n, filepath.Join(dir, "a.yaml")+":1: ") }) {
		t.Errorf("notes %q", set.Notes)
	}
	if len(set.Files) != 2 {
		t.Errorf("files %q", set.Files)
	}
	f := func(files map[string]string, want ...string) {
		t.Helper()
		dir := tree(t, files)
		_, err := policy.Load([]string{dir}, checked())
		if err == nil {
			t.Errorf("loaded, instead of %q", want)
			return
		}
		for _, w := range want {
			if w = strings.ReplaceAll(w, "DIR", dir); !strings.Contains(err.Error(), w) {
				t.Errorf("%v\nshould have %s", err, w)
			}
		}
	}
	f(map[string]string{"b.yaml": ownRoot(t)}, "there is no policy in DIR, but only what policies can refer to")
	f(map[string]string{"a.yaml": signedHere + "---\n" + document("signed-here"), "b.yaml": ownRoot(t)},
		`DIR/a.yaml:1:1: there is another policy named "signed-here", at DIR/a.yaml:15`)
	f(map[string]string{"a.yaml": signedHere + "    attestations: [{name: x, predicateType: vuln, policy: {type: rego, data: x}}]\n", "b.yaml": ownRoot(t), "c.yaml": document("C")},
		"DIR/a.yaml:12:51: the Rego policy is not kept", "enforcement would be weaker", "DIR/c.yaml:3:18: a name is")
	f(map[string]string{"a.yaml": strings.Replace(signedHere, "  images:", "  image:", 1), "b.yaml": ownRoot(t)}, "DIR/a.yaml:")
	f(map[string]string{"a.yaml": signedHere, "b.yaml": strings.Replace(ownRoot(t), `"rawBytes":"`, `"rawBytes":"AAAA`, 1)},
		"DIR/a.yaml:1:1: the policy that this ClusterImagePolicy is translated to is refused: this trusted root cannot be used: ")
}

// TestTranslationsCompile loads the documents that the translation is tested with: whatever it makes is a policy.
func TestTranslationsCompile(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("clusterimagepolicy/testdata/documents/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	loaded := 0
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		policies, err := policy.Parse(file, src, options())
		if err == nil {
			loaded += len(policies)
			continue
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if strings.HasPrefix(line, file) && !strings.Contains(line, "enforcement would be weaker") {
				t.Error(line)
			}
		}
	}
	if loaded < 10 {
		t.Errorf("%d policies were made", loaded)
	}
}

// TestRoots lists the roots of a set, each once.
func TestRoots(t *testing.T) {
	t.Parallel()
	policyWith := func(name, authority string) string {
		return strings.Replace(document(name), "tags: {deny: [latest]}", "authorities: [{"+authority+"}]", 1)
	}
	dir := tree(t, map[string]string{
		"a.yaml": policyWith("a", "keyless: {"+someone+", trustedRoot: [r.json, {tuf: {}}]}"),
		"b.yaml": policyWith("b", "keyless: {"+someone+", trustedRoot: [{file: r.json}, {tuf: {mirror: https://tuf.example.com, root: root.json}}]}"),
		"c.yaml": policyWith("c", "key: {file: k.pub}, ctlog: {trustedRoot: {data: '{\"tlogs\":[{}]}'}}"),
		"d.yaml": policyWith("d", "certificate: {roots: ca.pem, identities: [{subject: a@example.com}]}"),
		"r.json": readTestFile(t, "testdata/roots/trusted_root.json"), "root.json": "{}",
		"k.pub": readTestFile(t, "testdata/keys/p256.pub"), "ca.pem": readTestFile(t, "testdata/pki/root.pem"),
	})
	opts := policy.Options{FetchedRoot: func(mirror string, _ []byte) []byte {
		if mirror == policy.PublicGoodMirror {
			return []byte(readTestFile(t, "testdata/roots/two.json"))
		}
		return nil
	}}
	set, err := policy.Load([]string{dir}, opts)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range set.Roots {
		got = append(got, strings.ReplaceAll(fmt.Sprintf("%s|%s|%s|%t|%t", r.Name, r.File, r.Mirror, len(r.JSON) > 0, len(r.ID) == 64), dir, "DIR"))
	}
	want := []string{
		"c: authorities[0].ctlog.trustedRoot|||true|true",
		"ca.pem|DIR/ca.pem||true|true",
		"https://tuf-repo-cdn.sigstore.dev||https://tuf-repo-cdn.sigstore.dev|true|true",
		"https://tuf.example.com||https://tuf.example.com|false|true",
		"r.json|DIR/r.json||true|true",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, name := range []string{"r.json", "root.json", "ca.pem"} {
		if !slices.Contains(set.Files, filepath.Join(dir, name)) {
			t.Errorf("%s is not in %q", name, set.Files)
		}
	}
	// A root that has been fetched is another set, of other policies.
	without, err := policy.Load([]string{dir}, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if without.Hash == set.Hash || without.Policies[0].Fingerprint == set.Policies[0].Fingerprint || without.Policies[3].Fingerprint != set.Policies[3].Fingerprint {
		t.Error("a fetched root changes the hash and the policies that name it, and no others")
	}
}
