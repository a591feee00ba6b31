package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/engine"
	"sluice/engine/policy"
)

// pollEvery is how often the files' contents are looked at. A signal or a POST need not wait for it.
const pollEvery = 5 * time.Second

// The parts that reload, each by itself: a policy that does not parse does not keep a new certificate out.
const (
	partRules = iota // the configuration and the policies: together they are what is enforced
	partRegistries
	partCertificates
	numParts
)

var partNames = [numParts]string{"rules", "registries", "certificates"}

// reloader takes up changes of what is on disk. Each part is built whole before it takes the place of the last good
// one; what is wrong leaves that in force, and is said in log, metrics and /readyz.
type reloader struct {
	service    *service
	configFile string

	mu       sync.Mutex // held during a reload, guards what follows
	started  *Config    // the first one, which what does not reload is of
	config   *Config    // the last good one
	policies *policy.Set
	seen     [numParts]string // hash of each part's files when it was last tried
	built    string           // what the registries in force were made from

	parts [numParts]part
}

// part is what is known of one part's reloads, for others to read.
type part struct {
	failure   atomic.Pointer[string] // why the last try failed; nil if it did not
	succeeded atomic.Uint64
	failed    atomic.Uint64
	last      atomic.Int64 // Unix time of the last success, in seconds
}

func newReloader(s *service, configFile string) *reloader {
	return &reloader{service: s, configFile: configFile, config: s.config}
}

// first loads everything, or fails.
func (r *reloader) first() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.takeRules(); err != nil {
		return err
	}
	r.seen[partRegistries], r.seen[partCertificates] = hashFiles(r.files(partRegistries)), hashFiles(r.files(partCertificates))
	if err := r.takeRegistries(); err != nil {
		return err
	}
	if err := r.service.front.Reload(); err != nil { // read before, but not since it was hashed
		return err
	}
	for i := range r.parts {
		r.parts[i].last.Store(time.Now().Unix())
	}
	return nil
}

// run reloads at each signal, and when a file's content has changed, until ctx ends.
func (r *reloader) run(ctx context.Context, hangup <-chan os.Signal) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			_, _ = r.reload(ctx) // what went wrong has been logged
		case <-r.service.roots.fetched:
			r.rules(ctx)
		case <-tick.C:
			r.poll(ctx)
		}
	}
}

// rules reloads the rules alone.
func (r *reloader) rules(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.take(ctx, partRules, false)
}

// poll reloads the parts whose files have changed since they were last tried. What failed is tried again at each poll,
// because it may be mended in a file that only the failed attempt knew of; that is said if it ends in another way.
func (r *reloader) poll(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.parts {
		if changed := hashFiles(r.files(i)) != r.seen[i]; changed || r.parts[i].failure.Load() != nil {
			_ = r.take(ctx, i, !changed)
		}
	}
}

// reload reloads every part, and returns for people what is in force now.
func (r *reloader) reload(ctx context.Context) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for i := range r.parts {
		if err := r.take(ctx, i, false); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", partNames[i], err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	snapshot := r.service.engine.Snapshot()
	return fmt.Sprintf("%d policies, %d registries; fingerprint %s\n",
		snapshot.Policies(), len(r.config.Registries), snapshot.Fingerprint()), nil
}

// take tries to reload one part, and keeps book. When it tries again and the same is wrong, there is nothing to note.
func (r *reloader) take(ctx context.Context, i int, again bool) error {
	log, p := r.service.log.With("part", partNames[i]), &r.parts[i]
	// Hashed before it is read: what changes in between is seen as a change the next time.
	r.seen[i] = hashFiles(r.files(i))
	err := [numParts]func() error{r.takeRules, r.takeRegistries, r.service.front.Reload}[i]()
	if err != nil {
		text := err.Error()
		if before := p.failure.Swap(&text); again && before != nil && *before == text {
			return err
		}
		p.failed.Add(1)
		log.ErrorContext(ctx, "reload failed; the last good state stays in force", "error", text, "content", r.seen[i])
		return err
	}
	p.failure.Store(nil)
	p.succeeded.Add(1)
	p.last.Store(time.Now().Unix())
	log.InfoContext(ctx, "reloaded", "content", r.seen[i], "fingerprint", r.service.engine.Snapshot().Fingerprint())
	return nil
}

// takeRules reads the configuration and the policies again. Of the configuration, what can change while serving is
// where the policies are, noMatch, and the registries, which the part after it takes up.
func (r *reloader) takeRules() error {
	c, err := readConfig(r.configFile)
	if err != nil {
		return err
	}
	// Twice, because only the first tells which files there are, and they are to be hashed before they are read.
	set, err := policy.Load(c.policies(), r.service.roots.options())
	if err != nil {
		return err
	}
	hash := hashFiles(ruleFiles(r.configFile, c, set))
	if set, err = policy.Load(c.policies(), r.service.roots.options()); err != nil {
		return err
	}
	before := r.config
	if r.started == nil {
		r.started = c
	}
	if changed := c.restarts(r.started); len(changed) > 0 {
		r.service.log.Warn("settings that take a restart have changed, and are not in force", "settings", changed)
	}
	r.config, r.policies, r.seen[partRules] = c, set, hash
	r.service.engine.Load(engine.NewSnapshot(set.Policies, c.noMatch()))
	r.service.roots.take(set)
	for _, note := range set.Notes {
		r.service.log.Warn("a ClusterImagePolicy document is kept in another form", "note", note)
	}
	if c.registryParts() != before.registryParts() {
		r.seen[partRegistries] = ""
	}
	return nil
}

// restarts returns the names of the settings that differ from what a process was started with, and are read then alone.
func (c *Config) restarts(started *Config) (changed []string) {
	for _, s := range []struct {
		name        string
		now, before any
	}{
		{"listen", c.Listen, started.Listen},
		{"paths", c.Paths, started.Paths},
		{"tls", c.TLS, started.TLS},
		{"admin", c.Admin, started.Admin},
		{"limits", c.Limits, started.Limits},
		{"pullSecrets", c.PullSecrets, started.PullSecrets},
		{"admission", c.Admission, started.Admission},
		{"trustedRoots", c.TrustedRoots, started.TrustedRoots},
		{"cache.verdicts", c.Cache.Verdicts, started.Cache.Verdicts},
		{"log", c.Log, started.Log},
	} {
		if !reflect.DeepEqual(s.now, s.before) {
			changed = append(changed, s.name)
		}
	}
	return changed
}

// takeRegistries makes a new backend, if the registries or a file of theirs have changed. What the one before
// remembered goes with it: facts that were had with other credentials are not this one's. A change of policies alone
// keeps all facts.
func (r *reloader) takeRegistries() error {
	from := r.config.registryParts() + hashFiles(r.config.registryFiles())
	if from == r.built {
		return nil
	}
	b, err := newBackend(r.config, nil, r.service.log)
	if err != nil {
		return err
	}
	r.service.ports.swap(b, drainTimeout)
	r.built = from
	return nil
}

// files are those whose content a part depends on.
func (r *reloader) files(i int) []string {
	switch i {
	case partRules:
		return ruleFiles(r.configFile, r.config, r.policies)
	case partRegistries:
		return r.config.registryFiles()
	default:
		return r.service.front.Files()
	}
}

func ruleFiles(configFile string, c *Config, set *policy.Set) []string {
	return slices.Concat([]string{configFile}, c.policies(), set.Files)
}

// hashFiles identifies the contents of files, and the names in directories. What can't be read counts as that.
func hashFiles(paths []string) string {
	h := sha256.New()
	for _, path := range paths {
		fmt.Fprintf(h, "%q\n", path)
		content, err := os.ReadFile(path)
		if err == nil {
			sum := sha256.Sum256(content)
			h.Write(sum[:])
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			fmt.Fprintf(h, "unreadable\n")
		}
		for _, e := range entries {
			if name := e.Name(); !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, "~") { // an editor's
				fmt.Fprintf(h, "%q\n", name)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}
