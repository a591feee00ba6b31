package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/engine"
)

// asked is an AdmissionReview.
type asked struct {
	kind, group, sub string // Pod unless said
	operation        string // CREATE unless said
	uid              string // of its own unless said
	dryRun           bool
	object, old      string // JSON
}

const uid = "705ab4f5-6393-11e8-b7cc-42010a800002"

// String is the review as the apiserver writes it.
func (a asked) String() string {
	kind, operation, version := cmp.Or(a.kind, "Pod"), cmp.Or(a.operation, "CREATE"), "v1"
	sub := ""
	if a.sub != "" {
		sub = fmt.Sprintf(`"subResource":%q,`, a.sub)
	}
	return fmt.Sprintf(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":%q,`+
		`"kind":{"group":%q,"version":%q,"kind":%q},"resource":{"group":"","version":"v1","resource":"pods"},%s`+
		`"requestKind":{"group":"","version":"v1","kind":"Pod"},"name":"x","namespace":"default","operation":%q,`+
		`"userInfo":{"username":"someone","groups":["system:authenticated"]},"object":%s,"oldObject":%s,"dryRun":%t,`+
		`"options":{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}}}`,
		cmp.Or(a.uid, uid), a.group, version, kind, sub, operation, cmp.Or(a.object, "null"), cmp.Or(a.old, "null"), a.dryRun)
}

// pod is a Pod of containers named c0, c1 and so on. An image may end in a pull policy, behind a space.
func pod(images ...string) string {
	return `{"apiVersion":"v1","kind":"Pod","spec":` + podSpec(images...) + `}`
}

func deployment(images ...string) string {
	return `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":{"spec":` + podSpec(images...) + `}}}`
}

func podSpec(images ...string) string {
	return `{` + containers("containers", "c", images...) + `}`
}

func containers(list, prefix string, images ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `%q:[`, list)
	for i, image := range images {
		image, policy, _ := strings.Cut(image, " ")
		if i > 0 {
			b.WriteByte(',')
		}
		quoted, _ := json.Marshal(image)
		fmt.Fprintf(&b, `{"name":"%s%d","image":%s`, prefix, i, quoted)
		if policy != "" {
			fmt.Fprintf(&b, `,"imagePullPolicy":%q`, policy)
		}
		b.WriteByte('}')
	}
	return b.String() + "]"
}

// reviewed is an AdmissionReview's answer.
type reviewed struct {
	Kind, APIVersion string
	Response         *struct {
		UID     string
		Allowed bool
		Status  *struct {
			Code            int
			Reason, Message string
		}
		Warnings         []string
		AuditAnnotations map[string]string
		Patch            []byte
		PatchType        *string
	}
}

// read parses an answer, and checks what all of them have in common.
func read(t testing.TB, body string) reviewed {
	t.Helper()
	var r reviewed
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("%v: %.500s", err, body)
	}
	if r.Kind != admissionKind || r.APIVersion != admissionVersion || r.Response == nil {
		t.Fatalf("no AdmissionReview: %.500s", body)
	}
	if s := r.Response; !s.Allowed && (s.Status == nil || s.Status.Code != 403 || s.Status.Message == "" || s.Patch != nil) ||
		s.Allowed && s.Status != nil || (s.Patch == nil) != (s.PatchType == nil) {
		t.Errorf("answered %.500s", body)
	}
	return r
}

// digestOf is what the tags of a repository point at in tagged.
func digestOf(repository string) string {
	return "sha256:" + strings.Repeat(fmt.Sprintf("%02x", len(repository)), 32)
}

// tagged is the ports of an engine whose registries hold each image, but for those with a name that says otherwise.
type tagged struct{ world }

func (tagged) Resolve(ctx context.Context, ref engine.Reference, known engine.Known) (engine.Resolution, error) {
	switch name := strings.TrimSuffix(ref.Registry, ".example"); {
	case name == "gone":
		return engine.Resolution{}, &engine.Failure{Reason: engine.ReasonImageNotFound, Public: "there is no such image"}
	case strings.HasPrefix(name, "down"):
		return engine.Resolution{}, &engine.Failure{Reason: engine.ReasonRegistryUnavailable, Public: "the registry did not answer", Err: io.ErrUnexpectedEOF}
	case name == "private" && (ref.Access == nil || len(ref.Access.Logins(ref.Registry, ref.Repository)) == 0):
		return engine.Resolution{}, &engine.Failure{Reason: engine.ReasonRegistryDenied, Public: "the registry wants credentials"}
	}
	return engine.Resolution{Digest: engine.Digest(digestOf(ref.Repository)), TTL: time.Hour}, nil
}

// newAdmissionEngine makes an engine with one policy for each registry that the tests of these doors speak of.
func newAdmissionEngine(t testing.TB) *engine.Engine {
	t.Helper()
	e, err := engine.New(engine.Config{Resolver: tagged{}, Verifier: world{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	anyone := &engine.Authority{Name: "anyone", Static: engine.StaticPass}
	nobody := &engine.Authority{Name: "nobody", Static: engine.StaticFail}
	var policies []*engine.Policy
	policy := func(name string, a *engine.Authority, change func(*engine.Policy)) {
		glob, err := engine.ParseImageGlob(name + ".example/**")
		if err != nil {
			t.Fatal(err)
		}
		p := &engine.Policy{
			Name: name, Images: []engine.Glob{glob}, Authorities: []*engine.Authority{a},
			AllowTTL: time.Hour, DenyTTL: time.Hour, Fingerprint: [32]byte{byte(len(policies)), 1},
		}
		change(p)
		policies = append(policies, p)
	}
	policy("good", anyone, func(*engine.Policy) {})
	policy("bad", nobody, func(*engine.Policy) {})
	policy("warned", nobody, func(p *engine.Policy) { p.Mode = engine.Warn })
	policy("kept", nobody, func(p *engine.Policy) { p.AllowUnchanged = true })
	policy("pull", anyone, func(p *engine.Policy) { p.AlwaysPullImages = true })
	pinned := func(o engine.OnError) func(*engine.Policy) {
		return func(p *engine.Policy) { p.Pin, p.OnError = true, o }
	}
	policy("pinned", anyone, pinned(engine.OnErrorDeny))
	policy("both", anyone, func(p *engine.Policy) { p.Pin, p.AlwaysPullImages = true, true })
	policy("private", anyone, pinned(engine.OnErrorDeny))
	policy("gone", anyone, pinned(engine.OnErrorDeny))
	policy("down-deny", anyone, pinned(engine.OnErrorDeny))
	policy("down-retry", anyone, pinned(engine.OnErrorRetry))
	policy("down-defer", anyone, pinned(engine.OnErrorDefer))
	policy("down-allow", anyone, pinned(engine.OnErrorAllow))
	e.Load(engine.NewSnapshot(policies, engine.NoMatchDeny))
	return e
}

// stalled is a body that never goes on, and never ends.
type stalled struct {
	begins strings.Reader
	closed chan struct{}
	once   sync.Once
}

func newStalled(begins string) *stalled {
	return &stalled{begins: *strings.NewReader(begins), closed: make(chan struct{})}
}

// Read reads the beginning, and then waits for Close.
func (s *stalled) Read(b []byte) (int, error) {
	if n, err := s.begins.Read(b); err == nil {
		return n, nil
	}
	<-s.closed
	return 0, io.ErrUnexpectedEOF
}

// Close ends Read.
func (s *stalled) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
