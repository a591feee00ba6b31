package wire

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestAppendReply(t *testing.T) {
	t.Parallel()
	f := func(r Reply, want string) {
		t.Helper()
		if got := string(AppendReply([]byte("before"), &r)); got != "before"+want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	const begin = `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","status":{"allowed":`
	f(Reply{}, begin+`false}}`)
	f(Reply{Allowed: true, Reason: []byte{}, Audit: []Annotation{}}, begin+`true}}`)
	f(Reply{Reason: []byte("no \"tag\"\n<b>\x00\xff\u2028é")}, begin+`false,"reason":"no \"tag\"\n<b>\u0000\ufffd\u2028é"}}`)
	f(Reply{Allowed: true, Audit: []Annotation{{Key: "verdict", Value: []byte("allow")}, {Key: "digest"}}},
		begin+`true,"auditAnnotations":{"verdict":"allow","digest":""}}}`)
	f(Reply{Prepared: Prepare([]Annotation{{Key: "verdict", Value: []byte("deny")}})}, begin+`false,"auditAnnotations":{"verdict":"deny"}}}`)
	f(Reply{Reason: []byte("x"), Prepared: Prepare([]Annotation{{Key: "a", Value: []byte("\n")}}), Audit: []Annotation{{Key: "b", Value: []byte("c"), Plain: true}}},
		begin+`false,"reason":"x","auditAnnotations":{"a":"\n","b":"c"}}}`)
	f(Reply{Reason: []byte("x"), Audit: []Annotation{{Key: "a\xffb", Value: []byte(`\`)}}},
		begin+`false,"reason":"x","auditAnnotations":{"a\ufffdb":"\\"}}}`)
}

func TestAppendStatus(t *testing.T) {
	t.Parallel()
	const want = `before{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"wait \"here\"\n","reason":"Forbidden","code":403}`
	if got := string(AppendStatus([]byte("before"), 403, "Forbidden", "wait \"here\"\n")); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(AppendStatus([]byte("before"), 403, []byte("Forbidden"), []byte("wait \"here\"\n"))); got != want {
		t.Errorf("from bytes: got  %s\nwant %s", got, want)
	}
}

// checkEscaped compares what appendEscaped makes of s with what encoding/json does.
func checkEscaped(t *testing.T, s []byte) {
	t.Helper()
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetEscapeHTML(false)
	if err := e.Encode(string(s)); err != nil {
		t.Fatal(err)
	}
	if got := `"` + string(appendEscaped(nil, s)) + "\"\n"; got != want.String() {
		t.Fatalf("%q: got %swant %s", s, got, &want)
	}
}

func TestAppendEscaped(t *testing.T) {
	t.Parallel()
	for length := range 20 { // every byte, at every place around the steps in which strings are searched
		for place := range length {
			for c := range 256 {
				s := bytes.Repeat([]byte{'x'}, length)
				s[place] = byte(c)
				checkEscaped(t, s)
			}
		}
	}
	for c := range rune(utf8.MaxRune + 1) { // and every character
		if c < 0x2100 || c > 0xd700 && c < 0xe010 || c > 0xffe0 && c < 0x10100 || c%9973 == 0 {
			checkEscaped(t, []byte("xxxxx"+string(c)+"y"))
		}
	}
}

// isPlain tells whether s is ASCII that needs no escape.
func isPlain(s []byte) bool {
	return !bytes.ContainsFunc(s, func(c rune) bool { return c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' })
}

func FuzzAppendReply(f *testing.F) {
	for _, s := range []string{
		"", "plain", `"`, `\`, "\b\f\n\r\t", "\x00\x1f\x7f", "<>&'", "é€😀", "\u2028\u2029", "\ufffd", "\xff", "a\xffb\xfe\xfdc", "\xed\xa0\x80",
		"\xe2\x82", "\xe2\x80", "\xc0\x80", strings.Repeat("x", 7) + `"`, strings.Repeat("x", 8) + "\xff", strings.Repeat("é", 100) + "\n", `\u003c`,
	} {
		f.Add(true, []byte(s), "key", []byte(s))
		f.Add(false, []byte(s), s, []byte("value"))
	}
	f.Fuzz(func(t *testing.T, allowed bool, reason []byte, key string, value []byte) {
		clean := func(s string) string { return string([]rune(s)) } // U+FFFD for every byte that is not UTF-8
		check := func(out []byte, v any) {
			t.Helper()
			if !utf8.Valid(out) {
				t.Fatalf("not UTF-8: %q", out)
			}
			if i := bytes.IndexFunc(out, func(c rune) bool { return c < ' ' || c == '\u2028' || c == '\u2029' }); i >= 0 {
				t.Fatalf("a character that should be escaped, at %d: %q", i, out)
			}
			d := json.NewDecoder(bytes.NewReader(out))
			d.DisallowUnknownFields()
			if err := d.Decode(v); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if d.More() || d.InputOffset() != int64(len(out)) {
				t.Fatalf("more than one document: %s", out)
			}
		}
		checkEscaped(t, reason)

		// The fields as k8s.io/api/imagepolicy/v1alpha1 and k8s.io/apimachinery/pkg/apis/meta/v1 tag them.
		type review struct {
			Kind       string `json:"kind"`
			APIVersion string `json:"apiVersion"`
			Status     struct {
				Allowed          bool              `json:"allowed"`
				Reason           string            `json:"reason,omitempty"`
				AuditAnnotations map[string]string `json:"auditAnnotations,omitempty"`
			} `json:"status"`
		}
		var got, want review
		want.Kind, want.APIVersion = "ImageReview", "imagepolicy.k8s.io/v1alpha1"
		want.Status.Allowed, want.Status.Reason = allowed, clean(string(reason))
		want.Status.AuditAnnotations = map[string]string{"first": clean(string(reason))}
		want.Status.AuditAnnotations[clean(key)] = clean(string(value))
		audit := []Annotation{{Key: "first", Value: reason, Plain: isPlain(reason)}, {Key: key, Value: value}}
		whole := AppendReply(nil, &Reply{Allowed: allowed, Reason: reason, Audit: audit})
		check(whole, &got)
		for i := range audit {
			r := Reply{Allowed: allowed, Reason: reason, Prepared: Prepare(audit[:i+1]), Audit: audit[i+1:]}
			if in := AppendReply(nil, &r); !bytes.Equal(in, whole) {
				t.Fatalf("prepared:\n%s\nat once:\n%s", in, whole)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}

		type status struct {
			Kind       string   `json:"kind"`
			APIVersion string   `json:"apiVersion"`
			Metadata   struct{} `json:"metadata"`
			Status     string   `json:"status"`
			Message    string   `json:"message"`
			Reason     string   `json:"reason"`
			Code       int      `json:"code"`
		}
		var failure status
		check(AppendStatus(nil, len(value), key, reason), &failure)
		if diff := cmp.Diff(status{"Status", "v1", struct{}{}, "Failure", clean(string(reason)), clean(key), len(value)}, failure); diff != "" {
			t.Fatal(diff)
		}
	})
}
