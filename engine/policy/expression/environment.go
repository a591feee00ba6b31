package expression

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/ext"
)

// The names that an expression can use.
const (
	predicateName     = "predicate"
	predicateTypeName = "predicateType"
	matchesFunction   = "matches"
)

const (
	maxRange   = 10_000 // elements of lists.range
	maxPattern = 2_000  // instructions of a regular expression
	maxDigits  = 100    // that format prints of a number
)

// environment is what all expressions are compiled in. It is immutable, and takes a few milliseconds to make.
type environment struct {
	*cel.Env
	functions map[string]*functions.Overload // by the IDs of overloads, and by names
	names     []string                       // of functions and macros, for those who mistype one
}

var theEnvironment = sync.OnceValues(newEnvironment)

func newEnvironment() (*environment, error) {
	env, err := cel.NewEnv(
		cel.Variable(predicateName, cel.DynType),
		cel.Variable(predicateTypeName, cel.StringType),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		ext.Strings(ext.StringsVersion(5), ext.StringsMaxPrecision(maxDigits)),
		ext.Lists(ext.ListsVersion(3), ext.ListsMaxRangeSize(maxRange)),
		ext.Sets(ext.SetsVersion(1)),
		ext.Math(ext.MathVersion(2)),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.ParserRecursionLimit(maxDepth),
		cel.ParserExpressionSizeLimit(MaxText),
		cel.ExpressionNodeLimit(maxNodes),
	)
	if err != nil {
		return nil, err
	}
	e := &environment{env, map[string]*functions.Overload{}, functionNames(env)}
	for _, f := range env.Functions() {
		bindings, err := f.Bindings()
		if err != nil {
			return nil, err
		}
		for _, b := range bindings {
			e.functions[b.Operator] = b
		}
	}
	return e, nil
}

// patterns are the regular expressions of one expression, by their texts. They do not change once it is compiled.
type patterns map[string]pattern

type pattern struct {
	*regexp.Regexp
	size int // instructions; a match takes at most so many steps for each character
}

func (p patterns) add(text string) error {
	re, err := regexp.Compile(text)
	if err != nil {
		return fmt.Errorf("this is no regular expression (RE2): %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return fmt.Errorf("this is no regular expression (RE2): %w", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return fmt.Errorf("this is no regular expression (RE2): %w", err)
	}
	if len(program.Inst) > maxPattern {
		return fmt.Errorf("this regular expression is too large: it has %d instructions, and may have %d", len(program.Inst), maxPattern)
	}
	p[text] = pattern{re, len(program.Inst)}
	return nil
}
