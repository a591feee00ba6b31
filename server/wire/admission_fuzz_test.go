package wire

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// admissionSeeds are reviews of both kinds, and the ImageReviews' seeds, which every reader of JSON must survive.
func admissionSeeds(tb testing.TB) []string {
	tb.Helper()
	var all []string
	for _, name := range names(tb) {
		all = append(all, recordingOf(tb, name))
	}
	for _, spec := range []string{
		``, `"containers":[]`, `"containers":null,"volumes":null`, `"containers":[null,{}],"initContainers":[{"image":"a"}],"x":1`,
		`"containers":[{"image":"a","image":"b","name":"\u0063","imagePullPolicy":"Never"}],"containers":[{}]`, `"Containers":[{"Image":"a"}]`,
		`"volumes":[{"name":"a"},{"name":"b","image":{"reference":"\ud83d\ude00\n","pullPolicy":"p"}},{"image":null},null]`, `"volumes":[{"image":{},"image":{}}]`,
		`"volumes":[{"image":"a"}]`, `"volumes":[1]`, `"containers":[1]`, `"containers":{}`, `"containers":[{"image":1}]`, `"initContainers":[{"name":{}}]`,
		`"serviceAccount":"a","serviceAccountName":"","imagePullSecrets":[{"name":"a"},{},null,{"name":"b","name":"c"}]`, `"imagePullSecrets":{}`,
		`"imagePullSecrets":[1]`, `"imagePullSecrets":[{"name":1}]`, `"serviceAccountName":1`, "\"containers\":[{\"image\":\"a\xff\\u0041\"}]", `"\\":1,"\"":2`,
		`"imagePullSecrets":[],"imagePullSecrets":[]`, "\"\\u0063ontainers\xff\":1,\"\\u0063ontainers\":[{}]", `"containers":[{"image":"a"},]`, `"containers":[{}`,
		`"imagePullſecrets":1`, `"volumeſ":[{}]`,
	} {
		all = append(all, podOf(spec), latePodOf(spec), strings.Replace(podOf(spec), `"object"`, `"oldObject"`, 1),
			strings.Replace(podOf(spec), `"Pod"`, `"Deployment"`, 1))
		for key, way := range ways {
			inner := `{` + spec + `}`
			for i := range way {
				inner = `{"x":[],"` + way[len(way)-1-i] + `":` + inner + `}`
			}
			kind := `"kind":{"group":"` + key[0] + `","kind":"` + key[1] + `"}`
			all = append(all, `{"request":{`+kind+`,"object":`+inner+`,"oldObject":`+inner+`}}`, `{"request":{"oldObject":`+inner+`,`+kind+`,"object":null}}`)
		}
	}
	all = append(all,
		`{"request":{"uid":"u"},"request":null}`, `{"request":1}`, `{"request":{"kind":1}}`, `{"request":{"kind":{"kind":1}}}`, `{"request":{"dryRun":1}}`,
		`{"request":{"kind":{"kind":"Pod"},"kind":{}}}`, `{"request":{"dryRun":true,"dryRun":null,"uid":"a","uid":"b"}}`, `{"Request":{},"request":{"UID":"a"}}`,
		`{"request":{"object":{"spec":1},"object":{}}}`, `{"request":{"kind":{"kind":"Pod"},"object":{"spec":{},"spec":{}}}}`, `{"request":{"kind":{"kind":"Pod"},"object":1}}`,
		podOf(`"x":`+strings.Repeat("[", 9_996)+strings.Repeat("]", 9_996)), podOf(`"x":`+strings.Repeat("[", 9_997)+strings.Repeat("]", 9_997)),
	)
	return append(all, seeds()...)
}

func FuzzAdmissionDecode(f *testing.F) {
	for _, body := range admissionSeeds(f) {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want, alike, wantErr := readAdmission(body)
		if alike { // so that the oracle is not just another opinion
			if q, err := standardAdmission(body); (err == nil) != (wantErr == nil) || err == nil && !cmp.Equal(byList(q), byList(want)) {
				t.Fatalf("the oracle says %+v, %v; encoding/json %+v, %v", want, wantErr, q, err)
			}
		}

		var fresh, used Admission
		if err := used.Decode([]byte(podOf(`"containers":[{"image":"` + `\u0041` + strings.Repeat("\xff", 9) + `"}]`))); err != nil {
			t.Fatal(err)
		}
		for _, a := range []*Admission{&fresh, &used} {
			guarded := bytes.Join([][]byte{[]byte("before"), body, []byte("behind")}, nil)
			err := a.Decode(guarded[len("before") : len(guarded)-len("behind")])
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("got error %v, want %v", err, wantErr)
			}
			if got := requestOf(a); !cmp.Equal(got, want) {
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
