package client

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// script is a server's side of an HTTP/2 connection, step by step. It stops at the first error: what matters is what the
// client makes of it.
type script struct {
	t testing.TB
	*http2.Framer
	conn   *tls.Conn
	err    error
	bodies map[uint32][]byte
	fields map[string]string // of the last request
	pings  int               // answered
	resets []uint32          // streams
	enc    *hpack.Encoder
	block  bytes.Buffer
}

// newScript reads the preface and sends settings.
func newScript(t testing.TB, c *tls.Conn, settings ...http2.Setting) *script {
	s := &script{t: t, conn: c, Framer: http2.NewFramer(c, c), bodies: make(map[uint32][]byte)}
	s.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	s.enc = hpack.NewEncoder(&s.block)
	preface := make([]byte, len(http2.ClientPreface))
	if _, s.err = io.ReadFull(c, preface); s.err == nil && string(preface) != http2.ClientPreface {
		s.t.Errorf("preface %q", preface)
	}
	s.do(s.WriteSettings(settings...))
	return s
}

func (s *script) do(err error) {
	if s.err == nil {
		s.err = err
	}
}

// step reads a frame, and returns the stream that it ended, or 0.
func (s *script) step() uint32 {
	if s.err != nil {
		return 0
	}
	f, err := s.ReadFrame()
	if err != nil {
		s.err = err
		return 0
	}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		s.fields = make(map[string]string)
		for _, h := range f.Fields {
			s.fields[h.Name] = h.Value
		}
	case *http2.DataFrame:
		s.bodies[f.StreamID] = append(s.bodies[f.StreamID], f.Data()...)
		if f.StreamEnded() {
			return f.StreamID
		}
	case *http2.PingFrame:
		s.pings++
	case *http2.RSTStreamFrame:
		s.resets = append(s.resets, f.StreamID)
	}
	return 0
}

// review reads until a review is complete, and returns its stream; 0 if the connection ended.
func (s *script) review() uint32 {
	for s.err == nil {
		if id := s.step(); id != 0 {
			return id
		}
	}
	return 0
}

func (s *script) headers(stream uint32, end bool, fields ...string) {
	s.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = s.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	s.do(s.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: s.block.Bytes(), EndHeaders: true, EndStream: end}))
}

func (s *script) answer(stream uint32) {
	s.headers(stream, false, ":status", "200", "content-type", "application/json", "content-length", fmt.Sprint(len(allowedReply)))
	s.do(s.WriteData(stream, true, []byte(allowedReply)))
}

// serveRest answers all reviews that are still to come.
func (s *script) serveRest() {
	for id := s.review(); id != 0; id = s.review() {
		s.answer(id)
	}
}
