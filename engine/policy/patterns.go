package policy

import (
	"fmt"
	"slices"
	"strings"

	"sluice/engine"
)

func (c *compiler) namespaces(patterns []string) engine.Namespaces {
	const path = "$.spec.namespaces"
	if c.doc.Has(path) && len(patterns) == 0 {
		c.fail(path, "the list is empty; name a namespace, or leave namespaces out if every one is meant")
	}
	var excluded []string
	for i, pattern := range patterns {
		here := fmt.Sprintf("%s[%d]", path, i)
		name, excludes := strings.CutPrefix(pattern, "!")
		if _, _, err := engine.ParseNamespaces([]string{pattern}); err != nil {
			c.fail(here, "%v", err)
		} else if sample := wildcards(name, "5", "5"); len(sample) > maxName || !matches(namePattern, sample) {
			c.fail(here, "namespaces are at most %d letters, digits and dashes, with a letter or digit at both ends, so this pattern matches nothing", maxName)
		}
		if excludes {
			excluded = append(excluded, name)
		}
	}
	if len(c.errs) > 0 {
		return engine.Namespaces{}
	}
	all, _, err := engine.ParseNamespaces(patterns)
	if err != nil {
		c.fail(path, "%v", err)
		return all
	}
	// What excludes everything that the rest includes leaves a policy that is for nothing.
	for i, pattern := range patterns {
		name, excludes := strings.CutPrefix(pattern, "!")
		here := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case excludes && strings.Trim(name, "*") == "":
			c.fail(here, "this excludes every namespace, so the policy would be for none")
		case !excludes && (slices.Contains(excluded, name) || !strings.Contains(name, "*") && !all.Match(name)):
			c.fail(here, "%s is also excluded in this list, so this pattern matches nothing", name)
		}
	}
	return all
}

func (c *compiler) images(images []Image) []engine.Glob {
	const path = "$.spec.images"
	if c.missing(path, `name what the policy is for, as in images: [{glob: "**"}]`) {
		return nil
	}
	if len(images) == 0 {
		c.fail(path, `the list is empty; name what the policy is for, as in images: [{glob: "**"}]`)
	}
	var globs []engine.Glob
	for i, image := range images {
		here := fmt.Sprintf("%s[%d].glob", path, i)
		if c.missing(here, `"**" is every image`) || c.long(here, image.Glob) {
			continue
		}
		g, err := engine.ParseImageGlob(image.Glob)
		switch {
		case err != nil:
			c.fail(here, "%v", err)
		case !matchesSome(g):
			c.fail(here, "no image can have such a name, so this glob matches nothing")
		}
		globs = append(globs, g)
	}
	return globs
}

// matchesSome tells whether there is an image whose name a glob matches, by making one up.
func matchesSome(g engine.Glob) bool {
	for _, one := range []string{"5", "5.5"} {
		for _, two := range []string{"5", "5.5", "5.5/5"} {
			ref, err := engine.ParseReference(wildcards(g.String(), one, two))
			if err == nil && g.Match(ref.Name()) {
				return true
			}
		}
	}
	return false
}

// wildcards replaces * by one, the first ** by two and any further ** by one.
func wildcards(pattern, one, two string) string {
	pattern = strings.Replace(pattern, "**", two, 1)
	return strings.ReplaceAll(strings.ReplaceAll(pattern, "**", one), "*", one)
}

func (c *compiler) long(path, pattern string) bool {
	if len(pattern) <= maxPattern {
		return false
	}
	c.fail(path, "a pattern is at most %d bytes", maxPattern)
	return true
}

func (c *compiler) tags(tags *Tags) engine.Tags {
	const path = "$.spec.tags"
	if tags == nil {
		return engine.Tags{}
	}
	if !c.doc.Has(path+".deny") && !c.doc.Has(path+".requireDigest") {
		c.fail(path, "tags asks for nothing; give it deny or requireDigest, or leave it out")
	}
	if c.doc.Has(path+".deny") && len(tags.Deny) == 0 {
		c.fail(path+".deny", "the list is empty; name a tag, or leave deny out")
	}
	compiled := engine.Tags{RequireDigest: tags.RequireDigest}
	for i, pattern := range tags.Deny {
		here := fmt.Sprintf("%s.deny[%d]", path, i)
		if c.long(here, pattern) {
			continue
		}
		g, err := engine.ParseGlob(pattern)
		switch {
		case err != nil:
			c.fail(here, "%v", err)
		case !matches(tagPattern, wildcards(pattern, "5", "5")):
			c.fail(here, "tags are at most 128 letters, digits, dots, dashes and underscores, so this pattern matches nothing")
		}
		compiled.Deny = append(compiled.Deny, g)
	}
	return compiled
}
