// Command sluice-bench loads an image policy webhook with reviews as kube-apiservers send them, and reports what that
// costs. It measures any server of the protocol, not sluice alone.
//
// It refuses targets that are not on loopback unless it is told that the target is the user's, reads no kubeconfig and
// no environment, and prints no secrets. Start reading at run.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes.
const (
	exitOK          = 0   // measured, and all thresholds hold
	exitFailed      = 1   // a threshold does not hold
	exitUsage       = 2   // wrong usage
	exitUnmeasured  = 3   // there was nothing to measure
	exitInterrupted = 130 // by a signal, as shells have it for SIGINT; what was measured until then is reported
)

// exitError ends the program with a code. Hints say what to do about it; an err of nil means that all there is to say
// has been printed.
type exitError struct {
	code  int
	err   error
	hints []string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// invalid marks an error as the user's to mend, with hints.
func invalid(err error, hints ...string) error { return &exitError{exitUsage, err, hints} }

// run is the program without the process around it. stdout carries the report only; everything else goes to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var exit *exitError
	if !errors.As(err, &exit) { // cobra's own: an unknown command or flag
		exit = &exitError{exitUsage, err, []string{"sluice-bench --help lists the commands; sluice-bench COMMAND --help a command's flags"}}
	}
	if exit.err != nil {
		fmt.Fprintf(stderr, "error: %s\n", strings.TrimRight(exit.err.Error(), "\n"))
	}
	var hinter interface{ Hint() string }
	if errors.As(exit.err, &hinter) && hinter.Hint() != "" {
		exit.hints = append(exit.hints, hinter.Hint())
	}
	for _, hint := range exit.hints {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
	return exit.code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice-bench",
		Short: "Measures image policy webhooks under the load of kube-apiservers",
		Long: `sluice-bench sends ImageReviews as kube-apiservers do, and measures what became of them.

Reviews are sent when they are due, whatever became of those before, and latency counts from that moment: a server that
stops for a second is seen to have stopped. A closed loop has to be asked for, and is labelled.

Exit codes: 0 measured, and all thresholds hold; 1 a threshold does not hold; 2 wrong usage; 3 there was nothing to
measure, because the target did not answer, or never with a verdict; 130 interrupted, with a report of what was measured
until then.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(newRun(), newCompare(), newScenario(), newVersion())
	return root
}
