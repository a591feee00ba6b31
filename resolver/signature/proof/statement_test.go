package proof

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/engine"
)

func TestParseStatement(t *testing.T) {
	t.Parallel()
	const form = `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","subject":[{"name":"n","digest":{"sha256":"d"}}],"predicate":%s}`
	with := func(predicate string) string { return fmt.Sprintf(form, predicate) }
	ok := func(raw string, want statement) {
		t.Helper()
		got, err := parseStatement([]byte(raw))
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			return
		}
		want.kind, want.predicateType = got.kind, "p"
		if diff := cmp.Diff(&want, got, cmp.AllowUnexported(statement{}, subject{})); diff != "" {
			t.Errorf("%s: %s", raw, diff)
		}
	}
	about := []subject{{sha256: "d"}}
	ok(with(`null`), statement{subjects: about})
	ok(with(` { "a" : [ 1 ] } `), statement{subjects: about, predicate: []byte(`{ "a" : [ 1 ] }`)})
	ok(with(`{"a":1,"a":2}`), statement{subjects: about, predicate: []byte(`{"a":1,"a":2}`)}) // not looked into
	ok(strings.Replace(with(`null`), `,"predicate":null`, ``, 1), statement{subjects: about})
	ok(strings.Replace(with(`null`), `/v1"`, `/v0.1"`, 1), statement{subjects: about})
	ok(strings.Replace(with(`null`), `{"_type"`, `{"later":{"subject":[1]},"_type"`, 1), statement{subjects: about})
	ok(strings.Replace(with(`null`), `"subject":[`, `"subject":[{},{"digest":{"sha1":"x","sha512":"y"},"annotations":null,"uri":"u"},`, 1),
		statement{subjects: append([]subject{{}, {others: map[string]string{"sha1": "x", "sha512": "y"}}}, about...)})
	ok(strings.Replace(with(`null`), `"name":"n"`, `"annotations":{"a":"b","n":1.0,"o":{ "x": [] }}`, 1),
		statement{subjects: []subject{{sha256: "d", annotations: map[string]string{"a": "b", "n": "1.0", "o": `{"x":[]}`}}}})
	ok(strings.Replace(with(`null`), `"subject":[{"name":"n","digest":{"sha256":"d"}}]`, `"subject":[]`, 1), statement{})
	ok(with(strings.Repeat("[", maxStatementDepth-1)+strings.Repeat("]", maxStatementDepth-1)),
		statement{subjects: about, predicate: []byte(strings.Repeat("[", maxStatementDepth-1) + strings.Repeat("]", maxStatementDepth-1))})

	for _, raw := range []string{
		``, `null`, `[]`, `{}`, `1`, `{`, with(`null`) + `x`, with(`nul`), "\xef\xbb\xbf" + with(`null`),
		with("\"\xff\""),
		with(strings.Repeat("[", maxStatementDepth) + strings.Repeat("]", maxStatementDepth)),
		with(strings.Repeat(`{"a":`, 200_000) + `1` + strings.Repeat("}", 200_000)),
		strings.Replace(with(`null`), `Statement/v1`, `Statement/v2`, 1),
		strings.Replace(with(`null`), `"_type":"https://in-toto.io/Statement/v1",`, ``, 1),
		strings.Replace(with(`null`), `"predicateType":"p"`, `"predicateType":""`, 1),
		strings.Replace(with(`null`), `"predicateType":"p",`, ``, 1),
		strings.Replace(with(`null`), `"predicateType":"p"`, `"predicateType":1`, 1),
		strings.Replace(with(`null`), `"predicateType":"p"`, `"predicateType":"q","predicateType":"p"`, 1),
		strings.Replace(with(`null`), `"predicateType":"p"`, `"predicateType":"p","PredicateType":"q"`, 1),
		strings.Replace(with(`null`), `"predicateType":"p"`, `"predicateType":"p","predicate\u0054ype":"q"`, 1),
		strings.Replace(with(`null`), `"subject":[`, `"Subject":[],"subject":[`, 1),
		strings.Replace(with(`null`), `"subject":[`, `"\u017fubject":[],"subject":[`, 1), // ſ folds to s
		strings.Replace(with(`null`), `"subject":[`, `"subject":[],"subject":[`, 1),
		strings.Replace(with(`null`), `"subject":[`, `"subject":[null,`, 1),
		strings.Replace(with(`null`), `"subject":[`, `"subject":["d",`, 1),
		strings.Replace(with(`null`), `"digest":{`, `"digest":{"sha256":"e",`, 1),
		strings.Replace(with(`null`), `"digest":{`, `"Digest":{"sha256":"e"},"digest":{`, 1),
		strings.Replace(with(`null`), `"digest":{`, `"digest":{"sha256":"e"},"digest":{`, 1),
		strings.Replace(with(`null`), `"sha256":"d"`, `"sha256":1`, 1),
		strings.Replace(with(`null`), `"name":"n"`, `"annotations":[]`, 1),
		strings.Replace(with(`null`), `"name":"n"`, `"annotations":{"a":"1","a":"2"}`, 1),
		strings.Replace(with(`null`), `"name":"n"`, `"Annotations":{}`, 1),
		strings.Replace(with(`null`), `"subject":[`, `"subject":[`+strings.Repeat(`{},`, maxSubjects), 1),
		strings.Replace(with(`null`), `"sha256":"d"`, manyMembers(maxDigests)+`"sha256":"d"`, 1),
		strings.Replace(with(`null`), `{"_type"`, `{`+manyMembers(maxMembers)+`"_type"`, 1),
	} {
		if s, err := parseStatement([]byte(raw)); err == nil {
			t.Errorf("%.300q was read as %+v", raw, s)
		}
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"k%d":"x",`, i)
	}
	return b.String()
}

// TestStatementsAboutSeveral takes the annotations of the subject that is the image.
func TestStatementsAboutSeveral(t *testing.T) {
	t.Parallel()
	raw := fmt.Sprintf(`{"_type":%q,"predicateType":"p","subject":[
		{"annotations":{"of":"none"}},
		{"digest":{"sha512":%q},"annotations":{"of":"sha512"}},
		{"digest":{"sha256":%q},"annotations":{"of":"another"}},
		{"digest":{"sha256":%q,"sha1":"x"},"annotations":{"of":"this"}},
		{"digest":{"sha256":%q},"annotations":{"of":"again"}}]}`, statementV1, digest.Hex(), another.Hex(), digest.Hex(), digest.Hex())
	s, err := parseStatement([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if about, err := s.about(digest); err != nil || !maps.Equal(about.annotations, map[string]string{"of": "this"}) {
		t.Errorf("%+v, %v", about, err)
	}
	for _, none := range []string{
		`[]`, `[{}]`, `[{"digest":{}}]`, `[{"digest":{"sha256":""}}]`,
		`[{"digest":{"sha256":"` + strings.ToUpper(digest.Hex()) + `"}}]`, `[{"digest":{"sha256":"` + string(digest) + `"}}]`,
		`[{"digest":{"SHA256":"` + digest.Hex() + `"}}]`,
	} {
		s, err := parseStatement(fmt.Appendf(nil, `{"_type":%q,"predicateType":"p","subject":%s}`, statementV1, none))
		if err != nil {
			t.Fatal(err)
		}
		if about, err := s.about(digest); err == nil {
			t.Errorf("%s is about %+v", none, about)
		}
	}
}

// TestPredicateIsACopy is since a fact outlives what it was read from.
func TestPredicateIsACopy(t *testing.T) {
	t.Parallel()
	raw := fmt.Appendf(nil, `{"_type":%q,"predicateType":"p","predicate":{"a":1}}`, statementV1)
	s, err := parseStatement(raw)
	if err != nil {
		t.Fatal(err)
	}
	got := s.asEngine()
	clear(raw)
	want := &engine.Statement{PredicateType: "p", Predicate: []byte(`{"a":1}`)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseStatement(f *testing.F) {
	f.Add(fmt.Appendf(nil, `{"_type":%q,"predicateType":"p","subject":[{"digest":{"sha256":"d"},"annotations":{"a":1}}],"predicate":{"a":[]}}`, statementV1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := parseStatement(raw)
		if err != nil {
			return
		}
		// Whoever reads it with encoding/json, as cosign does, must read the same.
		var s struct {
			Type          string `json:"_type"`
			PredicateType string `json:"predicateType"`
			Subject       []struct {
				Digest      map[string]string `json:"digest"`
				Annotations map[string]any    `json:"annotations"`
			} `json:"subject"`
			Predicate json.RawMessage `json:"predicate"`
		}
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatalf("encoding/json refuses what was read: %v", err)
		}
		if s.Type != got.kind || s.PredicateType != got.predicateType || len(s.Subject) != len(got.subjects) {
			t.Fatalf("read %+v, encoding/json reads %+v", got, s)
		}
		if string(s.Predicate) != "null" && !bytes.Equal(s.Predicate, got.predicate) {
			t.Fatalf("read the predicate %q, encoding/json reads %q", got.predicate, s.Predicate)
		}
		for i, about := range s.Subject {
			if about.Digest["sha256"] != got.subjects[i].sha256 || len(got.subjects[i].annotations) > len(about.Annotations) {
				t.Fatalf("read %+v, encoding/json reads %+v", got.subjects[i], about)
			}
		}
	})
}
