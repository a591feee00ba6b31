package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// suite is Go benchmarks, which bench/compare/run has built, and how they are run.
type suite struct {
	name, title, program string
	arguments            [][]string
}

func suites() []suite {
	return []suite{
		{
			name: "caches", program: "caches.test",
			title: "caches for verdicts: a look-up that hits, on one core and on two (-2); hits under Zipf's law (1.01, 100,000 images), " +
				"where sluice's first level may hold as much again as its room; memory an entry beside key and verdict",
			arguments: [][]string{
				{"-test.bench", "Get", "-test.benchtime", "150ms", "-test.cpu", "1,2"},
				{"-test.bench", "HitRatio|Memory", "-test.benchtime", "1x", "-test.cpu", "2"},
			},
		},
		{
			name: "codecs", program: "codecs.test", title: "codecs: reading a review, writing a reply",
			arguments: [][]string{{"-test.bench", ".", "-test.benchtime", "100ms", "-test.cpu", "1"}},
		},
	}
}

// run runs the benchmarks, each several times over all of them, and takes medians.
func (s suite) run(ctx context.Context, p *plan) Suite {
	out := Suite{Name: s.name, Title: s.title, Lines: []Line{}}
	values := map[string]map[string][]float64{}
	var names []string
	for round := range p.rounds {
		for _, arguments := range s.arguments {
			text, err := s.once(ctx, p, arguments)
			if err != nil {
				out.Error = err.Error()
				return out
			}
			for name, units := range readBenchmarks(text) {
				if values[name] == nil {
					values[name] = map[string][]float64{}
				}
				for unit, v := range units {
					values[name][unit] = append(values[name][unit], v)
				}
			}
			if round == 0 {
				names = append(names, benchmarkNames(text)...)
			}
		}
	}
	for _, name := range names {
		line := Line{Name: name, Values: map[string]float64{}}
		for _, unit := range slices.Sorted(maps.Keys(values[name])) {
			line.Values[unit] = spreadOf(values[name][unit]).Median
		}
		out.Lines = append(out.Lines, line)
	}
	return out
}

func (s suite) once(ctx context.Context, p *plan, arguments []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	arguments = append([]string{"-test.run", "^$"}, arguments...)
	if p.short {
		arguments = append(arguments, "-test.benchtime", "1x")
	}
	out, err := exec.CommandContext(ctx, filepath.Join(p.tools, "bin", s.program), arguments...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", s.program, err, out)
	}
	return out, nil
}

// benchmarkNames lists the benchmarks of an output, in its order.
func benchmarkNames(text []byte) []string {
	var names []string
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if name, _, ok := readBenchmark(lines.Text()); ok {
			names = append(names, name)
		}
	}
	return names
}

func readBenchmarks(text []byte) map[string]map[string]float64 {
	all := map[string]map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if name, values, ok := readBenchmark(lines.Text()); ok {
			all[name] = values
		}
	}
	return all
}

// readBenchmark reads a line of Go's benchmark format: name, runs, and pairs of a figure and a unit.
func readBenchmark(line string) (name string, values map[string]float64, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 4 || len(fields)%2 != 0 || !strings.HasPrefix(fields[0], "Benchmark") {
		return "", nil, false
	}
	values = map[string]float64{}
	for i := 2; i < len(fields); i += 2 {
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return "", nil, false
		}
		if unit := fields[i+1]; unit != "ns/op" || v > 0 {
			values[unit] = v
		}
	}
	return strings.ReplaceAll(strings.TrimPrefix(fields[0], "Benchmark"), "_", " "), values, true
}
