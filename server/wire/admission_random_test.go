package wire

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reviewer writes reviews at random, most of them nearly right.
type reviewer struct{ *rand.Rand }

func (r reviewer) one(of ...string) string { return of[r.IntN(len(of))] }

// text writes a string.
func (r reviewer) text() string {
	return r.one(`"a"`, `"b"`, `""`, `"nginx:1"`, `"\u003c\n"`, `"\ud83d\ude00\ud800"`, "\"\xff\xff\"", "\"\\n\\n\xff\"", `"\\\""`, "null")
}

// value writes anything.
func (r reviewer) value() string {
	return r.one(`null`, `true`, `1`, `-0.5e+3`, `"x"`, `{}`, `[]`, `[1,{"image":"no"}]`, `{"spec":{"\"":"}"}}`, `{"containers":[{}],"\\":"\\"}`, r.text())
}

// member writes a name and a value; now and then another of either.
func (r reviewer) member(name, value string) string {
	switch r.IntN(60) {
	case 0:
		name = strings.ToUpper(name)
	case 1, 2:
		name = fmt.Sprintf(`\u%04x%s`, name[0], name[1:])
	case 3:
		value = r.value()
	}
	return `"` + name + r.one(`":`, `":`, `" : `) + value
}

// object writes members in any order, some not at all or twice, among others.
func (r reviewer) object(members ...string) string {
	var all []string
	for _, member := range members {
		for n := r.IntN(60); n > 2; n -= 55 { // one time in twenty not at all, one in thirty twice
			all = append(all, member)
		}
	}
	for range r.IntN(3) {
		all = append(all, r.one(`"x":`, `"Image" : `, `"\"":`, `"\\u0061":`, `"\u0000":`, "\"\\n\xff\":")+r.value())
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return `{` + strings.Join(all, r.one(",", ",", " ,\n")) + `}`
}

// list writes a list of up to three elements.
func (r reviewer) list(element func() string) string {
	var all []string
	for range r.IntN(4) {
		if r.IntN(20) == 0 {
			all = append(all, r.one("null", "null", r.value()))
		}
		all = append(all, element())
	}
	return `[` + strings.Join(all, ",") + `]`
}

func (r reviewer) spec() string {
	container := func() string {
		return r.object(r.member("name", r.text()), r.member("image", r.text()), r.member("imagePullPolicy", r.text()))
	}
	volume := func() string {
		image := r.one("null", r.object(r.member("reference", r.text()), r.member("pullPolicy", r.text())))
		return r.object(r.member("name", r.text()), r.member(r.one("image", "image", "emptyDir"), image))
	}
	secret := func() string { return r.object(r.member("name", r.text())) }
	return r.object(r.member("containers", r.list(container)), r.member("initContainers", r.list(container)),
		r.member("ephemeralContainers", r.list(container)), r.member("volumes", r.list(volume)), r.member("imagePullSecrets", r.list(secret)),
		r.member("serviceAccountName", r.text()), r.member("serviceAccount", r.text()))
}

func (r reviewer) review() string {
	group, kind := r.one("", "", "apps", "batch"), r.one("Pod", "PodTemplate", "Deployment", "Job", "CronJob")
	way := ways[[2]string{group, kind}]
	if way == nil {
		group, kind, way = "apps", "StatefulSet", []string{"spec", "template", "spec"}
	}
	object := func() string {
		object := r.spec()
		for i := range way {
			object = r.object(r.member(way[len(way)-1-i], object))
		}
		return r.one(object, object, object, "null")
	}
	var members []string
	for _, name := range []string{"uid", "subResource", "name", "namespace", "operation"} {
		members = append(members, r.member(name, r.text()))
	}
	members = append(members, r.member("kind", r.object(r.member("group", `"`+group+`"`), r.member("version", `"v1"`), r.member("kind", `"`+kind+`"`))),
		r.member("dryRun", r.one("true", "false", "null")), r.member("object", object()), r.member("oldObject", object()))
	return r.object(r.member("kind", `"AdmissionReview"`), r.member("apiVersion", `"admission.k8s.io/v1"`), r.member("request", r.object(members...)))
}

// The same as FuzzAdmissionDecode, on what mutated bytes rarely come to: valid documents in which something is odd.
func TestAdmissionDecodeAtRandom(t *testing.T) {
	t.Parallel()
	r := reviewer{rand.New(rand.NewPCG(5, 36))}
	good, full, bothSay := 0, 0, 0
	const rounds = 600
	var a Admission
	for range rounds {
		body := r.review()
		want, alike, wantErr := readAdmission([]byte(body))
		if alike {
			bothSay++
			if q, err := standardAdmission([]byte(body)); (err == nil) != (wantErr == nil) || err == nil && !cmp.Equal(byList(q), byList(want)) {
				t.Fatalf("%q: the oracle says %+v, %v; encoding/json %+v, %v", body, want, wantErr, q, err)
			}
		}
		err := a.Decode([]byte(body))
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: got error %v, want %v", body, err, wantErr)
		}
		if got := requestOf(&a); !cmp.Equal(got, want) {
			t.Fatalf("%q: got %+v, want %+v", body, got, want)
		}
		if err == nil {
			good++
		}
		if len(a.Images) > 2 && len(a.OldImages) > 2 {
			full++
		}
	}
	if good < rounds/4 || good > rounds*9/10 || full < rounds/100 || bothSay < rounds/10 {
		t.Errorf("of %d reviews %d are good, %d have images on both sides, and of %d encoding/json says the same", rounds, good, full, bothSay)
	}
}
