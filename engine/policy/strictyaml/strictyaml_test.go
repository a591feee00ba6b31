package strictyaml_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/engine/policy/strictyaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

type envelope struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   metadata `yaml:"metadata"`
	Spec       *spec    `yaml:"spec,omitempty"`
	//lint:ignore U1000 no document can set it
	internal string `yaml:"internal"`
	Ignored  string `yaml:"-"`
}

type metadata struct {
	Name   string            `yaml:"name"`
	Labels map[string]string `yaml:"labels"`
}

type spec struct {
	Images  []image       `yaml:"images"`
	Count   int8          `yaml:"count"`
	Size    uint64        `yaml:"size"`
	Ratio   float64       `yaml:"ratio"`
	Strict  bool          `yaml:"strict"`
	Timeout time.Duration `yaml:"timeout"`
	Level   level         `yaml:"level"`
	Names   []string      `yaml:"names"`
}

type image struct {
	Glob string `yaml:"glob"`
}

type level int

func (l *level) UnmarshalText(text []byte) error {
	switch string(text) {
	case "low":
		*l = 1
	case "high":
		*l = 2
	default:
		return errors.New("must be low or high")
	}
	return nil
}

// TestErrors compares the text of every error with a golden file, for each file in testdata/errors.
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
			got := decodeAll(filepath.Base(file), src)
			if got == nil {
				t.Fatal("no error")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
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

func decodeAll(file string, src []byte) error {
	docs, err := strictyaml.Documents(file, src)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range docs {
		errs = append(errs, d.Decode(&envelope{}))
	}
	return errors.Join(errs...)
}

func parse(t *testing.T, src string) []*strictyaml.Document {
	t.Helper()
	docs, err := strictyaml.Documents("f.yaml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func TestDecode(t *testing.T) {
	t.Parallel()
	d := parse(t, `
apiVersion: v1
kind: Thing
metadata:
  name: "quoted"
  labels: {a.b/c: 'x', "1": y}
spec:
  images: [{glob: a}, {glob: "b"}]
  count: -7
  size: 18446744073709551615
  ratio: 1
  strict: true
  timeout: 1m30s
  level: high
  names:
  - one   # with a comment
  - |
    two
    lines
  - >-
    folded
    text
`)[0]
	got := envelope{Ignored: "kept", Metadata: metadata{Labels: map[string]string{"gone": ""}}}
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := `{v1 Thing {quoted map[1:y a.b/c:x]} {[{a} {b}] -7 18446744073709551615 1 true 1m30s 2 ["one" "two\nlines\n" "folded text"]} kept}`
	s := *got.Spec
	if text := fmt.Sprintf("{%s %s %v {%v %d %d %v %v %v %d %q} %s}", got.APIVersion, got.Kind, got.Metadata,
		s.Images, s.Count, s.Size, s.Ratio, s.Strict, s.Timeout, s.Level, s.Names, got.Ignored); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if d.Kind() != "Thing" || d.APIVersion() != "v1" || d.Line() != 2 {
		t.Errorf("kind %q, apiVersion %q, line %d", d.Kind(), d.APIVersion(), d.Line())
	}
}

// TestDefaultsStay shows that what a document does not mention keeps what the struct had, which is how defaults are
// set; and that an empty list is not an absent one.
func TestDefaultsStay(t *testing.T) {
	t.Parallel()
	got := envelope{Spec: &spec{Count: 5, Names: nil}}
	if err := parse(t, "spec: {names: [], strict: false}")[0].Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Spec.Count != 5 || got.Spec.Names == nil || got.Spec.Images != nil {
		t.Errorf("got %+v", got.Spec)
	}
}

func TestDecodeInto(t *testing.T) {
	t.Parallel()
	d := parse(t, "a: 1")[0]
	var nilPointer *envelope
	for _, into := range []any{nil, envelope{}, nilPointer, new(int), &struct {
		A chan int `yaml:"a"`
	}{}, &struct {
		A map[int]int `yaml:"a"`
	}{}} {
		if err := d.Decode(into); err == nil {
			t.Errorf("decoded into a %T", into)
		}
	}
}

// TestDocuments counts what a stream is split into. goccy/go-yaml alone loses the documents after an empty one.
func TestDocuments(t *testing.T) {
	t.Parallel()
	f := func(src string, kinds ...string) {
		t.Helper()
		var got []string
		for _, d := range parse(t, src) {
			got = append(got, d.Kind())
		}
		if strings.Join(got, ",") != strings.Join(kinds, ",") {
			t.Errorf("%q: got %q, want %q", src, got, kinds)
		}
	}
	f("")
	f("\n# nothing\n---\n...\n")
	f("kind: a", "a")
	f("---\n---\nkind: a\n", "a")
	f("kind: a\n---\n---\n# b\n---\nkind: b\n...\n---\nkind: c\n", "a", "b", "c")
	f("kind: a\r\n--- # next\r\nkind: b\r\n", "a", "b")
	f("\ufeffkind: a\n", "a")
	f("kind: a\nx: |\n  -----BEGIN\n  ---\n  ...\n---\nkind: b", "a", "b")
	f("kind: [a]\n---\nkind: 1\n---\nx: y", "", "", "")
}

// TestPositions looks for markers in the text and asks for the position of the value that stands there, in the
// first and later documents of a file and with all that moves columns about.
func TestPositions(t *testing.T) {
	t.Parallel()
	const document = `# comment
a: ‹$.a›1  
b :   ‹$.b›text with blanks   # comment
c: ‹$.c›'quoted'  # comment
"d.e/f":   ‹$["d.e/f"]›"é\u00e9"   
ü: {ß: ‹$.ü.ß›x , y: ‹$.ü.y›aaa , z: [‹$.ü.z[0]›1 , ‹$.ü.z[1]›b ]}
‹$.g›g:
  ‹$.g.h›h:
  - ‹$.g.h[0]›i: ‹$.g.h[0].i›1 
    j: ‹$.g.h[0].j›|
      text
  -   ‹$.g.h[1]›a a a  
  - - ‹$.g.h[2][0]›x
    - ‹$.g.h[2][1]›http://y:1/z#a
k: ‹$.k›plain over
  two lines
l: ‹$.l›"quoted over

  three"
m: ‹$.m›[]
n: ‹$.n›{}
‹$.o›o:
  {p: ‹$.o.p›q}
r: ‹$.r›>-
  folded

  text
s: ‹$.s›last`
	source := strings.Join([]string{document, "", document, "---", document}, "\n---\n")
	type mark struct {
		path         string
		line, column int
	}
	var marks [][]mark
	var clean []string
	for i, line := range strings.Split(source, "\n") {
		if line == "# comment" {
			marks = append(marks, nil)
		}
		for {
			before, after, found := strings.Cut(line, "‹")
			if !found {
				break
			}
			path, rest, _ := strings.Cut(after, "›")
			marks[len(marks)-1] = append(marks[len(marks)-1], mark{path, i + 1, len([]rune(before)) + 1})
			line = before + rest
		}
		clean = append(clean, line)
	}
	for _, eol := range []string{"\n", "\r\n"} {
		docs := parse(t, strings.Join(clean, eol))
		if len(docs) != 3 {
			t.Fatalf("%d documents", len(docs))
		}
		for i, d := range docs {
			for _, m := range marks[i] {
				if !d.Has(m.path) {
					t.Errorf("document %d: no %s", i, m.path)
				}
				if line, column := d.Position(m.path); line != m.line || column != m.column {
					t.Errorf("document %d: %s at %d:%d, want %d:%d", i, m.path, line, column, m.line, m.column)
				}
			}
		}
	}
}

// TestErrorf shows where an error of a caller's points: at the value, at the name of a field, or at whatever is
// nearest to something missing; and that no path is too odd.
func TestErrorf(t *testing.T) {
	t.Parallel()
	d := parse(t, "# first\n---\nkind: a\nspec:\n  images:\n  - glob: x\n    n: 1\n")[0]
	f := func(path string, line, column int, has bool) {
		t.Helper()
		var e *strictyaml.Error
		if err := d.Errorf(path, "no %s", "good"); !errors.As(err, &e) {
			t.Fatalf("%T", err)
		}
		if e.File != "f.yaml" || e.Line != line || e.Column != column || e.Message != "no good" || d.Has(path) != has {
			t.Errorf("%s: %d:%d %v, want %d:%d %v", path, e.Line, e.Column, d.Has(path), line, column, has)
		}
	}
	f("$", 3, 1, true)
	f("$.kind", 3, 7, true)
	f("$.spec", 4, 1, true)
	f("$.spec.mode", 4, 1, false)
	f("$.spec.images", 5, 3, true)
	f("$.spec.images[0]", 6, 5, true)
	f("$.spec.images[0].glob", 6, 11, true)
	f("$.spec.images[0].tag.deeper", 6, 5, false)
	f("$.spec.images[1].glob", 5, 3, false)
	for _, odd := range []string{"", "spec", "$spec", "$.", "$..", "$[", "$[]", "$[x]", `$["`, `$["\x"]`, "$.spec[0]", "$.spec.images[-1]", "$.spec.images[99999999999999999999]"} {
		if d.Has(odd) {
			t.Errorf("has %q", odd)
		}
		if d.Errorf(odd, "x") == nil || d.KeyErrorf(odd, "x") == nil {
			t.Errorf("no error for %q", odd)
		}
	}
	var e *strictyaml.Error
	if errors.As(d.KeyErrorf("$.spec.images[0].glob", "x"), &e); e.Line != 6 || e.Column != 5 {
		t.Errorf("key at %d:%d", e.Line, e.Column)
	}
	want := "f.yaml:6:11: bad glob\n    4 | spec:\n    5 |   images:\n    6 |   - glob: x\n      |           ^"
	if got := d.Errorf("$.spec.images[0].glob", "bad glob").Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestPrivateKeysAreNotShown shows that an excerpt never prints the lines of a private key, whatever the error.
func TestPrivateKeysAreNotShown(t *testing.T) {
	t.Parallel()
	for _, src := range []string{
		"data: |\n  -----BEGIN EC PRIVATE KEY-----\n  c2VjcmV0\n  -----END EC PRIVATE KEY-----\nkind: x\n",
		"data: \"-----BEGIN PRIVATE KEY-----\\nc2VjcmV0\\n-----END PRIVATE KEY-----\"\n",
		"data: |\n  -----BEGIN PRIVATE KEY-----\n  c2VjcmV0\nkind: *x\n",
	} {
		if err := decodeAll("f", []byte(src)); err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%v", err)
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	f := func(src, want string) {
		t.Helper()
		_, err := strictyaml.Documents("f", []byte(src))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", src, err, want)
		}
		if err != nil && len(err.Error()) > 10_000 {
			t.Errorf("%.40q: an error of %d bytes", src, len(err.Error()))
		}
	}
	n := strictyaml.MaxBytes
	f(strings.Repeat("#", n+1), "larger than 1048576 bytes")
	f(strings.Repeat("[", 10_000), "nested more than 64 deep")
	f(strings.Repeat("{a: ", 10_000), "nested more than 64 deep")
	f(strings.Repeat("[", n), "too long")
	f(strings.Repeat("- ", 1000), "nested more than 64 deep")
	f(strings.Repeat("- ", n/2), "too long")
	f(strings.Repeat("- ", 50_000), "too long")
	f(strings.Repeat("a: 1\n", n/5), "too long")
	f("a: ["+strings.Repeat("1,", n/3), "too long")
	f(strings.Repeat("*\n---\n", n/6), "aliases")
	f("x: "+strings.Repeat("y", n-10)+"\nz: *y", "aliases")
	f("x: &a ["+strings.Repeat("*a,", 9)+"]", "anchors")
	var deep strings.Builder
	for i := range 70 {
		fmt.Fprintf(&deep, "%sa:\n", strings.Repeat(" ", i))
	}
	f(deep.String()+strings.Repeat(" ", 70)+"b", "nested more than 64 deep")
	f("\n\n a: "+strings.Repeat("z", 5000)+" \xff", "f:3:")
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"namespaces", "images", "tags", "mode", "onError", "key"}
	f := func(name, want string) {
		t.Helper()
		if got := strictyaml.Nearest(name, known); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	f("namespace", "namespaces")
	f("image", "images")
	f("onerror", "onError")
	f("ON_ERROR", "onError")
	f("tag", "tags")
	f("Mode", "mode")
	f("keyless", "")
	f("attestations", "")
	f("x", "")
	f("", "")
	f(strings.Repeat("k", 100_000), "")
}

func FuzzDocuments(f *testing.F) {
	files, _ := filepath.Glob("testdata/errors/*.yaml")
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	for _, s := range []string{"", "a: |\n\n\n", "a: >\n x\n\n y\n", "? [a]\n: b", "&a *a", "\xff", "---\n...\n---", "- - -\n  - a", "\"", "'", "{a: [", "<<: *a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 4096 {
			return
		}
		docs, err := strictyaml.Documents("f", src)
		if (err != nil) && docs != nil {
			t.Fatal("both documents and an error")
		}
		check := func(err error) {
			for _, e := range flatten(err) {
				at, ok := e.(*strictyaml.Error)
				if !ok {
					t.Fatalf("%T: %v", e, e)
				}
				if at.Line == 0 {
					continue // "and 3 more errors"
				}
				lines := strings.Split(strings.ReplaceAll(string(src), "\r\n", "\n"), "\n")
				if at.Line < 1 || at.Line > len(lines) || at.Column < 1 || at.Column > len([]rune(lines[at.Line-1]))+1 {
					t.Fatalf("points outside the file: %v", at)
				}
			}
		}
		check(err)
		for _, d := range docs {
			check(d.Decode(&envelope{}))
			check(d.Errorf("$.spec.images[0].glob", "x"))
		}
	})
}

func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	return []error{err}
}
