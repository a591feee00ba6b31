package clusterimagepolicy

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
)

const dockerHub = "index.docker.io"

const maxGlob = 400 // bytes; what is written out in full has some more, and whoever loads it takes 512

// image is what becomes of a glob for images.
type image struct {
	glob   string // empty if nothing can match it
	note   string // what is not kept; may be empty
	weaker bool   // the glob is for more than it was
}

var (
	globBytes = regexp.MustCompile(`^[a-zA-Z0-9_:/*.-]+$`) // what policy-controller accepts
	manyStars = regexp.MustCompile(`\*{3,}`)
	portStars = regexp.MustCompile(`^([a-zA-Z0-9.*-]+)(:[0-9]*)(\*\*[^/]*)$`)
	digits    = regexp.MustCompile(`^[0-9]+$`)
)

// imageOf translates a glob. policy-controller compares it with the full name of the image together with its digest, so
// that * and ** at the end stand for the digest too; here it is compared with registry and repository alone.
func imageOf(glob string) (image, error) {
	if len(glob) > maxGlob {
		return image{}, fmt.Errorf("a glob is at most %d bytes", maxGlob)
	}
	g, digest, pinned := strings.Cut(glob, "@")
	if !globBytes.MatchString(g) || pinned && !regexp.MustCompile(`^[a-z0-9:*]*$`).MatchString(digest) {
		return image{}, fmt.Errorf("%q is not a glob for images", glob)
	}
	switch g { // as policy-controller has it
	case "*":
		g = dockerHub + "/library/*"
	case "*/*":
		g = dockerHub + "/*/*"
	}
	out := image{glob: manyStars.ReplaceAllString(g, "**")}
	if pinned {
		out.note, out.weaker = "the digest is left out, so the policy is for every digest of these images", strings.Trim(digest, "*") != ""
	}
	if m := portStars.FindStringSubmatch(out.glob); m != nil && (strings.ContainsAny(m[1], ".*") || m[1] == "localhost") {
		out.glob = m[1] + m[2] + "*/" + m[3] // this ** stands for the rest of a port, and for what follows
	}
	if colon := tagAt(out.glob); colon >= 0 {
		if tag := out.glob[colon+1:]; !pinned {
			out.note, out.weaker = "the tag is left out, so the policy is for every tag of these images", strings.Trim(tag, "*") != ""
		}
		if out.glob = out.glob[:colon]; tagAt(out.glob) >= 0 {
			return image{note: "left out; no image has such a name, so it matches none"}, nil
		}
	}
	first, rest, qualified := strings.Cut(out.glob, "/")
	open := strings.Contains(first, "**") // may stand for the registry and more
	host, path := first, rest
	switch {
	case open:
		host = ""
	case !qualified && registryLike(first), out.glob == "":
		return image{note: "left out; it names a registry and no image, so it matches none"}, nil
	case !qualified:
		out.full(dockerHub + "/library/" + first)
		host, path = dockerHub, first
	case !registryLike(first) && !strings.Contains(first, "*"):
		out.full(dockerHub + "/" + out.glob)
		host, path = dockerHub, out.glob
	}
	if strings.HasPrefix(out.glob, "/") || strings.HasSuffix(out.glob, "/") || strings.Contains(out.glob, "//") ||
		strings.ContainsAny(host, "_") || strings.ContainsFunc(path, unicode.IsUpper) || open && strings.ContainsFunc(first, unicode.IsUpper) ||
		strings.Contains(path, ":") {
		return image{note: "left out; no image has such a name, so it matches none"}, nil
	}
	return out, nil
}

// tagAt returns where the tag of a glob begins, or -1. A colon before a port is none.
func tagAt(glob string) int {
	colon, slash := strings.LastIndexByte(glob, ':'), strings.LastIndexByte(glob, '/')
	if colon < 0 || colon < slash {
		return -1
	}
	if host := glob[:colon]; slash < 0 && (strings.Contains(host, ".") || host == "localhost") && digits.MatchString(glob[colon+1:]) {
		return -1
	}
	return colon
}

// registryLike tells whether the first part of an image's name is a registry.
func registryLike(first string) bool {
	return strings.ContainsAny(first, ".:") || first == "localhost"
}

// full writes out the registry of a plain name.
func (i *image) full(glob string) {
	i.glob = glob
	if i.note != "" {
		i.note += "; "
	}
	i.note += "written out as " + glob + "; policy-controller takes it for a full name, which it is not, and so for none"
}

// flagGroup is a group that sets flags for what follows it.
var flagGroup = regexp.MustCompile(`\(\?[a-zA-Z-]+\)`)

// anchor writes a regular expression that is searched for, as policy-controller's are, as one that must match the whole,
// with the same meaning. It tells on which sides it was open.
func anchor(expr string) (anchored string, openStart, openEnd bool, err error) {
	if _, err := syntax.Parse(expr, syntax.Perl); err != nil {
		return "", false, false, err
	}
	switch expr { // what says nothing is written as it is recognised
	case "^", "$", ".*", "^.*", ".*$", anybody, "(.*)", "^(.*)$":
		return anybody, false, false, nil
	case ".+", "^.+", ".+$", somebody, "(.+)", "^(.+)$":
		return somebody, false, false, nil
	}
	alternatives := split(expr)
	start, end := true, true
	for _, a := range alternatives {
		s, e := anchors(a)
		start, end = start && s, end && e
	}
	body := expr
	switch {
	case len(alternatives) > 1 || flagGroup.MatchString(expr):
		if start && end && strings.HasPrefix(expr, "^") && strings.HasSuffix(expr, "$") && len(alternatives) == 1 {
			break
		}
		body = "(?:" + expr + ")"
		body = pick(start, "^", "^.*") + body + pick(end, "$", ".*$")
	default:
		if !start {
			body = pick(beginsOpen(expr), "^", "^.*") + body
		} else if !strings.HasPrefix(expr, "^") {
			body = "^" + body
		}
		if !end {
			body += pick(endsOpen(expr), "$", ".*$")
		} else if !strings.HasSuffix(expr, "$") {
			body += "$"
		}
	}
	if s, e := anchors(body); !s || !e {
		return "", false, false, errors.New("it cannot be anchored")
	}
	return body, !start, !end, nil
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// anchors tells whether an expression without alternatives begins and ends where the text does.
func anchors(expr string) (start, end bool) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return false, false
	}
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	return parts[0].Op == syntax.OpBeginText, parts[len(parts)-1].Op == syntax.OpEndText
}

// beginsOpen and endsOpen tell whether there is .* or .+ at that side of an expression, so that it need not be added.
func beginsOpen(expr string) bool {
	return (strings.HasPrefix(expr, ".*") || strings.HasPrefix(expr, ".+")) && open(expr, 0)
}

func endsOpen(expr string) bool {
	return (strings.HasSuffix(expr, ".*") || strings.HasSuffix(expr, ".+")) && open(expr, -1)
}

func open(expr string, side int) bool {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return false
	}
	if re.Op == syntax.OpConcat {
		re = re.Sub[(side+len(re.Sub))%len(re.Sub)]
	}
	return (re.Op == syntax.OpStar || re.Op == syntax.OpPlus) && re.Sub[0].Op == syntax.OpAnyCharNotNL
}

// split takes a valid expression apart at the | that are in no group.
func split(expr string) []string {
	var parts []string
	depth, from := 0, 0
	for i := 0; i < len(expr); i++ {
		switch expr[i] {
		case '\\':
			if strings.HasPrefix(expr[i:], `\Q`) {
				if end := strings.Index(expr[i:], `\E`); end >= 0 {
					i += end + 1
					continue
				}
				i = len(expr)
				continue
			}
			i++
		case '[':
			i = classEnd(expr, i)
		case '(':
			depth++
		case ')':
			depth--
		case '|':
			if depth == 0 {
				parts, from = append(parts, expr[from:i]), i+1
			}
		}
	}
	return append(parts, expr[from:])
}

// classEnd finds the ] of a character class.
func classEnd(expr string, i int) int {
	i++
	if strings.HasPrefix(expr[i:], "^") {
		i++
	}
	for first := true; i < len(expr); i, first = i+1, false {
		switch {
		case expr[i] == '\\':
			i++
		case strings.HasPrefix(expr[i:], "[:") && strings.Contains(expr[i:], ":]"):
			i += strings.Index(expr[i:], ":]") + 1
		case expr[i] == ']' && !first:
			return i
		}
	}
	return i
}

// label makes a name of the form that image policies and their authorities have: at most 63 lower-case letters, digits and
// dashes, with a letter or digit at both ends.
func label(name, absent string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= 63 {
			break
		}
	}
	if out := strings.Trim(b.String(), "-"); out != "" {
		return out
	}
	return absent
}

// unique makes a label that is not taken yet, and takes it.
func unique(name string, taken map[string]bool) string {
	out := name
	for i := 2; taken[out]; i++ {
		suffix := fmt.Sprintf("-%d", i)
		out = strings.TrimRight(name[:min(len(name), 63-len(suffix))], "-") + suffix
	}
	taken[out] = true
	return out
}

// printable replaces what does not show, for notes and comments.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
