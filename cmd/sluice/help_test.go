package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commandPaths are the names of a command and of all below it, such as "sluice policy validate".
func commandPaths(cmd *cobra.Command) []string {
	all := []string{cmd.CommandPath()}
	for _, sub := range cmd.Commands() {
		all = append(all, commandPaths(sub)...)
	}
	return all
}

// TestHelp holds what --help says of each command against a golden file, so that a change of it is seen.
func TestHelp(t *testing.T) {
	t.Parallel()
	want := make(map[string]bool)
	for _, path := range commandPaths(newRoot()) {
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

// TestFlagsAreDescribed holds that whoever asks for help is told of every flag, in the way of the others.
func TestFlagsAreDescribed(t *testing.T) {
	t.Parallel()
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: Short is one clause without a full stop: %q", cmd.CommandPath(), cmd.Short)
		}
		for line := range strings.Lines(cmd.Example) {
			if args := strings.Fields(line); len(args) < 2 || args[0] != "sluice" {
				t.Errorf("%s: the example %q is no command line", cmd.CommandPath(), line)
			} else if err := parses(args[1:]); err != nil {
				t.Errorf("%s: the example %q: %v", cmd.CommandPath(), strings.TrimSpace(line), err)
			}
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot())
}

// find finds the command of a command line, and has it take its flags: they exist, and their values are of their type.
func find(args []string) (*cobra.Command, error) {
	root := newRoot()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	cmd, rest, err := root.Find(args)
	if err != nil {
		return nil, err
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return nil, err
	}
	if rest := cmd.Flags().Args(); cmd.HasSubCommands() && len(rest) > 0 {
		return nil, fmt.Errorf("unknown command %q for %q", rest[0], cmd.CommandPath())
	}
	return cmd, nil
}

// parses tells whether a command line is one that could be run: find, and as many arguments as the command takes.
func parses(args []string) error {
	cmd, err := find(args)
	if err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}
