package e2e

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/admission"
	api "k8s.io/kubernetes/pkg/apis/core"
)

// usual is a service for which images of the shared registry must be signed by the release key.
func usual(t testing.TB) settings {
	return settings{
		registries: []string{shared.registry.host},
		rules:      []rule{{name: "signed", images: shared.registry.host + "/**", key: releaseKey(t)}},
	}
}

func TestSignedIsAllowed(t *testing.T) {
	t.Parallel()
	i := signed(t)
	s := newService(t, usual(t))
	apiserver := s.failClosed(t)
	for range 2 { // the second by the plugin's cache or by ours
		apiserver.create(t, pod(i.tag("1"))).allowed(t)
	}
	apiserver.create(t, pod(i.byDigest())).allowed(t)
	apiserver.create(t, pod(i.tag("1"), i.byDigest())).allowed(t)
}

func TestUnsignedIsDenied(t *testing.T) {
	t.Parallel()
	i := unsigned(t)
	s := newService(t, usual(t))
	got := s.failClosed(t).create(t, pod(i.tag("1")))
	got.denied(t, "signature_missing")
	want := fmt.Sprintf(`pods "demo" is forbidden: image policy webhook backend denied one or more images: `+
		`image "%s:1" is not signed, and policy "signed" requires a signature by "release" (looked for sha256-%s….sig and `+
		`referrers in %[1]s); have it signed`, i.repository, i.digest.Hex[:12])
	if got.err.Error() != want {
		t.Errorf("the text is\n%s\nand should be\n%s", got.err, want)
	}
}

// One image of a pod that may not run is enough, and all that may not are named.
func TestEveryFailingImageIsNamed(t *testing.T) {
	t.Parallel()
	good, bad := signed(t), unsigned(t)
	s := newService(t, usual(t))
	s.failClosed(t).create(t, pod(good.tag("1"), bad.tag("1"), "nginx", bad.byDigest())).
		denied(t, "signature_missing", bad.tag("1"), bad.byDigest(), `image "nginx" has no tag`)
}

func TestWrongKeyIsDenied(t *testing.T) {
	t.Parallel()
	i := shared.registry.push(t, repositoryOf(t), "1")
	sign(t, i, otherKey(t))
	s := newService(t, usual(t))
	s.failClosed(t).create(t, pod(i.tag("1"))).denied(t, "signature_invalid", i.tag("1"), `not by "release"`)
}

// Two signatures, of which the right one came last.
func TestSignedByBothIsAllowed(t *testing.T) {
	t.Parallel()
	i := shared.registry.push(t, repositoryOf(t), "1")
	sign(t, i, otherKey(t))
	sign(t, i, releaseKey(t))
	s := newService(t, usual(t))
	s.failClosed(t).create(t, pod(i.tag("1"))).allowed(t)
}

func TestCopiedSignatureIsDenied(t *testing.T) {
	t.Parallel()
	good := signed(t)
	bad := shared.registry.push(t, repositoryOf(t), "1")
	copyImage(t, good.signatures(), bad.signatures())
	s := newService(t, usual(t))
	s.failClosed(t).create(t, pod(bad.tag("1"))).denied(t, "claim_mismatch", bad.tag("1"), "not for this image")
}

func TestMissingImageIsDenied(t *testing.T) {
	t.Parallel()
	s := newService(t, usual(t))
	s.failClosed(t).create(t, pod(shared.registry.host+"/nothing/here:1")).denied(t, "image_not_found", "does not exist")
}

func TestAnnotations(t *testing.T) {
	t.Parallel()
	plain, production, test := signed(t), shared.registry.push(t, repositoryOf(t)+"/prod", "1"),
		shared.registry.push(t, repositoryOf(t)+"/test", "1")
	sign(t, production, releaseKey(t), "-a", "env=prod", "-a", "team=a")
	sign(t, test, releaseKey(t), "-a", "env=test")
	settings := usual(t)
	settings.rules[0].annotations = "{env: prod}"
	s := newService(t, settings)
	apiserver := s.failClosed(t)
	apiserver.create(t, pod(production.tag("1"))).allowed(t)
	apiserver.create(t, pod(test.tag("1"))).denied(t, "annotations_mismatch", "env=prod")
	apiserver.create(t, pod(plain.tag("1"))).denied(t, "annotations_mismatch", "env=prod")
}

// cosign signs with more than what it generates itself.
func TestImportedKeys(t *testing.T) {
	t.Parallel()
	encode := func(t *testing.T, private any, err error) []byte {
		must(t, err)
		der, err := x509.MarshalPKCS8PrivateKey(private)
		must(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	f := func(name string, generate func() (any, error)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			private, err := generate()
			k := importKey(t, encode(t, private, err))
			i := shared.registry.push(t, repositoryOf(t), "1")
			sign(t, i, k)
			settings := usual(t)
			settings.rules[0].key = k
			s := newService(t, settings)
			apiserver := s.failClosed(t)
			apiserver.create(t, pod(i.tag("1"))).allowed(t)
			apiserver.create(t, pod(signed(t).tag("1"))).denied(t, "signature_invalid")
		})
	}
	f("rsa-2048", func() (any, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	f("p-384", func() (any, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) })
	f("ed25519", func() (any, error) { _, private, err := ed25519.GenerateKey(rand.Reader); return private, err })
}

// A tag that is moved to an unsigned image is denied once nobody remembers what it pointed at: not the plugin (1 s),
// not the verdict (1 s) and not the tag (1 s).
func TestMovedTagIsDenied(t *testing.T) {
	t.Parallel()
	i := shared.registry.push(t, repositoryOf(t), "1", "2")
	sign(t, i, releaseKey(t))
	settings := usual(t)
	settings.rules[0].allowTTL = "1s"
	settings.edits = [][]string{{"tagTTL: 60s", "tagTTL: 1s"}}
	s := newService(t, settings)
	apiserver := s.failClosed(t)
	apiserver.create(t, pod(i.tag("1"))).allowed(t)

	moved := shared.registry.push(t, repositoryOf(t), "1")
	eventually(t, func() error {
		if got := apiserver.create(t, pod(i.tag("1"))); got.err == nil {
			return fmt.Errorf("the tag was moved to %s, and is still allowed: %v", moved.digest, got)
		}
		return nil
	})
	apiserver.create(t, pod(i.tag("1"))).denied(t, "signature_missing", i.tag("1"))
	apiserver.create(t, pod(i.tag("2"))).allowed(t)
	apiserver.create(t, pod(i.byDigest())).allowed(t)

	// And back: it is allowed again.
	copyImage(t, i.tag("2"), i.tag("1"))
	eventually(t, func() error { return apiserver.create(t, pod(i.tag("1"))).err })
}

func TestInitAndEphemeralContainers(t *testing.T) {
	t.Parallel()
	good, bad := signed(t), unsigned(t)
	s := newService(t, usual(t))
	apiserver := s.failClosed(t)

	withInit := pod(good.tag("1"))
	withInit.Spec.InitContainers = []api.Container{{Name: "init", Image: bad.tag("1")}}
	apiserver.create(t, withInit).denied(t, "signature_missing", bad.tag("1"))
	withInit.Spec.InitContainers[0].Image = good.byDigest()
	apiserver.create(t, withInit).allowed(t)

	debug := func(image string) answer {
		with := pod(good.tag("1"))
		with.Spec.EphemeralContainers = []api.EphemeralContainer{
			{EphemeralContainerCommon: api.EphemeralContainerCommon{Name: "debugger", Image: image}},
		}
		return apiserver.validate(t.Context(), with, pod(good.tag("1")), "ephemeralcontainers", admission.Update)
	}
	debug(good.tag("1")).allowed(t)
	debug(bad.tag("1")).denied(t, "signature_missing", bad.tag("1"))
}

func TestPodUpdate(t *testing.T) {
	t.Parallel()
	good, bad := signed(t), unsigned(t)
	s := newService(t, usual(t))
	apiserver := s.failClosed(t)
	update := func(from, to string) answer {
		return apiserver.validate(t.Context(), pod(to), pod(from), "", admission.Update)
	}
	update(bad.tag("1"), good.tag("1")).allowed(t)
	update(good.tag("1"), bad.tag("1")).denied(t, "signature_missing", bad.tag("1"))
	labelled := pod(good.tag("1"))
	labelled.Labels = map[string]string{"a": "b"}
	apiserver.validate(t.Context(), labelled, pod(good.tag("1")), "", admission.Update).allowed(t)
}

// What the audit log gets says what was decided, by which rule, and about which digest; and the plugin repeats it from
// its cache.
func TestAuditAnnotations(t *testing.T) {
	t.Parallel()
	good, bad := signed(t), unsigned(t)
	s := newService(t, usual(t))
	apiserver := s.failClosed(t)
	fingerprint := ""
	check := func(got answer, want map[string]string) {
		t.Helper()
		for key, value := range want {
			if got.audit[key] != value {
				t.Errorf("audit annotation %s is %q, want %q", key, got.audit[key], value)
			}
		}
		if fingerprint == "" {
			fingerprint = got.audit["fingerprint"]
		}
		if got.audit["fingerprint"] != fingerprint || fingerprint == "" {
			t.Errorf("the fingerprint is %q, and was %q", got.audit["fingerprint"], fingerprint)
		}
	}
	for range 2 {
		check(apiserver.create(t, pod(good.tag("1"))), map[string]string{
			"verdict": "allow", "reason": "passed", "digests": good.tag("1") + "@" + good.digest.String(),
		})
		check(apiserver.create(t, pod(bad.tag("1"))), map[string]string{
			"verdict": "deny", "reason": "signature_missing", "policy": "signed",
			"digests": bad.tag("1") + "@" + bad.digest.String(),
		})
	}
}

// A policy's own words and mode: warn reach those they are for.
func TestMessageAndWarnings(t *testing.T) {
	t.Parallel()
	bad := unsigned(t)
	settings := usual(t)
	settings.rules[0].message = "Ask the release team for a signed build."
	s := newService(t, settings)
	s.failClosed(t).create(t, pod(bad.tag("1"))).denied(t, "signature_missing", "Ask the release team for a signed build.")

	file := s.file("policies/50-signed.yaml")
	edit(t, file, "  cache:", "  mode: warn\n  cache:")
	s.reload(t)
	got := s.failClosed(t).create(t, anew(pod(bad.tag("1"))))
	got.allowed(t)
	if got.audit["verdict"] != "warn" || !strings.Contains(got.audit["warnings"], bad.tag("1")) {
		t.Errorf("audit: %v", got.audit)
	}
}

// admission.json says the same as admission.yaml.
func TestAdmissionJSON(t *testing.T) {
	t.Parallel()
	good, bad := signed(t), unsigned(t)
	s := newService(t, usual(t))
	apiserver := newAPIServer(t, s.file("admission.json"))
	apiserver.create(t, pod(good.tag("1"))).allowed(t)
	apiserver.create(t, pod(bad.tag("1"))).denied(t, "signature_missing")
}
