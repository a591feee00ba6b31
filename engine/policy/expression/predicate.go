package expression

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Bounds of a predicate that is evaluated. An attestation for which no expression is given may be larger.
const (
	MaxBytes   = 4 << 20 // of JSON
	MaxValues  = 200_000 // objects, arrays, texts, numbers, true, false and null together; an SBOM of 5,000 packages has about 100,000
	MaxNesting = 64      // of objects and arrays within each other
)

// parse reads a predicate. No JSON is null.
func parse(text []byte) (ref.Val, error) {
	switch {
	case len(text) == 0:
		return types.NullValue, nil
	case len(text) > MaxBytes:
		return nil, fmt.Errorf("it has more than %d bytes", MaxBytes)
	case !json.Valid(text):
		return nil, errors.New("it is no JSON")
	}
	p := parser{rest: string(text)}
	return p.value(0)
}

// parser reads JSON that is known to be valid. It is several times as fast as a [json.Decoder], by whose tokens names
// that are given twice can be seen, too. What it makes is small: texts are parts of the JSON, lists and objects are no
// larger than what is in them.
type parser struct {
	rest    string
	values  int
	items   []ref.Val // of all arrays that are being read, the innermost last
	noItems ref.Val   // an empty array; nil before the first
	members []member  // of all objects that are being read, the innermost last
}

// next returns the first character of what comes next.
func (p *parser) next() byte {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	return p.rest[0]
}

// skip passes over n characters.
func (p *parser) skip(n int) { p.rest = p.rest[n:] }

func (p *parser) value(depth int) (ref.Val, error) {
	if p.values++; p.values > MaxValues {
		return nil, fmt.Errorf("it has more than %d values", MaxValues)
	}
	c := p.next()
	if c == '[' || c == '{' {
		if depth++; depth > MaxNesting {
			return nil, fmt.Errorf("it is nested more than %d deep", MaxNesting)
		}
	}
	switch c {
	case '[':
		return p.array(depth)
	case '{':
		return p.object(depth)
	case '"':
		s, err := p.text()
		return types.String(s), err
	case 't':
		p.skip(len("true"))
		return types.True, nil
	case 'f':
		p.skip(len("false"))
		return types.False, nil
	case 'n':
		p.skip(len("null"))
		return types.NullValue, nil
	}
	return p.number()
}

func (p *parser) text() (string, error) {
	end, plain := 1, true
	for ; p.rest[end] != '"'; end++ {
		if p.rest[end] == '\\' {
			end++
			plain = false
		}
	}
	quoted := p.rest[:end+1]
	p.skip(end + 1)
	if inner := quoted[1:end]; plain && utf8.ValidString(inner) {
		return inner, nil
	}
	var s string
	err := json.Unmarshal([]byte(quoted), &s)
	return s, err
}

func (p *parser) number() (ref.Val, error) {
	end := 0
	for end < len(p.rest) && strings.IndexByte("+-.0123456789Ee", p.rest[end]) >= 0 {
		end++
	}
	text := p.rest[:end]
	p.skip(end)
	if !strings.ContainsAny(text, ".eE") {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return types.Int(i), nil
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		return nil, errors.New("a number in it is out of range")
	}
	return types.Double(f), nil
}

func (p *parser) array(depth int) (ref.Val, error) {
	first := len(p.items)
	for p.skip(1); p.next() != ']'; {
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		p.items = append(twice(p.items), v)
		if p.next() == ',' {
			p.skip(1)
		}
	}
	p.skip(1)
	if first == len(p.items) {
		if p.noItems == nil {
			p.noItems = types.NewRefValList(types.DefaultTypeAdapter, []ref.Val{})
		}
		return p.noItems, nil
	}
	items := append([]ref.Val{}, p.items[first:]...)
	p.items = p.items[:first]
	return types.NewRefValList(types.DefaultTypeAdapter, items), nil
}

// twice makes room for as many again if there is none left. append alone makes room for a quarter more: all that it leaves
// behind on the way to a long list is several times as large as the list.
func twice[T any](s []T) []T {
	if len(s) < cap(s) {
		return s
	}
	return slices.Grow(s, len(s)+1)
}

func (p *parser) object(depth int) (ref.Val, error) {
	first := len(p.members)
	for p.skip(1); p.next() != '}'; {
		name, err := p.text()
		if err != nil {
			return nil, err
		}
		p.next()
		p.skip(len(":"))
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		p.members = append(twice(p.members), member{name, v})
		if p.next() == ',' {
			p.skip(1)
		}
	}
	p.skip(1)
	o := &object{append([]member{}, p.members[first:]...)}
	p.members = p.members[:first]
	slices.SortFunc(o.members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	for i := range len(o.members) - 1 {
		if name := o.members[i].name; name == o.members[i+1].name { // which of the two counts would be the parser's taste
			return nil, fmt.Errorf("an object in it has the name %.100q twice", name)
		}
	}
	return o, nil
}
