package credential

import (
	"regexp"
	"strings"
	"unicode"
)

// maxSaid is how much of a plugin's standard error is logged, in bytes.
const maxSaid = 300

var (
	// announces matches words that a secret may follow, or be in.
	announces = regexp.MustCompile(`(?i)passw|passphrase|token|secret|authorization|bearer|basic|signature|` +
		`api[_-]?key|access[_-]?key|session|\bauth\b`)
	// userinfo stands between a scheme and a host.
	userinfo = regexp.MustCompile(`//[^/\s@]+@`)
	// opaque is what is too long for a word: tokens, keys, hashes.
	opaque = regexp.MustCompile(`[A-Za-z0-9+/_=~%-]{20,}`)
)

// redact makes a short text for the log of what a plugin has written to its standard error: its end, on one line,
// without what looks like a secret. It rather leaves out too much than too little.
func redact(text string) string {
	const instead = "…"
	text = userinfo.ReplaceAllString(printable(text), "//"+instead+"@")
	var words []string
	skip := 0 // so many words, be they on the next line
	for line := range strings.Lines(text) {
		all := strings.Fields(line)
		for i, word := range all {
			announced := announces.MatchString(word)
			if skip > 0 {
				skip--
				if announced {
					skip = 2
				}
				continue
			}
			if !announced {
				words = append(words, opaque.ReplaceAllString(word, instead))
				continue
			}
			skip = 2
			name, _, assigned := strings.Cut(word, ":")
			if name, _, ok := strings.Cut(name, "="); ok || assigned {
				words = append(words, opaque.ReplaceAllString(name, instead), instead)
				if skip = 0; i == len(all)-1 && strings.ContainsAny(word[len(word)-1:], ":=") {
					skip = 1
				}
				break // the rest of the line may be it
			}
			words = append(words, opaque.ReplaceAllString(word, instead), instead)
		}
	}
	text = strings.Join(words, " ")
	if len(text) > maxSaid {
		text = instead + strings.ToValidUTF8(text[len(text)-maxSaid:], "")
	}
	return text
}

// printable leaves newlines, makes other space one kind, and replaces what does not show.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
}
