package expression

import (
	"math"
	"math/bits"
	"strings"

	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"sluice/engine"
)

// CostLimit is what one evaluation may cost: one for each name that is looked up and each call, and more for a call that
// takes or makes much. A unit takes 0.1 to 0.5 µs of CPU. A condition on the provenance of a build costs below 100,
// and one that looks at each package of an SBOM about 20 a package.
//
// CEL has costs of its own, which are not used: they are counted when a call has returned, go by the outermost lists
// and maps alone, which anybody can undercut who writes a predicate, and to count them takes a time quadratic in the
// rounds of a loop (cel-go v0.32.0: minutes for 2 million units).
const CostLimit = engine.MaxCost

const (
	textUnit = 10 // bytes of text that are read or made for one unit
	stepUnit = 20 // steps of a search for one unit
)

// run is one evaluation.
type run struct{ spent, limit uint64 }

// runName is what evaluations find their run by. No expression can have such a name in it.
const runName = "@run"

func runOf(frame *interpreter.ExecutionFrame) *run {
	v, _ := frame.ResolveName(runName)
	return v.(*run)
}

// spend ends the evaluation if it has become too expensive.
func (r *run) spend(cost uint64) {
	if r.spent = plus(r.spent, cost); r.spent > r.limit {
		panic(interpreter.EvalCancelledError{Cause: interpreter.CostLimitExceeded, Message: "too expensive"})
	}
}

// metered puts a meter into a step of a program: names are counted, and calls replaced by ones that are paid for first.
func (e *environment) metered(p patterns) interpreter.InterpretableDecoratorV2 {
	return func(step interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		switch step := step.(type) {
		case *call, *attribute:
			return step, nil
		case interpreter.InterpretableAttribute:
			return &attribute{step}, nil
		case interpreter.InterpretableCall:
			binding := e.functions[step.OverloadID()]
			if binding == nil {
				binding = e.functions[step.Function()]
			}
			return &call{InterpretableCall: step, binding: binding, patterns: p}, nil
		}
		return step, nil
	}
}

// attribute is a name, and what is selected of it.
type attribute struct {
	interpreter.InterpretableAttribute
}

func (a *attribute) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	runOf(frame).spend(1)
	return a.InterpretableAttribute.Exec(frame)
}

func (a *attribute) Eval(vars interpreter.Activation) ref.Val {
	return a.Exec(interpreter.AsFrame(vars))
}

// call is a call of a function or an operator.
type call struct {
	interpreter.InterpretableCall
	binding  *functions.Overload
	patterns patterns
}

func (c *call) Eval(vars interpreter.Activation) ref.Val { return c.Exec(interpreter.AsFrame(vars)) }

func (c *call) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	r := runOf(frame)
	if c.binding != nil && c.binding.NonStrict { // of the macros, and costs nothing by itself
		r.spend(1)
		return c.InterpretableCall.Exec(frame)
	}
	var few [3]ref.Val
	args := few[:0]
	for _, arg := range c.Args() {
		v := arg.Exec(frame)
		if types.IsUnknownOrError(v) {
			return v
		}
		args = append(args, v)
	}
	r.spend(plus(1, c.cost(args)))
	return types.LabelErrNode(c.ID(), c.invoke(args))
}

// invoke does what the call's own Exec does with the values of its arguments.
func (c *call) invoke(args []ref.Val) ref.Val {
	switch c.Function() {
	case operators.Equals:
		return types.Equal(args[0], args[1])
	case operators.NotEquals:
		return types.Bool(types.Equal(args[0], args[1]) != types.True)
	case matchesFunction:
		s, ok := args[0].(types.String)
		p, known := c.patterns[textOf(args[1])]
		if !ok || !known {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		return types.Bool(p.MatchString(string(s)))
	}
	b := c.binding
	if b != nil && (b.OperandTrait == 0 || len(args) > 0 && args[0].Type().HasTrait(b.OperandTrait)) {
		switch {
		case len(args) == 1 && b.Unary != nil:
			return b.Unary(args[0])
		case len(args) == 2 && b.Binary != nil:
			return b.Binary(args[0], args[1])
		case b.Function != nil:
			return b.Function(args...)
		}
	}
	if len(args) > 0 && args[0].Type().HasTrait(traits.ReceiverType) {
		return args[0].(traits.Receiver).Receive(c.Function(), c.OverloadID(), args[1:])
	}
	return types.NoSuchOverloadErr()
}

// cost is what a call is about to take: by the texts and the lists that it is given, and where its work or its result grows
// faster than these, by that.
func (c *call) cost(args []ref.Val) uint64 {
	switch c.Function() {
	case operators.Index:
		return 0
	case operators.Equals, operators.NotEquals:
		n, _ := compare(args[0], args[1])
		return n
	case operators.In, operators.OldIn:
		if list, ok := args[1].(traits.Lister); ok {
			return search(list, args[0])
		}
		return texts(args)
	case operators.Add, overloads.Size: // of lists, they take no time
		return texts(args)
	case "sets.contains", "sets.intersects":
		return sets(args)
	case "sets.equivalent":
		return times(2, sets(args))
	case "distinct":
		return times(elements(args), weigh(args[0])) / 2
	case "flatten": // takes all that the lists in it have
		return plus(texts(args), weigh(args[0]))
	case "sort", "@sortByAssociatedKeys":
		return times(16, plus(elements(args), texts(args)))
	case "format":
		return plus(texts(args), weigh(args[1]))
	case "lists.range":
		n, _ := args[0].(types.Int)
		return uint64(max(n, 0))
	case matchesFunction:
		return plus(texts(args), times(length(args[0]), uint64(c.patterns[textOf(args[1])].size))/stepUnit)
	case "indexOf", "lastIndexOf":
		return plus(texts(args), times(length(args[0]), length(args[1]))/stepUnit)
	case "replace":
		return plus(texts(args), replaced(args)/textUnit)
	case "split":
		return plus(texts(args), uint64(strings.Count(textOf(args[0]), textOf(args[1]))))
	case "join":
		return joined(args)
	}
	return plus(texts(args), elements(args))
}

// replaced is how many bytes are put in by a call of replace.
func replaced(args []ref.Val) uint64 {
	n := uint64(strings.Count(textOf(args[0]), textOf(args[1])))
	if len(args) > 3 {
		if limit, ok := args[3].(types.Int); ok && limit >= 0 {
			n = min(n, uint64(limit))
		}
	}
	return times(n, length(args[2]))
}

func joined(args []ref.Val) uint64 {
	bytes := uint64(0)
	if list, ok := args[0].(traits.Lister); ok {
		for it := list.Iterator(); it.HasNext() == types.True; {
			bytes = plus(bytes, length(it.Next()))
		}
	}
	if len(args) > 1 {
		bytes = plus(bytes, times(elements(args), length(args[1])))
	}
	return plus(elements(args), bytes/textUnit)
}

// sets is the cost of looking for each element of each of two lists in the other. To compare two values takes no more than
// the smaller of them has parts. To find out how many these are takes a walk through both, which is part of it.
func sets(args []ref.Val) uint64 {
	one, other := weigh(args[0]), weigh(args[1])
	return plus(plus(one, other), min(times(elements(args[:1]), other), times(elements(args[1:]), one)))
}

// plus and times stop at the largest number.
func plus(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry > 0 {
		return math.MaxUint64
	}
	return sum
}

func times(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	if high > 0 {
		return math.MaxUint64
	}
	return low
}
