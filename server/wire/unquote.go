package wire

import (
	"unicode/utf16"
	"unicode/utf8"
)

// unquote returns what the inside of a JSON string says, in which every escape is known to be well-formed: with escapes
// resolved, and with U+FFFD in place of bytes that are not UTF-8 and of halves of surrogate pairs.
//
// No escape is shorter than what it stands for, so the result is written over s. Only a byte that is not UTF-8 grows,
// to three; where that does not fit into what escapes before it have freed, the result moves to the scratch. It fails
// if it would have to and there is no room left. The apiserver sends no such bytes.
func (r *reader) unquote(s []byte) ([]byte, bool) {
	dst := s[:0:len(s)]
	base := -1 // where in the scratch the result begins; negative while it is written over s
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\\':
			c = s[i+1]
			i += 2
			if c != 'u' {
				dst = append(dst, unescape(c))
				continue
			}
			char := hex4(s[i:])
			i += 4
			if utf16.IsSurrogate(char) && len(s)-i >= len(`\u0000`) && s[i] == '\\' && s[i+1] == 'u' {
				if pair := utf16.DecodeRune(char, hex4(s[i+2:])); pair != utf8.RuneError {
					char = pair
					i += len(`\u0000`)
				}
			}
			dst = utf8.AppendRune(dst, char) // U+FFFD for half a pair
		case c < utf8.RuneSelf:
			start := i
			for i++; i < len(s) && s[i] != '\\' && s[i] < utf8.RuneSelf; {
				i++
			}
			dst = append(dst, s[start:i]...)
		default:
			char, size := utf8.DecodeRune(s[i:])
			if char == utf8.RuneError && size == 1 && base < 0 && len(dst)+3 > i+1 {
				base = len(r.scratch)
				if base+len(dst)+3*(len(s)-i) > maxScratch {
					return nil, false
				}
				dst = append(r.scratch, dst...)
			}
			i += size
			dst = utf8.AppendRune(dst, char)
		}
	}
	if base >= 0 {
		r.scratch = dst
		dst = dst[base:]
	}
	return dst, true
}

// unescape returns the character that a backslash and c stand for.
func unescape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c // the quote, the backslash and the slash
}
