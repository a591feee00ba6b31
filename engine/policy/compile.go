package policy

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"sluice/engine"
	"sluice/engine/policy/strictyaml"
)

// Bounds and defaults of a policy.
const (
	maxName        = 63 // as a DNS label, RFC 1123
	maxPattern     = 512
	maxMessage     = 1024 // bytes; it is repeated in every denial
	maxAuthorities = 32   // each may cost a verification
	maxAnnotations = 32
	maxAnnotation  = 1024 // bytes, of a name and of a value

	minTTL          = time.Second
	maxAllowTTL     = 24 * time.Hour
	maxDenyTTL      = time.Hour
	defaultAllowTTL = 5 * time.Minute
	defaultDenyTTL  = 15 * time.Second

	holds = "policy files hold ImagePolicy (sluice/v1), ClusterImagePolicy and TrustRoot (policy.sigstore.dev) documents"

	namePattern = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	tagPattern  = `^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$` // the OCI distribution specification's
)

// Compile checks one document of a policy file, fills in the defaults, and makes the engine's form of it.
func Compile(file string, doc *strictyaml.Document, opts Options) (*engine.Policy, error) {
	p, _, err := compile(file, doc, opts)
	return p, err
}

// compile is Compile, and returns the trusted roots that the document names.
func compile(file string, doc *strictyaml.Document, opts Options) (*engine.Policy, []Root, error) {
	switch {
	case !doc.Has("$.kind"):
		return nil, nil, missing(doc.Errorf("$", "kind is missing; "+holds))
	case doc.Kind() != Kind:
		return nil, nil, doc.Errorf("$.kind", holds)
	case !doc.Has("$.apiVersion"):
		return nil, nil, missing(doc.Errorf("$", "apiVersion is missing; it is %s", APIVersion))
	case doc.APIVersion() != APIVersion:
		return nil, nil, doc.Errorf("$.apiVersion", "apiVersion must be %s", APIVersion)
	}
	var written ImagePolicy
	if err := doc.Decode(&written); err != nil {
		return nil, nil, err
	}
	c := compiler{file: file, doc: doc, opts: opts, title: written.Metadata.Name}
	p := c.policy(&written)
	if len(c.errs) > 0 {
		slices.SortStableFunc(c.errs, byPlace)
		return nil, nil, errors.Join(c.errs...)
	}
	p.Fingerprint = fingerprint(p, written.Spec.Namespaces)
	return p, c.found, nil
}

// byPlace puts errors in the order in which a reader of the file meets them.
func byPlace(a, b error) int {
	var x, y *strictyaml.Error
	if !errors.As(a, &x) || !errors.As(b, &y) {
		return 0
	}
	return cmp.Or(cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
}

// compiler collects the errors of one document.
type compiler struct {
	file string
	doc  *strictyaml.Document
	opts Options

	title string // the policy's name
	found []Root
	errs  []error
}

func (c *compiler) fail(path, format string, args ...any) {
	c.errs = append(c.errs, c.doc.Errorf(path, format, args...))
}

// missing marks an error about a field that is not there.
func missing(err error) error {
	var e *strictyaml.Error
	if errors.As(err, &e) {
		e.Form = true
	}
	return err
}

// missing reports that there is no value at a path, and whether that is so.
func (c *compiler) missing(path, remedy string) bool {
	if c.doc.Has(path) {
		return false
	}
	c.errs = append(c.errs, missing(c.doc.Errorf(path, "%s is missing; %s", strings.TrimPrefix(path, "$."), remedy)))
	return true
}

func (c *compiler) policy(w *ImagePolicy) *engine.Policy {
	p := &engine.Policy{
		Name:        w.Metadata.Name,
		Namespaces:  c.namespaces(w.Spec.Namespaces),
		Images:      c.images(w.Spec.Images),
		Tags:        c.tags(w.Spec.Tags),
		Authorities: c.authorities(w.Spec.Authorities),
		Mode:        choose(c, "$.spec.mode", w.Spec.Mode, modes()),
		OnError:     choose(c, "$.spec.onError", w.Spec.OnError, onErrors()),
		AllowTTL:    defaultAllowTTL,
		DenyTTL:     defaultDenyTTL,
		Message:     w.Spec.Message,

		Pin:              w.Spec.Pin,
		AlwaysPullImages: w.Spec.AlwaysPullImages,
		AllowUnchanged:   choose(c, "$.spec.unchangedImages", w.Spec.UnchangedImages, unchanged()),
	}
	if !c.missing("$.metadata.name", "every policy has one") {
		c.name("$.metadata.name", w.Metadata.Name)
	}
	if cache := w.Spec.Cache; cache != nil {
		p.AllowTTL = c.ttl("$.spec.cache.allowTTL", cache.AllowTTL, p.AllowTTL, maxAllowTTL)
		p.DenyTTL = c.ttl("$.spec.cache.denyTTL", cache.DenyTTL, p.DenyTTL, maxDenyTTL)
	}
	c.message(w.Spec.Message)
	p.Threshold = c.threshold(w.Spec.Threshold, p.Authorities)
	p.Platforms = c.platforms(w.Spec.Platforms, len(p.Authorities) > 0)
	tagsAsk := w.Spec.Tags != nil && (len(w.Spec.Tags.Deny) > 0 || w.Spec.Tags.RequireDigest)
	if len(c.errs) == 0 && !tagsAsk && !p.Pin && len(p.Authorities) == 0 {
		c.fail("$.spec", "this policy asks for nothing, so every image would pass it; add tags, authorities (static: {action: pass} is one) or pin: true")
	}
	return p
}

func (c *compiler) name(path, name string) {
	if len(name) > maxName || !matches(namePattern, name) {
		c.fail(path, "a name is at most %d lower-case letters, digits and dashes, with a letter or digit at both ends", maxName)
	}
}

func (c *compiler) ttl(path string, written, absent, longest time.Duration) time.Duration {
	if !c.doc.Has(path) {
		return absent
	}
	if written < minTTL || written > longest {
		c.fail(path, "must be from %s to %s", minTTL, strings.Replace(longest.String(), "h0m0s", "h", 1))
	}
	return written
}

func (c *compiler) message(text string) {
	const path = "$.spec.message"
	switch {
	case !c.doc.Has(path):
	case strings.TrimSpace(text) == "":
		c.fail(path, "the message is empty; leave it out if there is nothing to say")
	case len(text) > maxMessage:
		c.fail(path, "the message is part of every denial and at most %d bytes; this one has %d", maxMessage, len(text))
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		c.fail(path, "the message is one line of printable text (for a long one use >- , which folds lines into one)")
	}
}

// choice is one value of an enumeration. The first is what absence means.
type choice[T any] struct {
	name  string
	value T
}

func modes() []choice[engine.Mode] {
	return []choice[engine.Mode]{{"enforce", engine.Enforce}, {"warn", engine.Warn}}
}

func onErrors() []choice[engine.OnError] {
	return []choice[engine.OnError]{
		{"deny", engine.OnErrorDeny},
		{"retry", engine.OnErrorRetry},
		{"defer", engine.OnErrorDefer},
		{"allow", engine.OnErrorAllow},
	}
}

func unchanged() []choice[bool] { return []choice[bool]{{"check", false}, {"allow", true}} }

func actions() []choice[engine.Static] {
	return []choice[engine.Static]{{"pass", engine.StaticPass}, {"fail", engine.StaticFail}}
}

func choose[T any](c *compiler, path, name string, choices []choice[T]) T {
	if !c.doc.Has(path) {
		return choices[0].value
	}
	names := make([]string, len(choices))
	for i, ch := range choices {
		if ch.name == name {
			return ch.value
		}
		names[i] = ch.name
	}
	list := strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
	if near := strictyaml.Nearest(name, names); near != "" {
		c.fail(path, "must be %s; did you mean %q?", list, near)
	} else {
		c.fail(path, "must be %s", list)
	}
	return choices[0].value
}

func matches(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }
