package clusterimagepolicy

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// The YAML that is written is of few forms: mappings in the order in which a person would write them, lists of them, text,
// and texts of several lines. Writing these by hand keeps the output stable from one version of a library to the next.

// mapping is a YAML mapping, in order.
type mapping []entry

type entry struct {
	name  string
	value any // a string, bool, int, mapping or []mapping
}

// with returns m with one more field, or m alone if the value is the zero one of its type.
func (m mapping) with(name string, value any) mapping {
	switch v := value.(type) {
	case string:
		if v == "" {
			return m
		}
	case bool:
		if !v {
			return m
		}
	case []mapping:
		if len(v) == 0 {
			return m
		}
	case mapping:
		if v == nil { // an empty one is written
			return m
		}
	}
	return append(m, entry{name, value})
}

func (m mapping) write(b *strings.Builder, indent string) {
	for i, e := range m {
		if i > 0 {
			b.WriteString(indent)
		}
		b.WriteString(scalar(e.name))
		b.WriteByte(':')
		switch v := e.value.(type) {
		case mapping:
			if len(v) == 0 {
				b.WriteString(" {}\n")
				break
			}
			b.WriteString("\n" + indent + "  ")
			v.write(b, indent+"  ")
		case []mapping:
			b.WriteByte('\n')
			for _, item := range v {
				b.WriteString(indent + "- ")
				item.write(b, indent+"  ")
			}
		case string:
			text(b, v, indent+"  ")
		case bool:
			b.WriteString(" " + strconv.FormatBool(v) + "\n")
		case int:
			b.WriteString(" " + strconv.Itoa(v) + "\n")
		}
	}
}

// text writes a string: as a block if it has several lines or is long, and nothing in it needs an escape.
func text(b *strings.Builder, s, indent string) {
	body, newline := strings.CutSuffix(s, "\n")
	block := (strings.Contains(body, "\n") || newline) && body != "" && body[0] != ' ' && body[0] != '\n' &&
		!strings.HasSuffix(body, "\n") && !strings.ContainsFunc(body, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) })
	if !block {
		b.WriteString(" " + scalar(s) + "\n")
		return
	}
	b.WriteString(pick(newline, " |\n", " |-\n"))
	for line := range strings.SplitSeq(body, "\n") {
		if line != "" {
			b.WriteString(indent + line)
		}
		b.WriteByte('\n')
	}
}

var (
	plain    = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./@+-]*(:[A-Za-z0-9_./@+-]+)*$`)
	reserved = regexp.MustCompile(`^(?i:true|false|null|yes|no|on|off|y|n)$`)
)

// scalar writes a string on one line.
func scalar(s string) string {
	switch {
	case plain.MatchString(s) && !reserved.MatchString(s):
		return s
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return strconv.QuoteToASCII(s)
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}
