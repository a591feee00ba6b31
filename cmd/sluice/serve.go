package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"sluice/engine"
	"sluice/resolver/pullsecret"
	"sluice/server"
	"sluice/server/admin"
	"sluice/server/telemetry"
)

// serveFlags override the configuration.
type serveFlags struct {
	config        string
	listen, admin string
	logLevel      string
	shutdownDelay time.Duration
	checkOnly     bool
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Answer reviews",
		Long: `Answer reviews until SIGTERM or SIGINT. Then /readyz turns red, --shutdown-delay passes, connections are asked to go
elsewhere, and what is in flight is finished.

SIGHUP, POST /-/reload on the admin port, and a change of any file's content reload policies, keys, registries,
credentials, mirrors and certificates. A file that is wrong leaves the last good state in force. Listeners, limits, the
size of the verdicts' cache, admission and pullSecrets take a restart, and the log says so if they have changed; a new
process can listen before the old one leaves.`,
		Example: `  sluice serve --config sluice.yaml --check
  sluice serve --config sluice.yaml`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.config, "config", "c", "sluice.yaml", "the configuration, a document of kind Config")
	flags.BoolVar(&f.checkOnly, "check", false, "validate configuration, policies, keys and certificates, and exit")
	flags.StringVar(&f.listen, "listen", "", "host:port for reviews, in place of the configuration's")
	flags.StringVar(&f.admin, "admin-listen", "", "host:port of the admin plane, in place of the configuration's")
	flags.StringVar(&f.logLevel, "log-level", "", "debug, info, warn or error, in place of the configuration's")
	flags.DurationVar(&f.shutdownDelay, "shutdown-delay", 0, "how long to go on answering after SIGTERM, so that load balancers see /readyz turn red")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := newService(cmd.Context(), f, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		if f.checkOnly {
			s.close()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: valid, with %d policies (%s)\n",
				f.config, s.engine.Snapshot().Policies(), s.engine.Snapshot().Fingerprint())
			return err
		}
		return s.run(cmd.Context(), f.shutdownDelay)
	}
	return cmd
}

// service is a running sluice. Tests and the demo start the same thing.
type service struct {
	config    *Config
	log       *slog.Logger
	level     *slog.LevelVar
	telemetry *telemetry.Telemetry
	ports     *ports
	roots     *roots
	secrets   *pullsecret.Secrets // nil if pods' own credentials are not read
	engine    *engine.Engine
	front     *server.Server
	admin     *admin.Server
	reloader  *reloader
}

// drainTimeout is how long reviews in flight and open connections have to end. It is above the longest review.
const drainTimeout = 30 * time.Second

// newService puts a service together: everything is read and checked, nothing is listened on, no network is used.
func newService(ctx context.Context, f serveFlags, stderr io.Writer) (_ *service, err error) {
	config, err := readConfig(f.config)
	if err != nil {
		return nil, invalid(err, configHints(err)...)
	}
	config.Listen = cmp.Or(f.listen, config.Listen)
	config.Admin.Listen = cmp.Or(f.admin, config.Admin.Listen)
	config.Log.Level = cmp.Or(f.logLevel, config.Log.Level)

	for flag, address := range map[string]string{"--listen": f.listen, "--admin-listen": f.admin} {
		if _, _, err := net.SplitHostPort(address); address != "" && err != nil {
			return nil, invalid(fmt.Errorf("%s: %q is no address: write host:port", flag, address))
		}
	}

	s := &service{config: config, level: new(slog.LevelVar), ports: new(ports)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := s.level.UnmarshalText([]byte(cmp.Or(config.Log.Level, "info"))); err != nil {
		return nil, invalid(fmt.Errorf("--log-level is debug, info, warn or error, not %q", config.Log.Level))
	}
	s.log = newLogger(stderr, config.Log.Format, s.level)

	build := readBuildInfo()
	s.telemetry, err = telemetry.New(ctx, telemetry.Config{Version: build.Version, Commit: build.Commit, Logger: s.log})
	if err != nil {
		return nil, invalid(err)
	}
	s.engine, err = engine.New(engine.Config{
		Resolver: s.ports, Verifier: s.ports, MaxVerdicts: config.Cache.Verdicts.entries, MaxVerdictBytes: config.Cache.Verdicts.bytes,
		MaxChecks: config.Limits.MaxChecks, MaxWaiting: config.Limits.MaxWaiting,
	})
	if err != nil {
		return nil, err
	}
	admission := server.Admission{Anonymous: config.Admission.Anonymous}
	if from := config.PullSecrets; from.Enabled {
		s.secrets, err = pullsecret.New(pullsecret.Config{
			Server: from.Server, TokenFile: config.path(from.TokenFile), CAFile: config.path(from.CAFile), TTL: from.TTL, Log: s.log,
		})
		if err != nil {
			return nil, invalid(fmt.Errorf("pullSecrets: %w", err))
		}
		admission.PullSecrets = s.secrets
	}
	s.front, err = server.New(server.Config{
		Addr: config.Listen, Decider: s.engine, Paths: config.Paths, Admission: admission,
		TLS: server.TLS{
			CertFile: config.path(config.TLS.CertFile), KeyFile: config.path(config.TLS.KeyFile),
			ClientCAFile: config.path(config.TLS.ClientCAFile), ClientNames: config.TLS.ClientNames,
			TokenFile: config.path(config.TLS.TokenFile),
		},
		Budget: config.Limits.ReviewTimeout, MaxBody: int64(config.Limits.MaxBody),
		MaxBodies: int64(config.Limits.MaxBodiesInFlight),
		Logger:    s.log, Tracer: s.telemetry.TracerProvider().Tracer("sluice/server"),
	})
	if err != nil {
		return nil, invalid(err)
	}
	s.roots = newRoots(config.path(config.TrustedRoots.CacheDir), s.log)
	s.reloader = newReloader(s, f.config)
	if err := s.reloader.first(); err != nil {
		return nil, invalid(err)
	}
	s.admin, err = admin.New(admin.Config{
		Listen: config.Admin.Listen, Control: server.ReusePort, Checks: s.checks, Metrics: s.telemetry.Handler(),
		Reload: s.reloader.reload, Level: s.level, Logger: s.log,
	})
	if err != nil {
		return nil, invalid(err)
	}
	if err := s.telemetry.Register(s.instruments()...); err != nil {
		return nil, err
	}
	return s, nil
}

// listen opens both ports. That for reviews comes last: from then on there may be callers, who are not to be let down.
func (s *service) listen() error {
	if err := s.admin.Listen(); err != nil {
		return invalid(err, "another process may have the port; see admin.listen in the configuration")
	}
	if err := s.front.Listen(); err != nil {
		return invalid(err, "another process may have the port; see listen in the configuration")
	}
	return nil
}

// run listens, and serves until ctx ends.
func (s *service) run(ctx context.Context, shutdownDelay time.Duration) error {
	if err := s.listen(); err != nil {
		s.close()
		return err
	}
	return s.serve(ctx, shutdownDelay)
}

// serve serves until ctx ends, and then leaves without losing a review.
func (s *service) serve(ctx context.Context, shutdownDelay time.Duration) error {
	defer s.close()
	s.log.InfoContext(ctx, "serving", "address", s.front.Addr().String(), "admin", s.admin.Addr().String(),
		"version", readBuildInfo().Version, "policies", s.engine.Snapshot().Policies(),
		"fingerprint", s.engine.Snapshot().Fingerprint())

	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // before anyone can know that this process is ready
	defer signal.Stop(hangup)

	background := context.WithoutCancel(ctx)
	g, failed := errgroup.WithContext(background)
	g.Go(func() error { return s.front.Serve(background) })
	g.Go(s.admin.Serve)
	reloading, stopReloading := context.WithCancel(background)
	g.Go(func() error {
		s.reloader.run(reloading, hangup)
		return nil
	})
	g.Go(func() error {
		s.roots.run(reloading)
		return nil
	})
	select {
	case <-ctx.Done():
	case <-failed.Done(): // one of the ports: what the other can still answer is answered
	}
	s.admin.Drain()
	s.log.InfoContext(ctx, "draining", "delay", shutdownDelay.String())
	drain, cancel := context.WithTimeout(background, shutdownDelay+drainTimeout)
	defer cancel()
	stopReloading()
	err := s.front.Shutdown(drain, shutdownDelay)
	last, cancelLast := context.WithTimeout(background, 5*time.Second)
	defer cancelLast()
	err = errors.Join(err, s.admin.Shutdown(last), g.Wait())
	s.log.InfoContext(ctx, "stopped")
	return err
}

// close ends what newService began.
func (s *service) close() {
	if s.front != nil {
		s.front.Close()
	}
	if s.secrets != nil {
		s.secrets.Close()
	}
	if s.engine != nil {
		s.engine.Close()
	}
	if b := s.ports.current.Load(); b != nil {
		b.close()
	}
	if s.telemetry != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := s.telemetry.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			s.log.WarnContext(ctx, "the last telemetry may be lost", "error", err)
		}
	}
}

func newLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if f, ok := w.(*os.File); format == "text" || format == "" && ok && isTerminal(f) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func configHints(err error) []string {
	if errors.Is(err, os.ErrNotExist) {
		return []string{"sluice init --out DIR --server URL writes a configuration to begin with"}
	}
	return nil
}
