package server

import (
	"bytes"
	"io"
	"strconv"

	"github.com/valyala/fasthttp"
)

// again is the head of a request that has been admitted on this connection, with the place of its body's length. An
// apiserver sends the same head each time, and so the next request needs no parsing: its head is compared. It is kept
// where nobody looks at a token, for callers with a certificate and at doors that are open to anyone, and says nothing that
// could mean something else the second time.
type again struct {
	before, after []byte // of the digits; empty: there is no such head
	query         []byte
	kind          kind // of the door
}

// maxAgain is how large such a head may be: each connection keeps one.
const maxAgain = 1 << 10

var (
	headEnd   = []byte("\r\n\r\n")
	lengthKey = []byte("\r\nContent-Length: ")
)

// learn takes over the head of the request that fasthttp has just read, if it will do. raw is what the first read of it has
// brought.
func (a *again) learn(raw []byte, ctx *fasthttp.RequestCtx, k kind) {
	h := &ctx.Request.Header
	end := bytes.Index(raw, headEnd) + len(headEnd)
	at := bytes.Index(raw, lengthKey) + len(lengthKey)
	if end < len(headEnd) || at < len(lengthKey) || at > end || end > maxAgain ||
		!h.IsHTTP11() || h.ConnectionClose() || len(h.Peek("Expect")) > 0 || len(h.Peek("traceparent")) > 0 ||
		bytes.Contains(bytes.ToLower(raw[:end]), []byte("\r\ntransfer-encoding")) {
		return
	}
	digits := bytes.IndexByte(raw[at:], '\r')
	if string(raw[at:at+digits]) != strconv.Itoa(h.ContentLength()) ||
		bytes.Count(bytes.ToLower(raw[:end]), []byte("content-length")) != 1 {
		return
	}
	a.before, a.after = append(a.before[:0], raw[:at]...), append(a.after[:0], raw[at+digits:end]...)
	a.query, a.kind = append(a.query[:0], ctx.URI().QueryString()...), k
}

// body returns the body of a request that has this head, if all of it and nothing else is in raw.
func (a *again) body(raw []byte) ([]byte, bool) {
	if len(a.before) == 0 {
		return nil, false
	}
	rest, ok := bytes.CutPrefix(raw, a.before)
	if !ok {
		return nil, false
	}
	length, digits := 0, 0
	for digits < len(rest) && digits < 6 && '0' <= rest[digits] && rest[digits] <= '9' {
		length = 10*length + int(rest[digits]-'0')
		digits++
	}
	if digits == 0 || rest[0] == '0' {
		return nil, false
	}
	rest, ok = bytes.CutPrefix(rest[digits:], a.after)
	return rest, ok && len(rest) == length
}

// repeat answers a request that was read at once and whose head is that of one before, as serveH1 would have. It
// tells whether it has; if it hasn't, it has done nothing.
func (c *h1Conn) repeat(raw []byte) (bool, error) {
	s := c.server
	body, ok := c.again.body(raw)
	if !ok || int64(len(body)) > s.maxBody(c.again.kind) || s.closing.Load() { // when the connection is to end, the answer says so
		return false, nil
	}
	c.active.Store(true)
	defer c.active.Store(false)
	x := s.door.acquire(c.again.kind)
	defer s.door.release(x)
	x.protocol, x.client, x.query = protocolH1, c.client, c.again.query
	x.body = append(x.space(len(body))[:0], body...)
	status, ok := s.door.hit(x)
	if !ok {
		status = s.door.rest(x)
	}
	x.frame = append(x.frame[:0], "HTTP/1.1 "...)
	x.frame = strconv.AppendInt(x.frame, int64(status), 10)
	x.frame = append(append(x.frame, ' '), fasthttp.StatusMessage(status)...)
	x.frame = append(x.frame, "\r\nContent-Type: "+contentType+"\r\nContent-Length: "...)
	x.frame = strconv.AppendInt(x.frame, int64(len(x.reply)), 10)
	if x.broken { // a panic ends the connection behind its answer
		x.frame = append(x.frame, "\r\nConnection: close"...)
	}
	x.frame = append(append(x.frame, headEnd...), x.reply...)
	_, err := c.Write(x.frame)
	if err == nil && x.broken {
		err = io.EOF
	}
	return true, err
}
