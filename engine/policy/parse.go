package policy

import (
	"errors"
	"fmt"

	"sluice/engine"
	"sluice/engine/policy/strictyaml"
)

// Options say where a policy's keys come from. The zero value means the disk and the process's environment.
type Options struct {
	// ReadFile returns the content of a policy or key file. If nil, regular files of up to [strictyaml.MaxBytes] are
	// read from disk.
	ReadFile func(name string) ([]byte, error)

	// LookupEnv returns the value of an environment variable. If nil, it is [os.LookupEnv].
	LookupEnv func(name string) (string, bool)
}

// Parse compiles every document of a policy file. The file's name stands in errors, and relative names of key files
// start at its directory. All errors of the file are reported, joined; those with a place are [*strictyaml.Error].
// A file without any policy is an error, because it may be one that was cut short.
func Parse(file string, src []byte, opts Options) ([]*engine.Policy, error) {
	return parse(file, src, opts, names{})
}

func parse(file string, src []byte, opts Options, seen names) ([]*engine.Policy, error) {
	docs, err := strictyaml.Documents(file, src)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, &strictyaml.Error{File: file, Message: "there is no policy in this file; remove it, or rename it to something other than .yaml"}
	}
	var policies []*engine.Policy
	var errs []error
	for _, doc := range docs {
		p, err := Compile(file, doc, opts)
		if err == nil {
			err = seen.add(p, file, doc)
		}
		policies = append(policies, p)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return policies, nil
}

// names remembers where each policy was met: file:line.
type names map[string]string

func (n names) add(p *engine.Policy, file string, doc *strictyaml.Document) error {
	const path = "$.metadata.name"
	if place, ok := n[p.Name]; ok {
		return doc.Errorf(path, "there is another policy named %q, at %s", p.Name, place)
	}
	line, _ := doc.Position(path)
	n[p.Name] = fmt.Sprintf("%s:%d", file, line)
	return nil
}
