package signature

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"sluice/engine"
)

// claimType is what critical.type says in everything that cosign signs.
const claimType = "cosign container image signature"

// claim is what a signed payload says, in the form of containers-signature(5), "JSON data format":
//
//	{"critical": {"identity": {"docker-reference": "…"}, "image": {"docker-manifest-digest": "…"}, "type": "…"},
//	 "optional": {…}}
type claim struct {
	kind        string
	digest      string
	reference   string
	annotations map[string]string
}

// check tells whether c is about the image with this digest. The error names what it is about instead.
func (c *claim) check(digest engine.Digest) error {
	switch {
	case c.kind != claimType:
		return fmt.Errorf("the payload is of type %.64q", c.kind)
	case c.digest != string(digest):
		return fmt.Errorf("the payload is for %.80q", c.digest)
	}
	return nil
}

// parseClaim reads a signed payload. Only call it once the signature has been verified.
//
// encoding/json takes the last of two members of one name and "Critical" for "critical", so that two readers of one
// payload may see two digests. As the specification asks, anything but exactly the known members of critical is
// refused; so are two members whose names differ in case only, text that is not UTF-8, and anything after the end.
func parseClaim(raw []byte) (claim, error) {
	var c claim
	if !utf8.Valid(raw) {
		return c, errors.New("the payload is not UTF-8")
	}
	if tooDeep(raw) {
		return c, fmt.Errorf("the payload is nested more than %d deep", maxDepth)
	}
	err := members(raw, fields{
		"critical": func(v json.RawMessage) error {
			return members(v, fields{
				"type": text(&c.kind),
				"image": func(v json.RawMessage) error {
					return members(v, fields{"docker-manifest-digest": text(&c.digest)}.exactly)
				},
				"identity": func(v json.RawMessage) error {
					return members(v, fields{"docker-reference": text(&c.reference)}.exactly)
				},
			}.exactly)
		},
		"optional": func(v json.RawMessage) (err error) {
			c.annotations, err = annotations(v)
			return err
		},
	}.exactly)
	if err != nil {
		return claim{}, fmt.Errorf("the payload is no simple signing claim: %w", err)
	}
	return c, nil
}

// annotations copies the signer's own claims out of the payload, in the order in which they stand. A string stands
// for itself and any other value for its compact JSON, so that a policy can ask for count: "3" or draft: "false".
func annotations(raw json.RawMessage) (map[string]string, error) {
	if string(raw) == "null" { // cosign writes it where there are none
		return nil, nil
	}
	var all map[string]string
	seen := make(map[string]bool)
	err := members(raw, func(name string, v json.RawMessage) error {
		if seen[name] {
			return fmt.Errorf("two annotations %.64q", name)
		}
		seen[name] = true
		value := ""
		if v[0] == '"' {
			if err := json.Unmarshal(v, &value); err != nil {
				return err
			}
		} else {
			var compact bytes.Buffer
			if err := json.Compact(&compact, v); err != nil {
				return err
			}
			value = compact.String()
		}
		if len(all) == maxAnnotations || len(name) > maxAnnotation || len(value) > maxAnnotation {
			return nil
		}
		if all == nil {
			all = make(map[string]string)
		}
		all[name] = value
		return nil
	})
	return all, err
}

// fields are the members that an object may have, each with what reads its value.
type fields map[string]func(json.RawMessage) error

// exactly reads one member, which must be a known one and must not come twice. It takes itself out of f for that.
func (f fields) exactly(name string, v json.RawMessage) error {
	read, ok := f[name]
	if !ok {
		return fmt.Errorf("an unknown or second member %.64q", name)
	}
	delete(f, name)
	return read(v)
}

// text reads a JSON string. encoding/json would take null for no change.
func text(to *string) func(json.RawMessage) error {
	return func(v json.RawMessage) error {
		if v[0] != '"' {
			return errors.New("a string was expected")
		}
		return json.Unmarshal(v, to)
	}
}

// members calls read for every member of the object in raw, in order. The values are valid JSON without blanks
// around them, and share no memory with raw.
func members(raw []byte, read func(name string, v json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil {
		return err
	} else if t != json.Delim('{') {
		return errors.New("an object was expected")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return errors.New("a member's name was expected")
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return err
		}
		if err := read(name, v); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if rest := raw[d.InputOffset():]; strings.TrimLeft(string(rest), " \t\r\n") != "" {
		return errors.New("there is more after the end")
	}
	return nil
}

// tooDeep tells whether raw nests deeper than maxDepth. What is not JSON is for others to refuse.
func tooDeep(raw []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
