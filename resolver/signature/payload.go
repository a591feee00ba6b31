package signature

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
// refused; so are two members of one name, text that is not UTF-8, and anything after the end.
func parseClaim(raw []byte) (claim, error) {
	switch {
	case !utf8.Valid(raw):
		return claim{}, errors.New("the payload is not UTF-8")
	case tooDeep(raw):
		return claim{}, fmt.Errorf("the payload is nested more than %d deep", maxDepth)
	case !json.Valid(raw):
		return claim{}, errors.New("the payload is not JSON")
	}
	p := claimParser{rest: raw}
	if err := p.object("", p.member); err != nil {
		return claim{}, fmt.Errorf("the payload is no simple signing claim: %w", err)
	}
	return p.claim, nil
}

// claimParser walks through the rest of what is known to be valid JSON.
type claimParser struct {
	rest  []byte
	claim claim
	seen  [len(claimMembers)]bool
}

// place is where a member stands: its object's name and its own.
type place struct{ object, name string }

// claimMembers are the members that a claim may have, each at most once.
var claimMembers = [...]place{
	{"", "critical"},
	{"critical", "type"},
	{"critical", "image"},
	{"image", "docker-manifest-digest"},
	{"critical", "identity"},
	{"identity", "docker-reference"},
	{"", "optional"},
}

// member reads one member of the claim proper.
func (p *claimParser) member(at place) (err error) {
	i := slices.Index(claimMembers[:], at)
	if i < 0 || p.seen[i] {
		return fmt.Errorf("an unknown or second member %.64q", at.name)
	}
	p.seen[i] = true
	switch at.name {
	case "type":
		p.claim.kind, err = text(p.value())
	case "docker-manifest-digest":
		p.claim.digest, err = text(p.value())
	case "docker-reference":
		p.claim.reference, err = text(p.value())
	case "optional":
		if p.peek() == 'n' { // null: cosign writes it where there are no annotations
			p.value()
			return nil
		}
		seen := make(map[string]bool)
		err = p.object("", func(at place) error { return p.annotation(at.name, seen) })
	default:
		err = p.object(at.name, p.member)
	}
	return err
}

// annotation copies one of the signer's own claims out of the payload. A string stands for itself and any other value for
// its compact JSON, so that a policy can ask for count: "3" or draft: "false".
func (p *claimParser) annotation(name string, seen map[string]bool) error {
	if seen[name] {
		return fmt.Errorf("two annotations %.64q", name)
	}
	seen[name] = true
	raw := p.value()
	var value string
	var err error
	if raw[0] == '"' {
		value, err = text(raw)
	} else {
		var compact bytes.Buffer
		err = json.Compact(&compact, raw)
		value = compact.String()
	}
	if err != nil || len(p.claim.annotations) == maxAnnotations || len(name) > maxAnnotation || len(value) > maxAnnotation {
		return err
	}
	if p.claim.annotations == nil {
		p.claim.annotations = make(map[string]string)
	}
	p.claim.annotations[name] = value
	return nil
}

// object reads an object, calling read for each member, to read its value.
func (p *claimParser) object(name string, read func(place) error) error {
	if !p.take('{') {
		return errors.New("an object was expected")
	}
	for !p.take('}') {
		member, err := text(p.value())
		if err != nil {
			return err
		}
		p.take(':')
		if err := read(place{name, member}); err != nil {
			return err
		}
		p.take(',')
	}
	return nil
}

// peek returns the next byte that is no blank; 0 at the end.
func (p *claimParser) peek() byte {
	for i, c := range p.rest {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			p.rest = p.rest[i:]
			return c
		}
	}
	return 0
}

// take goes past the next byte if it is c.
func (p *claimParser) take(c byte) bool {
	ok := p.peek() == c
	if ok {
		p.rest = p.rest[1:]
	}
	return ok
}

// value goes past the next value, and returns it.
func (p *claimParser) value() []byte {
	p.peek()
	depth, quoted := 0, false
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
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
		if depth == 0 && !quoted && p.ends(i+1) {
			v := p.rest[:i+1]
			p.rest = p.rest[i+1:]
			return v
		}
	}
	return []byte{0} // not in valid JSON
}

// ends tells whether a value that has begun and has no bracket or string open is over before rest[i].
func (p *claimParser) ends(i int) bool {
	return i >= len(p.rest) || strings.IndexByte(" \t\r\n,:]}", p.rest[i]) >= 0
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
