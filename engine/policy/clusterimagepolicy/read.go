package clusterimagepolicy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice/engine/policy/strictyaml"
)

// read takes the resources out of a document, with notes of the fields that are none of theirs.
func (t *translator) read(doc *strictyaml.Document) []*resource {
	kind, version := doc.Kind(), doc.APIVersion()
	list := kind == "List" && version == "v1" ||
		strings.HasPrefix(version, Group+"/") && (kind == Kind+"List" || kind == TrustRoot+"List")
	if !list && !t.known(doc, "$", version, kind) {
		return nil
	}
	var d document
	unknown, err := leftOver(doc.Decode(&d))
	if err != nil {
		t.errs = append(t.errs, err)
		return nil
	}
	file := fileOf(doc)
	for _, u := range unknown {
		t.out.Notes = append(t.out.Notes, Note{
			File: file, Line: u.line, Policy: d.Metadata.Name, Field: u.path,
			Text:   "not a field that is known of these documents, so it is left out" + u.meant,
			Weaker: u.of != "metadata" && u.of != "the document" && kind != TrustRoot && kind != TrustRoot+"List",
		})
	}
	if !list {
		r := &resource{document: &d, doc: doc, file: file, base: "$"}
		if len(d.Items) > 0 {
			t.note(r, "items", true, "not a field that is known of these documents, so it is left out")
		}
		return t.checked(r)
	}
	var resources []*resource
	for i := range d.Items {
		base := fmt.Sprintf("$.items[%d]", i)
		if item := &d.Items[i]; t.known(doc, base, item.APIVersion, item.Kind) {
			resources = append(resources, t.checked(&resource{document: item, doc: doc, file: file, base: base})...)
		}
	}
	return resources
}

// known tells whether what stands at a path is a ClusterImagePolicy or a TrustRoot, and reports it if not.
func (t *translator) known(doc *strictyaml.Document, base, version, kind string) bool {
	at := base + ".apiVersion"
	switch {
	case kind == Kind && (version == Group+"/v1alpha1" || version == Group+"/v1beta1"):
		return true
	case kind == TrustRoot && version == Group+"/v1alpha1":
		return true
	case kind != Kind && kind != TrustRoot:
		at = base + ".kind"
	}
	t.errs = append(t.errs, doc.Errorf(at, "what is translated is %s of %s/v1alpha1 and v1beta1, and %s of v1alpha1", Kind, Group, TrustRoot))
	return false
}

// checked notes what a resource carries besides its spec. It returns the resource, or nothing if it has no usable name.
func (t *translator) checked(r *resource) []*resource {
	if r.Metadata.Name == "" {
		t.fail(r, "metadata.name", "metadata.name is missing")
		return nil
	}
	if !t.once(r) {
		return nil
	}
	has := func(field string) bool { return r.doc.Has(r.base + "." + field) }
	var left []string
	for _, name := range r.Metadata.others() {
		if has("metadata." + name) {
			left = append(left, name)
		}
	}
	if len(left) > 0 {
		t.note(r, "metadata."+left[0], false, "%s of the metadata left out; nothing that is asked of an image depends on it", strings.Join(left, ", "))
	}
	if has("status") {
		t.note(r, "status", false, "left out; it is what policy-controller reported")
	}
	for _, kind := range []string{Kind, TrustRoot} {
		for _, name := range r.Spec.fieldsOf(kind) {
			if kind != r.Kind && has("spec."+name) {
				t.note(r, "spec."+name, r.Kind == Kind, "not a field of a %s, so it is left out", r.Kind)
			}
		}
	}
	return []*resource{r}
}

// unknownField is a field that is none of the types'.
type unknownField struct {
	line  int
	path  string
	of    string // what has it
	meant string // a clause about the field that was probably meant, or nothing
}

// leftOver sorts the errors of a decode: fields that are not known are returned, and so is an error for whatever makes
// the document invalid. Fields without a value are absent ones to Kubernetes.
func leftOver(err error) ([]unknownField, error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil, err
	}
	var unknown []unknownField
	var invalid []error
	for _, err := range joined.Unwrap() {
		var placed *strictyaml.Error
		if !errors.As(err, &placed) || placed.Line == 0 {
			invalid = append(invalid, err) // so many that some are not even listed
			continue
		}
		rest, isUnknown := strings.CutPrefix(placed.Message, "unknown field ")
		quoted, quoteErr := strconv.QuotedPrefix(rest)
		switch {
		case isUnknown && quoteErr == nil:
			of, remedy, _ := strings.Cut(strings.TrimPrefix(rest, quoted+" in "), "; ")
			meant := ""
			if strings.HasPrefix(remedy, "did you mean ") {
				meant = "; " + remedy
			}
			path := strings.TrimPrefix(strings.TrimPrefix(placed.Path, "$"), ".")
			unknown = append(unknown, unknownField{placed.Line, printable(path), of, meant})
		case strings.Contains(placed.Message, " has no value; "):
		default:
			invalid = append(invalid, err)
		}
	}
	if len(invalid) > 0 {
		return nil, errors.Join(joined.Unwrap()...)
	}
	return slices.Clip(unknown), nil
}
