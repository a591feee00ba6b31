package policy

import (
	"crypto/x509"
	"fmt"

	"sluice/engine"
)

// threshold checks how many authorities are asked for. Several are asked for so that several parties have agreed, so the
// engine counts no signer twice; authorities that are plainly one party's are refused here.
func (c *compiler) threshold(n int, authorities []*engine.Authority) int {
	const path, list = "$.spec.threshold", "$.spec.authorities"
	if !c.doc.Has(path) {
		return 1
	}
	able := 0
	for _, a := range authorities {
		if a.Static != engine.StaticFail {
			able++
		}
	}
	switch {
	case n < 1:
		c.fail(path, "must be 1 or more")
		return 1
	case len(authorities) == 0:
		c.errs = append(c.errs, c.doc.KeyErrorf(path, "threshold counts authorities, and there are none"))
		return 1
	case n > able:
		remedy := "name more authorities"
		if able > 0 {
			remedy = fmt.Sprintf("ask for %d, or %s", able, remedy)
		}
		c.fail(path, "an image can satisfy %s at most, so none would pass; %s", plural(able, "authority"), remedy)
		return n
	case n == 1:
		return n
	}
	for i, a := range authorities {
		here := fmt.Sprintf("%s[%d]", list, i)
		a.Distinct = a.Static == engine.StaticNone
		if a.Static == engine.StaticPass {
			c.fail(here, "this authority passes every image, so it would count without anybody having vouched; leave it out and ask for %d", n-1)
		}
		for j := range i {
			if what := shared(authorities[j], a); what != "" {
				line, _ := c.doc.Position(fmt.Sprintf("%s[%d]", list, j))
				c.fail(here, "%s could satisfy this authority and the one on line %d, and would count twice; put both in one authority, or make two policies, which must both pass", what, line)
			}
		}
	}
	return n
}

// shared names a party that can satisfy two authorities, as far as can be told from what they are made of.
func shared(a, b *engine.Authority) string {
	if a.Trust == nil || b.Trust == nil {
		return ""
	}
	keys := map[string]bool{}
	for _, key := range a.Trust.Keys {
		if der, err := x509.MarshalPKIXPublicKey(key); err == nil {
			keys[string(der)] = true
		}
	}
	for _, key := range b.Trust.Keys {
		if der, err := x509.MarshalPKIXPublicKey(key); err == nil && keys[string(der)] {
			return "the holder of one key"
		}
	}
	for _, x := range a.Identities {
		for _, y := range b.Identities {
			if x.Issuer.String() == y.Issuer.String() && x.Subject.String() == y.Subject.String() {
				return fmt.Sprintf("%q", x.Subject.String())
			}
		}
	}
	return ""
}
