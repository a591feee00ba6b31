package main

import (
	"os"
	"strings"
	"testing"

	"sluice/bench/schedule"
)

// The README's calls of sluice-bench name commands, flags and schedules that there are.
func TestREADME(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for line := range strings.Lines(strings.ReplaceAll(string(readme), "\\\n", " ")) {
		_, call, ok := strings.Cut(line, "bin/sluice-bench ")
		if !ok {
			continue
		}
		calls++
		// As a shell takes it apart, as far as these lines go: quotes, and a comment.
		var args []string
		for i, part := range strings.Split(call, "'") {
			if i%2 == 1 {
				args = append(args, part)
				continue
			}
			part, _, _ = strings.Cut(strings.ReplaceAll(part, "$!", "1"), " #")
			args = append(args, strings.Fields(part)...)
		}
		root := newRoot()
		cmd, rest, err := root.Find(args)
		if err != nil || cmd == root {
			t.Errorf("sluice-bench %q: no such command (%v)", args, err)
			continue
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("sluice-bench %q: %v", args, err)
		} else if f := cmd.Flags().Lookup("schedule"); f != nil && f.Changed {
			if _, err := schedule.Parse(f.Value.String()); err != nil {
				t.Errorf("sluice-bench %q: %v", args, err)
			}
		}
	}
	if calls < 3 {
		t.Errorf("%d calls of sluice-bench are in the README", calls)
	}
}
