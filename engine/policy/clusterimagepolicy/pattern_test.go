package clusterimagepolicy

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"sluice/engine"
)

// TestAnchor holds an anchored expression against the search that policy-controller makes with the original: they accept
// the same texts.
func TestAnchor(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{
		"a", "b", "ab", ".", ".*", ".+", ".*?", "^", "$", "|", "(a|b)", "(?:^a|b$)", "[ab]", "[^a]", "[|]", "[]a]", "[^]|]", `\|`, `\^`, `\$`,
		`\.`, `\.*`, "(?i)", "(?i:A)", "(?s)", "(?m)", "(?U)", `\A`, `\z`, `\Qa|b\E`, `\Q|`, "a?", "b*", "b+?", "a{2}", "()", "(^)", "($)", "[[:alpha:]|]", `\b`,
	}
	texts := []string{"", "a", "b", "ab", "ba", "aab", "abb", "xay", "bxa", "AB", "a|b", "|", "^a", "b$", ".", "aa.bb", "abab"}
	tried := 0
	for range 12_000 {
		var b strings.Builder
		for range 1 + random.IntN(6) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		expr := b.String()
		searched, err := regexp.Compile(expr)
		anchored, _, _, anchorErr := anchor(expr)
		switch {
		case err != nil:
			if anchorErr == nil {
				t.Fatalf("%q does not compile, and is anchored as %q", expr, anchored)
			}
			continue
		case anchorErr != nil:
			continue // it is refused, which is reported
		}
		tried++
		matched, err := regexp.Compile(anchored)
		if err != nil {
			t.Fatalf("%q became %q: %v", expr, anchored, err)
		}
		if start, end := anchors(anchored); !start || !end {
			t.Fatalf("%q became %q, which is not anchored", expr, anchored)
		}
		for _, text := range texts {
			if text == "" && anchored == somebody {
				continue
			}
			if got, want := matched.MatchString(text), searched.MatchString(text); got != want {
				t.Fatalf("%q became %q, and for %q they differ: %v, and %v by the original", expr, anchored, text, got, want)
			}
		}
	}
	if tried < 4_000 {
		t.Errorf("only %d expressions were compared", tried)
	}
}

// TestAnchorKeepsWhatIsAnchored holds that what is written as it should be stays as it is.
func TestAnchorKeepsWhatIsAnchored(t *testing.T) {
	t.Parallel()
	f := func(expr, want string, start, end bool) {
		t.Helper()
		got, openStart, openEnd, err := anchor(expr)
		if err != nil || got != want || openStart != start || openEnd != end {
			t.Errorf("%q became %q, open %v and %v (%v), want %q, %v and %v", expr, got, openStart, openEnd, err, want, start, end)
		}
	}
	f(`^https://github\.com/example/.+$`, `^https://github\.com/example/.+$`, false, false)
	f(`^(a|b)@example\.com$`, `^(a|b)@example\.com$`, false, false)
	f(`^a[|]b$`, `^a[|]b$`, false, false)
	f(`.*`, `^.*$`, false, false)
	f(`^.+$`, `^.+$`, false, false)
	f(`github.com/example`, `^.*github.com/example.*$`, true, true)
	f(`.*github.com/example.*`, `^.*github.com/example.*$`, true, true)
	f(`^https://github.com/example/`, `^https://github.com/example/.*$`, false, true)
	f(`^https://github.com/example/.+`, `^https://github.com/example/.+$`, false, true)
	f(`example\.com$`, `^.*example\.com$`, true, false)
	f(`^a$|^b$`, `^(?:^a$|^b$)$`, false, false)
	f(`^a|b$`, `^.*(?:^a|b$).*$`, true, true)
	f(`^a\.*`, `^a\.*.*$`, false, true)
}

// TestImageIsForNoLess holds translated globs against policy-controller's own matching: whatever image it applies a policy
// to, the translation is for too.
func TestImageIsForNoLess(t *testing.T) {
	t.Parallel()
	const digest = "@#" // for @sha256:…, whose letters a glob could match only by chance
	names := []string{
		"index.docker.io/library/nginx", "index.docker.io/example/app", "index.docker.io/example/deep/app", "ghcr.io/example/app",
		"ghcr.io/example/app2", "ghcr.io/app", "registry.local:5000/app", "registry.local:5000/example/app", "localhost/app", "localhost:5000/app",
	}
	pieces := []string{"*", "**", "***", "/", "/", "/", "ghcr.io", "index.docker.io", "registry.local:5000", "localhost", "example", "app", "app2", "library", "nginx", ":", "a", ".", "lo", "5000", "io"}
	random := rand.New(rand.NewPCG(3, 4))
	matches, loaded := 0, 0
	for range 20_000 {
		var b strings.Builder
		for range 1 + random.IntN(7) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		glob := b.String()
		theirs := theirGlob(t, glob)
		image, err := imageOf(glob)
		if err != nil {
			t.Fatalf("%q: %v", glob, err)
		}
		var ours engine.Glob
		if image.glob != "" {
			if ours, err = engine.ParseImageGlob(image.glob); err != nil {
				if !strings.Contains(err.Error(), "matches nothing") && !strings.Contains(err.Error(), "no image") {
					t.Fatalf("%q became %q: %v", glob, image.glob, err)
				}
				t.Fatalf("%q became %q, which does not load: %v", glob, image.glob, err)
			}
			loaded++
		} else if image.note == "" {
			t.Fatalf("%q is left out without a note", glob)
		}
		for _, name := range names {
			if !theirs.MatchString(name + digest) {
				continue
			}
			matches++
			if image.glob == "" || !ours.Match(name) {
				t.Fatalf("%q became %q, and is not for %s any more", glob, image.glob, name)
			}
		}
	}
	if matches < 1000 || loaded < 1000 {
		t.Errorf("only %d matches and %d globs were compared", matches, loaded)
	}
}

// theirGlob is what policy-controller makes of a glob: * is any run of characters but /, and ** any run at all.
func theirGlob(t *testing.T, glob string) *regexp.Regexp {
	t.Helper()
	switch glob {
	case "*":
		glob = "index.docker.io/library/*"
	case "*/*":
		glob = "index.docker.io/*/*"
	}
	quoted := regexp.QuoteMeta(glob)
	quoted = strings.ReplaceAll(quoted, `\*\*`, "\x00")
	quoted = strings.ReplaceAll(quoted, `\*`, "[^/]*")
	re, err := regexp.Compile("^" + strings.ReplaceAll(quoted, "\x00", ".*") + "$")
	if err != nil {
		t.Fatal(err)
	}
	return re
}

// TestNames holds that labels are labels, and distinct.
func TestNames(t *testing.T) {
	t.Parallel()
	valid := regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	random := rand.New(rand.NewPCG(5, 6))
	const letters = "abcABC019-_. /ü\n\U0001f600"
	taken := map[string]bool{}
	for range 2000 {
		var b strings.Builder
		for range random.IntN(80) {
			b.WriteRune([]rune(letters)[random.IntN(len([]rune(letters)))])
		}
		before := len(taken)
		name := unique(label(b.String(), "absent"), taken)
		if !valid.MatchString(name) || len(taken) != before+1 {
			t.Fatalf("%q became %q", b.String(), name)
		}
	}
}
