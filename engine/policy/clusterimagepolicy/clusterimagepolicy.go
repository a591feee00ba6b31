// Package clusterimagepolicy translates sigstore's ClusterImagePolicy and TrustRoot documents, of
// policy.sigstore.dev/v1alpha1 and v1beta1, into image policies.
//
// It decides what each field means here, by what policy-controller does with it rather than by what its name says, and
// reports every one that it can't keep. It trusts the documents' author. It never makes a policy weaker without saying
// so: an authority that can't be kept is left out, which asks for more, and a policy none of whose authorities can be
// kept lets nothing pass. It reads no files, no cluster and no network.
package clusterimagepolicy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sluice/engine/policy/strictyaml"
)

// The API group and the kinds of the documents that are translated.
const (
	Group     = "policy.sigstore.dev"
	Kind      = "ClusterImagePolicy"
	TrustRoot = "TrustRoot"
)

// Translation is what became of some documents.
type Translation struct {
	Policies []Policy // in the order of the documents
	Notes    []Note   // in the order of the documents, and of the lines in each
	LeftOut  int      // how many authorities the policies lack that their documents have
}

// Policy is one translated policy.
type Policy struct {
	Name string // of the ImagePolicy
	File string // that the ClusterImagePolicy stands in
	Line int    // on which it begins there
	YAML []byte // an ImagePolicy document of sluice/v1
}

// Note says what is not kept of a document, or is kept in another form.
type Note struct {
	File   string
	Line   int
	Policy string // the name of the ClusterImagePolicy or TrustRoot as it is written
	Field  string // such as spec.authorities[0].key.kms; empty if the note is about the whole
	Text   string // one clause
	Weaker bool   // an image may pass that the document as it is written denies

	// Stricter tells that an image may be denied that the document lets pass, because a party that may vouch for it there
	// can't be kept.
	Stricter bool
}

// String returns the note for people, as file:line: field: text.
func (n Note) String() string {
	at := fmt.Sprintf("%s:%d: ", n.File, n.Line)
	if n.Field != "" {
		at += n.Field + ": "
	}
	return at + n.Text
}

// Weaker tells whether any of the policies asks for less than its document.
func (t *Translation) Weaker() bool {
	return slices.ContainsFunc(t.Notes, func(n Note) bool { return n.Weaker })
}

// Is tells whether a document is one for [Translate]: a ClusterImagePolicy or a TrustRoot of policy.sigstore.dev of any
// version.
func Is(doc *strictyaml.Document) bool {
	return strings.HasPrefix(doc.APIVersion(), Group+"/") && (doc.Kind() == Kind || doc.Kind() == TrustRoot)
}

// Translate makes image policies of ClusterImagePolicy documents. TrustRoot documents among them are what the policies
// refer to. Lists of such documents, as kubectl prints them, are taken apart.
//
// Documents that policy-controller would not accept, and those of other kinds, are errors: each is an
// [*strictyaml.Error], joined. What is merely not kept is a [Note].
func Translate(docs []*strictyaml.Document) (*Translation, error) {
	t := &translator{roots: map[string]*trustRoot{}, taken: map[string]bool{}, written: map[string]string{}}
	var resources []*resource
	for _, doc := range docs {
		resources = append(resources, t.read(doc)...)
	}
	for _, r := range resources {
		if r.Kind == TrustRoot {
			t.trustRoot(r)
		}
	}
	first := true
	for _, r := range resources {
		if r.Kind != Kind {
			continue
		}
		if first {
			t.note(r, "", false, "policy-controller looks at namespaces with the label policy.sigstore.dev/include=true alone; "+
				"these policies are for every namespace, unless spec.namespaces is added")
		}
		first = false
		t.policy(r)
	}
	for _, r := range resources {
		if root := t.roots[r.Metadata.Name]; r.Kind == TrustRoot && root != nil && root.resource == r && !root.used {
			t.note(r, "", false, "no policy refers to this root, so it is left out")
		}
	}
	files := map[string]int{}
	for i, doc := range docs {
		if name := fileOf(doc); files[name] == 0 {
			files[name] = i + 1
		}
	}
	if len(t.errs) > 0 {
		slices.SortStableFunc(t.errs, func(a, b error) int {
			var x, y *strictyaml.Error
			if !errors.As(a, &x) || !errors.As(b, &y) {
				return 0
			}
			return cmp.Or(cmp.Compare(files[x.File], files[y.File]), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
		})
		return nil, errors.Join(t.errs...)
	}
	slices.SortStableFunc(t.out.Notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(files[a.File], files[b.File]), cmp.Compare(a.Line, b.Line))
	})
	return &t.out, nil
}

// translator collects what becomes of all documents.
type translator struct {
	roots   map[string]*trustRoot
	taken   map[string]bool   // the names that image policies have already
	written map[string]string // where each document of a kind and name was met
	out     Translation
	size    int // of the translations, in bytes
	errs    []error
}

// resource is one ClusterImagePolicy or TrustRoot, and where it stands.
type resource struct {
	*document
	doc  *strictyaml.Document
	file string
	base string // the path of its root: $, or $.items[0] in a list
}

// note reports something about a field, named by its path in the resource.
func (t *translator) note(r *resource, field string, weaker bool, format string, args ...any) {
	path := r.base
	if field != "" {
		path += "." + field
	}
	line, _ := r.doc.Position(path)
	shown := strings.TrimPrefix(strings.TrimPrefix(path, "$"), ".")
	t.out.Notes = append(t.out.Notes, Note{
		File: r.file, Line: line, Policy: r.Metadata.Name, Field: shown, Text: fmt.Sprintf(format, args...), Weaker: weaker,
	})
}

// fail reports that a resource is not valid.
func (t *translator) fail(r *resource, field, format string, args ...any) {
	t.errs = append(t.errs, r.doc.Errorf(r.base+"."+field, format, args...))
}

// once reports a second resource of one kind and name, and whether this one is the first.
func (t *translator) once(r *resource) bool {
	id := r.Kind + "/" + r.Metadata.Name
	if place, ok := t.written[id]; ok {
		t.fail(r, "metadata.name", "there is another %s named %q, at %s", r.Kind, r.Metadata.Name, place)
		return false
	}
	line, _ := r.doc.Position(r.base + ".metadata.name")
	t.written[id] = fmt.Sprintf("%s:%d", r.file, line)
	return true
}

// fileOf returns the name of the file that a document stands in.
func fileOf(doc *strictyaml.Document) string {
	var e *strictyaml.Error
	if errors.As(doc.Errorf("$", ""), &e) {
		return e.File
	}
	return ""
}
