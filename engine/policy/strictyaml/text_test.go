package strictyaml_test

import (
	"errors"
	"strings"
	"testing"

	"sluice/engine/policy/strictyaml"
)

// TestTextErrorf points into texts of every form. ^ marks in the source what is pointed at, by line and column of the text.
func TestTextErrorf(t *testing.T) {
	t.Parallel()
	f := func(src string, line, column int, exact bool, wantLine, wantColumn int) {
		t.Helper()
		docs, err := strictyaml.Documents("x", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		got, err := docs[0].TextErrorf("$.a", line, column, "here")
		var at *strictyaml.Error
		if !errors.As(err, &at) || got != exact || at.Line != wantLine || at.Column != wantColumn {
			t.Errorf("%q %d:%d: %v %v", src, line, column, got, err)
		}
	}
	f("a: bcd", 1, 1, true, 1, 4)
	f("a: bcd", 1, 3, true, 1, 6)
	f("a: bcd", 1, 4, true, 1, 7)  // behind it
	f("a: bcd", 1, 5, false, 1, 4) // no such place
	f("a: bcd", 2, 1, false, 1, 4)
	f("a: bcd", 0, 0, false, 1, 4)
	f("x: y\na:   bcd # comment", 1, 2, true, 2, 7)
	f("{x: y, a: bcd}", 1, 2, true, 1, 12)
	f(`a: "bcd"`, 1, 2, true, 1, 6)
	f(`a: "b\"d"`, 1, 3, true, 1, 8)
	f(`a: "b\\d"`, 1, 4, true, 1, 9)
	f(`a: "b\td"`, 1, 2, true, 1, 6)
	f(`a: "b\td"`, 1, 3, false, 1, 4) // behind an escape
	f(`a: "b\x22d"`, 1, 3, false, 1, 4)
	f(`a: 'b''d'`, 1, 3, true, 1, 8)
	f(`a: 'äöü'`, 1, 3, true, 1, 7)
	f("a: |\n  b\n    cd\n\n  e\n", 1, 1, true, 2, 3)
	f("a: |\n  b\n    cd\n\n  e\n", 2, 3, true, 3, 5)
	f("a: |\n  b\n    cd\n\n  e\n", 4, 1, true, 5, 3)
	f("a: |-\n  b\n  cd", 2, 2, true, 3, 4)
	f("x:\n- y\na: |\n  b\n", 1, 1, true, 4, 3)
	f("a: >\n  b\n  cd\n", 1, 3, false, 1, 4) // folded
	f("a: b\n  cd", 1, 3, false, 1, 4)
	f("a: \"b\n  cd\"", 1, 3, false, 1, 4)
	f("a: {b: c}", 1, 1, false, 1, 4)
	f("b: c", 1, 1, false, 1, 1)
	f("a: ''", 1, 1, true, 1, 5)
}

// TestOneOrMany decodes single items for lists, and texts for mappings.
func TestOneOrMany(t *testing.T) {
	t.Parallel()
	type file struct {
		Name string `yaml:"name,omitempty,short"`
		Mode int    `yaml:"mode"`
	}
	type document struct {
		Files []file   `yaml:"files,many"`
		Words []string `yaml:"words,omitempty,many"`
		One   file     `yaml:"one"`
		Ptr   *file    `yaml:"ptr"`
		Plain []file   `yaml:"plain"`
	}
	decode := func(src string) (document, error) {
		docs, err := strictyaml.Documents("x", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		var d document
		return d, docs[0].Decode(&d)
	}
	for src, want := range map[string]document{
		"files: a":                    {Files: []file{{Name: "a"}}},
		"files: [a, b]":               {Files: []file{{Name: "a"}, {Name: "b"}}},
		"files: {name: a, mode: 1}":   {Files: []file{{Name: "a", Mode: 1}}},
		"files: [{name: a}, b]":       {Files: []file{{Name: "a"}, {Name: "b"}}},
		"files: []":                   {Files: []file{}},
		"words: a":                    {Words: []string{"a"}},
		"words: [a, b]":               {Words: []string{"a", "b"}},
		"{one: a, ptr: b, plain: []}": {One: file{Name: "a"}, Ptr: &file{Name: "b"}, Plain: []file{}},
	} {
		got, err := decode(src)
		if err != nil || len(got.Files) != len(want.Files) || strings.Join(got.Words, ",") != strings.Join(want.Words, ",") || got.One != want.One ||
			(got.Ptr == nil) != (want.Ptr == nil) || got.Ptr != nil && *got.Ptr != *want.Ptr {
			t.Errorf("%s: %+v, %v", src, got, err)
			continue
		}
		for i := range got.Files {
			if got.Files[i] != want.Files[i] {
				t.Errorf("%s: %+v", src, got.Files)
			}
		}
	}
	for src, want := range map[string]string{
		"files: 1":            "x:1:8: files[0] must be text; put 1 in quotes",
		"files: true":         "x:1:8: files[0] must be text; put true in quotes",
		"files:":              "files[0] has no value",
		"one: [a]":            "x:1:6: one must be a mapping of fields; this is a list",
		"plain: a":            "x:1:8: plain must be a list; this is the text \"a\"",
		"words: {a: b}":       "x:1:8: words[0] must be text; this is a mapping",
		"files: [[a]]":        "x:1:9: files[0] must be a mapping of fields; this is a list",
		"files: {nam: a}":     "x:1:9: unknown field \"nam\" in files[0]; did you mean \"name\"?",
		"one: {name: {a: b}}": "x:1:13: name must be text; this is a mapping",
	} {
		if got, err := decode(src); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v", src, got, err)
		}
	}
}

// advised is a struct that says what to write in place of one field.
type advised struct {
	File string `yaml:"file"`
}

func (advised) Advice(field, text string) string {
	if field != "url" {
		return ""
	}
	return "fetch " + text + " and name the file"
}

// TestForm holds which errors are about the form of a document, their paths, and the advice of structs.
func TestForm(t *testing.T) {
	t.Parallel()
	type document struct {
		Name  string             `yaml:"name"`
		Count int                `yaml:"count"`
		Share float64            `yaml:"share"`
		Yes   bool               `yaml:"yes"`
		List  []advised          `yaml:"list"`
		Map   map[string]advised `yaml:"map"`
		Ptr   *advised           `yaml:"ptr"`
	}
	for src, want := range map[string]struct{ path, message string }{
		"nam: x":                {"$.nam", `unknown field "nam" in the document; did you mean "name"?`},
		"{a.b: x}":              {`$["a.b"]`, `unknown field "a.b" in the document; `},
		"name: [x]":             {"$.name", "name must be text; this is a list"},
		"name:":                 {"$.name", "name has no value; "},
		"count: '2'":            {"$.count", "count must be a whole number; leave the quotes out"},
		"count: two":            {"$.count", `count must be a whole number; this is the text "two"`},
		"count: 1.5":            {"$.count", "count must be a whole number; this is the number 1.5"},
		"share: '1.5'":          {"$.share", "share must be a number; leave the quotes out"},
		"yes: 'true'":           {"$.yes", "yes must be true or false; leave the quotes out"},
		"list: [{}, {fil: x}]":  {"$.list[1].fil", `unknown field "fil" in list[1]; did you mean "file"?`},
		"list: [{url: 'a:b'}]":  {"$.list[0].url", `unknown field "url" in list[0]; fetch a:b and name the file`},
		"map: {x.y: {file: 1}}": {`$.map["x.y"].file`, "file must be text; put 1 in quotes"},
		"ptr: {url: \"a\\nb\"}": {"$.ptr.url", `unknown field "url" in ptr; fetch  and name the file`},
		"ptr: {url: [a]}":       {"$.ptr.url", `unknown field "url" in ptr; fetch  and name the file`},
	} {
		docs, err := strictyaml.Documents("x", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		var e *strictyaml.Error
		if err := docs[0].Decode(&document{}); !errors.As(err, &e) || !e.Form || e.Path != want.path || !strings.HasPrefix(e.Message, want.message) {
			t.Errorf("%s: %+v", src, e)
		}
	}
	docs, err := strictyaml.Documents("x", []byte("name: x"))
	if err != nil {
		t.Fatal(err)
	}
	var e *strictyaml.Error
	if err := docs[0].Errorf("$.name", "no such name"); !errors.As(err, &e) || e.Form {
		t.Errorf("%+v", e)
	}
	_, err = strictyaml.Documents("x", []byte("name: [x"))
	if !errors.As(err, &e) || e.Form {
		t.Errorf("%+v", e)
	}
}
