package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sluice/engine/policy"
	"sluice/resolver/signature/trustroot"
	"sluice/server/admin"
)

// roots are the trusted roots of the policies in force.
type roots struct {
	updater *trustroot.Updater
	fetched chan struct{} // has one waiting if a root was fetched that the policies don't know yet
	inForce atomic.Pointer[[]root]
}

// root is what is told about one of them.
type root struct {
	policy.Root
	since    time.Time // when the file was written; zero for a root that is fetched
	expiries []trustroot.Expiry
}

// newRoots keeps what it fetches in a directory, if it has a name, and logs how that went.
func newRoots(cacheDir string, log *slog.Logger) *roots {
	r := &roots{
		updater: trustroot.NewUpdater(trustroot.UpdaterOptions{
			Dir: cacheDir, UserAgent: "sluice/" + readBuildInfo().Version,
			Report: func(mirror string, err error) {
				if err != nil {
					log.Warn("a trusted root could not be fetched; what was fetched before stays in use, and without it images that need it are undecided", "mirror", mirror, "error", err)
				} else {
					log.Debug("a trusted root is up to date", "mirror", mirror)
				}
			},
		}),
		fetched: make(chan struct{}, 1),
	}
	r.inForce.Store(new([]root))
	return r
}

// options lets policies be loaded with the roots that are there.
func (r *roots) options() policy.Options {
	return policy.Options{CheckRoot: checkRoot, FetchedRoot: r.updater.Root}
}

// checkRoot tells whether a trusted root can be used.
func checkRoot(json []byte) error {
	_, err := trustroot.Parse(json)
	return err
}

// run fetches roots until ctx ends.
func (r *roots) run(ctx context.Context) {
	r.updater.Run(ctx, func() {
		select {
		case r.fetched <- struct{}{}:
		default:
		}
	})
}

// loadWaiting loads policies for a command that runs once, and so has to wait for the roots that are fetched.
func (r *roots) loadWaiting(ctx context.Context, paths []string) (*policy.Set, error) {
	set, err := policy.Load(paths, r.options())
	if err != nil || !slices.ContainsFunc(set.Roots, func(root policy.Root) bool { return len(root.JSON) == 0 }) {
		return set, err
	}
	// Why one could not be fetched is part of what the images' verdicts say; the others decide as usual.
	_ = r.updater.Fetch(ctx)
	return policy.Load(paths, r.options())
}

// take notes which roots are in force, and lets the others be asked for no more.
func (r *roots) take(set *policy.Set) {
	var all []root
	for _, from := range set.Roots {
		t := root{Root: from}
		if from.Mirror == "" {
			if info, err := os.Stat(from.File); err == nil {
				t.since = info.ModTime()
			}
		}
		if parsed, err := trustroot.Parse(from.JSON); err == nil {
			t.expiries = parsed.Expiries()
		}
		all = append(all, t)
	}
	r.inForce.Store(&all)
	r.updater.Retain(func(mirror string) bool {
		return slices.ContainsFunc(set.Roots, func(root policy.Root) bool {
			used := root.Mirror
			if used == "" {
				return false
			}
			return strings.TrimRight(used, "/") == mirror
		})
	})
}

// ages tells for each root in force since when it has been as it is, or when it was last confirmed.
func (r *roots) ages(observe func(root, time.Time)) {
	fetched := map[string]time.Time{}
	for _, s := range r.updater.Status() {
		fetched[s.Mirror] = s.Fetched
	}
	for _, one := range *r.inForce.Load() {
		since := one.since
		if one.Mirror != "" {
			since = fetched[strings.TrimRight(one.Mirror, "/")]
		}
		observe(one, since)
	}
}

// check is what /readyz tells of them.
func (r *roots) check(now time.Time) admin.Check {
	c := admin.Check{Name: "trusted-roots", State: admin.OK}
	for _, s := range r.updater.Status() {
		text := ""
		switch {
		case s.Fetched.IsZero():
			text = "not fetched yet"
		case s.Stale(now):
			text = "last confirmed " + s.Fetched.UTC().Format(time.RFC3339) + ", and still in use"
		default:
			continue
		}
		if s.Failure != nil {
			text += ": " + s.Failure.Error()
		}
		c.State, c.Text = admin.Amber, fmt.Sprintf("%s%s: %s; ", c.Text, s.Mirror, text)
	}
	c.Text = strings.TrimSuffix(c.Text, "; ")
	return c
}

// short is enough of a hash to tell a few apart.
func short(id string) string { return id[:min(12, len(id))] }
