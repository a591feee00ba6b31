package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"sluice/bench/compare/load"
)

// launch starts a server and checks that it answers as it should. What goes wrong makes it a missing one.
func (p *place) launch(
	ctx context.Context, name string, protocols []string, t load.Target, how func(addr string) (*process, error),
) *server {
	s := &server{name: name, target: t}
	s.missing = func() (err error) {
		if s.addr, err = freePort(); err != nil {
			return err
		}
		s.target.URL = "https://" + s.addr + t.URL
		if s.process, err = how(s.addr); err != nil {
			return err
		}
		for _, protocol := range protocols {
			if err := s.process.await(ctx, func() error {
				_, err := ask(ctx, s.target, protocol, "")
				return err
			}); err != nil {
				return fmt.Errorf("over %s: %w", protocol, err)
			}
		}
		return nil
	}()
	return s
}

// review is the target of whoever takes ImageReviews.
func (p *place) review() load.Target {
	return load.Target{
		TLS: p.tls, URL: path + "?timeout=30s", Bodies: [][]byte{p.body},
		Want: []byte(`"allowed":true`), Never: []byte(`"allowed":false`),
	}
}

// sluice starts the service as it is shipped, with one registry and one policy, and remembers its answer. It takes
// tokens beside certificates, for tools that have no certificate.
func (p *place) sluice(ctx context.Context) (*server, error) {
	s := p.launch(ctx, "sluice", []string{"h1", "h2"}, p.review(), func(addr string) (*process, error) {
		admin, err := freePort()
		if err != nil {
			return nil, err
		}
		config := fmt.Sprintf(`apiVersion: sluice/v1
kind: Config
listen: %q
admin: {listen: %q}
tls: {certFile: pki/server.crt, keyFile: pki/server.key, clientCAFile: pki/ca.crt, tokenFile: tokens}
policies: [policy.yaml]
registries: [{host: %q, plainHTTP: true}]
`, addr, admin, p.images.Host)
		if err := os.WriteFile(p.path("sluice.yaml"), []byte(config), 0o644); err != nil {
			return nil, err
		}
		return p.start("sluice", nil, filepath.Join(p.tools, "bin", "sluice"), "serve", "--config", p.path("sluice.yaml"))
	})
	if s.missing != nil {
		return nil, s.missing
	}
	// An image that is not signed must be denied: else what follows would compare something else.
	unsigned := s.target
	unsigned.Bodies, unsigned.Want, unsigned.Never = [][]byte{reviewOf(p.images.Wrong)}, []byte(`"reason":"signature_missing"`), nil
	if _, err := ask(ctx, unsigned, "h2", ""); err != nil {
		return nil, fmt.Errorf("sluice, about an image that is not signed: %w", err)
	}
	reply, err := ask(ctx, s.target, "h2", "")
	if err != nil {
		return nil, err
	}
	p.reply = reply
	return s, os.WriteFile(p.path("reply.json"), reply, 0o644)
}

// rival starts one of this program's own servers.
func (p *place) rival(ctx context.Context, name, kind string, protocols ...string) *server {
	return p.launch(ctx, name, protocols, p.review(), func(addr string) (*process, error) {
		return p.start(name, nil, p.self, "rival", "-kind", kind, "-listen", addr, "-pki", p.path("pki"),
			"-reply", p.path("reply.json"), "-policies", p.path("policy.yaml"), "-registry", p.images.Host)
	})
}

// nginx starts Debian's, which answers everything with sluice's reply.
func (p *place) nginx(ctx context.Context) *server {
	return p.launch(ctx, "nginx static", []string{"h1", "h2"}, p.review(), func(addr string) (*process, error) {
		program, err := p.debian("usr", "sbin", "nginx")
		if err != nil {
			return nil, err
		}
		if bytes.ContainsAny(p.reply, `'$\`) {
			return nil, fmt.Errorf("nginx would not give this reply back as it is: %s", p.reply)
		}
		root := ""
		if os.Getuid() == 0 {
			root = "user root;" // or its workers could not read what is only ours
		}
		config := fmt.Sprintf(`daemon off; %s worker_processes 2; pid nginx.pid; error_log stderr warn;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path nginx-body; proxy_temp_path nginx-proxy; fastcgi_temp_path nginx-fastcgi;
  uwsgi_temp_path nginx-uwsgi; scgi_temp_path nginx-scgi;
  server {
    listen %s ssl http2 backlog=1024;
    ssl_certificate %[3]s/server.crt; ssl_certificate_key %[3]s/server.key; ssl_protocols TLSv1.3;
    ssl_client_certificate %[3]s/ca.crt; ssl_verify_client optional; ssl_session_tickets off;
    keepalive_requests 1000000000; keepalive_timeout 1h; keepalive_time 24h;
    http2_max_concurrent_streams 1000; client_max_body_size 20m;
    location / { default_type application/json; return 200 '%[4]s'; }
  }
}
`, root, addr, p.path("pki"), p.reply)
		file := p.path("nginx.conf")
		if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
			return nil, err
		}
		return p.start("nginx", p.debianEnv(), program, "-p", p.dir, "-e", "stderr", "-c", file)
	})
}
