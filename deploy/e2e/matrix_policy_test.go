package e2e

import (
	"fmt"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
)

// policyRows are what policies ask for beside the signature, and where they look for it.
func policyRows() []row {
	var all []row
	for n, f := range []form{classic, bundle2, oci11, bundle3} {
		r := signature(f, p256)
		r.on, r.twin = []string{referrersAPI, fallbackTag}[n%2], signatureOfAnother(f)
		all = append(all, r)
	}
	both := form{tool: cosignV2 + " and v3.1.3", format: "classic and bundle"}
	twice := func(v2, v3 string) func(s *signing) {
		return func(s *signing) {
			s.sign(classic, byKey(v2), s.image)
			s.sign(bundle3, byKey(v3), s.image)
		}
	}
	threshold := policy{authorities: [][]field{{keyOf(p256)}, {keyOf(another)}}, spec: "threshold: 2"}
	index := requires(keyOf(p256))
	every, riscv := index, index
	every.spec, riscv.spec = "platforms: index-or-every-platform", "platforms: [linux/riscv64]"
	const match = "requireReferenceMatch: true"
	unlike := twin{is: "looked for beside the image", policy: new(requires(keyOf(p256))), reason: "signature_missing"}
	return append(all, []row{
		{
			form: classic, by: p256, what: "signature for its own repository", on: fallbackTag,
			attach: signs(classic, byKey(p256)), policy: requires(keyOf(p256), match),
			twin: twin{is: "the same image and signature, copied from another", reason: "claim_mismatch", attach: func(s *signing) {
				elsewhere := s.also()
				s.sign(classic, byKey(p256), elsewhere)
				copyImage(s, elsewhere.signatures(), s.image.signatures())
			}},
		}, {
			form: oci11, by: p256, what: "signature for its own repository", on: referrersAPI,
			attach: signs(oci11, byKey(p256)), policy: requires(keyOf(p256), match),
			twin: twin{is: "a bundle, which names no repository", attach: signs(bundle3, byKey(p256)), reason: "claim_mismatch"},
		}, {
			form: bundle2, by: p256, what: "annotations, which this tool leaves out", on: fallbackTag,
			attach: signs(bundle2, byKey(p256), "-a", "env=prod"),
			policy: requires(keyOf(p256), "annotations: {env: prod}"), refused: "annotations_mismatch",
		}, {
			form: classic, by: p256, what: "signature in COSIGN_REPOSITORY", on: fallbackTag,
			attach: signs(classic.aside(), byKey(p256)),
			policy: requires(keyOf(p256), signatureRepository(fallbackTag)), twin: unlike,
		}, {
			form: bundle3, by: p256, what: "signature in COSIGN_REPOSITORY", on: referrersAPI,
			attach: signs(bundle3.aside(), byKey(p256)),
			policy: requires(keyOf(p256), signatureRepository(referrersAPI)), twin: unlike,
		}, {
			form: both, by: p256 + " and " + another, what: "a signature in each format, threshold 2", on: fallbackTag,
			attach: twice(p256, another), policy: threshold,
			twin: twin{is: "both by one key", attach: twice(p256, p256), reason: "signature_invalid", why: wrongKey},
		}, {
			form: both, by: another + " and " + p256, what: "a signature in each format", on: referrersAPI,
			attach: twice(another, p256), policy: requires(keyOf(p256)),
			twin: twin{is: "both by another key", attach: twice(another, another), reason: "signature_invalid", why: wrongKey},
		}, {
			form: classic, by: p384, what: "signature; any of several keys", on: referrersAPI, attach: signs(classic, byKey(p384)),
			policy: requires(keysOf(p256, p384)),
			twin:   twin{is: "none of them", attach: signs(classic, byKey(another)), reason: "signature_invalid", why: wrongKey},
		}, {
			form: bundle3, by: rsa2048, what: "signature; any key of a file", on: fallbackTag, attach: signs(bundle3, byKey(rsa2048)),
			policy: requires(keyFileOf(p256, rsa2048)),
			twin:   twin{is: "none of them", attach: signs(bundle3, byKey(another)), reason: "signature_invalid", why: wrongKey},
		}, {
			form: classic, by: p256, what: "slsaprovenance1 and vuln, both required", on: fallbackTag,
			attach: func(s *signing) {
				s.attest(classic, byKey(p256), s.image, slsa)
				s.attest(classic, byKey(p256), s.image, vuln)
			},
			policy: requires(keyOf(p256), slsa.and(vuln)),
			twin:   twin{is: "one of them", attach: attests(classic, byKey(p256), slsa), reason: "attestation_missing"},
		}, {
			form: classic, by: p256, what: "index alone", on: referrersAPI,
			attach: func(s *signing) { s.sign(classic, byKey(p256), s.toIndex()) }, policy: index,
			twin: twin{is: "a platform asked for that it lacks", policy: &riscv, reason: "platform_missing"},
		}, {
			form: bundle3, by: p256, what: "every platform of an index, not the index", on: referrersAPI, policy: every,
			attach: func(s *signing) {
				for _, child := range s.platforms() {
					s.sign(bundle3, byKey(p256), child)
				}
			},
			twin: twin{is: "one platform left out", reason: "signature_missing", attach: func(s *signing) {
				s.sign(bundle3, byKey(p256), s.platforms()[0])
			}},
		},
	}...)
}

func signatureOfAnother(f form) twin {
	return twin{is: "another image's signature", reason: "claim_mismatch", attach: func(s *signing) {
		sign := func(i image) { s.sign(f, byKey(p256), i) }
		if f.format == "classic" {
			s.copiedTag(".sig", sign)
			return
		}
		s.copiedReferrer(sign)
	}}
}

// aside is a repository for signatures alone.
const aside = "matrix-signatures"

// aside has a form write to it.
func (f form) aside() form {
	f.repository = aside
	return f
}

func signatureRepository(on string) field {
	return func(m *matrix) string {
		return fmt.Sprintf("signatureRepository: %q", m.registries[on].host+"/"+aside)
	}
}

func keysOf(one, other string) field {
	return func(m *matrix) string {
		return fmt.Sprintf("keys: [{file: %q}, {file: %q}]", m.keys[one].public, m.keys[other].public)
	}
}

// keyFileOf is one file of several keys.
func keyFileOf(algorithms ...string) field {
	return func(m *matrix) string {
		var all []byte
		for _, a := range algorithms {
			all = append(all, m.pems[a]...)
		}
		return fmt.Sprintf("key: {data: %q}", all)
	}
}

// toIndex pushes an index of two platforms in place of s.image, and returns it.
func (s *signing) toIndex() image {
	s.Helper()
	s.image.digest = s.registry.pushIndex(s, s.image.repository)
	return s.image
}

// platforms pushes an index in place of s.image, and returns what it is made of.
func (s *signing) platforms() []image {
	s.Helper()
	list, _ := s.getManifest(s.toIndex().byDigest()).raw["manifests"].([]any)
	var all []image
	for _, m := range list {
		digest, err := v1.NewHash(m.(map[string]any)["digest"].(string))
		must(s, err)
		all = append(all, image{s.image.repository, digest})
	}
	return all
}

// pushIndex pushes an index of images for two platforms.
func (r *registry) pushIndex(t testing.TB, repository string) v1.Hash {
	t.Helper()
	index := v1.ImageIndex(empty.Index)
	for _, p := range []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64", Variant: "v8"}} {
		content, err := random.Image(64, 1)
		must(t, err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: content, Descriptor: v1.Descriptor{Platform: &p}})
	}
	writeIndex(t, repository+":index", index)
	digest, err := index.Digest()
	must(t, err)
	return digest
}
