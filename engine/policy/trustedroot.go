package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"sluice/engine"
)

// Bounds of the trusted roots of one authority.
const (
	maxRoots        = 8  // in one list
	maxCombinations = 16 // of roots, logs and timestamp authorities; a signature is tried with each
)

// Root is one source of trust that policies name: a trusted_root.json, or what was made of certificates and keys.
type Root struct {
	ID     string // hexadecimal SHA-256 of JSON
	Name   string // for people: the file, the mirror, or where in the policy it stands
	File   string // that it was read from; empty if it was in none
	Mirror string // that it is fetched from by TUF; empty if it is not fetched
	JSON   []byte // empty if it has not been fetched yet
}

// rootSource is a root while it is compiled. Without JSON it has not been fetched yet.
type rootSource struct {
	name string
	json []byte
}

// needs is what a root must have to be of any use.
type needs struct {
	certificates, ctlogs bool
	logs, timestamps     int
}

// roots reads a list of trusted roots.
func (c *compiler) roots(path string, list []TrustedRoot, need needs) []rootSource {
	switch {
	case len(list) == 0:
		c.fail(path, "the list is empty; name a trusted root")
	case len(list) > maxRoots:
		c.fail(path, "there are at most %d trusted roots in a list", maxRoots)
		return nil
	}
	var roots []rootSource
	for i, at := range c.items(path, len(list)) {
		if root, ok := c.root(at, &list[i], need); ok {
			roots = append(roots, root)
		}
	}
	return roots
}

// root reads one trusted root, in whichever form it is written.
func (c *compiler) root(path string, w *TrustedRoot, need needs) (rootSource, bool) {
	pieces := c.first(path, "certificateAuthorities", "ctLogs", "tLogs", "timestampAuthorities")
	whole := c.first(path, "file", "data")
	root := Root{Name: fmt.Sprintf("%s: %s", c.title, strings.TrimPrefix(path, "$.spec."))}
	at := path
	switch {
	case w.TUF != nil && (pieces != "" || whole != ""), pieces != "" && whole != "":
		c.fail(path, "a trusted root is a file, data, tuf or made of pieces, and only one of these; make a list of several")
		return rootSource{}, false
	case w.TUF != nil:
		mirror, initial, ok := c.tuf(path+".tuf", w.TUF)
		if !ok {
			return rootSource{}, false
		}
		root.Name, root.Mirror = mirror, mirror
		if c.opts.FetchedRoot != nil {
			root.JSON = c.opts.FetchedRoot(mirror, initial)
		}
	case pieces != "":
		var ok bool
		if root.JSON, ok = c.pieces(path, w); !ok {
			return rootSource{}, false
		}
	case whole == "" && w.File == "":
		c.fail(path, "a trusted root is a file, data, tuf or made of pieces, and this is nothing")
		return rootSource{}, false
	default:
		text, place, ok := c.source(path, Source{File: w.File, Data: w.Data}, rootMaterial())
		if !ok {
			return rootSource{}, false
		}
		root.JSON, at = text, place
		if w.File != "" {
			root.Name, root.File = w.File, c.fileName(w.File)
		}
	}
	return c.addRoot(at, root, need)
}

// addRoot checks a root's JSON, if there is any yet, and remembers the root.
func (c *compiler) addRoot(at string, root Root, need needs) (rootSource, bool) {
	sum := sha256.Sum256(root.JSON)
	root.ID = hex.EncodeToString(sum[:])
	if len(root.JSON) > 0 {
		if err := c.checkRoot(root.JSON, need); err != nil {
			c.fail(at, "%v", err)
			return rootSource{}, false
		}
	}
	c.found = append(c.found, root)
	return rootSource{root.Name, root.JSON}, true
}

// first returns the first of the fields that is there.
func (c *compiler) first(path string, fields ...string) string {
	for _, f := range fields {
		if c.doc.Has(path + "." + f) {
			return f
		}
	}
	return ""
}

// PublicGoodMirror is the TUF repository of sigstore's public-good instance. Its root.json is known to whoever fetches
// it, so that no policy has to have it.
const PublicGoodMirror = "https://tuf-repo-cdn.sigstore.dev"

// tuf reads where a root is fetched from, and by which root.json the first answer is judged; none for the public instance.
func (c *compiler) tuf(path string, w *TUF) (mirror string, initial []byte, ok bool) {
	mirror = PublicGoodMirror
	if c.doc.Has(path + ".mirror") {
		u, err := url.Parse(w.Mirror)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			c.fail(path+".mirror", "the mirror is the address of a TUF repository, such as %s", PublicGoodMirror)
			return "", nil, false
		}
		mirror = strings.TrimRight(w.Mirror, "/")
	}
	if !c.doc.Has(path + ".root") {
		if mirror != PublicGoodMirror {
			c.fail(path, "root is missing; it is the repository's root.json, by which the first answer is judged")
		}
		return mirror, nil, mirror == PublicGoodMirror
	}
	initial, at, ok := c.source(path+".root", *w.Root, material{"root.json", "JSON that begins with {", "{"})
	if ok && !json.Valid(initial) {
		c.fail(at, "this is no JSON; it should be the repository's root.json")
		return "", nil, false
	}
	return mirror, initial, ok
}

// checkRoot tells whether a root can be used, and for what is needed of it.
func (c *compiler) checkRoot(text []byte, need needs) error {
	root, err := parseRoot(text)
	if err != nil {
		return err
	}
	if c.opts.CheckRoot != nil {
		if err := c.opts.CheckRoot(text); err != nil {
			return fmt.Errorf("this trusted root cannot be used: %w", err)
		}
	}
	switch {
	case need.certificates && len(root.CertificateAuthorities) == 0:
		return errors.New("this trusted root has no certificate authority, so no signature would be good by it")
	case need.ctlogs && len(root.CTLogs) == 0:
		return errors.New("this trusted root has no certificate transparency log, so no certificate would be good by it; to do without, write insecureIgnoreSCT: true")
	case need.logs > differentLogs(root.TLogs):
		return fmt.Errorf("this trusted root has %s, and %d asked for, so no signature would be good by it",
			plural(differentLogs(root.TLogs), "transparency log"), need.logs)
	case need.timestamps > len(root.TimestampAuthorities):
		return fmt.Errorf("this trusted root has %s, and %d asked for, so no signature would be good by it", plural(len(root.TimestampAuthorities), "timestamp authority"), need.timestamps)
	}
	return nil
}

// differentLogs counts logs by their keys: one can have several IDs, one for each version of Rekor.
func differentLogs(logs []json.RawMessage) int {
	keys := map[string]bool{}
	for _, raw := range logs {
		type key struct { // whose names can be written in two ways, as all of ProtoJSON's
			RawBytes  string `json:"rawBytes"`
			RawBytes2 string `json:"raw_bytes"`
		}
		var log struct {
			PublicKey  key `json:"publicKey"`
			PublicKey2 key `json:"public_key"`
		}
		if json.Unmarshal(raw, &log) == nil {
			keys[log.PublicKey.RawBytes+log.PublicKey.RawBytes2+log.PublicKey2.RawBytes+log.PublicKey2.RawBytes2] = true
		}
	}
	return len(keys)
}

func plural(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	if stem, ok := strings.CutSuffix(what, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// combine makes the roots that signatures are judged by: those of base as they are, or with the logs and timestamp
// authorities of others in place of their own.
func (c *compiler) combine(path string, base, logs, timestamps []rootSource) []*engine.TrustRoot {
	if len(c.errs) > 0 {
		return nil
	}
	if n := max(1, len(base)) * max(1, len(logs)) * max(1, len(timestamps)); n > maxCombinations {
		c.fail(path, "these are %d combinations of trusted roots, and a signature would be tried with each; %d are accepted", n, maxCombinations)
		return nil
	}
	var roots []*engine.TrustRoot
	if len(logs) == 0 && len(timestamps) == 0 {
		for _, b := range base {
			roots = append(roots, trustRoot(b))
		}
		return roots
	}
	for _, b := range atLeastOne(base) {
		for _, l := range atLeastOne(logs) {
			for _, t := range atLeastOne(timestamps) {
				root, err := mergeRoots(b, l, t)
				if err != nil { // each has been read before
					c.fail(path, "%v", err)
					return nil
				}
				roots = append(roots, root)
			}
		}
	}
	return roots
}

// atLeastOne returns pointers to what is in a list, or a nil one if that is nothing.
func atLeastOne(list []rootSource) []*rootSource {
	if len(list) == 0 {
		return []*rootSource{nil}
	}
	pointers := make([]*rootSource, len(list))
	for i := range list {
		pointers[i] = &list[i]
	}
	return pointers
}

func trustRoot(s rootSource) *engine.TrustRoot {
	sum := sha256.Sum256(s.json)
	return &engine.TrustRoot{ID: hex.EncodeToString(sum[:]), Name: s.name, JSON: s.json}
}
