package expression

import (
	"encoding/json"
	"errors"
	"fmt"

	"cel.dev/cel-go/common/types"

	"sluice/engine"
)

// CostLimit bounds one evaluation.
const CostLimit = 2_000_000

// Holds evaluates the condition.
func (e *Expression) Holds(s *engine.Statement) (holds bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			holds, err = false, fmt.Errorf("the expression cannot be evaluated: %v", v)
		}
	}()
	var predicate any
	if s.Predicate != nil {
		if err := json.Unmarshal(s.Predicate, &predicate); err != nil {
			return false, err
		}
	}
	out, _, err := e.program.Eval(map[string]any{predicateName: predicate, predicateTypeName: s.PredicateType})
	if err != nil {
		return false, err
	}
	result, ok := out.(types.Bool)
	if !ok {
		return false, errors.New("the expression is neither true nor false")
	}
	return bool(result), nil
}
