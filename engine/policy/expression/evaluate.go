package expression

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"sluice/engine"
)

// NoSuchKey is the error of an evaluation that came to a field which the predicate does not have.
type NoSuchKey struct {
	Key string // the field's name, or an element's value; a predicate may have a part in it
}

// Error says that the key is not there.
func (e *NoSuchKey) Error() string {
	return fmt.Sprintf("the expression cannot be evaluated: no such key: %.500s", e.Key)
}

// Holds evaluates the condition over a statement. An error says that it could not be, because the predicate has not the form
// that the condition expects, is larger than [MaxBytes], [MaxValues] or [MaxNesting] allow, or because the evaluation
// costs more than limit, which is [CostLimit] at most; it is a [*NoSuchKey] if a field is missing. The text
// of the error is for the log. It is safe for concurrent use, and takes well below a second of CPU and 64 MiB, whatever
// the predicate is.
func (e *Expression) Holds(s *engine.Statement, limit uint64) (holds bool, cost uint64, err error) {
	r := &run{limit: min(limit, CostLimit)}
	defer func() {
		if v := recover(); v != nil {
			holds, cost, err = false, r.spent, fmt.Errorf("the expression cannot be evaluated: %v", v)
		}
	}()
	predicate, err := parse(s.Predicate)
	if err != nil {
		return false, 0, fmt.Errorf("the predicate: %w", err)
	}
	out, _, err := e.program.Eval(map[string]any{predicateName: predicate, predicateTypeName: s.PredicateType, runName: r})
	if err != nil {
		var cancelled interpreter.EvalCancelledError
		if errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded {
			return false, r.spent, fmt.Errorf("the expression costs more than %d for this predicate", r.limit)
		}
		if key, ok := strings.CutPrefix(err.Error(), "no such key: "); ok {
			return false, r.spent, &NoSuchKey{key}
		}
		return false, r.spent, fmt.Errorf("the expression cannot be evaluated: %.500w", err)
	}
	result, ok := out.(types.Bool)
	if !ok {
		return false, r.spent, fmt.Errorf("the expression is of type %s, and neither true nor false", out.Type().TypeName())
	}
	return bool(result), r.spent, nil
}
