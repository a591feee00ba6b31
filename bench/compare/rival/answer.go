// Package rival holds the servers that sluice is measured against and that are not to be had as programs: rulers, which
// answer without looking, and Go's own HTTP server with sluice's engine behind it.
//
// They trust everybody, and are for loopback.
package rival

import (
	"context"
	"errors"
	"sync"
	"time"

	"sluice/engine"
	"sluice/engine/policy"
	"sluice/resolver"
	"sluice/resolver/signature"
	"sluice/server/wire"
)

// answerer does what sluice does between a request's body and its reply, without the front end: no log, no metrics, no
// limits. It is safe for concurrent use.
type answerer struct {
	engine   *engine.Engine
	resolver *resolver.Resolver
	verifier *signature.Verifier
	pool     sync.Pool // of *exchange
}

// exchange is what one request takes.
type exchange struct {
	body, reply []byte
	review      wire.Review
	result      engine.Result
	answer      wire.Reply
}

// newAnswerer has the same policies and registry as sluice.
func newAnswerer(policies []string, registry string) (_ *answerer, err error) {
	a := &answerer{pool: sync.Pool{New: func() any { return new(exchange) }}}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	a.resolver, err = resolver.New(resolver.Config{
		Registries: []resolver.Registry{{Host: registry, PlainHTTP: true}},
		TagTTL:     time.Minute, MaxTags: 100_000,
	})
	if err != nil {
		return nil, err
	}
	if a.verifier, err = signature.New(a.resolver, signature.Options{}); err != nil {
		return nil, err
	}
	if a.engine, err = engine.New(engine.Config{Resolver: a.resolver, Verifier: a.verifier}); err != nil {
		return nil, err
	}
	set, err := policy.Load(policies, policy.Options{})
	if err != nil {
		return nil, err
	}
	a.engine.Load(engine.NewSnapshot(set.Policies, engine.NoMatchDeny))
	return a, nil
}

func (a *answerer) close() {
	if a.engine != nil {
		a.engine.Close()
	}
	if a.verifier != nil {
		a.verifier.Close()
	}
	if a.resolver != nil {
		a.resolver.Close()
	}
}

// answer makes x.reply of x.body.
func (a *answerer) answer(ctx context.Context, x *exchange) error {
	if err := x.review.Decode(x.body); err != nil {
		return err
	}
	if x.review.Kind != "ImageReview" || x.review.APIVersion != "imagepolicy.k8s.io/v1alpha1" || len(x.review.Images) == 0 {
		return errors.New("this is no review")
	}
	request := engine.Request{Namespace: x.review.Namespace, Images: x.review.Images}
	if !a.engine.Hit(&request, &x.result) {
		ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
		defer cancel()
		a.engine.Decide(ctx, &request, &x.result)
	}
	x.answer.Allowed = x.result.Outcome == engine.Allow
	x.answer.Reason = x.result.Message()
	x.answer.Audit = x.answer.Audit[:0]
	for _, n := range x.result.Audit() {
		x.answer.Audit = append(x.answer.Audit, wire.Annotation{Key: n.Key, Value: n.Value})
	}
	x.reply = wire.AppendReply(x.reply[:0], &x.answer)
	return nil
}
