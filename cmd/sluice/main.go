// Command sluice answers one question for Kubernetes control planes: may these images run here? It is the backend of
// the ImagePolicyWebhook admission plugin.
//
// Start reading at serve.go, where a running service is put together.
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
	exitOK          = 0 // allowed, or done
	exitDenied      = 1 // denied
	exitUsage       = 2 // wrong usage, or an invalid configuration
	exitUndecidable = 3 // what is needed to decide cannot be had
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

// run is the program without the process around it. stdout carries the answer only; everything else goes to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var exit *exitError
	if !errors.As(err, &exit) { // cobra's own: an unknown command or flag
		exit = &exitError{exitUsage, err, usageHints(cmd, err)}
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

// usageHints say how a command is called whose words or flags cobra has refused.
func usageHints(cmd *cobra.Command, err error) []string {
	var hints []string
	if strings.Contains(err.Error(), `unknown unit "d"`) {
		hints = append(hints, "there is no unit for days: write 720h for 30 of them")
	}
	if cmd.HasSubCommands() {
		return append(hints, "sluice --help lists the commands; sluice COMMAND --help a command's flags")
	}
	return append(hints, fmt.Sprintf("usage: %s; %s --help lists these", cmd.UseLine(), cmd.CommandPath()))
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Decides for Kubernetes control planes which images may run",
		Long: `sluice answers one question for Kubernetes control planes: may these images run here?

It is the backend of the ImagePolicyWebhook admission plugin, of admission webhooks, or of both: it resolves tags to
digests, checks who signed them, applies policy, and remembers.

Exit codes: 0 allowed or done; 1 denied, or imported with less enforced; 2 wrong usage or an invalid configuration; 3
undecidable, because a registry cannot be reached.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(newServe(), newInit(), newCheck(), newInspect(), newPolicy(), newCert(), newDemo(), newVersion())
	return root
}

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
