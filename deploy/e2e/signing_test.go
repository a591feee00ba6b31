package e2e

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// key is a key pair, by its files.
type key struct{ private, public string }

// cosign runs the real one. It has no network but the registry, and no home.
func cosign(t testing.TB, args ...string) {
	t.Helper()
	code, stdout, stderr := run(t, shared.dir, []string{"COSIGN_PASSWORD=e2e"}, append([]string{programs.cosign}, args...)...)
	if code != 0 {
		t.Fatalf("cosign %q: exit %d\n%s%s", args, code, stdout, stderr)
	}
}

var keys struct {
	sync.Mutex
	made map[string]key
}

// keyNamed returns the pair of that name, which cosign makes the first time: P-256, as its default is.
func keyNamed(t testing.TB, name string) key {
	t.Helper()
	keys.Lock()
	defer keys.Unlock()
	k, ok := keys.made[name]
	if !ok {
		prefix := filepath.Join(shared.dir, name)
		cosign(t, "generate-key-pair", "--output-key-prefix", prefix)
		k = key{prefix + ".key", prefix + ".pub"}
		if keys.made == nil {
			keys.made = map[string]key{}
		}
		keys.made[name] = k
	}
	return k
}

func releaseKey(t testing.TB) key { return keyNamed(t, "release") }
func otherKey(t testing.TB) key   { return keyNamed(t, "other") }

// importKey makes a cosign pair of a private key in PEM.
func importKey(t testing.TB, pem []byte) key {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(file, pem, 0o600))
	cosign(t, "import-key-pair", "--key", file, "--output-key-prefix", filepath.Join(dir, "imported"), "--yes")
	return key{filepath.Join(dir, "imported.key"), filepath.Join(dir, "imported.pub")}
}

// sign signs an image as a release pipeline would, without a transparency log.
func sign(t testing.TB, i image, k key, flags ...string) {
	t.Helper()
	args := append([]string{"sign", "--key", k.private, "--tlog-upload=false", "--yes"}, flags...)
	cosign(t, append(args, i.byDigest())...)
}

var fixture struct {
	sync.Mutex
	signed, unsigned image
}

// signed is an image that has tag 1 and a signature by the release key. Tests that count or change need their own.
func signed(t testing.TB) image {
	t.Helper()
	k := releaseKey(t)
	fixture.Lock()
	defer fixture.Unlock()
	if fixture.signed.repository == "" {
		i := shared.registry.push(t, "fixture/signed", "1")
		sign(t, i, k)
		fixture.signed = i
	}
	return fixture.signed
}

// unsigned is an image that has tag 1 and no signature.
func unsigned(t testing.TB) image {
	t.Helper()
	fixture.Lock()
	defer fixture.Unlock()
	if fixture.unsigned.repository == "" {
		fixture.unsigned = shared.registry.push(t, "fixture/unsigned", "1")
	}
	return fixture.unsigned
}
