package proof_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// edit is one change of some bytes: where in them, how, and what comes of it.
type edit struct {
	where, how string
	make       func() []byte
}

// edits lists changes of raw, which is taken for what it looks like: PEM, JSON, DER, a signed note or any bytes. twin is
// what stands in the same place of another valid item; nil if nothing does.
func edits(where string, raw, twin []byte, deep int) []edit {
	switch {
	case deep > 6:
		return nil
	case bytes.HasPrefix(raw, []byte("-----BEGIN ")):
		return pemEdits(where, raw, twin, deep)
	case len(raw) > 1 && (raw[0] == '{' || raw[0] == '[') && json.Valid(raw):
		return jsonEdits(where, raw, twin, deep)
	case len(raw) > 8 && raw[0] == 0x30 && parseDER(raw) != nil:
		return derEdits(where, raw, twin)
	case bytes.Contains(raw, []byte("\n\n\u2014 ")):
		return append(noteEdits(where, raw, twin), byteEdits(where, raw, twin)...)
	}
	return byteEdits(where, raw, twin)
}

// byteEdits lists changes of bytes that mean nothing.
func byteEdits(where string, raw, twin []byte) []edit {
	var all []edit
	add := func(how string, make func() []byte) { all = append(all, edit{where, how, make}) }
	for _, at := range []int{0, len(raw) / 3, len(raw) / 2, len(raw) - 1} {
		if at >= 0 && at < len(raw) {
			add(fmt.Sprintf("flip byte %d", at), func() []byte { b := bytes.Clone(raw); b[at] ^= 1 << (at % 8); return b })
		}
	}
	if len(raw) > 0 {
		add("last byte off", func() []byte { return raw[:len(raw)-1] })
		add("first byte off", func() []byte { return raw[1:] })
		add("half", func() []byte { return raw[:len(raw)/2] })
		add("blank", func() []byte { return []byte{} })
		add("zeros", func() []byte { return make([]byte, len(raw)) })
		add("backwards", func() []byte { b := bytes.Clone(raw); slices.Reverse(b); return b })
	}
	add("a zero more", func() []byte { return append(bytes.Clone(raw), 0) })
	add("twice", func() []byte { return append(bytes.Clone(raw), raw...) })
	add("enlarge", func() []byte { return append(bytes.Clone(raw), bytes.Repeat([]byte{'A'}, 5_000)...) })
	if len(twin) > 0 && !bytes.Equal(raw, twin) {
		add("twin", func() []byte { return twin })
	}
	return all
}

// node is a JSON value. Its object's members keep their order and may have one name twice.
type node struct {
	name string // a JSON string; empty unless in an object
	kind byte   // '{', '[', or 0 for what raw is
	kids []*node
	raw  string
}

func scalar(raw string) *node { return &node{raw: raw} }

func (n *node) named(name string) *node { c := *n; c.name = name; return &c }

func (n *node) write(b *bytes.Buffer) {
	if n.name != "" {
		b.WriteString(n.name + ":")
	}
	if n.kind == 0 {
		b.WriteString(n.raw)
		return
	}
	b.WriteByte(n.kind)
	for i, k := range n.kids {
		if i > 0 {
			b.WriteByte(',')
		}
		k.write(b)
	}
	b.WriteByte(n.kind + 2) // the closing bracket's code
}

func (n *node) bytes() []byte {
	var b bytes.Buffer
	n.write(&b)
	return b.Bytes()
}

// quote writes s as a JSON string, as it is.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func parseNode(raw []byte) *node {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var next func() *node
	next = func() *node {
		t, err := d.Token()
		if err != nil {
			return nil
		}
		switch t := t.(type) {
		case json.Delim:
			n := &node{kind: byte(t)}
			for d.More() {
				name := ""
				if t == '{' {
					key, err := d.Token()
					s, ok := key.(string)
					if err != nil || !ok {
						return nil
					}
					name = quote(s)
				}
				kid := next()
				if kid == nil {
					return nil
				}
				kid.name = name
				n.kids = append(n.kids, kid)
			}
			_, _ = d.Token()
			return n
		case string:
			return scalar(quote(t))
		default:
			b, err := json.Marshal(t)
			if err != nil {
				return nil
			}
			return scalar(string(b))
		}
	}
	n := next()
	if _, err := d.Token(); n == nil || err != io.EOF {
		return nil
	}
	return n
}

// kid finds the member or element that other's i-th is.
func (n *node) twinOf(other *node, i int) *node {
	if n == nil || n.kind != other.kind {
		return nil
	}
	for j, k := range n.kids {
		if other.kind == '{' && k.name == other.kids[i].name || other.kind == '[' && i == j {
			return k
		}
	}
	return nil
}

// jsonEdits lists changes of JSON: of the text as such, and of every value and name in it.
func jsonEdits(where string, raw, twin []byte, deep int) []edit {
	root := parseNode(raw)
	if root == nil {
		return byteEdits(where, raw, twin)
	}
	var all []edit
	whole := func(how string, b func() []byte) { all = append(all, edit{where, how, b}) }
	whole("indented", func() []byte {
		var b bytes.Buffer
		_ = json.Indent(&b, raw, "\r", "\t ")
		return b.Bytes()
	})
	whole("blanks around", func() []byte { return []byte(" \n\t" + string(raw) + "\r\n ") })
	whole("byte order mark", func() []byte { return []byte("\ufeff" + string(raw)) })
	whole("another document after", func() []byte { return append(bytes.Clone(raw), raw...) })
	whole("last byte off", func() []byte { return raw[:len(raw)-1] })
	whole("a zero after", func() []byte { return append(bytes.Clone(raw), 0) })
	whole("not UTF-8", func() []byte { return bytes.Replace(raw, []byte(`"`), []byte("\"\xff"), 1) })
	top := &node{kind: '[', kids: []*node{root}}
	document := func() []byte {
		var parts [][]byte
		for _, k := range top.kids {
			parts = append(parts, k.bytes())
		}
		return bytes.Join(parts, []byte(" "))
	}
	var walk func(at string, parent *node, i int, twin *node)
	walk = func(at string, parent *node, i int, twin *node) {
		n := parent.kids[i]
		put := func(how string, with func() []*node) {
			all = append(all, edit{at, how, func() []byte {
				kids := parent.kids
				parent.kids = slices.Concat(kids[:i:i], with(), kids[i+1:])
				defer func() { parent.kids = kids }()
				return document()
			}})
		}
		valueEdits(put, n, twin)
		if n.name != "" {
			nameEdits(put, n)
		}
		if n.kind == 0 && strings.HasPrefix(n.raw, `"`) {
			for _, e := range textEdits(at, n, twin, deep) {
				put(e.how, func() []*node { return []*node{scalar(string(e.make())).named(n.name)} })
				all[len(all)-1].where = e.where
			}
		}
		for j := range n.kids {
			below := fmt.Sprintf("%s[%d]", at, j)
			if n.kind == '{' {
				below = at + "." + strings.Trim(n.kids[j].name, `"`)
			}
			walk(below, n, j, twin.twinOf(n, j))
		}
	}
	walk(where, top, 0, parseNode(twin))
	return all
}

// valueEdits replaces a value by others, of all types and sizes.
func valueEdits(put func(how string, with func() []*node), n, twin *node) {
	one := func(how string, with *node) { put(how, func() []*node { return []*node{with.named(n.name)} }) }
	put("delete", func() []*node { return nil })
	put("twice", func() []*node { return []*node{n, n} })
	put("another before", func() []*node { return []*node{altered(n), n} })
	put("another after", func() []*node { return []*node{n, altered(n)} })
	for _, raw := range []string{"null", "true", "0", "-1", "9223372036854775808", "1e999", `""`, `" "`, `"x"`, `"\u0000"`, "[]", "{}"} {
		if n.raw != raw {
			one("is "+raw, scalar(raw))
		}
	}
	one("in an array", &node{kind: '[', kids: []*node{n.named("")}})
	one("in an object", &node{kind: '{', kids: []*node{n.named(`"value"`)}})
	put("nested", func() []*node {
		return []*node{scalar(strings.Repeat("[", 500) + strings.Repeat("]", 500)).named(n.name)}
	})
	switch n.kind {
	case '[':
		put("enlarge", func() []*node {
			c := &node{kind: '[', kids: slices.Clone(n.kids)}
			for len(c.kids) < 12_000 && len(n.kids) > 0 && len(c.kids)*len(n.kids[0].bytes()) < 1<<18 {
				c.kids = append(c.kids, n.kids...)
			}
			return []*node{c.named(n.name)}
		})
	case '{':
		put("a member more", func() []*node {
			c := &node{kind: '{', kids: append(n.kids[:len(n.kids):len(n.kids)], scalar("1").named(`"unheardOf"`))}
			return []*node{c.named(n.name)}
		})
		put("enlarge", func() []*node {
			c := &node{kind: '{', kids: slices.Clone(n.kids)}
			for i := range 1100 {
				c.kids = append(c.kids, scalar("1").named(fmt.Sprintf(`"x%d"`, i)))
			}
			return []*node{c.named(n.name)}
		})
	default:
		if number := n.raw; number != "" && (number[0] == '-' || number[0] >= '0' && number[0] <= '9') {
			for _, raw := range []string{number + "1", "-" + number, number + ".5"} {
				one("is "+raw, scalar(raw))
			}
			one("as a string", scalar(quote(number)))
			one("with an exponent", scalar(number+"e0"))
		}
	}
	if twin != nil && !bytes.Equal(twin.named("").bytes(), n.named("").bytes()) {
		one("twin", twin)
	}
}

// altered is another value of the same type.
func altered(n *node) *node {
	c := *n
	switch {
	case n.kind == '{' || n.kind == '[':
		c.kids = nil
	case strings.HasPrefix(n.raw, `"`):
		c.raw = quote("x" + strings.Trim(n.raw, `"`))
	default:
		c.raw = "7"
	}
	return &c
}

// nameEdits gives a member other names.
func nameEdits(put func(how string, with func() []*node), n *node) {
	name := strings.Trim(n.name, `"`)
	rename := func(how, to string) {
		if to != name {
			put(how, func() []*node { return []*node{n.named(quote(to))} })
		}
	}
	rename("name in capitals", strings.ToUpper(name))
	rename("name with a blank", name+" ")
	rename("name blank", "")
	var snake strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			snake.WriteRune('_')
			r += 'a' - 'A'
		}
		snake.WriteRune(r)
	}
	rename("name in snake case", snake.String())
	if name != "" {
		put("name escaped", func() []*node { return []*node{n.named(fmt.Sprintf(`"\u%04x%s"`, name[0], name[1:]))} })
		put("other case before", func() []*node { return []*node{altered(n).named(quote(strings.ToUpper(name))), n} })
		put("other case after", func() []*node { return []*node{n, altered(n).named(quote(strings.ToUpper(name)))} })
	}
}

// textEdits changes a string, and what it encodes.
func textEdits(at string, n, twin *node, deep int) []edit {
	text, other := unquote(n), unquote(twin)
	var all []edit
	encoded := func(below []edit, encode func([]byte) string) {
		for _, e := range below {
			all = append(all, edit{e.where, e.how, func() []byte { return []byte(quote(encode(e.make()))) }})
		}
	}
	same := func(how, s string) {
		if s != text {
			all = append(all, edit{at, how, func() []byte { return []byte(quote(s)) }})
		}
	}
	if decoded, err := hex.DecodeString(text); err == nil && len(decoded) >= 16 {
		twinned, _ := hex.DecodeString(other)
		encoded(byteEdits(at+"(hex)", decoded, twinned), hex.EncodeToString)
		same("hex in capitals", strings.ToUpper(text))
		return all
	}
	if decoded, err := base64.StdEncoding.Strict().DecodeString(text); err == nil && len(text) >= 8 && !strings.Contains(text, "prod") {
		twinned, _ := base64.StdEncoding.DecodeString(other)
		encoded(edits(at+"(base64)", decoded, twinned, deep+1), base64.StdEncoding.EncodeToString)
		same("base64 for URLs", base64.URLEncoding.EncodeToString(decoded))
		same("base64 without padding", strings.TrimRight(text, "="))
		same("base64 with a line's end", text[:4]+"\n"+text[4:])
		if strings.HasSuffix(text, "=") { // bits that nothing decodes to
			last := strings.TrimRight(text, "=")
			same("base64 with bits over", last[:len(last)-1]+string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", last[len(last)-1])^1])+text[len(last):])
		}
		return all
	}
	encoded(edits(at, []byte(text), []byte(other), deep+1), func(b []byte) string { return string(b) })
	return all
}

func unquote(n *node) (s string) {
	if n != nil {
		_ = json.Unmarshal([]byte(n.raw), &s)
	}
	return s
}
