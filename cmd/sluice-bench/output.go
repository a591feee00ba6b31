package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sluice/bench"
	"sluice/bench/report"
)

// outputFlag adds -o, and returns a check of its value.
func outputFlag(cmd *cobra.Command, output *string) func() error {
	cmd.Flags().StringVarP(output, "output", "o", "text", "what to print: text or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return func() error {
		if *output != "text" && *output != "json" {
			return invalid(fmt.Errorf("-o is text or json, not %q", *output))
		}
		return nil
	}
}

// outputs are where a report goes, and what makes the program fail.
type outputs struct {
	print      string // text or json, to stdout
	json, html string // files
	texts      []string

	thresholds []report.Threshold
	files      []*file // in the order of json, html
}

// flags adds the flags, and returns what checks them.
func (o *outputs) flags(cmd *cobra.Command, thresholds string) func() error {
	check := outputFlag(cmd, &o.print)
	flags := cmd.Flags()
	flags.StringVar(&o.json, "json", "", "also write the report as JSON to this file")
	flags.StringVar(&o.html, "html", "", "also write the report as one HTML file, with plots, to this file")
	flags.StringArrayVar(&o.texts, "threshold", nil, thresholds)
	_ = cmd.MarkFlagFilename("json", "json")
	_ = cmd.MarkFlagFilename("html", "html")
	return check
}

// begin reads the thresholds and opens the files, so that what is wrong with them is known before a long run and not
// after it.
func (o *outputs) begin(parse func(string) (report.Threshold, error)) error {
	for _, text := range o.texts {
		t, err := parse(text)
		if err != nil {
			return invalid(err)
		}
		o.thresholds = append(o.thresholds, t)
	}
	for _, name := range [...]string{o.json, o.html} {
		f, err := create(name)
		if err != nil {
			o.end()
			return invalid(err)
		}
		o.files = append(o.files, f)
	}
	return nil
}

// end removes what begin opened and write did not finish.
func (o *outputs) end() {
	for _, f := range o.files {
		f.discard()
	}
}

// write writes the report everywhere, and tells with what code to exit.
func (o *outputs) write(stdout io.Writer, text, json, html func(io.Writer) error, checks []bench.Check) error {
	print := text
	if o.print == "json" {
		print = json
	}
	err := errors.Join(print(stdout), o.files[0].finish(json), o.files[1].finish(html))
	if err != nil {
		return &exitError{exitUnmeasured, fmt.Errorf("writing the report: %w", err), nil}
	}
	if report.Failed(checks) > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

// file is written whole or not at all: it is put into its place when it is complete. A nil one is nowhere.
type file struct {
	*os.File
	name string
}

func create(name string) (*file, error) {
	if name == "" {
		return nil, nil
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a directory", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	var failed *os.PathError
	if errors.As(err, &failed) {
		failed.Op, failed.Path = "create", name // not the name of the file that is put into its place
	}
	if err != nil {
		return nil, err
	}
	return &file{f, name}, nil
}

func (f *file) discard() {
	if f != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
}

func (f *file) finish(write func(io.Writer) error) error {
	if f == nil {
		return nil
	}
	const everyone = 0o644 // CreateTemp makes files for their owner alone, and a report is no secret
	if err := errors.Join(write(f), f.Chmod(everyone), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), f.name)
}
