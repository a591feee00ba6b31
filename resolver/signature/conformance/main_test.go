package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/resolver/signature/signaturetest"
)

const (
	publicBundle = "../proof/testdata/public_good_attestation.json"
	publicRoot   = "../proof/testdata/public_good_root.json"
	publicImage  = "sha256:732112270d7e59418a8c080b134b24cabd67d250d0d0147a97ed95ba5c280aa4"
	otherImage   = "sha256:732112270d7e59418a8c080b134b24cabd67d250d0d0147a97ed95ba5c280aa5"
	soyland      = "cody@soyland.com"
	gitHub       = "https://github.com/login/oauth"
	foo          = "foo!oidc.local"
	oidc         = "http://oidc.local:8080"
	fooFile      = "sha256:bc103b4a84971ef6459b294a2b98568a2bfb72cded09d4acd1e16366a401f95b"
)

// call runs the command and checks what it exits with and says.
func call(t *testing.T, want int, says string, args ...string) {
	t.Helper()
	var stderr bytes.Buffer
	if got := run(args, &stderr); got != want || !strings.Contains(stderr.String(), says) {
		t.Errorf("%q exits with %d, want %d and %q: %s", args, got, want, says, stderr.String())
	}
}

func byCertificate(bundle, identity, issuer, root, artifact string) []string {
	return []string{
		"verify-bundle", "--bundle", bundle, "--certificate-identity", identity, "--certificate-oidc-issuer", issuer, "--trusted-root", root, artifact,
	}
}

func byKey(bundle, key, root, artifact string) []string {
	return []string{"verify-bundle", "--bundle", bundle, "--key", key, "--trusted-root", root, artifact}
}

// file writes a file for a test.
func file(t *testing.T, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestRealBundles is about bundles that others made.
func TestRealBundles(t *testing.T) {
	t.Parallel()
	call(t, 0, "verified", byCertificate(publicBundle, soyland, gitHub, publicRoot, publicImage)...)
	call(t, 1, "another file", byCertificate(publicBundle, soyland, gitHub, publicRoot, otherImage)...)
	call(t, 1, "another file", byCertificate(publicBundle, soyland, gitHub, publicRoot, "main.go")...)
	call(t, 1, "it is by", byCertificate(publicBundle, "cody@soyland.org", gitHub, publicRoot, publicImage)...)
	call(t, 1, "it is by", byCertificate(publicBundle, "cody@soyland.co", gitHub, publicRoot, publicImage)...)
	call(t, 1, "it is by", byCertificate(publicBundle, soyland, "https://github.com", publicRoot, publicImage)...)
	call(t, 1, "another authority", byCertificate(publicBundle, soyland, gitHub, "testdata/othername_root.json", publicImage)...)

	call(t, 0, "verified", byCertificate("testdata/othername_bundle.json", foo, oidc, "testdata/othername_root.json", fooFile)...)
	call(t, 1, "not by its certificate's key", byCertificate("testdata/othername_bundle.json", foo, oidc, "testdata/othername_root.json", publicImage)...)
	call(t, 1, "it is by", byCertificate("testdata/othername_bundle.json", "foo@oidc.local", oidc, "testdata/othername_root.json", fooFile)...)

	content := file(t, []byte("test content"))
	sum := sha256.Sum256([]byte("test content"))
	digest := "sha256:" + hex.EncodeToString(sum[:])
	call(t, 0, "verified", byKey("testdata/key_bundle.json", "testdata/key.pem", "testdata/key_root.json", content)...)
	call(t, 0, "verified", byKey("testdata/key_bundle.json", "testdata/key.pem", "testdata/key_root.json", digest)...)
	call(t, 1, "another key", byKey("testdata/key_bundle.json", "testdata/key.pem", "testdata/key_root.json", publicImage)...)
	call(t, 1, "another key", byKey("testdata/key_bundle.json", "testdata/key.pem", "testdata/key_root.json", file(t, []byte("test content\n")))...)
	call(t, 1, "no entry of a trusted log", byKey("testdata/key_bundle.json", "testdata/key.pem", publicRoot, content)...)
	call(t, 1, "made with a key", byCertificate("testdata/key_bundle.json", foo, oidc, publicRoot, content)...)
	call(t, 1, "another key", byKey(publicBundle, "testdata/key.pem", publicRoot, publicImage)...)
}

// TestMadeBundles is about files and statements of every version of bundles.
func TestMadeBundles(t *testing.T) {
	t.Parallel()
	ours := must(signaturetest.NewSigstore())
	root := file(t, ours.TrustedRoot())
	keyless := must(ours.Keyless(signaturetest.Identity{Issuer: oidc, Subject: foo + "@x.example"}))
	keyed := must(signaturetest.NewKeySigner(signaturetest.P384))
	ed := must(signaturetest.NewKeySigner(signaturetest.Ed25519))
	content := []byte("the file")
	name, other := file(t, content), file(t, []byte("another file"))
	sum := sha256.Sum256(content)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	over := map[string]signaturetest.Content{
		"file":      {File: content},
		"statement": {Digest: digest, PredicateType: "https://example.com/p"},
	}
	for what, c := range over {
		for _, version := range []string{"0.1", "0.2", "0.3"} {
			bundle := file(t, must(ours.Bundle(version, keyless, c, signaturetest.Evidence{Log: signaturetest.Rekor, Timestamp: true})).Content)
			for _, artifact := range []string{name, digest} {
				call(t, 0, "verified", byCertificate(bundle, foo+"@x.example", oidc, root, artifact)...)
			}
			for _, artifact := range []string{other, publicImage} {
				call(t, 1, "refused", byCertificate(bundle, foo+"@x.example", oidc, root, artifact)...)
			}
			call(t, 1, "it is by", byCertificate(bundle, foo, oidc, root, name)...)
		}
		key := file(t, must(keyed.PublicPEM()))
		bundle := file(t, must(ours.Bundle("0.3", keyed, c, signaturetest.Evidence{Log: signaturetest.Rekor})).Content)
		call(t, 0, "verified", byKey(bundle, key, root, name)...)
		call(t, 1, "refused", byKey(bundle, key, root, other)...)
		call(t, 1, "refused", byKey(bundle, key, root, publicImage)...)
		if what == "statement" { // a message signature of P-384 is over SHA-384
			call(t, 0, "verified", byKey(bundle, key, root, digest)...)
		}
	}

	// Pure Ed25519 signs no digest. An empty message, which stands in for one below, is not what was signed either.
	key := file(t, must(ed.PublicPEM()))
	tsa := file(t, must(ours.TrustedRootOf(signaturetest.TSAPart)))
	bundle := file(t, must(ours.Bundle("0.3", ed, signaturetest.Content{File: []byte{}}, signaturetest.Evidence{Timestamp: true})).Content)
	call(t, 0, "verified", byKey(bundle, key, tsa, file(t, nil))...)
	call(t, 1, "another key", byKey(bundle, key, tsa, digest)...)

	// A root without logs asks for timestamps in their place.
	part := file(t, must(ours.TrustedRootOf(signaturetest.CAPart|signaturetest.CTLogPart|signaturetest.TSAPart)))
	for stamped, want := range map[bool]int{true: 0, false: 1} {
		bundle := file(t, must(ours.Bundle("0.3", keyless, over["file"], signaturetest.Evidence{Timestamp: stamped})).Content)
		call(t, want, "", byCertificate(bundle, foo+"@x.example", oidc, part, name)...)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	call(t, 2, "verify-bundle is the one subcommand")
	call(t, 2, "verify-bundle is the one subcommand", "sign-bundle")
	good := byKey("testdata/key_bundle.json", "testdata/key.pem", "testdata/key_root.json", "main.go")
	call(t, 2, "one file or digest", good[:len(good)-1]...)
	call(t, 2, "one file or digest", append(good, "main.go")...)
	call(t, 2, "goes without", append([]string{"verify-bundle", "--certificate-identity", "x"}, good[1:]...)...)
	call(t, 2, "not defined", append([]string{"verify-bundle", "--later"}, good[1:]...)...)
	call(t, 2, "--bundle is needed", "verify-bundle", "--key", "testdata/key.pem", "main.go")
	call(t, 2, "are needed, or --key", "verify-bundle", "--bundle", publicBundle, "--certificate-identity", "x", "main.go")
	call(t, 2, "are needed, or --key", "verify-bundle", "--bundle", publicBundle, "main.go")
	call(t, 1, "no such file", byKey("testdata/none", "testdata/key.pem", "testdata/key_root.json", "main.go")...)
	call(t, 1, "no such file", byKey("testdata/key_bundle.json", "testdata/none", "testdata/key_root.json", "main.go")...)
	call(t, 1, "no such file", byKey("testdata/key_bundle.json", "testdata/key.pem", "testdata/none", "main.go")...)
	call(t, 1, "no such file", byKey("testdata/key_bundle.json", "testdata/key.pem", "testdata/key_root.json", "testdata/none")...)
	call(t, 1, "not one key", byKey("testdata/key_bundle.json", publicRoot, "testdata/key_root.json", "main.go")...)
	call(t, 1, "not a trusted root", byKey("testdata/key_bundle.json", "testdata/key.pem", "testdata/key.pem", "main.go")...)
}
