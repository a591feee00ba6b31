package strictyaml

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error says what is wrong at one place of a file.
type Error struct {
	File         string
	Line, Column int    // from 1, the column in characters; 0 if the error is about the whole file
	Message      string // one line
	Excerpt      string // the line, at most two before it, and a caret under the column; empty if Line is 0

	// Form tells that the document has not the form that is decoded: a field is unknown, missing or of another type. A
	// schema of the form finds such errors, and no others.
	Form bool
	// Path is that of the field that is not known or has a value of another type, in the form of [Document.Errorf]'s. It
	// is empty of other errors.
	Path string
}

// Error returns file:line:column: message, and the excerpt on the lines after it.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	b.WriteString(e.Message)
	if e.Excerpt != "" {
		b.WriteByte('\n')
		b.WriteString(e.Excerpt)
	}
	return b.String()
}

// excerptWidth is how many characters of a line are shown.
const excerptWidth = 100

// excerpt shows the line of a position, up to two lines before it, and a caret under the column.
func (s *source) excerpt(at position) string {
	if at.line < 1 || at.line > len(s.lines) {
		return ""
	}
	// A long line is cut on the left so that the column stays in sight, and then its neighbours are too.
	left := 0
	if at.column > excerptWidth {
		left = at.column - excerptWidth/2
	}
	var b strings.Builder
	for n := max(1, at.line-2); n <= at.line; n++ {
		line := s.lines[n-1]
		if s.secret[n] {
			line = "(private key)"
		}
		line = window(line, left)
		if strings.TrimSpace(line) == "" && n < at.line {
			continue
		}
		fmt.Fprintf(&b, "%5d | %s\n", n, line)
	}
	b.WriteString("      | ")
	shown := []rune(window(s.lines[at.line-1], left))
	for i := range at.column - 1 - left {
		if i < len(shown) && shown[i] == '\t' {
			b.WriteByte('\t') // as wide as the one above
		} else {
			b.WriteByte(' ')
		}
	}
	b.WriteByte('^')
	return b.String()
}

// window cuts a line to what an excerpt shows. Only an error about a character that doesn't show, or about a broken
// encoding, can meet one here; the terminal never does.
func window(line string, left int) string {
	var b strings.Builder
	n := 0
	for _, r := range line {
		if n++; n <= left {
			continue
		}
		if n > left+excerptWidth {
			b.WriteString("…")
			break
		}
		if r == utf8.RuneError || hidden(r) {
			r = '\ufffd'
		}
		b.WriteRune(r)
	}
	return b.String()
}
