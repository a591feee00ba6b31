package strictyaml

import (
	"strconv"
	"strings"
)

// position is a place in the file, both from 1, the column in characters.
type position struct{ line, column int }

type kind uint8

const (
	scalar kind = iota
	mapping
	sequence
)

// class is what a scalar is without its quotes: 1.10 is a number, "1.10" is text.
type class uint8

const (
	classText class = iota
	classNull
	classBool
	classInt
	classFloat
)

// node is one value of a document.
type node struct {
	kind  kind
	class class    // of a scalar
	text  string   // of a scalar
	at    position // where the value begins
	key   position // where the name of the field begins that has this value; zero for items and the root

	names []string // of a mapping's fields
	nodes []*node  // a mapping's values, or a sequence's items
	plain []bool   // whether a field's name is text, not a bare number or such; mappings only
}

// point is where an error about the value points: at the value, or at the field's name if the value begins on a
// later line.
func (n *node) point() position {
	if n.key.line > 0 && n.key.line != n.at.line {
		return n.key
	}
	return n.at
}

func (n *node) field(name string) *node {
	if n.kind == mapping {
		for i := range n.names {
			if n.names[i] == name {
				return n.nodes[i]
			}
		}
	}
	return nil
}

// find walks a path from the root as far as it leads, and tells whether that was to its end.
func (n *node) find(path string) (found *node, exact bool) {
	rest, ok := strings.CutPrefix(path, "$")
	for ok && rest != "" {
		var next *node
		switch {
		case rest[0] == '.':
			end := 1
			for end < len(rest) && rest[end] != '.' && rest[end] != '[' {
				end++
			}
			next, rest = n.field(rest[1:end]), rest[end:]
		case strings.HasPrefix(rest, `["`):
			quoted, err := strconv.QuotedPrefix(rest[1:])
			if err != nil {
				return n, false
			}
			name, err := strconv.Unquote(quoted)
			if err != nil {
				return n, false
			}
			next, rest = n.field(name), strings.TrimPrefix(rest[1+len(quoted):], "]")
		case rest[0] == '[':
			digits, after, closed := strings.Cut(rest[1:], "]")
			i, err := strconv.Atoi(digits)
			if !closed || err != nil || n.kind != sequence || i < 0 || i >= len(n.nodes) {
				return n, false
			}
			next, rest = n.nodes[i], after
		}
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, ok
}
