package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the command line tells of an image, and the policy it writes for it, of signatures that cosign made.

// sluice runs a subcommand against the shared registry, and returns what it printed.
func sluice(t testing.TB, wantCode int, args ...string) string {
	t.Helper()
	args = append(args, "--registry", "http://"+shared.registry.host)
	code, stdout, stderr := run(t, t.TempDir(), nil, append([]string{programs.sluice}, args...)...)
	if code != wantCode {
		t.Fatalf("sluice %q: exit %d, want %d\n%s%s", args, code, wantCode, stdout, stderr)
	}
	return stdout
}

// The policy that sluice inspect writes accepts the image that it was written for, and not another's.
func TestInspectWritesPolicy(t *testing.T) {
	t.Parallel()
	m := &matrix{keyless: keylessStack(t)}
	signedBy := func(name, address string) image {
		s := &signing{TB: t, matrix: m, registry: shared.registry, image: shared.registry.push(t, repositoryOf(t)+name, "1")}
		s.sign(bundle3, byPerson(address), s.image)
		s.attest(classic, byPerson(address), s.image, slsa)
		return s.image
	}
	own, other := signedBy("/own", build), signedBy("/other", lookAlike)

	list := sluice(t, 0, "inspect", own.tag("1"), "--trusted-root", m.root("all"))
	for _, part := range []string{build, m.issuer.url(people), "https://slsa.dev/provenance/v1"} {
		if !strings.Contains(list, part) {
			t.Errorf("sluice inspect does not say %q:\n%s", part, list)
		}
	}

	file := filepath.Join(t.TempDir(), "policy.yaml")
	sluice(t, 0, "inspect", own.tag("1"), "--trusted-root", m.root("all"), "--write-policy", file)
	sluice(t, 0, "check", own.tag("1"), "--policy", file)
	content, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(content), own.repository, other.repository)), 0o644))
	refused := sluice(t, 1, "check", other.tag("1"), "--policy", file, "-o", "json")
	if !strings.Contains(refused, "identity_mismatch") {
		t.Errorf("sluice check says of %s:\n%s", lookAlike, refused)
	}
}

// sluice check --explain names who signed, when, and what was asked.
func TestCheckExplains(t *testing.T) {
	t.Parallel()
	m := &matrix{keyless: keylessStack(t)}
	s := &signing{TB: t, matrix: m, registry: shared.registry, image: shared.registry.push(t, repositoryOf(t), "1")}
	s.sign(bundle3, byPerson(lookAlike), s.image)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	must(t, os.WriteFile(file, person(subject(build), "all").yaml(m, "people", "default", s.image.repository), 0o644))
	text := sluice(t, 1, "check", s.image.tag("1"), "--policy", file, "--explain")
	for _, part := range []string{lookAlike, m.issuer.url(people), "/referrers/", "identity_mismatch"} {
		if !strings.Contains(text, part) {
			t.Errorf("sluice check --explain does not say %q:\n%s", part, text)
		}
	}
	var data any
	must(t, json.Unmarshal([]byte(sluice(t, 1, "check", s.image.tag("1"), "--policy", file, "--explain", "-o", "json")), &data))
}

// A ClusterImagePolicy stands in the policy directory as it is.
func TestClusterImagePolicy(t *testing.T) {
	t.Parallel()
	i := signed(t)
	policyBy := func(k key) string {
		public, err := os.ReadFile(k.public)
		must(t, err)
		file := filepath.Join(t.TempDir(), "policy.yaml")
		must(t, os.WriteFile(file, fmt.Appendf(nil, `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: signed}
spec:
  images: [{glob: %q}]
  authorities:
  - key: {data: %q}
`, i.repository, public), 0o644))
		return file
	}
	sluice(t, 0, "check", i.tag("1"), "--policy", policyBy(releaseKey(t)))
	refused := sluice(t, 1, "check", i.tag("1"), "--policy", policyBy(otherKey(t)), "-o", "json")
	if !strings.Contains(refused, "signature_invalid") {
		t.Errorf("sluice check says: %s", refused)
	}
}
