// Package strictyaml reads YAML documents for people who need to know exactly what was wrong and where.
//
// It decides what a document may be: a mapping of plain data, whose every field is known and has one value of the
// right type. Anchors, aliases, merge keys, tags, directives, duplicate keys, empty values and invisible characters
// are refused, so that what a reader sees is what is meant. It trusts nothing in a file; sizes, depth and the
// number of parts are bounded, and every error is an [*Error] with file, line, column and a caret. It never reads a
// file itself and knows nothing of what the documents are about.
package strictyaml

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The bounds of what is read.
const (
	MaxBytes  = 1 << 20 // of one file
	maxTokens = 20_000  // of one document; the parser underneath is quadratic in a mapping's keys
	maxDepth  = 64      // of mappings and lists within each other
	maxErrors = 20      // reported at a time
)

// Document is one YAML document of a file. It is immutable and safe for concurrent use.
type Document struct {
	src  *source
	root *node
}

// Documents splits the content of a file into its documents, leaving out the empty ones: those of blank lines and
// comments only. The file name is used in errors alone. If any document is not usable the error says so of each
// (joined, every one an [*Error]), and no document is returned.
func Documents(file string, src []byte) ([]*Document, error) {
	s, err := newSource(file, src)
	if err != nil {
		return nil, err
	}
	var docs []*Document
	var errs []error
	for _, part := range s.split(&errs) {
		if len(errs) >= maxErrors {
			break
		}
		root, err := s.parse(part)
		switch {
		case err != nil:
			errs = append(errs, err)
		case root != nil:
			docs = append(docs, &Document{src: s, root: root})
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return docs, nil
}

// Kind returns the document's kind, or "" if it has none that is text.
func (d *Document) Kind() string { return d.text("kind") }

// APIVersion returns the document's apiVersion, or "" if it has none that is text.
func (d *Document) APIVersion() string { return d.text("apiVersion") }

// Line returns the line of the file, from 1, on which the document's first field stands.
func (d *Document) Line() int { return d.root.at.line }

// Has tells whether the document has a value at a path; see [Document.Errorf] for the form of paths.
func (d *Document) Has(path string) bool {
	_, exact := d.root.find(path)
	return exact
}

// Errorf makes an [*Error] that points at the value at a path, such as $.spec.images[0].glob or
// $.metadata.labels["a.b/c"]. Where there is no such value it points at the nearest thing around it, which for a
// missing field is the field that lacks it.
func (d *Document) Errorf(path, format string, args ...any) error {
	n, _ := d.root.find(path)
	return d.src.errorf(n.point(), format, args...)
}

// KeyErrorf is [Document.Errorf] pointing at the name of a field rather than at its value.
func (d *Document) KeyErrorf(path, format string, args ...any) error {
	n, _ := d.root.find(path)
	at := n.point()
	if n.key.line > 0 {
		at = n.key
	}
	return d.src.errorf(at, format, args...)
}

// TextErrorf is [Document.Errorf] pointing into the text at a path, at a line and column of it, both from 1 and the column
// in characters. Where that is not to be found in the file as it is in the text, because the text is folded or has escapes,
// it points at the text as a whole, and exact is false.
func (d *Document) TextErrorf(path string, line, column int, format string, args ...any) (exact bool, err error) {
	n, found := d.root.find(path)
	if found && n.kind == scalar {
		if at, ok := d.src.within(n, line, column); ok {
			return true, d.src.errorf(at, format, args...)
		}
	}
	return false, d.src.errorf(n.point(), format, args...)
}

// within finds a place of a scalar's text in the file: on the line where the scalar begins, or below the mark of a block.
func (s *source) within(n *node, line, column int) (position, bool) {
	lines := strings.Split(n.text, "\n")
	if line < 1 || line > len(lines) || column < 1 || column > utf8.RuneCountInString(lines[line-1])+1 {
		return position{}, false
	}
	want := []rune(lines[line-1])
	at := n.at
	shown := []rune(s.lines[at.line-1])
	begin := shown[at.column-1:]
	switch {
	case len(begin) == 0:
		return position{}, false
	case begin[0] == '|': // below it, indented by as much as the file says
		if at.line += line; at.line > len(s.lines) {
			return position{}, false
		}
		shown = []rune(s.lines[at.line-1])
		at.column = len(shown) - len(want) + 1
		if at.column < 1 || !hasPrefix(shown[at.column-1:], want) && len(want) > 0 {
			return position{}, false
		}
		at.column += column - 1
		return at, true
	case len(lines) > 1:
		return position{}, false
	}
	// On one line, each character of the text is one in the file, or two in quotes.
	quote := begin[0]
	if quote != '"' && quote != '\'' {
		at.column += column - 1
		return at, hasPrefix(begin, want)
	}
	at.column++
	for i, r := range want {
		if i == column-1 {
			return at, true
		}
		here := shown[min(at.column-1, len(shown)):]
		escaped := r == quote || quote == '"' && r == '\\'
		switch {
		case escaped && len(here) > 1 && here[1] == r:
			at.column += 2
		case !escaped && len(here) > 0 && here[0] == r:
			at.column++
		default:
			return position{}, false
		}
	}
	return at, column == len(want)+1
}

// Position returns the line and column, from 1, at which [Document.Errorf] would point.
func (d *Document) Position(path string) (line, column int) {
	n, _ := d.root.find(path)
	at := n.point()
	return at.line, at.column
}

func (d *Document) text(field string) string {
	if n := d.root.field(field); n != nil && n.kind == scalar && n.class == classText {
		return n.text
	}
	return ""
}

// source is the text of a file, by lines, without their line breaks.
type source struct {
	file   string
	lines  []string
	secret map[int]bool // the numbers, from 1, of lines that hold a private key
}

// newSource refuses what no person can check by reading: broken encodings and characters that don't show.
func newSource(file string, src []byte) (*source, error) {
	s := &source{file: file}
	if len(src) > MaxBytes {
		return nil, s.errorf(position{}, "the file is larger than %d bytes", MaxBytes)
	}
	text := strings.TrimPrefix(string(src), "\ufeff")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	s.lines = strings.Split(text, "\n")
	s.secret = privateLines(s.lines)
	for i, line := range s.lines {
		column := 0
		for at, r := range line {
			column++
			here := position{line: i + 1, column: column}
			if r == utf8.RuneError {
				if _, size := utf8.DecodeRuneInString(line[at:]); size == 1 {
					return nil, s.errorf(here, "not UTF-8 text")
				}
			}
			if hidden(r) {
				return nil, s.errorf(here, "the character %U does not show in an editor and is not accepted", r)
			}
		}
	}
	return s, nil
}

// hidden tells which characters a reader of the file cannot see or is misled by: control characters, byte order
// marks, line breaks that are none in YAML, and those that reorder the text around them.
func hidden(r rune) bool {
	switch {
	case r == '\t':
		return false
	case r < 0x20, 0x7f <= r && r <= 0x9f:
		return true
	case r == 0xfeff, 0x2028 <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069, 0x200b <= r && r <= 0x200f:
		return true
	}
	return false
}

// privateLines finds private keys, which people do paste where a public one is wanted, and which must not reach a
// log by way of an error's excerpt.
func privateLines(lines []string) map[int]bool {
	secret := map[int]bool{}
	inside := false
	for i, line := range lines {
		marked := strings.Contains(line, "PRIVATE KEY-----")
		if marked || inside {
			secret[i+1] = true
		}
		begin, end := strings.LastIndex(line, "-----BEGIN"), strings.LastIndex(line, "-----END")
		if begin >= 0 || end >= 0 {
			inside = marked && begin > end
		}
	}
	return secret
}

// part is the text of one document and the number, from 0, of its first line.
type part struct {
	text  string
	first int
}

// split cuts the file at the lines that begin with --- or ..., which YAML reserves for that wherever they stand
// (YAML 1.2.2, rule 206, c-forbidden). It is done here because the parser underneath loses documents that follow
// an empty one.
func (s *source) split(errs *[]error) []part {
	var parts []part
	first := 0
	end := func(i int) {
		parts = append(parts, part{text: strings.Join(s.lines[first:i], "\n"), first: first})
		first = i + 1
	}
	for i, line := range s.lines {
		mark, rest := line, ""
		if len(line) > 3 {
			mark, rest = line[:3], line[3:]
		}
		if mark != "---" && mark != "..." || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
			continue
		}
		if after := strings.TrimLeft(rest, " \t"); after != "" && after[0] != '#' {
			column := 1 + len(line) - len(after)
			*errs = append(*errs, s.errorf(position{i + 1, column}, "nothing but a comment may follow %s on its line", mark))
		}
		end(i)
	}
	end(len(s.lines))
	return parts
}

// errorf makes an Error at a position.
func (s *source) errorf(at position, format string, args ...any) *Error {
	return &Error{
		File:    s.file,
		Line:    at.line,
		Column:  at.column,
		Message: fmt.Sprintf(format, args...),
		Excerpt: s.excerpt(at),
	}
}
