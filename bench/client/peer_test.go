package client

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// asPeer is the variable that makes the test binary a server that costs next to nothing, so that what is measured here is
// the client alone.
const asPeer = "SLUICE_BENCH_CLIENT_TEST_PEER"

func TestMain(m *testing.M) {
	if os.Getenv(asPeer) == "" {
		os.Exit(m.Run())
	}
	s := httptest.NewUnstartedServer(nil) // for its certificate
	s.StartTLS()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: s.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}, DynamicRecordSizingDisabled: true,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	go func() { // until the test ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go answerAll(c.(*tls.Conn))
	}
}

// startPeer starts it.
func startPeer(t testing.TB) Options {
	t.Helper()
	_, o := serve(t, nil)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asPeer+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	o.URL = "https://" + strings.TrimSpace(address)
	return o
}

func answerAll(c *tls.Conn) {
	defer c.Close()
	if err := c.Handshake(); err != nil {
		return
	}
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		answerH2(c)
		return
	}
	reply := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(allowedReply), allowedReply)
	buf := make([]byte, 4096)
	for { // each request is one record
		if _, err := c.Read(buf); err != nil {
			return
		}
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}

func answerH2(c *tls.Conn) {
	in, out := bufio.NewReaderSize(c, 64<<10), bufio.NewWriterSize(c, 16<<10)
	if _, err := in.Discard(len(http2.ClientPreface)); err != nil {
		return
	}
	f := http2.NewFramer(out, in)
	f.SetReuseFrames()
	err := f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1000})
	if err == nil {
		err = f.WriteWindowUpdate(0, 1<<30)
	}
	read := 0
	for err == nil {
		if in.Buffered() == 0 {
			err = out.Flush()
		}
		frame, failed := f.ReadFrame()
		if failed != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.DataFrame:
			if read += int(frame.Length); read > 1<<20 {
				err = f.WriteWindowUpdate(0, uint32(read))
				read = 0
			}
			id := frame.StreamID
			if frame.StreamEnded() && err == nil {
				// 200, and a content-length that is not indexed.
				err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte("\x88\x0f\x0d\x0291"), EndHeaders: true})
				if err == nil {
					err = f.WriteData(id, true, []byte(allowedReply))
				}
			}
		}
	}
}
