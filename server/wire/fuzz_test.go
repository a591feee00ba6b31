package wire

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seeds are bodies, and the insides of strings, that parsers of JSON have been known to disagree on.
func seeds() []string {
	all := []string{
		recorded, strings.TrimSpace(recorded), "", " ", "{}", "null", "[]", "1", `""`, "true", "\ufeff{}", "{}\x00", "{} {}", "{}\n\n",
		`{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{"creationTimestamp":null},"spec":{},"status":{}}`,
		`{"kind":"A","kind":"B","Kind":"C","KIND":"D","\u004Bind":"E","\u006bind":"F","` + "\u212aind" + `":"G"}`,
		`{"` + "\u017f" + `pec":{"namespace":"long s"}}`,
		`{"kind":null,"kind":"A","kind":null}`,
		`{"spec":{"containers":[{"image":"a"},{"image":"b"}]},"spec":{"containers":[{},{}, {"image":"c"}],"namespace":"n"},"spec":null}`,
		`{"spec":{"containers":[{"image":"a"}],"containers":null,"containers":[{"x":1}],"containers":[]}}`,
		`{"spec":{"containers":[null,{},{"image":null},{"image":""},{"image":"a","image":null,"image":"b"}]}}`,
		`{"spec":{"containers":{"image":"a"}}}`, `{"spec":{"containers":"a"}}`, `{"spec":{"containers":["a"]}}`, `{"spec":{"containers":[[]]}}`,
		`{"spec":{"containers":[{"image":["a"]}]}}`, `{"spec":{"containers":[{"image":1},{"image":"a"}]}}`, `{"spec":[]}`, `{"spec":1}`, `{"spec":"a"}`,
		`{"kind":1}`, `{"kind":true}`, `{"kind":{}}`, `{"kind":[]}`, `{"apiVersion":1e400}`, `{"spec":{"namespace":-1}}`, `{"status":1,"metadata":"x"}`,
		`{"x":[1,-0,0.5,1E+9,1e-999999999,123456789012345678901234567890123456789012345678901234567890]}`,
		`{"x":-}`, `{"x":01}`, `{"x":1.}`, `{"x":.1}`, `{"x":1e}`, `{"x":+1}`, `{"x":0x10}`, `{"x":1_0}`, `{"x":NaN}`, `{"x":-Infinity}`, `{"x":--1}`,
		`{"x":tru}`, `{"x":truee}`, `{"x":nul}`, `{"x":None}`, `{"x":'a'}`, `{x:1}`, `{"x":1,}`, `{"x":[1,]}`, `{,}`, `{"x"}`, `{"x":}`, `{"x":1 2}`,
		`{/**/}`, `{"x":1//` + "\n}", "{\"x\":\v1}", "{\u00a0}", "{\"x\":1\x00}", `{"x":[}`, `{"x":{]}`, `{"x":[1}}`, `{"":{"":""}}`, `{1:2}`, `{null:1}`,
		nested(9_999, "[", "", "]"), nested(10_000, "[", "", "]"), nested(9_999, `{"a":`, "{", "}") + "}", nested(10_000, `{"a":`, "1", "}"),
		nested(9_998, "[", "{}", "]"), nested(9_999, "[", "{}", "]"), nested(70, "[{\"a\":", "[[],{},[1,{}]]", "},{}]"), nested(100_000, "[", "", ""),
		`{"spec":{"containers":[{"x":` + strings.Repeat("[", 9_996) + strings.Repeat("]", 9_996) + `}]}}`,
		`{"spec":{"x":` + strings.Repeat("[", 9_998) + strings.Repeat("]", 9_998) + `}}`,
		`{"spec":{"x":` + strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999) + `}}`,
		"{\"kind\xff\":1,\"\\u006bind\xff\":2,\"kin\\ud800\":3,\"\\u006bin\\u0064\":\"K\",\"spec\\u0000\":[]}",
	}
	for _, inside := range []string{
		`\u003cimg\u003e\u0026`, `\"`, `\\`, `\/`, `\b\f\n\r\t`, `\u0000`, `\u00e9`, `\u20AC`, `\uD83D\uDE00`, `\ud83d`, `\ude00`, `\ude00\ud83d`, `\ud83d\ud83d\ude00`,
		`\ud83d\u0041`, `\ud83dA`, `\ud83d\n`, `\ud83d\\ude00`, `\uFFFD`, `\uffff`, `\ufeff`, `\u`, `\u1`, `\u12`, `\u123`, `\u123g`, `\u 123`, `\u+123`, `\x41`, `\'`, `\`,
		`\U0041`, "\x00", "\x1f", "\x20", "\x7f", "\n", "\xff", "a\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\xf0\x9f\x98", "é€😀", "\u2028\u2029",
		`\n` + "\xff", `\u0041` + "\xff\xff\xff", "1234567\"", "12345678\x01", `1234567\n`, `12345678\u0041`, strings.Repeat(`\u003c`, 100), strings.Repeat("\xff", 100),
		strings.Repeat("x", 4096) + `\n`, "index.docker.io/library/nginx@sha256:" + strings.Repeat("0", 64),
	} {
		all = append(all, image(inside), `{"x":"`+inside+`","kind":"`+inside+`"}`, `{"kind`+inside+`":"a","kind":"b"}`)
	}
	// What is compared as a whole, with something else before, within and behind it.
	for _, spec := range []string{
		``, `}`, `},"status":{"allowed":false}}`, `},"status":{"allowed":false}}` + "\n\n", `},"status":{"allowed":false} }` + "\n",
		`},"kind":"B","spec":{"containers":[{}]},"status":{"allowed":false}}` + "\n", `},"status":{"allowed":false}}}` + "\n", `},,}`, `}}x`,
		`"containers":[{"image":"a"},{"image":"b","image":"c"},{"image":"d" },{"image":"e","x":1},{"image":"\u0066\n"},{"image":"é"}]}}`,
		`"containers":[{"image":"a"`, `"containers":[{"image":"a","image":null},{"image":"b"x}]}}`, `"containers":[{"image":"a"}`, `"containers":[{"image":"a"},]}}`,
		`"containers":[{"image":"a",}]}}`, `"containers":[{"image":"` + "\xff" + `"}],"status":{"allowed":false}}` + "\n", `"status":{"allowed":false}}` + "\n",
	} {
		all = append(all, opening+spec, openingOld+spec, strings.Replace(opening, "{}", "{ }", 1)+spec)
	}
	escaped := image(`\n\u003c\ud83d\ude00`)
	for _, whole := range []string{recorded, strings.Replace(recorded, opening, openingOld, 1), escaped, `{"x":[-1.5e+3,true,false,null,{}]}`} { // cut off anywhere
		for i := range whole {
			all = append(all, whole[:i])
		}
	}
	return all
}

func FuzzDecode(f *testing.F) {
	for _, body := range seeds() {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want, alike, wantErr := oracle(body)
		if alike { // so that the oracle is not just another opinion
			if p, err := standard(body); (err == nil) != (wantErr == nil) || err == nil && !cmp.Equal(p, want) {
				t.Fatalf("the oracle says %+v, %v; encoding/json %+v, %v", want, wantErr, p, err)
			}
		}

		var fresh, used Review
		if err := used.Decode([]byte(image(`\u0041` + strings.Repeat("\xff", 9)))); err != nil {
			t.Fatal(err)
		}
		for _, r := range []*Review{&fresh, &used} {
			guarded := bytes.Join([][]byte{[]byte("before"), body, []byte("behind")}, nil)
			err := r.Decode(guarded[len("before") : len(guarded)-len("behind")])
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("got error %v, want %v", err, wantErr)
			}
			if got := factsOf(r); !cmp.Equal(got, want) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
			if !bytes.HasPrefix(guarded, []byte("before")) || !bytes.HasSuffix(guarded, []byte("behind")) {
				t.Fatal("bytes around the body were changed")
			}
			var failure *DecodeError
			if err != nil && (!errors.As(err, &failure) || failure.Offset < 0 || failure.Offset > len(body) || failure.Message == "") {
				t.Fatalf("got %#v", err)
			}
		}
	})
}

// Seeds that all fail, or all pass, would show half of what they are for.
func TestSeedsAreOfBothKinds(t *testing.T) {
	t.Parallel()
	good := 0
	for _, body := range seeds() {
		if new(Review).Decode([]byte(body)) == nil {
			good++
		}
	}
	if all := len(seeds()); good < all/10 || good > all*9/10 {
		t.Errorf("%d of %d seeds decode", good, all)
	}
}
