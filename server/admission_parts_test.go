package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"sluice/engine"
	"sluice/server/wire"
)

// decideAt has a review decided at a door, as the protocols do.
func decideAt(t testing.TB, f *fixture, k kind, body []byte) (status int, reply string, hit bool) {
	t.Helper()
	x := f.door.acquire(k)
	x.body = append(x.space(len(body))[:0], body...)
	status = f.door.decide(x)
	reply, hit = string(x.reply), x.result.Hit
	f.door.release(x)
	return status, reply, hit
}

// TestBefore compares the two ways to look up what an object was.
func TestBefore(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 3 * fewImages {
		images := make([]wire.Image, n)
		for i := range images {
			images[i] = wire.Image{
				Image: fmt.Sprint("image", random.IntN(20)), Container: fmt.Sprint("c", i/4), List: wire.List(i % 4), Index: i / 4,
			}
		}
		var table before
		table.set(images)
		if made := table.byPlace != nil; made != (n > fewImages) {
			t.Errorf("%d images: a table is made: %v", n, made)
		}
		plain := before{images: images}
		for range 100 {
			image := wire.Image{Image: fmt.Sprint("image", random.IntN(20)), Container: fmt.Sprint("c", random.IntN(n/4+2)), List: wire.List(random.IntN(4))}
			if table.place(&image) != plain.place(&image) || table.keeps(&image) != plain.keeps(&image) {
				t.Errorf("%d images: %v: %v and %v", n, image, table.place(&image), plain.place(&image))
			}
		}
	}
}

// TestThousandsOfImages is an update of an object that nobody would make, half of whose images are new.
func TestThousandsOfImages(t *testing.T) {
	t.Parallel()
	const n = 5_000
	f := prepare(t, newAdmissionEngine(t))
	was, is := make([]string, n), make([]string, n)
	for i := range n {
		was[i] = fmt.Sprintf("kept.example/a:%d", i)
		if is[i] = was[i]; i%2 == 0 {
			is[i] = fmt.Sprintf("pinned.example/a:%d", i)
		}
	}
	review := []byte(asked{kind: "Deployment", group: "apps", operation: "UPDATE", object: deployment(is...), old: deployment(was...)}.String())
	for _, warm := range []bool{false, true} {
		if status, reply, hit := decideAt(t, f, validate, review); status != 200 || !read(t, reply).Response.Allowed || hit != warm {
			t.Errorf("%d %.300s", status, reply)
		}
		_, reply, _ := decideAt(t, f, mutate, review)
		ops := operations(t, read(t, reply).Response.Patch)
		if len(ops) != n/2 || !strings.HasPrefix(ops[n/2-1], fmt.Sprintf("/spec/template/spec/containers/%d/image=pinned.example/a:%d@sha256:", n-2, n-2)) {
			t.Errorf("%d operations", len(ops))
		}
	}
}

// TestWarnings bounds what is said to what the apiserver passes on.
func TestWarnings(t *testing.T) {
	t.Parallel()
	f := prepare(t, newAdmissionEngine(t))
	said := func(images ...string) []string {
		t.Helper()
		_, reply, _ := decideAt(t, f, validate, []byte(asked{object: pod(images...)}.String()))
		r := read(t, reply).Response
		if !r.Allowed {
			t.Errorf("answered %.500s", reply)
		}
		return r.Warnings
	}
	long := "warned.example/" + strings.Repeat("a", 230)
	if got := said(long); len(got) != 1 || len(got[0]) <= maxWarning || strings.Contains(got[0], "…") {
		t.Errorf("one that is long: %q", got)
	}
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("warned.example/b%s/%d", strings.Repeat("a", 23*(i%10)), i))
	}
	got := said(many...)
	all := 0
	for _, w := range got {
		n := utf8.RuneCountInString(w)
		if all += n; n > maxWarning {
			t.Errorf("a warning of %d: %s", n, w)
		}
	}
	if all > maxWarnings || all < maxWarnings-2*maxWarning || got[len(got)-1] != fmt.Sprintf("and %d more warnings", 300-(len(got)-1)) {
		t.Errorf("%d warnings of %d characters; the last is %q", len(got), all, got[len(got)-1])
	}
	if got := said("good.example/a"); got != nil {
		t.Errorf("nothing to warn of, and %q", got)
	}
}

func TestPeekUID(t *testing.T) {
	t.Parallel()
	whole := asked{object: pod("a")}.String()
	for body, want := range map[string]string{
		whole:       uid,
		whole[:150]: uid,
		whole[:100]: "",
		"":          "",
		strings.Replace(whole, uid, `a\u0022`, 1):                "",
		strings.Replace(whole, uid, "", 1):                       "",
		strings.Replace(whole, uid, strings.Repeat("a", 300), 1): "",
		strings.Replace(whole, "v1", "v2", 1):                    "",
		" " + whole:                                              "",
	} {
		if got := peekUID([]byte(body)); got != want {
			t.Errorf("%.120s: %q", body, got)
		}
	}
}

// TestSameVerdict compares the door for ImageReview with that for validate.
func TestSameVerdict(t *testing.T) {
	t.Parallel()
	f := prepare(t, newAdmissionEngine(t))
	all := []string{
		"good.example/a:1", "bad.example/b", "warned.example/c:3", "kept.example/d", "pull.example/e", "pinned.example/f", "gone.example/g",
		"down-deny.example/h", "nginx", "NGINX::@@", "", "private.example/i", "good.example/j@" + digestOf("j"), "good.example/\"<\u2028",
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var images []string
		for range 1 + random.IntN(4) {
			images = append(images, all[random.IntN(len(all))])
		}
		_, reply, _ := decideAt(t, f, imageReview, []byte(reviewOf(images...)))
		var want struct {
			Status struct {
				Allowed          bool
				Reason           string
				AuditAnnotations map[string]string
			}
		}
		if err := json.Unmarshal([]byte(reply), &want); err != nil {
			t.Fatal(err)
		}
		_, reply, _ = decideAt(t, f, validate, []byte(asked{object: pod(images...)}.String()))
		got := read(t, reply).Response
		text := strings.Join(got.Warnings, "; ")
		if !got.Allowed {
			text = got.Status.Message
		}
		if got.Allowed != want.Status.Allowed || text != want.Status.Reason {
			t.Errorf("%q: %v %q, and %v %q", images, want.Status.Allowed, want.Status.Reason, got.Allowed, text)
		}
		if diff := cmp.Diff(want.Status.AuditAnnotations, got.AuditAnnotations); diff != "" || len(got.AuditAnnotations) < 3 {
			t.Errorf("%q: %s", images, diff)
		}
	}
}

// TestMutateAgain gives its own answer back to it, and to validate, as re-invocation does.
func TestMutateAgain(t *testing.T) {
	t.Parallel()
	f := prepare(t, newAdmissionEngine(t))
	images := []string{"pinned.example/a:1", "both.example/b", "pull.example/c", "good.example/d"}
	_, reply, _ := decideAt(t, f, mutate, []byte(asked{object: pod(images...)}.String()))
	first := read(t, reply).Response
	if got := first.AuditAnnotations; len(got) != 1 || !strings.Contains(got["digests"], "pinned.example/a:1@"+digestOf("a")) {
		t.Errorf("annotations %q", got)
	}
	for _, op := range operations(t, first.Patch) {
		path, value, _ := strings.Cut(op, "=")
		i := slices.Index([]string{"0", "1", "2", "3"}, strings.Split(path, "/")[3])
		if strings.HasSuffix(path, "/image") {
			_, policy, _ := strings.Cut(images[i], " ")
			images[i] = strings.TrimSpace(value + " " + policy)
		} else {
			images[i] += " " + value
		}
	}
	if want := []string{
		"pinned.example/a:1@" + digestOf("a"), "both.example/b@" + digestOf("b") + " Always", "pull.example/c Always", "good.example/d",
	}; !slices.Equal(images, want) {
		t.Errorf("written %q", images)
	}
	_, reply, _ = decideAt(t, f, mutate, []byte(asked{object: pod(images...)}.String()))
	if got := read(t, reply).Response; !got.Allowed || got.Patch != nil {
		t.Errorf("again: %s", reply)
	}
	_, reply, _ = decideAt(t, f, validate, []byte(asked{object: pod(images...)}.String()))
	if got := read(t, reply).Response; !got.Allowed {
		t.Errorf("validated: %s", reply)
	}
}

// TestExchangeAtEachDoor uses one exchange at all doors in turn, and looks for what one leaves behind for the next.
func TestExchangeAtEachDoor(t *testing.T) {
	t.Parallel()
	f := prepare(t, newAdmissionEngine(t), func(_ *fixture, c *Config) { c.Admission.PullSecrets = newDrawer(nil) })
	f.door.secrets = newDrawer(func(context.Context) *engine.Access { return nil })
	x := f.door.acquire(mutate)
	use := func(k kind, body string) string {
		x.kind, x.body = k, []byte(body)
		f.door.decide(x)
		reply := string(x.reply)
		f.door.release(x)
		a := x.admission
		if a.review.UID != "" || a.review.Images != nil || len(a.images)+len(a.kept)+len(a.touched)+len(a.warnings)+len(a.patch)+len(a.answer.Audit) > 0 ||
			a.before.images != nil || a.before.byPlace != nil || a.unread || a.answer.UID != "" || a.answer.Message != nil || a.answer.Prepared != nil || x.request.Access != nil ||
			x.request.Pin || x.request.Kept != nil || x.body != nil || x.review.Images != nil {
			t.Errorf("left behind at %s: %+v", k, a)
		}
		for _, s := range append(a.images[:cap(a.images)], a.kept[:cap(a.kept)]...) {
			if s != "" {
				t.Errorf("a string of a body is kept alive at %s: %q", k, s)
			}
		}
		if cap(a.images) > keptAdmission || cap(a.touched) > keptAdmission || cap(a.patch) > keptAdmission {
			t.Errorf("too much is kept: %d, %d and %d", cap(a.images), cap(a.touched), cap(a.patch))
		}
		return reply
	}
	many := strings.Split(strings.Repeat("bad.example/a ", 500), " ")
	update := func(images ...string) string {
		return asked{operation: "UPDATE", object: pod(append(images, "kept.example/b")...), old: pod("kept.example/b", "good.example/c")}.String()
	}
	reviews := []struct {
		kind kind
		body string
	}{
		{mutate, asked{object: pod("both.example/a:1")}.String()},
		{validate, update(many...)},
		{imageReview, reviewOf("good.example/a")},
		{validate, update("warned.example/a")},
		{mutate, update("pull.example/a")},
		{validate, "nonsense"},
		{imageReview, "nonsense"},
		{validate, asked{operation: "DELETE"}.String()},
		{validate, asked{kind: "Nothing"}.String()},
	}
	var first []string
	for _, r := range reviews {
		first = append(first, use(r.kind, r.body))
	}
	for i, r := range slices.Backward(reviews) {
		if got := use(r.kind, r.body); got != first[i] {
			t.Errorf("%s:\n%s\nand then\n%s", r.kind, first[i], got)
		}
	}
}

// TestDoorsRecordsAndCounts says at which door what was asked about.
func TestDoorsRecordsAndCounts(t *testing.T) {
	t.Parallel()
	f := start(t, newAdmissionEngine(t))
	c := client(t, "h2", f.clientTLS(t))
	record := func(path, body string) map[string]any {
		t.Helper()
		do(t, c, request(t, "POST", f.url(path), body))
		lines := f.records.lines("")
		if len(lines) == 0 {
			t.Fatal("no record")
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &m); err != nil {
			t.Fatal(err)
		}
		delete(m, "time")
		delete(m, "took")
		return m
	}
	update := asked{
		kind: "Deployment", group: "apps", operation: "UPDATE", dryRun: true, sub: "status",
		object: deployment("bad.example/a", "good.example/b"), old: deployment("good.example/b"),
	}
	object := map[string]any{
		"level": "INFO", "msg": "review denied", "outcome": "deny", "namespace": "default", "protocol": "h2", "client": "kube-apiserver",
		"door": "validate", "operation": "UPDATE", "kind": "Deployment", "name": "x", "subresource": "status", "dryRun": true,
	}
	with := func(more map[string]any) map[string]any {
		all := map[string]any{}
		for _, m := range []map[string]any{object, more} {
			for k, v := range m {
				if all[k] = v; v == nil {
					delete(all, k)
				}
			}
		}
		return all
	}
	if diff := cmp.Diff(with(map[string]any{
		"reason": "static_fail", "hit": false,
		"images": []any{map[string]any{"image": "bad.example/a", "reason": "static_fail", "policy": "bad"}},
	}), record(validatePath, update.String())); diff != "" {
		t.Errorf("a denial: %s", diff)
	}
	unknown := update
	unknown.kind, unknown.dryRun = strings.Repeat("K", 5000), false
	if diff := cmp.Diff(with(map[string]any{
		"reason": "invalid_request", "unusable": "unknown_object", "door": "mutate", "dryRun": nil, "kind": strings.Repeat("K", maxLogged) + "…",
		"detail": `this kind is not known here: "` + strings.Repeat("K", maxEcho) + `\u2026" of "apps/v1"; the webhook's rules are to name pods and what has a pod template`,
	}), record(mutatePath, unknown.String())); diff != "" {
		t.Errorf("an unknown kind: %s", diff)
	}
	record(mutatePath, asked{object: pod("pinned.example/a")}.String())
	record(validatePath, asked{object: pod("pinned.example/a")}.String())
	record(validatePath, asked{operation: "DELETE"}.String())
	record(mutatePath, asked{object: pod("down-defer.example/a")}.String())
	record("/", reviewOf("good.example/a"))
	got := map[string]uint64{}
	for _, d := range f.Stats().Doors {
		if d.Count > 0 {
			got[d.Door+" "+d.Outcome.String()] = d.Count
		}
	}
	if diff := cmp.Diff(map[string]uint64{
		"validate deny": 1, "mutate deny": 1, "mutate allow": 1, "validate allow": 2, "mutate defer": 1, "imagereview allow": 1,
	}, got); diff != "" {
		t.Errorf("doors: %s", diff)
	}
	if n := f.Stats().Unusable["unknown_object"]; n != 1 {
		t.Errorf("%d of an unknown kind", n)
	}
}

// TestAdmissionIncomplete says whose denial it is, although the body never came, or there was no room for it.
func TestAdmissionIncomplete(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(_ *fixture, c *Config) {
		c.ReadTimeout, c.Budget = 150*time.Millisecond, 100*time.Millisecond
		c.MaxBody, c.MaxBodies = 1<<20, 1<<20
	})
	body := asked{object: pod(strings.Repeat("a", 200_000))}.String()
	eachProtocol(t, func(t *testing.T, proto string) {
		c := client(t, proto, f.clientTLS(t))
		for _, length := range []int64{500, 500_000, -1} {
			r := request(t, "POST", f.url(mutatePath), "")
			r.Body, r.ContentLength = newStalled(body[:200]), length
			a, err := try(c, r)
			if err != nil {
				t.Errorf("%d bytes: %v", length, err)
				continue
			}
			got := read(t, a.body).Response
			// On HTTP/2 a body is collected before anyone looks at it, unless it says that it is large.
			if want := uid; got.Allowed || got.UID != want && (proto == "h1" || length == 500_000) || !strings.Contains(got.Status.Message, "in time") {
				t.Errorf("%d bytes: %s", length, a.body)
			}
		}
	})
	full := prepare(t, allowAll(), func(_ *fixture, c *Config) { c.Budget, c.MaxBody, c.MaxBodies = time.Millisecond, 1<<20, 1<<20 })
	if !full.bodies.acquire(t.Context(), 1<<20) {
		t.Fatal("no room")
	}
	for _, size := range []int64{int64(len(body)), -1} {
		x := full.door.acquire(validate)
		status, ended := full.receive(x, strings.NewReader(body), size)
		if got := read(t, string(x.reply)).Response; status != 200 || ended || got.Allowed || got.UID != uid || !strings.Contains(got.Status.Message, "too many large reviews") {
			t.Errorf("%d %s", status, x.reply)
		}
		full.door.release(x)
	}
	// A job that is shed.
	door := &h2Door{server: full.Server, conn: &conn{certified: true}}
	x := door.exchange(validate)
	x.body = []byte(body)
	if status, ok := full.door.hit(x); !ok || status != 200 {
		t.Error("no hit")
	}
	x = door.exchange(validate)
	x.body = []byte(body)
	job := &h2Job{server: full.Server, x: x}
	if got := read(t, string(job.Shed().Body)).Response; got.Allowed || got.UID != uid {
		t.Errorf("shed: %s", x.reply)
	}
}

// TestStaleUID does not take the beginning of another request for one's own.
func TestStaleUID(t *testing.T) {
	t.Parallel()
	f := prepare(t, allowAll())
	x := f.door.acquire(validate)
	body := asked{object: pod("a")}.String()
	for _, arrives := range []int{len(body), 0, 50} {
		status, _ := f.receive(x, strings.NewReader(body[:arrives]), int64(len(body)))
		want := ""
		if arrives == len(body) {
			want = uid
		}
		if got := read(t, string(x.reply)).Response; status != 200 || got.UID != want {
			t.Errorf("%d bytes: %s", arrives, x.reply)
		}
		kept := x.small
		f.door.release(x)
		if x = f.door.acquire(validate); arrives == len(body) {
			x.small = kept
		}
	}
}

// TestSameHeadAtAnotherDoor keeps the doors apart on one connection, whose heads are known after the first.
func TestSameHeadAtAnotherDoor(t *testing.T) {
	t.Parallel()
	for name, configure := range map[string]func(*fixture, *Config){
		"certified": func(*fixture, *Config) {},
		"anonymous": func(_ *fixture, c *Config) { c.Admission.Anonymous, c.TLS.ClientCAFile = true, "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, newAdmissionEngine(t), configure)
			conn := f.rawDial(t, "http/1.1")
			review := asked{object: pod("pinned.example/a:1")}.String()
			post := func(path string) string { return h1Head(path, len(review)) + review }
			for range 2 {
				for path, patched := range map[string]bool{validatePath: false, mutatePath: true} {
					for i := range 4 {
						got := converse(t, conn, 1, post(path))[0]
						if !bytes.Contains([]byte(got), []byte(`"allowed":true`)) || strings.Contains(got, `"patchType"`) != patched {
							t.Errorf("%s, %d: %s", path, i, got)
						}
					}
				}
			}
		})
	}
}
