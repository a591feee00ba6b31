package proof

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

func TestParseClaim(t *testing.T) {
	t.Parallel()
	const form = `{"critical":{"identity":{"docker-reference":"a/b"},"image":{"docker-manifest-digest":"d"},"type":"t"},"optional":%s}`
	ok := func(raw string, annotations map[string]string) {
		t.Helper()
		got, err := parseClaim([]byte(raw))
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			return
		}
		want := claim{kind: "t", digest: "d", reference: "a/b", annotations: annotations}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(claim{})); diff != "" {
			t.Errorf("%s: %s", raw, diff)
		}
	}
	with := func(optional string) string { return fmt.Sprintf(form, optional) }
	ok(with(`null`), nil)
	ok(with(` null `), nil)
	ok(with(`{}`), nil)
	ok(" \n"+strings.ReplaceAll(with(`{ "a" : "b" , "c" : [ 1 , 2 ] }`), ":", "\t:\r\n ")+"\n\t ", map[string]string{"a": "b", "c": "[1,2]"})
	ok(`{"critical":{"type":"t","image":{"docker-manifest-digest":"d"},"identity":{"docker-reference":"a/b"}}}`, nil)
	ok(with(`{"s":"x","n":1.50,"t":true,"z":null,"o":{"k":["v"]},"e":"\u00e9\n","":""}`), map[string]string{
		"s": "x", "n": "1.50", "t": "true", "z": "null", "o": `{"k":["v"]}`, "e": "é\n", "": "",
	})
	ok(strings.ReplaceAll(with(`null`), "critical", `\u0063ritical`), nil)
	ok(with(`{"\"}":"]\\","\\":"\\\"{"}`), map[string]string{`"}`: `]\`, `\`: `\"{`})
	ok(with(`{"A":"1","a":"2"}`), map[string]string{"A": "1", "a": "2"}) // annotations do differ by case
	ok(with(`{"long":"`+strings.Repeat("x", maxClaim+1)+`","`+strings.Repeat("y", maxClaim+1)+`":"1","short":"x"}`),
		map[string]string{"short": "x"})
	ok(with(`{"d":`+strings.Repeat("[", maxDepth-2)+strings.Repeat("]", maxDepth-2)+`}`),
		map[string]string{"d": strings.Repeat("[", maxDepth-2) + strings.Repeat("]", maxDepth-2)})

	many, first := `{`, make(map[string]string)
	for i := range maxClaims + 10 {
		many += fmt.Sprintf(`"k%d":"v",`, i)
		if i < maxClaims {
			first[fmt.Sprintf("k%d", i)] = "v"
		}
	}
	ok(with(strings.TrimSuffix(many, ",")+`}`), first)

	bad := func(raw string) {
		t.Helper()
		if c, err := parseClaim([]byte(raw)); err == nil {
			t.Errorf("%.300q was read as %+v", raw, c)
		}
	}
	for _, raw := range []string{
		``, ` `, `null`, `true`, `1`, `""`, `[]`, `{`, `{}}`, `{"critical"`, `{"critical":}`, `{"critical":null}`, `{"critical":[]}`,
		with(`[]`), with(`""`), with(`1`), with(`{"a":}`), with(`{"a":"1","a":"2"}`), with(`{"a":"1","\u0061":"2"}`),
		with(`null`) + `x`, with(`null`) + with(`null`), with(`null`) + "\x00", "\xef\xbb\xbf" + with(`null`),
		strings.Replace(with(`null`), `"optional"`, `"Optional"`, 1),
		strings.Replace(with(`null`), `"optional"`, `"critical"`, 1),
		strings.Replace(with(`null`), `"optional"`, `"extra"`, 1),
		strings.Replace(with(`null`), `"d"`, "\"d\xff\"", 1),
		strings.Replace(with(`null`), `"d"`, `1`, 1),
		strings.Replace(with(`null`), `"d"`, `null`, 1),
		strings.Replace(with(`null`), `"d"`, `["d"]`, 1),
		strings.Replace(with(`null`), `"t"`, `{}`, 1),
		strings.Replace(with(`null`), `"type"`, `"Type"`, 1),
		strings.Replace(with(`null`), `"type":"t"`, `"type":"t","type":"t"`, 1),
		strings.Replace(with(`null`), `"type":"t"`, `"type":"t","TYPE":"t"`, 1),
		strings.Replace(with(`null`), `"type":"t"`, `"type":"t","later":"t"`, 1),
		strings.Replace(with(`null`), `:"d"`, `:"d","docker-manifest-digest":"e"`, 1),
		strings.Replace(with(`null`), `:"d"`, `:"d","Docker-Manifest-Digest":"e"`, 1),
		strings.Replace(with(`null`), `:"d"`, `:"d","docer-manifest-digest":"e"`, 1),
		strings.Replace(with(`null`), `:"a/b"`, `:"a/b","docer-reference":"e"`, 1),
		strings.Replace(with(`null`), `{"docker-manifest-digest":"d"}`, `"d"`, 1),
		with(`{"d":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`),
		with(`{"d":` + strings.Repeat(`{"d":`, 200_000) + `1` + strings.Repeat("}", 200_000) + `}`),
		strings.Repeat("[", 1<<20),
		with(`{"a":"` + "\x01" + `"}`),
		strings.Replace(with(`null`), `{"critical"`, `{"critical.type":"x","critical"`, 1),
		strings.Replace(with(`null`), `{"critical"`, `{"image":{"docker-manifest-digest":"e"},"critical"`, 1),
		strings.Replace(with(`null`), `{"critical"`, `{"type":"e","critical"`, 1),
		strings.Replace(with(`null`), `"type":"t"`, `"type":"t","optional":{}`, 1),
		strings.Replace(with(`null`), `"type":"t"`, `"type":"t","\u0074ype":"e"`, 1),
	} {
		bad(raw)
	}
}

func TestShapeSkipsStrings(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]bool{
		`"` + strings.Repeat("[", 100) + `"`:              false,
		`"\"` + strings.Repeat("[", 100) + `"`:            false,
		`"\\"` + strings.Repeat("[", 100):                 true,
		strings.Repeat("[]", 100):                         false,
		strings.Repeat("[", maxDepth):                     false,
		strings.Repeat("[", maxDepth+1):                   true,
		strings.Repeat(`{"a":`, maxDepth+1):               true,
		strings.Repeat("]", 100) + strings.Repeat("[", 3): false,
		`"\`: false,
	} {
		if depth, _ := shape([]byte(raw)); depth > maxDepth != want {
			t.Errorf("%.40s: %v deep, want over %d: %v", raw, depth, maxDepth, want)
		}
	}
}

func FuzzParseClaim(f *testing.F) {
	f.Add([]byte(`{"critical":{"identity":{"docker-reference":"a"},"image":{"docker-manifest-digest":"d"},"type":"t"},"optional":{"a":1}}`))
	f.Add([]byte(`{"optional":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseClaim(raw)
		if err != nil {
			return
		}
		// Whoever reads it with encoding/json, as cosign does, must read the same.
		var s payload.SimpleContainerImage
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatalf("encoding/json refuses what was read: %v", err)
		}
		c2 := claim{kind: s.Critical.Type, digest: s.Critical.Image.DockerManifestDigest, reference: s.Critical.Identity.DockerReference}
		if c.kind != c2.kind || c.digest != c2.digest || c.reference != c2.reference {
			t.Fatalf("read %+v, encoding/json reads %+v", c, c2)
		}
		for name, value := range s.Optional {
			text, isText := value.(string)
			got, ok := c.annotations[name]
			switch {
			case !ok && (len(c.annotations) == maxClaims || len(name) > maxClaim || len(raw) > maxClaim):
			case !ok:
				t.Fatalf("annotation %q is missing in %v", name, c.annotations)
			case isText && got != text:
				t.Fatalf("annotation %q is %q, encoding/json reads %q", name, got, text)
			case !isText && !json.Valid([]byte(got)):
				t.Fatalf("annotation %q is %q, and no JSON", name, got)
			}
		}
		if len(c.annotations) > len(s.Optional) {
			t.Fatalf("annotations %v, encoding/json reads %v", c.annotations, s.Optional)
		}
	})
}
