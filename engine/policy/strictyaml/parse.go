package strictyaml

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// parse makes a tree of one document, or nil if there is nothing in it. All use of the YAML library is in this file,
// and it is relied on for no more than need be: goccy/go-yaml v1.19.2 loses documents that follow an empty one, gets
// some columns wrong, panics when it prints some of its own trees, and takes a time quadratic in the length of others.
func (s *source) parse(p part) (root *node, err error) {
	b := &builder{s: s, first: p.first, used: map[*token.Token]bool{}}
	defer func() {
		if v := recover(); v != nil {
			root, err = nil, b.errorf(b.last, "this YAML cannot be read")
		}
	}()
	if long(p.text) {
		return nil, s.errorf(position{p.first + 1, 1}, "the document is too long; split it in several")
	}
	tokens := lexer.Tokenize(p.text)
	if err := b.check(tokens); err != nil {
		return nil, err
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // duplicates are found below, with our positions
	if err != nil {
		return nil, b.syntax(err)
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		for _, t := range tokens {
			if t.Type != token.CommentType {
				return nil, b.errorf(t, "not valid YAML: this belongs to nothing")
			}
		}
		return nil, nil
	}
	if root, err = b.node(file.Docs[0].Body, 0); err != nil {
		return nil, err
	}
	if err := b.unused(tokens); err != nil {
		return nil, err
	}
	if root.kind != mapping {
		return nil, s.errorf(root.at, "a document is a mapping of fields, such as apiVersion: and kind:; this is %s", root.what())
	}
	return root, nil
}

// builder turns the library's tree into ours.
type builder struct {
	s     *source
	first int                   // lines before the document
	last  *token.Token          // that was looked at, for errors that have no place of their own
	used  map[*token.Token]bool // the scalars that are part of the tree
}

// long tells, before the tokens take memory, that a text has very many of them.
func long(text string) bool {
	n := strings.Count(text, "- ")
	for _, mark := range []string{"\n", ":", ",", "[", "{"} {
		n += strings.Count(text, mark)
	}
	return n > 4*maxTokens
}

// check refuses, by their tokens, the parts of YAML that a policy has no use for, and whatever would take the parser
// long or deep.
func (b *builder) check(tokens token.Tokens) error {
	depth := 0
	for i, t := range tokens {
		b.last = t
		if i >= maxTokens {
			return b.errorf(t, "the document is too long; split it in several")
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			if depth++; depth > maxDepth {
				return b.errorf(t, "nested more than %d deep", maxDepth)
			}
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.AnchorType:
			return b.errorf(t, "anchors (&) are not accepted; text that begins with & must be quoted")
		case token.AliasType:
			return b.errorf(t, `aliases (*) are not accepted; text that begins with * must be quoted, as in "*.example.com/**"`)
		case token.MergeKeyType:
			return b.errorf(t, "merge keys (<<) are not accepted")
		case token.TagType:
			return b.errorf(t, `tags (!) are not accepted; text that begins with ! must be quoted, as in "!kube-system"`)
		case token.DirectiveType:
			return b.errorf(t, "directives (%%) are not accepted; text that begins with %% must be quoted")
		case token.MappingKeyType:
			return b.errorf(t, "complex keys (?) are not accepted; text that begins with ? must be quoted")
		}
	}
	return nil
}

// syntax makes an Error of the library's.
func (b *builder) syntax(err error) error {
	var at interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &at) {
		return b.errorf(b.last, "not valid YAML")
	}
	message, _, _ := strings.Cut(at.GetMessage(), "\n")
	if strings.Contains(message, "'\t'") {
		return b.errorf(at.GetToken(), "not valid YAML: a tab cannot indent; use blanks")
	}
	return b.errorf(at.GetToken(), "not valid YAML: %s", strings.Map(func(r rune) rune {
		if hidden(r) || r == '\t' || r == utf8.RuneError {
			return ' '
		}
		return r
	}, message))
}

// unused finds text that the parser has left out of the tree without a word.
func (b *builder) unused(tokens token.Tokens) error {
	for _, t := range tokens {
		switch t.Type {
		case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.NullType, token.BoolType,
			token.IntegerType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType,
			token.FloatType, token.InfinityType, token.NanType, token.LiteralType, token.FoldedType:
			if !b.used[t] {
				return b.errorf(t, "not valid YAML: this belongs to nothing")
			}
		}
	}
	return nil
}

func (b *builder) node(n ast.Node, depth int) (*node, error) {
	if n == nil {
		return nil, b.errorf(b.last, "not valid YAML")
	}
	t := n.GetToken()
	b.last, b.used[t] = t, true
	if depth > maxDepth {
		return nil, b.errorf(t, "nested more than %d deep", maxDepth)
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		m := &node{kind: mapping, at: b.position(n.Start)}
		return m, b.fields(m, n.Values, depth)
	case *ast.MappingValueNode: // a mapping of one field
		m := &node{kind: mapping, at: b.position(t)}
		return m, b.fields(m, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		seq := &node{kind: sequence, at: b.position(n.Start)}
		for _, v := range n.Values {
			item, err := b.node(v, depth+1)
			if err != nil {
				return nil, err
			}
			seq.nodes = append(seq.nodes, item)
		}
		return seq, nil
	case *ast.LiteralNode:
		b.used[n.Value.Token] = true
		return &node{kind: scalar, class: classText, text: n.Value.Value, at: b.position(n.Start)}, nil
	case *ast.StringNode:
		return &node{kind: scalar, class: classText, text: n.Value, at: b.position(t)}, nil
	case *ast.NullNode:
		return &node{kind: scalar, class: classNull, text: "", at: b.position(t)}, nil
	case *ast.BoolNode:
		return &node{kind: scalar, class: classBool, text: t.Value, at: b.position(t)}, nil
	case *ast.IntegerNode:
		return &node{kind: scalar, class: classInt, text: t.Value, at: b.position(t)}, nil
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return &node{kind: scalar, class: classFloat, text: t.Value, at: b.position(t)}, nil
	}
	return nil, b.errorf(t, "not valid YAML: not expected here")
}

func (b *builder) fields(m *node, values []*ast.MappingValueNode, depth int) error {
	seen := make(map[string]position, len(values))
	for i, v := range values {
		key, err := b.node(v.Key, maxDepth) // a scalar, or refused by its own contents
		if err != nil {
			return err
		}
		if key.kind != scalar || key.class == classNull {
			return b.s.errorf(key.at, "not valid YAML: not the name of a field")
		}
		if before, ok := seen[key.text]; ok {
			return b.s.errorf(key.at, "%q is given twice, first on line %d", key.text, before.line)
		}
		seen[key.text] = key.at
		value, err := b.node(v.Value, depth+1)
		if err != nil {
			return err
		}
		value.key = key.at
		if value.class == classNull && value.kind == scalar {
			value.at = key.at // where a value is missing, the library's position is off the line
		}
		if i == 0 && (m.at.line != key.at.line || m.at.column > key.at.column) {
			m.at = key.at // a block mapping's own token is the first colon
		}
		m.names = append(m.names, key.text)
		m.plain = append(m.plain, key.class == classText)
		m.nodes = append(m.nodes, value)
	}
	return nil
}

// position finds where in the file a token stands. The library puts an unquoted scalar that blanks follow as many
// columns too far right, so that is looked up in the text.
func (b *builder) position(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{b.first + 1, 1}
	}
	at := position{t.Position.Line + b.first, t.Position.Column}
	if at.line < 1 || at.line > len(b.s.lines) {
		return position{b.first + 1, 1}
	}
	line := []rune(b.s.lines[at.line-1])
	at.column = max(1, min(at.column, len(line)+1))
	if t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType {
		return at
	}
	want := []rune(t.Value)
	for c := at.column; c >= 1; c-- {
		if hasPrefix(line[c-1:], want) {
			at.column = c
			return at
		}
	}
	return at // text over several lines
}

func hasPrefix(s, prefix []rune) bool {
	if len(prefix) == 0 || len(s) < len(prefix) {
		return false
	}
	for i := range prefix {
		if s[i] != prefix[i] {
			return false
		}
	}
	return true
}

func (b *builder) errorf(t *token.Token, format string, args ...any) error {
	return b.s.errorf(b.position(t), format, args...)
}
