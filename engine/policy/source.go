package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// material is what a [Source] holds, in the words of its errors.
type material struct {
	name  string // "key"
	plain string // how it looks, for people
	mark  string // what it has in it and no name of a file has
}

func keyMaterial() material {
	return material{"key", "-----BEGIN PUBLIC KEY----- and so on", "-----BEGIN"}
}

func certificateMaterial() material {
	return material{"certificate", "-----BEGIN CERTIFICATE----- and so on", "-----BEGIN"}
}

func rootMaterial() material {
	return material{"trusted root", "JSON that begins with {", "{"}
}

const envScheme = "env://"

// source reads what a [Source] at a path stands for, and returns where an error about its content belongs.
func (c *compiler) source(path string, w Source, m material) (text []byte, at string, ok bool) {
	hasFile, hasData := c.doc.Has(path+".file"), c.doc.Has(path+".data")
	short := !hasFile && !hasData && w.File != "" // text in place of the mapping
	var err error
	switch {
	case hasFile && hasData:
		c.errs = append(c.errs, c.doc.KeyErrorf(path+".data", "a %s has file or data, not both", m.name))
		return nil, "", false
	case hasFile, short:
		if !short {
			path += ".file"
		}
		text, err = c.readFile(w.File, m)
	case hasData:
		path += ".data"
		text, err = c.readData(w.Data, m)
	default:
		c.fail(path, "the %s has neither file nor data", m.name)
		return nil, "", false
	}
	if err != nil {
		c.fail(path, "%v", err)
		return nil, "", false
	}
	return text, path, true
}

func (c *compiler) readFile(name string, m material) ([]byte, error) {
	switch {
	case name == "":
		return nil, errors.New("the file has no name")
	case strings.HasPrefix(name, envScheme):
		return nil, fmt.Errorf("this is not the name of a file; write data: %s", name)
	case strings.Contains(name, m.mark):
		return nil, fmt.Errorf("this is a %s, not the name of a file; write it as data", m.name)
	case strings.Contains(name, "://") && m.name == keyMaterial().name && managed(name):
		return nil, fmt.Errorf("this key is in a key management service; give the public key: cosign public-key --key %s", name)
	case strings.Contains(name, "://"):
		return nil, fmt.Errorf("this is not the name of a file; a %s is read from a file, from data or from the environment, and from nowhere else", m.name)
	}
	read := c.opts.ReadFile
	if read == nil {
		read = readFile
	}
	text, err := read(c.fileName(name))
	if err != nil {
		if strings.EqualFold(name, "tuf") && m.name == rootMaterial().name {
			return nil, fmt.Errorf("the %s cannot be read: %w; did you mean {tuf: {}}?", m.name, err)
		}
		return nil, fmt.Errorf("the %s cannot be read: %w", m.name, err)
	}
	return text, nil
}

// managed tells whether a key is named as cosign names those of key management services.
func managed(name string) bool {
	scheme, _, _ := strings.Cut(name, "://")
	return slices.Contains([]string{"awskms", "gcpkms", "azurekms", "hashivault"}, scheme)
}

// fileName makes a name of the document one of this process.
func (c *compiler) fileName(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(c.file), name)
}

func (c *compiler) readData(data string, m material) ([]byte, error) {
	name, isEnv := strings.CutPrefix(data, envScheme)
	if !isEnv {
		if !strings.Contains(data, m.mark) {
			return nil, fmt.Errorf("data is the %s itself, %s, or env://NAME; for a file, write file in place of data", m.name, m.plain)
		}
		return []byte(data), nil
	}
	if !matches(`^[A-Za-z_][A-Za-z0-9_]*$`, name) {
		return nil, errors.New("env:// is followed by the name of an environment variable: letters, digits and underscores")
	}
	lookup := c.opts.LookupEnv
	if lookup == nil {
		lookup = os.LookupEnv
	}
	value, ok := lookup(name)
	switch {
	case !ok:
		return nil, fmt.Errorf("the environment variable %s is not set", name)
	case strings.TrimSpace(value) == "":
		return nil, fmt.Errorf("the environment variable %s is empty", name)
	}
	return []byte(value), nil
}

// items returns the path of each item of a list, which may be a single item that stands without the list.
func (c *compiler) items(path string, n int) []string {
	if n == 1 && !c.doc.Has(path+"[0]") {
		return []string{path}
	}
	paths := make([]string, n)
	for i := range paths {
		paths[i] = fmt.Sprintf("%s[%d]", path, i)
	}
	return paths
}
