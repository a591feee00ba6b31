package credential

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sluice/cache"
	"sluice/engine"
)

// Config says which plugins there are. Both paths are needed.
type Config struct {
	// ConfigFile is the kubelet's CredentialProviderConfig, YAML or JSON, of kubelet.config.k8s.io/v1, v1beta1 or
	// v1alpha1; or a directory of such files, as the kubelet takes it, too.
	ConfigFile string
	// BinDir is the directory of the plugins' programs. Nothing is run from anywhere else.
	BinDir string
	// Timeout is for one run of a plugin. 0 means 10 s; the kubelet has 1 min, which no review can wait for.
	Timeout time.Duration
	// Log takes a record for each failed run. Nil means none.
	Log *slog.Logger
}

const defaultTimeout = 10 * time.Second

// Providers are the configured plugins. They are safe for concurrent use, made by [New], and hold a goroutine until
// Close.
type Providers struct {
	providers []*provider // in the order of the configuration
	shared    shared
	files     []string
	closing   context.Context
	cancel    context.CancelFunc // of closing
	closed    sync.Once
}

// New reads the configuration. An error names file, line and column where there are some. No plugin is run.
func New(c Config) (*Providers, error) {
	switch {
	case c.ConfigFile == "" || c.BinDir == "":
		return nil, errors.New("configFile and binDir are both needed")
	case c.Timeout < 0:
		return nil, errors.New("timeout must not be negative")
	}
	all, files, err := readFiles(c.ConfigFile)
	if err != nil {
		return nil, fmt.Errorf("configFile: %w", err)
	}
	if info, err := os.Stat(c.BinDir); err != nil {
		return nil, fmt.Errorf("binDir: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("binDir: %s is no directory", c.BinDir)
	}
	binDir, err := filepath.Abs(c.BinDir)
	if err != nil {
		return nil, fmt.Errorf("binDir: %w", err)
	}
	p := &Providers{files: files, shared: shared{
		slots:   make(chan struct{}, maxProcesses),
		timeout: c.Timeout,
		log:     c.Log,
	}}
	if p.shared.timeout == 0 {
		p.shared.timeout = defaultTimeout
	}
	if p.shared.log == nil {
		p.shared.log = slog.New(slog.DiscardHandler)
	}
	most := maxProcesses
	if len(all) > 1 {
		most = maxOfOne
	}
	for i, s := range all {
		path := filepath.Join(binDir, s.name)
		if _, err := exec.LookPath(path); err != nil { // it is an absolute path, so nothing else is looked at
			return nil, fmt.Errorf("binDir: the program of the provider %s: %w", s.name, err)
		}
		one := &provider{
			settings: s, program: program{path, s.apiVersion, s.args, s.env},
			shared: &p.shared, slots: make(chan struct{}, most), index: i,
		}
		one.reach.Store(uint32(scopeRegistry)) // the most plugins'
		p.providers = append(p.providers, one)
	}
	p.shared.answers, err = cache.New(cache.Options[answerKey, answer]{
		MaxCost: maxAnswers,
		Entries: 4096,
		Cost: func(k answerKey, a answer) int64 {
			return cache.Overhead[answerKey, answer]() +
				int64(len(k.registry)+len(k.repository)+len(a.registry)+len(a.repository)+a.keyring.Size())
		},
	})
	if err != nil {
		return nil, err
	}
	p.closing, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// Logins returns what the plugins for an image say, in the order in which the kubelet would try it. registry and
// repository are as an [engine.Reference] has them. It waits for plugins no longer than ctx lasts; a plugin that nobody
// waits for is ended. Those that fail are left out, as the kubelet does; there is an error only if one has failed and
// nothing was found.
func (p *Providers) Logins(ctx context.Context, registry, repository string) ([]engine.Login, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.closing, func() { cancel(errClosed) })()
	t := parseTarget(registry, repository)
	var asked []*provider
	for _, one := range p.providers {
		if one.matches(&t) {
			asked = append(asked, one)
		}
	}
	keyrings, errs := make([]*Keyring, len(asked)), make([]error, len(asked))
	switch len(asked) {
	case 0:
		return nil, nil
	case 1:
		keyrings[0], errs[0] = asked[0].keyring(ctx, registry, repository)
	default:
		var all sync.WaitGroup
		for i, one := range asked {
			all.Go(func() { keyrings[i], errs[i] = one.keyring(ctx, registry, repository) })
		}
		all.Wait()
	}
	logins := Merge(keyrings...).Logins(registry, repository)
	if len(logins) > 0 {
		return logins, nil
	}
	return nil, errors.Join(errs...)
}

var errClosed = errors.New("the credential providers are closed")

// Close ends the runs under way and waits for that. Those who wait for one get an error, as does everybody after.
func (p *Providers) Close() {
	p.closed.Do(func() {
		p.cancel()
		for range maxProcesses {
			p.shared.slots <- struct{}{} // for good: nothing is run any more
		}
		p.shared.answers.Close()
	})
}

// Files returns what the configuration was read from: files, and the directory if it is one.
func (p *Providers) Files() []string { return slices.Clone(p.files) }

// Stats are counts of one plugin since New.
type Stats struct {
	Provider string
	Runs     uint64        // begun and ended
	Failures uint64        // of those: ended by a signal or a failing status, too slow, or without a usable answer
	Took     time.Duration // by all runs together
}

// Stats reads the counts, in the order of the configuration.
func (p *Providers) Stats() []Stats {
	all := make([]Stats, len(p.providers))
	for i, one := range p.providers {
		all[i] = Stats{one.name, one.runs.Load(), one.failures.Load(), time.Duration(one.took.Load())}
	}
	return all
}
