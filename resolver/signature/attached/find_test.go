package attached

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/engine"
	"sluice/resolver"
	"sluice/resolver/registrytest"
)

var _ Fetcher = (*resolver.Resolver)(nil)

// house is a Resolver over a registry on loopback, with one image in it.
type house struct {
	registry *registrytest.Registry
	fetch    *resolver.Resolver
	image    engine.Reference
}

func newHouse(t testing.TB, o registrytest.Options) *house {
	t.Helper()
	r, err := registrytest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	d, err := r.PushImage("team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	image := engine.Reference{Registry: r.Host(), Repository: "team/app", Tag: "1", Digest: engine.Digest(d)}
	return &house{r, newFetch(t, r), image}
}

func newFetch(t testing.TB, r *registrytest.Registry) *resolver.Resolver {
	t.Helper()
	res, err := resolver.New(resolver.Config{MaxTags: 100, Registries: []resolver.Registry{{
		Host: r.Host(), PlainHTTP: true, Retries: -1, Timeout: 10 * time.Second,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(res.Close)
	return res
}

func (h *house) find(t testing.TB, place Place) *Found {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	found, err := Find(ctx, h.fetch, place, h.image)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// annotated has every annotation that cosign writes.
func annotated(signature string) map[string]string {
	return map[string]string{
		signatureKey:   base64.StdEncoding.EncodeToString([]byte(signature)),
		certificateKey: "certificate", chainKey: "chain", logEntryKey: "entry", timestampKey: "timestamp",
		"other": "x",
	}
}

// content is an Item without what says where it was found.
func content(form Form, payload, signature string, annotations bool) Item {
	i := Item{Form: form, Content: []byte(payload)}
	if signature != "" {
		i.Signature = []byte(signature)
	}
	if annotations {
		i.Certificate, i.Chain, i.LogEntry, i.Timestamp = []byte("certificate"), []byte("chain"), []byte("entry"), []byte("timestamp")
	}
	return i
}

func (h *house) want(t *testing.T, found *Found, total int, items ...Item) {
	t.Helper()
	var got []Item
	for _, i := range found.Items {
		if i.Blob != digestOf(i.Content) {
			t.Errorf("%s: content of another digest", i.Found)
		}
		got = append(got, Item{
			Form: i.Form, Content: i.Content, Signature: i.Signature,
			Certificate: i.Certificate, Chain: i.Chain, LogEntry: i.LogEntry, Timestamp: i.Timestamp, Fault: i.Fault, Failure: i.Failure,
		})
	}
	if diff := cmp.Diff(items, got); diff != "" {
		t.Error(diff)
	}
	if found.Total != total {
		t.Errorf("%d items in all, want %d", found.Total, total)
	}
}

func TestNothingIsAttached(t *testing.T) {
	t.Parallel()
	for _, api := range []bool{true, false} {
		h := newHouse(t, registrytest.Options{Referrers: api})
		for _, p := range []Place{SignatureTag, AttestationTag, Referrers} {
			h.want(t, h.find(t, p), 0)
		}
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Options{})
	subject, hex := string(h.image.Digest), h.image.Digest.Hex()[:12]
	layers := []registrytest.SignatureLayer{
		{Payload: []byte("one"), MediaType: payloadType, Annotations: annotated("sig")},
		{Payload: []byte("two"), MediaType: payloadType + "+gzip", Annotations: annotated("sig")},
		{Payload: []byte("three"), MediaType: envelopeType, Annotations: annotated("")},
		{Payload: []byte("four"), MediaType: registrytest.BundleMediaType},
		{Payload: []byte("one"), MediaType: payloadType, Annotations: annotated("other sig")},
	}
	if err := h.registry.AppendSignatures("team/app", subject, layers...); err != nil {
		t.Fatal(err)
	}
	if err := h.registry.AppendAttestations("team/app", subject, layers[2]); err != nil {
		t.Fatal(err)
	}
	h.registry.Reset()
	found := h.find(t, SignatureTag)
	h.want(t, found, 4,
		content(SimpleSigning, "one", "sig", true), content(Envelope, "three", "", true),
		content(Bundle, "four", "", false), content(SimpleSigning, "one", "other sig", true))
	if got, want := found.Where, "sha256-"+hex+"….sig"; got != want {
		t.Errorf("looked for %s, want %s", got, want)
	}
	if got, want := found.Items[1].Found, "sha256-"+hex+"….sig, layer 2"; got != want {
		t.Errorf("found in %s, want %s", got, want)
	}
	if c := h.registry.Counts(); c.ManifestByTag != 1 || c.Blob != 3 || c.Requests() != 4 {
		t.Errorf("requests: %+v", c)
	}
	found = h.find(t, AttestationTag)
	h.want(t, found, 1, content(Envelope, "three", "", true))
	if got, want := found.Items[0].Found, "sha256-"+hex+"….att, layer 0"; got != want {
		t.Errorf("found in %s, want %s", got, want)
	}
	h.want(t, h.find(t, Referrers), 0)
}

// TestReferrers has what each of the tools writes, and what is the business of others.
func TestReferrers(t *testing.T) {
	t.Parallel()
	for _, o := range []registrytest.Options{{}, {Referrers: true}, {Referrers: true, ReferrersPage: 2}} {
		h := newHouse(t, o)
		put := func(artifactType, configType string, layers ...registrytest.SignatureLayer) string {
			d, err := h.registry.PutReferrer("team/app", string(h.image.Digest), artifactType, configType, layers...)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("referrer %.19s…, layer ", d)
		}
		want := map[string]Item{
			put(registrytest.BundleMediaType, "", registrytest.SignatureLayer{Payload: []byte("bundle")}) + "0": content(Bundle, "bundle", "", false),
			put("", "application/vnd.dev.cosign.artifact.sig.v1+json",
				registrytest.SignatureLayer{Payload: []byte("payload"), MediaType: payloadType, Annotations: annotated("sig")},
			) + "0": content(SimpleSigning, "payload", "sig", true),
			put("application/vnd.in-toto+json", "",
				registrytest.SignatureLayer{Payload: []byte("x"), MediaType: "text/plain"},
				registrytest.SignatureLayer{Payload: []byte("envelope"), MediaType: envelopeType},
			) + "1": content(Envelope, "envelope", "", false),
		}
		put("application/spdx+json", "", registrytest.SignatureLayer{Payload: []byte("{}"), MediaType: "application/spdx+json"})
		h.registry.Reset()
		found := h.find(t, Referrers)
		if found.Total != 3 || len(found.Items) != 3 || found.Where != "referrers" {
			t.Errorf("%d items of %d, looked for %s", len(found.Items), found.Total, found.Where)
		}
		for _, i := range found.Items {
			w := want[i.Found]
			w.Found, w.Blob = i.Found, i.Blob
			if diff := cmp.Diff(w, *i); diff != "" {
				t.Errorf("%s: %s", i.Found, diff)
			}
		}
		if c := h.registry.Counts(); c.ManifestByDigest != 4 || c.Blob != 3 {
			t.Errorf("requests: %+v", c)
		}
	}
}

// TestSignatureRepository: ref says where to look, and its digest what for.
func TestSignatureRepository(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Options{})
	layer := registrytest.SignatureLayer{Payload: []byte("p"), MediaType: payloadType, Annotations: annotated("sig")}
	if err := h.registry.AppendSignatures("signatures", string(h.image.Digest), layer); err != nil {
		t.Fatal(err)
	}
	if _, err := h.registry.PutReferrer("signatures", string(h.image.Digest), "", "", layer); err != nil {
		t.Fatal(err)
	}
	h.image.Repository = "signatures"
	h.want(t, h.find(t, SignatureTag), 1, content(SimpleSigning, "p", "sig", true))
	h.want(t, h.find(t, Referrers), 1, content(SimpleSigning, "p", "sig", true))
}

// TestFailures: what can't be listed is an error, what can't be had is one item's, and neither says that there is
// nothing.
func TestFailures(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registrytest.Options{})
	layer := func(s string) registrytest.SignatureLayer {
		return registrytest.SignatureLayer{Payload: []byte(s), MediaType: payloadType, Annotations: annotated("sig")}
	}
	if err := h.registry.AppendSignatures("team/app", string(h.image.Digest), layer("one"), layer("two")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.registry.PutReferrer("team/app", string(h.image.Digest), "", "", layer("one")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		place  Place
		class  registrytest.Class
		fault  registrytest.Fault
		reason engine.Reason // of the whole place
		items  []engine.Reason
	}{
		"tag 500":           {SignatureTag, registrytest.ManifestByTag, registrytest.Status(500), engine.ReasonRegistryUnavailable, nil},
		"tag 403":           {SignatureTag, registrytest.ManifestByTag, registrytest.Status(403), engine.ReasonRegistryDenied, nil},
		"tag of a page":     {SignatureTag, registrytest.ManifestByTag, registrytest.ContentType("text/html"), engine.ReasonRegistryMalformed, nil},
		"list 500":          {Referrers, registrytest.Referrers, registrytest.Status(500), engine.ReasonRegistryUnavailable, nil},
		"list 429":          {Referrers, registrytest.Referrers, registrytest.Throttle(9), engine.ReasonRegistryThrottled, nil},
		"fallback 500":      {Referrers, registrytest.ManifestByTag, registrytest.Status(500), engine.ReasonRegistryUnavailable, nil},
		"blob 500":          {SignatureTag, registrytest.Blob, registrytest.Times(1, registrytest.Status(500)), 0, []engine.Reason{engine.ReasonRegistryUnavailable, 0}},
		"blobs gone":        {SignatureTag, registrytest.Blob, registrytest.Status(404), 0, []engine.Reason{engine.ReasonRegistryMalformed, engine.ReasonRegistryMalformed}},
		"blob cut off":      {Referrers, registrytest.Blob, registrytest.Truncate(), 0, []engine.Reason{engine.ReasonRegistryUnavailable}},
		"blob of a bomb":    {Referrers, registrytest.Blob, registrytest.GzipBomb(1 << 20), 0, []engine.Reason{engine.ReasonRegistryMalformed}},
		"blob of another":   {Referrers, registrytest.Blob, registrytest.Substitute(), 0, []engine.Reason{engine.ReasonRegistryMalformed}},
		"blob too large":    {Referrers, registrytest.Blob, registrytest.Oversize(100<<20, false, nil), 0, []engine.Reason{engine.ReasonRegistryMalformed}},
		"referrer gone":     {Referrers, registrytest.ManifestByDigest, registrytest.Status(404), 0, []engine.Reason{engine.ReasonRegistryMalformed}},
		"referrer 403":      {Referrers, registrytest.ManifestByDigest, registrytest.Status(403), 0, []engine.Reason{engine.ReasonRegistryDenied}},
		"referrer of 100 M": {Referrers, registrytest.ManifestByDigest, registrytest.Oversize(100<<20, false, nil), 0, []engine.Reason{engine.ReasonRegistryMalformed}},
	} { // one after the other: they share the registry
		h.registry.SetFault(c.class, c.fault)
		found, err := Find(t.Context(), newFetch(t, h.registry), c.place, h.image) // one that remembers nothing
		h.registry.SetFaultEverywhere(nil)
		var failure *engine.Failure
		if c.reason != 0 {
			if !errors.As(err, &failure) || failure.Reason != c.reason {
				t.Errorf("%s: got %v, want %s", name, err, c.reason)
			}
			continue
		}
		if err != nil || len(found.Items) != len(c.items) || found.Total != len(c.items) {
			t.Errorf("%s: got %+v, %v", name, found, err)
			continue
		}
		left := c.items // in any order: the fetches are side by side
		for _, i := range found.Items {
			got := engine.ReasonUnknown
			if i.Failure != nil {
				got = i.Failure.Reason
				if i.Content != nil || strings.Contains(i.Failure.Public, "\n") {
					t.Errorf("%s: %+v", name, i)
				}
			}
			for n, want := range left {
				if got == want {
					left = append(append([]engine.Reason(nil), left[:n]...), left[n+1:]...)
					break
				}
			}
		}
		if len(left) > 0 {
			t.Errorf("%s: missing %v among %+v", name, left, found.Items)
		}
	}
}

func TestUnknownPlace(t *testing.T) {
	t.Parallel()
	if _, err := Find(t.Context(), nil, Place(9), engine.Reference{}); err == nil || Place(9).String() != "place 9" {
		t.Error("there is a ninth place")
	}
}
