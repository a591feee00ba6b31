package proof_test

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
)

// tlv is a DER element. What an OCTET STRING or a BIT STRING encapsulates counts as its kids.
type tlv struct {
	tag    byte
	prefix []byte // a BIT STRING's unused bits, before what it encapsulates
	kids   []*tlv
	value  []byte // if there are no kids
	long   bool   // its length is written longer than it must be, which is BER
	lie    int    // added to the length
}

func (e *tlv) write(b *bytes.Buffer) {
	var content bytes.Buffer
	content.Write(e.prefix)
	for _, k := range e.kids {
		k.write(&content)
	}
	content.Write(e.value)
	b.WriteByte(e.tag)
	switch n := content.Len() + e.lie; {
	case e.long || n > 0xffff || n < 0:
		b.Write([]byte{0x84, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	case n > 0xff:
		b.Write([]byte{0x82, byte(n >> 8), byte(n)})
	case n > 0x7f:
		b.Write([]byte{0x81, byte(n)})
	default:
		b.WriteByte(byte(n))
	}
	b.Write(content.Bytes())
}

func (e *tlv) bytes() []byte {
	var b bytes.Buffer
	e.write(&b)
	return b.Bytes()
}

// parseDER returns the elements that raw is made of; nil if it is none.
func parseDER(raw []byte) []*tlv {
	var all []*tlv
	for len(raw) > 0 {
		if len(raw) < 2 || raw[0]&0x1f == 0x1f || raw[0] == 0 {
			return nil
		}
		e, length, head := &tlv{tag: raw[0]}, int(raw[1]), 2
		if length >= 0x80 {
			size := length & 0x7f
			if size == 0 || size > 3 || len(raw) < 2+size {
				return nil
			}
			length, head = 0, 2+size
			for _, c := range raw[2:head] {
				length = length<<8 | int(c)
			}
		}
		if len(raw) < head+length {
			return nil
		}
		content := raw[head : head+length]
		switch raw = raw[head+length:]; {
		case e.tag&0x20 != 0:
			if e.kids = parseDER(content); e.kids == nil && length > 0 {
				return nil
			}
		case e.tag == 4:
			e.kids = parseDER(content)
		case e.tag == 3 && length > 1 && content[0] == 0:
			if e.kids = parseDER(content[1:]); e.kids != nil {
				e.prefix = content[:1]
			}
		}
		if e.kids == nil {
			e.value = content
		}
		all = append(all, e)
	}
	return all
}

// derEdits lists changes of every element of DER, with all lengths around it set right.
func derEdits(where string, raw, twin []byte) []edit {
	var all []edit
	top := &tlv{kids: parseDER(raw)}
	document := func() []byte {
		var b bytes.Buffer
		for _, k := range top.kids {
			k.write(&b)
		}
		return b.Bytes()
	}
	var walk func(at string, parent *tlv, i int, twin *tlv)
	walk = func(at string, parent *tlv, i int, twin *tlv) {
		e := parent.kids[i]
		put := func(how string, with func() []*tlv) {
			all = append(all, edit{at, how, func() []byte {
				kids := parent.kids
				parent.kids = slices.Concat(kids[:i:i], with(), kids[i+1:])
				defer func() { parent.kids = kids }()
				return document()
			}})
		}
		changed := func(how string, change func(e *tlv)) {
			put(how, func() []*tlv { c := *e; change(&c); return []*tlv{&c} })
		}
		put("delete", func() []*tlv { return nil })
		put("twice", func() []*tlv { return []*tlv{e, e} })
		put("is NULL", func() []*tlv { return []*tlv{{tag: 5}} })
		changed("empty", func(e *tlv) { e.kids, e.prefix, e.value = nil, nil, nil })
		changed("another tag", func(e *tlv) { e.tag ^= 1 })
		changed("another class", func(e *tlv) { e.tag ^= 0x80 })
		changed("length too long", func(e *tlv) { e.lie = 1 })
		changed("length huge", func(e *tlv) { e.lie = 1 << 30 })
		changed("length in BER", func(e *tlv) { e.long = true })
		if twin != nil && !bytes.Equal(twin.bytes(), e.bytes()) {
			put("twin", func() []*tlv { return []*tlv{twin} })
		}
		if e.kids == nil {
			for _, b := range byteEdits("", e.value, nil) {
				changed(b.how, func(e *tlv) { e.value = b.make() })
			}
		}
		for j := range e.kids {
			var below *tlv
			if twin != nil && j < len(twin.kids) {
				below = twin.kids[j]
			}
			walk(fmt.Sprintf("%s/%d", at, j), e, j, below)
		}
	}
	twins := parseDER(twin)
	for i := range top.kids {
		var below *tlv
		if i < len(twins) {
			below = twins[i]
		}
		walk(where+"(der)", top, i, below)
	}
	return all
}

// pemEdits lists changes of PEM's text and of what it encodes. A chain's blocks are taken one by one.
func pemEdits(where string, raw, twin []byte, deep int) []edit {
	var blocks, twins []*pem.Block
	for rest := raw; ; {
		b, after := pem.Decode(rest)
		if b == nil {
			break
		}
		blocks, rest = append(blocks, b), after
	}
	for rest := twin; ; {
		b, after := pem.Decode(rest)
		if b == nil {
			break
		}
		twins, rest = append(twins, b), after
	}
	var all []edit
	whole := func(how, text string) { all = append(all, edit{where, how, func() []byte { return []byte(text) }}) }
	text := string(raw)
	whole("text before", "some text\n"+text)
	whole("text after", text+"\nsome text")
	whole("lines' ends after", text+"\n\r\n")
	whole("lines' ends as of Windows", strings.ReplaceAll(text, "\n", "\r\n"))
	whole("twice", text+"\n"+text)
	whole("half", text[:len(text)/2])
	whole("blank", "")
	whole("one blank", " ")
	whole("first line alone", strings.SplitAfter(text, "\n")[0])
	for i, b := range blocks {
		at := where
		if len(blocks) > 1 {
			at = fmt.Sprintf("%s[%d]", where, i)
		}
		with := func(how string, change func(b *pem.Block) []*pem.Block) {
			all = append(all, edit{at, how, func() []byte {
				var out []byte
				c := *b
				for _, b := range slices.Concat(blocks[:i:i], change(&c), blocks[i+1:]) {
					out = append(out, pem.EncodeToMemory(b)...)
				}
				return out
			}})
		}
		with("delete", func(*pem.Block) []*pem.Block { return nil })
		with("another type", func(b *pem.Block) []*pem.Block { b.Type = "PUBLIC KEY"; return []*pem.Block{b} })
		with("a header", func(b *pem.Block) []*pem.Block { b.Headers = map[string]string{"a": "b"}; return []*pem.Block{b} })
		var below []byte
		if i < len(twins) {
			below = twins[i].Bytes
		}
		for _, e := range edits(at+"(pem)", b.Bytes, below, deep+1) {
			with(e.how, func(b *pem.Block) []*pem.Block { b.Bytes = e.make(); return []*pem.Block{b} })
			all[len(all)-1].where = e.where
		}
	}
	return all
}

// noteEdits lists changes of a signed note's lines.
func noteEdits(where string, raw, twin []byte) []edit {
	var all []edit
	lines, twins := strings.Split(string(raw), "\n"), strings.Split(string(twin), "\n")
	for i, line := range lines {
		at := fmt.Sprintf("%s line %d", where, i)
		put := func(how string, with ...string) {
			all = append(all, edit{at, how, func() []byte {
				return []byte(strings.Join(slices.Concat(lines[:i:i], with, lines[i+1:]), "\n"))
			}})
		}
		put("delete")
		put("twice", line, line)
		put("a line before", "more", line)
		put("a blank after", line+" ")
		put("a character more", line+"A")
		put("a zero before", "0"+line)
		if i < len(twins) && twins[i] != line {
			put("twin", twins[i])
		}
	}
	return all
}
