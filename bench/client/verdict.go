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
		_, ok := s.str()
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
	if s.peek() != '"' {
		return nil, false
	}
	begin := s.at + 1
	escaped := false
	for i := begin; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			s.at = i + 1
			if escaped {
				return unescape(s.text[begin-1 : s.at])
			}
			return s.text[begin:i], true
		case c == '\\':
			escaped = true
			i++ // a quote behind it does not end the string
		case c < ' ':
			return nil, false
		}
	}
	return nil, false
}

// unescape is for the few strings with a backslash: it may take its time.
func unescape(quoted []byte) ([]byte, bool) {
	var text string
	err := json.Unmarshal(quoted, &text)
	return []byte(text), err == nil
}
