package attached

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"sluice/engine"
	"sluice/resolver"
)

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
	if n := r.blobTrips.Load(); n != 2 || failed != 7 { // 6 MiB have no room for two of 4
		t.Errorf("%d blobs were fetched, %d failed", n, failed)
	}
}

// TestMuchContent: one as large as it may be has room, with 2 MiB beside it and no more.
func TestMuchContent(t *testing.T) {
	t.Parallel()
	for size, fits := range map[int]bool{2 << 20: true, 2<<20 + 1: false} {
		r := newRegistry()
		r.tags["sha256-"+image.Digest.Hex()+".att"] = manifestOf(
			layerOf(envelopeType, r.blob(make([]byte, maxStatement))), layerOf(envelopeType, r.blob(make([]byte, size))))
		found := r.find(t, AttestationTag)
		if len(found.Items) != 2 || found.Items[1].Failure != nil || (found.Items[0].Failure == nil) != fits {
			t.Errorf("beside %d bytes: %d items, %v, %v", size, len(found.Items), found.Items[0].Failure, found.Items[1].Failure)
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
