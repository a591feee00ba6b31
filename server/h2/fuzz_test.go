package h2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// script is a connection that says what it was given, in pieces, and then hangs up. It counts what it is told.
type script struct {
	rest  []byte
	piece int
	told  int
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.rest[:min(len(s.rest), s.piece)])
	s.rest = s.rest[n:]
	return n, nil
}

func (s *script) Write(b []byte) (int, error) {
	s.told += len(b)
	return len(b), nil
}

func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// socket is a Waiter whose Close waits for its reader, as a socket's does, and which can be written to once.
type socket struct {
	script
	reading sync.Mutex
	waits   func()
}

func (s *socket) BeforeWait(f func()) { s.waits = f }

func (s *socket) Read(b []byte) (int, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if len(s.rest) == 0 {
		s.waits()
	}
	return s.script.Read(b)
}

func (s *socket) Write(b []byte) (int, error) {
	if s.told > 0 {
		return 0, errors.ErrUnsupported
	}
	return s.script.Write(b)
}

func (s *socket) Close() error {
	s.reading.Lock()
	defer s.reading.Unlock()
	return nil
}

// TestWriteFails has a write fail while its goroutine is reading.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	nc := &socket{script: script{rest: append([]byte(preface), appendSettings(nil)...), piece: 1000}}
	if err := New(limits()).Serve(context.Background(), nc, newKit()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("served until %v", err)
	}
}

// survive lets a client say anything behind its preface. The server must not panic, must come to an end, and must
// neither say much nor keep anything.
func survive(t *testing.T, said []byte, piece int) {
	t.Helper()
	s, k := New(limits()), newKit()
	k.long = 500
	close(k.proceed)
	nc := &script{rest: append([]byte(preface), said...), piece: max(1, piece)}
	err := s.Serve(context.Background(), nc, k)
	if p, ok := err.(*Panic); ok {
		t.Errorf("%v\n%s", p.Value, p.Stack)
	}
	if nc.told > 1000+60*len(said) { // no request is smaller than 10 bytes, and no answer much larger than 500
		t.Errorf("%d bytes were said to %d", nc.told, len(said))
	}
	if s.jobs.Load() != 0 || s.held.Load() != 0 || s.unsent.Load() != 0 || len(s.conns) != 0 {
		t.Errorf("%d jobs, %d held, %d unsent, %d connections are left", s.jobs.Load(), s.held.Load(), s.unsent.Load(), len(s.conns))
	}
}

// talk is a conversation that makes sense, of which mutations may not.
func talk(random *rand.Rand) []byte {
	p := &peer{next: 1}
	p.encoder = hpack.NewEncoder(&p.block)
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	b := appendSettings(nil, settingInitialWindow, uint32(random.IntN(1000)))
	b = appendWindowUpdate(b, 0, 1+uint32(random.IntN(1<<20)))
	var open []uint32
	for range 5 + random.IntN(40) {
		path := pick("/", "/job", "/wait", "/long", "/empty", "/refused")
		switch random.IntN(12) {
		case 0, 1, 2:
			b = append(b, p.post(p.id(), path, string(make([]byte, random.IntN(300))))...)
		case 3, 4:
			id := p.id()
			open = append(open, id)
			b = append(b, frame(frameHeaders, flagEndHeaders, id, p.head(path, pick("x", "content-length"), pick("1", "70000", "300")))...)
		case 5, 6, 7:
			if len(open) > 0 {
				b = append(b, frame(frameData, byte(random.IntN(2)), open[random.IntN(len(open))], make([]byte, random.IntN(maxFrame)))...)
			}
		case 8:
			id, block := p.id(), p.head(path, "y", pick("1", "2", string(bytes.Repeat([]byte("y"), 70_000))))
			b = append(b, frame(frameHeaders, flagEndStream, id, block[:1])...)
			for block = block[1:]; len(block) > maxFrame; block = block[maxFrame:] {
				b = append(b, frame(frameContinuation, 0, id, block[:maxFrame])...)
			}
			b = append(b, frame(frameContinuation, flagEndHeaders, id, block)...)
		case 9:
			b = appendReset(b, 1+2*uint32(random.IntN(int(p.next))), codeCancel)
		case 10:
			b = appendSettings(b, settingInitialWindow, uint32(random.IntN(1000)), settingTableSize, uint32(random.IntN(8192)))
		case 11:
			b = appendWindowUpdate(appendPing(b, byte(random.IntN(2)), []byte(farewellPing)), uint32(random.IntN(int(p.next))), uint32(random.IntN(1000)))
		}
	}
	return b
}

// TestRandom mutates conversations that make sense.
func TestRandom(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		b := talk(random)
		for range random.IntN(6) {
			at := random.IntN(len(b))
			switch random.IntN(4) {
			case 0:
				b[at] ^= 1 << random.IntN(8)
			case 1:
				b[at] = byte(random.IntN(256))
			case 2:
				b = append(b[:at], b[min(len(b), at+random.IntN(30)):]...)
			case 3:
				from := random.IntN(len(b))
				b = append(b[:at:at], append(bytes.Clone(b[from:min(len(b), from+random.IntN(60))]), b[at:]...)...)
			}
			if len(b) == 0 {
				break
			}
		}
		survive(t, b, 1+random.IntN(40_000))
		if t.Failed() {
			return
		}
	}
}

// FuzzConn says arbitrary bytes behind the preface.
func FuzzConn(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		f.Add(talk(random), 16<<10)
	}
	f.Fuzz(func(t *testing.T, said []byte, piece int) {
		if len(said) <= 1<<20 {
			survive(t, said, piece)
		}
	})
}
