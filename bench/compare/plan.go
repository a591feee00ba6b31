package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"sluice/bench/compare/load"
)

// How long each row is measured each time, and before that left alone with its load.
const (
	defaultWindow = 2 * time.Second
	shortWindow   = 200 * time.Millisecond
)

// plan is what is to be measured.
type plan struct {
	tools, results, commit, command string

	only   string
	rounds int
	window time.Duration
	short  bool
}

// group is rows that are compared with each other: the same load on several servers.
type group struct {
	name  string // for -only, and in the report
	title string
	base  string // the row that the others are divided by
	rows  []row
}

// row is one server under the group's load.
type row struct {
	server  *server
	measure measurement
}

// measurement loads a server for one round, counted from 0.
type measurement func(ctx context.Context, s *server, round int) (sample, error)

// sample is one row of one round.
type sample struct {
	CPU        float64 `json:"cpuMicroseconds"` // of the server's processes, user and system, a request
	Requests   int64   `json:"requests"`
	PerSecond  float64 `json:"perSecond"`
	P50        float64 `json:"p50Microseconds"`
	P99        float64 `json:"p99Microseconds"`
	Handshakes int64   `json:"handshakes"` // connections opened while it was measured; -1 if it isn't known
}

// run measures everything, and reports.
func (p *plan) run(ctx context.Context, stdout, stderr io.Writer) error {
	say := func(format string, arguments ...any) { fmt.Fprintf(stderr, "compare: "+format+"\n", arguments...) }
	only, err := regexp.Compile(p.only)
	if err != nil {
		return err
	}
	if p.tools, err = filepath.Abs(p.tools); err != nil {
		return err
	}
	if err := raiseLoopback(); err != nil {
		return fmt.Errorf("loopback is down: %w", err)
	}
	dir, err := os.MkdirTemp("", "sluice-compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	report := newReport(p)
	say("certificates, a registry with signed images, and the servers")
	ground, err := newPlace(ctx, dir, p.tools, coldImages(p)*p.rounds*coldServers)
	if ground != nil {
		defer ground.close()
	}
	if err != nil {
		return err
	}
	groups, err := p.groups(ctx, ground)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if !only.MatchString(g.name) {
			continue
		}
		say("%s: %s", g.name, g.title)
		report.Groups = append(report.Groups, p.measure(ctx, g, say))
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	for _, s := range suites() {
		if !only.MatchString(s.name) {
			continue
		}
		say("%s: %s", s.name, s.title)
		report.Suites = append(report.Suites, s.run(ctx, p))
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	report.judge()
	if _, err := report.text().WriteTo(stdout); err != nil {
		return err
	}
	if p.results == "" {
		return nil
	}
	say("writing %s and compare.json", filepath.Join(p.results, "compare.md"))
	return report.write(p.results)
}

// measure goes through the rows again and again, so that what the machine's neighbours do meets all of them.
func (p *plan) measure(ctx context.Context, g group, say func(string, ...any)) Group {
	out := Group{Name: g.name, Title: g.title, Base: g.base}
	for _, r := range g.rows {
		row := Row{Server: r.server.name}
		if r.server.missing != nil {
			row.Error = r.server.missing.Error()
			say("%s: %s is missing: %v", g.name, row.Server, r.server.missing)
		}
		out.Rows = append(out.Rows, row)
	}
	for round := range p.rounds {
		for i, r := range g.rows {
			row := &out.Rows[i]
			if row.Error != "" || ctx.Err() != nil {
				continue
			}
			s, err := r.measure(ctx, r.server, round)
			if err != nil {
				row.Error, row.Rounds = err.Error(), nil
				say("%s: %s failed: %v", g.name, row.Server, err)
				continue
			}
			row.Rounds = append(row.Rounds, s)
		}
	}
	out.summarize()
	return out
}

// watched runs a load, and takes the server's account at its beginning and end.
func watched(s *server, load func(begin, end func()) (load.Result, error)) (sample, error) {
	var before, after time.Duration
	var failed error
	account := func(to *time.Duration) {
		var err error
		if *to, err = s.process.cpu(); err != nil {
			failed = err
		}
	}
	result, err := load(func() { account(&before) }, func() { account(&after) })
	if err == nil {
		err = failed
	}
	if err == nil && result.Requests == 0 {
		err = errors.New("there was no answer at all")
	}
	if err == nil {
		err = s.process.alive()
	}
	if err != nil {
		return sample{}, err
	}
	out := sample{
		CPU:        float64((after - before).Microseconds()) / float64(result.Requests),
		Requests:   result.Requests,
		PerSecond:  float64(result.Requests) / result.Elapsed.Seconds(),
		Handshakes: result.Connections,
	}
	if result.Latency != nil {
		out.P50 = float64(result.Latency.ValueAtQuantile(50)) / 1e3
		out.P99 = float64(result.Latency.ValueAtQuantile(99)) / 1e3
	}
	return out, nil
}
