package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/engine"
)

// drawer is PullSecrets that have to be loaded once.
type drawer struct {
	mu     sync.Mutex
	known  map[string]*engine.Access
	loaded []string
	left   time.Duration // that the last Load had
	load   func(context.Context) *engine.Access
}

func (d *drawer) key(namespace, account string, names []string) string {
	return fmt.Sprintf("%s %s %q", namespace, account, names)
}

func (d *drawer) Known(namespace, account string, names []string) (*engine.Access, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.known[d.key(namespace, account, names)]
	return a, ok
}

func (d *drawer) Load(ctx context.Context, namespace, account string, names []string) *engine.Access {
	a := d.load(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	key := d.key(namespace, account, names)
	d.known[key], d.loaded = a, append(d.loaded, key)
	if end, ok := ctx.Deadline(); ok {
		d.left = time.Until(end)
	}
	return a
}

func withSecrets(d *drawer) func(*fixture, *Config) {
	return func(_ *fixture, c *Config) { c.Admission.PullSecrets = d }
}

func newDrawer(load func(context.Context) *engine.Access) *drawer {
	return &drawer{known: map[string]*engine.Access{}, load: load}
}

// TestPullSecrets asks with the credentials of the pod's secrets, which are read once, and not by who is not to wait.
func TestPullSecrets(t *testing.T) {
	t.Parallel()
	named := strings.Replace(pod("private.example/a:1"), `"spec":{`, `"spec":{"serviceAccountName":"builder","imagePullSecrets":[{"name":"one"},{"name":"two"}],`, 1)
	eachProtocol(t, func(t *testing.T, proto string) {
		d := newDrawer(func(context.Context) *engine.Access {
			return &engine.Access{ID: strings.Repeat("1", 64), Logins: func(string, string) []engine.Login {
				return []engine.Login{engine.NewLogin("a", "b")}
			}}
		})
		f := start(t, newAdmissionEngine(t), withSecrets(d))
		c := client(t, proto, f.clientTLS(t))
		ask := func(path, object string) reviewed {
			a := do(t, c, request(t, "POST", f.url(path+"?timeout=6s"), asked{object: object}.String()))
			if a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			return read(t, a.body)
		}
		for range 3 {
			for _, object := range []string{named, pod("private.example/a:1")} {
				if r := ask(validatePath, object); !r.Response.Allowed {
					t.Errorf("answered %+v", r.Response.Status)
				}
				if r := ask(mutatePath, object); len(operations(t, r.Response.Patch)) != 1 {
					t.Errorf("patch %s", r.Response.Patch)
				}
			}
			ask(validatePath, `{}`) // has no use for any
		}
		do(t, c, request(t, "POST", f.url("/"), reviewOf("good.example/a"))) // nor does this one, at this door
		d.mu.Lock()
		defer d.mu.Unlock()
		if want := []string{`default builder ["one" "two"]`, `default default []`}; !slices.Equal(d.loaded, want) {
			t.Errorf("loaded %q", d.loaded)
		}
		if d.left > 3*time.Second || d.left < 1500*time.Millisecond {
			t.Errorf("had %v of 6 s", d.left)
		}
		st := f.Stats()
		hits := uint64(0)
		for _, r := range st.Reviews {
			if r.Hit {
				hits += r.Count
			}
		}
		// Two reviews waited for the secrets, and one for a digest; the other pod's had been had with the same credentials.
		if hits != 3*5-3 {
			t.Errorf("%d hits", hits)
		}
	})
}

// TestPullSecretsThatAreNotHad goes on without, and in time.
func TestPullSecretsThatAreNotHad(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, proto string) {
		d := newDrawer(func(ctx context.Context) *engine.Access {
			<-ctx.Done()
			return nil
		})
		f := start(t, newAdmissionEngine(t), withSecrets(d))
		c := client(t, proto, f.clientTLS(t))
		ask := func(image string) reviewed {
			return read(t, do(t, c, request(t, "POST", f.url(validatePath+"?timeout=1600ms"), asked{object: pod(image)}.String())).body)
		}
		if r := ask("pinned.example/a"); !r.Response.Allowed {
			t.Errorf("answered %+v", r.Response.Status)
		}
		if r := ask("private.example/a"); r.Response.Allowed || !strings.Contains(r.Response.Status.Message, "wants credentials") {
			t.Errorf("answered %+v", r.Response.Status)
		}
	})
}

// TestPullSecretsThatFail makes a denial of a fault.
func TestPullSecretsThatFail(t *testing.T) {
	t.Parallel()
	f := start(t, newAdmissionEngine(t), withSecrets(newDrawer(func(context.Context) *engine.Access { panic("a fault") })))
	eachProtocol(t, func(t *testing.T, proto string) {
		a := do(t, client(t, proto, f.clientTLS(t)), request(t, "POST", f.url(mutatePath), asked{object: pod("good.example/a")}.String()))
		if r := read(t, a.body).Response; r.Allowed || r.UID != uid || !strings.Contains(r.Status.Message, "internal error") {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// knownSecrets are PullSecrets that are the same for everyone, and known.
type knownSecrets struct{ access *engine.Access }

func (k knownSecrets) Known(string, string, []string) (*engine.Access, bool) { return k.access, true }

func (k knownSecrets) Load(context.Context, string, string, []string) *engine.Access { return nil }
