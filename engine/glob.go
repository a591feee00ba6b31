package engine

import (
	"errors"
	"regexp"
	"strings"
)

// Glob is a compiled pattern. * matches any run of characters but '/', ** any run at all; nothing else is special,
// and the whole name must match.
type Glob struct {
	text string
	re   *regexp.Regexp // linear in the input, whatever the pattern
}

// String returns the pattern as it was written.
func (g Glob) String() string { return g.text }

// Match tells whether the whole of s matches.
func (g Glob) Match(s string) bool { return g.re != nil && g.re.MatchString(s) }

// ParseGlob compiles a pattern for tags or namespaces: one without any meaning beyond its wildcards.
func ParseGlob(pattern string) (Glob, error) {
	if pattern == "" {
		return Glob{}, errors.New("an empty pattern matches nothing")
	}
	return compileGlob(pattern, pattern)
}

// ParseImageGlob compiles a pattern over [Reference.Name], and refuses one that no image name can match. A pattern
// that begins with a plain name is read as container runtimes read such a name: "nginx" is
// "index.docker.io/library/nginx", "team/*" is "index.docker.io/team/*".
func ParseImageGlob(pattern string) (Glob, error) {
	switch {
	case pattern == "":
		return Glob{}, errors.New("an empty pattern matches no image; ** matches every image")
	case strings.ContainsAny(pattern, "@"):
		return Glob{}, errors.New("a glob is matched against registry and repository, so one with a digest matches nothing; leave the digest out")
	case strings.HasPrefix(pattern, "/") || strings.HasSuffix(pattern, "/") || strings.Contains(pattern, "//"):
		return Glob{}, errors.New("image names have no empty parts, so this glob matches nothing")
	case strings.Contains(pattern, "***"):
		return Glob{}, errors.New("write * (stops at /) or ** (does not)")
	}
	first, rest, slash := strings.Cut(pattern, "/")
	// A lone name with a number behind the colon is a registry with its port only if it can be a registry at all.
	mayBeRegistry := strings.ContainsRune(first, '.') || strings.HasPrefix(first, "localhost:")
	if tagAt := strings.LastIndexByte(pattern, ':'); tagAt > strings.LastIndexByte(pattern, '/') &&
		(slash || !mayBeRegistry || !isPort(pattern[tagAt+1:])) {
		return Glob{}, errors.New("a glob is matched against registry and repository, so one with a tag matches nothing; use tags.deny for tags")
	}
	full := pattern
	switch {
	case strings.Contains(first, "**"): // may stand for the registry and more
	case !slash && first == "*":
		return Glob{}, errors.New("* stops at /, and every full image name has one, so this glob matches nothing; ** matches every image")
	case !slash && strings.ContainsAny(first, ".:") || !slash && first == "localhost":
		return Glob{}, errors.New("this names a registry and no image; to mean everything in it, write " + first + "/**")
	case !slash:
		full = DockerHub + "/library/" + first
	case first == "docker.io":
		full = DockerHub + "/" + dockerHubPath(rest)
	case first == DockerHub:
		full = DockerHub + "/" + dockerHubPath(rest)
	case strings.ContainsAny(first, ".:*") || first == "localhost": // a registry
	default:
		full = DockerHub + "/" + pattern
	}
	host, path, _ := strings.Cut(full, "/")
	if !strings.Contains(host, "**") {
		if !matchesOnly(host, isHostByte) {
			return Glob{}, errors.New("a registry's name holds letters, digits, dots, dashes and a port, so this glob matches nothing")
		}
		host = strings.ToLower(host)
		full = host + "/" + path
	}
	if !matchesOnly(path, isPathByte) {
		return Glob{}, errors.New("image names are lower-case letters, digits and . _ - /, so this glob matches nothing")
	}
	return compileGlob(pattern, full)
}

// dockerHubPath adds the library/ that Docker Hub's bare names have, unless a wildcard may stand for it.
func dockerHubPath(path string) string {
	if strings.Contains(path, "/") || strings.Contains(path, "**") {
		return path
	}
	return "library/" + path
}

func compileGlob(text, pattern string) (Glob, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for pattern != "" {
		switch {
		case strings.HasPrefix(pattern, "**"):
			b.WriteString(`.*`)
			pattern = strings.TrimLeft(pattern, "*")
		case pattern[0] == '*':
			b.WriteString(`[^/]*`)
			pattern = pattern[1:]
		default:
			n := strings.IndexByte(pattern, '*')
			if n < 0 {
				n = len(pattern)
			}
			b.WriteString(regexp.QuoteMeta(pattern[:n]))
			pattern = pattern[n:]
		}
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	if err != nil { // a pattern beyond the regexp package's size limit
		return Glob{}, errors.New("this glob is too long")
	}
	return Glob{text: text, re: re}, nil
}

func isPort(s string) bool {
	return s != "" && matchesOnly(s, func(c byte) bool { return '0' <= c && c <= '9' })
}

func isHostByte(c byte) bool {
	return isPathByte(c) && c != '/' || 'A' <= c && c <= 'Z' || c == ':' || c == '[' || c == ']'
}

func isPathByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("._-/*", c) >= 0
}

func matchesOnly(s string, ok func(byte) bool) bool {
	for i := 0; i < len(s); i++ {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

// Namespaces is a compiled set of namespace patterns: in if any plain pattern matches (or there are none) and no
// excluding one does.
type Namespaces struct {
	include, exclude []Glob
}

// ParseNamespaces compiles patterns, of which one that begins with ! excludes. An error names the pattern by index.
func ParseNamespaces(patterns []string) (Namespaces, int, error) {
	var n Namespaces
	for i, p := range patterns {
		name, excludes := strings.CutPrefix(p, "!")
		if !matchesOnly(name, func(c byte) bool { return isPathByte(c) && c != '/' && c != '_' && c != '.' }) || name == "" {
			return Namespaces{}, i, errors.New("namespaces are lower-case letters, digits and -, so this pattern matches nothing")
		}
		g, err := ParseGlob(name)
		if err != nil {
			return Namespaces{}, i, err
		}
		if excludes {
			n.exclude = append(n.exclude, g)
		} else {
			n.include = append(n.include, g)
		}
	}
	return n, -1, nil
}

// Match tells whether a namespace is in the set. The zero set holds every namespace.
func (n *Namespaces) Match(namespace string) bool {
	for i := range n.exclude {
		if n.exclude[i].Match(namespace) {
			return false
		}
	}
	if len(n.include) == 0 {
		return true
	}
	for i := range n.include {
		if n.include[i].Match(namespace) {
			return true
		}
	}
	return false
}
