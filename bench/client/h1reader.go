package client

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// maxHead bounds the status line and the headers of an answer, in bytes.
const maxHead = 64 << 10

// h1reader reads the answers on a connection, one after the other, without copying what arrives in one piece.
type h1reader struct {
	from io.Reader
	buf  []byte
	r, w int // buf[r:w] is yet to be looked at
	body []byte
}

func (h *h1reader) start(from io.Reader) {
	h.from, h.r, h.w = from, 0, 0
	if h.buf == nil {
		h.buf, h.body = make([]byte, 4096), make([]byte, 0, 512)
	}
}

// h1head is what matters of an answer's head.
type h1head struct {
	status  int
	length  int64 // of the body; -1: not said
	chunked bool
	closing bool
}

// reply reads one answer. The body is valid until the next call, and nil if there is too much of it. Unless keep is
// true, the connection can't be used any more.
func (h *h1reader) reply() (status int, body []byte, keep bool, err error) {
	var head h1head
	for head.status < 200 { // those below announce the one that counts
		end, err := h.until("\r\n\r\n", maxHead)
		if err != nil {
			return 0, nil, false, err
		}
		if head, err = parseHead(h.buf[h.r:end]); err != nil {
			return 0, nil, false, err
		}
		h.r = end
	}
	keep = !head.closing
	switch {
	case head.status == 204 || head.status == 304:
	case head.chunked:
		if body, err = h.chunks(); body == nil {
			keep = false
		}
	case head.length < 0:
		keep = false
		body, err = h.rest()
	case head.length > maxReply:
		keep = false
	default:
		if err = h.need(int(head.length)); err == nil {
			body = h.buf[h.r : h.r+int(head.length)]
			h.r += int(head.length)
		}
	}
	if err != nil {
		return 0, nil, false, err
	}
	// What comes without having been asked for would be taken for the next answer.
	return head.status, body, keep && h.r == h.w, nil
}

// fill reads more into the buffer, and makes room for it.
func (h *h1reader) fill() error {
	if h.r == h.w {
		h.r, h.w = 0, 0
	}
	if h.w == len(h.buf) {
		if h.r > 0 {
			h.w = copy(h.buf, h.buf[h.r:h.w])
			h.r = 0
		} else {
			h.buf = append(h.buf, make([]byte, len(h.buf))...)
		}
	}
	n, err := h.from.Read(h.buf[h.w:])
	h.w += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// need waits until n bytes are there.
func (h *h1reader) need(n int) error {
	for h.w-h.r < n {
		if err := h.fill(); err != nil {
			return unexpected(err)
		}
	}
	return nil
}

// until waits until a mark is there, and returns where the text behind it begins.
func (h *h1reader) until(mark string, limit int) (int, error) {
	for from := 0; ; {
		if i := bytes.Index(h.buf[h.r+from:h.w], []byte(mark)); i >= 0 {
			return h.r + from + i + len(mark), nil
		}
		n := h.w - h.r
		if n > limit {
			return 0, fmt.Errorf("%w: a head or a line of more than %d bytes", errProtocol, limit)
		}
		from = max(0, n-len(mark)+1)
		if err := h.fill(); err != nil {
			if n > 0 {
				err = unexpected(err)
			}
			return 0, err
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // only a bare one
		return io.ErrUnexpectedEOF
	}
	return err
}

// rest reads until the connection ends.
func (h *h1reader) rest() ([]byte, error) {
	for h.w-h.r <= maxReply {
		if err := h.fill(); err == io.EOF { //nolint:errorlint // only a bare one is an orderly end
			body := h.buf[h.r:h.w]
			h.r = h.w
			return body, nil
		} else if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// chunks reads a body of which each part says how long it is. It returns nil if there is too much of it.
func (h *h1reader) chunks() ([]byte, error) {
	h.body = h.body[:0]
	for {
		end, err := h.until("\r\n", 4096)
		if err != nil {
			return nil, err
		}
		size, _, _ := bytes.Cut(h.buf[h.r:end-2], []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 63)
		if err != nil {
			return nil, fmt.Errorf("%w: a chunk's size is %.20q", errProtocol, size)
		}
		h.r = end
		if n == 0 {
			break
		}
		if uint64(len(h.body))+n > maxReply {
			return nil, nil
		}
		if err := h.need(int(n) + 2); err != nil {
			return nil, err
		}
		h.body = append(h.body, h.buf[h.r:h.r+int(n)]...)
		if h.r += int(n) + 2; string(h.buf[h.r-2:h.r]) != "\r\n" {
			return nil, fmt.Errorf("%w: a chunk is longer than it says", errProtocol)
		}
	}
	for range 100 { // trailers, and the empty line behind them
		end, err := h.until("\r\n", 4096)
		if err != nil {
			return nil, err
		}
		empty := end == h.r+2
		h.r = end
		if empty {
			return h.body[:len(h.body):len(h.body)], nil
		}
	}
	return nil, fmt.Errorf("%w: more than 100 trailers", errProtocol)
}

// parseHead reads a status line and the headers that say where the answer ends.
func parseHead(text []byte) (h1head, error) {
	h := h1head{length: -1}
	line, rest, _ := bytes.Cut(text, []byte("\r\n"))
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return h, fmt.Errorf("%w: the status line is %.40q", errProtocol, line)
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return h, fmt.Errorf("%w: the status line is %.40q", errProtocol, line)
		}
		h.status = h.status*10 + int(c-'0')
	}
	if h.status < 100 || h.status == 101 {
		return h, fmt.Errorf("%w: status %d", errProtocol, h.status)
	}
	h.closing = line[7] == '0'
	for len(rest) > 2 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return h, fmt.Errorf("%w: a header is %.40q", errProtocol, line)
		}
		value = bytes.TrimSpace(value)
		switch {
		case is(name, "content-length"):
			n, err := strconv.ParseUint(string(value), 10, 62)
			if err != nil || h.length >= 0 && h.length != int64(n) {
				return h, fmt.Errorf("%w: Content-Length is %.40q", errProtocol, value)
			}
			h.length = int64(n)
		case is(name, "transfer-encoding"):
			if !is(value, "chunked") {
				return h, fmt.Errorf("%w: Transfer-Encoding is %.40q", errProtocol, value)
			}
			h.chunked = true
		case is(name, "connection") && is(value, "close"):
			h.closing = true
		}
	}
	return h, nil
}

// is compares without regard to case; lower is in lower case.
func is(text []byte, lower string) bool {
	return len(text) == len(lower) && bytes.EqualFold(text, []byte(lower))
}
