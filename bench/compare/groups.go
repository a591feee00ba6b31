package main

import (
	"context"
	"fmt"
	"time"

	"sluice/bench/client"
	"sluice/bench/compare/load"
	"sluice/bench/compare/plugin"
	"sluice/bench/compare/rival"
)

// groups starts the servers, and says what is done with them. The order of rows is that of measuring and of reading.
func (p *plan) groups(ctx context.Context, ground *place) ([]group, error) {
	sluice, err := ground.sluice(ctx)
	if err != nil {
		return nil, err
	}
	echo := ground.rival(ctx, "crypto/tls echo", rival.Echo, "h1")
	static := ground.rival(ctx, "fasthttp static", rival.FasthttpReply, "h1")
	fasthttp := ground.rival(ctx, "fasthttp, same work", rival.Fasthttp, "h1")
	nethttp := ground.rival(ctx, "net/http, same work", rival.NetHTTP, "h1", "h2")
	nginx := ground.nginx(ctx)
	get := *nginx // a file that is got: what nginx is made for
	get.name, get.get = "nginx static, GET", true

	same := func(measure measurement, servers ...*server) []row {
		rows := make([]row, len(servers))
		for i, s := range servers {
			rows[i] = row{s, measure}
		}
		return rows
	}
	groups := []group{{
		name: "h1", title: "HTTP/1.1, 16 kept connections, one review at a time on each; our client, mTLS",
		base: static.name, rows: same(p.reviews(ground, "h1", 16, 1), echo, static, fasthttp, sluice, nginx, nethttp),
	}}
	for _, shape := range []shape{{16, 1}, {3, 50}, {1, 200}} {
		groups = append(groups, group{
			name:  fmt.Sprintf("h2-%dx%d", shape.connections, shape.streams),
			title: fmt.Sprintf("HTTP/2, %s; our client, mTLS", shape),
			base:  nginx.name, rows: same(p.reviews(ground, "h2", shape.connections, shape.streams), sluice, nginx, nethttp),
		})
	}
	groups = append(groups,
		group{
			name: "plugin-bursts", title: "the plugin's client (client-go, mTLS): 200 reviews at once, every 250 ms",
			base: nethttp.name, rows: same(p.bursts(ground), sluice, nethttp, fasthttp),
		},
		group{
			name: "plugin-200", title: "the plugin's client (client-go, mTLS): 200 reviews in flight at any time",
			base: nethttp.name, rows: same(p.closed(ground), sluice, nethttp, fasthttp),
		},
		group{
			name: "wrk", title: "Debian's wrk, HTTP/1.1, 16 connections, no client certificate (sluice checks a bearer token)",
			base: nginx.name, rows: same(p.wrk(ground, 16), sluice, static, nginx, &get, nethttp),
		},
	)
	for _, shape := range []shape{{16, 1}, {3, 50}} {
		groups = append(groups, group{
			name:  fmt.Sprintf("h2load-%dx%d", shape.connections, shape.streams),
			title: fmt.Sprintf("Debian's h2load, HTTP/2, %s, no client certificate (sluice checks a bearer token)", shape),
			base:  nginx.name, rows: same(p.h2load(ground, shape.connections, shape.streams), sluice, nginx, &get, nethttp),
		})
	}
	return append(groups, p.peers(ctx, ground, sluice)...), nil
}

// shape is how reviews are spread over HTTP/2 connections.
type shape struct{ connections, streams int }

func (s shape) String() string {
	if s.connections == 1 {
		return fmt.Sprintf("1 connection, %d reviews at a time", s.streams)
	}
	if s.streams == 1 {
		return fmt.Sprintf("%d connections, 1 review at a time on each", s.connections)
	}
	return fmt.Sprintf("%d connections, %d reviews at a time on each", s.connections, s.streams)
}

// around is the window of a load that goes on by itself.
func (p *plan) around(begin, end func()) load.Window {
	return load.Window{WarmUp: max(p.window/5, time.Second/4), Measure: p.window, Begin: begin, End: end}
}

func (p *plan) reviews(ground *place, protocol string, connections, streams int) measurement {
	return func(ctx context.Context, s *server, _ int) (sample, error) {
		options := client.Options{
			URL: "https://" + s.addr + path, Protocol: protocol, CAFile: ground.path("pki/ca.crt"),
			CertFile: ground.path("pki/client.crt"), KeyFile: ground.path("pki/client.key"),
		}
		return watched(s, func(begin, end func()) (load.Result, error) {
			return load.Reviews(ctx, options, ground.body, connections, streams, p.around(begin, end))
		})
	}
}

// apiserver is a new client each time, as after a start of the apiserver: with its connections still to be made.
func apiserver(ground *place, s *server) (*plugin.Client, error) {
	return plugin.New(s.addr, path, ground.path("pki"), ground.images.Warm...)
}

const (
	flight     = 200
	burstEvery = 250 * time.Millisecond
)

func (p *plan) bursts(ground *place) measurement {
	return func(ctx context.Context, s *server, _ int) (sample, error) {
		client, err := apiserver(ground, s)
		if err != nil {
			return sample{}, err
		}
		defer client.Close()
		return watched(s, func(begin, end func()) (load.Result, error) {
			return client.Bursts(ctx, max(2, int(p.window/burstEvery)), flight, burstEvery, begin, end)
		})
	}
}

func (p *plan) closed(ground *place) measurement {
	return func(ctx context.Context, s *server, _ int) (sample, error) {
		client, err := apiserver(ground, s)
		if err != nil {
			return sample{}, err
		}
		defer client.Close()
		return watched(s, func(begin, end func()) (load.Result, error) {
			w := p.around(begin, end)
			w.WarmUp, w.Measure = max(w.WarmUp, time.Second/4), max(w.Measure, time.Second) // an answer may take that long
			return client.Closed(ctx, flight, w)
		})
	}
}
