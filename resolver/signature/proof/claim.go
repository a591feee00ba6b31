package proof

import (
	"errors"
	"fmt"

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

// parseClaim reads a simple signing payload. As the specification asks, anything but exactly the known members of
// critical is refused; so are two members of one name, text that is not UTF-8, and anything after the end.
func parseClaim(raw []byte) (claim, error) {
	if err := checkJSON(raw, maxDepth, 0); err != nil {
		return claim{}, fmt.Errorf("the payload is no simple signing claim: %w", err)
	}
	p := claimParser{walker: walker{raw}}
	if err := p.object(p.top); err != nil {
		return claim{}, fmt.Errorf("the payload is no simple signing claim: %w", err)
	}
	return p.claim, nil
}

type claimParser struct {
	walker
	claim claim
}

func (p *claimParser) top(name string) (err error) {
	switch name {
	case "critical":
		return p.object(p.critical)
	case "optional":
		if p.null() { // cosign writes it where there are no annotations
			return nil
		}
		p.claim.annotations, err = p.walker.annotations()
		return err
	}
	return unknownMember(name)
}

func (p *claimParser) critical(name string) (err error) {
	switch name {
	case "type":
		p.claim.kind, err = p.text()
		return err
	case "image":
		return p.only("docker-manifest-digest", &p.claim.digest)
	case "identity":
		return p.only("docker-reference", &p.claim.reference)
	}
	return unknownMember(name)
}

// only reads an object with one member.
func (p *claimParser) only(member string, into *string) error {
	return p.object(func(name string) (err error) {
		if name != member {
			return unknownMember(name)
		}
		*into, err = p.text()
		return err
	})
}

func unknownMember(name string) error {
	if name == "" {
		return errors.New("an unknown member without a name")
	}
	return fmt.Errorf("an unknown member %.64q", name)
}
