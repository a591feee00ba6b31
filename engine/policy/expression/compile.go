package expression

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"

	"sluice/engine"
)

// MaxText bounds an expression, in bytes. The policy's author writes it, so that this is no defence but keeps what is
// compiled to a size that a person can read.
const MaxText = 8 << 10

// The names that an expression can use.
const (
	predicateName     = "predicate"     // dyn: the predicate as it was parsed from JSON
	predicateTypeName = "predicateType" // string: the URI of its type
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
	Line, Column int // within the text, from 1, the column in characters
	Message      string
}

// Error returns line:column: message.
func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }

// Compile parses and checks an expression, and plans its evaluation once and for all. The error is an [*Error].
func Compile(text string) (*Expression, error) {
	if len(text) > MaxText {
		return nil, &Error{1, 1, fmt.Sprintf("an expression has at most %d bytes; this one has %d", MaxText, len(text))}
	}
	if strings.TrimSpace(text) == "" {
		return nil, &Error{1, 1, "the expression is empty"}
	}
	env, err := environment()
	if err != nil {
		return nil, &Error{1, 1, err.Error()}
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, &Error{max(1, first.Location.Line()), max(0, first.Location.Column()) + 1, message(first.Message)}
	}
	if got := ast.OutputType(); !got.IsExactType(cel.BoolType) {
		return nil, &Error{1, 1, fmt.Sprintf("the expression must be true or false; this one is of type %s", got)}
	}
	program, err := env.Program(ast, cel.CostLimit(CostLimit))
	if err != nil {
		return nil, &Error{1, 1, err.Error()}
	}
	return &Expression{text: text, program: program}, nil
}

func message(text string) string {
	return strings.ReplaceAll(text, " (in container '')", "")
}

func environment() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable(predicateName, cel.DynType),
		cel.Variable(predicateTypeName, cel.StringType),
		cel.CrossTypeNumericComparisons(true),
		ext.Strings(), ext.Lists(), ext.Sets(), ext.Math(),
	)
}
