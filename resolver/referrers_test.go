package resolver

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/engine"
	"sluice/resolver/registrytest"
)

const ociIndex = "application/vnd.oci.image.index.v1+json"

// attach puts n artifacts that are about a digest, and returns theirs.
func attach(t testing.TB, reg *registrytest.Registry, repository string, subject engine.Digest, n int) map[engine.Digest]bool {
	t.Helper()
	all := map[engine.Digest]bool{}
	for i := range n {
		d, err := reg.PutReferrer(repository, string(subject), "application/x", "",
			registrytest.SignatureLayer{Payload: fmt.Appendf(nil, "%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		all[engine.Digest(d)] = true
	}
	return all
}

// answers makes the referrers API send a list.
func answers(reg *registrytest.Registry, body string) {
	reg.SetFault(registrytest.Referrers, registrytest.Hook(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", ociIndex)
		_, _ = w.Write([]byte(body))
		return true
	}))
}

// listOf is a list of n descriptors, each with a digest of its number.
func listOf(n int) string {
	var b strings.Builder
	b.WriteString(`{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"mediaType":"m","digest":"sha256:%064x","size":%d}`, i, i)
	}
	return b.String() + "]}"
}

func TestReferrers(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]registrytest.Options{
		"API":                {Referrers: true},
		"pages":              {Referrers: true, ReferrersPage: 2},
		"token":              {Referrers: true, Auth: registrytest.BearerAuth},
		"fallback":           {},
		"fallback and token": {Auth: registrytest.BearerAuth},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := startRegistry(t, o)
			r := plain(t, reg)
			image, bare := push(t, reg, "team/app:1"), push(t, reg, "team/app:2")
			want := attach(t, reg, "team/app", image, 5)
			got, err := r.Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), image))
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Descriptors) != 5 || got.Total != 5 || got.FallbackTag == o.Referrers {
				t.Errorf("got %+v", got)
			}
			for _, d := range got.Descriptors {
				if !want[d.Digest] || d.Size == 0 || d.MediaType == "" {
					t.Errorf("a descriptor that was never pushed: %+v", d)
				}
				delete(want, d.Digest)
			}
			before := reg.Counts()
			got, err = r.Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), bare))
			if err != nil || len(got.Descriptors) != 0 || got.Total != 0 {
				t.Errorf("of an image without any: %+v, %v", got, err)
			}
			// That there is no API is known by now.
			if asked := reg.Counts().Referrers - before.Referrers; (asked == 0) == o.Referrers {
				t.Errorf("%d requests to the API", asked)
			}
			if asked := reg.Counts().ManifestByTag - before.ManifestByTag; (asked == 0) != o.Referrers {
				t.Errorf("%d requests for the tag", asked)
			}
		})
	}
}

// TestNoReferrersAPI is about what a missing API looks like, and what does not.
func TestNoReferrersAPI(t *testing.T) {
	t.Parallel()
	html := registrytest.Hook(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<html>"))
		return true
	})
	for name, c := range map[string]struct {
		fault  registrytest.Fault
		reason engine.Reason // ReasonUnknown: the tag is asked for
	}{
		"404": {registrytest.Status(404), 0}, "400": {registrytest.Status(400), 0}, "405": {registrytest.Status(405), 0},
		"406": {registrytest.Status(406), 0}, "501": {registrytest.Status(501), 0}, "a page for people": {html, 0},
		"500": {registrytest.Status(500), engine.ReasonRegistryUnavailable},
		"502": {registrytest.Status(502), engine.ReasonRegistryUnavailable},
		"429": {registrytest.Throttle(5), engine.ReasonRegistryThrottled},
		"403": {registrytest.Status(403), engine.ReasonRegistryDenied},
		"410": {registrytest.Status(410), engine.ReasonRegistryMalformed},
		"cut": {registrytest.Drop(), engine.ReasonRegistryUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := startRegistry(t, registrytest.Options{})
			r := plain(t, reg)
			image := push(t, reg, "team/app:1")
			attach(t, reg, "team/app", image, 1)
			reg.SetFault(registrytest.Referrers, c.fault)
			at := ref(t, "%s/team/app@%s", reg.Host(), image)
			for range 2 {
				got, err := r.Referrers(wait(t), at)
				if c.reason != 0 {
					wantFailure(t, err, c.reason, "registry localhost")
				} else if err != nil || len(got.Descriptors) != 1 || !got.FallbackTag {
					t.Errorf("got %+v, %v", got, err)
				}
			}
			want := registrytest.Counts{Referrers: 1, ManifestByTag: 2}
			if c.reason != 0 {
				want = registrytest.Counts{Referrers: 2}
			}
			got := reg.Counts()
			if got.Connections = 0; got != want {
				t.Errorf("requests: %+v, want %+v", got, want)
			}
		})
	}
}

// TestUnknownRepositoryIsNoMissingAPI: whoever names a repository that is not there must not hide the signatures of one
// that is.
func TestUnknownRepositoryIsNoMissingAPI(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{Referrers: true})
	r := plain(t, reg)
	image := push(t, reg, "team/other:1")
	got, err := r.Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), image))
	if err != nil || got.Total != 0 {
		t.Errorf("of a repository that is not there: %+v, %v", got, err)
	}
	attach(t, reg, "team/app", image, 1)
	if got, err = r.Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), image)); err != nil || got.Total != 1 {
		t.Errorf("of a repository that is there by now: %+v, %v", got, err)
	}
	// And where it says of one repository that it has no API, of another that says nothing.
	reg.SetFault(registrytest.Referrers, registrytest.Times(1, registrytest.Status(404)))
	if _, err = r.Referrers(wait(t), ref(t, "%s/team/other@%s", reg.Host(), image)); err != nil {
		t.Error(err)
	}
	if got, err = r.Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), image)); err != nil || got.Total != 1 {
		t.Errorf("of another repository: %+v, %v", got, err)
	}
}

func TestReferrersPages(t *testing.T) {
	t.Parallel()
	page := func(link string) registrytest.Fault {
		return registrytest.Hook(func(w http.ResponseWriter, req *http.Request) bool {
			n, _ := strconv.Atoi(req.URL.Query().Get("n"))
			w.Header().Set("Content-Type", ociIndex)
			w.Header().Set("Link", strings.NewReplacer("NEXT", strconv.Itoa(n+1), "HOST", req.Host, "PATH", req.URL.Path).Replace(link))
			_, _ = w.Write([]byte(listOf(3)))
			return true
		})
	}
	for name, c := range map[string]struct {
		fault           registrytest.Fault
		reason          engine.Reason
		public          string
		requests, total int
	}{
		"without an end":     {page(`<?n=NEXT>; rel="next"`), 0, "", maxReferrerPages, 3*maxReferrerPages + 1},
		"other relations":    {page(`<?n=7>; rel=prev, </x>; title="next"`), 0, "", 1, 3},
		"second link":        {page(`</x>; rel="first", <?n=NEXT>; title=a; rel=next`), 0, "", maxReferrerPages, 3*maxReferrerPages + 1},
		"no link at all":     {page(`next`), 0, "", 1, 3},
		"link without end":   {page(`<?n=NEXT; rel="next"`), 0, "", 1, 3},
		"itself":             {page(`<?>; rel="next"`), engine.ReasonRegistryMalformed, "without an end", 1, 0},
		"a circle of two":    {page(`<?n=1>; rel="next"`), engine.ReasonRegistryMalformed, "without an end", 2, 0},
		"in full":            {page(`<http://HOSTPATH?n=NEXT>; rel="next"`), 0, "", maxReferrerPages, 3*maxReferrerPages + 1},
		"another host":       {page(`<http://other.example.comPATH?n=1>; rel="next"`), engine.ReasonRegistryMalformed, "elsewhere", 1, 0},
		"another scheme":     {page(`<https://HOSTPATH?n=1>; rel="next"`), engine.ReasonRegistryMalformed, "elsewhere", 1, 0},
		"another path":       {page(`</v2/team/secret/referrers/x>; rel="next"`), engine.ReasonRegistryMalformed, "elsewhere", 1, 0},
		"a path in disguise": {page(`<../referrers%2fx?n=1>; rel="next"`), engine.ReasonRegistryMalformed, "elsewhere", 1, 0},
		"a user name":        {page(`<//user@HOSTPATH?n=1>; rel="next"`), engine.ReasonRegistryMalformed, "elsewhere", 1, 0},
		"no address":         {page(`<http://[/x>; rel="next"`), engine.ReasonRegistryMalformed, "elsewhere", 1, 0},
		"lost on the way": {registrytest.Hook(func(w http.ResponseWriter, req *http.Request) bool {
			w.Header().Set("Content-Type", ociIndex)
			if req.URL.RawQuery != "" {
				w.WriteHeader(http.StatusNotFound)
				return true
			}
			w.Header().Set("Link", `<?n=1>; rel="next"`)
			_, _ = w.Write([]byte(listOf(3)))
			return true
		}), engine.ReasonRegistryMalformed, "a part", 2, 0},
		"another form on the way": {registrytest.Hook(func(w http.ResponseWriter, req *http.Request) bool {
			w.Header().Set("Content-Type", ociIndex+req.URL.RawQuery)
			w.Header().Set("Link", `<?n=1>; rel="next"`)
			_, _ = w.Write([]byte(listOf(3)))
			return true
		}), engine.ReasonRegistryMalformed, "unknown form", 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := startRegistry(t, registrytest.Options{Referrers: true})
			r := plain(t, reg)
			image := push(t, reg, "team/app:1")
			reg.SetFault(registrytest.Referrers, c.fault)
			got, err := r.Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), image))
			if c.reason != 0 {
				wantFailure(t, err, c.reason, c.public)
			} else if err != nil || got.Total != c.total {
				t.Errorf("%d referrers, want %d, %v", got.Total, c.total, err)
			}
			if n := reg.Counts().Requests(); n != int64(c.requests) {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
		})
	}
}

func TestReferrersAreNotRedirected(t *testing.T) {
	t.Parallel()
	reg, other := startRegistry(t, registrytest.Options{Referrers: true}), startRegistry(t, registrytest.Options{Referrers: true})
	r := newTest(t, nil, Config{Registries: []Registry{{
		Host: reg.Host(), PlainHTTP: true, Retries: -1, Redirects: []string{other.Host()},
	}}})
	image := push(t, reg, "team/app:1")
	reg.SetFault(registrytest.Referrers, registrytest.Redirect(other.URL()))
	_, err := r.Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), image))
	wantFailure(t, err, engine.ReasonRegistryMalformed, "redirects to another host")
	if n := other.Counts().Requests(); n != 0 {
		t.Errorf("%d requests went there", n)
	}
	reg.SetFault(registrytest.Referrers, registrytest.Times(1, registrytest.Redirect("")))
	if _, err := r.Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), image)); err != nil {
		t.Errorf("to itself: %v", err)
	}
}

func TestReferrersRefused(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{})
	r := plain(t, reg)
	image := push(t, reg, "team/app:1")
	_, err := r.Referrers(wait(t), ref(t, "%s/team/app:1", reg.Host()))
	wantFailure(t, err, engine.ReasonInvalidReference, "")
	_, err = r.Referrers(wait(t), ref(t, "elsewhere.example.com/team/app@%s", image))
	wantFailure(t, err, engine.ReasonRegistryNotListed, "elsewhere.example.com")
	if err := reg.Retag("team/app", registrytest.FallbackTag(string(image)), "1"); err != nil {
		t.Fatal(err)
	}
	_, err = r.Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), image))
	wantFailure(t, err, engine.ReasonRegistryMalformed, "something else than a list")
}

// TestHostileLists is about what whoever may push, or the registry itself, can write into a list.
func TestHostileLists(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	manifests := func(s string) string { return `{"manifests":[` + s + `]}` }
	for name, c := range map[string]struct {
		body       string
		ok         bool
		all, total int
	}{
		"empty":                   {`{}`, true, 0, 0},
		"null":                    {`{"manifests":null}`, true, 0, 0},
		"no list":                 {`{"manifests":{"a":1}}`, true, 0, 0},
		"no JSON":                 {`<html>`, false, 0, 0},
		"cut off":                 {`{"manifests":[{`, false, 0, 0},
		"two lists":               {`{"manifests":[],"manifests":[]}`, false, 0, 0},
		"an image":                {`{"mediaType":"application/vnd.oci.image.manifest.v1+json"}`, false, 0, 0},
		"numbers":                 {manifests(`1,2,"x",null,[]`), true, 0, 0},
		"another algorithm":       {manifests(`{"digest":"sha512:` + strings.Repeat("a", 128) + `"}`), true, 0, 0},
		"a path":                  {manifests(`{"digest":"sha256:../../x"}`), true, 0, 0},
		"wrong types":             {manifests(`{"digest":"` + digest + `","size":"1","mediaType":7,"annotations":[1]}`), true, 1, 1},
		"annotations of objects":  {manifests(`{"digest":"` + digest + `","annotations":{"a":{"b":[1]},"c":"d"}}`), true, 1, 1},
		"ten thousand":            {listOf(10_000), true, MaxReferrers, 10_000},
		"more than are read":      {listOf(10_001), true, MaxReferrers, 10_001},
		"a million of nothing":    {manifests(strings.Repeat("{},", 1<<20) + "{}"), true, 0, 1},
		"a million annotations":   {manifests(`{"digest":"` + digest + `","annotations":{` + strings.Repeat(`"":"",`, 400_000) + `"a":"b"}}`), true, 1, 1},
		"a type of three million": {manifests(`{"digest":"` + digest + `","artifactType":"` + strings.Repeat("x", 3<<20) + `"}`), true, 1, 1},
		"ten thousand deep":       {`{"manifests":` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001) + `}`, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := startRegistry(t, registrytest.Options{Referrers: true})
			answers(reg, c.body)
			got, err := plain(t, reg).Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), digest))
			if !c.ok {
				wantFailure(t, err, engine.ReasonRegistryMalformed, "list of referrers")
				return
			}
			if err != nil || len(got.Descriptors) != c.all || got.Total != c.total {
				t.Fatalf("%d of %d referrers, want %d of %d; %v", len(got.Descriptors), got.Total, c.all, c.total, err)
			}
			for i, d := range got.Descriptors {
				if len(d.Annotations) > maxDescriptorAnnotations || len(d.ArtifactType) > maxDescriptorText {
					t.Fatalf("a descriptor with more than is allowed: %d annotations, a type of %d bytes", len(d.Annotations), len(d.ArtifactType))
				}
				if want := i; c.all == MaxReferrers { // its digest is its number
					if i >= MaxReferrers/2 {
						want = 10_000 - MaxReferrers + i
					}
					if string(d.Digest) != fmt.Sprintf("sha256:%064x", want) {
						t.Fatalf("descriptor %d is %s, want number %d", i, d.Digest, want)
					}
				}
			}
			if name == "annotations of objects" && got.Descriptors[0].Annotations["c"] != "d" {
				t.Errorf("a good annotation was lost: %v", got.Descriptors[0].Annotations)
			}
		})
	}
}

// TestLastDescriptorsAreKept turns the ring at every place.
func TestLastDescriptorsAreKept(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 499, 500, 501, 999, 1000, 1001, 1250, 1499, 1500, 1501, 2718} {
		var list descriptors
		if err := list.add([]byte(listOf(n))); err != nil {
			t.Fatal(err)
		}
		got := list.referrers()
		if len(got.Descriptors) != min(n, MaxReferrers) || got.Total != n {
			t.Fatalf("%d: kept %d of %d", n, len(got.Descriptors), got.Total)
		}
		for i, d := range got.Descriptors {
			want := i
			if i >= MaxReferrers/2 && n > MaxReferrers {
				want = n - MaxReferrers + i
			}
			if string(d.Digest) != fmt.Sprintf("sha256:%064x", want) {
				t.Fatalf("%d: descriptor %d is %s, want number %d", n, i, d.Digest, want)
			}
		}
	}
}

func TestLargeListsAreNotRead(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*atomic.Int64) registrytest.Fault{
		"announced":  func(sent *atomic.Int64) registrytest.Fault { return registrytest.Oversize(100<<20, true, sent) },
		"unforeseen": func(sent *atomic.Int64) registrytest.Fault { return registrytest.Oversize(100<<20, false, sent) },
		"compressed": func(*atomic.Int64) registrytest.Fault { return registrytest.GzipBomb(16 << 20) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := startRegistry(t, registrytest.Options{Referrers: true})
			image := push(t, reg, "team/app:1")
			var sent atomic.Int64
			reg.SetFault(registrytest.Referrers, fault(&sent))
			_, err := plain(t, reg).Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), image))
			wantFailure(t, err, engine.ReasonRegistryMalformed, "sent")
			if n := sent.Load(); n > 32<<20 { // what the sockets take included
				t.Errorf("%d MiB were taken", n>>20)
			}
		})
	}
}

// TestPagesTogetherAreBounded: many pages, each as large as may be, are not all read.
func TestPagesTogetherAreBounded(t *testing.T) {
	t.Parallel()
	reg := startRegistry(t, registrytest.Options{Referrers: true})
	image := push(t, reg, "team/app:1")
	body := listOf(1) + strings.Repeat(" ", MaxManifest/2)
	reg.SetFault(registrytest.Referrers, registrytest.Hook(func(w http.ResponseWriter, req *http.Request) bool {
		w.Header().Set("Content-Type", ociIndex)
		w.Header().Set("Link", `<?`+req.URL.RawQuery+`x>; rel="next"`)
		_, _ = w.Write([]byte(body))
		return true
	}))
	got, err := plain(t, reg).Referrers(wait(t), ref(t, "%s/team/app@%s", reg.Host(), image))
	if err != nil || len(got.Descriptors) != 2 || got.Total != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	if n := reg.Counts().Referrers; n != 2 {
		t.Errorf("%d pages were read", n)
	}
}

// TestListsAllocateLittle is not parallel: it counts what the whole process allocates.
func TestListsAllocateLittle(t *testing.T) {
	many := `{"manifests":[` + strings.Repeat("{},", MaxManifest/3-20) + `{}]}`
	notes := `{"manifests":[{"annotations":{` + strings.Repeat(`"":"",`, MaxManifest/6-20) + `"a":"b"}}]}`
	for name, body := range map[string]string{"many": many, "annotations": notes} {
		raw := []byte(body)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var list descriptors
		if err := list.add(raw); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 24<<20 {
			t.Errorf("%s: %d MiB allocated to read %d MiB", name, took>>20, len(raw)>>20)
		}
	}
}
