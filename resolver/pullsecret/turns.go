package pullsecret

import (
	"context"
	"sync"
)

// maxOfOne is how many of the loads under way are one namespace's: who makes pods there must not keep others waiting.
const maxOfOne = maxLoads / 4

// turns hands out turns to namespaces. The zero value is ready.
type turns struct {
	mu  sync.Mutex
	all map[string]*turn // of namespaces that somebody loads for, or waits to
}

type turn struct {
	slots chan struct{}
	users int
}

// take waits for a turn, or until ctx ends. Either way the release must be called once.
func (t *turns) take(ctx context.Context, namespace string) (release func()) {
	t.mu.Lock()
	own, ok := t.all[namespace]
	if !ok {
		if t.all == nil {
			t.all = map[string]*turn{}
		}
		own = &turn{slots: make(chan struct{}, maxOfOne)}
		t.all[namespace] = own
	}
	own.users++
	t.mu.Unlock()
	held := false
	select {
	case own.slots <- struct{}{}:
		held = true
	case <-ctx.Done():
	}
	return func() {
		if held {
			<-own.slots
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if own.users--; own.users == 0 {
			delete(t.all, namespace)
		}
	}
}
