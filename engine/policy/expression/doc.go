// Package expression compiles conditions on attestations, written in CEL (the Common Expression Language).
//
// It decides whether an expression can be evaluated at all, when the policy is loaded, and what it may cost at most
// when it is. It trusts the expression's author, who writes policies, and nothing in a predicate, which is the word of
// whoever signs attestations: evaluation is bounded, without side effects, and sees the statement alone.
//
// # What an expression sees
//
// predicate is the statement's predicate as it was parsed from JSON, of type dyn: objects are maps, arrays lists, null is
// null. A number without fraction and exponent that fits 64 bits is an int, any other a double; comparisons take them by
// value, so that 1 equals 1.0. predicateType is the URI of its type, a string.
//
// There is the standard library of CEL and the extensions for strings, lists, sets and math (cel.dev/cel-go/ext). The
// pattern of matches must be written out in the expression. What does not exist, such as a key that the predicate
// lacks, is an error of the evaluation, and the attestation is refused; has(predicate.x) asks whether it does.
package expression
