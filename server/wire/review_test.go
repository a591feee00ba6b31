package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recorded is a request of kube-apiserver v1.36.3, byte for byte.
const recorded = `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{},"spec":{"containers":[{"image":"nginx:1"},{"image":"init:1"}],"annotations":{"x.image-policy.k8s.io/break-glass":"yes"},"namespace":"default"},"status":{"allowed":false}}` + "\n"

func TestDecodeRecorded(t *testing.T) {
	t.Parallel()
	var r Review
	if err := r.Decode([]byte(recorded)); err != nil {
		t.Fatal(err)
	}
	want := facts{"ImageReview", "imagepolicy.k8s.io/v1alpha1", "default", []string{"nginx:1", "init:1"}}
	if diff := cmp.Diff(want, factsOf(&r)); diff != "" {
		t.Error(diff)
	}
}

// image returns a body with one container, whose image is written as given.
func image(written string) string { return `{"spec":{"containers":[{"image":"` + written + `"}]}}` }

func TestDecode(t *testing.T) {
	t.Parallel()
	f := func(body string, want facts) {
		t.Helper()
		var r Review
		if err := r.Decode([]byte(body)); err != nil {
			t.Errorf("%.200q: %v", body, err)
		} else if got := factsOf(&r); !reflect.DeepEqual(got, want) { // cmp is slow on long lists
			t.Errorf("%.200q: %s", body, cmp.Diff(want, got))
		}
	}
	images := func(s ...string) facts { return facts{Images: s} }

	// Shape.
	f(`{}`, facts{})
	f(" \t\r\n{ \n} \r\n\t", facts{})
	f(`{"kind":"K","apiVersion":"v","spec":{"namespace":"n","containers":[]}}`, facts{"K", "v", "n", nil})
	f(` { "spec" : { "containers" : [ { "image" : "a" } , { "image" : "b" } ] , "namespace" : "n" } } `,
		facts{Namespace: "n", Images: []string{"a", "b"}})
	f("{\"kind\": \"K\",\"apiVersion\" :\n\"v\",\"x\":\t1}", facts{Kind: "K", APIVersion: "v"})
	f(`{"spec":{"containers":[{},{"image":""},{"name":"x","image":"a","more":[1]}]}}`, images("", "", "a"))

	// What is ignored.
	f(`{"Kind":"K","KIND":"K","apiversion":"v","Spec":{"namespace":"n"},"spec":{"Namespace":"n","Containers":[{"image":"a"}]}}`, facts{})
	f(`{"spec":{"containers":[{"Image":"a"}]}}`, images(""))
	f(`{"status":"of another type","metadata":[{"kind":"no"}],"x":{"kind":"no","spec":{"namespace":"no"}}}`, facts{})
	f(`{"spec":{"spec":{"namespace":"no"},"kind":"no","image":"no"},"namespace":"no","containers":5,"image":{}}`, facts{})

	// Null and duplicates.
	f(`{"kind":null,"apiVersion":null,"spec":null}`, facts{})
	f(`{"spec":{"namespace":null,"containers":null}}`, facts{})
	f(`{"spec":{"containers":[null,{"image":null},{"image":"a"}]}}`, images("", "", "a"))
	f(`{"kind":"A","kind":"B","kind":null}`, facts{Kind: "B"})
	f(`{"spec":{"containers":[{"image":"a","image":"b"}]}}`, images("b"))
	f(`{"spec":{"namespace":"n","containers":[{"image":"a"}]},"spec":{"namespace":"m"},"spec":null,"spec":{}}`,
		facts{Namespace: "m", Images: []string{"a"}})
	f(`{"spec":{"containers":[{"image":"a"},{"image":"b"}]},"spec":{"containers":[{},{"image":"c"},{}]}}`, images("", "c", ""))
	f(`{"spec":{"containers":[{"image":"a"}],"containers":[]}}`, facts{})
	f(`{"spec":{"containers":[{"image":"a"}],"containers":null}}`, facts{})

	// Strings.
	f(`{"\u006bind":"\u004b","\u0061\u0070\u0069\u0056\u0065\u0072\u0073\u0069\u006F\u006e":"v","kin\ud800":"x"}`,
		facts{Kind: "K", APIVersion: "v"})
	f("{\"kind\xff\":\"a\",\"\\u006bind\xff\":\"b\",\"\":\"c\",\"\\\\\":\"d\"}", facts{})
	f(image(`\"\\\/\b\f\n\r\t\u0000\u003c`), images("\"\\/\b\f\n\r\t\x00<"))
	f(image(`é\u00e9\u20AC€\ud83d\ude00😀`), images("éé€€😀😀"))
	f(image(`\ud800`), images("\ufffd"))
	f(image(`\udc00\ud800`), images("\ufffd\ufffd"))
	f(image(`\ud800\ud83d\ude00`), images("\ufffd😀"))
	f(image(`\ud800\u0041\ud800\n\ud800u`), images("\ufffdA\ufffd\n\ufffdu"))
	f(image(`\ud83d\nde00\ud83d\\ude00`), images("\ufffd\nde00\ufffd\\ude00"))
	f(image("a\xffb"), images("a\ufffdb"))
	f(image("\xed\xa0\x80\xc0\x80\xe2\x82"), images(strings.Repeat("\ufffd", 7)))
	f(image(`\u0041`+"\xff\xff\xff\xff"+`\u0041`+"\xff"), images("A\ufffd\ufffd\ufffd\ufffdA\ufffd"))
	f(image("\x7f\u2028\ufeff"), images("\x7f\u2028\ufeff"))
	f("{\"spec\":{\"containers\":[{\"image\":\"a\xff\"},{\"image\":\"\\u0062\"},{\"image\":\"c\xff\xff\"}],\"namespace\":\"\xffd\"}}",
		facts{Namespace: "\ufffdd", Images: []string{"a\ufffd", "b", "c\ufffd\ufffd"}})

	f(image("\\n\xffx"), images("\n\ufffdx")) // one byte short of room in place
	f(image("\\n\\n\xffx"), images("\n\n\ufffdx"))

	// Bounds.
	f(nested(9_999, "[", "", "]"), facts{})
	f(nested(9_999, `{"a":`, "1", "}"), facts{})
	f(`{"spec":{"containers":[`+strings.Repeat(`{},`, MaxImages-1)+`{"image":"a"}]}}`, images(append(make([]string, MaxImages-1), "a")...))
	f(`{`+strings.Repeat("\"\\n\xff\xff\xff\":1,", maxScratch/10)+`"spec":{"containers":[{"image":"`+"\xff\xff\xff"+`"}]}}`, images("\ufffd\ufffd\ufffd"))
}

// nested returns a body with n arrays or objects within each other, in one more object.
func nested(n int, begin, inner, end string) string {
	return `{"x":` + strings.Repeat(begin, n) + inner + strings.Repeat(end, n) + `}`
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	f := func(body string, offset int, message string) {
		t.Helper()
		var r Review
		err := r.Decode([]byte(body))
		var failure *DecodeError
		switch {
		case !errors.As(err, &failure):
			t.Errorf("%.200q: got error %v, want a DecodeError", body, err)
		case failure.Offset != offset || !strings.Contains(failure.Message, message):
			t.Errorf("%.200q: got %q, want %q at %d", body, err, message, offset)
		case !cmp.Equal(factsOf(&r), facts{}):
			t.Errorf("%.200q: got %+v beside the error", body, factsOf(&r))
		}
	}

	f(``, 0, "the body is empty")
	f(" \n", 2, "the body is empty")
	f(`null`, 0, "not a JSON object")
	f(`[]`, 0, "not a JSON object")
	f(`"{}"`, 0, "not a JSON object")
	f("\ufeff{}", 0, "not a JSON object")
	f(`{}{}`, 2, "behind the JSON document")
	f("{}\x00", 2, "behind the JSON document")
	f(recorded+"x", len(recorded), "behind the JSON document")

	f(`{"kind":1}`, 8, "kind is not a string")
	f(`{"apiVersion":["v"]}`, 14, "apiVersion is not a string")
	f(`{"spec":[]}`, 8, "spec is not an object")
	f(`{"spec":"x"}`, 8, "spec is not an object")
	f(`{"spec":{"namespace":true}}`, 21, "spec.namespace is not a string")
	f(`{"spec":{"containers":{}}}`, 22, "spec.containers is not a list")
	f(`{"spec":{"containers":["nginx"]}}`, 23, "a container is not an object")
	f(`{"spec":{"containers":[{"image":{}}]}}`, 32, "image of a container is not a string")
	f(`{"kind":1,"kind":"ImageReview"}`, 8, "kind is not a string")

	f(`{`, 1, "something else than a quoted name")
	f(`{,}`, 1, "something else than a quoted name")
	f(`{"a":1,}`, 7, "something else than a quoted name")
	f(`{a:1}`, 1, "something else than a quoted name")
	f(`{"a" 1}`, 5, "no colon")
	f(`{"a"`, 4, "no colon")
	f(`{"a":`, 5, "ends within an object")
	f(`{"a":1`, 6, "neither a comma nor a brace")
	f(`{"a":1 "b":2}`, 7, "neither a comma nor a brace")
	f(`{"a":{"b":1]}`, 11, "neither a comma nor a brace")
	f(`{"a":[1}}`, 7, "neither a comma nor a bracket")
	f(`{"a":[1,]}`, 8, "not JSON")
	f(`{"a":[,1]}`, 6, "not JSON")
	f(`{"a":[`, 6, "ends within a list")
	f(`{"a":[1`, 7, "neither a comma nor a bracket")
	f(`{"a":{"b":1,}}`, 12, "something else than a quoted name")
	f(`{"spec":{"containers":[`, 23, "ends within a list")
	f(`{"spec":{"containers":[{},`, 26, "ends within a list")
	f(`{"spec":{"containers":[{},]}}`, 26, "a container is not an object")
	f(`{"spec":{"containers":[{}}}}`, 25, "neither a comma nor a bracket")

	f(`{"a":tru}`, 5, "neither a string nor a number")
	f(`{"a":nul`, 5, "neither a string nor a number")
	f(`{"a":True}`, 5, "not JSON")
	f(`{"a":nulls}`, 9, "neither a comma nor a brace")
	f(`{"kind":nul}`, 8, "neither a string nor a number")
	for _, number := range []string{"-", "+1", ".5", "NaN", "Infinity", "-x", "'1'"} {
		f(`{"a":`+number+`}`, 5+strings.Count(number, "-"), "not JSON")
	}
	f(`{"a":01}`, 7, "begins with a zero")
	f(`{"a":-00}`, 8, "begins with a zero")
	f(`{"a":0x1}`, 6, "neither a comma nor a brace")
	f(`{"a":1.}`, 7, "no digits behind its point")
	f(`{"a":1.e1}`, 7, "no digits behind its point")
	f(`{"a":1e}`, 7, "no digits in its exponent")
	f(`{"a":1e+}`, 8, "no digits in its exponent")

	f(`{"a":"`, 6, "not closed")
	f(`{"a":"\`, 7, "not closed")
	for _, end := range []string{"u", "u1", "u12", "u123"} {
		f(`{"a":"\`+end, 7, "not closed")
	}
	f(`{"a":"\u1234`, 12, "not closed")
	f(`{"a":"\u123"}`, 7, "without four hexadecimal digits")
	f(`{"a":"\u12g4"}`, 7, "without four hexadecimal digits")
	f("{\"a\":\"\\u12\xb1\xb24\"}", 7, "without four hexadecimal digits")
	f(`{"a":"\x41"}`, 7, "escape that JSON does not know")
	f(`{"a":"\U00000041"}`, 7, "escape that JSON does not know")
	f("{\"a\":\"\n\"}", 6, "control character")
	f("{\"a\":\"12345678\x00\"}", 14, "control character")
	f("{\"a\n\":1}", 3, "control character")

	f(nested(10_000, "[", "", "]"), 5+9_999, "nested too deeply")
	f(nested(10_000, `{"a":`, "1", "}"), 5+5*9_999, "nested too deeply")
	f(nested(5_000_000, "[", "", ""), 5+9_999, "nested too deeply")
	f(`{"spec":{"containers":[{"x":`+strings.Repeat("[", 9_997)+strings.Repeat("]", 9_997)+`}]}}`, 28+9_996, "nested too deeply")
	f(`{"spec":{"containers":[`+strings.Repeat(`{},`, MaxImages)+`{}]}}`, 23+3*MaxImages, "more than 131072 containers")
	f(image(strings.Repeat("\xff", maxScratch)), 32, "not UTF-8")
}

func TestDecodeErrorText(t *testing.T) {
	t.Parallel()
	err := new(Review).Decode([]byte(`{"kind":"<script>\q"}`))
	if want := "a string has an escape that JSON does not know (byte 18)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Every hexadecimal digit, and every byte that is none, at each of the four places.
func TestHex4(t *testing.T) {
	t.Parallel()
	const digits = "0123456789abcdefABCDEF"
	for place := range 4 {
		for c := range 256 {
			b := []byte("0000")
			b[place] = byte(c)
			want := strings.IndexByte(digits, byte(c)) >= 0
			if got := areHex(binary.LittleEndian.Uint32(b)); got != want {
				t.Errorf("place %d, byte %#x: got %v", place, c, got)
			}
		}
	}
	for c := rune(0); c < 1<<16; c += 7 { // every digit at every place
		for _, format := range []string{"%04x", "%04X"} {
			if got := hex4(fmt.Appendf(nil, format, c)); got != c {
				t.Fatalf("%#x: got %#x", c, got)
			}
		}
	}
}

// Every byte at every place of a string that is longer than one of the steps in which strings are searched, and the
// bytes around those that matter in strings of all lengths up to two steps and more.
func TestStringBytes(t *testing.T) {
	t.Parallel()
	f := func(length, place int, c byte) {
		t.Helper()
		content := bytes.Repeat([]byte{'x'}, length)
		content[place] = c
		body := []byte(image(string(content)))
		want, _, wantErr := oracle(body)
		var r Review
		err := r.Decode(body)
		if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(factsOf(&r), want) {
			t.Fatalf("%q: got %+v, %v; want %+v, %v", content, factsOf(&r), err, want, wantErr)
		}
	}
	for c := range 256 {
		for place := range 9 {
			f(9, place, byte(c))
		}
	}
	for length := range 20 {
		for place := range length {
			for _, c := range []byte("\x00\x1f !\"#[\\]\x7f\x80\x9f\xa2\xdc\xff") {
				f(length, place, c)
			}
		}
	}
}

// What is unescaped in place must not reach into what is read later, nor beyond the body.
func TestDecodeWritesWithinTheBody(t *testing.T) {
	t.Parallel()
	var body strings.Builder
	var want facts
	body.WriteString(`{"kind":"\u0041","spec":{"containers":[`)
	for i := range 200 {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"image":"%d%s\u00e9%s"}`, i, strings.Repeat("\xff", i%5), strings.Repeat(`\ud800`, i%3))
		want.Images = append(want.Images, fmt.Sprintf("%d%sé%s", i, strings.Repeat("\ufffd", i%5), strings.Repeat("\ufffd", i%3)))
	}
	body.WriteString(`],"namespace":"\ud83d\ude00\n"},"apiVersion":"\"v"}`)
	want.Kind, want.APIVersion, want.Namespace = "A", `"v`, "😀\n"

	around := append([]byte("before"), body.String()+"behind"...)
	var r Review
	if err := r.Decode(around[len("before") : len(around)-len("behind")]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, factsOf(&r)); diff != "" {
		t.Error(diff)
	}
	if !bytes.HasPrefix(around, []byte("before")) || !bytes.HasSuffix(around, []byte("behind")) {
		t.Error("bytes around the body were changed")
	}
}

func TestDecodeForgets(t *testing.T) {
	t.Parallel()
	large := func() []byte {
		return []byte(`{"kind":"K","apiVersion":"v","spec":{"namespace":"n","containers":[` +
			strings.Repeat("{\"image\":\"\xff\"},", 2999) + `{"image":"a"}]}}`)
	}
	var r Review
	f := func(body string, want facts) {
		t.Helper()
		if err := r.Decode(large()); err != nil || len(r.Images) != 3000 {
			t.Fatalf("%d images, %v", len(r.Images), err)
		}
		if err := r.Decode([]byte(body)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, factsOf(&r)); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
		for i, image := range r.images[len(r.images):cap(r.images)] {
			if image != "" {
				t.Fatalf("%s: an image of an earlier review is still there, %d behind the last", body, i)
			}
		}
	}
	f(`{}`, facts{})
	f(`{"spec":{"containers":[{},null,{"image":null}]}}`, facts{Images: []string{"", "", ""}})
	f(`{"spec":{"containers":[{"image":"a"},{"image":"b"}],"containers":[{}]}}`, facts{Images: []string{""}})

	if err := r.Decode(large()); err != nil {
		t.Fatal(err)
	}
	if err := r.Decode([]byte(`{"spec":{"containers":[{"image":"b"}]`)); err == nil || !cmp.Equal(factsOf(&r), facts{}) {
		t.Errorf("after a failure: %v, %+v", err, factsOf(&r))
	}
}

func TestReviewGivesBack(t *testing.T) {
	t.Parallel()
	var r Review
	decode := func(body string) {
		t.Helper()
		if err := r.Decode([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	many := `{"spec":{"containers":[` + strings.Repeat(`{},`, 2999) + `{}]}}`
	for range 3 { // used now and then, it stays
		decode(many)
		grown := cap(r.images)
		for range leanBodies - 2 {
			decode(recorded)
		}
		if cap(r.images) != grown {
			t.Fatalf("capacity went from %d to %d", grown, cap(r.images))
		}
	}
	for range leanBodies + 1 {
		decode(recorded)
	}
	if got := cap(r.images); got > keptElements {
		t.Errorf("%d images are kept after small reviews only", got)
	}

	decode(image(strings.Repeat("\xff", 100_000)))
	r.Reset()
	if got := cap(r.scratch); got > keptScratch {
		t.Errorf("%d bytes of scratch are kept", got)
	}
	if r.Images != nil || r.failure != (DecodeError{}) {
		t.Errorf("Reset left %+v", factsOf(&r))
	}
}
