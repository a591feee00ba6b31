// Command compare measures sluice beside its rivals, side by side in one run: what a review costs a server's
// processor, and how long it takes. bench/compare/run builds and fetches what it needs, and starts it.
//
// It decides what is measured, in which order, and whether the aims are reached. It trusts the operating system's
// account of what a process used, and nothing that a server says of itself. Each server is asked for the right answer
// before it is measured, and while it is: one that refuses would look fast. What can't be had or fails is a row that
// says so. Everything that it starts listens on loopback and ends with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"sluice/bench/compare/rival"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	role, arguments := "", os.Args[1:]
	if len(arguments) > 0 && !strings.HasPrefix(arguments[0], "-") {
		role, arguments = arguments[0], arguments[1:]
	}
	var err error
	switch role {
	case "":
		err = mainRun(ctx, arguments)
	case "rival": // the two roles below are this program's own children
		err = mainRival(ctx, arguments)
	case "registry":
		err = mainRegistry(ctx, arguments)
	default:
		err = fmt.Errorf("there is no role %q", role)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// mainRun is the comparison.
func mainRun(ctx context.Context, arguments []string) error {
	var p plan
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.StringVar(&p.tools, "tools", "../../.cache/compare", "where bench/compare/run has put what it fetched and built")
	flags.StringVar(&p.results, "results", "", "the directory for compare.json and compare.md; none by default")
	flags.StringVar(&p.commit, "commit", "unknown", "what sluice was built from, for the report")
	flags.StringVar(&p.only, "only", "", "only groups whose names match this regular expression")
	flags.IntVar(&p.rounds, "rounds", 3, "how often each row is measured")
	flags.DurationVar(&p.window, "window", defaultWindow, "how long each time")
	short := flags.Bool("short", false, "one short round: to see that it works, not to measure")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() > 0 || p.rounds < 1 || p.window <= 0 {
		return errors.New("what there is to say is in -help")
	}
	if *short {
		p.short, p.rounds, p.window = true, 1, shortWindow
	}
	p.command = strings.TrimSpace("bench/compare/run " + strings.Join(meant(flags), " "))
	// A generator that waits for its turn would be read as a server that is slow.
	runtime.GOMAXPROCS(max(4, runtime.NumCPU()))
	return p.run(ctx, os.Stdout, os.Stderr)
}

// meant is the flags that are not bench/compare/run's own.
func meant(flags *flag.FlagSet) []string {
	var words []string
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "tools", "results", "commit":
		default:
			words = append(words, "-"+f.Name+"="+f.Value.String())
		}
	})
	return words
}

func mainRival(ctx context.Context, arguments []string) error {
	var o rival.Options
	flags := flag.NewFlagSet("rival", flag.ContinueOnError)
	kind := flags.String("kind", "", "which server")
	flags.StringVar(&o.Addr, "listen", "", "host:port")
	flags.StringVar(&o.PKI, "pki", "", "the directory of certificates")
	flags.StringVar(&o.Reply, "reply", "", "the file with the answer of those that don't decide")
	flags.StringVar(&o.Registry, "registry", "", "the host of the registry")
	policies := flags.String("policies", "", "the file of policies")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	o.Policies = []string{*policies}
	return rival.Serve(ctx, *kind, o)
}
