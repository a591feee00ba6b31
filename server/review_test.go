package server

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"sluice/engine"
)

// TestRecords writes one record a denial, with everything that an operator asks for, and none an allowed review.
func TestRecords(t *testing.T) {
	t.Parallel()
	f := start(t, newEngine(t))
	c := client(t, "h2", f.clientTLS(t))
	ask := func(body string) { do(t, c, request(t, "POST", f.url("/"), body)) }
	ask(reviewOf("good.example/a:1"))
	if got := f.records.lines(""); len(got) != 0 {
		t.Errorf("an allowed review: %q", got)
	}
	record := func() map[string]any {
		t.Helper()
		lines := f.records.lines("")
		var m map[string]any
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &m); err != nil {
			t.Fatal(err)
		}
		delete(m, "time")
		delete(m, "took")
		return m
	}
	ask(reviewOf("good.example/a:1", "bad.example/b:2"))
	ask(reviewOf("good.example/a:1", "bad.example/b:2"))
	want := map[string]any{
		"level": "INFO", "msg": "review denied", "outcome": "deny", "reason": "static_fail", "namespace": "default", "hit": true,
		"protocol": "h2", "client": "kube-apiserver",
		"images": []any{map[string]any{"image": "bad.example/b:2", "reason": "static_fail", "policy": "bad"}},
	}
	if diff := cmp.Diff(want, record()); diff != "" {
		t.Errorf("a denial: %s", diff)
	}
	if n := len(f.records.lines("")); n != 2 {
		t.Errorf("%d records of 2 denials", n)
	}
	ask("nonsense")
	want = map[string]any{
		"level": "INFO", "msg": "review denied", "outcome": "deny", "reason": "invalid_request", "unusable": "not_json",
		"detail": "the request is no ImageReview: the body is not a JSON object (byte 0)", "protocol": "h2", "client": "kube-apiserver",
	}
	if diff := cmp.Diff(want, record()); diff != "" {
		t.Errorf("nonsense: %s", diff)
	}
	ask(reviewOf("defer.example/a:1"))
	if got := record(); got["msg"] != "review not decided" || got["level"] != "WARN" || got["outcome"] != "defer" || !strings.Contains(strings.Join(f.records.lines("unexpected EOF"), ""), "defer.example") {
		t.Errorf("undecided: %v", got)
	}

	// Hostile strings are bounded, and so is their number.
	images := make([]string, 100)
	for i := range images {
		images[i] = "bad.example/" + strings.Repeat("a", i+1) + "\x1b[2J\n"
	}
	images[0] = strings.Repeat("Ü", 100_000)
	ask(reviewOf(images...))
	lines := f.records.lines("")
	if last := lines[len(lines)-1]; len(last) > 64<<10 || strings.Contains(last, "\x1b") {
		t.Errorf("a record of %d bytes: %.500q", len(last), last)
	}
	if got := record(); got["imagesLeftOut"] != float64(100-maxImages) {
		t.Errorf("%v images are left out", got["imagesLeftOut"])
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in   string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "abc…"}, {"aÜb", 2, "a…"}, {"\x80\x80", 1, "…"}, {"", 0, ""}} {
		if got := clip(test.in, test.n); got != test.want {
			t.Errorf("clip(%q, %d) = %q, want %q", test.in, test.n, got, test.want)
		}
	}
}

// TestStats counts each kind of request once more than it was.
func TestStats(t *testing.T) {
	t.Parallel()
	real := newEngine(t)
	f := start(t, &stub{hit: real.Hit, decide: func(ctx context.Context, req *engine.Request, res *engine.Result) {
		if req.Images[0] == "panic" {
			panic("a fault")
		}
		real.Decide(ctx, req, res)
	}}, func(_ *fixture, c *Config) { c.MaxBody = 100_000 })
	c := client(t, "h1", f.clientTLS(t))
	ask := func(method, path, body string) { do(t, c, request(t, method, f.url(path), body)) }
	for range 3 {
		ask("POST", "/", reviewOf("good.example/a:1"))
	}
	ask("POST", "/", reviewOf("bad.example/a:1"))
	ask("POST", "/", reviewOf("retry.example/a:1"))
	ask("POST", "/", reviewOf("panic"))
	ask("POST", "/", "nonsense")
	ask("POST", "/", "{}")
	ask("POST", "/", reviewOf())
	ask("POST", "/", fit(100_001, "good.example/a:1"))
	ask("POST", "/", fit(100_000, "good.example/a:1"))
	ask("POST", "/nowhere", "")
	ask("GET", "/", "")
	st := f.Stats()
	type key struct {
		o   engine.Outcome
		hit bool
	}
	reviews := map[key]uint64{}
	for _, r := range st.Reviews {
		if r.Count > 0 {
			reviews[key{r.Outcome, r.Hit}] = r.Count
		}
	}
	if diff := cmp.Diff(map[key]uint64{
		{engine.Allow, false}: 1, {engine.Allow, true}: 3, {engine.Deny, false}: 6, {engine.Retry, false}: 1,
	}, reviews); diff != "" {
		t.Errorf("reviews: %s", diff)
	}
	byReason := map[string]uint64{}
	for _, r := range st.Reasons {
		if r.Count > 0 {
			byReason[r.Reason.String()] = r.Count
		}
	}
	if diff := cmp.Diff(map[string]uint64{
		"passed": 4, "static_fail": 1, "registry_unavailable": 1, "internal": 1, "invalid_request": 4,
	}, byReason); diff != "" {
		t.Errorf("reasons: %s", diff)
	}
	if diff := cmp.Diff(map[string]uint64{
		"not_json": 1, "wrong_kind": 1, "no_uid": 0, "unknown_object": 0, "no_containers": 1, "too_large": 1, "incomplete": 0, "malformed_http": 0,
	}, st.Unusable); diff != "" {
		t.Errorf("unusable: %s", diff)
	}
	if diff := cmp.Diff(map[string]uint64{"not_found": 1, "method_not_allowed": 1, "unauthorized": 0}, st.Refused); diff != "" {
		t.Errorf("refused: %s", diff)
	}
	count := func(h Histogram) (n uint64) {
		for _, b := range h.Counts {
			n += b
		}
		return n
	}
	if hits, misses := count(st.Hits), count(st.Misses); hits != 3 || misses != 8 || st.Hits.Sum <= 0 || len(st.Hits.Counts) != len(st.Hits.Bounds)+1 {
		t.Errorf("%d hits and %d misses took time; %v", hits, misses, st.Hits)
	}
	// A panic ends the connection behind its answer.
	if st.Panics != 1 || st.InFlight != 0 || st.Handshakes != 2 || st.ConnectionsAccepted != 2 || st.Connections["h1"] != 2 {
		t.Errorf("%+v", st)
	}
	eventually(t, "one connection is open", func() bool { return f.Stats().ConnectionsOpen["h1"] == 1 })
	if n := len(f.records.lines("a panic was recovered")); n != 1 || !strings.Contains(f.records.lines("a panic was recovered")[0], "review_test.go") {
		t.Errorf("%d records of the panic, with stack", n)
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h histogram
	for d, want := range map[time.Duration]int{
		0: 0, 50 * time.Microsecond: 0, 51 * time.Microsecond: 1, time.Millisecond: 4, 10 * time.Second: 16, time.Minute: 17,
	} {
		before := h.buckets[want].Load()
		h.observe(d)
		if h.buckets[want].Load() != before+1 {
			t.Errorf("%v is not in bucket %d", d, want)
		}
	}
}

// TestSpans has one span a review that is not answered from the cache, under the caller's own trace.
func TestSpans(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, proto string) {
		recorder := tracetest.NewSpanRecorder()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
		f := start(t, newEngine(t), func(_ *fixture, c *Config) { c.Tracer = provider.Tracer("test") })
		c := client(t, proto, f.clientTLS(t))
		for range 2 {
			r := request(t, "POST", f.url("/"), reviewOf("good.example/a:1"))
			r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
			do(t, c, r)
		}
		do(t, c, request(t, "POST", f.url("/"), reviewOf("bad.example/a:1")))
		spans := recorder.Ended()
		if len(spans) != 2 {
			t.Fatalf("%d spans", len(spans))
		}
		first, second := spans[0], spans[1]
		if first.Name() != "review" || first.Parent().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || first.Parent().SpanID().String() != "b7ad6b7169203331" {
			t.Errorf("%s under %v", first.Name(), first.Parent())
		}
		if second.Parent().IsValid() {
			t.Errorf("a review without a trace is under %v", second.Parent())
		}
		want := []attribute.KeyValue{attribute.String("sluice.outcome", "deny"), attribute.String("sluice.reason", "static_fail"), attribute.Int("sluice.images", 1), attribute.String("sluice.door", "imagereview")}
		if diff := cmp.Diff(want, second.Attributes(), cmp.Comparer(func(a, b attribute.Value) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
	})
}

// TestExchangeIsUsedAgain looks for what one request leaves behind for the next.
func TestExchangeIsUsedAgain(t *testing.T) {
	t.Parallel()
	f := prepare(t, newEngine(t))
	x := f.door.acquire(imageReview)
	x.client, x.waited, x.query = "someone", time.Hour, []byte("timeout=1s")
	if status, ended := f.receive(x, strings.NewReader(padded(200_000, "bad.example/a:1")), -1); status != 200 || !ended {
		t.Errorf("%d %v", status, ended)
	}
	f.door.release(x)
	if x.body != nil || x.query != nil || x.ctx != nil || x.carrier != nil || x.client != "" || x.waited != 0 || x.request.Images != nil || x.request.Namespace != "" {
		t.Errorf("%+v", x)
	}
	if x.review.Images != nil || x.begin >= 0 {
		t.Errorf("%v since %v", x.review.Images, x.begin)
	}
	for what, x := range map[string]*exchange{
		"whose reply has grown":     {stripe: x.stripe, reply: make([]byte, 2*keptReply)},
		"that a panic went through": {stripe: x.stripe, broken: true},
	} {
		f.door.release(x)
		for range 100 {
			if f.door.acquire(imageReview) == x {
				t.Errorf("an exchange %s is kept", what)
			}
		}
	}
}

// TestReplyIsWhole compares replies, whose parts are prepared, with what the decision says: of misses, of hits, and of
// hits whose ruling has been written down before.
func TestReplyIsWhole(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	f := prepare(t, e)
	const digest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, images := range [][]string{
		{"good.example/a:1"},
		{"good.example/a:1" + digest},
		{"good.example/a" + digest, "good.example/b:1", "good.example/b:2" + digest},
		{"bad.example/a:1"},
		{"good.example/a" + digest, "bad.example/a\"<:1", "nginx"},
		{"NGINX::@@ //é\u2028\xff"},
		{"nobody.example/a:1"},
	} {
		for range 3 {
			x := f.door.acquire(imageReview)
			x.body = []byte(reviewOf(images...))
			if status := f.door.decide(x); status != 200 {
				t.Fatalf("%q: %d", images, status)
			}
			type status struct {
				Allowed          bool              `json:"allowed"`
				Reason           string            `json:"reason,omitempty"`
				AuditAnnotations map[string]string `json:"auditAnnotations,omitempty"`
			}
			want := struct {
				Kind, APIVersion string
				Status           status
			}{reviewKind, reviewVersion, status{x.result.Outcome == engine.Allow, string(x.result.Message()), map[string]string{}}}
			for _, a := range x.result.Audit() {
				want.Status.AuditAnnotations[a.Key] = string(a.Value)
			}
			got := want
			got.Status = status{}
			if err := json.Unmarshal(x.reply, &got); err != nil {
				t.Fatalf("%v: %s", err, x.reply)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q: %s", images, diff)
			}
			if n := len(want.Status.AuditAnnotations); n < 3 || bytes.Count(x.reply, []byte(`"verdict":`)) != 1 {
				t.Errorf("%q: %d annotations: %s", images, n, x.reply)
			}
			f.door.release(x)
		}
	}
}

// TestHitThenRest answers in two halves, as callers do whose goroutine has others to answer: the first never asks to be
// waited for, and a fault in either is a denial.
func TestHitThenRest(t *testing.T) {
	t.Parallel()
	fault := func(req *engine.Request, where string) {
		if req.Namespace == where {
			panic("a fault")
		}
	}
	f := prepare(t, &stub{
		hit: func(req *engine.Request, res *engine.Result) bool {
			fault(req, "faulty hit")
			res.Outcome, res.Reason, res.Hit = engine.Allow, engine.ReasonPassed, true
			return req.Namespace == "hit"
		},
		decide: func(_ context.Context, req *engine.Request, res *engine.Result) {
			fault(req, "faulty rest")
			res.Outcome, res.Reason = engine.Allow, engine.ReasonPassed
		},
	})
	for _, test := range []struct {
		namespace string
		ok        bool
		want      string
	}{
		{"hit", true, `"allowed":true`},
		{"miss", false, `"allowed":true`},
		{"faulty hit", true, denial("the review could not be decided")},
		{"faulty rest", false, denial("the review could not be decided")},
		{"", true, denial("the request is no ImageReview")},
	} {
		x := f.door.acquire(imageReview)
		x.body = []byte(strings.Replace(reviewOf("a"), "default", test.namespace, 1))
		if test.namespace == "" {
			x.body = []byte("nonsense")
		}
		status, ok := f.door.hit(x)
		if ok != test.ok {
			t.Errorf("%q: answered at once: %v", test.namespace, ok)
		}
		if !ok {
			done := make(chan int)
			go func() { done <- f.door.rest(x) }()
			status = <-done
		}
		if status != 200 || !strings.Contains(string(x.reply), test.want) {
			t.Errorf("%q: %d %s", test.namespace, status, x.reply)
		}
		f.door.release(x)
	}
	st := f.Stats()
	var all uint64
	for _, r := range st.Reviews {
		all += r.Count
	}
	if all != 5 || st.Panics != 2 || st.InFlight != 0 {
		t.Errorf("%d reviews, %d panics, %d in flight", all, st.Panics, st.InFlight)
	}
}
