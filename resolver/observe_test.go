package resolver

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/engine"
	"sluice/resolver/registrytest"
)

func TestObserve(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{Auth: registrytest.BearerAuth, Username: "u", Password: "hunter2"})
	image := push(t, reg, "team/app:1")
	blob := pushBlob(t, reg, "team/app", "content")
	var mu sync.Mutex
	var seen []Request
	r := newTest(t, nil, Config{
		Registries: []Registry{{
			Host: reg.Host(), PlainHTTP: true, Retries: 1,
			UsernameFile: writeFile(t, "u"), PasswordFile: writeFile(t, "hunter2"),
		}},
		Observe: func(q Request) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, q)
		},
	})
	// take returns what was seen since, without what no two runs have in common.
	take := func() (all []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, q := range seen {
			if q.Method != http.MethodGet || q.Start.IsZero() || q.Took <= 0 {
				t.Errorf("%+v", q)
			}
			s := http.StatusText(q.Status) + " " + strings.TrimPrefix(q.URL, reg.URL())
			if q.Bytes == 0 {
				s += ", nothing"
			}
			if f, ok := q.Err.(*engine.Failure); ok {
				s += ", " + f.Reason.String()
			} else if q.Err != nil {
				t.Errorf("an error of type %T: %v", q.Err, q.Err)
			}
			all = append(all, s)
		}
		seen = nil
		return all
	}
	want := func(requests ...string) {
		t.Helper()
		if diff := cmp.Diff(requests, take()); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := r.Resolve(wait(t), ref(t, "%s/team/app:1", reg.Host()), engine.KnownFacts); err != nil {
		t.Fatal(err)
	}
	want("Unauthorized /v2/team/app/manifests/1", "OK /token?…", "OK /v2/team/app/manifests/1")
	if _, err := r.Resolve(wait(t), ref(t, "%s/team/app:1", reg.Host()), engine.KnownFacts); err != nil {
		t.Fatal(err)
	}
	want() // from the cache

	reg.SetFault(registrytest.Blob, registrytest.Times(1, registrytest.Truncate()))
	if _, err := r.Blob(wait(t), ref(t, "%s/team/app:1", reg.Host()), blob, 100); err != nil {
		t.Fatal(err)
	}
	path := "/v2/team/app/blobs/" + string(blob)
	want("OK "+path+", nothing, registry_unavailable", "OK "+path)
	reg.SetFault(registrytest.Blob, registrytest.Times(1, registrytest.Status(503)))
	if _, err := r.Blob(wait(t), ref(t, "%s/team/app:1", reg.Host()), blob, 100); err != nil {
		t.Fatal(err)
	}
	want("Service Unavailable "+path, "OK "+path)
	if _, err := r.Blob(wait(t), ref(t, "%s/team/app:1", reg.Host()), blob, 3); err == nil {
		t.Error("a blob longer than allowed was taken")
	}
	want("OK " + path + ", nothing, registry_malformed")
	if _, err := r.Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), image)); err != nil {
		t.Fatal(err)
	}
	hex := image.Hex()
	want("Not Found /v2/team/app/referrers/sha256:"+hex, "Not Found /v2/team/app/manifests/sha256-"+hex)

	// What was never sent is not seen.
	reg.SetFault(registrytest.Blob, registrytest.Redirect("http://elsewhere.example.com"))
	if _, err := r.Blob(wait(t), ref(t, "%s/team/app:1", reg.Host()), blob, 100); err == nil {
		t.Error("a redirect was followed")
	}
	want("Temporary Redirect " + path)
}
