package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"sluice/bench/compare/load"
)

// Load generators that are not ours. They have no client certificate, so that sluice asks for a token, which the others
// are sent too. Handshakes are part of what they measure: 16 of them, in some ten thousands of requests.

// runner runs a program with arguments, the last of whose runs is the one that is measured, and returns what it said.
type runner func(arguments ...string) ([]byte, error)

// tool checks that a server answers without a client's certificate, and runs a program on it.
func (p *plan) tool(ctx context.Context, ground *place, s *server, name string, run func(runner) (load.Result, error)) (sample, error) {
	program, err := ground.debian("usr", "bin", name)
	if err != nil {
		return sample{}, err
	}
	if _, err := ask(ctx, withoutCertificate(ground, s), "h1", "Bearer "+token); err != nil {
		return sample{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*p.window+20*time.Second)
	defer cancel()
	var out []byte
	return watched(s, func(begin, end func()) (load.Result, error) {
		began := time.Now()
		result, err := run(func(arguments ...string) (_ []byte, err error) {
			cmd := exec.CommandContext(ctx, program, arguments...)
			cmd.Env = append(os.Environ(), ground.debianEnv()...)
			begin()
			began = time.Now()
			if out, err = cmd.CombinedOutput(); err == nil {
				end()
			}
			return out, err
		})
		if err != nil {
			return result, fmt.Errorf("%s: %w\n%s", name, err, out)
		}
		result.Elapsed, result.Connections = time.Since(began), -1
		return result, nil
	})
}

func withoutCertificate(ground *place, s *server) load.Target {
	t := s.target
	t.TLS = ground.serverTLS
	return t
}

func (p *plan) wrk(ground *place, connections int) measurement {
	return func(ctx context.Context, s *server, _ int) (sample, error) {
		script := ground.path("wrk.lua")
		text := ""
		if !s.get {
			text = fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = %q\nwrk.headers[\"Content-Type\"] = \"application/json\"\n"+
				"wrk.headers[\"Authorization\"] = \"Bearer %s\"\n", s.target.Bodies[0], token)
		}
		if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
			return sample{}, err
		}
		seconds := strconv.Itoa(max(1, int(p.window.Seconds())))
		return p.tool(ctx, ground, s, "wrk", func(wrk runner) (load.Result, error) {
			out, err := wrk("-t", "2", "-c", strconv.Itoa(connections), "-d", seconds+"s", "--latency",
				"-s", script, s.target.URL)
			if err != nil {
				return load.Result{}, err
			}
			return readWrk(out)
		})
	}
}

// h2load is given a number of requests, of about as many as take the window: when it is given a time (-D), some of its
// runs never end.
func (p *plan) h2load(ground *place, connections, streams int) measurement {
	return func(ctx context.Context, s *server, _ int) (sample, error) {
		body := ground.path("review.json")
		if err := os.WriteFile(body, s.target.Bodies[0], 0o644); err != nil {
			return sample{}, err
		}
		return p.tool(ctx, ground, s, "h2load", func(h2load runner) (result load.Result, err error) {
			for requests := int64(2000); ; {
				began := time.Now()
				arguments := []string{
					"-t", "1", "-c", strconv.Itoa(connections), "-m", strconv.Itoa(streams), "-n", strconv.FormatInt(requests, 10),
				}
				if !s.get {
					arguments = append(arguments, "-d", body,
						"-H", "content-type: application/json", "-H", "authorization: Bearer "+token)
				}
				out, err := h2load(append(arguments, s.target.URL)...)
				if err != nil {
					return result, err
				}
				if result, err = readH2load(out, requests); err != nil {
					return result, err
				}
				took := time.Since(began)
				if took > p.window/2 {
					return result, nil
				}
				requests = min(requests*20, int64(float64(requests)*float64(p.window)/float64(took)))
			}
		})
	}
}

// readWrk reads what wrk 4.1 prints.
func readWrk(out []byte) (load.Result, error) {
	result := load.Result{Latency: load.NewHistogram()}
	if regexp.MustCompile(`Non-2xx or 3xx responses|Socket errors`).Match(out) {
		return result, errors.New("not every request was answered")
	}
	n, err := number(out, `(\d+) requests in`)
	if err != nil {
		return result, err
	}
	result.Requests = n
	// wrk has no more than percentiles: as many values as make those come out.
	for _, q := range []struct {
		pattern string
		count   int64
	}{{`50%\s+([\d.]+[a-z]+)`, 60}, {`99%\s+([\d.]+[a-z]+)`, 40}} {
		m := regexp.MustCompile(q.pattern).FindSubmatch(out)
		if m == nil {
			return result, errors.New("no percentiles")
		}
		d, err := time.ParseDuration(string(m[1]))
		if err != nil {
			return result, err
		}
		if err := result.Latency.RecordValues(int64(d), q.count); err != nil {
			return result, err
		}
	}
	return result, nil
}

// readH2load reads what h2load 1.52 prints. It has no percentiles.
func readH2load(out []byte, requests int64) (load.Result, error) {
	var result load.Result
	ok, err := number(out, `status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx`)
	if err == nil && ok != requests {
		err = fmt.Errorf("%d of %d requests were answered", ok, requests)
	}
	result.Requests = ok
	return result, err
}

func number(out []byte, pattern string) (int64, error) {
	m := regexp.MustCompile(pattern).FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("it doesn't say %q", pattern)
	}
	return strconv.ParseInt(string(m[1]), 10, 64)
}
