package resolver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"sluice/cache"
	"sluice/engine"
)

// The exchange is our own, because ggcr's transport puts token replies into errors, lets a registry add scopes
// without end, follows redirects with the credentials' request, ignores a token's life, pings once a repository, and
// races with itself when a registry hands out refresh tokens.

// challenge is what a registry asks for in a 401 (RFC 9110 section 11.6.1, and the distribution project's token
// specification).
type challenge struct {
	bearer         bool // else basic
	realm, service string
}

// grant is what is sent with requests for one repository. It is immutable but for rejected.
type grant struct {
	challenge challenge
	header    string      // empty in the grant that only remembers a host's challenge
	rejected  atomic.Bool // the registry answered 401 to it
}

// grantKey is a repository and a login, or with an empty repository the challenge that its host was last heard to make.
// Tokens are never shared between hosts, repositories or logins.
type grantKey struct {
	host, repository string
	identity         identity
	generation       int // the number of tokens rejected before this one
}

const (
	maxGrants      = 4096
	maxGrantTTL    = 10 * time.Minute
	maxGenerations = 8 // tokens for one repository within maxGrantTTL: a registry that rejects all gets no more
	maxTokenReply  = 64 << 10
	maxToken       = 32 << 10
	tokenTTL       = time.Minute // where the reply names none, as the token specification says
)

// remembered returns a grant for a repository where the host's challenge is known, and nil where it isn't: then the
// first request goes without. fresh means that the grant has never been used before.
func (r *Resolver) remembered(ctx context.Context, w *wallet) (g *grant, fresh bool, err error) {
	host, ok := r.grants.Get(grantKey{host: w.e.key()}, r.grants.Now())
	if !ok {
		return nil, false, nil
	}
	return r.nextGrant(ctx, w, host.challenge)
}

// answer returns a grant that answers a refusal, or nil if there is none to be had: the registry has refused all there
// are for good, or asks for credentials that aren't configured.
func (r *Resolver) answer(ctx context.Context, w *wallet, c challenge, last *grant, fresh bool) (*grant, bool, error) {
	if w.answered || last != nil && last.challenge == c && (fresh || !c.bearer) {
		return r.nextGrant(ctx, w, c)
	}
	if last != nil {
		last.rejected.Store(true)
	}
	_, err := r.grants.Do(ctx, grantKey{host: w.e.key()}, func(context.Context) (*grant, time.Duration, error) {
		return &grant{challenge: c}, maxGrantTTL, nil
	})
	if err != nil {
		return nil, false, asFailure(w.e.host, err)
	}
	if !w.begun {
		g, fresh, err := r.nextGrant(ctx, w, c)
		w.answered = true
		return g, fresh, err
	}
	w.answered = true
	if g, fresh, err := r.fulfil(ctx, w, c); g != nil || err != nil && !refused(err) {
		return g, fresh, err
	}
	return r.nextGrant(ctx, w, c)
}

// nextGrant returns a grant by the next login that one is to be had for. An error is why the last of them got none.
func (r *Resolver) nextGrant(ctx context.Context, w *wallet, c challenge) (*grant, bool, error) {
	var last error
	for {
		ok, err := w.next(ctx)
		if err != nil {
			return nil, false, err
		}
		if !ok {
			return nil, false, last
		}
		g, fresh, err := r.fulfil(ctx, w, c)
		if g != nil || err != nil && !refused(err) {
			return g, fresh, err
		}
		if err != nil {
			last = err
		}
	}
}

// without goes on after a failure that is excused.
func (r *Resolver) without(ctx context.Context, w *wallet, c challenge, failed error) (*grant, bool, error) {
	g, fresh, err := r.nextGrant(ctx, w, c)
	if g == nil && err == nil {
		err = w.e.failf(engine.ReasonRegistryDenied, failed, "could not be asked with the pod's credentials, and refused access without")
	}
	return g, fresh, err
}

// fulfil returns what a challenge asks for, by the wallet's current login.
func (r *Resolver) fulfil(ctx context.Context, w *wallet, c challenge) (g *grant, fresh bool, err error) {
	e, repository, id := w.e, w.repository, w.current
	if !c.bearer {
		credential, ok, err := r.credential(ctx, e, repository, id)
		if err != nil || !ok {
			return nil, false, err
		}
		return &grant{challenge: c, header: credential.basic()}, true, nil
	}
	for generation := range maxGenerations {
		loaded, err := r.grants.Do(ctx, grantKey{e.key(), repository, id, generation},
			func(ctx context.Context) (*grant, time.Duration, error) {
				return r.fetchToken(ctx, e, repository, id, c)
			})
		switch {
		case err != nil && w.excuses(ctx, err):
			return nil, false, nil
		case err != nil:
			return nil, false, asFailure(e.host, err)
		}
		if !loaded.Value.rejected.Load() {
			return loaded.Value, loaded.How != cache.Hit, nil
		}
	}
	return nil, false, nil
}

// fetchToken asks the token service for a token to pull from one repository.
func (r *Resolver) fetchToken(
	ctx context.Context, e endpoint, repository string, id identity, c challenge,
) (*grant, time.Duration, error) {
	malformed := func(err error) (*grant, time.Duration, error) {
		return nil, 0, e.failf(engine.ReasonRegistryMalformed, err, "has a token service whose answer is no token")
	}
	u, err := url.Parse(c.realm)
	if err != nil || u.Host == "" {
		return nil, 0, e.failf(engine.ReasonRegistryMalformed, errors.New("a realm that is no URL"),
			"names a token service that is no address")
	}
	query := u.Query()
	query.Set("scope", "repository:"+repository+":pull")
	if c.service != "" {
		query.Set("service", c.service)
	}
	u.RawQuery, u.Fragment = query.Encode(), ""
	a := ask{class: classToken, where: toToken, max: maxTokenReply, accept: "application/json"}
	switch credential, ok, err := r.credential(ctx, e, repository, id); {
	case err != nil:
		return nil, 0, err
	case ok:
		a.authorization = credential.basic()
	case id.access != "":
		return nil, 0, e.failf(engine.ReasonRegistryDenied, errors.New("a login that none can be"), "was given a login that none can be")
	}
	budget := e.budget()
	rep, err := r.send(ctx, e, a, u, &budget)
	if err != nil {
		return nil, 0, err
	}
	if rep.status != http.StatusOK {
		return nil, 0, e.statusFailure(a, rep)
	}
	var body struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"` // the same by its OAuth 2.0 name
		ExpiresIn   float64 `json:"expires_in"`   // seconds
	}
	if json.Unmarshal(rep.body, &body) != nil { // the error could quote a token
		return malformed(errors.New("it is not the JSON of a token"))
	}
	token := body.Token
	if token == "" {
		token = body.AccessToken
	}
	if err := checkToken(token); err != nil {
		return malformed(err)
	}
	ttl := tokenTTL
	if body.ExpiresIn > 0 {
		ttl = time.Duration(min(body.ExpiresIn, maxGrantTTL.Seconds()) * float64(time.Second))
	}
	return &grant{challenge: c, header: "Bearer " + token}, ttl * 9 / 10, nil // out of use before it expires
}

func checkToken(s string) error {
	if s == "" || len(s) > maxToken {
		return fmt.Errorf("a token of %d bytes", len(s))
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return errors.New("a token with a byte that no header can carry")
		}
	}
	return nil
}

// parseChallenges returns the first bearer challenge, or else the first basic one.
func parseChallenges(header http.Header) (challenge, bool) {
	var found challenge
	ok := false
	for _, value := range header.Values("WWW-Authenticate") {
		scheme, params := parseChallenge(value)
		switch {
		case strings.EqualFold(scheme, "bearer") && params["realm"] != "":
			return challenge{bearer: true, realm: params["realm"], service: params["service"]}, true
		case strings.EqualFold(scheme, "basic"):
			ok = true
		}
	}
	return found, ok
}

// parseChallenge takes one challenge apart: a scheme, and parameters whose values are tokens or quoted strings. It
// stops at the first thing that is neither.
func parseChallenge(s string) (scheme string, params map[string]string) {
	const maxChallenge = 8 << 10
	if len(s) > maxChallenge {
		return "", nil
	}
	scheme, s, _ = strings.Cut(strings.TrimSpace(s), " ")
	params = map[string]string{}
	for {
		var key, value string
		var ok bool
		key, s, ok = strings.Cut(strings.TrimLeft(s, " \t,"), "=")
		if !ok || strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
			return scheme, params
		}
		if value, s, ok = parseValue(s); !ok {
			return scheme, params
		}
		params[strings.ToLower(key)] = value
	}
}

func parseValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], end > 0
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}
