package credential

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// document is one file of the configuration, YAML or JSON. All use of the YAML library is in this file. It is the
// operator's own and short, and so the library is taken as it is, but for its panics.
type document struct {
	file  string
	text  []byte
	lines []string
	tree  *ast.File
}

// maxDocument is in bytes. Nobody has so many providers.
const maxDocument = 1 << 20

// readDocument decodes a file into a struct, whose fields are all there may be.
func readDocument(file string, text []byte, into any) (d *document, err error) {
	d = &document{file: file, text: text, lines: strings.Split(string(text), "\n")}
	defer func() {
		if v := recover(); v != nil {
			err = d.fail(nil, "it can't be read as YAML or JSON")
		}
	}()
	if len(text) > maxDocument {
		return d, d.fail(nil, "it is longer than 1 MiB")
	}
	if d.tree, err = parser.ParseBytes(text, 0); err != nil {
		return d, d.syntax(err)
	}
	if len(d.tree.Docs) != 1 || d.tree.Docs[0].Body == nil {
		return d, d.fail(nil, "it must hold one document")
	}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(into); err != nil {
		return d, d.syntax(err)
	}
	return d, nil
}

// at says what is wrong with what is at a path of the library's form, such as $.providers[0].name, or with the nearest
// thing around it.
func (d *document) at(path, format string, args ...any) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = d.fail(nil, format, args...)
		}
	}()
	for {
		if p, err := yaml.PathString(path); err == nil {
			if n, err := p.FilterFile(d.tree); err == nil && n != nil {
				return d.fail(n.GetToken(), format, args...)
			}
		}
		cut := max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['))
		if cut < 0 {
			return d.fail(nil, format, args...)
		}
		path = path[:cut]
	}
}

// syntax puts an error of the library in this package's form.
func (d *document) syntax(err error) error {
	var e yaml.Error
	if !errors.As(err, &e) {
		return d.fail(nil, "it can't be read as YAML or JSON")
	}
	return d.fail(e.GetToken(), "%s", e.GetMessage())
}

// fail returns an error with file, line, column and the line with a caret.
func (d *document) fail(t *token.Token, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	if t == nil || t.Position == nil || t.Position.Line < 1 || t.Position.Line > len(d.lines) {
		return fmt.Errorf("%s: %s", d.file, message)
	}
	line, column := t.Position.Line, max(t.Position.Column, 1)
	return fmt.Errorf("%s:%d:%d: %s\n%s", d.file, line, column, message, excerpt(line, column, d.lines[line-1]))
}

// excerptWidth is how many bytes of a line are shown.
const excerptWidth = 100

// ofEnv finds where a line shows the value of an environment variable, which may be secret.
var ofEnv = regexp.MustCompile(`(\bvalue\b["']?\s*:).*`)

// excerpt shows a line, and a caret under one of its columns.
func excerpt(number, column int, line string) string {
	line = ofEnv.ReplaceAllString(strings.TrimRight(line, "\r"), "$1 …")
	if column > excerptWidth {
		left := min(column-excerptWidth/2, len(line))
		line, column = line[left:], column-left
	}
	line = strings.ToValidUTF8(line[:min(len(line), excerptWidth)], "\ufffd")
	var indent strings.Builder
	for i := range column - 1 {
		if i < len(line) && line[i] == '\t' {
			indent.WriteByte('\t')
		} else {
			indent.WriteByte(' ')
		}
	}
	return fmt.Sprintf("%5d | %s\n      | %s^", number, line, indent.String())
}
