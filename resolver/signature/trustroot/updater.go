package trustroot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// PublicGoodMirror is where sigstore's public-good instance publishes its trusted root. The initial TUF root for it is
// built in.
const PublicGoodMirror = tuf.DefaultMirror

// How often a mirror is asked, and again after a failure, at first and at most.
const (
	refreshEvery = 6 * time.Hour
	firstRetry   = 30 * time.Second
	lastRetry    = time.Hour
)

// StaleAfter is how long a fetched root counts as fresh. The public-good instance signs its freshness for a week.
const StaleAfter = 2 * 24 * time.Hour

// fetchTimeout bounds one request to a mirror. Sizes are bounded by TUF itself.
const fetchTimeout = 30 * time.Second

// targetName is what a mirror calls its trusted root.
const targetName = "trusted_root.json"

// UpdaterOptions are the knobs of an [Updater]. The zero value is ready for use.
type UpdaterOptions struct {
	// Dir keeps what was fetched, so that a restart begins with it, and so that a mirror cannot go back to what was
	// before it. It must be the process's own. If empty, both last as long as the process.
	Dir string

	// UserAgent names the client.
	UserAgent string

	// Report is told how each try ended, on the goroutine that tried; nil means that nobody asks.
	Report func(mirror string, err error)
}

// Updater fetches trusted roots by TUF (The Update Framework, specification 1.0), in the background. Nobody ever waits
// for it: what has been fetched is used, however old it is, and how old it is can be seen. It is safe for concurrent
// use.
type Updater struct {
	opts UpdaterOptions
	wake chan struct{}

	mu      sync.Mutex // guards what follows, and is never held during a request
	sources map[string]*source
}

// source is one mirror under one initial root.
type source struct {
	mirror  string
	initial []byte
	key     string // names its directory

	root    []byte
	fetched time.Time // last success
	failure error     // of the last try
	next    time.Time // when to try again
	backoff time.Duration
}

// NewUpdater returns an Updater that fetches nothing until it is asked for a root and runs.
func NewUpdater(opts UpdaterOptions) *Updater {
	return &Updater{opts: opts, wake: make(chan struct{}, 1), sources: map[string]*source{}}
}

// Root returns the trusted root (JSON) that has been fetched from a mirror by now, nil if there is none, and has it
// fetched from now on. initial is the TUF root metadata to start from; empty means the one built in for
// [PublicGoodMirror], for which alone there is one. An empty mirror is that.
func (u *Updater) Root(mirror string, initial []byte) []byte {
	if mirror == "" {
		mirror = PublicGoodMirror
	}
	mirror = strings.TrimRight(mirror, "/")
	sum := sha256.Sum256(append([]byte(mirror+"\n"), initial...))
	key := hex.EncodeToString(sum[:12])
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.sources[key]
	if s == nil {
		s = &source{mirror: mirror, initial: bytes.Clone(initial), key: key, backoff: firstRetry}
		s.restore(u.opts.Dir)
		u.sources[key] = s
		select {
		case u.wake <- struct{}{}:
		default:
		}
	}
	return s.root
}

// Retain forgets all mirrors but those in use, so that they are asked no more.
func (u *Updater) Retain(inUse func(mirror string) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for key, s := range u.sources {
		if !inUse(s.mirror) {
			delete(u.sources, key)
		}
	}
}

// Fetch fetches, here and now, what has been asked for and is not there. It is for commands that run once.
func (u *Updater) Fetch(ctx context.Context) error {
	var errs []error
	for _, s := range u.due(time.Now()) {
		u.refresh(ctx, s)
	}
	for _, s := range u.Status() {
		if s.Failure != nil {
			errs = append(errs, fmt.Errorf("trusted root from %s: %w", s.Mirror, s.Failure))
		}
	}
	return errors.Join(errs...)
}

// restore takes up what an earlier process fetched.
func (s *source) restore(dir string) {
	if dir == "" {
		return
	}
	name := filepath.Join(dir, s.key, targetName)
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > MaxBytes {
		return
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return
	}
	if _, err := Parse(raw); err == nil {
		s.root, s.fetched = raw, info.ModTime()
	}
}

// Run fetches what has been asked for until ctx ends, and calls changed after a root has become another one. changed
// is called on Run's goroutine.
func (u *Updater) Run(ctx context.Context, changed func()) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-u.wake:
		case <-timer.C:
		}
		news := false
		for _, s := range u.due(time.Now()) {
			news = u.refresh(ctx, s) || news
		}
		if ctx.Err() != nil {
			return
		}
		if news {
			changed()
		}
		timer.Reset(u.pause(time.Now()))
	}
}

// due are the sources whose time has come.
func (u *Updater) due(now time.Time) []*source {
	u.mu.Lock()
	defer u.mu.Unlock()
	var due []*source
	for _, s := range u.sources {
		if !s.next.After(now) {
			due = append(due, s)
		}
	}
	return due
}

// pause is how long there is nothing to do.
func (u *Updater) pause(now time.Time) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	wait := refreshEvery
	for _, s := range u.sources {
		wait = min(wait, s.next.Sub(now))
	}
	return max(wait, time.Second)
}

// refresh asks one mirror, and tells whether its root has become another one.
func (u *Updater) refresh(ctx context.Context, s *source) bool {
	raw, err := u.fetch(ctx, s)
	if u.opts.Report != nil && ctx.Err() == nil {
		u.opts.Report(s.mirror, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if s.failure = err; err != nil {
		s.next = now.Add(s.backoff)
		s.backoff = min(2*s.backoff, lastRetry)
		return false
	}
	s.fetched, s.next, s.backoff = now, now.Add(refreshEvery), firstRetry
	if bytes.Equal(raw, s.root) {
		return false
	}
	s.root = raw
	return true
}

// fetch does what TUF asks for, and checks that what it brings is a trusted root.
func (u *Updater) fetch(ctx context.Context, s *source) (raw []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // in a library that reads what the network sent
			raw, err = nil, fmt.Errorf("recovered from a panic: %v", p)
		}
	}()
	initial := s.initial
	if len(initial) == 0 {
		if s.mirror != PublicGoodMirror {
			return nil, errors.New("there is no initial TUF root for this mirror")
		}
		initial = tuf.DefaultRoot()
	}
	opts := &tuf.Options{
		Root: initial, RepositoryBaseURL: s.mirror, DisableLocalCache: u.opts.Dir == "",
		Fetcher: &mirrorClient{ctx: ctx, userAgent: u.opts.UserAgent},
	}
	if u.opts.Dir != "" {
		opts.CachePath = filepath.Join(u.opts.Dir, s.key)
	}
	client, err := tuf.New(opts)
	if err != nil {
		return nil, err
	}
	if raw, err = client.GetTarget(targetName); err != nil {
		return nil, err
	}
	if _, err := Parse(raw); err != nil {
		return nil, fmt.Errorf("what the mirror has is no trusted root: %w", err)
	}
	return raw, s.keep(u.opts.Dir, raw)
}

// keep writes what was fetched to where restore finds it.
func (s *source) keep(dir string, raw []byte) error {
	if dir == "" {
		return nil
	}
	dir = filepath.Join(dir, s.key)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, targetName+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, targetName))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Status is what is known of one mirror.
type Status struct {
	Mirror  string
	Fetched time.Time // when its root was last confirmed; zero if never
	Failure error     // why the last try failed; nil if it did not
	Root    []byte    // JSON; nil if there is none
}

// Stale tells whether the root has not been confirmed for longer than [StaleAfter], or ever.
func (s Status) Stale(now time.Time) bool { return now.Sub(s.Fetched) > StaleAfter }

// Status returns what is known of each mirror, sorted.
func (u *Updater) Status() []Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := make([]Status, 0, len(u.sources))
	for _, s := range u.sources {
		all = append(all, Status{s.mirror, s.fetched, s.failure, s.root})
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Mirror, b.Mirror) })
	return all
}

// mirrorClient is TUF's way to a mirror: bounded in size and time, ended with the Updater, and through no proxy, since
// what is contacted is what is configured.
type mirrorClient struct {
	ctx       context.Context // of Run; the interface has no other way
	userAgent string
}

// DownloadFile gets a file of at most maxLength bytes. The library's own timeout argument is not used.
func (c *mirrorClient) DownloadFile(url string, maxLength int64, _ time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(c.ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.userAgent)
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true}
	resp, err := (&http.Client{Transport: transport, CheckRedirect: sameHost}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		// TUF asks for the next version of the root until there is none: the type matters.
		return nil, &metadata.ErrDownloadHTTP{StatusCode: resp.StatusCode, URL: url}
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxLength+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > maxLength {
		return nil, &metadata.ErrDownloadLengthMismatch{Msg: fmt.Sprintf("%s: more than %d bytes", url, maxLength)}
	}
	return raw, nil
}

func sameHost(req *http.Request, via []*http.Request) error {
	if first := via[0].URL; len(via) > 3 || req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
		return errors.New("the mirror redirects to another host")
	}
	return nil
}
