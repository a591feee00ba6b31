package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// visible are a command and all below it that help shows.
func visible(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			all = append(all, visible(sub)...)
		}
	}
	return all
}

// TestHelp holds what --help says of each command against a golden file, so that a change of it is seen.
func TestHelp(t *testing.T) {
	t.Parallel()
	want := make(map[string]bool)
	for _, cmd := range visible(newRoot()) {
		path := cmd.CommandPath()
		name := strings.ReplaceAll(path, " ", "_") + ".txt"
		want[name] = true
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append(strings.Fields(path)[1:], "--help"), &stdout, &stderr)
			if code != exitOK || stderr.Len() > 0 {
				t.Errorf("exit %d, stderr %q", code, &stderr)
			}
			golden(t, filepath.Join("help", name), stdout.String())
		})
	}
	entries, err := os.ReadDir("testdata/help")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !want[e.Name()] {
			t.Errorf("testdata/help/%s is of no command", e.Name())
		}
	}
}

// TestCommandsAreDescribed holds that whoever asks for help is told in the way of the other commands, and that examples
// name flags that exist.
func TestCommandsAreDescribed(t *testing.T) {
	t.Parallel()
	for _, cmd := range visible(newRoot()) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: Short is one clause without a full stop: %q", cmd.CommandPath(), cmd.Short)
		}
		for line := range strings.Lines(cmd.Example) {
			line = strings.TrimSpace(line)
			args := words(line)
			if len(args) < 2 || args[0] != "sluice-bench" {
				t.Errorf("%s: the example %q is no command line", cmd.CommandPath(), line)
				continue
			}
			found, rest, err := newRoot().Find(args[1:])
			if err == nil {
				err = found.ParseFlags(rest)
			}
			if err == nil {
				err = found.ValidateArgs(found.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: the example %q: %v", cmd.CommandPath(), line, err)
			}
		}
	}
}

// words splits a command line as a shell does that knows single quotes only.
func words(line string) (all []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			all = append(all, part)
		} else {
			all = append(all, strings.Fields(part)...)
		}
	}
	return all
}
