package client

import (
	"encoding/json"

	"sluice/bench"
)

// answerOf is what the plugin makes of an answer. Of statuses it takes these six for success.
func answerOf(status int, body []byte) bench.Answer {
	a := bench.Answer{Status: status}
	switch status {
	case 200, 201, 202, 203, 205, 206:
		a.Allowed, a.Verdict = verdictOf(body)
	}
	return a
}

// verdictOf reads an ImageReview as the plugin does: a verdict is a JSON document, with nothing behind it, of the right
// kind and version where it has any; what does not say status.allowed is a denial, and null is too. The types of
// other fields are not checked.
func verdictOf(body []byte) (allowed, ok bool) {
	s := scanner{text: body}
	s.space()
	if s.peek() == '{' {
		ok = s.members(inReview, 1)
	} else {
		ok = s.word("null")
	}
	s.space()
	if !ok || s.at != len(s.text) {
		return false, false
	}
	return s.allowed, true
}

// maxDepth is encoding/json's.
const maxDepth = 10_000

// scanner goes through a JSON document. Its methods return whether the text is JSON, and as expected.
type scanner struct {
	text    []byte
	at      int
	allowed bool
}

// place is where in the document an object stands.
type place uint8

const (
	inReview place = iota
	inStatus
	elsewhere
)

func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) word(w string) bool {
	if len(s.text)-s.at < len(w) || string(s.text[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

// next is whether the next token is this character, which is then passed.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// members passes an object.
func (s *scanner) members(where place, depth int) bool {
	s.at++ // {
	if s.next('}') {
		return true
	}
	for {
		s.space()
		name, ok := s.str()
		if !ok || !s.next(':') {
			return false
		}
		s.space()
		if !s.member(where, name, depth) {
			return false
		}
		if s.next('}') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
}

// member passes a value, and notes or checks it if it is one that matters. Names are told apart by case, and a later
// member of the same name changes what an earlier one said.
func (s *scanner) member(where place, name []byte, depth int) bool {
	if s.word("null") {
		return true // as good as absent
	}
	switch {
	case where == inReview && string(name) == "kind":
		value, ok := s.str()
		return ok && (string(value) == "ImageReview" || len(value) == 0)
	case where == inReview && string(name) == "apiVersion":
		value, ok := s.str()
		return ok && (string(value) == "imagepolicy.k8s.io/v1alpha1" || len(value) == 0)
	case where == inReview && string(name) == "status":
		return s.peek() == '{' && s.members(inStatus, depth+1)
	case where == inStatus && string(name) == "allowed":
		s.allowed = s.word("true")
		return s.allowed || s.word("false")
	}
	return s.value(depth)
}

// value passes any value.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); c {
	case '"':
		_, ok := s.skip()
		return ok
	case '{':
		return depth < maxDepth && s.members(elsewhere, depth+1)
	case '[':
		return depth < maxDepth && s.elements(depth+1)
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	return s.number()
}

// elements passes an array.
func (s *scanner) elements(depth int) bool {
	s.at++ // [
	if s.next(']') {
		return true
	}
	for {
		s.space()
		if !s.value(depth) {
			return false
		}
		if s.next(']') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
}

func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return false
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	begin := s.at
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.at++
	}
	return s.at > begin
}

// str passes a string and returns what it says.
func (s *scanner) str() ([]byte, bool) {
	begin := s.at
	escaped, ok := s.skip()
	switch {
	case !ok:
		return nil, false
	case escaped: // which is rare where it matters what a string says
		var text string
		err := json.Unmarshal(s.text[begin:s.at], &text)
		return []byte(text), err == nil
	}
	return s.text[begin+1 : s.at-1], true
}

// skip passes a string.
func (s *scanner) skip() (escaped, ok bool) {
	if s.peek() != '"' {
		return false, false
	}
	for i := s.at + 1; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			s.at = i + 1
			return escaped, true
		case c == '\\':
			escaped = true
			n := escape(s.text[i:])
			if n == 0 {
				return false, false
			}
			i += n - 1
		case c < ' ':
			return false, false
		}
	}
	return false, false
}

// escape returns how long the escape is that a text begins with, or 0 if it is none.
func escape(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(text) < 6 {
			return 0
		}
		for _, c := range text[2:6] {
			if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}
