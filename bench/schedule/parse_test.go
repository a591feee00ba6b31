package schedule

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	t.Parallel()
	f := func(text string, want Schedule, canonical string) {
		t.Helper()
		got, err := Parse(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v %v", text, got, err)
		}
		if got.String() != canonical {
			t.Errorf("%q is written %q, not %q", text, got, canonical)
		}
		if again, err := Parse(got.String()); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%q became %+v %v", got, again, err)
		}
	}
	const s = time.Second
	f("constant 1000/s for 30s", Schedule{{Duration: 30 * s, Rate: 1000}}, "constant 1000/s for 30s")
	f(" constant\t90/m for 1m30s\n", Schedule{{Duration: 90 * s, Rate: 1.5}}, "constant 1.5/s for 1m30s")
	f("ramp 100/s to 5000/s over 60s", Schedule{{Duration: 60 * s, Rate: 100, To: 5000, Ramp: true}}, "ramp 100/s to 5000/s for 1m")
	f("step 10/s to 35/s by 10/s every 1h", Schedule{{Duration: 3600 * s, Rate: 10}, {Duration: 3600 * s, Rate: 20}, {Duration: 3600 * s, Rate: 30}},
		"constant 10/s for 1h; constant 20/s for 1h; constant 30/s for 1h")
	f("step 0/s to 0.3/s by 0.1/s every 10s then step 3/s to 1/s by 2/s every 1s", Schedule{
		{Duration: 10 * s},
		{Duration: 10 * s, Rate: 0.1},
		{Duration: 10 * s, Rate: 0.2},
		{Duration: 10 * s, Rate: 0.1 * float64(len("abc"))},
		{Duration: s, Rate: 3},
		{Duration: s, Rate: 1},
	},
		"pause 10s; constant 0.1/s for 10s; constant 0.2/s for 10s; constant 0.30000000000000004/s for 10s; constant 3/s for 1s; constant 1/s for 1s")
	f("burst 200 every 250ms for 10s", Schedule{{Duration: 10 * s, Burst: 200, Every: s / 4}}, "burst 200 every 250ms for 10s")
	f("burst 200", Schedule{{Duration: s, Burst: 200}}, "burst 200 for 1s")
	f("burst 2,pause 5s;burst 3 for 1s", Schedule{{Burst: 2}, {Duration: 5 * s}, {Burst: 3, Duration: s}}, "burst 2; pause 5s; burst 3 for 1s")
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	f := func(text, problem, caret string) {
		t.Helper()
		_, err := Parse(text)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(syntax.Problem, problem) {
			t.Errorf("%q: %v", text, err)
			return
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != 3 || strings.IndexByte(lines[2], '^') != len("  ")+strings.Index(text+"$", caret) {
			t.Errorf("%q: the caret is not under %q:\n%v", text, caret, err)
		}
	}
	f("", "a phase is missing at the end", "$")
	f("linear 5/s", `not with "linear"`, "linear")
	f("constant", "a rate, such as 1000/s, is missing at the end", "$")
	f("constant; pause 1s", "is missing before", ";")
	f("constant 1000 for 30s", "needs its unit: 1000/s", "1000")
	f("constant 5/h for 30s", `not "/h"`, "5/h")
	f("constant x/s for 30s", "like 1000/s", "x/s")
	f("constant Inf/s for 30s", "like 1000/s", "Inf")
	f("constant 1e3/s for 30s", "like 1000/s", "1e3")
	f("constant 2000000/s for 30s", "between 0 and 1000000", "constant")
	f("constant 5/s during 30s", `"for" is missing before "during"`, "during")
	f("constant 5/s for", "a duration, such as 30s, is missing", "$")
	f("constant 5/s for 30", "a duration is written like", "30")
	f("constant 5/s for -30s", "a duration is written like", "-30s")
	f("constant 5/s for 30s pause 5s", "join phases", "pause")
	f("constant 5/s for 30s;", "a phase is missing at the end", "$")
	f("ramp 5/s for 30s", `"to" is missing`, "for")
	f("step 5/s to 9/s by 0/s every 1s", "up to 10000 phases", "0/s")
	f("step 0/s to 100000/s by 0.1/s every 1s", "up to 10000 phases", "0.1/s")
	f("step 0/s to 9/s by 1/s for 9s", `"every" is missing`, "for 9s")
	f("burst", "a size", "$")
	f("burst 0", "a size", "0")
	f("burst 9 every 1s", `"for" is missing at the end`, "$")
	f("burst 9 every 0s for 1s", "at least 1ms", "0s")
	f("burst 9 every 1us for 1s", "at least 1ms", "burst")
	f("pause 25h", "up to 24h", "pause")
	f("übermäßig 5/s", "begins with", "übermäßig")

	for text, problem := range map[string]string{
		"pause 0s":                       "nothing would be sent",
		"pause 23h; pause 2h":            "up to 24h",
		"constant 1000000/s for 10m":     "up to 100000000 reviews",
		"pause 1s" + string([]byte{255}): "UTF-8",
		strings.Repeat("pause 1s;", 1e4): "bytes",
		strings.Repeat("burst 1;", 2e3):  "a phase is missing",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%.40q: %v, not %q", text, err, problem)
		}
	}

	// The place is shown in lines that can be read, whatever surrounds it.
	_, err := Parse("pause 1s;" + strings.Repeat("\tpause 1s ;", 50) + "ü; pause 1s" + strings.Repeat(";\n", 100))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || len([]rune(lines[1])) > 140 {
		t.Fatalf("%v", err)
	}
	if at := strings.IndexByte(lines[2], '^'); []rune(lines[1])[at] != 'ü' {
		t.Errorf("%v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("constant 1000/s for 30s; ramp 1/s to 2/s for 1m")
	f.Add("step 10/s to 35/s by 10/s every 1h then burst 5, burst 2 every 1s for 3s, pause 1ms")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			_ = err.Error()
			return
		}
		again, err := Parse(s.String())
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Errorf("%q was read as %+v, and that as %+v, %v", text, s, again, err)
		}
	})
}
