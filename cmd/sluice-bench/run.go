package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/bench"
	"sluice/bench/report"
	"sluice/bench/schedule"
)

// mineHint is what to do about a target that is refused.
const mineHint = "if the target is yours, and you mean to load it: --target-is-mine"

// runFlags are what sluice-bench run does, but for the client and the workload.
type runFlags struct {
	client   clientFlags
	workload workloadFlags
	outputs  outputs

	schedule string
	shape    string
	size     int
	closed   int
	duration time.Duration

	warmUp     int
	timeout    time.Duration
	serverPID  int
	metricsURL string
}

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run --target URL (--schedule TEXT | --shape NAME | --closed N)",
		Short: "Load a server, and report what became of it",
		Long: `Load a server with reviews, and report what became of them.

When reviews are sent:
  --schedule  phases, joined by semicolons:
                constant 1000/s for 30s
                ramp 100/s to 5000/s for 1m
                step 1000/s to 5000/s by 1000/s every 10s
                burst 200 every 250ms for 10s
                burst 200
                pause 5s
  --shape     what clusters do, with --size pods over --duration:
                rollout         a Deployment is updated: a quarter of its pods at once, four times
                node-drain      most pods at once, and the rest as disruption budgets let them go
                cronjob-minute  Jobs at each full minute, over a base rate
                cold-start      half of all pods at once, the others at a falling rate
  --closed    so many are always in flight. Such a closed loop finds out what a server can do at most; its latencies
              hide stalls, and reports say so.

Thresholds are set on p50 to p99.999, mean, max, throughput, errors, error-rate, denied, wrong, cpu (of the server, a
review), rss, connections (opened in the run, warm-up aside) and bottleneck (of the load generator). Without any, a run
in which every review but one failed ends with exit code 0: set errors = 0 and wrong = 0 where that matters.

How many reviews a second a server can take: --client lean with steps, of which the report has a line each, or --closed.
What many new connections at once do: --apiservers 500 --warm-up 0 and a burst of as many.`,
		Example: `  sluice-bench run --target https://127.0.0.1:8443/v1/imagereview --ca-file ca.crt --cert-file client.crt --key-file client.key --schedule 'constant 1000/s for 30s'
  sluice-bench run --target https://127.0.0.1:8443/v1/imagereview --ca-file ca.crt --shape rollout --size 500 --html rollout.html
  sluice-bench run --target https://127.0.0.1:8443/v1/imagereview --ca-file ca.crt --client lean --closed 64 --duration 30s
  sluice-bench run --target https://127.0.0.1:8443/v1/imagereview --ca-file ca.crt --client lean --schedule 'step 10000/s to 60000/s by 10000/s every 5s'
  sluice-bench run --target https://127.0.0.1:8443/v1/imagereview --ca-file ca.crt --apiservers 500 --warm-up 0 --schedule 'burst 500'
  sluice-bench run --target https://127.0.0.1:8443/v1/imagereview --ca-file ca.crt --schedule 'burst 200 every 250ms for 10s' --threshold 'p99 < 50ms' --threshold 'errors = 0' --threshold 'bottleneck = no'`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	f.client.flags(cmd)
	flags.StringVar(&f.schedule, "schedule", "", "when reviews are sent, such as 'constant 1000/s for 30s'")
	flags.StringVar(&f.shape, "shape", "", "send as clusters do: "+strings.Join(schedule.Names(), ", "))
	flags.IntVar(&f.size, "size", 200, "how many pods the shape is of")
	flags.IntVar(&f.closed, "closed", 0, "keep so many reviews in flight: a closed loop")
	flags.DurationVar(&f.duration, "duration", 30*time.Second, "how long the shape or the closed loop takes")
	flags.IntVar(&f.warmUp, "warm-up", 1, "reviews sent one after the other before the run, which aren't measured")
	flags.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long an answer may take; the plugin waits for 30s")
	f.workload.flags(cmd)
	flags.IntVar(&f.serverPID, "server-pid", 0, "the server's process on this machine: its CPU and memory are measured")
	flags.StringVar(&f.metricsURL, "metrics-url", "", "the server's metrics, read before and after, such as http://127.0.0.1:9443/metrics")
	check := f.outputs.flags(cmd, "a condition such as 'p99 < 5ms'; if it doesn't hold, exit with 1; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("shape", cobra.FixedCompletions(schedule.Names(), cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := check(); err != nil {
			return err
		}
		plan, err := f.plan(cmd)
		if err != nil {
			return err
		}
		defer plan.Client.Close()
		if err := f.outputs.begin(report.ParseThreshold); err != nil {
			return err
		}
		defer f.outputs.end()
		return f.measure(cmd.Context(), plan, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// plan is what the flags ask for. Whoever called it closes the plan's client.
func (f *runFlags) plan(cmd *cobra.Command) (*bench.Plan, error) {
	p := &bench.Plan{
		Target: f.client.target, Protocol: f.client.protocol, Seed: f.workload.seed,
		WarmUp: f.warmUp, Timeout: f.timeout, PID: f.serverPID,
	}
	if err := f.load(cmd, p); err != nil {
		return nil, err
	}
	if f.warmUp < 0 || f.timeout <= 0 || f.serverPID < 0 {
		return nil, invalid(errors.New("--warm-up, --timeout and --server-pid are above zero"))
	}
	source, err := f.workload.make(cmd)
	if err != nil {
		return nil, err
	}
	p.Workload = source
	if f.metricsURL != "" {
		if p.Metrics, err = scraper(cmd.Context(), f.metricsURL, f.client.targetIsMine); err != nil {
			return nil, err
		}
	}
	if p.Client, err = f.client.make(cmd); err != nil {
		return nil, err
	}
	return p, nil
}

// load is when reviews are sent.
func (f *runFlags) load(cmd *cobra.Command, p *bench.Plan) (err error) {
	changed := cmd.Flags().Changed
	ways := 0
	for _, name := range [...]string{"schedule", "shape", "closed"} {
		if changed(name) {
			ways++
		}
	}
	switch {
	case ways == 0:
		return invalid(errors.New("when are reviews to be sent?"), "--schedule 'constant 1000/s for 30s', --shape rollout, or --closed 64")
	case ways > 1:
		return invalid(errors.New("--schedule, --shape and --closed exclude each other: a load follows a schedule or is a closed loop"))
	case changed("size") && f.shape == "":
		return invalid(errors.New("--size is a shape's"), "--shape rollout --size 500")
	case changed("duration") && f.schedule != "":
		return invalid(errors.New("a schedule's duration is that of its phases"), "--schedule 'constant 1000/s for 30s'")
	case changed("closed"):
		if f.closed < 1 || f.duration <= 0 || f.duration > schedule.MaxDuration {
			return invalid(fmt.Errorf("a closed loop has one review or more in flight, for up to %s", schedule.MaxDuration))
		}
		p.Closed, p.Duration = f.closed, f.duration
	case changed("shape"):
		p.Schedule, err = schedule.Named(f.shape, f.size, f.duration)
	default:
		p.Schedule, err = schedule.Parse(f.schedule)
	}
	if err != nil {
		return invalid(err)
	}
	return nil
}

// measure runs the plan and reports on it.
func (f *runFlags) measure(ctx context.Context, plan *bench.Plan, stdout, stderr io.Writer) error {
	shown := newProgress(stderr)
	plan.Progress = shown.follower()
	r, err := bench.Run(ctx, *plan)
	shown.clear()
	switch {
	case err != nil && ctx.Err() != nil:
		return &exitError{exitInterrupted, errors.New("interrupted before there was anything to report"), nil}
	case errors.Is(err, bench.ErrUnreachable):
		return &exitError{exitUnmeasured, err, unreachableHints(err)}
	case err != nil:
		return &exitError{exitUnmeasured, err, nil}
	}
	r.Command, r.Commit = append([]string{"sluice-bench"}, os.Args[min(1, len(os.Args)):]...), readBuildInfo().Commit
	r.Checks = report.Evaluate(f.outputs.thresholds, r)
	err = f.outputs.write(stdout,
		func(w io.Writer) error { return report.Text(w, r) },
		func(w io.Writer) error { return report.JSON(w, r) },
		func(w io.Writer) error { return report.HTML(w, r) }, r.Checks)
	var exit *exitError
	if err != nil && !(errors.As(err, &exit) && exit.code == exitFailed) {
		return err
	}
	if !r.Complete {
		return &exitError{code: exitInterrupted}
	}
	if none := noVerdict(r); none != nil {
		if exit != nil {
			none.code = exit.code
		}
		return none
	}
	return err
}

// unreachableHints say what the first thing to look at is.
func unreachableHints(err error) []string {
	text := err.Error()
	switch {
	case strings.Contains(text, "x509") || strings.Contains(text, "certificate signed by"):
		return []string{"--ca-file names the authority that the server's certificate is of"}
	case strings.Contains(text, "remote error: tls"):
		return []string{"the server wants a client certificate that it knows: --cert-file and --key-file"}
	// With TLS 1.3 a client is refused after its handshake, and HTTP/2's transport does not always tell the reason.
	case strings.Contains(text, "could not be established"):
		return []string{"the server hung up after the handshake: it may want a client certificate that it knows, --cert-file and --key-file"}
	case strings.Contains(text, "deadline exceeded") || strings.Contains(text, "no answer in time"):
		return []string{"no answer came within --timeout"}
	case strings.Contains(text, "connection refused"):
		return []string{"is the server running, and on this port?"}
	}
	return nil
}

// noVerdict is what there is to say when nobody was answered with a verdict: a report of zeros is no success.
func noVerdict(r *bench.Result) *exitError {
	if r.Counts.Answered()+r.Counts.Cached > 0 {
		return nil
	}
	e := &exitError{exitUnmeasured, errors.New("no review got a verdict"), nil}
	switch {
	case r.Counts.Statuses["404"]+r.Counts.Statuses["405"] > 0:
		e.hints = append(e.hints, "is the path of --target the webhook's? sluice's is /v1/imagereview")
	case r.Counts.Statuses["401"]+r.Counts.Statuses["403"] > 0:
		e.hints = append(e.hints, "the server wants to know who asks: --token-file, or --cert-file and --key-file")
	}
	return e
}
