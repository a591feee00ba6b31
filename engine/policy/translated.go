package policy

import (
	"errors"
	"fmt"
	"strings"

	"sluice/engine/policy/clusterimagepolicy"
	"sluice/engine/policy/strictyaml"
)

// isForeign tells whether a document is one of sigstore's, or a list of these as kubectl prints it.
func isForeign(doc *strictyaml.Document) bool {
	return strings.HasPrefix(doc.APIVersion(), clusterimagepolicy.Group+"/") || doc.APIVersion() == "v1" && doc.Kind() == "List"
}

// translate adds sigstore's documents to the set, all together, because some refer to others. What would make a policy
// weaker than its document is an error, since nobody reads a note that is in the log only.
func (s *Set) translate(docs []document, seen names, opts Options) error {
	if len(docs) == 0 {
		return nil
	}
	plain := make([]*strictyaml.Document, len(docs))
	for i, doc := range docs {
		plain[i] = doc.Document
	}
	translation, err := clusterimagepolicy.Translate(plain)
	if err != nil {
		return err
	}
	var errs []error
	for _, note := range translation.Notes {
		if note.Weaker {
			errs = append(errs, weaker(docs, note))
		} else {
			s.Notes = append(s.Notes, note.String())
		}
	}
	for _, p := range translation.Policies {
		errs = append(errs, s.translated(p, seen, opts))
	}
	return errors.Join(errs...)
}

// translated compiles one policy that was made of a document. Its own errors are about text that nobody wrote, so they are
// reported at the document.
func (s *Set) translated(p clusterimagepolicy.Policy, seen names, opts Options) error {
	if before, ok := seen[p.Name]; ok {
		return &strictyaml.Error{File: p.File, Line: p.Line, Column: 1, Message: fmt.Sprintf("there is another policy named %q, at %s", p.Name, before)}
	}
	docs, err := strictyaml.Documents(p.File, p.YAML)
	if err == nil && len(docs) != 1 {
		err = fmt.Errorf("%d documents", len(docs))
	}
	if err == nil {
		err = s.add(document{docs[0], p.File}, fmt.Sprintf("%s:%d", p.File, p.Line), seen, opts)
	}
	if err == nil {
		return nil
	}
	var at *strictyaml.Error
	message, excerpt := err.Error(), ""
	if errors.As(err, &at) { // the first of several
		message, excerpt = at.Message, at.Excerpt
		if excerpt != "" {
			message += " (the lines quoted are the translation's)"
		}
	}
	return &strictyaml.Error{
		File: p.File, Line: p.Line, Column: 1, Excerpt: excerpt,
		Message: "the policy that this ClusterImagePolicy is translated to is refused: " + message,
	}
}

// CheckTranslated tells whether a translated policy loads. The error is an [*strictyaml.Error] at the document that it
// was made of, since nobody has a file with the translation.
func CheckTranslated(p clusterimagepolicy.Policy, opts Options) error {
	return (&Set{}).translated(p, names{}, opts)
}

// weaker makes an error of a note.
func weaker(docs []document, note clusterimagepolicy.Note) error {
	const remedy = "enforcement would be weaker than this document's; if that is meant, load what sluice policy import makes of it"
	for _, doc := range docs {
		path := "$." + note.Field
		if line, _ := doc.Position(path); note.Field != "" && doc.file == note.File && line == note.Line {
			return doc.KeyErrorf(path, "%s; %s", note.Text, remedy)
		}
	}
	return &strictyaml.Error{File: note.File, Line: note.Line, Column: 1, Message: note.Text + "; " + remedy}
}
