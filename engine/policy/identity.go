package policy

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"sluice/engine"
)

// Bounds of an authority's identities.
const (
	maxIdentities   = 64
	maxIdentityText = 1024 // bytes of one rule
)

// identities compiles who may have signed. Without any, everybody whom the certificate authority knows could, so that is
// an error.
func (c *compiler) identities(path string, list []Identity, needIssuer bool) []engine.Identity {
	switch {
	case c.missing(path, "without them, a signature of anybody would do; name who may sign"):
		return nil
	case len(list) == 0:
		c.fail(path, "the list is empty, so a signature of anybody would do; name who may sign")
	case len(list) > maxIdentities:
		c.fail(path, "there are at most %d identities in an authority", maxIdentities)
		return nil
	}
	var compiled []engine.Identity
	seen := map[string]string{}
	for i, w := range list {
		here, before := fmt.Sprintf("%s[%d]", path, i), len(c.errs)
		id := engine.Identity{
			Issuer:  c.rule(here, "issuer", w.Issuer, w.IssuerRegExp),
			Subject: c.rule(here, "subject", w.Subject, w.SubjectRegExp),
		}
		if issuer := id.Issuer.Exact; needIssuer && issuer != "" && len(c.errs) == before && !isAddress(issuer) {
			c.fail(here+".issuer", "an issuer begins with https://%s", meantAddress(issuer))
		}
		hasIssuer := c.doc.Has(here+".issuer") || c.doc.Has(here+".issuerRegExp")
		hasSubject := c.doc.Has(here+".subject") || c.doc.Has(here+".subjectRegExp")
		switch {
		case needIssuer && !hasIssuer:
			c.fail(here, "this identity has neither issuer nor issuerRegExp, and the same name from another identity provider is somebody else's; add issuer: https://…")
		case !hasSubject:
			c.fail(here, "this identity has neither subject nor subjectRegExp, so it is everybody's")
		case matchesAll(id.Subject.Regexp) && (!hasIssuer || matchesAll(id.Issuer.Regexp)):
			c.fail(here, "this identity is everybody's; say who may sign")
		}
		if len(c.errs) == before {
			c.twice(seen, id.Issuer.String()+"\n"+id.Subject.String(), here, "this identity is there already, on line %d")
		}
		compiled = append(compiled, id)
	}
	return compiled
}

// rule compiles the exact form of a rule or its regular expression, whichever is there.
func (c *compiler) rule(path, field, exact, expression string) engine.Pattern {
	at, atExpression := path+"."+field, path+"."+field+"RegExp"
	text := exact
	switch {
	case c.doc.Has(at) && c.doc.Has(atExpression):
		c.errs = append(c.errs, c.doc.KeyErrorf(atExpression, "an identity has %s or %sRegExp, not both; make two identities of it", field, field))
		return engine.Pattern{}
	case c.doc.Has(atExpression):
		at, text = atExpression, expression
	case !c.doc.Has(at):
		return engine.Pattern{}
	}
	switch {
	case text == "":
		c.fail(at, "the %s is empty", field)
	case len(text) > maxIdentityText:
		c.fail(at, "the %s is at most %d bytes", field, maxIdentityText)
	case at == atExpression:
		re, err := anchored(text)
		if err != nil {
			c.fail(at, "%v", err)
		}
		return engine.Pattern{Regexp: re}
	case strings.HasPrefix(text, "^") || strings.HasSuffix(text, "$"):
		c.fail(at, "this is compared as it stands; for a regular expression, write %sRegExp", field)
	case strings.Contains(text, "*"):
		c.fail(at, "this is compared as it stands, and * is no wildcard; write %sRegExp, in which .* is any text", field)
	}
	return engine.Pattern{Exact: text}
}

// isAddress tells whether a name can be that of an OpenID Connect identity provider.
func isAddress(issuer string) bool {
	return strings.HasPrefix(issuer, "https://") || strings.HasPrefix(issuer, "http://")
}

// meantAddress is a question for those who left the scheme out.
func meantAddress(issuer string) string {
	if strings.Contains(issuer, "://") || !strings.Contains(issuer, ".") {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", "https://"+issuer)
}

// anchored compiles a regular expression that matches whole texts only. That it begins with ^ and ends with $ is not
// enough: ^a|b$ matches what begins with a or ends with b, and (?m) makes both match at every line.
func anchored(text string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("this is no regular expression (RE2): %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("this is no regular expression (RE2): %w", err)
	}
	if fixed(parsed, false) && fixed(parsed, true) {
		return re, nil
	}
	whole := literalDots(strings.TrimSuffix(strings.TrimPrefix(text, "^"), "$"))
	switch {
	case parsed.Op == syntax.OpAlternate:
		return nil, fmt.Errorf("this regular expression does not match the whole text, since ^ and $ are part of single alternatives; write ^(%s)$", whole)
	case strings.HasPrefix(text, "^") && strings.HasSuffix(text, "$"), strings.HasPrefix(text, "(?"):
		return nil, errors.New("this regular expression does not match the whole text; it must begin with ^ and end with $, and both mean that without the flag m")
	}
	return nil, fmt.Errorf("this regular expression does not match the whole text; write ^%s$", whole)
}

// literalDots escapes the dots between letters and digits, which are meant for dots as good as always.
func literalDots(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if text[i] == '.' && i > 0 && i+1 < len(text) && isWord(text[i-1]) && isWord(text[i+1]) {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// fixed tells whether whatever an expression matches is at the beginning of the text, or at its end.
func fixed(re *syntax.Regexp, end bool) bool {
	switch re.Op {
	case syntax.OpBeginText:
		return !end
	case syntax.OpEndText:
		return end
	case syntax.OpCapture:
		return fixed(re.Sub[0], end)
	case syntax.OpConcat:
		if end {
			return fixed(re.Sub[len(re.Sub)-1], end)
		}
		return fixed(re.Sub[0], end)
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if !fixed(sub, end) {
				return false
			}
		}
		return true
	}
	return false
}

// matchesAll tells whether an expression says nothing, such as ^.*$ in any of its spellings: it matches texts that have
// nothing in common, of the forms that issuers and subjects have.
func matchesAll(re *regexp.Regexp) bool {
	if re == nil {
		return false
	}
	for _, text := range []string{
		"https://zq8v4kx1.invalid/h7t2/w", "http://u5.k3j9.invalid:8443", "zq8v4kx1@h7t2.invalid", "Q0 ZX~9_hK.w3", "spiffe://x7/y",
	} {
		if !re.MatchString(text) {
			return false
		}
	}
	return true
}
