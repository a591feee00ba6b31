package credential

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write makes a file in a directory of the test's own, and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const goodYAML = `# as a node has it
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
  - name: ecr-credential-provider
    matchImages:
      - "*.dkr.ecr.*.amazonaws.com"
      - "*.dkr.ecr.*.amazonaws.com.cn"
    defaultCacheDuration: "12h"
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    args:
      - get-credentials
      - --v=3
    env:
      - name: AWS_PROFILE
        value: example profile
  - {name: acr, matchImages: ["*.azurecr.io"], defaultCacheDuration: 0s, apiVersion: credentialprovider.kubelet.k8s.io/v1alpha1}
`

func TestTheKubeletsFileIsReadAsItIs(t *testing.T) {
	t.Parallel()
	for _, file := range []struct{ name, text string }{
		{"a.yaml", goodYAML},
		{"separator.yaml", "---\n" + goodYAML},
		{"crlf.yaml", strings.ReplaceAll(goodYAML, "\n", "\r\n")},
		{"anchors.yaml", strings.Replace(goodYAML, `"12h"`, `&d "12h"`, 1)},
		{"a.json", `{
	"apiVersion": "kubelet.config.k8s.io/v1beta1",	"kind": "CredentialProviderConfig",
	"providers": [
		{"name": "ecr-credential-provider", "matchImages": ["*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com.cn"],
		 "defaultCacheDuration": "12h0m0s", "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
		 "args": ["get-credentials", "--v=3"], "env": [{"name": "AWS_PROFILE", "value": "example profile"}]},
		{"name": "acr", "matchImages": ["*.azurecr.io"], "defaultCacheDuration": "0",
		 "apiVersion": "credentialprovider.kubelet.k8s.io/v1alpha1", "tokenAttributes": null}
	]
}`},
	} {
		path := write(t, file.name, file.text)
		all, files, err := readFiles(path)
		if err != nil {
			t.Errorf("%s: %v", file.name, err)
			continue
		}
		if len(all) != 2 || len(files) != 1 || files[0] != path {
			t.Errorf("%s: %d providers, files %v", file.name, len(all), files)
			continue
		}
		a, b := all[0], all[1]
		if a.name != "ecr-credential-provider" || len(a.images) != 2 || a.duration != 12*time.Hour ||
			a.apiVersion != "credentialprovider.kubelet.k8s.io/v1" || strings.Join(a.args, "|") != "get-credentials|--v=3" ||
			strings.Join(a.env, "|") != "AWS_PROFILE=example profile" {
			t.Errorf("%s: got %+v", file.name, a)
		}
		if b.name != "acr" || b.duration != 0 || b.apiVersion != "credentialprovider.kubelet.k8s.io/v1alpha1" {
			t.Errorf("%s: got %+v", file.name, b)
		}
	}
}

func TestADirectoryIsReadAsOneFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	provider := func(name string) string {
		return "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: " + name + `
  matchImages: [r.example]
  defaultCacheDuration: 1h
  apiVersion: credentialprovider.kubelet.k8s.io/v1
`
	}
	if _, _, err := readFiles(dir); err == nil {
		t.Error("an empty directory was read")
	}
	for name, text := range map[string]string{
		"b.yml": provider("b"), "a.yaml": provider("a"), "c.json": provider("c"), "README": "not this one",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, files, err := readFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		got = append(got, s.name)
	}
	if strings.Join(got, "") != "abc" || len(files) != 4 || files[0] != dir {
		t.Errorf("got %v from %v", got, files)
	}
	if err := os.WriteFile(filepath.Join(dir, "d.yaml"), []byte(provider("a")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readFiles(dir); err == nil || !strings.Contains(err.Error(), "d.yaml:4:9: there are two providers of the name a") {
		t.Errorf("two of one name: %v", err)
	}
}

func TestWhatIsWrongInTheFileIsShown(t *testing.T) {
	t.Parallel()
	f := func(old, with, want string) {
		t.Helper()
		if !strings.Contains(goodYAML, old) {
			t.Fatalf("no %q", old)
		}
		_, _, err := readFiles(write(t, "c.yaml", strings.Replace(goodYAML, old, with, 1)))
		if err == nil {
			t.Errorf("%q: it was read", with)
			return
		}
		if _, after, ok := strings.Cut(err.Error(), "c.yaml"); !ok || !strings.Contains(after, want) {
			t.Errorf("%q: got\n%v\nwant %s", with, err, want)
		}
	}
	f("kind: CredentialProviderConfig", "kind: Config", ":3:7: kind must be CredentialProviderConfig\n    3 | kind: Config\n      |       ^")
	f("kind: CredentialProviderConfig", "", "kind must be")
	f("kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v2", ":2:13: apiVersion must be one of kubelet.config.k8s.io/v1,")
	f("providers:", "providers: []\nothers:", `:5:1: unknown field "others"`)
	f("args:", "arguments:", `:11:5: unknown field "arguments"`)
	f("    args:", "    name: twice\n    args:", ":11:5:")
	f("name: ecr-credential-provider", "name: ../evil", ":5:11: a provider's name is that of a program")
	f("name: ecr-credential-provider", "name: a/b", ":5:11: a provider's name")
	f("name: ecr-credential-provider", "name: a b", ":5:11: a provider's name")
	f("name: ecr-credential-provider", "name: ..", ":5:11: a provider's name")
	f("name: ecr-credential-provider", `name: ""`, ":5:11: a provider needs a name")
	f("name: acr", "name: ecr-credential-provider", "there are two providers")
	f(`    defaultCacheDuration: "12h"`+"\n", "", ":5:9: defaultCacheDuration is missing")
	f(`"12h"`, `"-1h"`, ":9:27: defaultCacheDuration must be")
	f(`"12h"`, `soon`, ":9:27: defaultCacheDuration must be")
	f("apiVersion: credentialprovider.kubelet.k8s.io/v1\n", "apiVersion: v1\n", ":10:17: a provider's apiVersion must be one of")
	f("    apiVersion: credentialprovider.kubelet.k8s.io/v1\n", "", "a provider's apiVersion must be one of")
	f(`["*.azurecr.io"]`, `[]`, "matchImages must have")
	f(`"*.dkr.ecr.*.amazonaws.com.cn"`, `"a%zz.example"`, ":8:9: this is no host")
	f("- name: AWS_PROFILE", "- name: A=B", "this is no environment variable")
	f("    args:", "    tokenAttributes: {serviceAccountTokenAudience: a}\n    args:", "tokenAttributes is not supported")
	f("name: ecr", "name: [ecr", ":")
	f("kind:", "\tkind:", ":")
	f("# as", "---\n"+goodYAML+"---\n# as", ": it must hold one document")
	f("# as", "---\n---\n# as", ": it must hold one document")
	if _, _, err := readFiles(write(t, "c.yaml", "")); err == nil || !strings.Contains(err.Error(), "one document") {
		t.Errorf("an empty file: %v", err)
	}
	if _, _, err := readFiles(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
	if _, _, err := readFiles(write(t, "c.yaml", goodYAML+strings.Repeat("#", maxDocument))); err == nil {
		t.Error("a file of more than 1 MiB was read")
	}
}

// TestErrorsDoNotShowWhatVariablesHold, which may be secret.
func TestErrorsDoNotShowWhatVariablesHold(t *testing.T) {
	t.Parallel()
	for _, env := range []string{
		"{name: A, value: hunter2, extra: 1}",
		`{"name": "A", "value": "hunter2", "extra": 1}`,
		"{name: A, value: [hunter2]}",
		"{name: [A], value: hunter2}",
		"{name: A=, value: hunter2}",
	} {
		text := strings.Replace(goodYAML, "- name: AWS_PROFILE\n        value: example profile", "- "+env, 1)
		_, _, err := readFiles(write(t, "c.yaml", text))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", env, err)
		}
	}
}
