package expression

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// TestFunctions lists all functions that an expression can call. Before one is added here, look at what a call of it takes:
// what is not linear in its arguments needs a cost of its own (see call.cost).
func TestFunctions(t *testing.T) {
	t.Parallel()
	const known = `
		!_ -_ @in @not_strictly_false _!=_ _%_ _&&_ _*_ _+_ _-_ _/_ _<=_ _<_ _==_ _>=_ _>_ _?_:_ _[_] _||_
		__not_strictly_false__ _in_ in
		bool bytes double duration dyn int string timestamp type uint size
		getDate getDayOfMonth getDayOfWeek getDayOfYear getFullYear getHours getMilliseconds getMinutes getMonth getSeconds
		contains endsWith matches startsWith
		charAt format indexOf join lastIndexOf lowerAscii replace reverse split strings.quote substring trim upperAscii
		@sortByAssociatedKeys distinct flatten lists.range slice sort
		sets.contains sets.equivalent sets.intersects
		math.@max math.@min math.abs math.bitAnd math.bitNot math.bitOr math.bitShiftLeft math.bitShiftRight math.bitXor
		math.ceil math.floor math.isFinite math.isInf math.isNaN math.round math.sign math.sqrt math.trunc
	`
	e, err := theEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(known)
	for _, name := range slices.Sorted(maps.Keys(e.Functions())) {
		if !slices.Contains(want, name) {
			t.Errorf("the function %s is not known here", name)
		}
	}
	for _, name := range want {
		if e.Functions()[name] == nil {
			t.Errorf("there is no function %s", name)
		}
	}
}

// TestCosts compares what calls are charged with what they do.
func TestCosts(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("a", 1000)
	list := "[" + strings.Repeat("1,", 999) + "1]"
	predicate := `{"s":"` + text + `","t":"` + text[:500] + `b","l":` + list + `,"m":` + list + `,"n":[` + list + `]}`
	for expression, atLeast := range map[string]uint64{
		"predicate.s == ''":                                  1,
		"predicate.s == predicate.s":                         100,
		"predicate.l == predicate.m":                         1000,
		"predicate.n == predicate.n":                         1000,
		"2 in predicate.l":                                   1000,
		"size(predicate.s) == 1":                             100,
		"predicate.s.startsWith(predicate.t)":                150,
		"(predicate.s + predicate.s).contains('b')":          300,
		"predicate.s.indexOf(predicate.t) == 0":              1000 * 501 / stepUnit,
		"predicate.s.matches('^(a|b)+$')":                    1000 / stepUnit * 5,
		"predicate.s.replace('a', predicate.t) == ''":        1000 * 501 / textUnit,
		"predicate.s.split('').size() == 1":                  1000,
		"predicate.l.map(x, predicate.t).join('') == ''":     1000 * 501 / textUnit,
		"predicate.l.distinct().size() == 1":                 1000 * 1000 / 2,
		"predicate.l.sort().size() == 1":                     1000 * 10,
		"predicate.l.sortBy(x, x).size() == 1":               1000 * 10,
		"predicate.l.slice(0, 1).size() == 1":                1000,
		"sets.contains(predicate.l, predicate.m)":            1000 * 1000,
		"sets.equivalent(predicate.l, [2, 3])":               2000,
		"lists.range(9000).size() == 1":                      9000,
		"'%s'.format([predicate.n]) == ''":                   1000,
		"predicate.l.all(x, x == 1)":                         3000,
		"predicate.l.exists(x, x.a.b.c == 1 || true)":        2,
		"predicate.l.all(x, predicate.l.exists(y, x == y))":  6000,
		"math.greatest(predicate.l) == 1":                    1000,
		"predicate.n.flatten().size() == 1":                  1000,
		"type(predicate.s) == string && predicate.l[5] == 1": 2,
	} {
		e, err := Compile(expression)
		if err != nil {
			t.Fatal(err)
		}
		v, err := parse([]byte(predicate))
		if err != nil {
			t.Fatal(err)
		}
		r := &run{limit: CostLimit}
		_, _, err = e.program.Eval(map[string]any{predicateName: v, predicateTypeName: "", runName: r})
		if err != nil && r.spent <= CostLimit {
			t.Errorf("%s: %v", expression, err)
		}
		if r.spent < atLeast || r.spent > 5*atLeast+110 {
			t.Errorf("%s costs %d, and should cost %d or a little more", expression, r.spent, atLeast)
		}
	}
}

// FuzzPredicate reads JSON with encoding/json too.
func FuzzPredicate(f *testing.F) {
	for _, seed := range []string{
		"", "null", "true", "false", "0", "-0", "1.5e-3", "9223372036854775807", "9223372036854775808", "1e999", "-12", `""`, `"a\"\\\u00e9\ud83d\ude00\n"`, `"\ud800"`,
		"[]", "{}", "[[],{}]", ` { "a" : [ 1 , 2.0 , "x" ] , "b" : { } , "c" : null } ` + "\n", `{"a":1,"a":2}`, "[1,]", "\"\xff\"", `{"\u0061":1,"a":2}`, "[", "]", "tru", "1 2", `"\"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parse(text)
		var want any
		d := json.NewDecoder(strings.NewReader(string(text)))
		d.UseNumber()
		valid := d.Decode(&want) == nil && json.Valid(text)
		switch {
		case len(text) == 0:
			if err != nil || got != types.NullValue {
				t.Fatalf("%v, %v", got, err)
			}
		case err != nil && valid:
			for _, reason := range []string{"values", "nested", "twice", "range"} {
				if strings.Contains(err.Error(), reason) {
					return
				}
			}
			t.Fatalf("%q: %v", text, err)
		case err == nil && !valid:
			t.Fatalf("%q is no JSON", text)
		case err == nil && !reflect.DeepEqual(native(got), numbers(want)):
			t.Fatalf("%q: %v, %v", text, native(got), numbers(want))
		}
	})
}

// native makes of a value what encoding/json would have.
func native(v ref.Val) any {
	switch v := v.(type) {
	case types.Null:
		return nil
	case traits.Lister:
		list := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			list = append(list, native(it.Next()))
		}
		return list
	case traits.Mapper:
		members := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			name := it.Next()
			member, _ := v.Find(name)
			members[string(name.(types.String))] = native(member)
		}
		return members
	}
	return v.Value()
}

// numbers replaces each json.Number.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if !strings.ContainsAny(string(v), ".eE") {
			if i, err := strconv.ParseInt(string(v), 10, 64); err == nil {
				return i
			}
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}
