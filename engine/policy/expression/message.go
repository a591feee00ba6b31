package expression

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
)

var (
	undeclaredName = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	callAfter      = regexp.MustCompile(`^\.([A-Za-z_][A-Za-z0-9_]*)\(`)
	functionName   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]*$`)
)

// plain puts an error into the words of somebody who writes an expression, and not those of a parser.
func (env *environment) plain(text string, e *cel.Error) string {
	message := oneLine(e.Message)
	if name := undeclaredName.FindStringSubmatch(message); name != nil {
		return env.undeclared(name[1], rest(text, e.Location.Line(), e.Location.Column()))
	}
	const syntax = "Syntax error: "
	if token, ok := strings.CutPrefix(message, syntax+"token recognition error at: "); ok {
		return syntax + unknownToken(token)
	}
	// The parser lists every token that it would have taken.
	for _, list := range []string{" expecting {", " expecting <EOF>"} {
		message, _, _ = strings.Cut(message, list)
	}
	switch message {
	case syntax + "mismatched input '<EOF>'":
		return syntax + "something is missing at the end"
	case syntax + "mismatched input 'and'":
		return syntax + "and is written &&"
	case syntax + "mismatched input 'or'":
		return syntax + "or is written ||"
	}
	return strings.ReplaceAll(message, "at '<EOF>'", "at the end")
}

// unknownToken says what was meant by what begins no part of an expression, which is in quotes.
func unknownToken(token string) string {
	switch inner := strings.TrimPrefix(token, "'"); {
	case strings.HasPrefix(inner, "=>"):
		return "a comparison is written >="
	case strings.HasPrefix(inner, "="):
		return "a comparison is written =="
	case strings.HasPrefix(inner, `"`), strings.HasPrefix(inner, "'"):
		return "the text that begins here has no quote at its end"
	}
	return token + " means nothing here"
}

// undeclared says what else a name could be, of which after is what follows its place in the text: at a function's it is
// the parenthesis.
func (env *environment) undeclared(name, after string) string {
	isFunction := strings.HasPrefix(after, "(")
	if call := callAfter.FindStringSubmatch(strings.TrimPrefix(after, name)); call != nil && strings.HasPrefix(after, name) {
		// math.abs is one name, since there is no variable math.
		if full := name + "." + call[1]; env.nearest(full) != "" {
			name, isFunction = full, true
		}
	}
	if !isFunction {
		return fmt.Sprintf("undeclared reference to '%s'; an expression sees predicate and predicateType", name)
	}
	message := "there is no function " + name
	if near := env.nearest(name); near != "" {
		message += fmt.Sprintf("; did you mean %s?", near)
	}
	return message
}

// rest returns the text from a place as CEL counts it.
func rest(text string, line, column int) string {
	lines := strings.Split(text, "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	runes := []rune(lines[line-1])
	if column < 0 || column > len(runes) {
		return ""
	}
	return string(runes[column:])
}

// nearest returns the function whose name differs from a name by the fewest letters, two at most; "" if there is none.
func (env *environment) nearest(name string) string {
	best, limit := "", 2
	for _, known := range env.names {
		if n := distance(name, known, limit); n <= limit && n < len(known) {
			best, limit = known, n-1
		}
	}
	return best
}

// distance counts the letters that have to be put in, taken out or replaced to make b of a; more than limit if it is
// more than that. It takes 3^limit comparisons at most.
func distance(a, b string, limit int) int {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	switch {
	case a == "" || b == "":
		return len(a) + len(b)
	case limit <= 0:
		return 1
	}
	limit--
	return 1 + min(distance(a[1:], b, limit), distance(a, b[1:], limit), distance(a[1:], b[1:], limit))
}

// functionNames returns the names of functions and macros as they are written, sorted.
func functionNames(env *cel.Env) []string {
	var names []string
	for name := range env.Functions() {
		if functionName.MatchString(name) {
			names = append(names, name)
		}
	}
	for _, macro := range env.Macros() {
		name := macro.Function()
		if (name == "greatest" || name == "least") && macro.IsReceiverStyle() { // the only ones with a namespace
			name = "math." + name
		}
		if functionName.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
