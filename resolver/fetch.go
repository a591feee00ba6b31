package resolver

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"sluice/engine"
)

// The classes of requests, in spans and logs.
const (
	classTag       = "manifest by tag"
	classManifest  = "manifest by digest"
	classBlob      = "blob"
	classReferrers = "referrers"
	classToken     = "token"
)

const (
	maxRedirects  = 3
	maxErrorBody  = 64 << 10
	maxRetryAfter = time.Second // a registry that wants us to wait for longer is not asked again
	firstBackoff  = 50 * time.Millisecond
	tracerName    = "sluice/resolver"
)

// endpoint is one host, under the rules of the entry of the configuration that lists it, and as seen with the
// credentials of one Access.
type endpoint struct {
	*registry
	host    string
	access  *engine.Access // nil: none but the configuration's
	servers []*server      // what is asked on its behalf; nil: the host alone, as the configuration says

	at      *server // which of them this is about; nil while all are meant
	foreign bool    // it is another host, or not to be trusted to be this one: credentials don't go there
	once    bool    // there are others to ask, so nothing is tried again
}

// budget is how many requests may be made again.
func (e endpoint) budget() int {
	if e.once {
		return 0
	}
	return e.retries
}

// ask is one thing wanted from a registry.
type ask struct {
	class         string
	where         where
	accept        string
	query         string
	authorization string
	max           int64                        // bytes of a body that is content
	check         func(*reply) *engine.Failure // of content, beyond its size; may be nil
	lacks         bool                         // an answer that there is no referrers API is one too
}

// without tells whether a status is the answer that there is no referrers API, where that is one.
func (a ask) without(status int) bool { return a.lacks && lacksReferrers(status) }

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// get asks for content, answers a request for credentials once with each login that there is, and follows redirects where
// they are allowed.
func (r *Resolver) get(ctx context.Context, e endpoint, a ask, repository, path string) (reply, error) {
	budget := e.budget()
	content := &url.URL{Scheme: e.scheme(), Host: e.address(), Path: path, RawQuery: e.query(a.query)}
	u := content
	w := r.newWallet(e, repository)
	g, fresh, err := r.remembered(ctx, &w)
	if err != nil {
		return reply{}, err
	}
	var missing reply // what the first login was told that found nothing
	end := func(rep reply) (reply, error) {
		if missing.status != 0 {
			rep = missing
		}
		if a.without(rep.status) {
			return rep, nil
		}
		return reply{}, e.statusFailure(a, rep)
	}
	for redirects := 0; ; {
		a.authorization = ""
		if g != nil && e.owns(u) {
			a.authorization = g.header
		}
		rep, err := r.send(ctx, e, a, u, &budget)
		if err != nil && a.authorization != "" && w.excuses(ctx, err) {
			g, fresh, err = r.without(ctx, &w, g.challenge, err)
			if err != nil && missing.status != 0 && refused(err) {
				return end(missing)
			}
			if err != nil {
				return reply{}, err
			}
			u, budget = content, e.budget()
			continue
		}
		if err != nil {
			return reply{}, err
		}
		switch rep.status {
		case http.StatusOK:
			w.letIn()
			return rep, nil
		case http.StatusNotFound:
			if g == nil || !w.unproven() || !e.owns(u) {
				return end(rep)
			}
			if missing.status == 0 {
				missing = rep
			}
			if g, fresh, err = r.nextGrant(ctx, &w, g.challenge); err != nil && !refused(err) {
				return reply{}, err
			}
			if g == nil {
				return end(rep)
			}
			u = content // where a redirect has led one login is not for another
		case http.StatusUnauthorized, http.StatusForbidden:
			c, ok := parseChallenges(rep.header)
			if rep.status == http.StatusForbidden {
				if !ok && g != nil {
					c, ok = g.challenge, true
				}
				ok = ok && w.several()
			}
			if !ok || !e.owns(u) {
				return end(rep)
			}
			g, fresh, err = r.answer(ctx, &w, c, g, fresh || rep.status == http.StatusForbidden)
			if err != nil && (missing.status == 0 || !refused(err)) {
				return reply{}, err
			}
			if g == nil {
				return end(rep)
			}
			u = content
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
			http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			if redirects++; redirects > maxRedirects {
				return reply{}, e.failf(engine.ReasonRegistryMalformed, nil, "redirects more than %d times", maxRedirects)
			}
			next, err := u.Parse(rep.header.Get("Location"))
			if err != nil || rep.header.Get("Location") == "" || next.Host == "" {
				return reply{}, e.failf(engine.ReasonRegistryMalformed, nil, "redirects to nowhere")
			}
			next.Fragment = ""
			u = next
		default:
			return end(rep)
		}
	}
}

// send makes one request, and again while the failure may pass, the budget lasts and the context allows. Its answer
// is none that should be tried again.
func (r *Resolver) send(ctx context.Context, e endpoint, a ask, u *url.URL, budget *int) (reply, error) {
	for backoff := firstBackoff; ; backoff *= 2 {
		rep, again, f := r.exchange(ctx, e, a, u)
		wait := backoff/2 + rand.N(backoff)
		if f == nil && !a.without(rep.status) &&
			(rep.status >= 500 || rep.status == http.StatusTooManyRequests || rep.status == http.StatusRequestTimeout) {
			f, again = e.statusFailure(a, rep), true
			if asked := retryAfter(rep.header); asked > 0 {
				wait, again = max(wait, asked), asked <= maxRetryAfter
			}
		}
		if f == nil {
			return rep, nil
		}
		if !again || *budget <= 0 || !pause(ctx, wait) {
			return reply{}, f
		}
		*budget--
	}
}

// retryAfter returns what a Retry-After in seconds says; a date counts as longer than we would wait.
func retryAfter(h http.Header) time.Duration {
	s := h.Get("Retry-After")
	if s == "" {
		return 0
	}
	seconds, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return time.Hour
	}
	return time.Duration(seconds) * time.Second
}

// pause waits. It returns false, at once where that can be known, if the context ends before.
func pause(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// exchange is one request on the wire and its answer, whatever its status, within the registry's timeout and its
// share of concurrency. again says that a failure may pass.
func (r *Resolver) exchange(ctx context.Context, e endpoint, a ask, u *url.URL) (rep reply, again bool, f *engine.Failure) {
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return reply{}, false, e.timeout(fmt.Errorf("all %d places for requests were taken: %w", cap(e.slots), ctx.Err()))
	}
	ctx, span := startSpan(ctx, "registry ", a.class, trace.SpanKindClient)
	start, onWire, parent := time.Now(), true, ctx
	defer func() {
		o, took := e.outcome(a, rep, f), time.Since(start)
		if o == outcomeTimeout && errors.Is(parent.Err(), context.Canceled) {
			o = outcomeCanceled
		}
		e.counters.observe(o, took)
		endSpan(span, u, rep.status, o)
		if r.observe != nil && onWire {
			r.observe(requestOf(u, rep, f, start, took))
		}
	}()

	ctx, cancel := context.WithTimeout(ctx, e.limit)
	defer cancel()
	req := (&http.Request{
		Method: http.MethodGet, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": r.userAgent, "Accept": {a.accept}},
		Close:  r.closed.Load(), // nobody would ever use the connection again
	}).WithContext(ctx)
	if e.at != nil {
		e.addHeader(req)
	}
	if a.authorization != "" {
		req.Header.Set("Authorization", a.authorization)
	}
	resp, err := guard{e, a.where, e.roundTripper()}.RoundTrip(req)
	if err != nil {
		onWire = !errors.As(err, &f) // or else the guard's
		f, again = e.transportFailure(parent, a, err)
		return reply{}, again, f
	}
	defer resp.Body.Close()
	rep = reply{status: resp.StatusCode, header: resp.Header}
	if resp.StatusCode != http.StatusOK {
		rep.body, _ = readAtMost(resp.Body, resp.ContentLength, maxErrorBody) // only its codes are wanted, and only for the log
		return rep, false, nil
	}
	if f := e.checkHead(a, resp); f != nil {
		return rep, false, f
	}
	rep.body, err = readAtMost(resp.Body, resp.ContentLength, a.max)
	switch {
	case errors.Is(err, errOversize):
		return rep, false, e.oversize(a)
	case err != nil:
		f, again = e.transportFailure(parent, a, err)
		return rep, again, f
	case a.check != nil:
		return rep, false, a.check(&rep)
	}
	return rep, false, nil
}

func (e endpoint) checkHead(a ask, resp *http.Response) *engine.Failure {
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return e.failf(engine.ReasonRegistryMalformed, fmt.Errorf("%s: a Content-Encoding nobody asked for", a.class),
			"sent compressed content that was not asked for")
	}
	if resp.ContentLength > a.max {
		return e.oversize(a)
	}
	return nil
}

func (e endpoint) oversize(a ask) *engine.Failure {
	return e.failf(engine.ReasonRegistryMalformed, fmt.Errorf("%s: over the limit of %d bytes", a.class, a.max),
		"sent more than the %d KiB allowed", a.max>>10)
}

// transportFailure types the error of a request that got no whole answer. parent is the context without the
// timeout of this one request.
func (e endpoint) transportFailure(parent context.Context, a ask, err error) (f *engine.Failure, again bool) {
	if errors.As(err, &f) { // the guard's
		return f, false
	}
	if _, secret, ok := strings.Cut(a.authorization, " "); ok && strings.Contains(err.Error(), secret) {
		err = errors.New("an answer that is no HTTP and repeats the credentials") // net/http quotes such lines
	}
	var netErr net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case parent.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout():
		return e.timeout(err), false
	case errors.As(err, &certificate):
		return e.failf(engine.ReasonRegistryUnavailable, err, "has a certificate that is not trusted"), false
	}
	return e.failf(engine.ReasonRegistryUnavailable, err, "could not be reached"), true
}

var errOversize = errors.New("more than allowed")

// readAtMost reads to the end. Beyond the first 4 KiB it holds no more than twice of what came: what was announced
// proves nothing, and only saves room where it is less.
func readAtMost(body io.Reader, announced, limit int64) ([]byte, error) {
	room := int64(4 << 10)
	if announced >= 0 {
		room = min(room-1, announced) + 1 // for the read that finds the end
	}
	b := make([]byte, 0, room)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case int64(len(b)) > limit:
			return nil, errOversize
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return nil, err
		}
	}
}

func digestOf(b []byte) engine.Digest {
	sum := sha256.Sum256(b)
	return engine.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// outcome counts one exchange.
func (e endpoint) outcome(a ask, rep reply, f *engine.Failure) outcome {
	switch {
	case f != nil:
		return outcomeOf(f)
	case rep.status == http.StatusUnauthorized && a.class != classToken && a.authorization == "":
		return outcomeChallenge
	case a.without(rep.status):
		return outcomeNotFound
	case rep.status < 400:
		return outcomeOK
	}
	return outcomeOf(e.statusFailure(a, rep))
}

// startSpan begins a span where the request is traced; elsewhere, it returns nil.
func startSpan(ctx context.Context, name, class string, kind trace.SpanKind) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() && !parent.SpanContext().IsValid() {
		return ctx, nil
	}
	return parent.TracerProvider().Tracer(tracerName).Start(ctx, name+class, trace.WithSpanKind(kind))
}

func endSpan(span trace.Span, u *url.URL, status int, o outcome) {
	if span == nil {
		return
	}
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("http.request.method", http.MethodGet),
			attribute.String("server.address", u.Host),
			attribute.Int("http.response.status_code", status),
			attribute.String("sluice.outcome", o.String()),
		)
		if o != outcomeOK && o != outcomeChallenge {
			span.SetStatus(codes.Error, o.String())
		}
	}
	span.End()
}
