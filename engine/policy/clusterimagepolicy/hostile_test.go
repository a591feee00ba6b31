package clusterimagepolicy_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"sluice/engine/policy/strictyaml"
)

const head = "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec:\n  images: [{glob: '**'}]\n"

// TestHostile translates documents that are large in every way that a file can be. That it ends, in the time and memory
// that tests have, is what is tested.
func TestHostile(t *testing.T) {
	t.Parallel()
	root := strings.Repeat("A", strictyaml.MaxBytes/4)
	repeat := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	f := func(name, text, wantErr string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := translate("hostile.yaml", []byte(text))
			switch {
			case wantErr == "" && err != nil:
				t.Errorf("%.500s", err)
			case wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)):
				t.Errorf("got %.500v, want %q", err, wantErr)
			}
		})
	}
	f("authorities", head+"  authorities:\n"+repeat(1000, "  - {name: a%d, static: {action: fail}}\n"), "more than 32 authorities")
	f("authorities that are left out", head+"  authorities:\n"+repeat(1000, "  - {key: {kms: k%d}}\n"), "")
	f("identities", head+"  authorities:\n  - keyless:\n      identities:\n"+repeat(1000, "      - {issuer: https://a, subject: s%d}\n"), "more than 64 identities")
	f("attestations", head+"  authorities:\n  - keyless:\n      identities: [{issuer: https://a, subject: b}]\n    attestations:\n"+
		repeat(1000, "    - {name: x, predicateType: 'https://example.com/%d'}\n"), "more than 16 attestations")
	f("globs", strings.Replace(head, "[{glob: '**'}]", "\n"+repeat(4000, "  - glob: gcr.io/%d/**\n"), 1)+"  authorities: [{static: {action: fail}}]\n", "")
	f("expressions", head+"  authorities:\n  - keyless:\n      identities:\n"+
		repeat(60, "      - {issuer: https://a, subjectRegExp: '%d"+strings.Repeat("(a|b*){1,30}", 70)+"'}\n"), "")
	f("an expression that grows", head+"  authorities:\n  - keyless: {identities: [{issuer: https://a, subjectRegExp: '((((a{100}){100}){100}){100})'}]}\n", "not a regular expression")
	f("an expression of a megabyte", head+"  authorities:\n  - keyless: {identities: [{issuer: https://a, subjectRegExp: '"+root+"'}]}\n", "longer than 1024 bytes")
	f("groups in groups", head+"  authorities:\n  - keyless: {identities: [{issuer: https://a, subjectRegExp: '"+strings.Repeat("(", 500)+"a"+strings.Repeat(")", 500)+"'}]}\n", "")
	f("aliases", head+"  authorities: &a [*a, *a]\n", "anchors (&) are not accepted")
	f("depth", head+"  authorities: "+strings.Repeat("[", 100)+strings.Repeat("]", 100)+"\n", "nested more than")
	f("a list in a list", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List}]}\n", "what is translated is")
	f("a repository of a megabyte", "apiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\nmetadata: {name: r}\nspec: {repository: {root: e30=, mirrorFS: "+root+"}}\n", "")
	json := `{"tlogs": [{}], "ctlogs": [{}], "certificateAuthorities": [{}], "x": "` + root + `"}`
	large := "apiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\nmetadata: {name: r}\nspec: {trustedRootJSON: '" + json + "'}\n---\n"
	refer := "  authorities:\n" + repeat(30, "  - {name: a%d, keyless: {trustRootRef: r, identities: [{issuer: https://a, subject: b}]}, ctlog: {trustRootRef: r}}\n")
	f("a large root everywhere", large+head+refer, "too large")
	f("JSON within JSON", "apiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\nmetadata: {name: r}\nspec: {trustedRootJSON: '{\"a\": "+strings.Repeat("[", 20_000)+"'}\n", "not a trusted_root.json")
	f("a bag of certificates", "apiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\nmetadata: {name: r}\nspec: {sigstoreKeys: {certificateAuthorities: [{certChain: "+
		base64.StdEncoding.EncodeToString([]byte(strings.Repeat("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", 5000)))+"}]}}\n", "damaged")
	f("a text that is no text", head+"  authorities: [{name: \"\\u202e\\n\\x1b[31m# x\", static: {action: fail, message: \"a\\x1bb\"}}]\n", "")
}

// TestComments holds that nothing of a document ends a comment of its translation.
func TestComments(t *testing.T) {
	t.Parallel()
	translation, err := translate("a\nspec: {}.yaml", []byte("apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: \"p\\nspec: {}\"}\nspec:\n"+
		"  images: [{glob: '**'}]\n  authorities: [{name: \"x\\nkind: y\", key: {kms: \"k\\nkind: z\"}}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	yaml := string(translation.Policies[0].YAML)
	if strings.Count(yaml, "\nkind: ") != 1 || strings.Count(yaml, "\nspec:") != 1 {
		t.Errorf("got\n%s", yaml)
	}
	for _, n := range translation.Notes {
		if strings.Contains(n.Text, "\n") {
			t.Errorf("a note of several lines: %q", n.Text)
		}
	}
}
