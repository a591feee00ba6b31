package expression_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"sluice/engine/policy/expression"
)

func repeat(s string, n int) string {
	return strings.TrimSuffix(strings.Repeat(s+",", n), ",")
}

// members makes an object of n members with value v each.
func members(n int, v string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"k%d":%s`, i, v)
	}
	b.WriteByte('}')
	return b.String()
}

// hostile are predicates whose author knows the expression, and what stops each of them.
var hostile = []struct{ name, text, predicate, want string }{
	{"deep", "predicate.a == 1", strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000), "nested more than 64 deep"},
	{"deeper", "predicate.a == 1", strings.Repeat("[", 1_000_000), "no JSON"},
	{"deep objects", "predicate.a == 1", strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65), "nested more than 64 deep"},
	{"values", "predicate[0] == 1", "[" + repeat("1", 200_000) + "]", "more than 200000 values"},
	{"empty objects", "predicate[0] == 1", "[" + repeat("{}", 1_000_000) + "]", "more than 200000 values"},
	{"bytes", "predicate == ''", `"` + strings.Repeat("x", 4<<20) + `"`, "more than 4194304 bytes"},

	{"pairs", "predicate.l.all(a, predicate.l.exists(b, a == b))", `{"l":[` + repeat("1", 9_999) + ",2]}", ""},
	{"pairs that differ", "predicate.l.all(a, predicate.l.exists(b, a + 1.0 == b))", `{"l":[` + repeat("1", 10_000) + `]}`, "costs more than"},
	{"lists in lists", "predicate.l.all(a, predicate.x == predicate.y)", `{"l":[` + repeat("1", 50_000) + `],"x":[[` + repeat("1", 50_000) + `]],"y":[[` + repeat("1", 50_000) + `]]}`, "costs more than"},
	{"objects in lists", "predicate.l.all(a, predicate.x == predicate.y)", `{"l":[` + repeat("1", 40_000) + `],"x":[` + members(40_000, "1") + `],"y":[` + members(40_000, "1") + `]}`, "costs more than"},
	{"short loops over a large object", "predicate.l.all(a, predicate.o.exists(k, true))", `{"l":[` + repeat("1", 90_000) + `],"o":` + members(90_000, "1") + `}`, "costs more than"},
	{"in a list of lists", "predicate.l.all(a, !(predicate.x in predicate.y))", `{"l":[` + repeat("1", 50_000) + `],"x":[2],"y":[` + repeat("[1]", 50_000) + `]}`, "costs more than"},
	{"size of a text", "predicate.l.all(a, size(predicate.s) > 0)", `{"l":[` + repeat("1", 190_000) + `],"s":"` + strings.Repeat("x", 3<<20) + `"}`, "costs more than"},
	{"parts of a text", "predicate.l.all(a, predicate.s.substring(1, 2) == 'x')", `{"l":[` + repeat("1", 190_000) + `],"s":"` + strings.Repeat("x", 3<<20) + `"}`, "costs more than"},
	{"texts added", "predicate.l.map(a, predicate.s + 'x').size() > 0", `{"l":[` + repeat("1", 190_000) + `],"s":"` + strings.Repeat("x", 3<<20) + `"}`, "costs more than"},
	{"texts split", "predicate.l.all(a, predicate.s.split('').size() > 0)", `{"l":[` + repeat("1", 190_000) + `],"s":"` + strings.Repeat("x", 3<<20) + `"}`, "costs more than"},
	{"replaced", "predicate.s.replace('a', predicate.t) != ''", `{"s":"` + strings.Repeat("a", 2<<20) + `","t":"` + strings.Repeat("b", 1<<20) + `"}`, "costs more than"},
	{"replaced by much, once", "predicate.s.replace('a', predicate.t, 1) != ''", `{"s":"` + strings.Repeat("a", 1<<20) + `","t":"` + strings.Repeat("b", 1<<20) + `"}`, ""},
	{"joined", "predicate.l.join(predicate.s) != ''", `{"l":[` + repeat(`""`, 100_000) + `],"s":"` + strings.Repeat("x", 1<<20) + `"}`, "costs more than"},
	{"searched", "predicate.s.lastIndexOf(predicate.t) == 0", `{"s":"` + strings.Repeat("a", 2<<20) + `","t":"` + strings.Repeat("a", 1<<20) + `b"}`, "costs more than"},
	{"searched often", "predicate.l.all(a, predicate.s.indexOf(predicate.t) != 0)", `{"l":[` + repeat("1", 100_000) + `],"s":"` + strings.Repeat("a", 5_000) + `","t":"` + strings.Repeat("a", 2_500) + `b"}`, "costs more than"},
	{"matched", "predicate.s.matches('(a|aa|a.a)*b')", `{"s":"` + strings.Repeat("a", 3<<20) + `"}`, "costs more than"},
	{"matched often", "predicate.l.all(a, !predicate.s.matches('(a|aa|a.a)*b'))", `{"l":[` + repeat("1", 100_000) + `],"s":"` + strings.Repeat("a", 10_000) + `"}`, "costs more than"},
	{"distinct", "predicate.l.distinct().size() == 0", `{"l":[` + repeat("1", 100_000) + `]}`, "costs more than"},
	{"distinct, of large parts", "predicate.l.distinct().size() == 0", `{"l":[` + repeat("["+repeat("1", 100)+"]", 1_900) + `]}`, "costs more than"},
	{"sets", "sets.equivalent(predicate.l, predicate.m)", `{"l":[` + repeat("1", 90_000) + `],"m":[` + repeat("1", 90_000) + `]}`, "costs more than"},
	{"sets often", "predicate.l.all(a, sets.contains(predicate.l, [2]))", `{"l":[` + repeat("1", 90_000) + `]}`, ""},
	{"small sets, looked for in large ones", "predicate.l.all(a, sets.contains(predicate.n, [[1]]) || true)", `{"l":[` + repeat("1", 90_000) + `],"n":[[` + repeat("1", 90_000) + `]]}`, "costs more than"},
	{"flattened", "predicate.l.all(a, predicate.n.flatten().size() > 0)", `{"l":[` + repeat("1", 90_000) + `],"n":[[` + repeat("1", 90_000) + `]]}`, "costs more than"},
	{"range", "lists.range(predicate.n).size() == 0", `{"n":1000000000}`, "costs more than"},
	{"sorted often", "predicate.l.all(a, predicate.m.sort().size() > 0)", `{"l":[` + repeat("1", 90_000) + `],"m":[` + repeat("1", 90_000) + `]}`, "costs more than"},
	{"formatted", "predicate.s.format([predicate, predicate]) == ''", `{"s":"` + strings.Repeat("%s", 1<<20) + `"}`, "index"},
}

// TestHostile evaluates what would take hours or terabytes, were it not stopped.
func TestHostile(t *testing.T) {
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			e, s := compile(t, h.text), statement(h.predicate)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			holds, err := evaluate(e, s)
			runtime.ReadMemStats(&after)
			switch {
			case h.want == "" && err != nil, h.want != "" && (holds || err == nil || !strings.Contains(err.Error(), h.want)):
				t.Errorf("%v, %v", holds, err)
			case err != nil && len(err.Error()) > 700:
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			// All that is allocated, of which less is held at one time.
			if made := after.TotalAlloc - before.TotalAlloc; made > 256<<20 {
				t.Errorf("allocated %d MiB", made>>20)
			}
		})
	}
}

// TestBoundsAreReached evaluates predicates that are just within the bounds.
func TestBoundsAreReached(t *testing.T) {
	t.Parallel()
	for text, predicate := range map[string]string{
		"size(predicate) == 199999":  "[" + repeat("1", 199_999) + "]",
		"size(predicate) == 4194302": `"` + strings.Repeat("x", expression.MaxBytes-2) + `"`,
		"size(predicate) == 1":       strings.Repeat("[", 64) + strings.Repeat("]", 64),
		"predicate.l.all(x, x.name.matches('^[a-z]+$') && x.license in ['MIT', 'Apache-2.0'])": `{"l":[` + repeat(`{"name":"abcdefgh","license":"MIT"}`, 10_000) + `]}`,
	} {
		if holds, err := evaluate(compile(t, text), statement(predicate)); !holds || err != nil {
			t.Errorf("%s: %v, %v", text, holds, err)
		}
	}
}

// TestMemory reads predicates of about as many parts as they may have, of each kind: none takes much more than the others.
func TestMemory(t *testing.T) {
	for name, predicate := range map[string]string{
		"numbers":       "[" + repeat("7777", 199_000) + "]",
		"objects":       "[" + repeat(`{"a":7}`, 99_000) + "]",
		"empty objects": "[" + repeat(`{}`, 199_000) + "]",
		"empty arrays":  "[" + repeat(`[]`, 199_000) + "]",
		"arrays":        "[" + repeat(`[7]`, 99_000) + "]",
		"one object":    members(150_000, "7"),
		"texts":         "[" + repeat(`"xxxxxxxxxxxxxxx"`, 199_000) + "]",
		"large texts":   "[" + repeat(`"`+strings.Repeat("x", 1<<20-16)+`"`, 4) + "]",
	} {
		e, s := compile(t, "predicate != null"), statement(predicate)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		holds, err := evaluate(e, s)
		runtime.ReadMemStats(&after)
		if !holds || err != nil {
			t.Errorf("%s: %v, %v", name, holds, err)
		}
		if made := after.TotalAlloc - before.TotalAlloc; made > 44<<20 {
			t.Errorf("%s: allocated %d MiB", name, made>>20)
		}
	}
}
