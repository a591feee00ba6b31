package signature

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"sluice/engine"
	"sluice/resolver/signature/proof"
)

// judges has one judge for each trust: reading keys and trusted roots takes longer than judging by a key does.
type judges struct {
	built atomic.Uint64

	mu      sync.Mutex
	byTrust map[string]func() (*proof.Judge, error) // by engine.Trust.ID; each builds once, for all who wait
}

// of returns the judge by t.
func (js *judges) of(t *engine.Trust) (*proof.Judge, *engine.Failure) {
	judge, err := js.builder(t)()
	if err == nil {
		return judge, nil
	}
	js.mu.Lock()
	delete(js.byTrust, t.ID) // what can't be had now may be there later
	js.mu.Unlock()
	if errors.Is(err, proof.ErrNoRoot) {
		return nil, noRoot(err)
	}
	return nil, &engine.Failure{
		Reason: engine.ReasonInternal,
		Public: "the policy's keys or trusted roots are of no use",
		Err:    err,
	}
}

// noRoot is that err, a [proof.ErrNoRoot], leaves it open whether something is valid.
func noRoot(err error) *engine.Failure {
	return &engine.Failure{
		Reason: engine.ReasonTrustRootMissing,
		Public: "a trusted root that the policy names has not been fetched yet",
		Err:    err,
	}
}

func (js *judges) builder(t *engine.Trust) func() (*proof.Judge, error) {
	js.mu.Lock()
	defer js.mu.Unlock()
	if build := js.byTrust[t.ID]; build != nil {
		return build
	}
	if js.byTrust == nil {
		js.byTrust = make(map[string]func() (*proof.Judge, error))
	}
	if len(js.byTrust) >= maxJudges {
		for id := range js.byTrust { // any: those in use come back
			delete(js.byTrust, id)
			break
		}
	}
	build := sync.OnceValues(func() (_ *proof.Judge, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("recovered from a panic: %v", p)
			}
		}()
		js.built.Add(1)
		return proof.New(t)
	})
	js.byTrust[t.ID] = build
	return build
}
