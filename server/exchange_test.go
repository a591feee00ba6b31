package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/engine"
)

// denial is how the status of a denial begins.
func denial(s string) string { return `"status":{"allowed":false,"reason":"` + s }

// TestExchanges sends the same requests over both protocols and expects the same answers.
func TestExchanges(t *testing.T) {
	t.Parallel()
	real := newEngine(t)
	decider := &stub{ // the real engine, with a fault for one namespace
		hit: real.Hit,
		decide: func(ctx context.Context, req *engine.Request, res *engine.Result) {
			if req.Images[0] == "panic.example/a" {
				panic("a fault")
			}
			real.Decide(ctx, req, res)
		},
	}
	f := start(t, decider, func(_ *fixture, c *Config) {
		c.MaxBody, c.Paths = 1<<20, []string{"/clusters/a"}
	})
	const head = `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1",`
	const allowed = head + `"status":{"allowed":true`
	tests := []struct {
		name   string
		method string // POST unless said
		path   string // /v1/imagereview unless said
		body   string
		adapt  func(*http.Request) *http.Request
		status int    // 200 unless said
		begins string // of the body
		holds  string // anywhere in the body
	}{
		{name: "allowed", body: reviewOf("good.example/a:1"), begins: allowed},
		{name: "allowed with timeout", path: "/v1/imagereview?timeout=30s", body: reviewOf("good.example/a:1"), begins: allowed},
		{name: "root", path: "/?timeout=30s", body: reviewOf("good.example/a:1"), begins: allowed},
		{name: "policy", path: "/policy", body: reviewOf("good.example/a:1"), begins: allowed},
		{name: "image_policy", path: "/image_policy", body: reviewOf("good.example/a:1"), begins: allowed},
		{name: "configured path", path: "/clusters/a", body: reviewOf("good.example/a:1"), begins: allowed},
		{name: "chunked", body: reviewOf("good.example/a:1"), adapt: chunked, begins: allowed},
		{name: "chunked beyond a small body", body: padded(300_000, "good.example/a:1"), adapt: chunked, begins: allowed},
		{name: "large", body: padded(300_000, "good.example/a:1"), begins: allowed},
		{name: "large to the byte", body: fit(1<<20, "good.example/a:1"), begins: allowed},
		{name: "large to the byte, chunked", body: fit(1<<20, "good.example/a:1"), adapt: chunked, begins: allowed},
		{name: "small to the byte, chunked", body: fit(freeBody, "good.example/a:1"), adapt: chunked, begins: allowed},
		{name: "multipart by its word only", body: reviewOf("good.example/a:1"), adapt: func(r *http.Request) *http.Request {
			r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
			return r
		}, begins: allowed},

		{name: "denied", body: reviewOf("bad.example/a:1"), begins: head + denial(""), holds: "bad.example/a:1"},
		{name: "one of two denied", body: reviewOf("good.example/a:1", "bad.example/a:1"), begins: head + denial(""), holds: `"reason":"static_fail"`},
		{name: "matched by no policy", body: reviewOf("nginx"), begins: head + denial("")},
		{name: "no image reference", body: reviewOf("NGINX::::@@ //"), begins: head + denial(""), holds: `"reason":"invalid_reference"`},
		{name: "no image reference of 3 kB", body: reviewOf(strings.Repeat("Ü", 1500)), begins: head + denial("")},

		{name: "empty body", body: "", begins: head + denial("the request is no ImageReview: the body is empty")},
		{name: "no JSON", body: "image=nginx", begins: head + denial("the request is no ImageReview:")},
		{name: "half a review", body: reviewOf("good.example/a:1")[:100], begins: head + denial("the request is no ImageReview:")},
		{name: "two reviews", body: reviewOf("good.example/a:1") + reviewOf("good.example/a:1"), begins: head + denial("the request is no ImageReview:")},
		{name: "null", body: "null", begins: head + denial("the request is no ImageReview:")},
		{name: "other types", body: head + `"spec":{"containers":[{"image":1}]}}`, begins: head + denial("the request is no ImageReview:")},
		{name: "other kind", body: strings.Replace(reviewOf("good.example/a:1"), "ImageReview", "AdmissionReview", 1), begins: head + denial("the request is no ImageReview of"), holds: "AdmissionReview"},
		{name: "other version", body: strings.Replace(reviewOf("good.example/a:1"), "v1alpha1", "v1beta1", 1), begins: head + denial("the request is no ImageReview of"), holds: "v1beta1"},
		{name: "no kind", body: `{}`, begins: head + denial("the request is no ImageReview of")},
		{name: "no containers", body: reviewOf(), begins: head + denial("the review names no container")},
		{name: "no spec", body: head + `"spec":null}`, begins: head + denial("the review names no container")},
		{name: "too large", body: padded(1<<20+100, "good.example/a:1"), begins: head + denial("the review is larger than the 1048576 bytes")},
		{name: "too large, chunked", body: padded(1<<20+100, "good.example/a:1"), adapt: chunked, begins: head + denial("the review is larger than the 1048576 bytes")},
		{name: "too large by far", body: padded(9<<20, "good.example/a:1"), begins: head + denial("the review is larger than the 1048576 bytes")},
		{name: "too large by far, chunked", body: padded(9<<20, "good.example/a:1"), adapt: chunked, begins: head + denial("the review is larger than the 1048576 bytes")},

		{name: "a fault", body: reviewOf("panic.example/a"), begins: head + denial("the review could not be decided"), holds: `"reason":"internal"`},
		{name: "to be repeated", body: reviewOf("retry.example/a:1"), status: 502, holds: `"reason":"InternalError","code":502`},
		{name: "to be decided by the plugin", body: reviewOf("defer.example/a:1"), status: 403, holds: `"reason":"Forbidden","code":403`},
		{name: "a denial outranks", body: reviewOf("defer.example/a:1", "bad.example/a:1"), begins: head + denial("")},

		{name: "other path", path: "/v2/imagereview", body: reviewOf("good.example/a:1"), status: 404, begins: `{"kind":"Status","apiVersion":"v1"`},
		{name: "path below", path: "/v1/imagereview/x", body: reviewOf("good.example/a:1"), status: 404, begins: `{"kind":"Status","apiVersion":"v1"`},
		{name: "GET", method: "GET", status: 405, begins: `{"kind":"Status","apiVersion":"v1"`},
		{name: "HEAD", method: "HEAD", status: 405},
		{name: "PUT", method: "PUT", body: reviewOf("good.example/a:1"), status: 405, begins: `{"kind":"Status","apiVersion":"v1"`},
		{name: "GET elsewhere", method: "GET", path: "/healthz", status: 404, begins: `{"kind":"Status","apiVersion":"v1"`},
	}
	t.Cleanup(func() {
		if n := f.Stats().BodyBytes; n != 0 {
			t.Errorf("%d bytes of room are still taken", n)
		}
	})
	eachProtocol(t, func(t *testing.T, proto string) {
		c := client(t, proto, f.clientTLS(t))
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				for range 2 { // cold and warm
					r := request(t, or(test.method, "POST"), f.url(or(test.path, "/v1/imagereview")), test.body)
					if test.adapt != nil {
						r = test.adapt(r)
					}
					a := do(t, c, r)
					if want := max(test.status, 200); test.status == 0 && a.status != 200 || test.status != 0 && a.status != want {
						t.Errorf("status %d, want %d: %s", a.status, want, a.body)
					}
					if !strings.HasPrefix(a.body, test.begins) || !strings.Contains(a.body, test.holds) {
						t.Errorf("answered\n%s\nwant\n%s … %s", a.body, test.begins, test.holds)
					}
					if test.method != "HEAD" && !json.Valid([]byte(a.body)) {
						t.Errorf("not JSON: %s", a.body)
					}
					if a.header.Get("Retry-After") != "" {
						t.Error("Retry-After was sent, and the plugin would call 55 times")
					}
					if got := fmt.Sprintf("h%d", a.proto); got != proto {
						t.Errorf("spoke %s", got)
					}
					if a.header.Get("Content-Type") != "application/json" {
						t.Errorf("Content-Type %q", a.header.Get("Content-Type"))
					}
				}
			})
		}
	})
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// fit is a review of exactly n bytes.
func fit(n int, image string) string {
	r := reviewOf(image)
	return r + strings.Repeat(" ", n-len(r))
}

// TestLargestReview sends what the largest pod can become.
func TestLargestReview(t *testing.T) {
	t.Parallel()
	f := start(t, newEngine(t))
	images := make([]string, 3000)
	for i := range images {
		images[i] = fmt.Sprintf("good.example/a:%d", i)
	}
	body := padded(17_400_000, images...)
	eachProtocol(t, func(t *testing.T, proto string) {
		a := do(t, client(t, proto, f.clientTLS(t)), request(t, "POST", f.url("/"), body))
		if a.status != 200 || !strings.Contains(a.body, `"allowed":true`) {
			t.Errorf("%d %.300s", a.status, a.body)
		}
	})
	if n := f.Stats().BodyBytes; n != 0 {
		t.Errorf("%d bytes of room are still taken", n)
	}
}

// TestExpectContinue sends the body only when it is asked for.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll())
	eachProtocol(t, func(t *testing.T, proto string) {
		c := client(t, proto, f.clientTLS(t))
		c.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
		for _, body := range []string{reviewOf("a"), padded(300_000, "a")} {
			r := request(t, "POST", f.url("/"), body)
			r.Header.Set("Expect", "100-continue")
			if a := do(t, c, r); a.status != 200 || !strings.Contains(a.body, `"allowed":true`) {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
	})
}

// TestSlowBody lets bodies stall before and behind the point up to which they are read without asking for room.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(_ *fixture, c *Config) { c.ReadTimeout = time.Second })
	eachProtocol(t, func(t *testing.T, proto string) {
		for _, length := range []int64{500, 500_000, -1} {
			stalled, done := io.Pipe()
			go func() { _, _ = io.WriteString(done, reviewOf("a")[:50]) }()
			r := request(t, "POST", f.url("/"), "")
			r.Body, r.ContentLength = stalled, length
			a, err := try(client(t, proto, f.clientTLS(t)), r)
			if err != nil {
				t.Errorf("%d bytes: %v", length, err)
			} else if a.status != 200 || !strings.Contains(a.body, denial("the review did not arrive in time")) {
				t.Errorf("%d bytes: %d %s", length, a.status, a.body)
			}
			_ = done.Close()
		}
	})
	eventually(t, "room given back", func() bool { return f.Stats().BodyBytes == 0 && f.Stats().InFlight == 0 })
}

// TestRawH1 sends what no client library would.
func TestRawH1(t *testing.T) {
	t.Parallel()
	f := start(t, allowAll(), func(_ *fixture, c *Config) { c.ReadTimeout = 3 * time.Second })
	post := func(headers, body string) string {
		return fmt.Sprintf("POST /?timeout=30s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", headers, len(body), body)
	}
	ok := post("", reviewOf("a"))
	tests := []struct {
		name  string
		send  string
		wants []string // one a response
	}{
		{"one", ok, []string{`"allowed":true`}},
		{"pipelined", ok + ok + ok, []string{`"allowed":true`, `"allowed":true`, `"allowed":true`}},
		{"headers too large", post("X: "+strings.Repeat("x", 2*maxHead)+"\r\n", reviewOf("a")), []string{denial("the request's headers are too large")}},
		{"headers too large by far", post("X: "+strings.Repeat("x", 1<<20)+"\r\n", reviewOf("a")), []string{denial("the request's headers are too large")}},
		{"no HTTP", "\x16\x03\x01\x02 not this\r\n\r\n", []string{denial("the request is no HTTP")}},
		{"headers that stall", ok[:30], []string{denial("the request did not arrive in time")}},
		{"two lengths", post("Content-Length: 5\r\n", reviewOf("a")), []string{denial("the request is no HTTP")}},
		{"no length that is a number", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", []string{denial("the request is no HTTP")}},
		{"broken chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", []string{denial("the review ended before its end")}},
		{"no length at all", "POST / HTTP/1.1\r\nHost: x\r\n\r\n", []string{denial("the request is no ImageReview: the body is empty")}},
		{"another path with a body", "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + ok, []string{`"code":404`}},
		{"HTTP/1.0", strings.Replace(ok, "HTTP/1.1", "HTTP/1.0", 1), []string{`"allowed":true`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := f.rawDial(t, "http/1.1")
			if _, err := io.WriteString(c, test.send); err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(c)
			for _, want := range test.wants {
				resp, err := http.ReadResponse(br, &http.Request{Method: "POST"})
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(string(body), want) {
					t.Errorf("%d %s, want %s", resp.StatusCode, body, want)
				}
				if resp.StatusCode != 200 && resp.StatusCode != 404 {
					t.Errorf("%d", resp.StatusCode)
				}
			}
		})
	}
}

// TestBudgetOfTime looks at the context that the engine is given.
func TestBudgetOfTime(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, proto string) {
		left := make(chan time.Duration, 1)
		f := start(t, &stub{decide: func(ctx context.Context, _ *engine.Request, res *engine.Result) {
			end, _ := ctx.Deadline()
			left <- time.Until(end)
			res.Outcome = engine.Allow
		}})
		c := client(t, proto, f.clientTLS(t))
		for query, most := range map[string]time.Duration{
			"": 8 * time.Second, "?timeout=30s": 8 * time.Second, "?timeout=2s": 2 * time.Second, "?x=y&timeout=2500ms": 2500 * time.Millisecond,
			"?timeout=0s": 8 * time.Second, "?timeout=-1s": 8 * time.Second, "?timeout=soon": 8 * time.Second, "?timeout": 8 * time.Second,
		} {
			a := do(t, c, request(t, "POST", f.url("/"+query), reviewOf("a")))
			if got := <-left; got > most || got < most-1900*time.Millisecond || !strings.Contains(a.body, `"allowed":true`) {
				t.Errorf("%q: %v are left of %v; %s", query, got, most, a.body)
			}
		}
	})
}

// TestCallerLeaves ends the work of a review on HTTP/2 when its caller has gone, and of every review with the server.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan error, 1)
	f := start(t, &stub{decide: func(ctx context.Context, _ *engine.Request, _ *engine.Result) {
		began <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
	}})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-began
		cancel()
	}()
	if _, err := try(client(t, "h2", f.clientTLS(t)), request(t, "POST", f.url("/"), reviewOf("a")).WithContext(ctx)); err == nil {
		t.Error("answered")
	}
	if err := <-ended; err != context.Canceled {
		t.Errorf("ended with %v", err)
	}
	eventually(t, "the review is over", func() bool { return f.Stats().InFlight == 0 })
	if said := f.records.lines(`"outcome"`); len(said) > 0 {
		t.Errorf("an answer that nobody reads is news: %s", said)
	}
	go func() {
		<-began
		f.Close()
	}()
	_, _ = try(client(t, "h1", f.clientTLS(t)), request(t, "POST", f.url("/"), reviewOf("a"))) // may still get an answer
	if err := <-ended; err != context.Canceled {
		t.Errorf("ended with %v", err)
	}
}
