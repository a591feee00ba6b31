package resolver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice/engine"
	"sluice/resolver/mirror"
)

// downFor is how long a server that could not be reached is asked after the others.
const downFor = 30 * time.Second

// inTurn asks the servers of e's registry that may be asked for what, one after the other, until one has it: found, and
// no error. That none has is no error if none failed, either.
//
// What a mirror has not, or will not say, the next one is asked for. The last server in the order of the file is the one
// whose no counts; but as long as one of the others could not be reached nothing is known, since it might have said yes.
func (r *Resolver) inTurn(
	ctx context.Context, e endpoint, what mirror.Capabilities, ask func(endpoint) (found bool, err error),
) error {
	if e.servers == nil {
		_, err := ask(e)
		return err
	}
	able := make([]*server, 0, len(e.servers))
	for _, s := range e.servers {
		if s.spec.Capabilities.Has(what) {
			able = append(able, s)
		}
	}
	if len(able) == 0 {
		return e.failf(engine.ReasonRegistryUnavailable, errors.New("the hosts.toml names no server with the capability"),
			"has no server that may be asked for this")
	}
	said := refusals{last: able[len(able)-1]}
	now := int64(r.grants.Now())
	order := reachableFirst(able, now)
	for i, s := range order {
		if i > 0 && ctx.Err() != nil { // nobody waits any more
			said.add(s, e.timeout(ctx.Err()))
			break
		}
		t := e.turn(s)
		t.once = i < len(order)-1 || s.down.Load() > now
		found, err := ask(t)
		if err == nil {
			s.reached()
			if found {
				return nil
			}
			continue
		}
		f := asFailure(e.host, err)
		said.add(s, f)
		switch {
		case !outOfReach(f.Reason):
			s.reached()
		case ctx.Err() == nil: // or else it is not its fault
			s.down.Store(now + int64(downFor))
		}
	}
	if f := said.failure(); f != nil {
		return f
	}
	return nil
}

// reached ends the time for which s counts as out of reach.
func (s *server) reached() {
	if s.down.Load() != 0 {
		s.down.Store(0)
	}
}

// reachableFirst puts those last that could not be reached a while ago.
func reachableFirst(servers []*server, now int64) []*server {
	var down []*server
	up := servers[:0:0]
	for _, s := range servers {
		if s.down.Load() > now {
			down = append(down, s)
		} else {
			up = append(up, s)
		}
	}
	return append(up, down...)
}

// outOfReach tells whether a failure leaves open what the server would have said.
func outOfReach(reason engine.Reason) bool {
	switch reason {
	case engine.ReasonRegistryUnavailable, engine.ReasonRegistryThrottled, engine.ReasonTimeout,
		engine.ReasonOverloaded, engine.ReasonInternal:
		return true
	}
	return false
}

// refusals are the failures of several servers.
type refusals struct {
	last    *server // whose no counts
	final   *engine.Failure
	unknown *engine.Failure // the first that leaves it open
	all     []error
}

func (a *refusals) add(s *server, f *engine.Failure) {
	if s == a.last {
		a.final = f
	}
	if a.unknown == nil && outOfReach(f.Reason) {
		a.unknown = f
	}
	a.all = append(a.all, fmt.Errorf("%s: %w", s.name, f))
}

// failure is what they come to, or nil if the last server answered and none was out of reach.
func (a *refusals) failure() *engine.Failure {
	f := a.final
	if a.unknown != nil && (f == nil || f.Reason != engine.ReasonRegistryMalformed && !outOfReach(f.Reason)) {
		f = a.unknown
	}
	if f == nil {
		return nil
	}
	return &engine.Failure{Reason: f.Reason, Public: f.Public, Err: errors.Join(a.all...)}
}
