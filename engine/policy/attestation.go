package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"sluice/engine"
	"sluice/engine/policy/expression"
	"sluice/engine/policy/strictyaml"
)

// maxAttestations bounds the attestations of one authority.
const maxAttestations = 16

// maxPredicateType bounds the URI of a predicate type, in bytes.
const maxPredicateType = 512

// predicateType is a short name and what it stands for.
type predicateType struct{ name, uri string }

// predicateTypes are the names that cosign knows (v2.6.5 and v3.1.3, cmd/cosign/cli/options/predicate.go).
func predicateTypes() []predicateType {
	return []predicateType{
		{"slsaprovenance", "https://slsa.dev/provenance/v0.2"},
		{"slsaprovenance02", "https://slsa.dev/provenance/v0.2"},
		{"slsaprovenance1", "https://slsa.dev/provenance/v1"},
		{"spdx", "https://spdx.dev/Document"},
		{"spdxjson", "https://spdx.dev/Document"},
		{"cyclonedx", "https://cyclonedx.org/bom"},
		{"link", "https://in-toto.io/Link/v1"},
		{"vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"},
		{"openvex", "https://openvex.dev/ns"},
		{"custom", "https://cosign.sigstore.dev/attestation/v1"},
	}
}

// signaturePredicate is the type of the statement that makes a bundle a signature.
const signaturePredicate = "https://sigstore.dev/cosign/sign/v1"

func (c *compiler) attestations(path string, list []Attestation) []engine.Attestation {
	switch {
	case !c.doc.Has(path):
		return nil
	case len(list) == 0:
		c.fail(path, "the list is empty; name an attestation, or leave attestations out if the signature of the image is what counts")
	case len(list) > maxAttestations:
		c.fail(path, "there are at most %d attestations in an authority", maxAttestations)
		return nil
	}
	var compiled []engine.Attestation
	names, same := map[string]string{}, map[string]string{}
	for i, w := range list {
		here, before := fmt.Sprintf("%s[%d]", path, i), len(c.errs)
		a := engine.Attestation{Name: w.Name}
		if c.doc.Has(here + ".name") {
			c.name(here+".name", w.Name)
		} else {
			a.Name = w.PredicateType
		}
		if !c.missing(here+".predicateType", "a statement without a known type could say anything") {
			a.PredicateType = c.predicateType(here+".predicateType", w.PredicateType)
		}
		if c.doc.Has(here + ".expression") {
			if e := c.expression(here+".expression", w.Expression); e != nil {
				a.Expression = e
			}
		}
		if len(c.errs) == before {
			c.twice(same, a.PredicateType+"\n"+strings.TrimSpace(w.Expression), here, "this attestation is there already, on line %d")
		}
		if len(c.errs) == before && c.doc.Has(here+".name") {
			c.twice(names, a.Name, here+".name", "there is another attestation of this name, on line %d")
		}
		compiled = append(compiled, a)
	}
	return compiled
}

// twice reports what was there before, with the line of the first.
func (c *compiler) twice(seen map[string]string, key, path, format string) {
	if first, ok := seen[key]; ok {
		line, _ := c.doc.Position(first)
		c.fail(path, format, line)
		return
	}
	seen[key] = path
}

// predicateType makes a URI of a short name or a URI.
func (c *compiler) predicateType(path, text string) string {
	names := make([]string, 0, 10)
	meant := ""
	for _, t := range predicateTypes() {
		switch text {
		case t.name:
			return t.uri
		case strings.TrimPrefix(t.uri, "https://"):
			meant = t.uri
		}
		names = append(names, t.name)
	}
	uri, err := url.Parse(text)
	switch {
	case text == "":
		c.fail(path, "the predicate type is empty")
	case len(text) > maxPredicateType:
		c.fail(path, "a predicate type is at most %d bytes", maxPredicateType)
	case err == nil && uri.IsAbs() && (uri.Host != "" || uri.Opaque != "") && !strings.ContainsAny(text, " *"):
		if text == signaturePredicate {
			c.fail(path, "this is the type of a signature, not of an attestation; leave attestations out")
		}
	default:
		if near := cmp.Or(meant, strictyaml.Nearest(text, names)); near != "" {
			c.fail(path, "this predicate type is no URI, and no name that is known; did you mean %q?", near)
		} else {
			c.fail(path, "a predicate type is a URI or one of %s", strings.Join(names, ", "))
		}
	}
	return text
}

// expression compiles a condition. An error points at the place within the text, and quotes its line where that can't be.
func (c *compiler) expression(path, text string) engine.Expression {
	compiled, err := expression.Compile(text)
	if err == nil {
		return compiled
	}
	var at *expression.Error
	if !errors.As(err, &at) {
		c.fail(path, "%v", err)
		return nil
	}
	exact, placed := c.doc.TextErrorf(path, at.Line, at.Column, "%s", at.Message)
	if !exact {
		_, placed = c.doc.TextErrorf(path, at.Line, at.Column, "line %d of the expression, column %d: %s", at.Line, at.Column, at.Message)
		var e *strictyaml.Error
		if errors.As(placed, &e) {
			e.Excerpt += "\n" + quoteLine(text, at.Line, at.Column)
		}
	}
	c.errs = append(c.errs, placed)
	return nil
}

// quoteLine shows one line of an expression with a caret under a column.
func quoteLine(text string, line, column int) string {
	const width = 100
	lines := strings.Split(text, "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	shown := []rune(strings.ReplaceAll(lines[line-1], "\t", " "))
	column = min(max(column, 1), len(shown)+1)
	left := 0
	if column > width {
		left = column - width/2
	}
	shown = shown[left:]
	if len(shown) > width {
		shown = append(shown[:width:width], '…')
	}
	return fmt.Sprintf("      > %s\n      > %s^", string(shown), strings.Repeat(" ", column-1-left))
}
