package resolver

import (
	"context"
	"errors"

	"sluice/cache"
	"sluice/engine"
)

// Keychain has credentials that are found out only when a registry asks for them.
//
// Its methods are called concurrently and return within ctx. An error is a [*engine.Failure], or else it is taken for
// the registry's refusal.
type Keychain interface {
	// Logins returns what to try for a repository, the likeliest first; none where there is none. registry is the
	// host as an [engine.Reference] has it.
	Logins(ctx context.Context, registry, repository string) ([]engine.Login, error)
}

// maxLogins is how many logins of an Access, and of the keychain, are tried.
const maxLogins = 4

// identity is whose login a request goes with.
type identity struct {
	access string // Access.ID; empty for what is the configuration's: its login, the keychain's, or none
	n      int    // which one
}

// choiceKey is a repository, as seen by an Access.
type choiceKey struct{ host, repository, access string }

// choice is the identity that was let in. It is a hint, and ends: who was let in then may see nothing now.
type choice struct {
	identity identity
	until    cache.Instant
}

const (
	maxChoices = 4096 // repositories
	choiceTTL  = maxGrantTTL
)

// accessID returns what tells an Access from others in keys; empty for nobody's.
func accessID(a *engine.Access) string {
	if a == nil {
		return ""
	}
	return a.ID
}

// usable returns an Access that makes a difference for a repository, or nil. Without a login for it, what is found is the
// same as with none at all, and is everybody's. What has no ID can't be told from others, and so is not used.
func usable(a *engine.Access, host, repository string) *engine.Access {
	if a == nil || a.ID == "" || a.Logins == nil || len(a.Logins(host, repository)) == 0 {
		return nil
	}
	return a
}

// wallet hands out identities for one request, one after the other. It belongs to one goroutine.
type wallet struct {
	r          *Resolver
	e          endpoint
	repository string

	ofAccess int       // how many logins the Access has
	first    *identity // that was let in the last time
	at       int       // how many were looked at, first aside
	current  identity
	begun    bool // current is one
	answered bool // current has had a second grant
}

func (r *Resolver) newWallet(e endpoint, repository string) wallet {
	w := wallet{r: r, e: e, repository: repository}
	if e.foreign {
		return w
	}
	if e.access != nil {
		w.ofAccess = min(len(e.access.Logins(e.host, repository)), maxLogins)
	}
	if w.several() {
		c, ok := r.choices.Get(w.choice())
		if ok && r.grants.Now() < c.until && (c.identity.access == "" || c.identity.n < w.ofAccess) {
			w.first = &c.identity
		}
	}
	return w
}

func (w *wallet) choice() choiceKey {
	return choiceKey{w.e.host, w.repository, accessID(w.e.access)}
}

// several tells whether there may be more than one identity.
func (w *wallet) several() bool {
	return !w.e.foreign && (w.ofAccess > 0 || w.r.keychain != nil && !w.static())
}

func (w *wallet) static() bool {
	_, ok := w.e.credentials[w.e.host]
	return ok
}

// next moves on to an identity that was not handed out yet.
func (w *wallet) next(ctx context.Context) (ok bool, err error) {
	w.answered = false
	if w.first != nil && !w.begun {
		w.current, w.begun = *w.first, true
		return true, nil
	}
	for w.begun = true; ; {
		id := identity{accessID(w.e.access), w.at}
		if w.at >= w.ofAccess {
			id = identity{n: w.at - w.ofAccess}
		}
		if id.access == "" && id.n > 0 {
			if !w.several() || w.r.keychain == nil || w.static() || id.n >= maxLogins {
				return false, nil
			}
			if _, ok, err := w.r.credential(ctx, w.e, w.repository, id); !ok || err != nil {
				return false, err
			}
		}
		w.at++
		if w.first == nil || *w.first != id {
			w.current = id
			return true, nil
		}
	}
}

// excuses tells whether a failure may be the doing of the Access's login, such as one that is too long for a header. What
// is not known for that reason is not unknown: or else pods' authors could have it so at will, and with it what a policy
// makes of errors. The Access's other logins are left out, and what the configuration's is told counts.
func (w *wallet) excuses(ctx context.Context, err error) bool {
	if !w.begun || w.current.access == "" || ctx.Err() != nil || !outOfReach(asFailure(w.e.host, err).Reason) {
		return false
	}
	w.at = max(w.at, w.ofAccess)
	return true
}

// unproven tells whether another login may find what the current one was told is not there: some registries say so of
// what one may not see. Who was let in to the repository is believed.
func (w *wallet) unproven() bool {
	return w.begun && (w.first == nil || *w.first != w.current) && w.several()
}

// letIn notes that the current identity was let in.
func (w *wallet) letIn() {
	if !w.begun || !w.several() || w.first != nil && *w.first == w.current {
		return
	}
	w.r.choices.Put(w.choice(), choice{w.current, w.r.grants.Now() + cache.Instant(choiceTTL)})
}

// credential returns the login of an identity, if it has one.
func (r *Resolver) credential(ctx context.Context, e endpoint, repository string, id identity) (credential, bool, error) {
	var logins []engine.Login
	switch {
	case e.foreign:
		return credential{}, false, nil
	case id.access != "":
		logins = e.access.Logins(e.host, repository)
	default:
		if c, ok := e.credentials[e.host]; ok || r.keychain == nil {
			return c, ok, nil
		}
		var err error
		if logins, err = r.keychain.Logins(ctx, e.host, repository); err != nil {
			return credential{}, false, e.noLogin(ctx, err)
		}
	}
	if id.n >= min(len(logins), maxLogins) {
		return credential{}, false, nil
	}
	c := credential{logins[id.n].Username(), logins[id.n].Password()}
	return c, c.check() == nil, nil
}

func (e endpoint) noLogin(ctx context.Context, err error) *engine.Failure {
	var f *engine.Failure
	switch {
	case errors.As(err, &f):
		return f
	case ctx.Err() != nil:
		return e.timeout(err)
	}
	return e.failf(engine.ReasonRegistryDenied, err, "has credentials that could not be had")
}

// refused tells whether an error says that a login is not good enough.
func refused(err error) bool {
	var f *engine.Failure
	return errors.As(err, &f) && f.Reason == engine.ReasonRegistryDenied
}
