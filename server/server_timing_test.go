package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// BenchmarkHit goes from request bytes to reply bytes: of one review after another, and of as many at once as there are
// cores. The stub decides nothing, so that the front end is seen alone.
func BenchmarkHit(b *testing.B) {
	for _, of := range []struct {
		name    string
		decider Decider
	}{{"engine", newEngine(b)}, {"stub", allowAll()}} {
		f := prepare(b, of.decider)
		for _, review := range hitReviews() {
			warm(b, f, review.body)
			b.Run(of.name+"/"+review.name+"/one", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					decideHit(b, f, review.body)
				}
			})
			b.Run(of.name+"/"+review.name+"/parallel", func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						decideHit(b, f, review.body)
					}
				})
			})
		}
	}
}

// BenchmarkDenial is a hit that is written down.
func BenchmarkDenial(b *testing.B) {
	f := prepare(b, newEngine(b))
	body := []byte(reviewOf("good.example/a:1", "bad.example/b:2"))
	reader := bytes.NewReader(nil)
	b.ReportAllocs()
	for b.Loop() {
		x := f.door.acquire(imageReview)
		reader.Reset(body)
		f.receive(x, reader, int64(len(body)))
		f.door.release(x)
		f.records.all.Reset()
	}
}

// BenchmarkH1 keeps connections and costs the client as little as can be: the difference to another figure is ours.
func BenchmarkH1(b *testing.B) {
	f := start(b, newEngine(b))
	body := reviewOf("good.example/a:1", "good.example/b:2")
	raw := rawH1(body)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		c := f.rawDial(b, "http/1.1")
		br := bufio.NewReader(c)
		for pb.Next() {
			if _, err := c.Write(raw); err != nil {
				b.Error(err)
				return
			}
			length := 0
			for {
				line, err := br.ReadSlice('\n')
				if err != nil {
					b.Error(err)
					return
				}
				if n, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
					_, _ = fmt.Sscan(string(n), &length)
				}
				if len(line) == 2 {
					break
				}
			}
			if _, err := br.Discard(length); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkH1InMemory is what a hit costs outside of the kernel, the client's TLS included, next to a static answer of
// fasthttp and an echo over TLS.
func BenchmarkH1InMemory(b *testing.B) {
	f := prepare(b, newEngine(b))
	request := rawH1(reviewOf("good.example/a:1", "good.example/b:2"))
	var answer []byte
	exchanges(b, f, request, f.serveH1On, func(a []byte) bool { answer = bytes.Clone(a); return false })
	_, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	static := &fasthttp.Server{
		NoDefaultServerHeader: true, NoDefaultDate: true, NoDefaultContentType: true,
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.SetContentType(contentType)
			ctx.Response.SetBodyRaw(body)
		},
	}
	for _, bench := range []struct {
		name  string
		serve func(*tls.Conn)
	}{
		{"echo", echo(answer)},
		{"static", func(c *tls.Conn) { _ = static.ServeConn(c) }},
		{"sluice", f.serveH1On},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			exchanges(b, f, request, bench.serve, func([]byte) bool { return b.Loop() })
		})
	}
}

// BenchmarkH2 is net/http's client, whose own work is most of it.
func BenchmarkH2(b *testing.B) {
	f := start(b, newEngine(b))
	body := reviewOf("good.example/a:1", "good.example/b:2")
	c := client(b, "h2", f.clientTLS(b))
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := c.Post(f.url("/?timeout=30s"), "application/json", strings.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
}

// BenchmarkHandshake compares key exchanges, client and server together, on loopback. The client offers what Go offers
// by default.
func BenchmarkHandshake(b *testing.B) {
	f := prepare(b, allowAll())
	for _, bench := range []struct {
		name   string
		curves []tls.CurveID
	}{
		{"X25519MLKEM768", nil}, // what Go's client and server agree on by themselves
		{"X25519", []tls.CurveID{tls.X25519}},
		{"P256", []tls.CurveID{tls.CurveP256}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			config := f.credentials.current.Load().config.Clone()
			config.CurvePreferences = bench.curves
			mine := f.clientTLS(b)
			mine.ServerName = "127.0.0.1"
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer ln.Close()
			b.ReportAllocs()
			for b.Loop() {
				near, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				far, err := ln.Accept()
				if err != nil {
					b.Fatal(err)
				}
				done := make(chan error, 1)
				server := tls.Server(far, config)
				go func() {
					err := server.HandshakeContext(context.Background())
					if err == nil {
						_, err = server.Write([]byte{1})
					}
					done <- err
				}()
				c := tls.Client(near, mine)
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					b.Fatal(err)
				}
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				_ = near.Close()
				_ = far.Close()
			}
		})
	}
}

// BenchmarkAdmissionHit is BenchmarkHit at the doors for AdmissionReview.
func BenchmarkAdmissionHit(b *testing.B) {
	f := prepare(b, newAdmissionEngine(b))
	for _, bench := range []struct {
		name string
		kind kind
		body asked
	}{
		{"validate", validate, asked{object: pod("good.example/a:1", "good.example/b:2")}},
		{"mutate", mutate, asked{object: pod("both.example/a:1", "good.example/b:2")}},
		{"update", mutate, asked{operation: "UPDATE", object: pod("both.example/a:1"), old: pod("both.example/a:1")}},
	} {
		body := []byte(bench.body.String())
		decideAt(b, f, bench.kind, body)
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x := f.door.acquire(bench.kind)
				x.body = append(x.space(len(body))[:0], body...)
				if status := f.door.decide(x); status != 200 {
					b.Fatalf("%d %s", status, x.reply)
				}
				f.door.release(x)
			}
		})
	}
}
