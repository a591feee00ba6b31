// Package expression compiles conditions on attestations, written in CEL (the Common Expression Language).
//
// It decides whether an expression can be evaluated at all, when the policy is loaded, and what it may cost at most
// when it is. It trusts the expression's author, who writes policies, and nothing in a predicate, which is the word of
// whoever signs attestations: evaluation is bounded, without side effects, and sees the statement alone.
package expression
