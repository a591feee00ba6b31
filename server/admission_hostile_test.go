package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"sluice/engine"
	"sluice/server/h2"
)

// FuzzAdmission sends anything to both doors. Each answer is one that the apiserver can read, and no fault is found.
func FuzzAdmission(f *testing.F) {
	whole := asked{operation: "UPDATE", object: pod("both.example/a:1", "kept.example/b"), old: pod("kept.example/b")}.String()
	for _, seed := range []string{
		whole, "", "null", "[]", whole + "x", whole[:len(whole)/2], strings.ReplaceAll(whole, "a", `\u0061`),
		strings.ReplaceAll(whole, "both.example/a:1", strings.Repeat("\xff", 3000)),
		strings.Replace(whole, "containers", "initContainers", 1),
		strings.Replace(whole, `"uid"`, `"uid":"a","uid"`, 1),
		strings.Repeat(`{"request":`, 20_000),
		asked{object: pod("down-retry.example/a", "warned.example/b")}.String(),
		asked{object: `{"spec":{"containers":[` + strings.Repeat("{},", 5000) + `null]}}`}.String(),
		asked{object: `{"spec":{"volumes":[{"name":"v","image":null},{"image":{"reference":"pull.example/v"}}]}}`}.String(),
	} {
		f.Add([]byte(seed))
	}
	recorded, err := filepath.Glob("wire/testdata/admission/*.json")
	if err != nil || len(recorded) == 0 {
		f.Fatal("no recorded reviews: ", err)
	}
	for _, path := range recorded {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := prepare(f, newAdmissionEngine(f))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, k := range []kind{validate, mutate} {
			status, reply, _ := decideAt(t, s, k, body)
			switch {
			case !json.Valid([]byte(reply)):
				t.Errorf("%s: no JSON: %s", k, reply)
			case status == 200:
				r := read(t, reply).Response
				if r.UID == "" && r.Allowed || r.Patch != nil && k == validate {
					t.Errorf("%s: %s", k, reply)
				}
			case status != 500:
				t.Errorf("%s: %d %s", k, status, reply)
			}
		}
		if n := s.Stats().Panics; n != 0 {
			t.Errorf("%d faults", n)
		}
	})
}

// TestAdmissionWhileDraining answers what was asked before.
func TestAdmissionWhileDraining(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, proto string) {
		began, goOn := make(chan struct{}), make(chan struct{})
		f := start(t, &stub{decide: func(_ context.Context, _ *engine.Request, res *engine.Result) {
			began <- struct{}{}
			<-goOn
			res.Outcome = engine.Allow
		}})
		c := client(t, proto, f.clientTLS(t))
		answers := make(chan answer, 2)
		for _, path := range []string{validatePath, mutatePath} {
			go func() {
				a, err := try(c, request(t, "POST", f.url(path), asked{object: pod("a")}.String()))
				if err != nil {
					t.Error(err)
				}
				answers <- a
			}()
			<-began
		}
		drained := make(chan error)
		go func() { drained <- f.Drain(context.Background()) }()
		eventually(t, "closing", f.closing.Load)
		close(goOn)
		for range 2 {
			if a := <-answers; a.status != 200 || !read(t, a.body).Response.Allowed {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// TestAdmissionBudget gives a review the smaller of two times.
func TestAdmissionBudget(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, proto string) {
		left := make(chan time.Duration, 1)
		f := start(t, &stub{decide: func(ctx context.Context, _ *engine.Request, res *engine.Result) {
			end, _ := ctx.Deadline()
			left <- time.Until(end)
			res.Outcome = engine.Allow
		}})
		c := client(t, proto, f.clientTLS(t))
		for query, most := range map[string]time.Duration{"": 8 * time.Second, "?timeout=30s": 8 * time.Second, "?timeout=2s": 2 * time.Second} {
			do(t, c, request(t, "POST", f.url(mutatePath+query), asked{object: pod("a")}.String()))
			if got := <-left; got > most || got < most-1900*time.Millisecond {
				t.Errorf("%q: %v are left of %v", query, got, most)
			}
		}
	})
}

// TestHeadsOfAnyone are known the second time, where nobody looks at a token, and nowhere else.
func TestHeadsOfAnyone(t *testing.T) {
	t.Parallel()
	for _, anonymous := range []bool{true, false} {
		f := prepare(t, allowAll(), func(f *fixture, c *Config) {
			c.Admission.Anonymous = anonymous
			c.TLS.ClientCAFile, c.TLS.TokenFile = "", write(t, f.path("tokens"), []byte("token"))
		})
		parsed, handler := 0, f.h1.Handler
		f.h1.Handler = func(ctx *fasthttp.RequestCtx) {
			parsed++
			handler(ctx)
		}
		review := asked{object: pod("a")}.String()
		request := []byte(strings.Replace(h1Head(validatePath, len(review)), "Host", "Authorization: Bearer token\r\nHost", 1) + review)
		answers := 0
		exchanges(t, f, request, func(c *tls.Conn) { _ = f.h1.ServeConn(f.newH1Conn(&conn{Conn: c})) }, func(answer []byte) bool {
			if answers++; !strings.HasPrefix(string(answer), "HTTP/1.1 200") || !strings.Contains(string(answer), `"uid":"`+uid) {
				t.Errorf("%s", answer)
			}
			return answers < 5
		})
		if want := map[bool]int{true: 2, false: 5}[anonymous]; parsed != want || answers != 5 {
			t.Errorf("anonymous %v: %d of %d requests were parsed", anonymous, parsed, answers)
		}
		door := &h2Door{server: f.Server, conn: &conn{}}
		for _, path := range []string{validatePath, mutatePath, "/", "/v1/admission/%76alidate?timeout=1s"} {
			r := &h2.Request{Method: http.MethodPost, Path: path, Authorization: "Bearer token"}
			if !door.Head(r) {
				t.Errorf("%s: not admitted", path)
			}
		}
		want := [numKinds]string{}
		if anonymous {
			want = [numKinds]string{validate: "/v1/admission/%76alidate?timeout=1s", mutate: mutatePath}
		}
		if door.known != want {
			t.Errorf("anonymous %v: known are %q", anonymous, door.known)
		}
		if k, ok := door.at(&h2.Request{Path: "/v1/admission/%76alidate?timeout=1s"}); k != validate || !ok {
			t.Errorf("leads to %s", k)
		}
	}
}

// TestDoorways has each path lead to its door.
func TestDoorways(t *testing.T) {
	t.Parallel()
	doors := doorways([]string{"/clusters/a"})
	for path, want := range map[string]kind{
		"/": imageReview, "/clusters/a": imageReview, "/v1/imagereview": imageReview, "/policy": imageReview, "/image_policy": imageReview,
		"/v1/admission/validate": validate, "/v1/admission/mutate": mutate,
	} {
		if got, ok := doors[path]; got != want || !ok {
			t.Errorf("%s leads to %s", path, got)
		}
		delete(doors, path)
	}
	if len(doors) != 0 {
		t.Errorf("and there are %v", doors)
	}
	for _, path := range []string{validatePath, mutatePath} {
		config := prepare(t, allowAll()).config
		config.Paths = []string{path}
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), "door for AdmissionReview") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if got := fmt.Sprint(imageReview, validate, mutate); got != "imagereview validate mutate" {
		t.Error(got)
	}
}
