package expression

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
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
	p := parser{rest: text}
	return p.value(0)
}

// parser reads JSON that is known to be valid. It is several times as fast as a [json.Decoder], by whose tokens names
// that are given twice can be seen, too.
type parser struct {
	rest   []byte
	values int
}

// next returns the first character of what comes next.
func (p *parser) next() byte {
	p.rest = bytes.TrimLeft(p.rest, " \t\r\n")
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
	if inner := quoted[1:end]; plain && utf8.Valid(inner) {
		return string(inner), nil
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return s, err
}

func (p *parser) number() (ref.Val, error) {
	end := 0
	for end < len(p.rest) && strings.IndexByte("+-.0123456789Ee", p.rest[end]) >= 0 {
		end++
	}
	text := string(p.rest[:end])
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
	items := []ref.Val{}
	for p.skip(1); p.next() != ']'; {
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
		if p.next() == ',' {
			p.skip(1)
		}
	}
	p.skip(1)
	return types.NewRefValList(types.DefaultTypeAdapter, items), nil
}

func (p *parser) object(depth int) (ref.Val, error) {
	members := map[string]any{}
	for p.skip(1); p.next() != '}'; {
		name, err := p.text()
		if err != nil {
			return nil, err
		}
		if _, ok := members[name]; ok { // which of the two counts would be the parser's taste
			return nil, fmt.Errorf("an object in it has the name %.100q twice", name)
		}
		p.next()
		p.skip(len(":"))
		if members[name], err = p.value(depth); err != nil {
			return nil, err
		}
		if p.next() == ',' {
			p.skip(1)
		}
	}
	p.skip(1)
	return &object{Mapper: types.NewStringInterfaceMap(types.DefaultTypeAdapter, members), members: members}, nil
}

// object is a JSON object. It keeps the list of its names, which CEL's own makes anew for every loop over the object: many
// short loops over a large object would cost more than is counted.
type object struct {
	traits.Mapper
	members map[string]any
	names   []ref.Val // made when it is first asked for; an evaluation is on one goroutine
}

// Iterator returns the object's names, in an order of no meaning that does not change.
func (o *object) Iterator() traits.Iterator {
	if o.names == nil {
		o.names = make([]ref.Val, 0, len(o.members))
		for name := range o.members {
			o.names = append(o.names, types.String(name))
		}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, o.names).Iterator()
}
