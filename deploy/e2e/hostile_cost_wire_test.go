package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// listCases are lists of referrers, and the manifests that they name.
func listCases() []hostile {
	// listed names n referrers, of which each makes a manifest.
	listed := func(n int, annotations object, manifest func(c *costs, t testing.TB, s *shelf, i int) []byte) fill {
		return func(c *costs, t testing.TB, s *shelf) {
			for i := range n {
				d := s.manifest("", manifest(c, t, s, i))
				d["artifactType"] = bundleType
				if annotations != nil {
					d["annotations"] = annotations
				}
				s.referrers = append(s.referrers, d)
			}
		}
	}
	// large is a manifest as large as one that is read, with one bundle of the largest size.
	large := func(c *costs, t testing.TB, s *shelf, i int) []byte {
		l := s.made(bundleType, func() []byte { return padded([]byte(fmt.Sprintf(`{"a":%d}`, i)), mostStatement) })
		return padded(s.referrer(l), mostReferrer-i)
	}
	// full is one as large, of as many layers as there may be.
	full := func(c *costs, t testing.TB, s *shelf, i int) []byte {
		l := s.blob(bundleType, []byte("{}"), object{"a": strings.Repeat("x", 300)})
		return s.referrer(repeat(1000, l)...)
	}
	small := func(c *costs, t testing.TB, s *shelf, i int) []byte {
		content := padded([]byte(fmt.Sprintf(`{"a":%d}`, i)), mostOfAPlace/lookedAt-1<<10)
		return s.referrer(s.made(bundleType, func() []byte { return content }))
	}
	notes := object{}
	for i := range 16 {
		notes[fmt.Sprint(i)] = strings.Repeat("x", 20)
	}
	return []hostile{
		{"200 referrers of 512 KiB, bundles of 4 MiB", byKeyOf, listed(200, nil, large), "registry_malformed"},
		{"200 referrers of 512 KiB, bundles of 4 MiB", byNobody, listed(200, nil, large), "registry_malformed"},
		{"200 referrers of 1000 layers", byKeyOf, listed(200, nil, full), "registry_malformed"},
		{"64 referrers, bundles of 95 KiB", byNobody, listed(lookedAt, nil, small), "signature_invalid"},
		{"5000 referrers in 3 MiB of list", byKeyOf, listed(5000, notes, small), "registry_malformed"},
		{"everything at its limits", byKeyOf, everything(string(payloadType)), "registry_malformed"},
		{"everything at its limits", byNobody, everything(string(payloadType)), "registry_malformed"},
		{"everything at its limits", attestKey, everything(envelopeType), "registry_malformed"},
	}
}

// everything is an image, signatures, a list and referrers that are all as large as they may be, and come at once.
func everything(mediaType string) fill {
	return func(c *costs, t testing.TB, s *shelf) {
		s.manifest("1", padded(theImage, mostManifest))
		s.image.digest.Hex = strings.TrimPrefix(digestOf(padded(theImage, mostManifest)), "sha256:")
		content := func(kind string, i int) func() []byte {
			return func() []byte { return padded([]byte(fmt.Sprintf(`{%q:%d}`, kind, i)), mostOfAPlace/lookedAt-1<<10) }
		}
		var layers []object
		for i := range lookedAt {
			l := s.made(mediaType, content("sig", i))
			l["annotations"] = object{
				signatureKey: junkSignature, certificateKey: strings.Repeat("x", 20<<10), bundleKey: strings.Repeat("x", 44<<10),
			}
			layers = append(layers, l)
		}
		s.signatures(layers...)
		s.attestations(layers...)
		notes := object{}
		for i := range 16 {
			notes[fmt.Sprintf("note-%d", i)] = strings.Repeat("x", 200)
		}
		for i := range 1000 {
			d := object{"mediaType": manifestType, "digest": digestOf(fmt.Append(nil, i)), "size": 1 << 20}
			if i < lookedAt {
				size := mostReferrer
				if i > 3 {
					size = 1 << 10
				}
				d = s.manifest("", padded(s.referrer(s.made(bundleType, content("bundle", i))), size-i))
			}
			d["artifactType"], d["annotations"] = bundleType, notes
			s.referrers = append(s.referrers, d)
		}
	}
}

// deflated is a hundred MiB of blanks in gzip.
var deflated = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for range 100 {
		_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20))
	}
	_ = w.Close()
	return b.Bytes()
})

// wireCases are answers that no registry gives.
func wireCases() []hostile {
	const hundred = 100 << 20
	junk := bytes.Repeat([]byte(" "), 64<<10)
	send := func(w http.ResponseWriter, r *http.Request, size int) {
		for sent := 0; sent < size && r.Context().Err() == nil; sent += len(junk) {
			if _, err := w.Write(junk[:min(len(junk), size-sent)]); err != nil {
				return
			}
		}
	}
	type behaviour struct {
		name string
		do   http.HandlerFunc
	}
	answers := []behaviour{
		{"100 MiB, announced", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(hundred))
			send(w, r, hundred)
		}},
		{"without an end", func(w http.ResponseWriter, r *http.Request) { send(w, r, 1<<40) }},
		{"fewer bytes than announced", func(w http.ResponseWriter, r *http.Request) {
			c, out, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			fmt.Fprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n{}", w.Header().Get("Content-Type"), 4<<20)
			_ = out.Flush()
		}},
		{"an exabyte, announced", func(w http.ResponseWriter, r *http.Request) {
			c, out, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			fmt.Fprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", w.Header().Get("Content-Type"), int64(1)<<60)
			for r.Context().Err() == nil {
				if _, err := out.Write(junk); err != nil {
					return
				}
			}
		}},
		{"Content-Encoding: gzip, 100 MiB", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(deflated())
		}},
		{"gzip that it does not say", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(deflated()) }},
	}
	// Where the answers are given: to all requests of these kinds.
	places := []struct {
		name string
		is   func(path string) bool
	}{
		{"for the image", isTag},
		{"for signatures and referrers", func(path string) bool { return isSignatures(path) || isReferrers(path) }},
		{"for 64 payloads", isPayload},
	}
	var all []hostile
	for _, a := range answers {
		for _, p := range places {
			all = append(all, hostile{a.name + " " + p.name, byKeyOf, func(c *costs, t testing.TB, s *shelf) {
				var layers []object
				for i := range lookedAt {
					content := padded(claim(), mostOfAPlace/lookedAt-i)
					layers = append(layers, s.blob(string(payloadType), content, c.other.classic(t, content, vouched{})))
				}
				s.signatures(layers...)
				s.instead = func(w http.ResponseWriter, r *http.Request) bool {
					if !p.is(r.URL.Path) {
						return false
					}
					switch {
					case isPayload(r.URL.Path):
						w.Header().Set("Content-Type", "application/octet-stream")
					case isReferrers(r.URL.Path):
						w.Header().Set("Content-Type", indexType)
					default:
						w.Header().Set("Content-Type", manifestType)
					}
					a.do(w, r)
					return true
				}
			}, "registry_malformed registry_unavailable signature_missing"})
		}
	}
	return slices.Concat(all, pageCases())
}

// pageCases are lists of referrers that go on and on.
func pageCases() []hostile {
	pages := func(reasons, name string, page func(n int) (manifests []object, next string)) hostile {
		return hostile{"pages of referrers, " + name, byKeyOf, func(_ *costs, _ testing.TB, s *shelf) {
			s.instead = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/referrers/") {
					return false
				}
				n, _ := strconv.Atoi(r.URL.Query().Get("n"))
				manifests, next := page(n)
				w.Header().Set("Content-Type", indexType)
				w.Header().Set("Link", fmt.Sprintf("<%s?n=%s>; rel=\"next\"", r.URL.Path, next))
				_, _ = w.Write(indexOf(manifests...))
				return true
			}
		}, reasons}
	}
	many := func(from, n, note int) []object {
		var all []object
		for i := range n {
			all = append(all, object{
				"mediaType": manifestType, "digest": digestOf(fmt.Append(nil, from+i)), "size": 1000, "artifactType": bundleType,
				"annotations": object{"a": strings.Repeat("x", note)},
			})
		}
		return all
	}
	return []hostile{
		pages("registry_malformed", "that lead back", func(int) ([]object, string) { return nil, "0" }),
		pages("registry_malformed", "empty", func(n int) ([]object, string) { return []object{}, fmt.Sprint(n + 1) }),
		pages("registry_malformed", "of 300", func(n int) ([]object, string) { return many(n*300, 300, 10), fmt.Sprint(n + 1) }),
		pages("registry_malformed", "of 3 MiB", func(n int) ([]object, string) { return many(n*5000, 5000, 450), fmt.Sprint(n + 1) }),
		pages("registry_unavailable", "with a name of a MiB", func(n int) ([]object, string) {
			return []object{}, strings.Repeat("0", 1<<20) + fmt.Sprint(n+1)
		}),
	}
}
