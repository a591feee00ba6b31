package signature

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/engine"
	"sluice/resolver"
)

// What anyone who may push can write around a signature. Each case is given the layer of a valid one.
var hostileLayers = map[string]struct {
	change func(*descriptor)
	want   engine.Reason
}{
	// These made cosign's own verification panic. Nothing of it is looked at for a key.
	"bundle without body": {func(d *descriptor) {
		d.Annotations["dev.sigstore.cosign/bundle"] = `{"SignedEntryTimestamp":"","Payload":{}}`
	}, engine.ReasonPassed},
	"bundle whose body is a number":  {func(d *descriptor) { d.Annotations["dev.sigstore.cosign/bundle"] = `{"Payload":{"body":1}}` }, engine.ReasonPassed},
	"bundle body without apiVersion": {func(d *descriptor) { d.Annotations["dev.sigstore.cosign/bundle"] = `{"Payload":{"body":"e30="}}` }, engine.ReasonPassed},
	"bundle that is no JSON":         {func(d *descriptor) { d.Annotations["dev.sigstore.cosign/bundle"] = "\x00{" }, engine.ReasonPassed},
	"certificate of one blank":       {func(d *descriptor) { d.Annotations["dev.sigstore.cosign/certificate"] = " " }, engine.ReasonPassed},
	"chain of junk":                  {func(d *descriptor) { d.Annotations["dev.sigstore.cosign/chain"] = strings.Repeat("-----BEGIN", 999) }, engine.ReasonPassed},
	"timestamp of junk": {func(d *descriptor) {
		d.Annotations["dev.sigstore.cosign/rfc3161timestamp"] = `{"SignedRFC3161Timestamp":7}`
	}, engine.ReasonPassed},
	"annotation that is an object":   {func(d *descriptor) { d.Annotations["other"] = map[string]any{"a": 1} }, engine.ReasonPassed},
	"no annotations":                 {func(d *descriptor) { d.Annotations = nil }, engine.ReasonSignatureInvalid},
	"no signature":                   {func(d *descriptor) { delete(d.Annotations, signatureKey) }, engine.ReasonSignatureInvalid},
	"signature of another type":      {func(d *descriptor) { d.Annotations[signatureKey] = []int{1} }, engine.ReasonSignatureInvalid},
	"signature null":                 {func(d *descriptor) { d.Annotations[signatureKey] = nil }, engine.ReasonSignatureInvalid},
	"signature of zeroes":            {func(d *descriptor) { d.Annotations[signatureKey] = strings.Repeat("A", 96) }, engine.ReasonSignatureInvalid},
	"signature of one byte":          {func(d *descriptor) { d.Annotations[signatureKey] = "AA==" }, engine.ReasonSignatureInvalid},
	"signature of a DER bomb":        {func(d *descriptor) { d.Annotations[signatureKey] = strings.Repeat("MIAwgDCA", 500) }, engine.ReasonSignatureInvalid},
	"signature of a megabyte":        {func(d *descriptor) { d.Annotations[signatureKey] = strings.Repeat("A", 1<<20) }, engine.ReasonSignatureInvalid},
	"size negative":                  {func(d *descriptor) { d.Size = -1 }, engine.ReasonSignatureInvalid},
	"size zero":                      {func(d *descriptor) { d.Size = 0 }, engine.ReasonSignatureInvalid},
	"size absent":                    {func(d *descriptor) { d.Size = nil }, engine.ReasonSignatureInvalid},
	"size too large for a number":    {func(d *descriptor) { d.Size = json.Number("99999999999999999999") }, engine.ReasonSignatureInvalid},
	"size as text":                   {func(d *descriptor) { d.Size = "1" }, engine.ReasonSignatureInvalid},
	"size larger than the payload":   {func(d *descriptor) { d.Size = 100_000 }, engine.ReasonSignatureInvalid},
	"size smaller than the payload":  {func(d *descriptor) { d.Size = 10 }, engine.ReasonRegistryMalformed}, // by the Fetcher's limit
	"size beyond the bound":          {func(d *descriptor) { d.Size = maxPayload + 1 }, engine.ReasonRegistryMalformed},
	"size of an exabyte":             {func(d *descriptor) { d.Size = int64(1) << 60 }, engine.ReasonRegistryMalformed},
	"digest of another algorithm":    {func(d *descriptor) { d.Digest = "sha512:" + strings.Repeat("a", 128) }, engine.ReasonSignatureInvalid},
	"digest that is a path":          {func(d *descriptor) { d.Digest = "sha256:../../../../v2/secret/blobs" }, engine.ReasonSignatureInvalid},
	"digest empty":                   {func(d *descriptor) { d.Digest = "" }, engine.ReasonSignatureInvalid},
	"digest of what is not there":    {func(d *descriptor) { d.Digest = string(digestOf([]byte("x"))) }, engine.ReasonRegistryMalformed},
	"media type with a blank":        {func(d *descriptor) { d.MediaType += " " }, engine.ReasonSignatureMissing},
	"media type of an attestation":   {func(d *descriptor) { d.MediaType = "application/vnd.dsse.envelope.v1+json" }, engine.ReasonSignatureMissing},
	"media type in other letters":    {func(d *descriptor) { d.MediaType = strings.ToUpper(d.MediaType) }, engine.ReasonSignatureMissing},
	"a hundred thousand annotations": {func(d *descriptor) { annotate(d, 100_000) }, engine.ReasonPassed},
	"annotation names in other letters": {func(d *descriptor) {
		d.Annotations = map[string]any{strings.ToUpper(signatureKey): "AA=="}
	}, engine.ReasonSignatureInvalid},
}

func annotate(d *descriptor, n int) {
	for i := range n {
		d.Annotations[fmt.Sprintf("annotation-%d", i)] = "some text for it"
	}
}

func TestHostileLayers(t *testing.T) {
	t.Parallel()
	k := newKey(t, "P-256")
	p := claimFor(t, image.Digest, nil)
	for name, c := range hostileLayers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crafted := layerOf(p, sign(t, k.usual, p))
			c.change(&crafted)
			r := newRegistry()
			r.put(manifestOf(t, crafted), p)
			v := newVerifier(t, r)
			_, failure := verify(t, v, k)
			wantReason(t, failure, c.want)
			if s := v.Stats(); s.Panics != 0 {
				t.Errorf("%d panics", s.Panics)
			}

			// Whatever it is, it does not hide a good one beside it.
			for _, good := range [][]byte{p, claimFor(t, image.Digest, map[string]any{"good": "yes"})} {
				r.put(manifestOf(t, crafted, layerOf(good, sign(t, k.usual, good))), p, good)
				_, failure = outcome(t, r, k)
				wantReason(t, failure, engine.ReasonPassed)
			}
		})
	}
}

func TestHostileManifests(t *testing.T) {
	t.Parallel()
	k := newKey(t, "Ed25519")
	for name, c := range map[string]struct {
		raw  string
		want engine.Reason
	}{
		"empty":                              {``, engine.ReasonRegistryMalformed},
		"a page to log in":                   {`<html>`, engine.ReasonRegistryMalformed},
		"not UTF-8":                          {"\xff\xfe", engine.ReasonRegistryMalformed},
		"cut off":                            {`{"layers":[{"mediaType":"` + payloadType, engine.ReasonRegistryMalformed},
		"more after the end":                 {`{"layers":[]} {"layers":[]}`, engine.ReasonRegistryMalformed},
		"an array":                           {`[]`, engine.ReasonRegistryMalformed},
		"too deep":                           {`{"layers":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, engine.ReasonRegistryMalformed},
		"layers too deep":                    {`{"layers":[{"annotations":` + strings.Repeat(`{"a":`, 20_000) + `1` + strings.Repeat("}", 20_000) + `}]}`, engine.ReasonRegistryMalformed},
		"null":                               {`null`, engine.ReasonSignatureMissing},
		"nothing":                            {`{}`, engine.ReasonSignatureMissing},
		"layers null":                        {`{"layers":null}`, engine.ReasonSignatureMissing},
		"layers an object":                   {`{"layers":{"mediaType":"` + payloadType + `"}}`, engine.ReasonSignatureMissing},
		"layers a string":                    {`{"layers":"x"}`, engine.ReasonSignatureMissing},
		"layers of other things":             {`{"layers":[null,1,"x",[],{}]}`, engine.ReasonSignatureMissing},
		"an index":                           {`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1}]}`, engine.ReasonSignatureMissing},
		"schema 1":                           {`{"schemaVersion":1,"fsLayers":[{"blobSum":"sha256:00"}]}`, engine.ReasonSignatureMissing},
		"a layer of the wrong types":         {`{"layers":[{"mediaType":"` + payloadType + `","digest":1,"size":{},"annotations":[]}]}`, engine.ReasonSignatureInvalid},
		"two times layers":                   {`{"layers":[{"mediaType":"` + payloadType + `"}],"layers":[]}`, engine.ReasonRegistryMalformed},
		"a million layers":                   {`{"layers":[` + strings.Repeat("{},", 1_000_000) + `{}]}`, engine.ReasonRegistryMalformed},
		"a hundred thousand own annotations": {`{"layers":[],"annotations":{` + strings.Repeat(`"a":"b",`, 100_000) + `"a":"b"}}`, engine.ReasonSignatureMissing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry()
			r.put([]byte(c.raw))
			_, failure := outcome(t, r, k)
			wantReason(t, failure, c.want)
			if got := r.blobTrips.Load(); got != 0 {
				t.Errorf("%d blobs were asked for", got)
			}
		})
	}
}

func TestHostilePayloads(t *testing.T) {
	t.Parallel()
	k := newKey(t, "Ed25519")
	good := string(claimFor(t, image.Digest, nil))
	for name, p := range map[string]string{
		"null":             `null`,
		"no JSON":          `{"critical"`,
		"not UTF-8":        strings.Replace(good, "team/app", "team\xff", 1),
		"deep":             strings.Replace(good, "null}", strings.Repeat("[", 9000)+strings.Repeat("]", 9000)+"}", 1),
		"deeper":           strings.Repeat(`{"critical":`, 80_000),
		"two digests":      strings.Replace(good, `"image":{`, `"image":{"docker-manifest-digest":"sha256:00",`, 1),
		"digest in CAPS":   strings.Replace(good, `docker-manifest-digest`, `Docker-Manifest-Digest`, 1),
		"digest uppercase": strings.Replace(good, image.Digest.Hex(), strings.ToUpper(image.Digest.Hex()), 1),
		"another type":     strings.Replace(good, claimType, "atomic container signature", 1),
		"no type":          strings.Replace(good, `,"type":"`+claimType+`"`, "", 1),
		"no digest":        strings.Replace(good, string(image.Digest), "", 1),
		"trailing":         good + "{}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if p == good {
				t.Fatal("the case is not one")
			}
			r := newRegistry()
			r.put(manifestOf(t, layerOf([]byte(p), sign(t, k.usual, []byte(p)))), []byte(p))
			_, failure := outcome(t, r, k)
			wantReason(t, failure, engine.ReasonClaimMismatch)
		})
	}
}

func TestTooManySignatures(t *testing.T) {
	t.Parallel()
	k, other := newKey(t, "Ed25519"), newKey(t, "Ed25519")
	mine := claimFor(t, image.Digest, nil)
	good := layerOf(mine, sign(t, k.usual, mine))
	payloads := [][]byte{mine}
	var junk []descriptor
	for i := range maxLayers {
		p := claimFor(t, image.Digest, map[string]any{"i": i})
		payloads, junk = append(payloads, p), append(junk, layerOf(p, sign(t, other.usual, p)))
	}
	with := func(i int) []descriptor {
		layers := append([]descriptor(nil), junk...)
		layers[i] = good
		return layers
	}
	for _, c := range []struct {
		name   string
		layers []descriptor
		want   engine.Reason
	}{
		{"a thousand of another's", junk, engine.ReasonRegistryMalformed},
		{"more than are read", append(with(0), junk[0]), engine.ReasonRegistryMalformed},
		{"first", with(0), engine.ReasonPassed},
		{"last", with(maxLayers - 1), engine.ReasonPassed},
		{"last of the first", with(maxItems/2 - 1), engine.ReasonPassed},
		{"first of the last", with(maxLayers - maxItems/2), engine.ReasonPassed},
		{"in the middle", with(maxLayers / 2), engine.ReasonRegistryMalformed},
		{"as many as are looked at", junk[:maxItems], engine.ReasonSignatureInvalid},
		{"one more", junk[:maxItems+1], engine.ReasonRegistryMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry()
			r.put(manifestOf(t, c.layers...), payloads...)
			v := newVerifier(t, r)
			_, failure := verify(t, v, k)
			wantReason(t, failure, c.want)
			if c.want == engine.ReasonRegistryMalformed && !strings.HasPrefix(failure.Public, "too many signatures") {
				t.Errorf("public text %q", failure.Public)
			}
			if got := r.blobTrips.Load(); got > maxItems {
				t.Errorf("%d payloads fetched, want at most %d", got, maxItems)
			}
			if got := v.Stats().Judged; got > maxItems {
				t.Errorf("%d signatures judged, want at most %d", got, maxItems)
			}
		})
	}
}

func TestPayloadsTogetherAreBounded(t *testing.T) {
	t.Parallel()
	k, other := newKey(t, "Ed25519"), newKey(t, "Ed25519")
	r := newRegistry()
	var layers []descriptor
	var payloads [][]byte
	for i := range 12 {
		p := claimFor(t, image.Digest, map[string]any{"fill": strings.Repeat(string(rune('a'+i)), maxPayload-400)})
		payloads, layers = append(payloads, p), append(layers, layerOf(p, sign(t, other.usual, p)))
	}
	r.put(manifestOf(t, layers...), payloads...)
	_, failure := outcome(t, r, k)
	wantReason(t, failure, engine.ReasonRegistryMalformed)
	if got := r.blobTrips.Load(); got != maxContent/maxPayload {
		t.Errorf("%d payloads of a megabyte fetched, want %d", got, maxContent/maxPayload)
	}
	mine := claimFor(t, image.Digest, nil)
	r.put(manifestOf(t, append(layers, layerOf(mine, sign(t, k.usual, mine)))...), mine)
	_, failure = outcome(t, r, k)
	wantReason(t, failure, engine.ReasonPassed)
}

// changing is a registry that becomes another, while what nobody waits for any more may still be asking the one before.
type changing struct{ now atomic.Pointer[registry] }

func (c *changing) Manifest(ctx context.Context, ref engine.Reference) (resolver.Manifest, error) {
	return c.now.Load().Manifest(ctx, ref)
}

func (c *changing) Blob(ctx context.Context, ref engine.Reference, d engine.Digest, limit int64) ([]byte, error) {
	return c.now.Load().Blob(ctx, ref, d, limit)
}

func (c *changing) Referrers(ctx context.Context, ref engine.Reference) (resolver.Referrers, error) {
	return c.now.Load().Referrers(ctx, ref)
}

// TestMutants changes bytes of the payload, the signature and the manifest. A signature is over every byte of the
// payload, so what verifies must still say what was signed.
func TestMutants(t *testing.T) {
	t.Parallel()
	const mutants = 120 // of each kind of key
	rnd := rand.New(rand.NewPCG(1, 2))
	fetch := new(changing)
	fetch.now.Store(newRegistry())
	v := newVerifier(t, fetch)
	for _, kind := range []string{"P-256", "P-384", "RSA-2048", "Ed25519"} {
		k := newKey(t, kind)
		p := claimFor(t, image.Digest, map[string]any{"env": "prod"})
		l := layerOf(p, sign(t, k.usual, p))
		m := manifestOf(t, l)
		verified := 0
		for i := range mutants {
			r := newRegistry()
			payload := p
			switch i % 3 {
			case 0: // a payload that the manifest names rightly
				payload = mutate(rnd, p)
				r.put(manifestOf(t, layerOf(payload, l.Annotations[signatureKey].(string))), payload)
			case 1:
				mutant := l
				mutant.Annotations = map[string]any{signatureKey: string(mutate(rnd, []byte(l.Annotations[signatureKey].(string))))}
				r.put(manifestOf(t, mutant), p)
			default:
				r.put(mutate(rnd, m), p)
			}
			fetch.now.Store(r)
			v.facts.Invalidate()
			v.downloads.Invalidate()
			e, failure := verify(t, v, k)
			if n := v.Stats().Panics; n != 0 {
				t.Fatalf("%s, mutant %d: %d panics: %v", kind, i, n, failure)
			}
			switch {
			case failure == nil && i%3 == 0 && string(payload) != string(p):
				t.Fatalf("%s, mutant %d: a changed payload verifies: %s", kind, i, payload)
			case failure == nil:
				verified++
				if len(e.Signatures) != 1 || e.Signatures[0].Annotations["env"] != "prod" {
					t.Fatalf("%s, mutant %d says something else: %+v", kind, i, e.Signatures)
				}
			case i%3 == 0 && failure.Reason != engine.ReasonSignatureInvalid:
				t.Fatalf("%s, mutant %d: got %v, want %s", kind, i, failure, engine.ReasonSignatureInvalid)
			}
		}
		if verified == mutants || verified == 0 { // a manifest has much that does not matter
			t.Errorf("%s: %d mutants verified, so nothing was tried", kind, verified)
		}
	}
}

// mutate returns b with one to three places changed.
func mutate(rnd *rand.Rand, b []byte) []byte {
	b = append([]byte(nil), b...)
	for range 1 + rnd.IntN(3) {
		i := rnd.IntN(len(b))
		switch rnd.IntN(5) {
		case 0:
			b[i] ^= 1 << rnd.IntN(8)
		case 1:
			b[i] = byte(rnd.IntN(256))
		case 2:
			b = append(b[:i], b[i+1:]...)
		case 3:
			b = append(b[:i+1], b[i:]...)
		default:
			j := rnd.IntN(len(b))
			b[i], b[j] = b[j], b[i]
		}
	}
	return b
}
