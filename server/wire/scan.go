package wire

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

const (
	maxDepth   = 10_000  // arrays and objects within each other, as in encoding/json
	maxScratch = 1 << 20 // bytes of strings that don't fit where they stood in the body
	maxName    = len("ephemeralContainers")

	keptScratch  = 4096 // bytes that are kept for the next body
	keptElements = 64   // of a list, likewise, however few the next bodies need
	leanBodies   = 64   // small bodies in a row after which more than that is given back
)

// reader is what reading any body takes. Its methods read one construct each. They take the offset at which it begins
// and return the one behind it, or a negative number after a call of fail.
type reader struct {
	scratch []byte // strings that are longer than what they were written as
	failure DecodeError

	name     [maxName * len(`\u0000`)]byte // of a member, where it was written with escapes; the longest we know has room
	inObject [maxDepth/64 + 1]uint64       // by depth, one bit each: an object is open there, otherwise an array
}

// DecodeError says why a body is not a review. It holds nothing of the body, so that it can be shown to anyone.
type DecodeError struct {
	Offset  int    // of the byte in the body, from 0, at which decoding stopped
	Message string // a clause such as "a string is not closed"
}

// Error returns the message and the offset.
func (e *DecodeError) Error() string { return e.Message + " (byte " + strconv.Itoa(e.Offset) + ")" }

// fail notes the first, and only, failure of a body.
//
//go:noinline
func (r *reader) fail(at int, message string) int {
	r.failure = DecodeError{Offset: at, Message: message}
	return -1
}

// reset forgets the last body. The capacity stays, within bounds.
func (r *reader) reset() {
	r.failure = DecodeError{}
	if cap(r.scratch) > keptScratch {
		r.scratch = nil
	}
	r.scratch = r.scratch[:0]
}

// emptied returns list with nothing in it, not even beyond its length, which would keep a body alive, and with its
// capacity, within bounds. lean counts the bodies in a row that would have done with less.
func emptied[T any](list []T, lean *int) []T {
	if cap(list) <= keptElements || len(list) > cap(list)/4 {
		*lean = 0
	} else if *lean++; *lean >= leanBodies {
		list = nil
	}
	clear(list)
	return list[:0]
}

// Eight bytes are looked at as one number. Each mask has one byte's value in all eight.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// specials marks the bytes of x that end a run of plain characters in a JSON string: the quote, the backslash and the
// control characters. The lowest mark is exact; those above it may be wrong, because a subtraction borrows upwards.
func specials(x uint64) uint64 {
	// With bit 1 turned over the quote is 0x20 and the space 0x22, and control characters remain below 0x20.
	quote := x ^ (0x02 * ones)
	slash := x ^ ('\\' * ones)
	return ((quote-0x21*ones)&^quote | (slash-ones)&^slash) & highs
}

// areHex tells whether the four bytes of x are hexadecimal digits of either case.
func areHex(x uint32) bool {
	lower := x | 0x20202020
	// For a byte below 0x80, adding 0x80-c sets the high bit if it is at least c; no byte carries into the next.
	digits := (x + 0x50505050) &^ (x + 0x46464646)          // '0' to '9'
	letters := (lower + 0x1f1f1f1f) &^ (lower + 0x19191919) // 'a' to 'f'
	return (digits|letters)&^x&0x80808080 == 0x80808080
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) rune {
	x := binary.BigEndian.Uint32(b)
	x = x&0x0f0f0f0f + 9*(x>>6&0x01010101)
	x = (x | x>>4) & 0x00ff00ff
	return rune((x | x>>8) & 0xffff)
}

// skipSpace returns the offset of the first byte from i on that is no JSON white space, len(b) if there is none.
func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// member reads up to the value of an object's next member: i is behind the opening brace for the first, behind the
// last value for those after it. There are no more behind the closing brace, whose end is returned, and on failure. A
// value is at least one byte away from the end of b. The key is to be used at once.
func (r *reader) member(b []byte, i int, first bool) (key []byte, value int, more bool) {
	i = skipSpace(b, i)
	if i < len(b) && b[i] == '}' {
		return nil, i + 1, false
	}
	if !first {
		if i >= len(b) || b[i] != ',' {
			return nil, r.fail(i, "an object goes on with neither a comma nor a brace"), false
		}
		i = skipSpace(b, i+1)
	}
	if i >= len(b) || b[i] != '"' {
		return nil, r.fail(i, "an object has something else than a quoted name"), false
	}
	start := i + 1
	end, escaped, _ := r.quoted(b, start)
	if end < 0 {
		return nil, end, false
	}
	key = b[start:end]
	if escaped && len(key) <= len(r.name) {
		used := len(r.scratch)
		key, _ = r.unquote(r.name[:copy(r.name[:], key)]) // elsewhere, for what is skipped may be read later
		r.scratch = r.scratch[:used]
	}
	if len(b)-end > 2 && b[end+1] == ':' && b[end+2] > ' ' { // as every encoder writes it that does not indent
		return key, end + 2, true
	}
	if i = skipSpace(b, end+1); i >= len(b) || b[i] != ':' {
		return nil, r.fail(i, "a name in an object has no colon"), false
	}
	if i = skipSpace(b, i+1); i >= len(b) {
		return nil, r.fail(i, "the body ends within an object"), false
	}
	return key, i, true
}

// element reads up to the next element of a list, as member does in an object.
func (r *reader) element(b []byte, i int, first bool) (value int, more bool) {
	i = skipSpace(b, i)
	switch {
	case i < len(b) && b[i] == ']':
		return i + 1, false
	case first:
	case i < len(b) && b[i] == ',':
		i = skipSpace(b, i+1)
	default:
		return r.fail(i, "a list goes on with neither a comma nor a bracket"), false
	}
	if i >= len(b) {
		return r.fail(i, "the body ends within a list"), false
	}
	return i, true
}

// skip reads any value without looking at what it says. depth is the number of objects and lists that are open. It does
// not recurse: what is open is a bit per level in r.
func (r *reader) skip(b []byte, i, depth int) int {
	base := depth
	for {
		// A value begins at i.
		first := false
		switch b[i] {
		case '{', '[':
			if depth++; depth > maxDepth {
				return r.fail(i, "objects and lists are nested too deeply")
			}
			if bit := uint64(1) << (depth % 64); b[i] == '{' {
				r.inObject[depth/64] |= bit
			} else {
				r.inObject[depth/64] &^= bit
			}
			first = true
			i++
		case '"':
			if i, _, _ = r.quoted(b, i+1); i >= 0 {
				i++
			}
		case 't':
			i = r.literal(b, i, "true")
		case 'f':
			i = r.literal(b, i, "false")
		case 'n':
			i = r.literal(b, i, "null")
		default:
			i = r.number(b, i)
		}
		// Something began or ended before i. Go to the next value, out of all that ends here.
		for more := false; !more; first = false {
			if i < 0 || depth == base {
				return i
			}
			if r.inObject[depth/64]>>(depth%64)&1 == 1 {
				_, i, more = r.member(b, i, first)
			} else {
				i, more = r.element(b, i, first)
			}
			if !more {
				depth--
			}
		}
	}
}

// document reads a body up to the brace of its object.
func (r *reader) document(b []byte) int {
	i := skipSpace(b, 0)
	switch {
	case i >= len(b):
		return r.fail(i, "the body is empty")
	case b[i] != '{':
		return r.fail(i, "the body is not a JSON object")
	}
	return i + 1
}

// end reads what is behind the object of a body: nothing.
func (r *reader) end(b []byte, i int) int {
	if i = skipSpace(b, i); i < len(b) {
		return r.fail(i, "there is something behind the JSON document")
	}
	return i
}

// literal reads true, false or null.
func (r *reader) literal(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return r.fail(i, "a value is neither a string nor a number nor true, false or null")
	}
	return i + len(word)
}

// number reads a number by the grammar of RFC 8259, section 6.
func (r *reader) number(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	start := i
	i = skipDigits(b, i)
	switch {
	case i == start:
		return r.fail(i, "a value is not JSON")
	case b[start] == '0' && i > start+1:
		return r.fail(i, "a number begins with a zero")
	}
	if i < len(b) && b[i] == '.' {
		start = i + 1
		if i = skipDigits(b, start); i == start {
			return r.fail(i, "a number has no digits behind its point")
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start = i
		if i = skipDigits(b, start); i == start {
			return r.fail(i, "a number has no digits in its exponent")
		}
	}
	return i
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	return i
}

// text reads a string into dst, or null, which leaves dst alone.
func (r *reader) text(b []byte, i int, dst *string, otherType string) int {
	if b[i] == 'n' {
		return r.literal(b, i, "null")
	}
	if b[i] != '"' {
		return r.fail(i, otherType)
	}
	end, escaped, ascii := r.quoted(b, i+1)
	if end < 0 {
		return end
	}
	s := b[i+1 : end]
	if escaped || !ascii && !utf8.Valid(s) {
		var ok bool
		if s, ok = r.unquote(s); !ok {
			return r.fail(i, "there is too much text that is not UTF-8")
		}
	}
	*dst = unsafe.String(unsafe.SliceData(s), len(s)) // lives as long as the body and r are left alone, see [Review]
	return end + 1
}

// quoted reads a string from behind its opening quote. It returns the offset of the closing quote, whether there are
// escapes, which it has checked, and whether all of it is ASCII. Bytes that are not UTF-8 pass.
func (r *reader) quoted(b []byte, i int) (end int, escaped, ascii bool) {
	var seen uint64 // by or
	for {
		// Find the next byte that is not plain.
		if len(b)-i >= 8 {
			x := binary.LittleEndian.Uint64(b[i:])
			m := specials(x)
			if m == 0 {
				seen |= x
				i += 8
				continue
			}
			seen |= x & (m&-m - 1) // the bytes before it
			i += bits.TrailingZeros64(m) / 8
		} else {
			for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' ' {
				seen |= uint64(b[i])
				i++
			}
			if i >= len(b) {
				return r.fail(i, "a string is not closed"), false, false
			}
		}
		switch b[i] {
		case '"':
			return i, escaped, seen&highs == 0
		case '\\':
			escaped = true
			if i = r.escapes(b, i); i < 0 {
				return i, false, false
			}
		default:
			return r.fail(i, "a string holds a control character that is not escaped"), false, false
		}
	}
}

// escapes reads a run of escapes, and checks them.
func (r *reader) escapes(b []byte, i int) int {
	for {
		for len(b)-i >= 8 { // most come as many \u in a row
			x := binary.LittleEndian.Uint64(b[i:])
			if uint16(x) != '\\'|'u'<<8 || !areHex(uint32(x>>16)) {
				break
			}
			i += len(`\u0000`)
		}
		if i >= len(b) || b[i] != '\\' {
			return i
		}
		if i++; i >= len(b) {
			return i
		}
		switch b[i] {
		case 'u':
			if len(b)-i < len(`u0000`) {
				return r.fail(i, "a string is not closed")
			}
			if !areHex(binary.LittleEndian.Uint32(b[i+1:])) {
				return r.fail(i, "a string has \\u without four hexadecimal digits")
			}
			i += len(`u0000`)
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i++
		default:
			return r.fail(i, "a string has an escape that JSON does not know")
		}
	}
}
