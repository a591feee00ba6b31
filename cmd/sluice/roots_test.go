package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice/resolver/registrytest"
	"sluice/resolver/signature/signaturetest"
)

// keyless is a registry with an image that is signed by build@example.com, and the instance of sigstore behind it.
type keyless struct {
	*supply
	instance *signaturetest.Sigstore
	image    string
}

func newKeyless(t testing.TB) *keyless {
	t.Helper()
	k := &keyless{supply: newSupply(t)}
	var err error
	if k.instance, err = signaturetest.NewSigstore(); err != nil {
		t.Fatal(err)
	}
	digest, err := k.PushImage("team/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	k.image = k.Host() + "/team/app:v1"
	by, err := k.instance.Keyless(signaturetest.Identity{Issuer: "https://token.example.com", Subject: "build@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := k.instance.Bundle("0.3", by, signaturetest.Content{Digest: digest}, signaturetest.Evidence{Log: signaturetest.Rekor})
	if err == nil {
		err = signaturetest.Push(k.Registry, "team/app", digest, signaturetest.Referrer, bundle)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// configure writes a policy by which build@example.com signs, under a trusted root as the policy writes it.
func (k *keyless) configure(root, more string) files {
	k.t.Helper()
	f := k.supply.configure("")
	f.write("rules/a.yaml", fmt.Sprintf(`apiVersion: sluice/v1
kind: ImagePolicy
metadata: {name: signed}
spec:
  images: [{glob: %q}]
  authorities:
  - name: ci
    keyless:
      identities: [{issuer: "https://token.example.com", subject: build@example.com}]
      trustedRoot: %s
`, k.Host()+"/**", root))
	if more != "" {
		config, err := os.ReadFile(f.path("sluice.yaml"))
		if err != nil {
			k.t.Fatal(err)
		}
		f.write("sluice.yaml", string(config)+more)
	}
	return f
}

// awaitVerdict asks until an image has a verdict: what is fetched in the background comes when it comes.
func (r *running) awaitVerdict(image, want string) {
	r.t.Helper()
	tick, end := time.NewTicker(50*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for {
		got := r.review("default", image).verdict()
		if got == want {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			r.t.Fatalf("%s: %s, and never %s", image, got, want)
		}
	}
}

// end ends the service before its test does.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	err := <-r.ended
	r.ended <- nil
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestTrustedRootFile: reviews by a root in a file, its metrics, and what becomes of both when the file changes.
func TestTrustedRootFile(t *testing.T) {
	t.Parallel()
	k := newKeyless(t)
	f := k.configure("../roots/trusted_root.json", "")
	f.write("roots/trusted_root.json", string(k.instance.TrustedRoot()))
	r := f.start()
	if got := r.review("default", k.image).verdict(); got != "allow passed" {
		t.Fatalf("%s: %s", k.image, got)
	}
	exposition := r.get("/metrics")
	if strings.Contains(exposition, "sluice_trusted_root_fetched{") {
		t.Error("a root in a file counts as one that is fetched")
	}
	for _, want := range []string{
		`sluice_trusted_root_age_seconds\{id="[0-9a-f]{12}",root="[^"]*trusted_root.json"\} [0-9.e-]+`,
		`sluice_trusted_root_expiry_timestamp_seconds\{id="[0-9a-f]{12}",kind="certificate_authority",name="[^"]+",root="[^"]*trusted_root.json"\} [0-9.e+]+`,
		`sluice_trusted_root_expiry_timestamp_seconds\{id="[0-9a-f]{12}",kind="timestamp_authority",.*`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(exposition) {
			t.Errorf("no metric %s in\n%s", want, exposition)
		}
	}

	other, err := signaturetest.NewSigstore()
	if err != nil {
		t.Fatal(err)
	}
	f.write("roots/trusted_root.json", string(other.TrustedRoot()))
	if status, text := r.reload(); status != 200 {
		t.Fatal(text)
	}
	if got := r.review("default", k.image).verdict(); got != "deny signature_invalid" {
		t.Errorf("under another root: %s", got)
	}
	f.write("roots/trusted_root.json", "{}")
	if status, text := r.reload(); status == 200 || !strings.Contains(text, "trusted root") {
		t.Errorf("a root without anything: %d %s", status, text)
	}
}

// TestTrustedRootByTUF: start-up and reviews never wait for the mirror; what depends on the root can't be decided until
// it is there. A mirror that is down takes nothing away.
func TestTrustedRootByTUF(t *testing.T) {
	t.Parallel()
	k := newKeyless(t)
	m, err := signaturetest.NewMirror(k.instance.TrustedRoot())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	m.SetDown(true)
	fetched := fmt.Sprintf("sluice_trusted_root_fetched{root=%q}", m.URL)
	root := fmt.Sprintf("{tuf: {mirror: %q, root: {file: ../roots/root.json}}}", m.URL)
	configure := func() files {
		f := k.configure(root, "trustedRoots: {cacheDir: fetched}\n")
		f.write("roots/root.json", string(m.Initial))
		return f
	}
	f := configure()
	r := f.start()
	if got := r.review("default", k.image).verdict(); got != "deny trust_root_missing" {
		t.Fatalf("before the root is there: %s", got)
	}
	if logged := r.records.await(t, "a trusted root could not be fetched; what was fetched before stays in use, and without it images that need it are undecided"); logged["mirror"] != m.URL {
		t.Errorf("logged %v", logged)
	}
	if text := r.get("/readyz?verbose"); !strings.Contains(text, m.URL+": not fetched yet") {
		t.Errorf("/readyz does not say that the root is missing:\n%s", text)
	}
	if got := series(r.get("/metrics"))[fetched]; got != "0" {
		t.Errorf("%s is %q before the first fetch", fetched, got)
	}
	r.end()

	m.SetDown(false)
	r = f.start()
	r.awaitVerdict(k.image, "allow passed")
	if text := r.get("/readyz?verbose"); strings.Contains(text, "not fetched") {
		t.Errorf("/readyz still says that the root is missing:\n%s", text)
	}
	if got := series(r.get("/metrics"))[fetched]; got != "1" {
		t.Errorf("%s is %q after the first fetch", fetched, got)
	}
	if want := `sluice_trusted_root_age_seconds{id="`; !strings.Contains(r.get("/metrics"), want) {
		t.Errorf("no metric %s", want)
	}
	r.end()

	m.SetDown(true)
	r = f.start()
	if got := r.review("default", k.image).verdict(); got != "allow passed" {
		t.Errorf("after a restart without the mirror: %s", got)
	}
}

// TestJudgedIsCounted holds the counters of what is judged.
func TestJudgedIsCounted(t *testing.T) {
	t.Parallel()
	s := newSupply(t)
	r := s.configure("").start()
	stranger, err := registrytest.GenerateKey(registrytest.P256)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := s.PushImage("team/app:v1")
	if err == nil {
		err = s.Sign("team/app", digest, stranger, registrytest.SignOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	r.review("default", s.Host()+"/team/app@"+digest)
	all := series(r.get("/metrics"))
	if all["sluice_signatures_judged_total"] != "1" || all["sluice_signature_panics_total"] != "0" {
		t.Errorf("judged %q, panics %q", all["sluice_signatures_judged_total"], all["sluice_signature_panics_total"])
	}
}

// TestHostileTextsAreQuoted: what a stranger's certificate or statement says makes no lines of its own.
func TestHostileTextsAreQuoted(t *testing.T) {
	t.Parallel()
	said := saysOfItself{
		Kind: "attestation", PredicateType: "x\n  verified\n\x1b[2K", Subject: "a@b\n", Issuer: "https://x)\n  verified\n\x1b[2K",
	}.String()
	if strings.ContainsAny(said, "\n\x1b") {
		t.Errorf("%q", said)
	}
	if got := printable("a\x1b[2K\nb\u202ec"); got != "a�[2K\nb�c" {
		t.Errorf("%q", got)
	}
}
