package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/bench"
	"sluice/bench/report"
	"sluice/bench/scenario"
)

func newScenario() *cobra.Command {
	var (
		sluice, out string
		o           scenario.Options
	)
	cmd := &cobra.Command{
		Use:   "scenario NAME…|all --sluice FILE",
		Short: "Measure sluice in situations that clusters get into",
		Long: "Measure a sluice in situations that clusters get into, on this machine's loopback: a registry with signed images,\n" +
			"certificates and the service are started for it, and ended.\n\n" + scenarioNames() + `
The results go into a folder: scenarios.md with everything in short, and JSON and HTML for each load. Exit code 1 says
that a check failed, such as a wrong verdict; a ratio that is worse than hoped for fails nothing.`,
		Example: `  sluice-bench scenario warm --sluice bin/sluice
  sluice-bench scenario all --sluice bin/sluice --out results`,
		Args: cobra.MinimumNArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&sluice, "sluice", "bin/sluice", "the service's program")
	flags.StringVar(&out, "out", "", "the folder for the results, which is made if need be; default: nothing but the summary, on stdout")
	flags.BoolVar(&o.Short, "short", false, "small and quick, to see whether it works: the figures mean little")
	flags.Uint64Var(&o.Seed, "seed", 1, "of the workloads")
	flags.StringArrayVar(&o.Env, "env", nil, "NAME=VALUE for the service's environment, such as GOMAXPROCS=1; may be repeated")
	_ = cmd.MarkFlagFilename("sluice")
	_ = cmd.MarkFlagDirname("out")
	for _, s := range scenario.All() {
		cmd.ValidArgs = append(cmd.ValidArgs, cobra.CompletionWithDesc(s.Name, s.About))
	}
	cmd.AddCommand(newRegistry())
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		chosen, err := scenario.Find(names...)
		if err != nil {
			return invalid(err)
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		program, err := filepath.Abs(sluice)
		if err == nil {
			_, err = os.Stat(program)
		}
		if err != nil {
			return invalid(err, "make build, or --sluice FILE")
		}
		if out != "" {
			if err := os.MkdirAll(out, 0o755); err != nil {
				return invalid(err)
			}
		}
		o.Sluice, o.Registry = []string{program}, []string{self, "scenario", scenario.RegistryCommand}
		return runScenarios(cmd.Context(), chosen, o, out, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

func scenarioNames() string {
	var b strings.Builder
	for _, s := range scenario.All() {
		fmt.Fprintf(&b, "  %-10s %s\n", s.Name, s.About)
	}
	return b.String()
}

// newRegistry is the registry of scenarios, which is a process of its own so that its work is nobody else's.
func newRegistry() *cobra.Command {
	return &cobra.Command{
		Use:    scenario.RegistryCommand,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return scenario.ServeRegistry(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

// runScenarios goes through scenarios, and writes what came of them even if it was interrupted.
func runScenarios(ctx context.Context, chosen []scenario.Scenario, o scenario.Options, out string, stdout, stderr io.Writer) error {
	line := newProgress(stderr)
	o.Progress = line.follower()
	o.Say = func(text string) {
		line.clear()
		fmt.Fprintln(stderr, text)
	}
	began := time.Now()
	var (
		all    []*bench.Result
		failed []error
	)
	for _, s := range chosen {
		o.Say(s.Name + ": " + s.About)
		results, err := s.Run(ctx, o)
		line.clear()
		for _, r := range results {
			r.Command, r.Commit = append([]string{"sluice-bench"}, os.Args[min(1, len(os.Args)):]...), commitOfTree()
			all = append(all, r)
			failed = append(failed, writeScenario(out, r))
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	summary := scenario.Summary{Results: all, Short: o.Short, Took: time.Since(began)}
	failed = append(failed, summary.Markdown(stdout))
	if out != "" {
		failed = append(failed, writeFile(filepath.Join(out, "scenarios.md"), summary.Markdown))
		if picked := summary.Shown(); len(picked) > 0 {
			failed = append(failed, writeFile(filepath.Join(out, "latency.svg"), func(w io.Writer) error {
				svg, err := report.SVG(picked, "percentiles")
				if err != nil {
					return err
				}
				_, err = w.Write(svg)
				return err
			}))
		}
		o.Say("the results are in " + out)
	}
	if ctx.Err() != nil {
		return &exitError{code: exitInterrupted, err: ctx.Err()}
	}
	if err := errors.Join(failed...); err != nil {
		return &exitError{code: exitUnmeasured, err: err}
	}
	for _, r := range all {
		if report.Failed(r.Checks) > 0 {
			return &exitError{code: exitFailed}
		}
	}
	return nil
}

// writeScenario writes a result as JSON and as HTML, under its name.
func writeScenario(out string, r *bench.Result) error {
	if out == "" {
		return nil
	}
	name := filepath.Join(out, strings.ReplaceAll(r.Name, "/", "-"))
	return errors.Join(
		writeFile(name+".json", func(w io.Writer) error { return report.JSON(w, r) }),
		writeFile(name+".html", func(w io.Writer) error { return report.HTML(w, r) }),
	)
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := create(name)
	if err != nil {
		return err
	}
	defer f.discard()
	return f.finish(write)
}

// commitOfTree is the commit that this program was built of, and whether there were changes beside it.
func commitOfTree() string {
	b := readBuildInfo()
	if strings.HasSuffix(b.Version, "dirty") {
		return b.Commit + "-dirty"
	}
	return b.Commit
}
