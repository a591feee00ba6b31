package client

import (
	"container/list"
	"sync"
	"time"
)

// memorySize is the plugin's.
const memorySize = 1024

// memory is the plugin's cache of answers: the 1,024 that were used last, each until its time is over. It knows the whole
// spec of a review as its key, does not join equal reviews that are under way, and remembers verdicts only. Like
// LRUExpireCache of k8s.io/apimachinery/pkg/util/cache it drops what is over when it is asked for.
type memory struct {
	allowTTL, denyTTL time.Duration

	mu      sync.Mutex
	entries map[string]*list.Element // of *remembered
	recent  list.List                // the one used last is in front
}

type remembered struct {
	key     string
	allowed bool
	until   time.Time
}

func newMemory(allowTTL, denyTTL time.Duration) *memory {
	return &memory{allowTTL: allowTTL, denyTTL: denyTTL, entries: make(map[string]*list.Element, memorySize)}
}

func (m *memory) get(key string) (allowed, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[key]
	if e == nil {
		return false, false
	}
	r := e.Value.(*remembered)
	if time.Now().After(r.until) {
		m.recent.Remove(e)
		delete(m.entries, key)
		return false, false
	}
	m.recent.MoveToFront(e)
	return r.allowed, true
}

func (m *memory) add(key string, allowed bool) {
	ttl := m.denyTTL
	if allowed {
		ttl = m.allowTTL
	}
	until := time.Now().Add(ttl)
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[key]; e != nil {
		r := e.Value.(*remembered)
		r.allowed, r.until = allowed, until
		m.recent.MoveToFront(e)
		return
	}
	if m.recent.Len() >= memorySize {
		oldest := m.recent.Back()
		delete(m.entries, oldest.Value.(*remembered).key)
		m.recent.Remove(oldest)
	}
	m.entries[key] = m.recent.PushFront(&remembered{key, allowed, until})
}
