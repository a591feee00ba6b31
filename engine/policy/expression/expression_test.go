package expression_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"sluice/engine"
	"sluice/engine/policy/expression"
)

// example is a predicate with a value of every kind.
const example = `{
	"int": 1, "double": 1.0, "half": 0.5, "large": 9223372036854775807, "larger": 9223372036854775808, "negative": -3,
	"text": "abc", "yes": true, "null": null, "time": "2026-11-22T07:31:00Z",
	"list": [1, 2, 3], "words": ["b", "a", "b"], "object": {"name": "x", "tags": ["p", "q"]}, "empty": {}
}`

func compile(t testing.TB, text string) *expression.Expression {
	t.Helper()
	e, err := expression.Compile(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

func statement(predicate string) *engine.Statement {
	return &engine.Statement{PredicateType: "https://example.com/type/v1", Predicate: []byte(predicate)}
}

func TestHolds(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`predicateType == "https://example.com/type/v1"`: true,
		`predicateType.endsWith("/v2")`:                  false,
		`predicate.object.name == "x"`:                   true,
		`predicate["object"]["name"] == "y"`:             false,
		`has(predicate.object) && !has(predicate.nope)`:  true,
		`predicate.?object == optional.none()`:           false, // no optional types: not compiled
		`predicate["null"] == null`:                      true,
		`predicate.yes == true`:                          true,
		`predicate.yes`:                                  false, // dyn: not compiled

		// Numbers compare by value, and integers stay exact.
		`predicate.int == 1 && predicate.int == 1.0 && predicate.double == 1`:    true,
		`predicate.int == predicate.double`:                                      true,
		`predicate.half > 0 && predicate.half < 1 && predicate.negative < 0.5`:   true,
		`predicate.large == 9223372036854775807`:                                 true,
		`predicate.large > 9223372036854775806`:                                  true,
		`predicate.larger > 9.2e18`:                                              true,
		`size(predicate.list) > 2.5 && 1 < 1.5`:                                  true,
		`type(predicate.int) == int && type(predicate.double) == double`:         true,
		`predicate.int + 1 == 2 && predicate.half * 2.0 == 1.0`:                  true,
		`1 in predicate.list && 1.0 in predicate.list && !(4 in predicate.list)`: true,

		// Lists, maps and the macros over them.
		`predicate.list.all(x, x > 0) && predicate.list.exists(x, x == 2) && predicate.list.exists_one(x, x > 2)`: true,
		`predicate.list.map(x, x * 2) == [2, 4, 6] && predicate.list.filter(x, x > 1).size() == 2`:                true,
		`predicate.object.exists(k, k == "tags") && "name" in predicate.object && size(predicate.object) == 2`:    true,
		`predicate.object == {"tags": ["p", "q"], "name": "x"} && predicate.object != {}`:                         true,
		`predicate.object.all(k, k in ["name", "tags"]) && predicate.empty.all(k, false)`:                         true,
		`predicate.list[0] == 1 && predicate.list[2] == 3 && predicate.list + [4] == [1, 2, 3, 4]`:                true,

		// The extensions, those with a guard among them.
		`predicate.words.distinct() == ["b", "a"] && predicate.words.sort() == ["a", "b", "b"]`:                               true,
		`predicate.list.sortBy(x, -x) == [3, 2, 1] && predicate.list.slice(1, 2) == [2] && lists.range(2) == [0, 1]`:          true,
		`sets.contains(predicate.words, ["a"]) && sets.intersects(["c", "b"], predicate.words)`:                               true,
		`sets.equivalent(predicate.words, ["a", "b"]) && [[1], [2]].flatten() == [1, 2]`:                                      true,
		`predicate.words.join() == "bab" && predicate.words.join("-") == "b-a-b" && "a,b".split(",") == ["a", "b"]`:           true,
		`predicate.text.replace("b", "xx") == "axxc" && "aaa".replace("a", "b", 2) == "bba" && "x".replace("", "-") == "-x-"`: true,
		`predicate.text.indexOf("c") == 2 && "abab".lastIndexOf("a") == 2 && "abab".indexOf("a", 1) == 2`:                     true,
		`predicate.text.upperAscii() == "ABC" && predicate.text.substring(1) == "bc" && " x ".trim() == "x"`:                  true,
		`predicate.text.matches("^[a-c]+$") && !matches(predicate.text, "^b") && predicate.text.contains("bc")`:               true,
		`math.greatest(predicate.list) == 3 && math.least(1, 2) == 1 && math.abs(predicate.negative) == 3`:                    true,
		`"%s=%d".format([predicate.text, predicate.int]) == "abc=1" && string(predicate.int) == "1"`:                          true,
		`timestamp(predicate.time) < timestamp("2027-01-01T00:00:00Z") && timestamp(predicate.time).getHours() == 7`:          true,
		`timestamp(predicate.time) + duration("1h") > timestamp(predicate.time)`:                                              true,
	} {
		e, err := expression.Compile(text)
		if err != nil {
			if !strings.Contains(text, "optional") && text != "predicate.yes" {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if got, err := evaluate(e, statement(example)); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		if e.String() != text {
			t.Errorf("%s: String is %s", text, e)
		}
	}
}

// TestCompileErrors looks at places and texts.
func TestCompileErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                         "1:1: the expression is empty",
		" \n ":                     "1:1: the expression is empty",
		"predicat.a == 1":          "1:1: undeclared reference to 'predicat'; an expression sees predicate and predicateType",
		"predicate.a ==\n  b.c":    "2:3: undeclared reference to 'b'; an expression sees predicate and predicateType",
		"predicate.ä == 1 && x":    "1:11: Syntax error",
		`"ä" == predicate.a && x`:  "1:23: undeclared reference to 'x'",
		"1 +":                      "1:4: Syntax error: something is missing at the end",
		"predicate.a == 1 &&\n(":   "2:2: Syntax error: something is missing at the end",
		"predicate":                "1:1: an expression must be true or false, and this one is of type dyn; make a comparison of it, such as … == true",
		"predicate.a == 1 ? 1 : 2": "1:1: an expression must be true or false, and this one is of type int; make a comparison of it",
		"predicateType":            "1:1: an expression must be true or false, and this one is of type string; make a comparison of it",
		"predicateType == 1":       "1:15: found no matching overload for '_==_' applied to '(string, int)'",
		"predicate.a.nope()":       "1:17: there is no function nope",

		`predicate.v.startWith("x")`:             "1:22: there is no function startWith; did you mean startsWith?",
		`predicate.v.exist(x, x == 1)`:           "1:18: there is no function exist; did you mean exists?",
		`sze(predicate.v) == 1`:                  "1:4: there is no function sze; did you mean size?",
		`predicate.a == 1 && math.greates(1, 2)`: "1:21: there is no function math.greates; did you mean math.greatest?",
		`nobody.knows(1)`:                        "1:1: undeclared reference to 'nobody'; an expression sees predicate and predicateType",
		`predicate.a = "x"`:                      "1:13: Syntax error: a comparison is written ==",
		`predicate.a ="x"`:                       "1:13: Syntax error: a comparison is written ==",
		`predicate.a => 1`:                       "1:13: Syntax error: a comparison is written >=",
		`predicate.a == "x`:                      "1:16: Syntax error: the text that begins here has no quote at its end",
		`predicate.a == 1; x`:                    "1:17: Syntax error: ';' means nothing here",
		`predicate.a == 1 and predicate.b == 1`:  "1:18: Syntax error: and is written &&",
		`(predicate.a == 1`:                      "1:18: Syntax error: missing ')' at the end",
		`predicate.a.all(x, x == [1, 2)`:         "1:30: Syntax error: mismatched input ')'",

		"predicate.a.matches('(')":                                                "1:21: this is no regular expression (RE2): missing closing ): `(`",
		"predicate.a.matches(predicate.b)":                                        "1:30: the pattern of matches must be written out, as text in quotes",
		"matches(predicate.a, 'a' + 'b')":                                         "1:26: the pattern of matches must be written out, as text in quotes",
		"predicate.a.matches('(a{100}){100}')":                                    "1:21: this is no regular expression (RE2): invalid repeat count: `{100}`",
		"predicate.a.matches('([a-z]{9}b[a-z]{9}b){50}([a-z]{9}b[a-z]{9}b){50}')": "1:21: this regular expression is too large: it has ",

		"timestamp('yesterday') < timestamp(predicate.a)":          "1:11: invalid timestamp argument",
		"duration('1 hour') < duration(predicate.a)":               "1:10: invalid duration argument",
		`'%.101f'.format([predicate.a]) == ''`:                     "1:16: could not parse formatting clause",
		strings.Repeat("(", 200) + "true":                          "1:",
		"true || " + strings.Repeat("x", 9000):                     "1:1: an expression has at most 8192 bytes; this one has 9008",
		"lists.range(9000).all(a, lists.range(9000).all(b, true))": "", // costs too much, which its evaluation finds out
	} {
		e, err := expression.Compile(text)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", text, err)
			} else if _, err := evaluate(e, statement("{}")); err == nil {
				t.Errorf("%s: evaluated", text)
			}
			continue
		}
		var at *expression.Error
		if e != nil || !errors.As(err, &at) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\n%v\n%s", text, err, want)
			continue
		}
		if strings.Contains(at.Message, "\n") || len(at.Message) > 300 {
			t.Errorf("%q: %s", text, at.Message)
		}
	}
}

// TestHoldsErrors lists what can't be evaluated, which is neither true nor false.
func TestHoldsErrors(t *testing.T) {
	t.Parallel()
	f := func(text, predicate, want string) {
		t.Helper()
		holds, err := evaluate(compile(t, text), statement(predicate))
		if holds || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", text, holds, err)
		}
	}
	f("predicate.nope == 1", example, "no such key: nope")
	f("!(predicate.nope == 1)", example, "no such key: nope")
	f("predicate.text > 1", example, "no such overload")
	f("predicate.list.all(x, predicate.object[string(x)] == 1)", example, "no such key: 1")
	f("predicate.list[7] == 1", example, "index out of bounds")
	f("predicate.int / 0 == 1", example, "division")
	f("predicate.large + 1 > 0", example, "overflow")
	f("timestamp(predicate.text) < timestamp('2026-01-01T00:00:00Z')", example, "invalid RFC 3339")
	f("predicate.words.matches('a')", example, "no such overload")
	f("predicate.a == 1", "", "no such key")
	f("predicate.a == 1", "null", "no such key")
	f("predicate.a == 1", "[]", "")
	for _, bad := range []string{"{", "{}{}", "{} x", `{"a":1,"a":1}`, `{"a":{"b":[{"c":1,"c":2}]}}`, "[1,]", `{"a"}`, "nul", "\xff", "1e400", "[-1e999]", "]", `"`, "[1 2]"} {
		f("predicateType != ''", bad, "the predicate: ")
	}
	if holds, err := evaluate(compile(t, "predicateType != ''"), &engine.Statement{PredicateType: "x"}); !holds || err != nil {
		t.Errorf("no predicate: %v, %v", holds, err)
	}
}

// TestNoSuchKey tells a missing field from other errors.
func TestNoSuchKey(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"predicate.nope == 1":                          "nope",
		"predicate.object.nope.more == 1":              "nope",
		"predicate['object']['x y'] == 1":              "x y",
		"predicate.words.exists(w, predicate[w] == 1)": "b",
		"predicate.nope == 1 && predicate.int == 1":    "nope",
		"predicate.list[7] == 1":                       "",
		"predicate.text > 1":                           "",
		"timestamp(predicate.text).getHours() == 1":    "",
	} {
		_, err := evaluate(compile(t, text), statement(example))
		var missing *expression.NoSuchKey
		if found := errors.As(err, &missing); found != (want != "") || found && missing.Key != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	_, err := evaluate(compile(t, "predicate[predicate.a] == 1"), statement(`{"a": "`+strings.Repeat("x", 10_000)+`"}`))
	if err == nil || len(err.Error()) > 600 {
		t.Errorf("a long key: %v", err)
	}
}

// TestConcurrent evaluates one expression from many goroutines, for the race detector.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	e := compile(t, `predicate.object.exists(k, k.matches("^t")) && predicate.list.all(x, x > 0) && predicate.words.join("") != ""`)
	s := statement(example)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if holds, err := evaluate(e, s); !holds || err != nil {
					t.Errorf("%v, %v", holds, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func evaluate(e *expression.Expression, s *engine.Statement) (bool, error) {
	holds, _, err := e.Holds(s, expression.CostLimit)
	return holds, err
}

// TestLimit evaluates within a limit that is lower than usual.
func TestLimit(t *testing.T) {
	t.Parallel()
	e, s := compile(t, "predicate.all(x, x == 1)"), statement("["+repeat("1", 100)+"]")
	holds, cost, err := e.Holds(s, expression.CostLimit)
	if !holds || err != nil || cost < 300 || cost > 1000 {
		t.Fatalf("%v, %d, %v", holds, cost, err)
	}
	if holds, again, err := e.Holds(s, cost); !holds || again != cost || err != nil {
		t.Errorf("%v, %d, %v", holds, again, err)
	}
	if holds, again, err := e.Holds(s, cost-1); holds || again < cost || err == nil || !strings.Contains(err.Error(), "costs more than") {
		t.Errorf("%v, %d, %v", holds, again, err)
	}
	if _, again, err := e.Holds(statement("["+repeat("1", 190_000)+",2]"), 1<<40); err != nil || again < 500_000 {
		t.Errorf("%d, %v", again, err)
	}
	if _, _, err := compile(t, "predicate.all(x, predicate.all(y, x == y))").Holds(statement("["+repeat("1", 9_000)+"]"), 1<<40); err == nil {
		t.Error("it may cost more than CostLimit")
	}
}
