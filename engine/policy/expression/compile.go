package expression

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"sluice/engine"
)

// Bounds of an expression. The policy's author writes it, so that these are no defence, but keep it to a size that a
// person can read and that compiles in milliseconds.
const (
	MaxText  = 8 << 10 // bytes
	maxNodes = 10_000  // after macros such as all and exists have been expanded
	maxDepth = 100     // of parts within each other
)

// Expression is a compiled condition. It is immutable and safe for concurrent use.
type Expression struct {
	text    string
	program cel.Program
}

var _ engine.Expression = (*Expression)(nil)

// String returns the condition as it was written.
func (e *Expression) String() string { return e.text }

// Error is what is wrong with an expression, and where.
type Error struct {
	Line, Column int    // within the text, from 1, the column in characters
	Message      string // one line
}

// Error returns line:column: message.
func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }

// Compile parses and checks an expression, and plans its evaluation once and for all. The error is an [*Error].
func Compile(text string) (expression *Expression, err error) {
	defer func() {
		if v := recover(); v != nil { // in a parser that is not ours
			expression, err = nil, &Error{1, 1, "this expression cannot be read"}
		}
	}()
	switch {
	case strings.TrimSpace(text) == "":
		return nil, &Error{1, 1, "the expression is empty"}
	case len(text) > MaxText:
		return nil, &Error{1, 1, fmt.Sprintf("an expression has at most %d bytes; this one has %d", MaxText, len(text))}
	}
	env, err := theEnvironment()
	if err != nil {
		return nil, &Error{1, 1, err.Error()}
	}
	parsed, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, env.first(text, issues.Errors())
	}
	if got := parsed.OutputType(); !got.IsExactType(cel.BoolType) {
		remedy := ""
		if got.IsExactType(cel.DynType) {
			remedy = ", such as … == true"
		}
		return nil, &Error{1, 1, fmt.Sprintf("an expression must be true or false, and this one is of type %s; make a comparison of it%s", got, remedy)}
	}
	patterns := patterns{}
	if err := patterns.collect(parsed.NativeRep()); err != nil {
		return nil, err
	}
	program, err := env.Program(parsed, cel.CustomDecoratorV2(env.metered(patterns)))
	if err != nil {
		return nil, &Error{1, 1, oneLine(err.Error())}
	}
	return &Expression{text: text, program: program}, nil
}

// first returns the error that a reader of the text meets first.
func (env *environment) first(text string, errs []*cel.Error) *Error {
	e := slices.MinFunc(errs, func(a, b *cel.Error) int {
		return cmp.Or(cmp.Compare(a.Location.Line(), b.Location.Line()), cmp.Compare(a.Location.Column(), b.Location.Column()))
	})
	return place(e.Location, env.plain(text, e))
}

// place makes an Error of a place as CEL counts it: lines from 1, columns from 0.
func place(at common.Location, message string) *Error {
	message = strings.ReplaceAll(oneLine(message), " (in container '')", "")
	return &Error{max(at.Line(), 1), max(at.Column(), 0) + 1, message}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// placeOf returns where a part of an expression begins.
func placeOf(a *ast.AST, id int64, format string, args ...any) *Error {
	return place(a.SourceInfo().GetStartLocation(id), fmt.Sprintf(format, args...))
}

// collect compiles the patterns of all calls of matches.
func (p patterns) collect(a *ast.AST) error {
	var failed *Error
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if failed != nil || e.Kind() != ast.CallKind || e.AsCall().FunctionName() != matchesFunction {
			return
		}
		args := e.AsCall().Args()
		pattern := args[len(args)-1]
		literal, ok := types.String(""), false
		if pattern.Kind() == ast.LiteralKind {
			literal, ok = pattern.AsLiteral().(types.String)
		}
		if !ok {
			failed = placeOf(a, pattern.ID(), "the pattern of matches must be written out, as text in quotes")
			return
		}
		if err := p.add(string(literal)); err != nil {
			failed = placeOf(a, pattern.ID(), "%v", err)
		}
	}))
	if failed != nil {
		return failed
	}
	return nil
}
