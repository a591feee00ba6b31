package h2

import (
	"encoding/binary"

	"golang.org/x/net/http2/hpack"
)

// block is a header block that is being read.
type block struct {
	open      bool // CONTINUATION must follow
	id        uint32
	end       bool // of the stream
	trailers  bool // of a request that has begun; checked, and otherwise of no interest
	ignored   bool // it is only decoded, because what follows depends on that
	code      uint32
	bytes     int // as sent
	fragments int
	list      int // bytes, by RFC 9113, section 6.5.2

	request                   Request
	scheme, authority, expect bool
	regular, long, bad        bool
}

// memo is the last header block that added nothing to the table, and what it means as long as nothing else does.
// Clients that send the same headers each time send the same bytes.
type memo struct {
	key     [24]byte
	size    int
	request Request
	expect  bool
}

func (c *conn) headers(flags byte, id uint32, payload []byte) error {
	if id&1 == 0 {
		return &Error{codeProtocol, "HEADERS on no stream of a client's"}
	}
	p, ok := unpad(flags, payload)
	if !ok {
		return &Error{codeProtocol, "HEADERS is all padding and more"}
	}
	c.block = block{open: true, id: id, end: flags&flagEndStream != 0, request: Request{ContentLength: -1}}
	b := &c.block
	if flags&flagPriority != 0 {
		if len(p) < 5 {
			return &Error{codeFrameSize, "HEADERS is too short"}
		}
		if binary.BigEndian.Uint32(p)&maxID == id {
			b.code = codeProtocol // of a stream that depends on itself
		}
		p = p[5:]
	}
	switch s := c.streams[id]; {
	case s != nil && s.ended:
		b.ignored, b.code = true, codeClosed
	case s != nil:
		b.trailers = true
		if !b.end {
			b.code = codeProtocol
		}
	case id <= c.last:
		switch known, forgive := c.recall(id); {
		case forgive:
			b.ignored = true
		case known:
			return &Error{codeClosed, "HEADERS on a stream that has ended"}
		default:
			return &Error{codeProtocol, "a stream's number is not above the last"}
		}
	default:
		c.last = id
		switch {
		case c.leaving >= leavingB:
			b.ignored = true
			c.forgive(id)
		case len(c.streams)+c.orphans >= c.server.config.MaxStreams:
			b.ignored, b.code = true, codeRefused
		}
	}
	if flags&flagEndHeaders != 0 && !b.trailers && !b.ignored && b.code == codeNone {
		m := &c.memo
		if len(p) == m.size && len(p) > 0 && string(p) == string(m.key[:len(p)]) && !(b.end && m.request.ContentLength > 0) {
			b.open, b.request, b.expect = false, m.request, m.expect
			c.begin()
			return nil
		}
		if steady(p) && len(p) <= len(c.memo.key) {
			err := c.fragment(p, true)
			if err == nil && b.code == codeNone && !b.long {
				m.size = copy(m.key[:], p)
				m.request, m.expect = b.request, b.expect
			}
			return err
		}
	}
	c.memo.size = 0
	return c.fragment(p, flags&flagEndHeaders != 0)
}

// steady tells whether a block has nothing but references to the table, of one byte each.
func steady(p []byte) bool {
	for _, b := range p {
		if b&0x80 == 0 || b == 0xff {
			return false
		}
	}
	return true
}

func (c *conn) continuation(flags byte, id uint32, payload []byte) error {
	if id != c.block.id {
		return &Error{codeProtocol, "another stream's header block is continued"}
	}
	return c.fragment(payload, flags&flagEndHeaders != 0)
}

// fragment decodes a part of a block.
func (c *conn) fragment(p []byte, last bool) error {
	b := &c.block
	b.bytes += len(p)
	if b.fragments++; b.fragments > maxFragments || b.bytes > maxBlock {
		return &Error{codeCalm, "a header block is too large"}
	}
	if _, err := c.decoder.Write(p); err != nil {
		return &Error{codeCompression, "a header block cannot be decoded"}
	}
	if !last {
		return nil
	}
	b.open = false
	c.decoder.SetEmitEnabled(true)
	if c.decoder.Close() != nil {
		return &Error{codeCompression, "a header block is cut off"}
	}
	return c.blockEnd()
}

// blockEnd does what a block asks for, or refuses it.
func (c *conn) blockEnd() error {
	b := &c.block
	s := c.streams[b.id]
	if b.ignored && b.code == codeNone || b.trailers && s == nil { // trailers of a stream that was answered meanwhile
		return c.trifle(1)
	}
	if b.code == codeNone && !b.trailers && !b.complete() || b.bad && b.code == codeNone {
		b.code = codeProtocol
	}
	switch {
	case b.code == codeNone && b.trailers && s.pending != nil: // answered already
		s.ended = true
	case b.code == codeNone && b.trailers:
		if announced := s.request.ContentLength; announced >= 0 && s.got != announced {
			return c.abort(s, codeProtocol)
		}
		s.ended = true
		if s.body != nil {
			s.body.finish(errEnd)
			return nil
		}
		if len(s.held) == 0 {
			c.complete(s, nil)
		} else {
			c.complete(s, s.held)
		}
	case b.code == codeNone:
		c.begin()
	case s != nil:
		return c.abort(s, b.code)
	default:
		c.out = appendReset(c.out, b.id, b.code)
		c.forgive(b.id)
		if b.code == codeRefused {
			return c.trifle(1)
		}
		return c.reset()
	}
	return nil
}

// complete tells whether a request has what it must have. A list that was cut off is not looked at.
func (b *block) complete() bool {
	r := &b.request
	switch {
	case b.long:
		return true
	case b.end && r.ContentLength > 0:
		return false
	case r.Method == "CONNECT":
		return r.Path == "" && !b.scheme && b.authority
	}
	return r.Method != "" && b.scheme && (r.Path != "" && r.Path[0] == '/' || r.Path == "*" && r.Method == "OPTIONS")
}

// begin begins a stream by its block.
func (c *conn) begin() {
	b := &c.block
	s := c.open(b.id)
	s.request, s.ended, s.tooMuch = b.request, b.end, b.long
	s.unasked = !b.long && !c.handler.Head(&s.request)
	switch {
	case b.end:
		c.complete(s, nil)
	case s.unasked || s.tooMuch:
		if s.request.size() > freeHead { // nothing that size is kept for who may be anybody
			c.complete(s, nil)
		}
	case !c.keep(s):
		c.reply(s, c.handler.Fail(&s.request, NoRoom, c.scratch[:0]))
	default:
		if b.expect {
			c.informed(s.id)
		}
		if s.request.ContentLength > int64(c.server.config.SmallBody) {
			c.start(s, c.handler.Large(&s.request), newBody(c, s))
		}
	}
}

// forgive notes a stream that never was one, so that what comes for it is no error.
func (c *conn) forgive(id uint32) {
	c.gone[c.nextGone] = id | forgiven
	c.nextGone = (c.nextGone + 1) % len(c.gone)
}

// field is told each field of a block.
func (c *conn) field(f hpack.HeaderField) {
	b := &c.block
	if b.list += int(f.Size()); b.list > maxHeaderList {
		b.long = true
		c.decoder.SetEmitEnabled(false)
		return
	}
	if b.ignored || b.bad {
		return
	}
	if !wellFormed(f.Name, f.Value) {
		b.bad = true
		return
	}
	if f.Name[0] == ':' {
		b.bad = b.trailers || b.regular || !b.pseudo(f.Name, f.Value)
		return
	}
	b.regular = true
	r := &b.request
	switch f.Name {
	case "content-length":
		n, ok := parseLength(f.Value)
		b.bad = !ok || !b.trailers && r.ContentLength >= 0 && r.ContentLength != n
		r.ContentLength = n
	case "authorization":
		first(&r.Authorization, f.Value)
	case "traceparent":
		first(&r.TraceParent, f.Value)
	case "tracestate":
		first(&r.TraceState, f.Value)
	case "expect":
		b.expect = f.Value == "100-continue"
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		b.bad = true
	case "te":
		b.bad = f.Value != "trailers"
	}
}

func first(dst *string, value string) {
	if *dst == "" {
		*dst = value
	}
}

// pseudo notes a field that HTTP/1.1 has in its first line. Each can be there once.
func (b *block) pseudo(name, value string) bool {
	r := &b.request
	switch name {
	case ":method":
		if r.Method != "" {
			return false
		}
		r.Method = value
		return value != ""
	case ":path":
		if r.Path != "" {
			return false
		}
		r.Path = value
		return value != ""
	case ":scheme":
		again := b.scheme
		b.scheme = true
		return !again
	case ":authority":
		again := b.authority
		b.authority = true
		return !again
	}
	return false
}

// wellFormed tells whether a field could stand in an HTTP/1.1 message (RFC 9113, section 8.2.1), in lower case.
func wellFormed(name, value string) bool {
	if name == "" {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', c == '-', '0' <= c && c <= '9':
		case c <= ' ', c >= 0x7f, 'A' <= c && c <= 'Z', c == ':' && i > 0:
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; c == 0 || c == '\r' || c == '\n' {
			return false
		}
	}
	return true
}

// parseLength reads a content-length, which is digits.
func parseLength(s string) (n int64, ok bool) {
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}
