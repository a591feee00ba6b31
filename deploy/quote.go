package deploy

import (
	"encoding/json"
	"regexp"
	"strings"
)

// plainYAML is what YAML takes for a string wherever it stands, lists in brackets included: paths, URLs and flags.
var plainYAML = regexp.MustCompile(`\A(?:/|https://|--)[A-Za-z0-9/._=:-]*[A-Za-z0-9/]\z`)

// quoteYAML writes a string so that YAML reads the same string, whatever is in it. Every JSON string is a YAML string
// in double quotes (YAML 1.2, section 1.3), save that JSON leaves some characters that cannot be printed as they are:
// settle refuses those.
func quoteYAML(s string) (string, error) {
	if plainYAML.MatchString(s) {
		return s, nil
	}
	return quoteJSON(s)
}

func quoteJSON(s string) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return strings.TrimSuffix(b.String(), "\n"), err
}

var plainShell = regexp.MustCompile(`\A[A-Za-z0-9/._=,:@%+-]+\z`)

// quoteShell writes a string as one word of a POSIX shell.
func quoteShell(s string) string {
	if plainShell.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// indent sets every line of a block in by n blanks, for a literal block of YAML.
func indent(n int, s string) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n"+pad)
}
