package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// h1Head is what client-go sends, with a body of n bytes.
func h1Head(path string, n int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: %d\r\n"+
		"Accept: application/json, */*\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n", path, n)
}

// converse sends bytes on one connection, in one write each, and returns the answers as they came, one for each request.
func converse(t *testing.T, c io.ReadWriter, requests int, writes ...string) (answers []string) {
	t.Helper()
	var wire bytes.Buffer
	r := bufio.NewReader(io.TeeReader(c, &wire))
	for i, w := range writes {
		if _, err := io.WriteString(c, w); err != nil {
			t.Fatal(err)
		}
		n := 1
		if len(writes) == 1 || i == len(writes)-1 {
			n = requests - (len(writes) - 1)
		}
		for range n {
			response, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("after %d answers: %v", len(answers), err)
			}
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			answers = append(answers, fmt.Sprintf("%s %v %s", response.Status, response.Header, body))
		}
	}
	return answers
}

// A request whose head is that of one before is answered as the first was: the same bytes, and no parser in between.
func TestTheSameHeadAgain(t *testing.T) {
	t.Parallel()
	good, bad := reviewOf("good.example/a:1"), reviewOf("bad.example/b:2")
	post := func(path, body string) string { return h1Head(path, len(body)) + body }
	for name, c := range map[string]struct {
		writes   []string
		statuses []string
		allowed  []bool
	}{
		"hits and misses": {
			[]string{post("/?timeout=30s", good), post("/?timeout=30s", good), post("/?timeout=30s", bad), post("/?timeout=30s", bad)},
			[]string{"200", "200", "200", "200"},
			[]bool{true, true, false, false},
		},
		"no reviews": {
			[]string{post("/", good), post("/", "{"), post("/", `{"kind":"Pod"}`), h1Head("/", 0), post("/", good)},
			[]string{"200", "200", "200", "200", "200"},
			[]bool{true, false, false, false, true},
		},
		"another path": {
			[]string{post("/", good), post("/nowhere", good), post("/policy", good)},
			[]string{"200", "404"},
			[]bool{true, false}, // which ends the connection
		},
		"another method": {
			[]string{post("/", good), "GET / HTTP/1.1\r\nHost: x\r\n\r\n", post("/", good)},
			[]string{"200", "405", "200"},
			[]bool{true, false, true},
		},
		"a length with a zero, a sign or too many digits": {
			[]string{post("/", good), strings.Replace(post("/", good), "Length: ", "Length: 0", 1), post("/", good)},
			[]string{"200", "200", "200"},
			[]bool{true, true, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, newEngine(t))
			conn := f.rawDial(t, "http/1.1")
			converse(t, conn, 2, c.writes[0], c.writes[0]) // from here on its head is known
			answers := converse(t, conn, len(c.statuses), c.writes[:len(c.statuses)]...)
			for i, a := range answers {
				if !strings.HasPrefix(a, c.statuses[i]) || strings.Contains(a, `"allowed":true`) != c.allowed[i] {
					t.Errorf("answer %d: %s", i, a)
				}
			}
		})
	}
}

// What is read at once and is not one whole request is none of the short way's business.
func TestTheSameHeadInPieces(t *testing.T) {
	t.Parallel()
	good := reviewOf("good.example/a:1")
	one := h1Head("/", len(good)) + good
	f := start(t, newEngine(t))
	conn := f.rawDial(t, "http/1.1")
	want := converse(t, conn, 3, one, one, one)
	if want[0] != want[2] {
		t.Errorf("the same request is answered\n%s\nand then\n%s", want[0], want[2])
	}
	// Two at once, and one and a half; the second half later.
	got := converse(t, conn, 2, one+one)
	got = append(got, converse(t, conn, 1, one+one[:len(one)/2])...)
	got = append(got, converse(t, conn, 2, one[len(one)/2:], one)...)
	for i, a := range got {
		if a != want[0] {
			t.Errorf("answer %d is\n%s\nand should be\n%s", i, a, want[0])
		}
	}
}

// The short way is taken, and all answers are the same bytes. fasthttp is given the first two of five such requests: of
// a new connection it reads one byte first, and what comes after that is no whole head.
func TestTheSameHeadIsNotParsedAgain(t *testing.T) {
	t.Parallel()
	f := prepare(t, newEngine(t))
	parsed, handler := 0, f.h1.Handler
	f.h1.Handler = func(ctx *fasthttp.RequestCtx) {
		parsed++
		handler(ctx)
	}
	var answers []string
	exchanges(t, f, rawH1(reviewOf("good.example/a:1")), f.serveH1On, func(answer []byte) bool {
		answers = append(answers, string(answer))
		return len(answers) < 5
	})
	if parsed != 2 || len(answers) != 5 {
		t.Errorf("fasthttp was given %d of %d requests", parsed, len(answers))
	}
	for i, a := range answers {
		if a != answers[0] {
			t.Errorf("answer %d is\n%s\nand the first\n%s", i, a, answers[0])
		}
	}
}

// The limit on bodies holds for the second request, too.
func TestTheSameHeadWithTooLargeABody(t *testing.T) {
	t.Parallel()
	small := reviewOf("good.example/a:1")
	large := reviewOf("good.example/a:1", "good.example/a:1")
	f := start(t, newEngine(t), func(_ *fixture, c *Config) { c.MaxBody = int64(len(small)) })
	known := h1Head("/", len(small)) + small
	answers := converse(t, f.rawDial(t, "http/1.1"), 4, known, known, known, h1Head("/", len(large))+large)
	if !strings.Contains(answers[2], `"allowed":true`) || !strings.Contains(answers[3], "larger than") {
		t.Errorf("%q", answers)
	}
}

// Which heads are known the second time.
func TestTheSameHeadIsKnown(t *testing.T) {
	t.Parallel()
	good := reviewOf("good.example/a:1")
	raw := []byte(h1Head("/?timeout=30s", len(good)) + good)
	longer := reviewOf("good.example/a:1", "good.example/b:2")
	for name, c := range map[string]struct {
		first  string
		second string
		known  bool
	}{
		"the same":            {string(raw), string(raw), true},
		"another length":      {string(raw), h1Head("/?timeout=30s", len(longer)) + longer, true},
		"another path":        {string(raw), h1Head("/?timeout=29s", len(good)) + good, false},
		"too short":           {string(raw), string(raw[:len(raw)-1]), false},
		"too long":            {string(raw), string(raw) + "x", false},
		"no digits":           {string(raw), strings.Replace(string(raw), "Length: ", "Length: \r\n", 1), false},
		"to be closed":        {strings.Replace(string(raw), "Host", "Connection: close\r\nHost", 1), string(raw), false},
		"to be continued":     {strings.Replace(string(raw), "Host", "Expect: 100-continue\r\nHost", 1), string(raw), false},
		"traced":              {strings.Replace(string(raw), "Host", "traceparent: 00-0-0-0\r\nHost", 1), string(raw), false},
		"in other letters":    {strings.Replace(string(raw), "Content-Length", "content-length", 1), string(raw), false},
		"a large head":        {strings.Replace(string(raw), "Host", "X: "+strings.Repeat("x", maxAgain)+"\r\nHost", 1), string(raw), false},
		"in chunks, too":      {strings.Replace(string(raw), "Host", "Transfer-Encoding: identity\r\nHost", 1), string(raw), false},
		"of an older version": {strings.Replace(string(raw), "HTTP/1.1", "HTTP/1.0", 1), strings.Replace(string(raw), "HTTP/1.1", "HTTP/1.0", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ctx fasthttp.RequestCtx
			if err := ctx.Request.Read(bufio.NewReader(strings.NewReader(c.first))); err != nil {
				t.Fatal(err)
			}
			var a again
			a.learn([]byte(c.first), &ctx, imageReview)
			body, known := a.body([]byte(c.second))
			if known != c.known || known && (body[0] != '{' || !bytes.HasSuffix(body, []byte("}\n"))) {
				t.Errorf("known: %t, body %q", known, body)
			}
		})
	}
}
