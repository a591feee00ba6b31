package clusterimagepolicy

import (
	"fmt"
	"strings"
	"unicode"

	"sluice/engine/policy/strictyaml"
)

// Bounds of an image policy, which whoever loads one enforces too.
const (
	maxAuthorities = 32
	maxMessage     = 1024                     // bytes
	maxSize        = 32 * strictyaml.MaxBytes // of all translations
)

// policyTranslator translates one ClusterImagePolicy.
type policyTranslator struct {
	*translator
	*resource
	remarks []int // which of the notes stand in the comment above the translation too
	closed  bool  // whether nothing passes
	left    int   // authorities that are left out
}

func (p *policyTranslator) note(field string, weaker bool, format string, args ...any) {
	p.translator.note(p.resource, field, weaker, format, args...)
}

func (p *policyTranslator) fail(field, format string, args ...any) {
	p.translator.fail(p.resource, field, format, args...)
}

// remark is a note that also stands in the translation.
func (p *policyTranslator) remark(field string, weaker bool, format string, args ...any) {
	p.note(field, weaker, format, args...)
	p.remarks = append(p.remarks, len(p.out.Notes)-1)
}

// stricter is a remark on a party that can't be kept.
func (p *policyTranslator) stricter(field, format string, args ...any) {
	p.remark(field, false, format, args...)
	p.out.Notes[len(p.out.Notes)-1].Stricter = true
}

// policy translates a ClusterImagePolicy.
func (t *translator) policy(r *resource) {
	p := &policyTranslator{translator: t, resource: r}
	failed, notes := len(t.errs), len(t.out.Notes)
	name := unique(label(r.Metadata.Name, "policy"), t.taken)
	if name != r.Metadata.Name {
		p.note("metadata.name", false, "%q is written as %q; names here are lower-case letters, digits and dashes", printable(r.Metadata.Name), name)
	}
	spec := mapping{}
	images := p.images()
	message := p.message()
	authorities := p.authorities()
	switch r.Spec.Mode {
	case "", "enforce", "warn":
	default:
		p.fail("spec.mode", "must be enforce or warn")
	}
	if r.Spec.Policy != nil {
		p.cue("spec.policy", r.Spec.Policy, "; threshold and attestations' expressions can often say the same")
	}
	if len(t.errs) > failed {
		return
	}
	if len(images) == 0 {
		p.note("spec.images", false, "matches no image, so the whole policy is left out")
		return
	}
	spec = spec.with("images", images)
	if r.Spec.Mode == "warn" {
		spec = spec.with("mode", "warn")
	}
	spec = spec.with("message", message).with("authorities", authorities)
	if p.closed { // and nothing is weaker than that
		for i := range t.out.Notes[notes:] {
			t.out.Notes[notes+i].Weaker = false
		}
	}
	line, _ := r.doc.Position(r.base)
	var b strings.Builder
	fmt.Fprintf(&b, "# Translated from the %s %s, %s:%d.\n", Kind, printable(r.Metadata.Name), printable(r.file), line)
	for _, i := range p.remarks {
		n := t.out.Notes[i]
		fmt.Fprintf(&b, "# %s%s, line %d: %s.\n", pick(n.Weaker, "Weaker: ", ""), n.Field, n.Line, printable(n.Text))
	}
	mapping{
		{"apiVersion", "sluice/v1"},
		{"kind", "ImagePolicy"},
		{"metadata", mapping{{"name", name}}},
		{"spec", spec},
	}.write(&b, "")
	if t.size += b.Len(); b.Len() > strictyaml.MaxBytes || t.size > maxSize {
		p.fail("spec", "the translation is too large, because roots are written out in every authority that refers to them; make fewer refer to them, or write a file with a trusted_root.json")
		return
	}
	t.out.LeftOut += p.left
	t.out.Policies = append(t.out.Policies, Policy{Name: name, File: r.file, Line: line, YAML: []byte(b.String())})
}

// images translates what the policy is for. Being for more images than before makes a policy weaker: where no policy
// matches an image, it is denied, and where this one does, it passes with the right signature.
func (p *policyTranslator) images() []mapping {
	if len(p.Spec.Images) == 0 {
		p.fail("spec.images", "spec.images is missing; policy-controller does not accept that either")
	}
	if len(p.Spec.Match) > 0 {
		p.remark("spec.match", true, "left out, so the policy is for the images of every resource, and lets those pass that it accepts")
	}
	var out []mapping
	seen := map[string]bool{}
	for i, w := range p.Spec.Images {
		field := fmt.Sprintf("spec.images[%d].glob", i)
		if w.Glob == "" {
			p.fail(field, "the glob is missing")
			continue
		}
		image, err := imageOf(w.Glob)
		switch {
		case err != nil:
			p.fail(field, "%v", err)
		case image.weaker:
			p.remark(field, true, "%s", image.note)
		case image.note != "":
			p.note(field, false, "%s", image.note)
		}
		if image.glob != "" && !seen[image.glob] {
			seen[image.glob] = true
			out = append(out, mapping{{"glob", image.glob}})
		}
	}
	return out
}

// message is what a policy that lets nothing pass says to the author of a pod.
func (p *policyTranslator) message() string {
	var message string
	for i, a := range p.Spec.Authorities {
		if a.Static == nil || a.Static.Message == "" {
			continue
		}
		text := strings.Join(strings.Fields(a.Static.Message), " ")
		field := fmt.Sprintf("spec.authorities[%d].static.message", i)
		if len(p.Spec.Authorities) > 1 || a.Static.Action != "fail" || len(text) > maxMessage || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			p.note(field, false, "left out; a message is the policy's, one line of at most %d bytes, and this authority is not all that there is", maxMessage)
			continue
		}
		message = text
	}
	return message
}

// cue notes a condition in a language that is not evaluated here.
func (p *policyTranslator) cue(field string, w *policy, advice string) {
	what := "the condition"
	switch w.Type {
	case "cue":
		what = "the CUE policy"
	case "rego":
		what = "the Rego policy"
	}
	with := ""
	if w.FetchConfigFile || w.IncludeSpec || w.IncludeObjectMeta || w.IncludeTypeMeta {
		with = ", and what it asks for of the image's configuration or of the resource"
	}
	p.remark(field, true, "%s is not kept%s%s", what, with, advice)
}
