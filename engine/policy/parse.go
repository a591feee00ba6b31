package policy

import (
	"errors"
	"fmt"

	"sluice/engine"
	"sluice/engine/policy/strictyaml"
)

// Options say where a policy's keys and roots come from. The zero value means the disk and the process's environment, and
// roots that are fetched are not there yet.
type Options struct {
	// ReadFile returns the content of a file: a policy, or what one names. If nil, regular files of up to
	// [strictyaml.MaxBytes] are read from disk.
	ReadFile func(name string) ([]byte, error)

	// LookupEnv returns the value of an environment variable. If nil, it is [os.LookupEnv].
	LookupEnv func(name string) (string, bool)

	// CheckRoot tells whether signatures can be verified with a trusted_root.json. If nil, it need only be JSON, with
	// entries of the kinds that the policy needs.
	CheckRoot func(json []byte) error

	// FetchedRoot returns the trusted_root.json that has been fetched by TUF from a mirror, whose root.json initial is the
	// first to be trusted; nil if it has not been yet. It returns at once. If FetchedRoot is nil, no root has been.
	FetchedRoot func(mirror string, initial []byte) []byte
}

// Parse compiles every document of a policy file. The file's name stands in errors, and relative names of files in it
// start at its directory. All errors of the file are reported, joined; those with a place are [*strictyaml.Error].
// A file without any policy is an error, because it may be one that was cut short.
func Parse(file string, src []byte, opts Options) ([]*engine.Policy, error) {
	docs, err := documents(file, src)
	if err != nil {
		return nil, err
	}
	set := &Set{}
	if err := set.compile(docs, opts); err != nil {
		return nil, err
	}
	if len(set.Policies) == 0 {
		return nil, &strictyaml.Error{File: file, Message: "there is no policy in this file, but only what policies can refer to"}
	}
	return set.Policies, nil
}

// document is one document and its file.
type document struct {
	*strictyaml.Document
	file string
}

func documents(file string, src []byte) ([]document, error) {
	docs, err := strictyaml.Documents(file, src)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, &strictyaml.Error{File: file, Message: "there is no policy in this file; remove it, or rename it to something other than .yaml"}
	}
	all := make([]document, len(docs))
	for i, doc := range docs {
		all[i] = document{doc, file}
	}
	return all, nil
}

// compile adds documents to the set: policies, and sigstore's documents that policies can be made of.
func (s *Set) compile(docs []document, opts Options) error {
	var errs []error
	var foreign []document
	seen := names{}
	for _, doc := range docs {
		if isForeign(doc.Document) {
			foreign = append(foreign, doc)
			continue
		}
		line, _ := doc.Position(namePath)
		errs = append(errs, s.add(doc, fmt.Sprintf("%s:%d", doc.file, line), seen, opts))
	}
	errs = append(errs, s.translate(foreign, seen, opts))
	return errors.Join(errs...)
}

// add adds a policy, which was met at a place, file:line.
func (s *Set) add(doc document, place string, seen names, opts Options) error {
	p, roots, err := compile(doc.file, doc.Document, opts)
	if err != nil {
		return err
	}
	if before, ok := seen[p.Name]; ok {
		return doc.Errorf(namePath, "there is another policy named %q, at %s", p.Name, before)
	}
	seen[p.Name] = place
	s.Policies = append(s.Policies, p)
	s.Roots = append(s.Roots, roots...)
	return nil
}

// names remembers where each policy was met: file:line.
type names map[string]string

const namePath = "$.metadata.name"
