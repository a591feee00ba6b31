package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// The scenarios that make bench measures, small: everything they set up and check by themselves has to work.
func TestScenarios(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	p, err := startProcess(out, nil, programs.bench, "scenario", "all", "--short", "--sluice", programs.sluice, "--out", out)
	must(t, err)
	defer p.kill()
	if code := p.exit(t, 8*time.Minute); code != 0 {
		t.Fatalf("exit %d\n%s%s", code, tail(p.stdout.String()), tail(p.stderr.String()))
	}
	for _, scenario := range []string{"warm", "cold", "churn", "expiry", "reconnect", "memory"} {
		files, err := filepath.Glob(filepath.Join(out, scenario+"*.json"))
		must(t, err)
		if len(files) == 0 {
			t.Errorf("%s has left no result", scenario)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			must(t, err)
			if !json.Valid(content) {
				t.Errorf("%s is no JSON", file)
			}
		}
	}
}

// sluice-bench stands in for the plugin's client: what it sends first on a connection has to be the same, to the byte
// for HTTP/1.1, and by frames and header fields for HTTP/2.
func TestBenchSpeaksAsThePluginDoes(t *testing.T) {
	const image = "registry.example.com/team/app:v1"
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			s := initService(t, settings{})
			heard := listen(t, s, protocol)

			p := pod(image)
			s.failClosed(t).create(t, p).allowed(t)
			plugin := heard.take(t)

			flag := map[string]string{"http/1.1": "h1", "h2": "h2"}[protocol]
			code, stdout, stderr := run(t, t.TempDir(), nil, programs.bench, "run", "--target", "https://"+s.addr+"/v1/imagereview",
				"--ca-file", s.file("pki/ca.crt"), "--cert-file", s.file("pki/client.crt"), "--key-file", s.file("pki/client.key"),
				"--protocol", flag, "--schedule", "burst 1", "--warm-up", "0", "--image", image, "--namespaces", "1")
			if code != 0 {
				t.Fatalf("sluice-bench: exit %d\n%s%s", code, stdout, stderr)
			}
			bench := heard.take(t)
			// They ask for pods of namespaces that have other names.
			bench, plugin = unnamed(t, bench), unnamed(t, plugin)
			if !strings.Contains(plugin, "/v1/imagereview?timeout=30s") || bench != plugin {
				t.Errorf("sluice-bench sends\n%s\nand the plugin\n%s", bench, plugin)
			}
		})
	}
}

var (
	anyNamespace = regexp.MustCompile(`"namespace":"[^"]*"`)
	anyLength    = regexp.MustCompile(`(?i)(content-length: )[0-9]+`)
)

// unnamed takes out the namespace, and the length that comes of it.
func unnamed(t *testing.T, request string) string {
	t.Helper()
	if len(anyNamespace.FindAllString(request, -1)) != 1 || len(anyLength.FindAllString(request, -1)) != 1 {
		t.Fatalf("there is no namespace, or no length, in %q", request)
	}
	return anyLength.ReplaceAllString(anyNamespace.ReplaceAllString(request, `"namespace":"N"`), "${1}N")
}

// heard is what callers have said, one text a request.
type heard struct{ requests chan string }

func (h *heard) take(t *testing.T) string {
	t.Helper()
	select {
	case r := <-h.requests:
		return r
	case <-time.After(patience):
		t.Fatal("nobody has asked")
		return ""
	}
}

const allowedReply = `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","status":{"allowed":true}}`

// listen stands where the service would, allows everything, and writes down what it hears.
func listen(t *testing.T, s *service, protocol string) *heard {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(s.file("pki/server.crt"), s.file("pki/server.key"))
	must(t, err)
	ln, err := tls.Listen("tcp", s.addr, &tls.Config{
		Certificates: []tls.Certificate{certificate}, NextProtos: []string{protocol},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clientTLS(t, s.dir).RootCAs,
	})
	must(t, err)
	h := &heard{make(chan string, 10)}
	var conns sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		conns.Wait()
	})
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				defer context.AfterFunc(t.Context(), func() { _ = c.Close() })() // ends before the cleanup
				if protocol == "h2" {
					_ = h.serveH2(c)
				} else {
					_ = h.serveH1(c)
				}
			})
		}
	})
	return h
}

// inOrder sorts fields by their names: the client's come in the order of a Go map, which is another each time.
func inOrder(fields []hpack.HeaderField) []hpack.HeaderField {
	return slices.SortedStableFunc(slices.Values(fields), func(a, b hpack.HeaderField) int {
		return strings.Compare(a.Name, b.Name)
	})
}

func (h *heard) serveH1(c net.Conn) error {
	r := bufio.NewReader(c)
	for {
		var said strings.Builder
		length := 0
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			said.WriteString(line)
			if value, ok := strings.CutPrefix(line, "Content-Length: "); ok {
				if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
					return err
				}
			}
			if line == "\r\n" {
				break
			}
		}
		if _, err := io.CopyN(&said, r, int64(length)); err != nil {
			return err
		}
		h.requests <- said.String()
		if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(allowedReply), allowedReply); err != nil {
			return err
		}
	}
}

func (h *heard) serveH2(c net.Conn) error {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, preface); err != nil {
		return err
	}
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := f.WriteSettings(); err != nil {
		return err
	}
	var said strings.Builder
	said.Write(preface)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return err
		}
		ended := false
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if frame.IsAck() {
				continue // it may come before or after the request
			}
			fmt.Fprintf(&said, "SETTINGS")
			err := frame.ForeachSetting(func(s http2.Setting) error {
				_, err := fmt.Fprintf(&said, " %s", s)
				return err
			})
			if err != nil {
				return err
			}
			said.WriteString("\n")
			if err := f.WriteSettingsAck(); err != nil {
				return err
			}
		case *http2.WindowUpdateFrame:
			fmt.Fprintf(&said, "WINDOW_UPDATE %d by %d\n", frame.StreamID, frame.Increment)
		case *http2.MetaHeadersFrame:
			fmt.Fprintf(&said, "HEADERS %d end=%v\n", frame.StreamID, frame.StreamEnded())
			for _, field := range slices.Concat(frame.PseudoFields(), inOrder(frame.RegularFields())) {
				fmt.Fprintf(&said, "%s: %s (sensitive: %v)\n", field.Name, field.Value, field.Sensitive)
			}
			ended = frame.StreamEnded()
		case *http2.DataFrame:
			said.Write(frame.Data())
			ended = frame.StreamEnded()
		case *http2.PingFrame, *http2.GoAwayFrame:
			return nil
		}
		if !ended {
			continue
		}
		h.requests <- said.String()
		said.Reset()
		var block bytes.Buffer
		if err := hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "200"}); err != nil {
			return err
		}
		id := frame.Header().StreamID
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}); err != nil {
			return err
		}
		if err := f.WriteData(id, true, []byte(allowedReply)); err != nil {
			return err
		}
	}
}
