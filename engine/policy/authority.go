package policy

import (
	"fmt"
	"strings"
	"time"

	"sluice/engine"
)

func (c *compiler) authorities(list []Authority) []*engine.Authority {
	const path = "$.spec.authorities"
	switch {
	case c.doc.Has(path) && len(list) == 0:
		c.fail(path, "the list is empty; name at least one authority, or leave authorities out if the tags alone decide")
	case len(list) > maxAuthorities:
		c.fail(path, "there are at most %d authorities in a policy", maxAuthorities)
		return nil
	}
	var compiled []*engine.Authority
	seen := map[string]int{}
	for i := range list {
		here := fmt.Sprintf("%s[%d]", path, i)
		a := c.authority(here, &list[i])
		if c.doc.Has(here + ".name") {
			c.name(here+".name", a.Name)
		} else {
			a.Name = fmt.Sprintf("authority-%d", i)
		}
		if first, ok := seen[a.Name]; ok {
			line, _ := c.doc.Position(fmt.Sprintf("%s[%d].name", path, first))
			c.fail(here+".name", "there is another authority named %q, on line %d", a.Name, line)
		} else {
			seen[a.Name] = i
		}
		compiled = append(compiled, a)
	}
	return compiled
}

func (c *compiler) authority(path string, w *Authority) *engine.Authority {
	a := &engine.Authority{
		Name:                  w.Name,
		Annotations:           c.annotations(path, w),
		RequireReferenceMatch: w.RequireReferenceMatch,
		MaxAge:                c.maxAge(path, w),
		Repository:            c.repository(path+".signatureRepository", w.SignatureRepository),
		Attestations:          c.attestations(path+".attestations", w.Attestations),
	}
	if len(w.Attestations) > 0 && w.RequireReferenceMatch {
		c.fail(path+".requireReferenceMatch", "attestations name no repository, so none would pass; leave it out")
	}
	switch c.kind(path) {
	case "key", "keys":
		a.Trust = c.key(path, w)
	case "keyless":
		a.Identities = c.identities(path+".keyless.identities", w.Keyless.Identities, true)
		a.Trust = c.keyless(path, w)
	case "certificate":
		a.Identities = c.identities(path+".certificate.identities", w.Certificate.Identities, false)
		a.Trust = c.certificate(path, w)
	case "static":
		if !c.missing(path+".static.action", "it is pass or fail") {
			a.Static = choose(c, path+".static.action", w.Static.Action, actions())
		}
		if field := c.first(path, "annotations", "requireReferenceMatch", "maxAge", "signatureRepository", "ctlog", "rfc3161timestamp", "attestations"); field != "" {
			c.errs = append(c.errs, c.doc.KeyErrorf(path+"."+field, "%s is about signatures, and a static authority looks at none", field))
		}
	}
	return a
}

// kind returns which of its kinds an authority is, and reports if it is none, or several.
func (c *compiler) kind(path string) string {
	const kinds = "key, keys, keyless, certificate or static"
	found := ""
	for _, kind := range []string{"key", "keys", "keyless", "certificate", "static"} {
		switch {
		case !c.doc.Has(path + "." + kind):
		case found == "key" && kind == "keys":
			c.errs = append(c.errs, c.doc.KeyErrorf(path+".keys", "an authority has key or keys, not both; put all of them in keys"))
			return ""
		case found != "":
			c.errs = append(c.errs, c.doc.KeyErrorf(path+"."+kind, "an authority is one of %s, and this is %s already; make two of it", kinds, found))
			return ""
		default:
			found = kind
		}
	}
	if found == "" {
		c.fail(path, "this authority is none of %s", kinds)
	}
	return found
}

func (c *compiler) annotations(path string, w *Authority) map[string]string {
	at := path + ".annotations"
	switch {
	case !c.doc.Has(at):
		return nil
	case len(w.Annotations) == 0:
		c.fail(at, "annotations is empty; name one, or leave it out")
	case len(w.Annotations) > maxAnnotations:
		c.fail(at, "there are at most %d annotations", maxAnnotations)
	case len(w.Attestations) > 0:
		c.errs = append(c.errs, c.doc.KeyErrorf(at, "annotations are a signature's, and attestations carry none; ask for the predicate's content in an expression"))
	}
	for name, value := range w.Annotations {
		if name == "" || len(name) > maxAnnotation || len(value) > maxAnnotation {
			c.fail(at, "an annotation's name and value are at most %d bytes, and the name is not empty", maxAnnotation)
			break
		}
	}
	return w.Annotations
}

// Bounds of maxAge. Clocks differ by seconds, so that less than a minute is nobody's intention.
const (
	minMaxAge = time.Minute
	maxMaxAge = 20 * 365 * 24 * time.Hour
)

func (c *compiler) maxAge(path string, w *Authority) time.Duration {
	at := path + ".maxAge"
	switch {
	case !c.doc.Has(at):
		return 0
	case w.MaxAge < minMaxAge || w.MaxAge > maxMaxAge:
		c.fail(at, "must be from %s to %dh", strings.TrimSuffix(minMaxAge.String(), "0s"), int(maxMaxAge.Hours()))
	case w.Static == nil && w.Keyless == nil && w.CTLog == nil && w.RFC3161Timestamp == nil:
		c.fail(at, "nothing says when a signature was made that anybody could believe; ask for a ctlog or an rfc3161timestamp")
	}
	return w.MaxAge
}

// repository checks the name of a place for signatures.
func (c *compiler) repository(path, name string) engine.Repository {
	if !c.doc.Has(path) {
		return engine.Repository{}
	}
	ref, err := engine.ParseReference(name)
	host, _, _ := strings.Cut(name, "/")
	scheme, _, hasScheme := strings.Cut(name, "://")
	switch {
	case hasScheme:
		c.fail(path, "this is no repository, which is a name and not an address; leave %s:// out", scheme)
	case err != nil:
		c.fail(path, "this is no repository: %v", err)
	case !ref.Untagged:
		c.fail(path, "a repository has neither tag nor digest")
	case !strings.ContainsAny(host, ".:") && host != "localhost" || !strings.Contains(name, "/"):
		c.fail(path, "name the registry too, as in registry.example.com/signatures; Docker Hub is index.docker.io")
	}
	return engine.Repository{Registry: ref.Registry, Path: ref.Repository}
}
