package policy

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sluice/engine"
	"sluice/engine/policy/strictyaml"
)

// Set is what a load found.
type Set struct {
	Policies []*engine.Policy // sorted by name
	Files    []string         // all that was read, policies, keys and roots, sorted
	Roots    []Root           // that the policies name, each once, sorted by name
	Notes    []string         // what was understood in another way than it may be meant, for the log, each with its place

	// Hash is the SHA-256 of the names and contents of Files, and of the Roots: another Hash means that something changed.
	Hash [32]byte
}

// attempts bounds how often a load starts again because files changed while it read them.
const attempts = 3

// Load reads policies from files and directories. Of a directory it takes the files *.yaml and *.yml, links followed,
// in the order of their names; hidden files and subdirectories are left alone, so that a mounted ConfigMap is read
// once. A directory without such files, an empty file, and two policies of one name are errors. All errors are reported,
// joined; those with a place are [*strictyaml.Error].
//
// Beside ImagePolicy documents there may be sigstore's ClusterImagePolicy and TrustRoot documents: see package
// clusterimagepolicy for what becomes of them. One that can be kept only in a weaker form is an error.
//
// The result is of one moment: if a file changes during the load, it starts again, a few times.
//
// To find out whether to reload, call Load again and compare Hash: it takes a few milliseconds a policy at most, and
// sees files that are new in a directory.
func Load(paths []string, opts Options) (*Set, error) {
	for range attempts {
		l := loader{read: opts.ReadFile, contents: map[string]content{}}
		if l.read == nil {
			l.read = readFile
		}
		set, err := l.load(paths, opts)
		if l.unchanged(paths) {
			return set, err
		}
	}
	return nil, errors.New("the policy files change faster than they can be read")
}

// content is what reading a file gave.
type content struct {
	bytes  []byte
	failed bool
}

type loader struct {
	read     func(string) ([]byte, error)
	listed   []string
	contents map[string]content
}

func (l *loader) load(paths []string, opts Options) (*Set, error) {
	files, err := list(paths)
	if err != nil {
		return nil, err
	}
	l.listed = files
	opts.ReadFile = func(name string) ([]byte, error) {
		b, err := l.read(name)
		l.contents[name] = content{b, err != nil}
		return b, err
	}
	var errs []error
	set := &Set{}
	var docs []document
	for _, file := range files {
		src, err := opts.ReadFile(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		of, err := documents(file, src)
		errs = append(errs, err)
		docs = append(docs, of...)
	}
	errs = append(errs, set.compile(docs, opts))
	if errs = inOrder(errs, files); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if len(set.Policies) == 0 {
		return nil, fmt.Errorf("there is no policy in %s, but only what policies can refer to", strings.Join(paths, ", "))
	}
	slices.SortFunc(set.Policies, func(a, b *engine.Policy) int { return strings.Compare(a.Name, b.Name) })
	set.Roots = distinct(set.Roots)
	set.Files = slices.Sorted(maps.Keys(l.contents))
	w := canonical{sha256.New()}
	w.text("sluice policy files 1")
	for _, file := range set.Files {
		w.text(file)
		w.text(string(l.contents[file].bytes))
	}
	for _, root := range set.Roots {
		w.text(root.ID)
	}
	w.h.Sum(set.Hash[:0])
	return set, nil
}

// inOrder takes joined errors apart, and puts them into the order in which the files are read: those of the whole load
// come first.
func inOrder(errs []error, files []string) []error {
	var all []error
	for _, err := range errs {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			all = append(all, inOrder(joined.Unwrap(), files)...)
		} else if err != nil {
			all = append(all, err)
		}
	}
	file := func(err error) int {
		if e := (*strictyaml.Error)(nil); errors.As(err, &e) {
			return slices.Index(files, e.File)
		}
		return -1
	}
	slices.SortStableFunc(all, func(a, b error) int { return cmp.Compare(file(a), file(b)) })
	return all
}

// distinct sorts roots by name and takes out those that are there twice.
func distinct(roots []Root) []Root {
	order := func(a, b Root) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID), cmp.Compare(a.File, b.File), cmp.Compare(a.Mirror, b.Mirror))
	}
	slices.SortFunc(roots, order)
	return slices.CompactFunc(roots, func(a, b Root) bool { return order(a, b) == 0 })
}

// unchanged tells whether all that was read still reads the same.
func (l *loader) unchanged(paths []string) bool {
	files, err := list(paths)
	if err != nil || !slices.Equal(files, l.listed) {
		return l.listed == nil // it could not be listed before either
	}
	for name, before := range l.contents {
		now, err := l.read(name)
		if (err != nil) != before.failed || !bytes.Equal(now, before.bytes) {
			return false
		}
	}
	return true
}

// list names the policy files that paths stand for, each once.
func list(paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, errors.New("no policy file or directory is given")
	}
	var files []string
	add := func(file string) {
		if file = filepath.Clean(file); !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			add(path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		found := false
		for _, e := range entries {
			name := e.Name()
			if ext := filepath.Ext(name); strings.HasPrefix(name, ".") || ext != ".yaml" && ext != ".yml" {
				continue
			}
			file := filepath.Join(path, name)
			info, err := os.Stat(file) // follows links
			if err != nil {
				return nil, err
			}
			if !info.IsDir() {
				add(file)
				found = true
			}
		}
		if !found {
			return nil, fmt.Errorf("%s: there is no .yaml or .yml file in this directory", path)
		}
	}
	return files, nil
}

// readFile reads a regular file of bounded size. Anything else, such as a named pipe, might never end.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, strictyaml.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > strictyaml.MaxBytes {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("larger than %d bytes", strictyaml.MaxBytes)}
	}
	return content, nil
}
