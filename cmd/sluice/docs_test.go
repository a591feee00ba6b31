package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/engine"
	"sluice/engine/policy"
	"sluice/engine/policy/strictyaml"
)

// documents are what is read by people, relative to this folder.
var documents = []string{
	"../../README.md", "../../ARCHITECTURE.md", "../../SECURITY.md",
	"../../deploy/docs/README.md", "../../deploy/docs/break-the-glass.md", "../../deploy/docs/high-availability.md",
	"../../deploy/docs/kubeadm.md", "../../deploy/docs/managed.md", "../../deploy/docs/registries.md",
	"../../deploy/docs/roll-back.md", "../../deploy/docs/upgrade.md",
}

// block is one fenced block of a document.
type block struct {
	language string
	line     int // of the fence
	text     string
}

// blocks takes the fenced blocks out of a document.
func blocks(markdown string) (all []block, err error) {
	var open *block
	n := 0
	for line := range strings.Lines(markdown) {
		n++
		fence, fenced := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fenced && open == nil:
			language, _, _ := strings.Cut(fence, " ")
			open = &block{language: language, line: n}
		case fenced && fence == "":
			all, open = append(all, *open), nil
		case fenced:
			return nil, fmt.Errorf("line %d: a block begins within that of line %d", n, open.line)
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		return nil, fmt.Errorf("the block of line %d has no end", open.line)
	}
	return all, nil
}

// tally is what was found in blocks and checked.
type tally struct{ commands, policies, configs, others int }

// check holds one block against the program.
func (b block) check(dir string) (n tally, err error) {
	switch b.language {
	case "sh", "console":
		for _, line := range commandLines(b.text, b.language == "console") {
			for _, args := range sluices(words(line)) {
				n.commands++
				if err := parses(args); err != nil {
					return n, fmt.Errorf("sluice %s: %w", strings.Join(args, " "), err)
				}
			}
		}
	case "yaml":
		docs, err := strictyaml.Documents("block.yaml", []byte(b.text))
		if err != nil {
			return n, err
		}
		for _, doc := range docs {
			switch is := doc.APIVersion() + " " + doc.Kind(); {
			case is == "sluice/v1 Config":
				n.configs++
				err = configLoads(dir, b.text)
			case is == "sluice/v1 ImagePolicy":
				n.policies++
				_, err = policy.Compile("block.yaml", doc, policy.Options{ReadFile: anyKey, LookupEnv: anyVariable})
			case doc.Kind() == "" || strings.HasPrefix(is, "sluice/"):
				err = errors.New("a yaml block is a whole document, and says of what apiVersion and kind")
			default:
				n.others++ // somebody else's, such as AdmissionConfiguration
			}
			if err != nil {
				return n, err
			}
		}
	case "json":
		n.others++
		if !json.Valid([]byte(b.text)) {
			return n, errors.New("this is no JSON")
		}
	case "text":
		n.others++
	default:
		return n, fmt.Errorf("nothing checks blocks of language %q: make it sh, console, yaml, json or text", b.language)
	}
	return n, nil
}

// anyKey stands for every key, certificate and trusted root that a document names a file of.
func anyKey(name string) ([]byte, error) {
	switch path.Ext(name) {
	case ".crt":
		return os.ReadFile("testdata/ca.crt")
	case ".json":
		return os.ReadFile("testdata/trusted_root.json")
	}
	return os.ReadFile("testdata/release.pub")
}

func anyVariable(string) (string, bool) {
	key, err := anyKey("")
	return string(key), err == nil
}

func configLoads(dir, text string) error {
	file := filepath.Join(dir, "sluice.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	_, err := readConfig(file)
	return err
}

// commandLines are the lines of a block that a shell would be given, continuations joined. In a console block those are
// the ones that begin with a prompt.
func commandLines(text string, console bool) (lines []string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		rest, prompted := strings.CutPrefix(line, "$ ")
		if console && !prompted {
			continue
		}
		lines = append(lines, rest)
	}
	return lines
}

// words takes a command line apart, as far as a shell's grammar is used in documents: quotes, comments, and operators,
// which become words of their own.
func words(line string) (all []string) {
	var word strings.Builder
	begun := false
	end := func() {
		if begun {
			all = append(all, word.String())
		}
		word.Reset()
		begun = false
	}
	var quote rune
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, begun = c, true
		case c == '#' && !begun:
			return all
		case c == ' ' || c == '\t':
			end()
		case strings.ContainsRune(";|&<>()", c):
			end()
			all = append(all, string(c))
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	end()
	return all
}

// sluices are the arguments of each call of sluice among the words of a line.
func sluices(all []string) (calls [][]string) {
	for i := 0; i < len(all); {
		end := i
		for end < len(all) && !strings.ContainsAny(all[end], ";|&<>()") {
			end++
		}
		command := all[i:end]
		for len(command) > 0 && (strings.Contains(command[0], "=") || command[0] == "sudo" || command[0] == "exec") {
			command = command[1:]
		}
		if len(command) > 0 && path.Base(command[0]) == "sluice" {
			calls = append(calls, command[1:])
		}
		i = end + 1
		if end < len(all) && strings.ContainsAny(all[end], "<>") {
			i++ // what follows is a file
		}
	}
	return calls
}

// TestReadme holds what documents tell people to write against what the program takes: command lines, policies and
// configurations. What they show of its errors is in the scripts.
func TestReadme(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var expected strings.Builder
	for _, name := range scripts {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		expected.Write(content)
	}
	for _, name := range documents {
		markdown, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			continue
		}
		all, err := blocks(string(markdown))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var sum tally
		for _, b := range all {
			n, err := b.check(t.TempDir())
			if err != nil {
				t.Errorf("%s: the block of line %d: %v", name, b.line, err)
			}
			if strings.Contains(b.text, "@DEMO@") {
				t.Errorf("%s: the block of line %d has yet to be filled in", name, b.line)
			}
			if strings.HasPrefix(b.text, "error: ") && !strings.Contains(expected.String(), b.text) {
				t.Errorf("%s: no script expects the output in the block of line %d", name, b.line)
			}
			sum.commands += n.commands
			sum.policies += n.policies
			sum.configs += n.configs
			sum.others += n.others
		}
		t.Logf("%s: checked %+v", name, sum)
		if name == "../../README.md" && (sum.commands == 0 || sum.policies == 0) {
			t.Errorf("%s has no command line, or no policy, in a fenced block: %+v", name, sum)
		}
		for _, args := range inline(string(markdown)) {
			if _, err := find(args); err != nil {
				t.Errorf("%s: `sluice %s`: %v", name, strings.Join(args, " "), err)
			}
		}
	}
}

// inline are the arguments of calls of sluice between single backquotes.
func inline(markdown string) (calls [][]string) {
	for line := range strings.Lines(markdown) {
		for i, code := range strings.Split(line, "`") {
			if i%2 == 1 && !strings.HasPrefix(code, "sluice ") || i%2 == 0 {
				continue
			}
			calls = append(calls, sluices(words(code))...)
		}
	}
	return calls
}

// TestDocumentsAreHeld: what TestReadme says of documents, it says for a reason.
func TestDocumentsAreHeld(t *testing.T) {
	t.Parallel()
	const good = `apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: signed}
spec: {images: [{glob: "**"}], authorities: [{key: {file: none.pub}}, {key: {data: "env://KEY"}}]}
`
	const config = `apiVersion: sluice/v1
kind: Config
tls: {certFile: a.crt, keyFile: a.key, clientCAFile: ca.crt}
policies: [policies]
registries: [{host: a.example.com, caFile: none.crt}]
`
	f := func(language, text string, want tally, problem string) {
		t.Helper()
		got, err := block{language: language, text: text}.check(t.TempDir())
		if got != want || (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%s %q: %+v, %v; want %+v, %s", language, text, got, err, want, problem)
		}
	}
	f("sh", "make build  # sluice bogus\nbin/sluice serve --config sluice/sluice.yaml &\n", tally{commands: 1}, "")
	f("sh", "sluice version; sudo ./sluice policy schema > x.json | cat\n", tally{commands: 2}, "")
	f("sh", "A=1 sluice check nginx \\\n  --policy 'a b' && echo sluice\n", tally{commands: 1}, "")
	f("sh", "sluice seve\n", tally{commands: 1}, `unknown command "seve"`)
	f("sh", "sluice completion fish\nsluice policy lint\n", tally{commands: 2}, `unknown command "lint"`)
	f("sh", "sluice serve --confg x\n", tally{commands: 1}, "unknown flag: --confg")
	f("sh", "sluice check a --timeout soon\n", tally{commands: 1}, "invalid argument")
	f("sh", "sluice policy validate\n", tally{commands: 1}, "requires at least 1 arg")
	f("sh", "true && (sluice version now)\n", tally{commands: 1}, "unknown command")
	f("console", "$ sluice version\nsluice (devel)\n", tally{commands: 1}, "")
	f("yaml", good+"---\n"+strings.Replace(good, "d}", "d-2}", 1), tally{policies: 2}, "")
	f("yaml", strings.Replace(good, "glob", "glbo", 1), tally{policies: 1}, `unknown field "glbo"`)
	f("yaml", config, tally{configs: 1}, "")
	f("yaml", config+"noMach: deny\n", tally{configs: 1}, `unknown field "noMach"`)
	f("yaml", "listen: 127.0.0.1:8443\n", tally{}, "a whole document")
	f("yaml", strings.Replace(good, "ImagePolicy", "ImagePolice", 1), tally{}, "a whole document")
	f("yaml", "apiVersion: v1\nkind: Config\n", tally{others: 1}, "")
	f("yaml", "a: [\n", tally{}, "not valid YAML")
	f("json", "{}", tally{others: 1}, "")
	f("json", "{", tally{others: 1}, "no JSON")
	f("bash", "sluice version\n", tally{}, "nothing checks")

	for _, markdown := range []string{"```sh\nsluice\n", "```sh\n```yaml\n```\n"} {
		if all, err := blocks(markdown); err == nil {
			t.Errorf("%q: %v", markdown, all)
		}
	}
	all, err := blocks("a\n```sh\nb\n```\n- c\n  ```text\n  d\n  ```\n")
	if want := []block{{"sh", 2, "b\n"}, {"text", 6, "  d\n"}}; err != nil || !slices.Equal(all, want) {
		t.Errorf("%v %v", all, err)
	}
	calls := inline("`sluice check IMAGE…`, sluice bogus, `cat`, `sluice policy lint -x`\n")
	if len(calls) != 2 {
		t.Fatalf("%q", calls)
	}
	if _, err := find(calls[0]); err != nil {
		t.Error(err)
	}
	if _, err := find(calls[1]); err == nil {
		t.Errorf("%q is accepted", calls[1])
	}
}

// TestReasons: the reasons that people alert on are all in the table.
func TestReasons(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range engine.Reasons() {
		if !strings.Contains(string(text), "`"+reason.String()+"`") {
			t.Errorf("ARCHITECTURE.md does not say what %s means", reason)
		}
	}
}
