package resolver

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"sluice/cache"
	"sluice/engine"
	"sluice/resolver/mirror"
)

// MaxManifest is the largest manifest that is read, in bytes: the limit that the OCI distribution specification
// recommends to registries.
const MaxManifest = 4 << 20

// Resolver asks the registries of one configuration. It is immutable, apart from what it remembers, and safe for
// concurrent use. To take up a changed configuration, or changed credentials, make another and Close this one.
type Resolver struct {
	registries  []*registry
	userAgent   []string      // as a header's values
	observe     func(Request) // may be nil
	tagTTL      time.Duration
	tags        *cache.Cache[string, engine.Digest] // by registry/repository:tag, after an Access's ID and a blank
	keychain    Keychain                            // may be nil
	grants      *cache.Cache[grantKey, *grant]
	choices     *cache.Memo[choiceKey, choice]
	noReferrers *cache.Cache[repositoryKey, struct{}] // repositories without a referrers API
	indexes     *cache.Cache[indexKey, []engine.Child]
	closers     []func()
	closed      atomic.Bool
}

// registry is one entry of the configuration, ready for use.
type registry struct {
	host        hostPattern
	plainHTTP   bool
	credentials map[string]credential // by exact host
	redirects   []hostPattern
	tokenHosts  []string
	limit       time.Duration // of one request
	retries     int
	transport   *http.Transport
	dirs        *directories  // nil without
	servers     []*server     // of an exact host, if a directory is for it
	slots       chan struct{} // one for each request in flight
	counters    counters
}

// New checks the whole configuration and reads the files that it names. It contacts nothing.
func New(c Config) (*Resolver, error) { return newResolver(c, nil) }

func newResolver(c Config, dial dialFunc) (*Resolver, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Resolver{userAgent: []string{c.UserAgent}, observe: c.Observe, tagTTL: c.TagTTL, keychain: c.Keychain}
	r.choices = cache.NewMemo[choiceKey, choice](maxChoices)
	for i, entry := range c.Registries {
		reg, err := newRegistry(entry, c.HostsDirs, dial)
		if err != nil {
			return nil, fmt.Errorf("registries[%d] (%s): %w", i, entry.Host, err)
		}
		for _, before := range r.registries {
			if reg.host.text == before.host.text || reg.host.exact && before.host.match(reg.host.text) {
				return nil, fmt.Errorf("registries[%d] (%s): it is never used, because %s before it matches the same",
					i, entry.Host, before.host.text)
			}
		}
		r.registries = append(r.registries, reg)
	}
	err = errors.Join(
		open(r, &r.tags, tagOptions(c)),
		open(r, &r.grants, cache.Options[grantKey, *grant]{MaxCost: maxGrants}),
		open(r, &r.noReferrers, cache.Options[repositoryKey, struct{}]{MaxCost: maxNoReferrers}),
		open(r, &r.indexes, cache.Options[indexKey, []engine.Child]{MaxCost: maxIndexes, Cost: indexCost}),
	)
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// tagOptions is how much is kept of what tags point at.
func tagOptions(c Config) cache.Options[string, engine.Digest] {
	if c.MaxBytes == 0 {
		return cache.Options[string, engine.Digest]{MaxCost: c.MaxTags}
	}
	const usual = 128 + 64 // bytes of a tag and of a digest, on top of what the cache takes
	overhead := cache.Overhead[string, engine.Digest]()
	return cache.Options[string, engine.Digest]{
		MaxCost: c.MaxBytes,
		Cost:    func(tag string, d engine.Digest) int64 { return overhead + int64(len(tag)+len(d)+16) },
		Entries: max(c.MaxBytes/(overhead+usual), 1),
	}
}

// open makes a cache that Close will close.
func open[K comparable, V any](r *Resolver, c **cache.Cache[K, V], o cache.Options[K, V]) (err error) {
	if *c, err = cache.New(o); err == nil {
		r.closers = append(r.closers, (*c).Close)
	}
	return err
}

func newRegistry(c Registry, hostsDirs []string, dial dialFunc) (*registry, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	host, err := parseHostPattern(c.Host)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	reg := &registry{
		host: host, plainHTTP: c.PlainHTTP, limit: c.Timeout, retries: c.Retries,
		slots: make(chan struct{}, c.Concurrency),
	}
	for _, s := range c.Redirects {
		p, err := parseHostPattern(s)
		if err != nil {
			return nil, fmt.Errorf("redirects %q: %w", s, err)
		}
		reg.redirects = append(reg.redirects, p)
	}
	for _, s := range c.TokenHosts {
		if err := checkHost(strings.ToLower(s), false); err != nil {
			return nil, fmt.Errorf("tokenHosts %q: %w", s, err)
		}
		reg.tokenHosts = append(reg.tokenHosts, strings.ToLower(s))
	}
	if host.text == engine.DockerHub {
		reg.tokenHosts = append(reg.tokenHosts, "auth.docker.io")
	}
	if reg.credentials, err = loadCredentials(c, host); err != nil {
		return nil, err
	}
	if reg.transport, err = newTransport(c, dial); err != nil || len(hostsDirs) == 0 {
		return reg, err
	}
	reg.dirs = &directories{roots: hostsDirs, entry: c, host: host, dial: dial, all: map[string][]*server{}}
	if host.exact {
		reg.dirs.names = cache.NewMemo[string, string](1)
		reg.servers, err = reg.dirs.of(host.text)
		return reg, err
	}
	reg.dirs.names = cache.NewMemo[string, string](maxPatternHosts)
	return reg, nil
}

// Close forgets everything and lets idle connections go. Work under way ends as usual, and its connections end with
// it, or for HTTP/2 after 90 s; later calls still get their answers, each on a connection of its own.
func (r *Resolver) Close() {
	r.closed.Store(true)
	for _, c := range r.closers {
		c()
	}
	for _, reg := range r.registries {
		reg.transport.CloseIdleConnections()
		if reg.dirs != nil {
			reg.dirs.closeIdle()
		}
	}
}

// Resolve returns the digest of the bytes that the tag points at, from the cache or from the registry. Those who
// want the same tag at the same time wait for one request. It implements [engine.Resolver].
func (r *Resolver) Resolve(ctx context.Context, ref engine.Reference, known engine.Known) (engine.Resolution, error) {
	if ref.Digest != "" {
		return engine.Resolution{Digest: ref.Digest, TTL: r.tagTTL}, nil
	}
	// The key shares no memory with ref, and what is loaded for it is read from the key alone: a load may outlive
	// its first caller.
	host := canonicalHost(ref.Registry)
	access := usable(ref.Access, host, ref.Repository)
	var key string
	if access == nil {
		key = host + "/" + ref.Repository + ":" + ref.Tag
	} else {
		key = access.ID + " " + host + "/" + ref.Repository + ":" + ref.Tag
	}
	loaded, err := r.tags.Renew(ctx, key, r.least(known), func(ctx context.Context) (engine.Digest, time.Duration, error) {
		ctx, span := startSpan(ctx, "resolve", "", trace.SpanKindInternal)
		image := key
		if access != nil {
			image = key[len(access.ID)+1:]
		}
		d, err := r.resolve(ctx, image, access)
		endResolve(span, image, err)
		if err != nil && !asFailure("", err).Reason.Transient() {
			r.tags.Drop(key) // what was known is over, for everybody
		}
		return d, r.tagTTL, err
	})
	if err != nil && (loaded.TTL == 0 || known != engine.KnownLately) {
		return engine.Resolution{}, asFailure(host, err)
	}
	return engine.Resolution{Digest: loaded.Value, TTL: max(loaded.TTL, 1)}, nil
}

// least is how much of its life a fact must have before it.
func (r *Resolver) least(known engine.Known) time.Duration {
	switch known {
	case engine.KnownLately:
		return r.tagTTL / 2
	case engine.KnownNow:
		return r.tagTTL
	default:
		return 0
	}
}

func (r *Resolver) resolve(ctx context.Context, image string, access *engine.Access) (engine.Digest, error) {
	ref, err := engine.ParseReference(image)
	if err != nil || ref.Digest != "" || ref.String() != image {
		return "", invalidReference(err)
	}
	e, err := r.listed(ref.Registry, access)
	if err != nil {
		return "", err
	}
	m, err := r.fetchManifest(ctx, e, ref)
	return m.Digest, err
}

func endResolve(span trace.Span, image string, err error) {
	if span == nil {
		return
	}
	if span.IsRecording() {
		span.SetAttributes(attribute.String("sluice.image", image))
		var f *engine.Failure
		if errors.As(err, &f) {
			span.SetStatus(codes.Error, f.Reason.String())
		}
	}
	span.End()
}

// Manifest is an image manifest or an index, as the registry has it.
type Manifest struct {
	MediaType string        // one of the four of OCI and Docker; the registry's word, which Digest does not cover
	Digest    engine.Digest // of Raw
	Raw       []byte
}

// Manifest fetches the manifest that ref.Digest names, or else ref.Tag, of at most [MaxManifest] bytes. Nothing is
// remembered. Every error is a [*engine.Failure].
func (r *Resolver) Manifest(ctx context.Context, ref engine.Reference) (Manifest, error) {
	e, ref, err := r.endpoint(ref)
	if err != nil {
		return Manifest{}, err
	}
	return r.fetchManifest(ctx, e, ref)
}

func isManifest(mediaType string) bool {
	switch types.MediaType(mediaType) {
	case types.OCIManifestSchema1, types.OCIImageIndex, types.DockerManifestSchema2, types.DockerManifestList:
		return true
	}
	return false
}

const acceptManifests = string(types.OCIManifestSchema1) + ", " + string(types.OCIImageIndex) + ", " +
	string(types.DockerManifestSchema2) + ", " + string(types.DockerManifestList)

func (r *Resolver) fetchManifest(ctx context.Context, e endpoint, ref engine.Reference) (Manifest, error) {
	if e.servers == nil {
		return r.fetchManifestAt(ctx, e, ref)
	}
	what := mirror.Pull
	if ref.Digest == "" {
		what |= mirror.Resolve
	}
	var m Manifest
	err := r.inTurn(ctx, e, what, func(e endpoint) (_ bool, err error) {
		m, err = r.fetchManifestAt(ctx, e, ref)
		return true, err
	})
	return m, err
}

// fetchManifestAt asks one server.
func (r *Resolver) fetchManifestAt(ctx context.Context, e endpoint, ref engine.Reference) (Manifest, error) {
	m := Manifest{Digest: ref.Digest}
	a := ask{class: classManifest, where: toContent, accept: acceptManifests, max: MaxManifest}
	target := string(ref.Digest)
	if ref.Digest == "" {
		// A tag has nothing to be compared with, so only the registry itself is believed.
		a.class, a.where, target = classTag, toRegistry, ref.Tag
	}
	host := e.host
	a.check = func(rep *reply) *engine.Failure {
		e := endpoint{host: host} // as much as failures need
		mediaType, err := rep.header.Get("Content-Type"), error(nil)
		if !isManifest(mediaType) { // as it stands, as a rule
			mediaType, _, err = mime.ParseMediaType(mediaType)
		}
		if !isManifest(mediaType) {
			return e.failf(engine.ReasonRegistryMalformed, fmt.Errorf("Content-Type %.100q: %w", mediaType, err),
				"sent something that is no manifest of a known type")
		}
		m.MediaType, m.Raw = mediaType, rep.body
		return e.checkDigest(&m.Digest, rep)
	}
	if _, err := r.get(ctx, e, a, ref.Repository, e.root()+"/"+ref.Repository+"/manifests/"+target); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// Blob fetches the content of d from ref's repository, of at most limit bytes. ref's tag and digest do not count.
// Nothing is remembered. Every error is a [*engine.Failure].
func (r *Resolver) Blob(ctx context.Context, ref engine.Reference, d engine.Digest, limit int64) ([]byte, error) {
	ref.Tag, ref.Digest = "", d
	e, ref, err := r.endpoint(ref)
	if err != nil {
		return nil, err
	}
	if e.servers == nil {
		return r.blobAt(ctx, e, ref.Repository, d, limit)
	}
	var content []byte
	err = r.inTurn(ctx, e, mirror.Pull, func(e endpoint) (_ bool, err error) {
		content, err = r.blobAt(ctx, e, ref.Repository, d, limit)
		return true, err
	})
	return content, err
}

// blobAt asks one server.
func (r *Resolver) blobAt(ctx context.Context, e endpoint, repository string, d engine.Digest, limit int64) ([]byte, error) {
	a := ask{class: classBlob, where: toContent, accept: "*/*", max: limit}
	host := e.host
	a.check = func(rep *reply) *engine.Failure { return endpoint{host: host}.checkDigest(&d, rep) }
	rep, err := r.get(ctx, e, a, repository, e.root()+"/"+repository+"/blobs/"+string(d))
	return rep.body, err
}

// checkDigest compares content with the digest that was asked for, or sets it if there was none, and with what the
// registry says that it is.
func (e endpoint) checkDigest(want *engine.Digest, rep *reply) *engine.Failure {
	got := digestOf(rep.body)
	if *want == "" {
		*want = got
	}
	if got != *want {
		return e.failf(engine.ReasonRegistryMalformed, fmt.Errorf("content of %s was asked for, and %s came", *want, got),
			"sent content that does not match its digest")
	}
	said, err := engine.ParseDigest(rep.header.Get("Docker-Content-Digest"))
	if err == nil && said != got {
		return e.failf(engine.ReasonRegistryMalformed, fmt.Errorf("the registry says %s of what is %s", said, got),
			"sent content under a wrong digest")
	}
	return nil
}

// endpoint finds the entry for a reference's registry, and returns a reference of its own, that shares no memory with
// the caller's.
func (r *Resolver) endpoint(ref engine.Reference) (endpoint, engine.Reference, error) {
	host := canonicalHost(ref.Registry)
	ref.Registry = host
	if ref.Digest != "" {
		ref.Tag = ""
	}
	own, err := engine.ParseReference(ref.String())
	if err != nil || own.Name() != ref.Name() || own.Tag != ref.Tag {
		return endpoint{}, ref, invalidReference(err)
	}
	own.Access = usable(ref.Access, own.Registry, own.Repository)
	e, err := r.listed(own.Registry, own.Access)
	return e, own, err
}

// listed finds the entry for a host, which is in canonical form.
func (r *Resolver) listed(host string, access *engine.Access) (endpoint, error) {
	for _, reg := range r.registries {
		if !reg.host.match(host) {
			continue
		}
		e := endpoint{registry: reg, host: host, access: access, servers: reg.servers}
		if reg.dirs == nil || reg.host.exact {
			return e, nil
		}
		var err error
		if e.servers, err = reg.dirs.of(host); err != nil {
			return e, e.failf(engine.ReasonRegistryUnavailable, err, "has a hosts.toml that is of no use")
		}
		return e, nil
	}
	return endpoint{}, &engine.Failure{
		Reason: engine.ReasonRegistryNotListed,
		Public: "registry " + strings.Clone(host) + " is not listed in the configuration",
	}
}
