package strictyaml

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Decode fills a struct from the document. Its fields are named by their yaml tags, and fields without a tag or with "-"
// are left alone, as is everything that the document does not mention. Structs, pointers, slices, maps with string keys,
// strings, booleans, numbers, [time.Duration] (as "1m30s") and types with UnmarshalText are understood.
//
// Two options may follow the name in a tag, and others are ignored. In a slice's field, "many" says that a single item
// may stand in place of a list of one. In a struct's string field, "short" says that text may stand in place of the whole
// mapping, and is then this field's value.
//
// A struct that is an [Adviser] says what to write in place of a field that it does not have.
//
// Fields that the struct does not have, fields without a value, and values of another type are errors; text is never
// taken for a number nor a number for text. Errors are collected: each is an [*Error], joined.
func (d *Document) Decode(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("strictyaml: cannot decode into a %T", into)
	}
	dec := decoder{src: d.src, path: []string{"$"}}
	dec.value("the document", d.root, v.Elem())
	if len(dec.errs) > maxErrors {
		more := len(dec.errs) - maxErrors
		dec.errs = append(dec.errs[:maxErrors], d.src.errorf(position{}, "and %d more errors", more))
	}
	return errors.Join(dec.errs...)
}

type decoder struct {
	src  *source
	path []string // of what is being decoded, from $
	errs []error
}

func (d *decoder) fail(n *node, format string, args ...any) {
	d.failAt(n.point(), format, args...)
}

func (d *decoder) failAt(at position, format string, args ...any) {
	e := d.src.errorf(at, format, args...)
	e.Form, e.Path = true, strings.Join(d.path, "")
	d.errs = append(d.errs, e)
}

// within decodes a part of what is being decoded, which step leads to.
func (d *decoder) within(step string, decode func()) {
	d.path = append(d.path, step)
	decode()
	d.path = d.path[:len(d.path)-1]
}

// step is a field's name as it stands in a path.
func step(field string) string {
	if field == "" || strings.ContainsAny(field, ".[]\"") {
		return "[" + strconv.Quote(field) + "]"
	}
	return "." + field
}

// Adviser is a struct that knows what to write in place of a field that it does not have.
type Adviser interface {
	// Advice returns a clause for the error, or "" if there is nothing to say. text is the field's value if that is text
	// of one line.
	Advice(field, text string) string
}

// value decodes a node, which errors call by name.
func (d *decoder) value(name string, n *node, v reflect.Value) {
	if n.kind == scalar && n.class == classNull {
		d.fail(n, "%s has no value; give it one, or leave the field out", name)
		return
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok && v.Kind() != reflect.Pointer {
		if n.kind != scalar {
			d.fail(n, "%s must be text; this is %s", name, n.what())
		} else if err := u.UnmarshalText([]byte(n.text)); err != nil {
			d.fail(n, "%s: %v", name, err)
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.value(name, n, v.Elem())
	case reflect.Struct:
		if i := shortField(v.Type()); i >= 0 && n.kind == scalar {
			d.value(name, n, v.Field(i))
			return
		}
		if n.kind != mapping {
			d.fail(n, "%s must be a mapping of fields; this is %s", name, n.what())
			return
		}
		d.fields(name, n, v)
	case reflect.Map:
		d.entries(name, n, v)
	case reflect.Slice:
		if n.kind != sequence {
			d.fail(n, "%s must be a list; this is %s", name, n.what())
			return
		}
		items := reflect.MakeSlice(v.Type(), len(n.nodes), len(n.nodes)) // never nil: an empty list is not an absent one
		for i, item := range n.nodes {
			index := fmt.Sprintf("[%d]", i)
			d.within(index, func() { d.value(name+index, item, items.Index(i)) })
		}
		v.Set(items)
	default:
		d.scalar(name, n, v)
	}
}

func (d *decoder) fields(name string, n *node, v reflect.Value) {
	known := map[string]int{}
	var names []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if tag != "" && tag != "-" && f.IsExported() {
			known[tag] = i
			names = append(names, tag)
		}
	}
	for i, field := range n.names {
		index, ok := known[field]
		if !ok {
			d.within(step(field), func() {
				remedy := cmp.Or(advice(v, field, n.nodes[i]), hint(field, names))
				d.failAt(n.nodes[i].key, "unknown field %s in %s; %s", strconv.Quote(field), name, remedy)
			})
			continue
		}
		item := n.nodes[i]
		if _, options, _ := strings.Cut(v.Type().Field(index).Tag.Get("yaml"), ","); item.kind != sequence && hasOption(options, "many") {
			item = &node{kind: sequence, at: item.at, key: item.key, nodes: []*node{item}}
		}
		d.within(step(field), func() { d.value(field, item, v.Field(index)) })
	}
}

// advice asks a struct about a field that it does not have.
func advice(v reflect.Value, field string, n *node) string {
	a, ok := v.Interface().(Adviser)
	if !ok {
		return ""
	}
	text := ""
	if n.kind == scalar && n.class == classText && !strings.Contains(n.text, "\n") {
		text = n.text
	}
	return a.Advice(field, text)
}

// shortField finds the field of a struct that text in place of the struct is meant for, or -1.
func shortField(typ reflect.Type) int {
	for i := range typ.NumField() {
		if _, options, _ := strings.Cut(typ.Field(i).Tag.Get("yaml"), ","); hasOption(options, "short") {
			return i
		}
	}
	return -1
}

func hasOption(options, name string) bool {
	return slices.Contains(strings.Split(options, ","), name)
}

// hint names the field that was probably meant, or else all there are.
func hint(field string, names []string) string {
	if near := Nearest(field, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "it has " + strings.Join(names, ", ")
}

func (d *decoder) entries(name string, n *node, v reflect.Value) {
	if n.kind != mapping {
		d.fail(n, "%s must be a mapping of names to values; this is %s", name, n.what())
		return
	}
	if v.Type().Key().Kind() != reflect.String {
		d.fail(n, "%s cannot be set", name)
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.names))
	for i, key := range n.names {
		if !n.plain[i] {
			d.failAt(n.nodes[i].key, "a name in %s must be text; put %s in quotes", name, key)
			continue
		}
		e := reflect.New(v.Type().Elem()).Elem()
		d.within("["+strconv.Quote(key)+"]", func() { d.value(fmt.Sprintf("%s[%q]", name, key), n.nodes[i], e) })
		m.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), e)
	}
	v.Set(m)
}

func (d *decoder) scalar(name string, n *node, v reflect.Value) {
	want := func(what string) { d.fail(n, "%s must be %s; this is %s", name, what, n.what()) }
	// In quotes, a number or a truth value is text.
	unquoted := func(what string, quoted bool) {
		if quoted && n.kind == scalar && n.class == classText {
			d.fail(n, "%s must be %s; leave the quotes out", name, what)
			return
		}
		want(what)
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		const what = "a duration such as 500ms, 30s or 1h30m"
		if n.kind != scalar || n.class != classText {
			want(what)
			return
		}
		length, err := time.ParseDuration(n.text)
		if err != nil {
			want(what)
			return
		}
		v.SetInt(int64(length))
		return
	}
	switch v.Kind() {
	case reflect.String:
		switch {
		case n.kind != scalar:
			want("text")
		case n.class != classText:
			d.fail(n, "%s must be text; put %s in quotes", name, n.text)
		default:
			v.SetString(n.text)
		}
	case reflect.Bool:
		if n.kind != scalar || n.class != classBool || n.text != "true" && n.text != "false" {
			unquoted("true or false", n.text == "true" || n.text == "false")
			return
		}
		v.SetBool(n.text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(n.text, 10, 64)
		if n.kind != scalar || n.class != classInt || err != nil || v.OverflowInt(i) {
			unquoted("a whole number"+limits(v), err == nil)
			return
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		i, err := strconv.ParseUint(n.text, 10, 64)
		if n.kind != scalar || n.class != classInt || err != nil || v.OverflowUint(i) {
			unquoted("a whole number, 0 or more"+limits(v), err == nil)
			return
		}
		v.SetUint(i)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(n.text, 64)
		if n.kind != scalar || n.class != classInt && n.class != classFloat || err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			unquoted("a number", err == nil)
			return
		}
		v.SetFloat(f)
	default: // a mistake in the struct, not in the file
		d.fail(n, "%s cannot be set", name)
	}
}

// limits names the range of the smaller integers.
func limits(v reflect.Value) string {
	bits := v.Type().Bits()
	switch {
	case bits == 64:
		return ""
	case v.CanUint():
		return fmt.Sprintf(" and at most %d", uint64(1)<<bits-1)
	}
	return fmt.Sprintf(" from %d to %d", -(int64(1) << (bits - 1)), int64(1)<<(bits-1)-1)
}

// what names a value's type for people.
func (n *node) what() string {
	switch {
	case n.kind == mapping:
		return "a mapping"
	case n.kind == sequence:
		return "a list"
	}
	switch n.class {
	case classNull:
		return "nothing"
	case classBool:
		return n.text
	case classInt, classFloat:
		return "the number " + n.text
	}
	text := n.text
	if len(text) > 40 || strings.Contains(text, "\n") {
		return "text"
	}
	return "the text " + strconv.Quote(text)
}

// Nearest returns the one of known that name was probably meant to be, or "" if none is near: case is not counted,
// and two wrong letters at most (one in a short name).
func Nearest(name string, known []string) string {
	const longest = 64
	limit := 2
	if len(name) < 4 {
		limit = 1
	}
	best := ""
	for _, k := range known {
		if len(name) > longest || len(k) > longest {
			continue
		}
		if n := edits(strings.ToLower(name), strings.ToLower(k)); n <= limit && n < len(k) {
			best, limit = k, n-1
		}
	}
	return best
}

// edits is the Levenshtein distance, in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
