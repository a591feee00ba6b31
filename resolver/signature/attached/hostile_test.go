package attached

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/engine"
	"sluice/resolver"
)

func digestOf(b []byte) engine.Digest {
	sum := sha256.Sum256(b)
	return engine.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

var image = engine.Reference{Registry: "registry.test", Repository: "team/app", Digest: digestOf([]byte("an image"))}

// registry is a Fetcher over maps, that counts.
type registry struct {
	mu        sync.Mutex
	tags      map[string][]byte
	manifests map[engine.Digest][]byte
	blobs     map[engine.Digest][]byte
	list      resolver.Referrers
	listErr   error
	panics    bool // below every request but for lists

	manifestTrips, blobTrips, bytes, inFlight, mostInFlight atomic.Int64
}

func newRegistry() *registry {
	return &registry{tags: map[string][]byte{}, manifests: map[engine.Digest][]byte{}, blobs: map[engine.Digest][]byte{}}
}

var errNotFound = &engine.Failure{Reason: engine.ReasonImageNotFound, Public: "no such image"}

func (r *registry) enter() func() {
	now := r.inFlight.Add(1)
	for most := r.mostInFlight.Load(); now > most && !r.mostInFlight.CompareAndSwap(most, now); {
		most = r.mostInFlight.Load()
	}
	runtime.Gosched()
	return func() { r.inFlight.Add(-1) }
}

func (r *registry) Manifest(_ context.Context, ref engine.Reference) (resolver.Manifest, error) {
	defer r.enter()()
	r.manifestTrips.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.panics {
		panic("below")
	}
	raw, ok := r.manifests[ref.Digest]
	if ref.Digest == "" {
		raw, ok = r.tags[ref.Tag]
	}
	if !ok || ref.Name() != image.Name() {
		return resolver.Manifest{}, errNotFound
	}
	if len(raw) > resolver.MaxManifest {
		r.bytes.Add(resolver.MaxManifest)
		return resolver.Manifest{}, &engine.Failure{Reason: engine.ReasonRegistryMalformed, Public: "too large"}
	}
	r.bytes.Add(int64(len(raw)))
	return resolver.Manifest{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: ref.Digest, Raw: raw}, nil
}

func (r *registry) Blob(_ context.Context, ref engine.Reference, d engine.Digest, limit int64) ([]byte, error) {
	defer r.enter()()
	r.blobTrips.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.panics {
		panic("below")
	}
	b, ok := r.blobs[d]
	if !ok || ref.Name() != image.Name() || ref.Tag != "" || ref.Digest != "" {
		return nil, errNotFound
	}
	r.bytes.Add(min(limit, int64(len(b))))
	if int64(len(b)) > limit {
		return nil, &engine.Failure{Reason: engine.ReasonRegistryMalformed, Public: "too large"}
	}
	return b, nil
}

func (r *registry) Referrers(_ context.Context, ref engine.Reference) (resolver.Referrers, error) {
	if ref.Digest != image.Digest || ref.Tag != "" || ref.Name() != image.Name() {
		return resolver.Referrers{}, errNotFound
	}
	return r.list, r.listErr
}

// layerOf is a descriptor as tests write it.
func layerOf(mediaType string, payload []byte) map[string]any {
	return map[string]any{
		"mediaType": mediaType, "digest": digestOf(payload), "size": len(payload),
		"annotations": map[string]any{signatureKey: "c2ln"},
	}
}

func manifestOf(layers ...map[string]any) []byte {
	b, err := json.Marshal(map[string]any{"schemaVersion": 2, "subject": map[string]any{"digest": image.Digest}, "layers": layers})
	if err != nil {
		panic(err)
	}
	return b
}

func (r *registry) blob(b []byte) []byte {
	r.blobs[digestOf(b)] = b
	return b
}

// refer lists a manifest as a referrer.
func (r *registry) refer(artifactType string, raw []byte) engine.Digest {
	d := digestOf(raw)
	r.manifests[d] = raw
	r.list.Descriptors = append(r.list.Descriptors, resolver.Descriptor{ArtifactType: artifactType, Digest: d, Size: int64(len(raw))})
	r.list.Total++
	return d
}

func (r *registry) find(t *testing.T, place Place) *Found {
	t.Helper()
	found, err := Find(t.Context(), r, place, image)
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Items) > maxItems || found.Total < len(found.Items) {
		t.Fatalf("%d items of %d", len(found.Items), found.Total)
	}
	if most := r.mostInFlight.Load(); most > maxFetches {
		t.Errorf("%d fetches side by side", most)
	}
	return found
}

// has tells whether an item with this content was found.
func (f *Found) has(s string) bool {
	for _, i := range f.Items {
		if string(i.Content) == s {
			return true
		}
	}
	return false
}

// TestHostileLayers: each case is given the layer of a good signature.
func TestHostileLayers(t *testing.T) {
	t.Parallel()
	type layer = map[string]any
	annotate := func(name string, value any) func(layer) {
		return func(l layer) { l["annotations"].(map[string]any)[name] = value }
	}
	set := func(name string, value any) func(layer) { return func(l layer) { l[name] = value } }
	const fine, none, fault, failure = "fine", "none", "fault", "failure"
	for name, c := range map[string]struct {
		change func(layer)
		want   string
	}{
		"nothing":                        {func(layer) {}, fine},
		"other annotations of any kind":  {annotate("x", []any{map[string]any{"a": nil}}), fine},
		"an entry that is a number":      {annotate(logEntryKey, 7), fine},
		"an entry of junk":               {annotate(logEntryKey, "\x00{"), fine},
		"a chain as large as may be":     {annotate(chainKey, strings.Repeat("x", maxCertificate)), fine},
		"a chain too large":              {annotate(chainKey, strings.Repeat("x", maxCertificate+1)), fault},
		"a certificate too large":        {annotate(certificateKey, strings.Repeat("x", maxCertificate+1)), fault},
		"an entry too large":             {annotate(logEntryKey, strings.Repeat("x", maxLogEntry+1)), fault},
		"a timestamp too large":          {annotate(timestampKey, strings.Repeat("x", maxTimestamp+1)), fault},
		"a signature too large":          {annotate(signatureKey, strings.Repeat("A", maxSignature+4)), fault},
		"no signature":                   {annotate(signatureKey, ""), fault},
		"a signature null":               {annotate(signatureKey, nil), fault},
		"a signature of another type":    {annotate(signatureKey, []int{1}), fault},
		"a signature that is not base64": {annotate(signatureKey, "%"), fault},
		"no annotations":                 {set("annotations", nil), fault},
		"annotations of another type":    {set("annotations", "x"), fault},
		"size zero":                      {set("size", 0), fault},
		"size negative":                  {set("size", -1), fault},
		"size absent":                    {set("size", nil), fault},
		"size as text":                   {set("size", "7"), fault},
		"size beyond numbers":            {set("size", json.Number("99999999999999999999")), fault},
		"size of a fraction":             {set("size", 7.5), fault},
		"size too small":                 {set("size", 3), failure}, // by the Fetcher's limit
		"size too large":                 {set("size", 100_000), fault},
		"size beyond the bound":          {set("size", maxPayload+1), failure},
		"size of an exabyte":             {set("size", int64(1)<<60), failure},
		"digest of another algorithm":    {set("digest", "sha512:"+strings.Repeat("a", 128)), fault},
		"digest that is a path":          {set("digest", "sha256:../../../../v2/secret/blobs"), fault},
		"digest of another type":         {set("digest", 7), fault},
		"digest of what is not there":    {set("digest", digestOf(nil)), failure},
		"media type with a blank":        {set("mediaType", payloadType+" "), none},
		"media type in other letters":    {set("mediaType", strings.ToUpper(payloadType)), none},
		"media type of another type":     {set("mediaType", 7), none},
		"compressed":                     {set("mediaType", payloadType+"+gzip"), none},
		"a bundle that is compressed":    {set("mediaType", bundleType+".v0.3+json+gzip"), none},
		"a bundle's look-alike":          {set("mediaType", bundleType+"x+json"), none},
		"a bundle of a long version":     {set("mediaType", bundleType+"."+strings.Repeat("1", 1<<18)+"+json"), none},
		"bundle":                         {set("mediaType", bundleType+".v0.3+json"), fine},
		"bundle, old":                    {set("mediaType", bundleType+"+json;version=0.1"), fine},
		"bundle without a size":          {func(l layer) { l["mediaType"], l["size"] = bundleType+"+json", 0 }, fault},
		"envelope without a signature":   {func(l layer) { l["mediaType"], l["annotations"] = envelopeType, nil }, fine},
		"envelope with a large chain": {func(l layer) {
			l["mediaType"] = envelopeType
			l["annotations"] = map[string]any{chainKey: strings.Repeat("x", maxCertificate+1)}
		}, fault},
	} {
		for _, place := range []Place{SignatureTag, Referrers} {
			t.Run(fmt.Sprintf("%s/%s", name, place), func(t *testing.T) {
				t.Parallel()
				r := newRegistry()
				good := layerOf(payloadType, r.blob([]byte("good")))
				bad := layerOf(payloadType, r.blob([]byte("payload")))
				c.change(bad)
				raw := manifestOf(bad, good)
				r.tags["sha256-"+image.Digest.Hex()+".sig"] = raw
				r.refer("", raw)
				found := r.find(t, place)
				if !found.has("good") {
					t.Fatalf("the good one was lost: %+v", found)
				}
				got := none
				if len(found.Items) == 2 {
					switch i := found.Items[0]; {
					case i.Fault != nil && i.Failure == nil && i.Content == nil:
						got = fault
					case i.Failure != nil && i.Fault == nil && i.Content == nil:
						got = failure
						if i.Failure.Reason != engine.ReasonRegistryMalformed {
							t.Errorf("%v", i.Failure)
						}
					case string(i.Content) == "payload":
						got = fine
					}
				}
				if got != c.want {
					t.Errorf("got %s, want %s: %+v", got, c.want, found.Items[0])
				}
			})
		}
	}
}

// TestHostileManifests: an error for the whole place under a tag is one item's failure among referrers.
func TestHostileManifests(t *testing.T) {
	t.Parallel()
	list := func(s string) string {
		return `{"subject":{"digest":"` + string(image.Digest) + `"},"layers":[` + s + `]}`
	}
	for name, c := range map[string]struct {
		raw   string
		ok    bool
		items int
	}{
		"empty":               {`{}`, true, 0},
		"no JSON":             {`<html>`, false, 0},
		"a list":              {`[]`, false, 0},
		"an index":            {`{"manifests":[{"digest":"x"}]}`, true, 0},
		"no layers":           {`{"layers":null}`, true, 0},
		"layers of no list":   {`{"layers":{"a":1}}`, true, 0},
		"layers of all kinds": {list(`1,null,"x",[],{},{"mediaType":{}}`), true, 0},
		"layers twice":        {`{"layers":[{}],"layers":[{}]}`, false, 0},
		"layers twice, empty": {`{"layers":[],"Layers":[{}]}`, false, 0},
		"subject twice":       {`{"subject":null,"subject":{"digest":"` + string(image.Digest) + `"}}`, false, 0},
		"a thousand":          {list(strings.Repeat("{},", maxLayers-1) + "{}"), true, 0},
		"a thousand and one":  {list(strings.Repeat("{},", maxLayers) + "{}"), false, 0},
		"a million":           {list(strings.Repeat("{},", 1<<20) + "{}"), false, 0},
		"ten thousand deep":   {`{"layers":` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001) + `}`, false, 0},
		"a thousand signatures": {list(strings.Repeat(`{"mediaType":"`+payloadType+`"},`, maxLayers-1) +
			`{"mediaType":"` + payloadType + `"}`), true, maxItems},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry()
			r.tags["sha256-"+image.Digest.Hex()+".att"] = []byte(c.raw)
			found, err := Find(t.Context(), r, AttestationTag, image)
			if (err == nil) != c.ok || c.ok && len(found.Items) != c.items {
				t.Errorf("under a tag: %+v, %v", found, err)
			}
			if err != nil && err.(*engine.Failure).Reason != engine.ReasonRegistryMalformed {
				t.Error(err)
			}
			r.refer("", []byte(c.raw))
			r.refer("", manifestOf(layerOf(payloadType, r.blob([]byte("good")))))
			items := c.items + 1
			if !c.ok {
				items++ // of which nothing is known
			}
			if found := r.find(t, Referrers); !found.has("good") || len(found.Items) != min(items, maxItems) {
				t.Errorf("as a referrer: %d items, %+v", len(found.Items), found)
			}
		})
	}
}

// TestSubject: what is about another image, or about none, is none of this one's, whatever lists it.
func TestSubject(t *testing.T) {
	t.Parallel()
	r := newRegistry()
	l, err := json.Marshal(layerOf(payloadType, r.blob([]byte("payload"))))
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		`{"digest":"` + string(digestOf(nil)) + `"}`, `{}`, `null`, `7`, `"` + string(image.Digest) + `"`,
		`{"digest":7}`, `{"digest":"` + strings.ToUpper(string(image.Digest)) + `"}`,
	} {
		r.refer(bundleType, fmt.Appendf(nil, `{"subject":%s,"layers":[%s]}`, subject, l))
	}
	r.refer(bundleType, fmt.Appendf(nil, `{"layers":[%s]}`, l))
	found := r.find(t, Referrers)
	if found.Total != 8 || len(found.Items) != 8 {
		t.Errorf("%d items of %d", len(found.Items), found.Total)
	}
	for _, i := range found.Items {
		if i.Fault == nil || i.Content != nil {
			t.Errorf("%+v", i)
		}
	}
	if n := r.blobTrips.Load(); n != 0 {
		t.Errorf("%d blobs of them were fetched", n)
	}
}

// TestJunkReferrers: a real one is found among junk, wherever it stands, and what is not looked at is counted.
func TestJunkReferrers(t *testing.T) {
	t.Parallel()
	for _, junk := range []int{10, 200, 5_000} {
		for _, kind := range []string{"application/x", bundleType + ".v0.3+json"} {
			for _, place := range []string{"first", "last", "middle"} {
				t.Run(fmt.Sprint(junk, " ", kind, " ", place), func(t *testing.T) {
					t.Parallel()
					r := newRegistry()
					real := manifestOf(layerOf(bundleType+"+json", r.blob([]byte("real"))))
					for i := range junk {
						if i == junk/2 && place == "middle" || i == 0 && place == "first" {
							r.refer(bundleType+"+json", real)
						}
						r.refer(kind, fmt.Appendf(nil, `{"junk":%d,"layers":[]}`, i))
					}
					if place == "last" {
						r.refer("", real)
					}
					if n := len(r.list.Descriptors); n > resolver.MaxReferrers { // as the Resolver does
						d := r.list.Descriptors
						r.list.Descriptors = append(d[:resolver.MaxReferrers/2:resolver.MaxReferrers/2], d[n-resolver.MaxReferrers/2:]...)
					}
					found := r.find(t, Referrers)
					if lost := kind != "application/x" || junk > resolver.MaxReferrers; place == "middle" && lost && junk > maxReferrers {
						if found.Total <= len(found.Items) {
							t.Error("it is not said that not all were looked at")
						}
					} else if !found.has("real") {
						t.Error("the real one was not found")
					}
					if want := max(1, junk+1-maxReferrers+len(found.Items)); found.Total != want {
						t.Errorf("%d in all, want %d", found.Total, want)
					}
					if n := r.manifestTrips.Load(); n > maxReferrers {
						t.Errorf("%d manifests were fetched", n)
					}
				})
			}
		}
	}
}

// TestRankTakesDescriptionsToo: some registries give no artifact type of use, but hand on the annotations.
func TestRankTakesDescriptionsToo(t *testing.T) {
	t.Parallel()
	all := make([]resolver.Descriptor, 500)
	for i := range all {
		all[i] = resolver.Descriptor{Digest: digestOf(fmt.Append(nil, i))}
	}
	all[250].Annotations = map[string]string{"dev.sigstore.bundle.content": "dsse-envelope"}
	all = append(all, all...) // which makes no difference
	jobs, left := rank(all)
	if len(jobs) != maxReferrers || left != 500-maxReferrers || jobs[0].Digest != all[250].Digest {
		t.Errorf("%d to look at, %d left, first %s", len(jobs), left, jobs[0].Digest)
	}
	if jobs[1].Digest != all[0].Digest || jobs[63].Digest != all[499].Digest {
		t.Error("of the others, neither the first nor the last")
	}
}

// TestFullManifestsLeaveRoom: a referrer with as many signatures as may be takes no other's place.
func TestFullManifestsLeaveRoom(t *testing.T) {
	t.Parallel()
	r := newRegistry()
	full := func(n int) []byte {
		layers := make([]map[string]any, maxLayers)
		for i := range layers {
			layers[i] = layerOf(bundleType+"+json", r.blob(fmt.Appendf(nil, "junk %d %d", n, i)))
		}
		return manifestOf(layers...)
	}
	for n := range 5 {
		if n == 2 {
			r.refer("", manifestOf(layerOf(bundleType+"+json", r.blob([]byte("real")))))
		}
		r.refer("", full(n))
	}
	found := r.find(t, Referrers)
	if !found.has("real") || len(found.Items) != maxItems || found.Total != 5*maxLayers+1 {
		t.Errorf("%d items of %d, the real one %t", len(found.Items), found.Total, found.has("real"))
	}
	for n := range 5 {
		if !found.has(fmt.Sprintf("junk %d 0", n)) || !found.has(fmt.Sprintf("junk %d %d", n, maxLayers-1)) {
			t.Errorf("neither the first nor the last of number %d", n)
		}
	}
}

// TestContentIsBounded: much that is large leaves room for what is small, and is not fetched.
func TestContentIsBounded(t *testing.T) {
	t.Parallel()
	r := newRegistry()
	var layers []map[string]any
	for i := range 8 {
		big := make([]byte, maxStatement)
		big[0] = byte(i)
		layers = append(layers, layerOf(envelopeType, r.blob(big)))
	}
	layers = append(layers, layerOf(payloadType, r.blob([]byte("small"))))
	r.tags["sha256-"+image.Digest.Hex()+".sig"] = manifestOf(layers...)
	found := r.find(t, SignatureTag)
	if !found.has("small") || len(found.Items) != 9 {
		t.Fatalf("%d items, the small one %t", len(found.Items), found.has("small"))
	}
	failed := 0
	for _, i := range found.Items {
		if i.Failure != nil {
			failed++
		}
	}
	if got := r.bytes.Load(); got > maxContent+1<<20 || found.Size > maxContent+1<<20 {
		t.Errorf("%d MiB were fetched, %d held", got>>20, found.Size>>20)
	}
	if n := r.blobTrips.Load(); n != 2 || failed != 7 { // 8 MiB less a few bytes
		t.Errorf("%d blobs were fetched, %d failed", n, failed)
	}
}

// TestLargeReferrers: neither one that says how large it is nor one that lies is read, and not any number of them.
func TestLargeReferrers(t *testing.T) {
	t.Parallel()
	r := newRegistry()
	fill := strings.Repeat("x", resolver.MaxManifest-100)
	for i := range 20 {
		r.refer("", []byte(fmt.Sprintf(`{"n":%d,"x":"`, i)+fill+`"}`))
		if i%2 == 0 {
			r.list.Descriptors[i].Size = 1000
		}
	}
	for i := range 30 { // as large as may be
		r.refer(bundleType, []byte(fmt.Sprintf(`{"n":%d,"x":"`, i)+fill[:maxReferrer-100]+`"}`))
	}
	r.refer(bundleType, manifestOf(layerOf(payloadType, r.blob([]byte("real")))))
	found := r.find(t, Referrers)
	if !found.has("real") || found.Total < 16 || found.Total > 51 {
		t.Errorf("the real one %t, %d in all", found.has("real"), found.Total)
	}
	if got := r.bytes.Load(); got > enoughReferrers+maxFetches*resolver.MaxManifest {
		t.Errorf("%d MiB were fetched", got>>20)
	}
	for _, i := range found.Items {
		if i.Content == nil && (i.Failure == nil || i.Failure.Reason != engine.ReasonRegistryMalformed) {
			t.Errorf("%+v", i)
		}
	}
}

func TestTooLargeReferrer(t *testing.T) {
	t.Parallel()
	for size, trips := range map[int64]int64{maxReferrer + 1: 0, 100: 1} {
		r := newRegistry()
		r.refer("", []byte(`{"x":"`+strings.Repeat("x", maxReferrer)+`"}`))
		r.list.Descriptors[0].Size = size
		found := r.find(t, Referrers)
		if len(found.Items) != 1 || found.Items[0].Failure == nil || !strings.Contains(found.Items[0].Failure.Public, "too large") {
			t.Errorf("one that says it has %d bytes: %+v", size, found)
		}
		if n := r.manifestTrips.Load(); n != trips {
			t.Errorf("one that says it has %d bytes: %d requests, want %d", size, n, trips)
		}
	}
}

// TestNoListIsNoAbsence: whatever a Fetcher says of the list, it is not that the image has no signatures.
func TestNoListIsNoAbsence(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]engine.Reason{
		errNotFound:              engine.ReasonRegistryMalformed,
		context.DeadlineExceeded: engine.ReasonTimeout,
		errors.New("other"):      engine.ReasonInternal,
	} {
		r := newRegistry()
		r.listErr = err
		_, got := Find(t.Context(), r, Referrers, image)
		if f := (*engine.Failure)(nil); !errors.As(got, &f) || f.Reason != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
}

func TestSharedContentIsFetchedOnce(t *testing.T) {
	t.Parallel()
	r := newRegistry()
	payload := r.blob([]byte("payload"))
	short, long := layerOf(payloadType, payload), layerOf(payloadType, payload)
	short["size"], long["size"] = 3, 100
	l := layerOf(payloadType, payload)
	r.tags["sha256-"+image.Digest.Hex()+".sig"] = manifestOf(short, l, l, long, l, layerOf(bundleType+"+json", payload))
	found := r.find(t, SignatureTag)
	if found.Items[0].Failure == nil || found.Items[3].Fault == nil {
		t.Errorf("two lies: %+v, %+v", found.Items[0], found.Items[3])
	}
	for _, n := range []int{1, 2, 4, 5} {
		if string(found.Items[n].Content) != "payload" {
			t.Errorf("item %d: %+v", n, found.Items[n])
		}
	}
	if n := r.blobTrips.Load(); n != 3 {
		t.Errorf("%d fetches, want one, and one for each lie", n)
	}
	if most := int64(6*itemOverhead + 5*len("sig") + len(payload)); found.Size != most {
		t.Errorf("%d bytes held, want %d", found.Size, most)
	}
}

func TestPanicsBelowAreFailures(t *testing.T) {
	t.Parallel()
	r := newRegistry()
	var layers []map[string]any
	for i := range 20 {
		layers = append(layers, layerOf(payloadType, fmt.Append(nil, i)))
		r.refer("", fmt.Appendf(nil, "%d", i))
	}
	doc, f := parseManifest(manifestOf(layers...))
	if f != nil {
		t.Fatal(f)
	}
	r.panics = true
	found := r.find(t, Referrers)
	s := search{f: r, at: image, digest: image.Digest}
	s.fill(t.Context(), found, doc.candidates("x"))
	if len(found.Items) != 40 {
		t.Fatalf("%d items", len(found.Items))
	}
	for _, i := range found.Items {
		if i.Failure == nil || i.Failure.Reason != engine.ReasonInternal {
			t.Errorf("%+v", i)
		}
	}
}

// TestManifestsAllocateLittle is not parallel: it counts what the whole process allocates.
func TestManifestsAllocateLittle(t *testing.T) {
	fill := func(s string) []byte {
		return []byte(`{"layers":[` + strings.Repeat(s+",", maxLayers-1) + s + `]}`)
	}
	note := `{"mediaType":"` + payloadType + `","annotations":{` + strings.Repeat(`"":"",`, 680) + `"a":"b"}}`
	for name, raw := range map[string][]byte{
		"a million": []byte(`{"layers":[` + strings.Repeat("{},", resolver.MaxManifest/3-20) + `{}]}`),
		"digests":   []byte(`{"subject":{` + strings.Repeat(`"digest":"x",`, resolver.MaxManifest/13-20) + `"digest":"x"}}`),
		"notes":     fill(note),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if doc, f := parseManifest(raw); f == nil {
			doc.candidates("x")
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 24<<20 {
			t.Errorf("%s: %d MiB allocated to read %d MiB", name, took>>20, len(raw)>>20)
		}
		t.Logf("%s: %d KiB allocated to read %d KiB", name, (after.TotalAlloc-before.TotalAlloc)>>10, len(raw)>>10)
	}
}
