package resolver

import (
	"net/http"
	"net/url"
	"time"

	"sluice/engine"
)

// Request is one request that went to a registry, its token service or a host that it redirected to, as
// [Config.Observe] is told of it.
type Request struct {
	Method string
	URL    string        // without a query, which may hold a secret: "?…" stands for one
	Status int           // 0 if no answer came
	Bytes  int           // of the body, as far as it was kept
	Start  time.Time     // once there was a free place among the registry's concurrent requests
	Took   time.Duration // to the last byte
	Err    error         // why the answer was of no use; nil for an error status, which may well be an answer
}

func requestOf(u *url.URL, rep reply, f *engine.Failure, start time.Time, took time.Duration) Request {
	r := Request{
		Method: http.MethodGet, URL: observed(u), Status: rep.status, Bytes: len(rep.body), Start: start, Took: took,
	}
	if f != nil {
		r.Err = f
	}
	return r
}

// observed is a URL for [Request].
func observed(u *url.URL) string {
	s := u.Scheme + "://" + u.Host + u.EscapedPath()
	if u.RawQuery != "" {
		s += "?…"
	}
	return s
}
