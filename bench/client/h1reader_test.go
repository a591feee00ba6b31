package client

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestH1Reply(t *testing.T) {
	t.Parallel()
	f := func(text string, status int, body string, keep bool) {
		t.Helper()
		for name, from := range map[string]io.Reader{"whole": strings.NewReader(text), "in bytes": iotest.OneByteReader(strings.NewReader(text))} {
			var h h1reader
			h.start(from)
			gotStatus, gotBody, gotKeep, err := h.reply()
			// Byte by byte, what is behind an answer has not arrived yet.
			behind := strings.HasSuffix(text, "behind") && name == "in bytes"
			if err != nil || gotStatus != status || string(gotBody) != body || gotKeep != (keep || behind) {
				t.Errorf("%.80q %s: %d %.80q %v %v", text, name, gotStatus, gotBody, gotKeep, err)
			}
		}
	}
	f("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", true)
	f("HTTP/1.1 200\r\ncontent-length:2\r\nX: y\r\n\r\n{}", 200, "{}", true)
	f("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", true)
	f("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\n{}", 200, "{}", false)
	f("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", false)
	f("HTTP/1.1 200 OK\r\n\r\n{}", 200, "{}", false)
	f("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true)
	f("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", 502, "", true)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n00a;x=y\r\n 12345678}\r\n0\r\n\r\n", 200, "{ 12345678}", true)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n", 200, "", true)
	f("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}behind", 200, "{}", false)
	long := strings.Repeat("x", maxReply)
	f("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n"+long, 200, long, true)
	f("HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n"+long, 200, "", false)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n"+long+"\r\n0\r\n\r\n", 200, long, true)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n"+long, 200, "", false)
	f("HTTP/1.1 200 OK\r\n\r\n"+long+"x", 200, "", false)
	f("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("y", 60_000)+"\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", true)
}

func TestH1ReplyBroken(t *testing.T) {
	t.Parallel()
	f := func(text string, want error) {
		t.Helper()
		var h h1reader
		h.start(strings.NewReader(text))
		if status, body, keep, err := h.reply(); !errors.Is(err, want) || keep {
			t.Errorf("%.80q: %d %.80q %v %v", text, status, body, keep, err)
		}
	}
	f("", io.EOF)
	f("HTTP/1.1 200 OK\r\nContent-Le", io.ErrUnexpectedEOF)
	f("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", io.ErrUnexpectedEOF)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}", io.ErrUnexpectedEOF)
	f("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("y", 2*maxHead), errProtocol)
	for _, head := range []string{
		"HTTP/2.0 200 OK", "HTTP/1.1 2000", "HTTP/1.1 20 OK", "HTTP/1.1  200 OK", "HTTP/1.1 -20 OK", "HTTP/1.1 099 OK", "http/1.1 200 OK", "",
		"HTTP/1.1 101 Switching Protocols",
		"HTTP/1.1 200 OK\r\nContent-Length: -1", "HTTP/1.1 200 OK\r\nContent-Length: 1x", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip", "HTTP/1.1 200 OK\r\nno colon",
	} {
		f(head+"\r\n\r\n12", errProtocol)
	}
	for _, chunks := range []string{
		"x\r\n", "-1\r\n", "\r\n", "ffffffffffffffffff\r\n", "1\r\n{}\r\n0\r\n\r\n", strings.Repeat("1", 10_000) + "\r\n", "0\r\n" + strings.Repeat("x: y\r\n", 200) + "\r\n",
	} {
		f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+chunks, errProtocol)
	}
}

// TestH1RepliesInTurn reads many answers from one connection, whose buffer wraps.
func TestH1RepliesInTurn(t *testing.T) {
	t.Parallel()
	from, to := io.Pipe()
	var h h1reader
	h.start(from)
	for n := range 200 {
		body := strings.Repeat("y", n*37)
		go func() { _, _ = fmt.Fprintf(to, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body) }()
		if _, got, keep, err := h.reply(); string(got) != body || !keep || err != nil {
			t.Fatalf("%d: %d bytes, %v %v", n, len(got), keep, err)
		}
	}
}
