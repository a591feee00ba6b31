package clusterimagepolicy_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/engine/policy"
	"sluice/engine/policy/clusterimagepolicy"
	"sluice/engine/policy/strictyaml"
	"sluice/resolver/signature/trustroot"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// translate translates a file's content.
func translate(file string, src []byte) (*clusterimagepolicy.Translation, error) {
	docs, err := strictyaml.Documents(file, src)
	if err != nil {
		return nil, err
	}
	return clusterimagepolicy.Translate(docs)
}

// testFiles names the YAML files of a directory.
func testFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	return files
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s", file, got)
	}
}

// checkRoot reads a trusted root as those are read that verify signatures.
func checkRoot(json []byte) error {
	_, err := trustroot.Parse(json)
	return err
}

// TestDocuments holds the translation of documents, and what is said of them, against golden files. Each of the
// translations is a policy that loads with roots that signatures can be verified with, and so is each document as it
// stands, unless it would be weaker.
func TestDocuments(t *testing.T) {
	t.Parallel()
	for _, file := range testFiles(t, "documents") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			translation, err := translate(filepath.Base(file), src)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, p := range translation.Policies {
				fmt.Fprintf(&got, "---\n%s", p.YAML)
				loaded, err := policy.Parse("translated.yaml", p.YAML, policy.Options{CheckRoot: checkRoot})
				if err != nil {
					t.Errorf("the translation does not load: %v", err)
				} else if loaded[0].Name != p.Name {
					t.Errorf("the policy is named %s, and its translation %s", p.Name, loaded[0].Name)
				}
			}
			got.WriteString("--- notes\n")
			weaker := false
			for _, n := range translation.Notes {
				severity := "note"
				switch {
				case n.Weaker:
					severity, weaker = "weaker", true
				case n.Stricter:
					severity = "stricter"
				}
				fmt.Fprintf(&got, "%s: %s\n", severity, n)
				if n.Line == 0 || n.File == "" || n.Text == "" {
					t.Errorf("a note without a place or a text: %#v", n)
				}
			}
			if translation.LeftOut > 0 {
				fmt.Fprintf(&got, "left out: %d\n", translation.LeftOut)
			}
			if translation.Weaker() != weaker {
				t.Errorf("Weaker is %v, and the notes say %v", translation.Weaker(), weaker)
			}
			if _, err := policy.Load([]string{file}, policy.Options{CheckRoot: checkRoot}); (err != nil) != weaker {
				t.Errorf("weaker is %v, and loading the document says: %v", weaker, err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", got.String())
		})
	}
}

// TestInvalid holds the errors of documents that policy-controller would not accept either, or that have no translation.
func TestInvalid(t *testing.T) {
	t.Parallel()
	for _, file := range testFiles(t, "invalid") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			translation, err := translate(filepath.Base(file), src)
			if err == nil || translation != nil {
				t.Fatalf("translated: %+v", translation)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}
