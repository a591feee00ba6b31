package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"sluice/bench/compare/load"
)

// What else people put behind the plugin, or in its place. All of them are asked by the same client, net/http's, over
// HTTP/1.1 with TLS, 16 requests at a time.

const peerFlight = 16

// The names of rows that aims refer to.
const (
	ratifyCached  = "Ratify, cached"
	ratifyNoCache = "Ratify, no cache"

	ratifyNewImages = "Ratify, no cache, new images"
)

// coldServers is how many servers see images that they have not been asked about before, and coldImages how many of
// these in a round.
const coldServers = 2

func coldImages(p *plan) int {
	if p.short {
		return 20
	}
	return 600
}

func (p *plan) peers(ctx context.Context, ground *place, sluice *server) []group {
	cached := ground.ratify(ctx, ratifyCached, "--cache-enabled", "--cache-type", "ristretto", "--cache-size", "256", "--cache-ttl", "10h")
	plain := ground.ratify(ctx, ratifyNoCache)
	fresh := ground.ratify(ctx, ratifyNewImages)
	run := ground.flask(ctx, "Flask, app.run", "flask_webhook.py", func(addr, script string) []string {
		host, port, _ := net.SplitHostPort(addr) // freePort's
		return []string{script, host, port, ground.path("pki/server.crt"), ground.path("pki/server.key")}
	})
	gunicorn := ground.flask(ctx, "Flask, gunicorn", "gunicorn_webhook.py", func(addr, _ string) []string {
		return []string{
			"-m", "gunicorn", "--workers", "2", "--bind", addr, "--worker-tmp-dir", ground.dir,
			"--certfile", ground.path("pki/server.crt"), "--keyfile", ground.path("pki/server.key"), "gunicorn_webhook:app",
		}
	})
	// An image of its own for each server and round: both kinds of row take turns.
	slice := func(n, round int) []string {
		from := (round*coldServers + n) * coldImages(p)
		return ground.images.Cold[from : from+coldImages(p)]
	}
	again := slice(1, 0)[:min(64, coldImages(p))]
	return []group{
		{
			name:  "peers-warm",
			title: "what has been decided before: two images, HTTP/1.1 with TLS, 16 at a time (Flask's servers close each connection)",
			base:  ratifyCached, rows: []row{
				{sluice, p.posts(nil)}, {cached, p.posts(nil)}, {gunicorn, p.posts(nil)}, {run, p.posts(nil)},
			},
		},
		{
			name: "peers-cold",
			title: "a signature by a key, verified: one image, HTTP/1.1 with TLS, 16 at a time, a registry on loopback. " +
				"sluice sees each image once; Ratify without its cache sees the same 64 again and again, or each once",
			base: ratifyNoCache, rows: []row{
				{sluice, p.once(func(round int) [][]byte { return each(slice(0, round), reviewOf) })},
				{plain, p.posts(each(again, providerRequest))},
				{fresh, p.once(func(round int) [][]byte { return each(slice(1, round), providerRequest) })},
			},
		},
	}
}

// each makes a request for each image.
func each(images []string, request func(...string) []byte) [][]byte {
	bodies := make([][]byte, len(images))
	for i, image := range images {
		bodies[i] = request(image)
	}
	return bodies
}

// posts asks for a while, in turns for what bodies are of, or for what the server is asked by default.
func (p *plan) posts(bodies [][]byte) measurement {
	return func(ctx context.Context, s *server, _ int) (sample, error) {
		target := s.target
		if bodies != nil {
			target.Bodies = bodies
		}
		return watched(s, func(begin, end func()) (load.Result, error) {
			return load.Posts(ctx, target, peerFlight, p.around(begin, end))
		})
	}
}

func (p *plan) once(bodies func(round int) [][]byte) measurement {
	return func(ctx context.Context, s *server, round int) (sample, error) {
		target := s.target
		target.Bodies = bodies(round)
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return watched(s, func(begin, end func()) (load.Result, error) {
			return load.Once(ctx, target, s.target.Bodies[0], peerFlight, begin, end)
		})
	}
}

// providerRequest is what Gatekeeper sends to Ratify.
func providerRequest(images ...string) []byte {
	body, err := json.Marshal(map[string]any{
		"apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderRequest",
		"request": map[string]any{"keys": images},
	})
	if err != nil {
		panic(err) // strings and maps of strings
	}
	return body
}

// ratify starts a Ratify with the key and the registry of sluice, and logs no more than errors, as is best for it.
func (p *place) ratify(ctx context.Context, name string, flags ...string) *server {
	target := load.Target{
		TLS: p.serverTLS, URL: "/ratify/gatekeeper/v1/verify", Bodies: [][]byte{providerRequest(p.images.Warm...)},
		Want: []byte(`"isSuccess":true`), Never: []byte(`"isSuccess":false`),
	}
	s := p.launch(ctx, name, []string{"h1"}, target, func(addr string) (*process, error) {
		program := filepath.Join(p.tools, "bin", "ratify")
		if _, err := os.Stat(program); err != nil {
			return nil, err
		}
		home, err := os.MkdirTemp(p.dir, "ratify-")
		if err != nil {
			return nil, err
		}
		for from, to := range map[string]string{"server.crt": "tls.crt", "server.key": "tls.key"} {
			content, err := os.ReadFile(p.path("pki", from))
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(filepath.Join(home, to), content, 0o600); err != nil {
				return nil, err
			}
		}
		config, err := json.Marshal(map[string]any{
			"store": map[string]any{"version": "1.0.0", "plugins": []any{map[string]any{
				"name": "oras", "cosignEnabled": true, "useHttp": true, "localCachePath": filepath.Join(home, "store"),
			}}},
			"policy": map[string]any{"version": "1.0.0", "plugin": map[string]any{
				"name": "configPolicy", "artifactVerificationPolicies": map[string]any{"default": "any"},
			}},
			"verifier": map[string]any{"version": "1.0.0", "plugins": []any{map[string]any{
				"name": "cosign", "artifactTypes": "application/vnd.dev.cosign.artifact.sig.v1+json", "key": p.path("release.pub"),
			}}},
		})
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(home, "config.json"), config, 0o600); err != nil {
			return nil, err
		}
		arguments := append([]string{"serve", "--http", addr, "--config", filepath.Join(home, "config.json"), "--cert-dir", home}, flags...)
		return p.start(name, []string{"HOME=" + home, "RATIFY_LOG_LEVEL=ERROR"}, program, arguments...)
	})
	if s.missing == nil {
		unsigned := s.target
		unsigned.Bodies, unsigned.Want, unsigned.Never = [][]byte{providerRequest(p.images.Wrong)}, []byte(`"isSuccess":false`), nil
		_, s.missing = ask(ctx, unsigned, "h1", "")
	}
	return s
}

//go:embed testdata/flask_webhook.py
var flaskWebhook []byte

// flask starts the tutorials' server.
func (p *place) flask(ctx context.Context, name, script string, arguments func(addr, script string) []string) *server {
	target := p.review()
	target.TLS = p.serverTLS // which asks for no certificate of a client
	s := p.launch(ctx, name, []string{"h1"}, target, func(addr string) (*process, error) {
		if _, err := p.debian("usr", "lib", "python3", "dist-packages", "flask"); err != nil {
			return nil, err
		}
		python := "/usr/bin/python3" // Debian's, whose packages these are
		if _, err := os.Stat(python); err != nil {
			if python, err = exec.LookPath("python3"); err != nil {
				return nil, err
			}
		}
		if err := os.WriteFile(p.path(script), flaskWebhook, 0o644); err != nil {
			return nil, err
		}
		return p.start(name, append(p.debianEnv(), "PYTHONDONTWRITEBYTECODE=1"), python, arguments(addr, p.path(script))...)
	})
	if s.missing == nil {
		latest := s.target
		latest.Bodies, latest.Want, latest.Never = [][]byte{reviewOf("nginx")}, []byte(`"allowed":false`), nil
		if _, err := ask(ctx, latest, "h1", ""); err != nil {
			s.missing = fmt.Errorf("about an image without a tag: %w", err)
		}
	}
	return s
}
