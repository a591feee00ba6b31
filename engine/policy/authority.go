package policy

import (
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice/engine"
)

func (c *compiler) authorities(list []Authority) []*engine.Authority {
	const path = "$.spec.authorities"
	switch {
	case c.doc.Has(path) && len(list) == 0:
		c.fail(path, "the list is empty; name at least one authority, or leave authorities out if the tags alone decide")
	case len(list) > maxAuthorities:
		c.fail(path, "there are at most %d authorities in a policy", maxAuthorities)
		return nil
	}
	var compiled []*engine.Authority
	seen := map[string]int{}
	for i := range list {
		here := fmt.Sprintf("%s[%d]", path, i)
		a := c.authority(here, &list[i])
		if c.doc.Has(here + ".name") {
			c.name(here+".name", a.Name)
		} else {
			a.Name = fmt.Sprintf("authority-%d", i)
		}
		if first, ok := seen[a.Name]; ok {
			line, _ := c.doc.Position(fmt.Sprintf("%s[%d].name", path, first))
			c.fail(here+".name", "there is another authority named %q, on line %d", a.Name, line)
		} else {
			seen[a.Name] = i
		}
		compiled = append(compiled, a)
	}
	return compiled
}

func (c *compiler) authority(path string, w *Authority) *engine.Authority {
	a := &engine.Authority{Name: w.Name}
	switch {
	case w.Key != nil && w.Static != nil:
		c.errs = append(c.errs, c.doc.KeyErrorf(path+".static", "an authority is a key or static, not both; make two of it"))
	case w.Key != nil:
		a.Trust = c.key(path+".key", w.Key)
	case w.Static != nil:
		if !c.missing(path+".static.action", "it is pass or fail") {
			a.Static = choose(c, path+".static.action", w.Static.Action, actions())
		}
	default:
		c.fail(path, "this authority has neither a key nor static")
	}
	at := path + ".annotations"
	switch {
	case !c.doc.Has(at):
		return a
	case w.Static != nil && w.Key == nil:
		c.errs = append(c.errs, c.doc.KeyErrorf(at, "annotations are a signature's, and a static authority looks at none"))
	case len(w.Annotations) == 0:
		c.fail(at, "annotations is empty; name one, or leave it out")
	case len(w.Annotations) > maxAnnotations:
		c.fail(at, "there are at most %d annotations", maxAnnotations)
	}
	for name, value := range w.Annotations {
		if name == "" || len(name) > maxAnnotation || len(value) > maxAnnotation {
			c.fail(at, "an annotation's name and value are at most %d bytes, and the name is not empty", maxAnnotation)
			break
		}
	}
	a.Annotations = w.Annotations
	return a
}

// key reads and checks a public key.
func (c *compiler) key(path string, w *Key) *engine.Trust {
	hasFile, hasData := c.doc.Has(path+".file"), c.doc.Has(path+".data")
	var text []byte
	var err error
	var key crypto.PublicKey
	switch {
	case hasFile && hasData:
		c.errs = append(c.errs, c.doc.KeyErrorf(path+".data", "a key has file or data, not both"))
		return nil
	case hasFile:
		path += ".file"
		text, err = c.keyFile(w.File)
	case hasData:
		path += ".data"
		text, err = c.keyData(w.Data)
	default:
		c.fail(path, "the key has neither file nor data")
		return nil
	}
	if err == nil {
		key, err = parseKey(text)
	}
	if err != nil {
		c.fail(path, "%v", err)
		return nil
	}
	trust, err := engine.NewTrust(engine.Trust{Keys: []crypto.PublicKey{key}})
	if err != nil {
		c.fail(path, "%v", err)
		return nil
	}
	return trust
}

func (c *compiler) keyFile(name string) ([]byte, error) {
	switch {
	case name == "":
		return nil, errors.New("the file has no name")
	case strings.HasPrefix(name, envScheme):
		return nil, fmt.Errorf("this is not the name of a file; write data: %s", name)
	case strings.Contains(name, "://"):
		return nil, errors.New("this is not the name of a file; keys are read from files, from data and from the environment, and from nowhere else")
	case strings.Contains(name, "-----BEGIN"):
		return nil, errors.New("this is a key, not the name of a file; write data in place of file")
	case !filepath.IsAbs(name):
		name = filepath.Join(filepath.Dir(c.file), name)
	}
	read := c.opts.ReadFile
	if read == nil {
		read = readFile
	}
	text, err := read(name)
	if err != nil {
		return nil, fmt.Errorf("the key cannot be read: %w", err)
	}
	return text, nil
}

const envScheme = "env://"

func (c *compiler) keyData(data string) ([]byte, error) {
	name, isEnv := strings.CutPrefix(data, envScheme)
	if !isEnv {
		if !strings.Contains(data, "-----BEGIN") {
			return nil, errors.New("data is the key itself, -----BEGIN PUBLIC KEY----- and so on, or env://NAME; for a file, write file in place of data")
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
