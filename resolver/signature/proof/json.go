package proof

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// encoding/json takes the last of two members of one name and "Critical" for "critical", so that two readers of one
// text may read two things. What is signed is therefore read with a reader of our own, that finds members by their
// exact name and refuses a second of one name.

// checkJSON tells whether raw is one JSON value in UTF-8, nested at most depth deep, of at most elements values; 0 means
// any number.
func checkJSON(raw []byte, depth, elements int) error {
	if !utf8.Valid(raw) {
		return errors.New("it is not UTF-8")
	}
	deepest, values := shape(raw)
	switch {
	case deepest > depth:
		return fmt.Errorf("it is nested more than %d deep", depth)
	case elements > 0 && values > elements:
		return fmt.Errorf("it has more than %d values", elements)
	case !json.Valid(raw):
		return errors.New("it is not JSON")
	}
	return nil
}

// shape returns how deeply raw nests and about how many values it has, without believing that it is JSON.
func shape(raw []byte) (deepest, values int) {
	depth, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			values++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		case c == ',':
			values++
		}
	}
	return deepest, values
}

// walker walks through the rest of what is known to be valid JSON.
type walker struct{ rest []byte }

// object reads an object, calling read for each member to read its value. Two members of one name are an error.
func (w *walker) object(read func(name string) error) error {
	if !w.take('{') {
		return errors.New("an object was expected")
	}
	var seen map[string]bool
	for !w.take('}') {
		name, err := text(w.value())
		if err != nil {
			return err
		}
		switch {
		case seen == nil:
			seen = make(map[string]bool)
		case seen[name]:
			return fmt.Errorf("two members %.64q", name)
		case len(seen) == maxMembers:
			return fmt.Errorf("more than %d members", maxMembers)
		}
		seen[name] = true
		w.take(':')
		if err := read(name); err != nil {
			return err
		}
		w.take(',')
	}
	return nil
}

// array reads an array, calling read for each element to read it.
func (w *walker) array(read func(i int) error) error {
	if !w.take('[') {
		return errors.New("an array was expected")
	}
	for i := 0; !w.take(']'); i++ {
		if err := read(i); err != nil {
			return err
		}
		w.take(',')
	}
	return nil
}

// text reads a string.
func (w *walker) text() (string, error) { return text(w.value()) }

// null goes past a null, if that is what comes next.
func (w *walker) null() bool {
	if w.peek() != 'n' {
		return false
	}
	w.value()
	return true
}

// peek returns the next byte that is no blank; 0 at the end.
func (w *walker) peek() byte {
	for i, c := range w.rest {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			w.rest = w.rest[i:]
			return c
		}
	}
	return 0
}

// take goes past the next byte if it is c.
func (w *walker) take(c byte) bool {
	ok := w.peek() == c
	if ok {
		w.rest = w.rest[1:]
	}
	return ok
}

// value goes past the next value, and returns it.
func (w *walker) value() []byte {
	w.peek()
	depth, quoted := 0, false
	for i := 0; i < len(w.rest); i++ {
		switch c := w.rest[i]; {
		case quoted && c == '\\':
			i++
			continue
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if depth == 0 && !quoted && w.ends(i+1) {
			v := w.rest[:i+1]
			w.rest = w.rest[i+1:]
			return v
		}
	}
	return []byte{0} // not in valid JSON
}

// ends tells whether a value that has begun and has no bracket or string open is over before rest[i].
func (w *walker) ends(i int) bool {
	return i >= len(w.rest) || strings.IndexByte(" \t\r\n,:]}", w.rest[i]) >= 0
}

// text returns what a JSON string says.
func text(raw []byte) (s string, err error) {
	switch {
	case raw[0] != '"':
		return "", errors.New("a string was expected")
	case bytes.IndexByte(raw, '\\') < 0:
		return string(raw[1 : len(raw)-1]), nil
	}
	err = json.Unmarshal(raw, &s)
	return s, err
}

// annotations reads an object of annotations. A string stands for itself and any other value for its compact JSON, so
// that a policy can ask for count: "3" or draft: "false".
func (w *walker) annotations() (map[string]string, error) {
	var all map[string]string
	err := w.object(func(name string) error {
		raw := w.value()
		var value string
		var err error
		if raw[0] == '"' {
			value, err = text(raw)
		} else {
			var compact bytes.Buffer
			err = json.Compact(&compact, raw)
			value = compact.String()
		}
		if err != nil || len(all) == maxClaims || len(name) > maxClaim || len(value) > maxClaim {
			return err
		}
		if all == nil {
			all = make(map[string]string)
		}
		all[name] = value
		return nil
	})
	return all, err
}
