package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sluice/bench"
	"sluice/bench/report"
)

func newCompare() *cobra.Command {
	var o outputs
	cmd := &cobra.Command{
		Use:   "compare A.json B.json",
		Short: "Set one result against another",
		Long: `Set the result B against the result A, both written with --json: the ratio of every number, which of them are better
or worse, and what else differs, such as the machine, the commit or the load.`,
		Example: `  sluice-bench compare before.json after.json
  sluice-bench compare before.json after.json --html compared.html --threshold 'p99 < 1.1x' --threshold 'cpu <= 1.05x'`,
		Args: cobra.ExactArgs(2),
	}
	check := o.flags(cmd, "a condition on the ratio of B to A, such as 'p99 < 1.1x'; if it doesn't hold, exit with 1; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		if err := check(); err != nil {
			return err
		}
		var sides [2]*bench.Result
		for i, name := range names {
			r, err := readResult(name)
			if err != nil {
				return invalid(err, "sluice-bench run --json FILE writes a result")
			}
			sides[i] = r
		}
		if err := o.begin(report.ParseRatio); err != nil {
			return err
		}
		defer o.end()
		c := report.Compare(sides[0], sides[1], names[0], names[1])
		c.Evaluate(o.thresholds)
		return o.write(cmd.OutOrStdout(), c.Text, c.JSON, c.HTML, c.Checks)
	}
	return cmd
}

func readResult(name string) (*bench.Result, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := report.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}
