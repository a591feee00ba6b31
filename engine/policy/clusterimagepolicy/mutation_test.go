package clusterimagepolicy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sluice/engine/policy"
	"sluice/engine/policy/clusterimagepolicy"
	"sluice/engine/policy/strictyaml"
)

// written is as much of a ClusterImagePolicy, or of its translation, as is needed to count authorities.
type written struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		Authorities []struct {
			Name    string             `yaml:"name"`
			Key     *struct{}          `yaml:"key"`
			Keyless *struct{}          `yaml:"keyless"`
			Static  *map[string]string `yaml:"static"`
		} `yaml:"authorities"`
	} `yaml:"spec"`
}

// TestMutants changes documents at random. Whatever comes of it, there is no panic, what is translated loads, errors have
// a place, and no authority is left out without a word.
func TestMutants(t *testing.T) {
	t.Parallel()
	var lines []string
	var sources [][]string
	for _, file := range testFiles(t, "documents") {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source := strings.Split(string(src), "\n")
		sources = append(sources, source)
		for _, line := range source {
			if len(line) < 90 { // no PEM
				lines = append(lines, line)
			}
		}
	}
	random := rand.New(rand.NewPCG(7, 8))
	translated := 0
	const mutants = 800
	for range mutants {
		source := mutate(random, slices.Clone(sources[random.IntN(len(sources))]), lines)
		text := strings.Join(source, "\n")
		docs, err := strictyaml.Documents("mutant.yaml", []byte(text))
		if err != nil {
			continue
		}
		translation, err := clusterimagepolicy.Translate(docs)
		if err != nil {
			var placed *strictyaml.Error
			if !errors.As(err, &placed) {
				t.Fatalf("an error without a place: %v\n%s", err, text)
			}
			continue
		}
		translated++
		for _, p := range translation.Policies {
			if _, err := policy.Parse("translated.yaml", p.YAML, policy.Options{}); err != nil {
				t.Fatalf("%v\n%s\n--- of\n%s", err, p.YAML, text)
			}
		}
		nothingLost(t, docs, translation, text)
	}
	if translated < mutants/10 {
		t.Errorf("only %d of %d mutants were translated", translated, mutants)
	}
}

// nothingLost holds that every authority of every document is in its translation, or in a note.
func nothingLost(t *testing.T, docs []*strictyaml.Document, translation *clusterimagepolicy.Translation, text string) {
	t.Helper()
	for _, doc := range docs {
		if doc.Kind() != clusterimagepolicy.Kind {
			continue
		}
		var before, after written
		_ = doc.Decode(&before) // its other fields are unknown here
		at := slices.IndexFunc(translation.Policies, func(p clusterimagepolicy.Policy) bool { return p.Line == doc.Line() })
		if at < 0 {
			if !slices.ContainsFunc(translation.Notes, func(n clusterimagepolicy.Note) bool {
				return n.Policy == before.Metadata.Name && n.Field == "spec.images"
			}) {
				t.Fatalf("the policy %q is lost\n%s", before.Metadata.Name, text)
			}
			continue
		}
		out, err := strictyaml.Documents("translated.yaml", translation.Policies[at].YAML)
		if err != nil {
			t.Fatal(err)
		}
		_ = out[0].Decode(&after)
		left := 0
		for i := range before.Spec.Authorities {
			if slices.ContainsFunc(translation.Notes, func(n clusterimagepolicy.Note) bool {
				return n.Policy == before.Metadata.Name && n.Field == fmt.Sprintf("spec.authorities[%d]", i) && strings.Contains(n.Text, "is left out")
			}) {
				left++
			}
		}
		got, want := len(after.Spec.Authorities), len(before.Spec.Authorities)-left
		if want == 0 {
			want = 1
			if after.Spec.Authorities[0].Static == nil || (*after.Spec.Authorities[0].Static)["action"] != "fail" {
				t.Fatalf("nothing is kept, and something passes\n%s\n--- of\n%s", translation.Policies[at].YAML, text)
			}
		}
		if got != want {
			t.Fatalf("%d authorities, %d of them left out, became %d\n%s\n--- of\n%s", len(before.Spec.Authorities), left, got, translation.Policies[at].YAML, text)
		}
	}
}

// value is what stands behind a field's name on one line.
var value = regexp.MustCompile(`^(\s*(?:- )?[A-Za-z0-9-]+: )(.+)$`)

// mutate makes one to three changes to the lines of a document.
func mutate(random *rand.Rand, source, lines []string) []string {
	values := []string{
		`""`, "x", "5", "true", "null", "{}", "[]", "'**'", "'*'", "warn", "fail", "pass", "custom", "bundle", "legacy", "'.*'", "'^a$'", `'a|b'`, "'('", "our-sigstore",
		"https://example.com", "'a:b@c'", "'ghcr.io/a/b:c'", "'\\x'", "env://HOME", "'" + strings.Repeat("a", 1100) + "'", "our-clock", "theirs", "fetched", "'nobody'", "\"a\\nb\"",
		"\"\\u0007\"", "'# x'", "'- x'", "\"'\"", "vuln", "https://sigstore.dev/cosign/sign/v1", "sha512", "p.q",
	}
	for range 1 + random.IntN(3) {
		i := random.IntN(len(source))
		switch random.IntN(7) {
		case 0:
			source = slices.Delete(source, i, i+1)
		case 1:
			source = slices.Insert(source, i, source[i])
		case 2:
			source = slices.Insert(source, i, lines[random.IntN(len(lines))])
		case 3:
			source[i] = lines[random.IntN(len(lines))]
		case 4, 5:
			source[i] = value.ReplaceAllString(source[i], "${1}"+strings.ReplaceAll(values[random.IntN(len(values))], "$", "$$"))
		default:
			source[i] = strings.Replace(source[i], " ", "", 1+random.IntN(2))
		}
		if len(source) == 0 {
			return []string{""}
		}
	}
	return source
}
