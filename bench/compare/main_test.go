package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test's binary be the children that the program starts of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "rival" || os.Args[1] == "registry") {
		main()
		return
	}
	os.Exit(m.Run())
}

// A short run of everything that needs no download: the servers of this repository and of the Go modules are measured,
// and what is not to be had is said.
func TestShortRun(t *testing.T) {
	t.Parallel()
	tools, results := t.TempDir(), t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(tools, "bin", "sluice"), "./cmd/sluice")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p := &plan{
		tools: tools, results: results, commit: "c0ffee", command: "test",
		only: "^(h1|h2-3x50|plugin-bursts|wrk|peers-)", rounds: 1, window: 50 * time.Millisecond, short: true,
	}
	var out, said bytes.Buffer
	if err := p.run(t.Context(), &out, &said); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	for _, name := range []string{"compare.json", "compare.md"} {
		content, err := os.ReadFile(filepath.Join(results, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"c0ffee", "h2-3x50", "nginx: no such file or directory", "net/http, same work"} {
			if !bytes.Contains(content, []byte(want)) {
				t.Errorf("%s says nothing of %q", name, want)
			}
		}
	}
	for _, want := range []string{
		"crypto/tls echo", "fasthttp static", "bin/ratify: no such file or directory",
		"usr/bin/wrk: no such file or directory",
		"warm ≤ 1/8 of Ratify cached: not measured", "no handshake after the first: 0.00",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report says nothing of %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", &said, &out)
	}
}

// A group is measured in turns, a row that fails has no figures, and the others go on.
func TestMeasure(t *testing.T) {
	t.Parallel()
	var turns []string
	of := func(name string, cpu ...float64) row {
		return row{&server{name: name}, func(_ context.Context, s *server, round int) (sample, error) {
			turns = append(turns, s.name)
			if cpu[round] < 0 {
				return sample{}, os.ErrDeadlineExceeded
			}
			return sample{CPU: cpu[round]}, nil
		}}
	}
	p := &plan{rounds: 3}
	g := p.measure(t.Context(), group{name: "g", base: "a", rows: []row{of("a", 10, 20, 40), of("b", 5, 20, 10), of("c", 1, -1, 1)}},
		func(string, ...any) {})
	if got := strings.Join(turns, ""); got != "abcabcab" {
		t.Errorf("the turns were %s", got)
	}
	if got, want := g.row("b").Ratio, (Spread{Median: 0.5, Min: 0.25, Max: 1}); got != want {
		t.Errorf("the ratio is %v, want %v", got, want)
	}
	if c := g.row("c"); c.Error == "" || c.Rounds != nil {
		t.Errorf("the row that failed is %+v", c)
	}
	r := &Report{Groups: []Group{g}}
	if ratio, known := r.Groups[0].row("c").against(g.row("a")); known {
		t.Errorf("a row that failed is %v of another", ratio)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	rows := func(cpu map[string]float64, handshakes int64) []Row {
		var all []Row
		for name, v := range cpu {
			all = append(all, Row{Server: name, Rounds: []sample{{CPU: v, Handshakes: handshakes}}})
		}
		return all
	}
	r := &Report{Groups: []Group{
		{Name: "h1", Rows: rows(map[string]float64{"sluice": 16.4, "fasthttp static": 15, "nginx static": 16}, 0)},
		{Name: "plugin-bursts", Rows: rows(map[string]float64{"sluice": 7, "net/http, same work": 10}, 1)},
	}}
	r.judge()
	var got []string
	for _, a := range r.Aims {
		got = append(got, a.String())
	}
	want := []string{
		"warm HTTP/1.1 ≤ 1.10 × fasthttp static: 1.09 (1.09 to 1.09): yes",
		"warm HTTP/1.1 ≤ 1.00 × nginx static: 1.02 (1.02 to 1.02): no",
		"warm HTTP/2, one stream a connection ≤ 1.00 × nginx static: not measured",
		"warm HTTP/2, 50 streams a connection ≤ 0.25 × nginx static: not measured",
		"the plugin's client in bursts of 200 ≤ 0.70 × net/http over HTTP/2: 0.70 (0.70 to 0.70): yes",
		"warm ≤ 1/8 of Ratify cached: not measured",
		"cold ≤ 1/4 of Ratify without its cache, the same images again: not measured",
		"cold ≤ 1/4 of Ratify cold, each image once: not measured",
		"the plugin's client: no handshake after the first: 1.00 (1.00 to 1.00): no",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What a process and its children use is counted, while they live and afterwards: as much as the system says in the end.
func TestCPU(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// A child that ends and is waited for, and one that lives.
	const script = `work() { n=0; while [ $n -lt 60000 ]; do n=$((n+1)); done; }
(work); (work; echo done; while [ ! -e end ]; do sleep 0.01; done) & wait`
	p, err := start("shell", nil, dir, "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	if err := p.await(t.Context(), func() error {
		if p.output.String() != "done" {
			return os.ErrNotExist
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	used, err := p.cpu()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	total := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	if used < total*3/4 || used > total+20*time.Millisecond { // some is in ticks of 10 ms
		t.Errorf("%v were counted, of %v", used, total)
	}
	if used, err := p.cpu(); err == nil {
		t.Errorf("a process that has ended uses %v", used)
	}
	if err := p.alive(); err == nil {
		t.Error("a process that has ended is alive")
	}
}
